# SPDX-License-Identifier: Apache-2.0
"""test_hello.py - the main job, from a home that does not exist yet"""
import os
import stat


def test_first_run_needs_nothing(bare):
    done = bare.run("run", "busybox", "echo", "Hello from BoxLite")
    assert done.code == 0 and done.out == "Hello from BoxLite\n", done
    assert stat.S_IMODE(bare.path.stat().st_mode) == 0o700
    box, = bare.listed()  # without --rm a box is kept
    assert box["Image"] == "busybox:latest" and box["Status"] in ("Stopped", "Exited")


def test_command_has_a_machine_of_its_own(boxlite):
    out = boxlite.ok("run", "--rm", "busybox", "sh", "-c", "echo $$; uname -r; hostname; id -u; pwd; grep -c ^processor /proc/cpuinfo")
    pid, release, hostname, user, directory, processors = out.split()
    assert (pid, hostname, user, directory, processors) == ("1", "boxlite", "0", "/", "1")
    assert release != os.uname().release
    assert boxlite.listed() == []  # --rm


def test_image_command_is_used_without_one(boxlite):
    done = boxlite.run("run", "--rm", "-i", "busybox", stdin="echo from a shell; exit 5\n")
    assert (done.code, done.out) == (5, "from a shell\n"), done


def test_environment_workdir_user_entrypoint(boxlite):
    script = 'echo "$A|$B|$PATH|$(pwd)|$(id -u):$(id -g)"'
    done = boxlite.run("run", "--rm", "-e", "A=1 2", "-e", "B", "-e", "NOT_THERE", "-w", "/tmp", "-u", "www-data", "--entrypoint", "sh",
                       "busybox", "-c", script, env={"B": "from outside"})
    assert done.code == 0, done
    a, b, path, directory, user = done.out.strip().split("|")
    assert (a, b, directory, user) == ("1 2", "from outside", "/tmp", "33:33") and path
    assert "Environment variable 'NOT_THERE' not found on host, skipping" in done.err


def test_limits_of_the_box_are_what_was_asked(boxlite):
    box = boxlite.idle("--cpus", "2", "--memory", "300", "--disk-size", "12")
    out = boxlite.sh(box, "grep -c ^processor /proc/cpuinfo; awk '/MemTotal/ {print $2}' /proc/meminfo; df -k / | tail -1 | awk '{print $2}'")
    cpus, memory_kib, disk_kib = (int(word) for word in out.split())
    assert cpus == 2
    assert 220 << 10 < memory_kib <= 300 << 10
    assert 11 << 20 < disk_kib <= 12 << 20
    shown = boxlite.inspect(box)
    assert (shown["Cpus"], shown["Memory"]) == (2, 300 << 20)
