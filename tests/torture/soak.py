# SPDX-License-Identifier: Apache-2.0
"""
soak.py - many lifecycles by four at once on one home, some of them killed at random

A lifecycle is create, start, exec, stop, rm, each a command of its own. One in ten is killed: at a crash point that it may reach, or
its host process, its emulator or a command at a moment that only the seed knows. What was killed may fail, but nothing may hang, and
the forced removal at its end must leave no box. No more than four host processes may ever live, and afterwards the books (processes,
zombies, descriptors, locks, sockets, files, rows of the database) must say what they said before.
"""
import contextlib
import os
import pathlib
import random
import signal
import sqlite3
import threading
import time

import kernel
import leaks
import points

WORKERS = 4
KILLED = 10  # one in so many
VICTIMS = ("point", "command", "shim", "emulator")
LATEST_S = 2.0  # a kill at a random moment comes that late at most
POINTS = [row.point for row in points.TABLE if row.scenario in ("create", "start", "exec", "stop", "rm")]


def books(home):
    """All that a lifecycle may not change."""
    files = sorted(str(path.relative_to(home.path)) for path in home.path.rglob("*") if not path.name.endswith(("-wal", "-shm")))
    with contextlib.closing(sqlite3.connect(f"file:{home.path}/db/boxlite.db?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT * FROM boxes").fetchall()
    return {"processes": leaks.processes(home.path, home.ids), "zombies": leaks.zombies(), "locks": leaks.locks(home.path),
            "mounts": leaks.mounts(home.path), "loop devices": leaks.loop_devices(home.path), "files": files, "rows": rows,
            "descriptors": len(os.listdir("/proc/self/fd")), "lent": sorted(os.listdir(home.scratch))}


def shim_parent(home, pid):
    """The parent of a process that is a host process of a home's box; None for any other."""
    with contextlib.suppress(OSError, IndexError):
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if words[0].endswith(b"/boxlite-shim") and words[1].decode() in home.ids:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    return None


def shims(home):
    """
    Host processes of a home's boxes that live at one moment: /proc is no snapshot, so those that ended meanwhile are left out; and a
    child that is about to become an emulator still looks like its parent.
    """
    found = [name for name in os.listdir("/proc") if name.isdigit() and shim_parent(home, name)]
    return [name for name in found if shim_parent(home, name) not in (None, *found)]


class Life:
    """One lifecycle."""

    def __init__(self, home, number, seed):
        self.home = home
        self.name = f"soak-{number}"
        self.chance = random.Random(f"{seed}/{number}")
        self.victim = self.chance.choice(VICTIMS) if number % KILLED == KILLED - 1 else None
        self.turn = self.chance.randrange(5)  # in which of its commands the kill comes
        self.env = {}
        if self.victim == "point":
            self.env = {"BOXLITE_CRASH_AT": self.chance.choice(POINTS), "BOXLITE_CRASH_LOG": str(home.base / f"{self.name}.log")}
        self.box = None

    def shot(self, command):
        """Kills the victim at a random moment, unless its time is over first."""
        time.sleep(self.chance.uniform(0, LATEST_S))
        shim = self.home.shim(self.box) if self.box else None
        pid = {"command": command.pid, "shim": shim, "emulator": shim and kernel.emulator(self.home, shim)}[self.victim]
        if pid and command.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def step(self, turn, *arguments):
        """One command of the life. Return: its output"""
        command = self.home.start(*arguments, env=self.env)
        shot = None
        if self.victim not in (None, "point") and turn == self.turn:
            shot = threading.Thread(target=self.shot, args=(command,))
            shot.start()
        out, err = command.communicate(timeout=180)
        if shot:
            shot.join()
        self.home.note_ids()
        assert self.victim or command.returncode == 0, (arguments, command.returncode, out, err)
        return out.decode()

    def live(self):
        self.box = self.step(0, "create", "--name", self.name, "busybox").strip() or None
        self.step(1, "start", self.name)
        said = self.step(2, "exec", self.name, "--", "echo", self.name)
        assert self.victim or said == self.name + "\n", said
        alive = shims(self.home)
        assert len(alive) <= WORKERS, alive
        self.step(3, "stop", self.name)
        self.step(4, "rm", self.name)
        if self.victim:
            done = self.home.run("rm", "-f", self.name, timeout=180)
            assert done.code == 0 or "no such box" in done.err.lower(), done
        done = self.home.run("inspect", self.name)
        assert done.code != 0 and "no such box" in done.err.lower(), done


def soak(home, count, seed):
    """Lives through many lifecycles. Return: what went wrong, empty when nothing did"""
    # The folders of the store and of names are there from here on, and the machine that the first start keeps (docs/templates.md).
    home.ok("rm", "-f", home.idle(name="first"))
    before = books(home)
    numbers, lock, wrong = iter(range(count)), threading.Lock(), []

    def work():
        while not wrong:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                Life(home, number, seed).live()
            except Exception as failure:  # told by the caller, with the others'
                wrong.append(f"lifecycle {number} of seed {seed}: {failure!r}")

    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for process in home.started:
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    home.ok("gc")
    found = leaks.check(home.path, home.ids, home.scratch)
    after = books(home)
    return wrong + found + [f"{name}: {before[name]} before, {after[name]} after" for name in before if before[name] != after[name]]
