# SPDX-License-Identifier: Apache-2.0
"""
test_cannot_tell.py - a lock or /proc that can't be read: unchanged, reported, never swept, never started

Every look of one kind fails (faults.py): at locks, or at /proc. A box whose host process lives, and one whose host process was
killed, must both stay as they are, whatever command comes by, and be told from the others; the control is the same command right
afterwards, when looking works again.
"""
import errno
import json
import os
import signal

import pytest

import faults
import kernel
import leaks

NAME = "veiled"
# What can't be looked at, and what a box must have been for that to matter: one whose lock is held needs no look at /proc.
VEILS = [("fcntl-look", errno.EACCES, True), ("fcntl-look", errno.EIO, True), ("fcntl-look", errno.ENOLCK, True),
         ("fcntl-look", errno.EIO, False), ("fcntl-look", errno.ENOLCK, False),
         ("open-proc", errno.EACCES, False), ("open-proc", errno.EIO, False), ("open-proc", errno.ENOENT, False)]


def left(home, box):
    return sorted(path.name for path in home.directory(box).iterdir())


@pytest.mark.parametrize("call, how, lives", VEILS, ids=[f"{call}-{errno.errorcode[how]}-{'alive' if lives else 'dead'}" for call, how, lives in VEILS])
def test_what_cannot_be_told_stays(make_home, prepared, call, how, lives):
    home = make_home(prepared, kind=faults.FaultyHome)
    veil = faults.Fault(call, call, 0, how)
    box = home.ok("create", "--name", NAME, "busybox").strip()
    home.ok("start", NAME)
    shim = kernel.Truth(home, box).holder
    if not lives:
        os.kill(shim, signal.SIGKILL)
        assert not leaks.wait_gone([shim], kernel.SECONDS)
    before = left(home, box)
    assert "shim.pid" in before and "control.sock" in before
    recorded = (home.directory(box) / "shim.pid").read_bytes()

    def unchanged():
        assert home.failed(), "nothing failed"
        assert leaks.shims([box]) == ([shim] if lives else [])
        assert left(home, box) == before and (home.directory(box) / "shim.pid").read_bytes() == recorded
        assert kernel.Truth(home, box).holder == (shim if lives else None)

    for command in (("start", NAME), ("stop", NAME), ("rm", NAME), ("rm", "-f", NAME), ("wait", NAME)):
        done = home.faulty(*command, fault=veil)
        assert done.code == 1 and done.err.count("Error: ") == 1, done
        assert "can't be told" in done.err and os.strerror(how) in done.err, done
        unchanged()
    done = home.faulty("inspect", NAME, fault=veil)
    assert done.code == 0, done
    shown = json.loads(done.out)[0]
    assert shown["Status"].lower() == "running" and os.strerror(how) in shown["State"]["Trouble"], shown
    unchanged()
    done = home.faulty("list", "-a", fault=veil)
    assert done.code == 0 and "Running" in done.out, done
    unchanged()
    done = home.faulty("gc", fault=veil)
    assert done.code == 0, done
    unchanged()

    # The control: the same home, and looking works.
    state = home.inspect(NAME)["State"]
    assert state["Running"] == lives and (state["Pid"] or None) == (shim if lives else None) and not state["Trouble"]
    if not lives:
        home.ok("start", NAME)
    home.ok("stop", NAME)
    home.ok("rm", NAME)
