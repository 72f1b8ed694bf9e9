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
import re
import signal
import tarfile
import time

import pytest

import faults
import home as homes
import kernel
import leaks
import oci
import registry as registries
import soak

NAME = "faulty"
ARCHIVE = homes.BUILD / "images" / "busybox.tar"
EVERY = bool(os.environ.get("BOXLITE_FAULTS_EVERY"))
PARTS = 4 if EVERY else 1  # of a scenario, each on a home of its own, so that no worker is left alone with a long one
PART = ".part"  # what a pull leaves for the next one to go on with, for a week
PROBE = ".lock-probe"  # by which a new home's locks are tried; when it can't be removed, nothing can be done about it
SHOWN = 200  # findings of one scenario that are told whole


class Scenario:
    """What a command finds (`before`), and what is to be true once it ended, well or not (`after`)."""

    images = True  # whether the home has one
    ends = faults.ENDS  # what the command may end with
    others = ()  # commands whose calls other scenarios have fail: `make test` tries no site twice

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

    def mend(self):
        """After a round that went wrong."""
        self.home.run("rm", "-f", NAME)

    def over(self):
        """At the end of all."""


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


class Serves(Scenario):
    """A command that talks to a box, here one with a machine: it is started once, and no fault of a client's may end it."""
    others = (("list", "-a"),)

    def before(self):
        if not self.home.listed():
            self.make()
            self.home.ok("start", NAME, env={"BOXLITE_RUNTIME_DIR": str(homes.BUILD)})

    def sh(self, script):
        return self.home.ok("exec", NAME, "--", "sh", "-c", script)

    def after(self, done):
        assert self.box()["Status"].lower() == "running"

    def mend(self):
        pass

    def over(self):
        self.gone()


class Exec(Serves):
    command = ("exec", NAME, "--", "echo", "said")
    ends = (*faults.ENDS, 137)  # a command that was lost

    def after(self, done):
        super().after(done)
        assert done.out == "said\n" or (done.code != 0 and done.out == "")
        assert self.sh("echo again") == "again\n"


class CopyIn(Serves):
    """A file comes into the box whole, or not at all."""
    command = ("cp", "given", NAME + ":/root/in")
    content = "given to the box\n" * 50
    others = (*Serves.others, Exec.command)

    def before(self):
        super().before()
        (self.home.base / "given").write_text(self.content)

    def after(self, done):
        super().after(done)
        there = self.sh("cd /root; ls -A; cat in 2>/dev/null; rm -f in")
        assert there == "in\n" + self.content or (done.code != 0 and there == ""), there


class CopyOut(Serves):
    """The same the other way."""
    command = ("cp", NAME + ":/etc/group", "taken")
    others = CopyIn.others

    def after(self, done):
        super().after(done)
        taken = self.home.base / "taken"
        there = [path for path in self.home.base.iterdir() if "taken" in path.name]
        assert there == [taken] or (done.code != 0 and not there), there
        if there:
            assert taken.read_text() == self.sh("cat /etc/group")
            taken.unlink()


class Save(Scenario):
    """What was saved is whole, or not there."""
    command = ("save", "-o", "saved.tar", "busybox")
    others = Serves.others

    def after(self, done):
        saved = self.home.base / "saved.tar"
        there = [path for path in self.home.base.iterdir() if "saved" in path.name]
        assert there == [saved] or (done.code != 0 and not there), there
        if there:
            with tarfile.open(saved) as archive:
                files = {info.name: archive.extractfile(info).read() for info in archive if info.isfile()}
            blobs = {name: content for name, content in files.items() if name.startswith("blobs/")}
            assert len(blobs) == 3 and "index.json" in files and "oci-layout" in files
            assert all(oci.digest(content) == name[len("blobs/"):].replace("/", ":") for name, content in blobs.items())
            saved.unlink()
        self.home.ok("gc")


