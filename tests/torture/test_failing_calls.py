# SPDX-License-Identifier: Apache-2.0
"""
test_failing_calls.py - each call of a command fails in turn, and all stays true

A scenario is a command and the state that it finds. For each of its faults (faults.py): the state is made, the command runs with the
fault, and must end as a command ends: with its work done, or with one line that says why not. No sanitizer may complain. Then what
the product says is compared with the kernel's books, the next command does what this one did not, and nothing is left that was not
there before. `make soak` does it at every pass of every site, `make test` at the first of each.
"""
import contextlib
import os
import signal

import pytest

import faults
import home as homes
import kernel
import leaks
import soak

NAME = "faulty"
ARCHIVE = homes.BUILD / "images" / "busybox.tar"
EVERY = bool(os.environ.get("BOXLITE_FAULTS_EVERY"))
PROBE = ".lock-probe"  # by which a new home's locks are tried; when it can't be removed, nothing can be done about it
SHOWN = 200  # findings of one scenario that are told whole


class Scenario:
    """What a command finds (`before`), and what is to be true once it ended, well or not (`after`)."""

    images = True  # whether the home has one

    def __init__(self, home):
        self.home = home

    def before(self):
        pass

    def after(self, done):
        pass

    def box(self):
        """The one box that there is, or None; what the product says of it is compared with the kernel's books."""
        listed = self.home.listed()
        assert len(listed) <= 1, listed
        if not listed:
            return None
        truth = kernel.Truth(self.home, listed[0]["ID"])
        kernel.compare(self.home, listed[0]["ID"], truth)
        return listed[0]

    def make(self):
        return self.home.ok("create", "--name", NAME, "busybox").strip()

    def gone(self):
        self.home.ok("rm", "-f", NAME)
        assert not self.home.listed()


class Open(Scenario):
    """The first command on a home that is not there yet."""
    command = ("list", "-a")
    images = False

    def before(self):
        self.home.ok("gc")
        for path in sorted(self.home.path.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.home.path.rmdir()

    def after(self, done):
        assert self.box() is None


class Look(Scenario):
    """A command that only looks finds a box whose host process was killed."""
    command = ("list", "-a")

    def before(self):
        box = self.make()
        self.home.ok("start", NAME)
        os.kill(kernel.Truth(self.home, box).holder, signal.SIGKILL)
        leaks.wait_gone(leaks.shims([box]), kernel.SECONDS)

    def after(self, done):
        assert self.box()["Status"].lower() == "stopped" and self.home.inspect(NAME)["State"]["ExitCode"] == 137
        if done.code == 0:
            assert "stopped" in done.out.lower()
        self.gone()


class Create(Scenario):
    command = ("create", "--name", NAME, "busybox")

    def after(self, done):
        box = self.box()
        if done.code == 0:
            assert box["ID"] == done.out.strip() and box["Status"].lower() == "configured"
        else:
            assert box is None, "it failed, and made a box"
            self.make()
        self.gone()


class Start(Scenario):
    command = ("start", NAME)

    def before(self):
        self.make()

    def after(self, done):
        status = self.box()["Status"].lower()
        if done.code == 0:
            assert status == "running"
        else:
            assert status in ("configured", "failed"), "it failed, and the box is " + status
            self.home.ok("start", NAME)
            assert self.box()["Status"].lower() == "running"
        self.home.ok("stop", NAME)
        assert self.box()["Status"].lower() == "stopped"
        self.gone()


class Stop(Scenario):
    command = ("stop", NAME)

    def before(self):
        self.make()
        self.home.ok("start", NAME)

    def after(self, done):
        status = self.box()["Status"].lower()
        assert status == "stopped" or (done.code != 0 and status == "running"), status
        self.home.ok("stop", NAME)
        assert self.box()["Status"].lower() == "stopped"
        self.gone()


class Remove(Scenario):
    command = ("rm", NAME)

    def before(self):
        self.make()

    def after(self, done):
        box = self.box()
        assert box is None or done.code != 0
        if box:
            assert box["Status"].lower() == "configured"
            self.home.ok("rm", NAME)
        self.home.ok("gc")


class RemoveRunning(Scenario):
    command = ("rm", "-f", NAME)

    def before(self):
        self.make()
        self.home.ok("start", NAME)

    def after(self, done):
        box = self.box()
        assert box is None or done.code != 0
        if box:
            self.gone()
        self.home.ok("gc")


class Load(Scenario):
    command = ("load", str(ARCHIVE))
    images = False

    def before(self):
        if self.home.ok("images", "-q").split():
            self.home.ok("rmi", "busybox")

    def after(self, done):
        there = self.home.ok("images", "-q").split()
        told = done.code == 0 or "the image is there" in done.err
        assert len(there) == told, "it failed, and there is an image, or the other way round"
        self.home.ok("load", str(ARCHIVE))
        self.make()
        self.gone()
        self.home.ok("gc")


def books(home):
    """What a round may not change; files of images are told by their names, those of locks and the database change."""
    found = soak.books(home)
    found["files"] = [name for name in found["files"] if name != PROBE]
    return {name: found[name] for name in ("processes", "zombies", "locks", "files", "rows", "lent")}


def one_fault(scenario, fault):
    """A round. Return: what went wrong, None when nothing did"""
    home = scenario.home
    scenario.before()
    done = None
    try:
        done = home.faulty(*scenario.command, fault=fault)
        faults.check_words(fault, done)
        scenario.after(done)
        return None
    except AssertionError as wrong:
        with contextlib.suppress(AssertionError):
            home.run("gc")
            scenario.after(done or homes.Done(scenario.command, 1, b"", b"", 0))
        home.run("rm", "-f", NAME)
        return f"{faults.where(fault)}\n  {fault}\n  {str(wrong)[:400]}\n{done!r}"


def play(scenario):
    """A whole scenario. Return: what went wrong"""
    home, found, missed = scenario.home, [], 0
    home.ok("list")
    scenario.before()
    log = home.calls(*scenario.command)
    scenario.after(homes.Done(scenario.command, 0, b"", b"", 0)) if not isinstance(scenario, (Create, Look)) else scenario.gone()
    scenario.before()
    scenario.after(home.run(*scenario.command))
    before = books(home)
    tried = faults.faults_of(log, EVERY)
    for fault in tried:
        wrong = one_fault(scenario, fault)
        after = books(home)
        changed = [f"{name}: {before[name]} before, {after[name]} after" for name in before if before[name] != after[name]]
        missed += not home.failed()
        if wrong or changed:
            found.append("\n".join(([wrong] if wrong else [faults.where(fault)]) + changed))
            before = after
    print(f"{len(tried)} faults, {missed} not reached, {len(found)} findings")
    assert missed <= len(tried) // 10, f"{missed} of {len(tried)} calls were not reached again"
    return found


SCENARIOS = (Load, RemoveRunning, Stop, Start, Create, Look, Remove, Open)


@pytest.mark.parametrize("kind", SCENARIOS, ids=lambda kind: kind.__name__)
def test_each_call_fails_once(make_home, prepared, kind):
    home = make_home(prepared if kind.images else None, kind=faults.FaultyHome)
    found = play(kind(home))
    assert not found, f"{len(found)} findings:\n\n" + "\n\n".join(found[:SHOWN])
