# SPDX-License-Identifier: Apache-2.0
"""
test_crash_points.py - a process dies at each durable step in turn, and the next command tells the truth

For each row of points.py: the scenario runs with the crash point armed; it must be reached, and its process be killed there. When
all is quiet, the product's word is compared with the kernel's (kernel.py) and with the row. Then the box is started, removed, or the
command done again; `gc` clears the rest, and the leak check of the fixture looks for leavings.
"""
import os
import re
import select
import signal

import pytest

import home as homes
import kernel
import leaks
import points

NAME = "crash"
ARCHIVE = homes.BUILD / "images" / "busybox.tar"
SOURCES = homes.TREE / "src"


class Crash:
    """A home, and a crash point that is armed for the commands that get `env`."""

    def __init__(self, home, point):
        self.home = home
        self.point = point
        self.log = home.base / "crash.log"
        os.mkfifo(self.log)
        self.heard = os.open(self.log, os.O_RDWR)  # held open on both ends, so nobody waits for the other
        self.env = {"BOXLITE_CRASH_AT": point, "BOXLITE_CRASH_LOG": str(self.log)}

    def armed(self, *arguments, **options):
        return self.home.run(*arguments, env={**self.env, **options.pop("env", {})}, **options)

    def armed_ok(self, *arguments):
        done = self.armed(*arguments)
        assert done.code == 0, done

    def reached(self):
        """Whether the point was passed. It may be the host process that passes it, after the command has heard its answer: waits."""
        if not select.select([self.heard], [], [], kernel.SECONDS)[0]:
            return False
        return os.read(self.heard, 4096).decode() == self.point.partition("@")[0] + "\n"

    def close(self):
        os.close(self.heard)


# The scenarios. Each returns how the command ended in which the crash was to come.


def made(crash):
    return crash.home.ok("create", "--name", NAME, "busybox").strip()


def started(crash):
    """A running box whose host process has the crash point armed, too."""
    box = made(crash)
    crash.armed_ok("start", NAME)
    return box


def do_open(crash):
    return crash.armed("list")


def do_create(crash):
    return crash.armed("create", "--name", NAME, "busybox")


def do_start(crash):
    made(crash)
    return crash.armed("start", NAME)


def do_start_broken(crash):
    made(crash)
    return crash.armed("start", NAME, env={"BOXLITE_QEMU": "/bin/false", "BOXLITE_ENGINE": "qemu"})


def do_start_spoilt(crash):
    """There is a template, but what it holds is no machine."""
    crash.home.ok("run", "--rm", "busybox", "true")
    template, = (crash.home.path / "templates").iterdir()
    template.chmod(0o600)
    with open(template, "r+b") as file:
        file.seek(1 << 20)
        file.write(bytes(template.stat().st_size - (2 << 20)))
    template.chmod(0o400)
    made(crash)
    return crash.armed("start", NAME)


def do_exec(crash):
    started(crash)
    return crash.armed("exec", NAME, "--", "echo", "hello")


def do_exec_boots(crash):
    made(crash)
    return crash.armed("exec", NAME, "--", "echo", "hello")


def do_stop(crash):
    started(crash)
    return crash.armed("stop", NAME)


def do_stop_unheard(crash):
    (crash.home.directory(started(crash)) / "control.sock").unlink()
    return crash.armed("stop", NAME)


def do_rm(crash):
    made(crash)
    return crash.armed("rm", NAME)


def do_rm_force(crash):
    started(crash)
    return crash.armed("rm", "-f", NAME)


def do_restart(crash):
    script = "while [ ! -e /go ]; do sleep 0.1; done; exit 1"
    crash.home.ok("create", "--name", NAME, "--restart", "on-failure", "busybox", "sh", "-c", script)
    done = crash.armed("start", NAME)
    box = crash.home.listed()[0]["ID"]
    crash.home.exec(NAME, "touch", "/go")  # its host process may be gone before that is answered
    kernel.settled(crash.home, box, False)
    return done


