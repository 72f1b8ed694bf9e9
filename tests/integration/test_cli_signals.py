# SPDX-License-Identifier: Apache-2.0
"""test_cli_signals.py - Ctrl-C and its like: passed on to what runs, cancelling what does not run yet, leaving nothing behind"""
import os
import pty
import signal
import termios
import time

import pytest

import home as homes


@pytest.fixture(autouse=True)
def alarm():
    """A command that falls silent fails the test instead of stopping it."""
    def late(*_):
        raise AssertionError("nothing came for a long time")
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(4 * homes.TIMEOUT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def wait_for(condition):
    """Waits until something has become true that no descriptor tells."""
    deadline = time.monotonic() + homes.TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def end(process):
    """Exit code of a command that is about to end."""
    try:
        return process.wait(homes.TIMEOUT)
    finally:
        process.kill()
        process.wait()


def ready(process):
    line = process.stdout.readline()
    assert line == b"ready\n", line + process.stderr.read()


def test_signals_reach_the_command(boxlite):
    box = boxlite.idle()
    script = "for s in HUP INT QUIT TERM USR1 USR2; do trap \"echo $s\" $s; done; echo ready; while :; do sleep 0.1; done"
    process = boxlite.start("exec", box, "--", "sh", "-c", script)
    ready(process)
    for name in ("HUP", "QUIT", "USR1", "USR2", "INT", "TERM"):
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.stdout.readline() == f"{name}\n".encode()
    process.send_signal(signal.SIGINT)  # the third of INT and TERM: the person means it
    assert end(process) == 137
    boxlite.sh(box, "while ps -o args | grep '[s]leep 0.1$'; do sleep 1; done")


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_command_without_handlers_dies_of_them(boxlite, number, code):
    box = boxlite.idle()
    process = boxlite.start("exec", box, "--", "sh", "-c", "echo ready; exec sleep 1000")
    ready(process)
    process.send_signal(number)
    assert end(process) == code


def test_a_command_that_ignores_them_is_killed_by_insistence(boxlite):
    """As a PID 1 without handlers, to which the kernel delivers nothing, does: who asks on and on is still obeyed."""
    process = boxlite.start("run", "--rm", "busybox", "sh", "-c", "trap '' INT; echo ready; exec sleep 1000")
    ready(process)

    def asked_again():
        process.send_signal(signal.SIGINT)
        return process.poll() is not None
    wait_for(asked_again)
    assert end(process) == 137, process.stderr.read()
    assert boxlite.listed() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_start_is_cancelled(boxlite, number, tmp_path):
    """The guest here never answers, so the boot lasts until somebody gives it up."""
    from test_bad_input import replace_init
    runtime = replace_init(tmp_path, "/bin/busybox")
    process = boxlite.start("run", "busybox", "true", env={"BOXLITE_RUNTIME_DIR": str(runtime), "BOXLITE_START_TIMEOUT": "300"})
    wait_for(lambda: any(boxlite.shim(box) for box in note(boxlite)))
    process.send_signal(number)
    out, err = process.communicate(timeout=homes.TIMEOUT)
    assert process.returncode == 128 + number and out == b"", (process.returncode, out, err)
    assert boxlite.listed() == []


def note(boxlite):
    boxlite.note_ids()
    return boxlite.ids


def test_a_closed_pipe_ends_the_command(boxlite):
    process = boxlite.start("run", "--rm", "busybox", "yes")
    assert process.stdout.read(2) == b"y\n"
    process.stdout.close()
    assert end(process) == 141 and process.stderr.read() == b""
    assert boxlite.listed() == []


def test_the_callers_streams_stay_blocking(boxlite):
    """Standard streams are shared with the caller: a flag that is set on them would outlive this command."""
    box = boxlite.idle()
    read, write = os.pipe()
    assert boxlite.run("exec", "-i", box, "--", "cat", stdin=b"x", stdout=write).code == 0
    assert os.get_blocking(write) and os.read(read, 10) == b"x"
    os.close(read)
    os.close(write)


def test_a_stopped_command_gives_the_terminal_back(boxlite):
    box = boxlite.idle()
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = boxlite.start("exec", "-it", box, "--", "sh", "-c", "echo re''ady; sleep 1000", stdin=slave, stdout=slave, stderr=slave)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(master, 1000)
    assert termios.tcgetattr(slave) != before
    process.send_signal(signal.SIGTSTP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert termios.tcgetattr(slave) == before
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: termios.tcgetattr(slave) != before)
    process.send_signal(signal.SIGTERM)
    assert end(process) == 143
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_an_exec_that_boots_its_box_is_cancelled(boxlite, tmp_path):
    from test_bad_input import replace_init
    box = boxlite.ok("create", "busybox").strip()
    runtime = {"BOXLITE_RUNTIME_DIR": str(replace_init(tmp_path, "/bin/busybox")), "BOXLITE_START_TIMEOUT": "300"}
    process = boxlite.start("exec", box, "--", "true", env=runtime)
    wait_for(lambda: boxlite.shim(box))
    process.send_signal(signal.SIGWINCH)  # which must cancel nothing
    process.send_signal(signal.SIGINT)
    assert end(process) == 130
    assert boxlite.shim(box) is None and boxlite.sh(box, "echo up") == "up\n"