class Pull(Scenario):
    """An image from a registry is there, or it is not."""
    command = ("pull", "-q", "REGISTRY/faulty")
    images = False
    others = (*Serves.others, ("load", str(ARCHIVE)))

    def before(self):
        for part in self.home.path.glob("images/blobs/*" + PART):
            part.unlink()
        there = self.home.ok("images", "-q").split()
        if there:
            self.home.ok("rmi", *there)
        self.home.ok("gc")

    def after(self, done):
        there = self.home.ok("images", "-q").split()
        told = done.code == 0 or "the image is there" in done.err
        assert len(there) == told, "it failed, and there is an image, or the other way round"
        assert self.home.ok("pull", "-q", self.command[2]) == self.home.ok("images", "-q")
        self.before()


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
    found["files"] = [name for name in found["files"] if name != PROBE and not name.endswith(PART)]
    found["locks"] = sorted({re.sub(r": \d+: ", ": ", lock) for lock in found["locks"]})  # the kernel's numbers of them mean nothing
    return {name: found[name] for name in ("processes", "zombies", "locks", "files", "rows", "lent")}


def sure_books(home):
    """The books when two looks agree: /proc/locks misses some, or has them twice, while those of others change."""
    found, before = books(home), None
    while found != before:
        found, before = books(home), found
    return found


def books_as(home, before):
    """The books, looked at again while they are not as before."""
    deadline = time.monotonic() + leaks.SETTLE_SECONDS
    found = books(home)
    while found != before and time.monotonic() < deadline:
        time.sleep(0.1)  # nothing announces what other tests do
        found = books(home)
    return found


def told(before, after):
    """What changed in the books."""
    return f"gone {[item for item in before if item not in after]}, new {[item for item in after if item not in before]}"


def one_fault(scenario, fault):
    """A round. Return: what went wrong, None when nothing did"""
    home = scenario.home
    scenario.before()
    done = None
    try:
        done = home.faulty(*scenario.command, fault=fault)
        faults.check_words(fault, done, scenario.ends)
        scenario.after(done)
        return None
    except AssertionError as wrong:
        with contextlib.suppress(AssertionError):
            home.run("gc")
            scenario.after(done or homes.Done(scenario.command, 1, b"", b"", 0))
        scenario.mend()
        return f"{faults.where(fault)}\n  {fault}\n  {str(wrong)[:400]}\n{done!r}"


def play(scenario, part):
    """A scenario, or every PARTS-th fault of it from one on. Return: what went wrong"""
    home, found, missed, known = scenario.home, [], 0, set()
    home.ok("list")
    scenario.before()
    for other in () if EVERY else scenario.others:
        known |= faults.sites(home.calls(*other)[1])
        scenario.before()
    done, log = home.calls(*scenario.command)
    scenario.after(done)
    scenario.before()
    scenario.after(home.run(*scenario.command))
    before = sure_books(home)
    tried = [fault for fault in faults.faults_of(log, EVERY) if (fault.call, fault.site) not in known][part::PARTS]
    for fault in tried:
        wrong = one_fault(scenario, fault)
        after = books_as(home, before)
        changed = [f"{name}: {told(before[name], after[name])}" for name in before if before[name] != after[name]]
        missed += not home.failed()
        if wrong or changed:
            found.append("\n".join(([wrong] if wrong else [faults.where(fault)]) + changed))
            before = sure_books(home)
    scenario.over()
    print(f"{len(tried)} faults, {missed} not reached, {len(found)} findings")
    assert missed <= len(tried) // 10, f"{missed} of {len(tried)} calls were not reached again"
    return found


SCENARIOS = (Load, RemoveRunning, Stop, Start, Create, Look, Remove, Open, Exec, CopyIn, CopyOut, Save)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", SCENARIOS, ids=lambda kind: kind.__name__)
def test_each_call_fails_once(make_home, prepared, kind, part):
    home = make_home(prepared if kind.images else None, kind=faults.FaultyHome)
    found = play(kind(home), part)
    assert not found, f"{len(found)} findings:\n\n" + "\n\n".join(found[:SHOWN])


@pytest.mark.parametrize("part", range(PARTS))
def test_each_call_of_a_pull_fails_once(make_home, tmp_path, part):
    registry = registries.Registry(tmp_path / "registry")
    try:
        layout = oci.Layout()
        layout.add([oci.layer(("file", "content"))], how="gzip")
        registry.push(layout, "faulty")
        scenario = Pull(make_home(kind=faults.FaultyHome))
        scenario.command = ("pull", "-q", f"{registry.host}/faulty")
        found = play(scenario, part)
    finally:
        registry.close()
    assert not found, f"{len(found)} findings:\n\n" + "\n\n".join(found[:SHOWN])
