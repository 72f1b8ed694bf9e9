# SPDX-License-Identifier: Apache-2.0
"""test_persist.py - a box keeps its files over stop and start, and a job runs its command again at each start"""
import hashlib
import os


def test_files_stay(boxlite, tmp_path):
    content = os.urandom(3 << 20)
    (tmp_path / "big").write_bytes(content)
    box = boxlite.idle(name="keeper")
    boxlite.ok("cp", tmp_path / "big", "keeper:/root/big")
    boxlite.sh(box, "echo kept > /root/note; ln -s note /root/link; chmod 600 /root/note; echo gone > /dev/shm/volatile")
    assert boxlite.ok("stop", "keeper") == "keeper\n"
    assert boxlite.status(box) == "stopped" and boxlite.shim(box) is None
    assert boxlite.ok("stop", "keeper") == "keeper\n"  # again: a success that does nothing
    assert boxlite.ok("start", "keeper") == "keeper\n"
    assert boxlite.sh(box, "cat /root/link; stat -c %a /root/note; ls /dev/shm") == "kept\n600\n"
    assert boxlite.ok("restart", "keeper") == "keeper\n"
    done = boxlite.exec(box, "cat", "/root/big")
    assert hashlib.sha256(done.raw).digest() == hashlib.sha256(content).digest()


def test_box_without_a_command_starts_by_itself(boxlite):
    box = boxlite.ok("create", "busybox").strip()
    assert boxlite.status(box) == "configured"
    assert boxlite.sh(box, "echo up") == "up\n"
    assert boxlite.status(box) == "running"


def test_job_runs_again(boxlite):
    box = boxlite.ok("create", "busybox", "sh", "-c", "echo x >> /count; wc -l < /count; exit $(wc -l < /count)").strip()
    boxlite.fails("exec", box, "--", "true")  # never implicitly
    for turn in (1, 2, 3):
        boxlite.ok("start", box)
        boxlite.run("wait", box)
        shown = boxlite.inspect(box)
        assert shown["State"]["ExitCode"] == turn, shown
    assert boxlite.ok("logs", box).split()[-1] == "3"


def test_what_was_synced_survives_a_killed_machine(boxlite):
    box = boxlite.idle()
    boxlite.sh(box, "echo synced > /root/note; sync; echo perhaps > /root/other")
    os.kill(boxlite.shim(box), 9)
    assert boxlite.run("wait", box).code in (0, 137)
    assert boxlite.status(box) == "stopped"
    boxlite.ok("start", box)
    assert boxlite.sh(box, "cat /root/note") == "synced\n"


def test_two_boxes_of_one_image_are_apart(boxlite):
    one, two = boxlite.idle(name="one"), boxlite.idle(name="two")
    boxlite.sh(one, "echo mine > /root/note; rm /etc/group")
    assert boxlite.sh(two, "ls /root; wc -l < /etc/group").strip().isdigit()
