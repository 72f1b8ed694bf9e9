# SPDX-License-Identifier: Apache-2.0
"""test_confinement.py - `inspect` says what confines a box, and the kernel's books agree"""
import contextlib
import json
import os
import pathlib

import leaks

OWN_MONITOR = os.environ.get("BOXLITE_ENGINE") == "kvm"


def landlock_is_there(home):
    found = {finding["Check"]: finding for finding in json.loads(home.ok("doctor", "--format", "json"))}
    return found["confinement"]["Level"] == "ok"


def filters(pid):
    """Of system calls, the fewest that any thread of a process has."""
    counts = []
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended while we looked
            counts.append(int((thread / "status").read_text().partition("Seccomp_filters:")[2].split()[0]))
    return min(counts)


def engine_pid(home, box):
    """The process that runs the guest: the shim, or the emulator below it."""
    shim = home.shim(box)
    return shim if OWN_MONITOR else next(pid for pid in leaks.processes(home.path, [box]) if pid != shim)


def test_layers_of_an_ordinary_box(boxlite):
    box = boxlite.idle()
    expected = ["no-new-privileges", "seccomp"] + ["landlock"] * (OWN_MONITOR and landlock_is_there(boxlite))
    assert boxlite.inspect(box)["State"]["Confinement"] == expected
    assert filters(engine_pid(boxlite, box)) > filters("self")
    boxlite.ok("stop", box)
    assert boxlite.inspect(box)["State"]["Confinement"] == []


def test_layers_without_security(boxlite):
    box = boxlite.idle("--security", "disable")
    assert boxlite.inspect(box)["State"]["Confinement"] == ["no-new-privileges"]
    assert filters(engine_pid(boxlite, box)) == filters("self")
