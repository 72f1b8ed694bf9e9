# SPDX-License-Identifier: Apache-2.0
"""
pid_reuse.py BASE IMAGES - a killed host process's pid is borne by another process; run by test_pid_reuse.py

It is process 1 of a pid namespace of its own, where it may choose the pids of its children. For each command: a box is started, its
host process killed and reaped, and a double made with that very pid: a stranger, or one whose arguments mirror the host process's
and which differs in nothing but the moment of its start. The command must treat the box as dead and the double as nobody: signals
are blocked in it, so even one that would not kill it stays to be seen. The control: where the recorded process is the true one, and
only its lock is missing, it is the box.

Prints what went wrong, and ends with 1 when something did.
"""
import ctypes
import json
import os
import pathlib
import signal
import struct
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import faults  # noqa: E402  (the path above leads to it)
import leaks  # noqa: E402

CLONE3 = 435
NAME = "reused"
COMMANDS = (("list", "-a"), ("inspect", NAME), ("exec", NAME, "--", "true"), ("stop", NAME), ("start", NAME), ("rm", NAME),
            ("rm", "-f", NAME), ("gc",))


def clone_with_pid(pid, path, words, environment, stdin):
    """Makes a process with a pid of our choice, in which all signals are blocked."""
    wanted = ctypes.c_int(pid)
    arguments = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    libc = ctypes.CDLL(None, use_errno=True)
    made = libc.syscall(CLONE3, arguments, len(arguments))
    if made == 0:
        try:
            os.dup2(stdin, 0)
            os.execve(path, words, environment)
        finally:
            os._exit(127)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if made != pid:
        raise OSError(ctypes.get_errno(), f"make a process with the pid {pid}")


def status(pid, field):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return line.split()[1]
    raise AssertionError(f"no {field}")


def start_ticks(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class Double:
    """A process that bears a dead shim's pid."""

    def __init__(self, kind, box, pid, ticks):
        self.pid = pid
        self.reader, self.writer = os.pipe()
        shim = str(faults.SOUND / "boxlite-shim")
        while True:
            if kind == "mirror":
                clone_with_pid(pid, shim, [shim, box], {"STAND_IN_PAUSE": "1"}, self.reader)
            else:
                clone_with_pid(pid, "/bin/cat", ["cat"], {}, self.reader)
            name = "boxlite-shim" if kind == "mirror" else "cat"
            while status(pid, "Name") != name[:15]:
                pass  # until it has executed its program
            if start_ticks(pid) != ticks:
                break
            end(pid)  # made within the same hundredth of a second: it would be the same process by all that there is

    def check(self):
        assert status(self.pid, "State") in "RSD", "the double was ended"
        assert int(status(self.pid, "ShdPnd"), 16) == int(status(self.pid, "SigPnd"), 16) == 0, "the double was signalled"

    def finish(self):
        os.close(self.writer)
        os.close(self.reader)
        end(self.pid)


def started(home, workload):
    """A running box. Return: its id, its shim's pid and start time"""
    box = home.ok("create", "--name", NAME, "busybox", workload).strip()
    home.ok("start", NAME)
    lines = (home.directory(box) / "shim.pid").read_text().splitlines()
    pid = int(lines[0])
    assert leaks.shims([box]) == [pid] and start_ticks(pid) == lines[1] and home.inspect(NAME)["State"]["Pid"] == pid
    return box, pid, lines[1]


def check_word(home, command, done, pid):
    """What a command may make of a box that is dead."""
    assert done.code == (1 if command[0] == "exec" else 0), done  # the stand-in runs no commands: exec finds a new one, and says so
    assert str(pid) not in done.out.split(), f"the double's pid is told: {done!r}"
    if command[0] == "list":
        assert "Stopped" in done.out, done
    if command[0] == "inspect":
        shown = json.loads(done.out)[0]["State"]
        assert not shown["Running"] and shown["Pid"] == 0 and shown["ExitCode"] == 137 and not shown["Trouble"], shown
    if command[0] == "start":
        state = home.inspect(NAME)["State"]
        assert state["Running"] and state["Pid"] not in (0, pid), state
    else:  # what an exec booted ends with it
        assert not [entry for entry in home.listed() if entry["Status"] == "Running"]
    if command[0] == "rm":
        assert not home.listed()


def reused(home, kind, command):
    """One command, and a double in the way."""
    box, pid, ticks = started(home, "hangup")
    end(pid)
    double = Double(kind, box, pid, ticks)
    try:
        done = home.run(*command)
        double.check()
        check_word(home, command, done, pid)
        double.check()
        home.run("rm", "-f", NAME)
        double.check()
        assert not home.listed() and not home.directory(box).exists()
    finally:
        double.finish()


def control(home):
    """A shim whose lock is lost is told by its looks, and stopped: what a double of another start time is denied."""
    box, pid, _ = started(home, "lockless")
    state = home.inspect(NAME)["State"]
    assert state["Running"] and state["Pid"] == pid and "lock" in state["Trouble"], state
    home.ok("stop", NAME)
    assert leaks.shims([box]) == [] and home.status(NAME) == "stopped"
    home.ok("rm", NAME)


def main():
    assert os.getpid() == 1, "process 1 of a namespace of its own"
    home = faults.FaultyHome(tempfile.mkdtemp(dir=sys.argv[1]), sys.argv[2])
    wrong, rounds = [], [(control,)] + [(reused, kind, command) for kind in ("stranger", "mirror") for command in COMMANDS]
    for function, *arguments in rounds:
        try:
            function(home, *arguments)
        except (AssertionError, OSError) as failure:
            wrong.append(f"{function.__name__} {arguments}: {failure}")
            home.run("rm", "-f", NAME)
    # Zombies are process 1's, which is us; a port of a process outside of the namespace is nobody's here.
    wrong += [finding for finding in home.finish() if not finding.startswith(("zombie", "tcp"))]
    print("\n".join(wrong) or f"{len(rounds)} rounds")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
