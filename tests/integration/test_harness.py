# SPDX-License-Identifier: Apache-2.0
"""test_harness.py - the leak check finds each kind of thing that it promises to find, and nothing when there is nothing"""
import fcntl
import os
import secrets
import socket
import subprocess
import sys

import pytest

import leaks


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home" / "boxes").mkdir(parents=True)
    (tmp_path / "scratch").mkdir()
    return tmp_path / "home"


def look(home, ids=(), everybody=False):
    """A short look, which must not see the orphans of tests beside this one."""
    return leaks.check(home, ids, home.parent / "scratch", seconds=0.2, everybody=everybody)


def sleeper(*arguments, **options):
    """A process that says it runs, then waits for the end of its input."""
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
    assert process.stdout.readline() == b"up\n"
    return process


def test_clean_home_is_clean(home):
    assert look(home, ["aB3dE5gH7jK9"]) == []


@pytest.mark.parametrize("how", ["argument", "directory", "file"])
def test_process_is_found(home, how):
    identity = secrets.token_hex(6)  # another worker may be at this very test
    (home / "disk").touch()
    options = {
        "argument": {"arguments": [identity]},
        "directory": {"cwd": home},
        "file": {"stderr": open(home / "disk", "wb")},
    }[how]
    with sleeper(*options.pop("arguments", []), **options) as process:
        found = look(home, [identity])
        process.stdin.close()
        process.wait()
    assert len(found) == 1 and str(process.pid) in found[0]
    assert look(home, [identity]) == []


def test_id_must_be_equal(home):
    with sleeper("aB3dE5gH7jK9x") as process:
        found = look(home, ["aB3dE5gH7jK9"])
        process.stdin.close()
    assert found == []


ORPHAN = """
import os, socket, sys
kept = os.memfd_create(sys.argv[1]) if sys.argv[1:] else None
port = socket.socket(); port.bind(("127.0.0.1", 0)); port.listen()
if os.fork() == 0:
    print(os.getpid(), port.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["engine", "memory", "port"])
def test_orphan_is_found(home, kind):
    """What nothing links to a home any more: its parent is gone, too."""
    words = {"engine": ["qemu-system-x86_64", "-c", ORPHAN], "memory": ["python3", "-c", ORPHAN, "boxlite-memory"],
             "port": ["python3", "-c", ORPHAN]}[kind]
    with subprocess.Popen(words, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid, port = parent.stdout.readline().decode().split()
        parent.wait()
        found = look(home, everybody=True)
        parent.stdin.close()
        assert not leaks.wait_gone([int(pid)], 60)
    found = [line for line in found if f"process {pid} " in line]
    assert len(found) == 1, found
    says = {"engine": "without a host process", "memory": "/memfd:boxlite-memory", "port": f"tcp port {port}"}[kind]
    assert says in found[0], found
    assert not [line for line in look(home, everybody=True) if f"process {pid} " in line]


def test_zombie_is_found(home):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    found = look(home)
    os.waitpid(pid, 0)
    assert any(f"zombie {pid}" in line for line in found)
    assert look(home) == []


def test_lock_is_found(home):
    with open(home / "shim.lock", "wb") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        found = look(home)
    assert len(found) == 1 and "shim.lock" in found[0]
    assert look(home) == []


def test_files_are_found(home):
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(home)
        server.bind("control.sock")
        os.chdir("/")
    (home / "images" / "partial").mkdir(parents=True)
    (home / "images" / "partial" / "layer").touch()
    (home / "boxes" / "aB3dE5gH7jK9").mkdir()
    (home.parent / "scratch" / "spool").touch()
    found = "\n".join(look(home))
    for name in ("control.sock", "layer", "aB3dE5gH7jK9", "spool"):
        assert name in found