def do_end(crash):
    done = crash.armed("run", "-d", "--rm", "--name", NAME, "busybox", "true")
    crash.home.ok("wait", NAME)
    return done


def do_look(crash):
    box = started(crash)
    shim = crash.home.shim(box)
    os.kill(shim, signal.SIGKILL)
    kernel.settled(crash.home, box, False)
    return crash.armed("list")


def do_load(crash):
    return crash.armed("load", str(ARCHIVE))


def do_rmi(crash):
    crash.home.ok("load", str(ARCHIVE))
    return crash.armed("rmi", crash.home.ok("images", "-q").split()[0])


SCENARIOS = {name[3:].replace("_", "-"): function for name, function in list(globals().items()) if name.startswith("do_")}


# What is done with the box afterwards.


def starts(home, box):
    home.ok("start", NAME)
    kernel.compare(home, box, kernel.settled(home, box, True))
    assert home.sh(NAME, "echo alive") == "alive\n"
    assert (home.path / "names" / NAME).readlink().name == box


def goes(home, box):
    home.ok("rm", "-f", NAME)
    home.fails("inspect", NAME, says="No such box")
    assert not home.directory(box).exists() and not (home.path / "names" / NAME).is_symlink()


def check_box(home, row):
    boxes = [entry["ID"] for entry in home.listed()]
    if row.state == "absent":
        assert boxes == []
        box = home.ok("create", "--name", NAME, "busybox").strip()  # its name is free
        assert home.status(NAME) == "configured" and not (home.path / "names" / NAME).is_symlink()
        home.ok("gc")
        assert [entry.name for entry in (home.path / "boxes").iterdir()] == [box]
        goes(home, box)
        return
    assert len(boxes) == 1
    status, code = kernel.compare(home, boxes[0], kernel.settled(home, boxes[0], row.state == "running"))
    assert status == (row.state if isinstance(row.state, str) else "stopped")
    if isinstance(row.state, int):
        assert code == row.state
    (starts if row.then == "start" else goes)(home, boxes[0])


def check_images(home, row):
    names = list((home.path / "images" / "index").glob("[!.]*.json"))
    assert len(names) == (row.state == "present")
    assert len(home.ok("images", "-q").split()) == len(names)
    home.ok("load", str(ARCHIVE))
    assert len(home.ok("images", "-q").split()) == 1
    assert len(list((home.path / "images" / "disks").iterdir())) == 1
    assert not list((home.path / "images" / "partial").iterdir())


@pytest.mark.parametrize("row", points.TABLE, ids=[row.point for row in points.TABLE])
def test_crash(make_home, prepared, request, row):
    home = make_home(None if row.scenario in ("load", "rmi") else prepared)
    crash = Crash(home, row.point)
    request.addfinalizer(crash.close)
    done = SCENARIOS[row.scenario](crash)
    assert crash.reached(), f"{row.point} was never reached: {done!r}"
    assert row.ends == "either" or row.ends == {0: "succeeds", -signal.SIGKILL: "killed"}.get(done.code, "fails"), done
    if row.ends == "fails":
        assert done.err.strip(), f"no word about why: {done!r}"
    home.ok("list", "-a")  # whatever is still under way, looking works
    if row.scenario in ("load", "rmi"):
        check_images(home, row)
    else:
        check_box(home, row)
    home.ok("gc")


def in_sources():
    """The crash points of the sources. Return: names, in order, with those that stand twice twice"""
    found = []
    for path in sorted(SOURCES.rglob("*.c")):
        found += re.findall(r'\bBL_CRASH_POINT\("([^"]+)"\)', path.read_text())
    return found


def test_table_knows_every_point():
    known = in_sources()
    assert len(known) == len(set(known)), "a name stands twice"
    listed = [row.point.partition("@")[0] for row in points.TABLE]
    assert set(listed) == set(known)
    assert len(known) >= 60 and sum(name.startswith("shim:") for name in known) >= 15
