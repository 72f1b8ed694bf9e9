# SPDX-License-Identifier: Apache-2.0
"""test_logs.py - what a workload said while nobody listened"""
import re


def test_output_is_kept(boxlite):
    box = boxlite.box(command=("sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; echo trouble >&2; printf 'no end'; exit 3"))
    boxlite.run("wait", box)
    done = boxlite.run("logs", box)
    assert done.code == 0 and done.raw.split(b"\n")[:5] == [b"line %d" % i for i in range(1, 6)], done
    assert "trouble" in done.out + done.err and "no end" in done.out
    assert boxlite.run("logs", "-n", "2", box).out.count("\n") <= 2
    assert "line 1" not in boxlite.run("logs", "-n", "2", box).out


def test_follow_ends_with_the_box(boxlite):
    box = boxlite.box(command=("sh", "-c", "echo ready; read line < /fifo; echo got $line", "x"), name="talker")
    boxlite.run("wait", box)  # there is no /fifo: it ends by itself
    assert boxlite.ok("logs", "-f", box).startswith("ready\n")
    box = boxlite.box(command=("sh", "-c", "mkfifo /fifo; echo ready; read line < /fifo; echo got $line"))
    follower = boxlite.start("logs", "-f", box)
    assert follower.stdout.readline() == b"ready\n"
    boxlite.exec(box, "sh", "-c", "echo hello > /fifo")  # the box may end before this does
    assert follower.stdout.readline() == b"got hello\n"
    assert follower.wait(60) == 0 and follower.stdout.read() == b""


def test_console(boxlite):
    box = boxlite.idle()
    assert boxlite.run("logs", "--vm", box).code == 0


def test_no_log_yet(boxlite):
    box = boxlite.ok("create", "busybox").strip()
    done = boxlite.run("logs", box)
    assert done.code == 0 and done.out == "" and done.err.strip(), done


def test_log_is_bounded(boxlite):
    box = boxlite.box(command=("sh", "-c", "yes 0123456789012345678901234567890123456789 | head -c 40000000; echo the end"))
    boxlite.run("wait", box)
    size = sum(path.stat().st_size for path in (boxlite.directory(box) / "logs").glob("output*"))
    assert 1 << 20 < size < 34 << 20
    assert re.search("the end$", boxlite.ok("logs", "-n", "1", box).strip())
