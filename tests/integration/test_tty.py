# SPDX-License-Identifier: Apache-2.0
"""test_tty.py - a terminal in a box is a terminal: its size, its signals, and the caller's own restored on every way out"""
import os
import pty
import signal
import struct
import termios
from fcntl import ioctl

import pytest


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, home, *arguments, rows=31, columns=97):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process = home.start(*arguments, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
                                  preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0))

    def resize(self, rows, columns):
        ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def until(self, word):
        """Reads until a word has come; what came before and with it is dropped and returned."""
        signal.alarm(120)
        try:
            while word.encode() not in self.seen:
                self.seen += os.read(self.master, 4096)
        finally:
            signal.alarm(0)
        before, _, self.seen = self.seen.partition(word.encode())
        return before.decode(errors="replace")

    def end(self):
        code = self.process.wait(60)
        after = termios.tcgetattr(self.slave)
        os.close(self.master)
        os.close(self.slave)
        assert after == self.before, "the terminal was left in another mode"
        return code


@pytest.fixture(autouse=True)
def alarm():
    """A terminal that falls silent fails the test instead of stopping it."""
    def late(*_):
        raise AssertionError("the terminal stayed silent")
    before = signal.signal(signal.SIGALRM, late)
    yield
    signal.signal(signal.SIGALRM, before)


def test_shell_on_a_terminal(boxlite):
    terminal = Terminal(boxlite, "run", "--rm", "-it", "busybox", "sh")
    terminal.type("stty size; tty; echo do''ne\n")
    shown = terminal.until("done")
    assert "31 97" in shown and "/dev/pts/" in shown
    terminal.resize(40, 120)
    terminal.process.send_signal(signal.SIGWINCH)  # what the kernel sends to a foreground process
    terminal.type("stty size\n")
    terminal.until("40 120")
    # Ctrl-C goes to what runs in the box, not to boxlite; it is typed once that has said that it waits for it.
    terminal.type("sh -c 'trap \"echo caug${x}ht; exit 7\" INT; echo wai${x}ting; while :; do sleep 0.1; done'\n")
    terminal.until("waiting")
    terminal.type("\x03")
    terminal.until("caught")
    terminal.type("echo co''de $?\n")
    terminal.until("code 7")
    terminal.type("exit 9\n")
    assert terminal.end() == 9


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, None), (signal.SIGHUP, None)])
def test_terminal_is_restored_when_killed(boxlite, number, code):
    box = boxlite.idle()
    terminal = Terminal(boxlite, "exec", "-it", box, "--", "sh")
    terminal.type("echo u''p\n")
    terminal.until("up")
    terminal.process.send_signal(number)
    terminal.type("exit 3\n")  # for a shell that ignores it
    assert terminal.end() != 0 or code == 0


def test_box_that_dies_restores_the_terminal(boxlite):
    box = boxlite.idle()
    terminal = Terminal(boxlite, "exec", "-it", box, "--", "sh")
    terminal.type("echo u''p\n")
    terminal.until("up")
    os.kill(boxlite.shim(box), signal.SIGKILL)
    assert terminal.end() != 0


def test_no_terminal(boxlite):
    boxlite.fails("run", "--rm", "-t", "busybox", "true", code=125, says="the input device is not a TTY")
    assert boxlite.listed() == []
