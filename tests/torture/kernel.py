# SPDX-License-Identifier: Apache-2.0
"""
kernel.py - what is true of a box, read from the kernel's own books

Never from the product: locks by fcntl(), processes from /proc, sockets by connecting. Looking takes no lock and changes nothing.
"""
import contextlib
import errno
import fcntl
import os
import pathlib
import socket
import struct
import time

import leaks

F_OFD_GETLK = 36
FLOCK = "hhqqi4x"  # struct flock of x86-64: type, whence, start, length, pid
DISK_LOCK = (100, 200)  # where an emulator locks an image: first byte, how many
SECONDS = 90  # for what follows by itself after a kill: far more than it takes


def _lock(path, command, start=0, length=0):
    """Who stands in the way of a write lock. Return: None when nobody does, else the pid that the kernel names"""
    try:
        with open(path, "r+b", buffering=0) as file:
            answer = fcntl.fcntl(file, command, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
    except FileNotFoundError:
        return None
    kind, _, _, _, pid = struct.unpack(FLOCK, answer)
    return None if kind == fcntl.F_UNLCK else pid


def _answers(directory):
    """Whether somebody listens on a box's control socket."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as client:
        client.settimeout(SECONDS)
        folder = os.open(directory, os.O_PATH)
        try:
            client.connect(f"/proc/self/fd/{folder}/control.sock")
            return True
        except OSError as failure:
            if failure.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                raise
            return False
        finally:
            os.close(folder)


class Truth:
    """One look at a box."""

    def __init__(self, home, box):
        directory = home.directory(box)
        self.exists = directory.is_dir()
        self.changing = _lock(directory / "lifecycle.lock", F_OFD_GETLK) is not None
        self.holder = _lock(directory / "shim.lock", fcntl.F_GETLK)
        self.disk = _lock(directory / "disks" / "disk.qcow2", F_OFD_GETLK, *DISK_LOCK) is not None
        self.answers = self.exists and _answers(directory)
        found = leaks.processes(home.path, [box])
        self.shims = {pid for pid, how in found.items() if how.startswith("has the id")}
        self.others = {pid: how for pid, how in found.items() if pid not in self.shims}

    def runs(self):
        return self.holder is not None

    def is_quiet(self, runs):
        """Whether nothing is under way any more, and the box runs, or not."""
        if runs:
            return not self.changing and self.shims == {self.holder} and self.disk and self.answers and bool(self.others)
        return not (self.changing or self.runs() or self.disk or self.shims or self.others)

    def __repr__(self):
        return ", ".join(f"{name} {value}" for name, value in vars(self).items())


def settled(home, box, runs):
    """Waits until a box is quiet in the way it must become. Return: the Truth"""
    deadline = time.monotonic() + SECONDS
    while True:
        truth = Truth(home, box)
        if truth.is_quiet(runs):
            break
        assert time.monotonic() < deadline, f"box {box} should {'run' if runs else 'not run'}: {truth}"
        time.sleep(0.05)  # nothing announces the end of what another process does
    if runs:
        words = pathlib.Path(f"/proc/{truth.holder}/cmdline").read_bytes().split(b"\0")
        assert len(words) == 3 and words[0].endswith(b"/boxlite-shim") and words[1:] == [box.encode(), b""], words
    return truth


def compare(home, box, truth):
    """Asks the product about a box, in both of its ways, and compares with the truth. Return: its status and exit code"""
    shown = home.inspect(box)
    state = shown["State"]
    assert state["Running"] == truth.runs(), f"{shown}\n{truth}"
    assert (state["Pid"] or None) == truth.holder, f"{shown}\n{truth}"
    listed = [entry["Status"].lower() for entry in home.listed() if entry["ID"] == box]
    assert listed == [shown["Status"].lower()], f"{listed} {shown}"
    assert (listed == ["running"]) == truth.runs()
    return listed[0], state["ExitCode"]


def emulator(home, shim):
    """Pid of the emulator below a shim, None while there is none."""
    for process in pathlib.Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                after = (process / "stat").read_text().rpartition(")")[2].split()
                if int(after[1]) == shim and b"qemu" in (process / "cmdline").read_bytes().split(b"\0")[0]:
                    return int(process.name)
            except (OSError, IndexError):
                pass  # it ended while we looked
    return None
