# SPDX-License-Identifier: Apache-2.0
"""test_exit_codes.py - a command's end is told as shells tell it, and BoxLite's own failures can be told apart"""


def test_run(boxlite):
    for command, code in [
        (("true",), 0),
        (("sh", "-c", "exit 42"), 42),
        (("sh", "-c", "exit 255"), 255),
        (("no-such-command",), 127),
        (("/bin/no-such-command",), 127),
        (("/etc",), 126),
        (("/etc/passwd",), 126),
        (("sh", "-c", 'sh -c "kill -TERM \\$\\$"; exit $?'), 143),
    ]:
        done = boxlite.run("run", "--rm", "busybox", *command)
        assert done.code == code, done
        assert code not in (126, 127) or command[0] in done.err, done
    assert boxlite.listed() == []


def test_own_failures_of_run(boxlite):
    boxlite.fails("run", "--rm", "--pull", "never", "no-such-image", "true", code=125, says="no-such-image")
    boxlite.fails("run", "--no-such-option", "busybox", code=2)
    boxlite.fails("run", code=2)
    boxlite.fails("no-such-command", code=2)
    assert boxlite.listed() == []


def test_exec(boxlite):
    box = boxlite.idle()
    for command, code in [
        (("true",), 0),
        (("sh", "-c", "exit 42"), 42),
        (("no-such-command",), 127),
        (("/etc",), 126),
        (("sh", "-c", "kill -TERM $$"), 143),
        (("sh", "-c", "kill -KILL $$"), 137),
        (("sh", "-c", "kill -INT $$"), 130),
    ]:
        done = boxlite.exec(box, *command)
        assert done.code == code, done
    boxlite.fails("exec", "nowhere", "--", "true", says="No such box: nowhere")
    boxlite.fails("exec", box, "true", code=2)  # the -- is required


def test_detached_end_is_kept(boxlite):
    box = boxlite.box(command=("sh", "-c", "exit 42"))
    assert boxlite.run("wait", box).code in (0, 42)
    shown = boxlite.inspect(box)
    assert shown["State"]["ExitCode"] == 42 and shown["Status"].lower() in ("stopped", "exited"), shown
    boxlite.fails("exec", box, "--", "true")  # a job that has ended is not run again by accident
    assert boxlite.inspect(box)["State"]["ExitCode"] == 42


def test_timeout_of_exec_takes_everything_with_it(boxlite):
    box = boxlite.idle()
    done = boxlite.exec(box, "sh", "-c", "trap '' TERM ALRM; sleep 4242 & sleep 4242 & wait; wait", options=("--timeout", "1s"))
    assert done.code != 0 and done.seconds < 60, done
    # All of them were killed at once; that they are gone is up to the kernel in the box.
    boxlite.sh(box, "while ps -o args | grep '[s]leep 4242'; do sleep 0.1; done")


def test_early_output_is_not_lost(boxlite):
    for _ in range(3):
        done = boxlite.run("run", "--rm", "busybox", "sh", "-c", "echo first; echo second >&2")
        assert (done.code, done.out) == (0, "first\n") and done.err.endswith("second\n"), done
