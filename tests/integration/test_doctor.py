# SPDX-License-Identifier: Apache-2.0
"""test_doctor.py - `boxlite doctor` finds what is wrong and says what to do; `boxlite gc` removes what nothing owns and lists it"""
import json
import os
import shutil
import signal
import subprocess

import pytest

import home as homes
import leaks
import small

KNOWN = ["kernel", "engine", "kvm", "install", "guest", "namespaces", "confinement", "home", "space", "boxes", "leftovers"]


def doctor(home, **options):
    """Return: exit code, and the findings by the name of their check"""
    done = home.run("doctor", "--format", "json", **options)
    findings = json.loads(done.out)
    assert done.code == any(finding["Level"] == "attention" for finding in findings), done
    assert all(set(finding) == {"Check", "Level", "Text", "Hint"} and finding["Text"] for finding in findings)
    return done.code, {finding["Check"]: finding for finding in findings}


def test_all_is_well(boxlite):
    boxlite.ok("create", "busybox")
    code, found = doctor(boxlite)
    assert code == 0 and list(found) == KNOWN, found
    assert str(boxlite.path) in found["home"]["Text"]
    # Where KVM does not run guests, it says why, and that is no failure: boxes run all the same.
    assert found["kvm"]["Level"] == "ok" or ("unavailable: " in found["kvm"]["Text"] and found["kvm"]["Level"] == "note")
    assert found["confinement"]["Text"].startswith("seccomp; ") and "Landlock" in found["confinement"]["Text"]
    lines = boxlite.ok("doctor").splitlines()
    assert [line.split()[1] for line in lines if not line.startswith(" ")] == KNOWN
    boxlite.fails("doctor", "--format", "table", code=2, says="format")


def test_what_a_dead_shim_left(boxlite):
    box = boxlite.idle()
    host = list(leaks.processes(boxlite.path, [box]))
    os.kill(boxlite.shim(box), signal.SIGKILL)
    assert not leaks.wait_gone(host, 60)  # the emulator, too: while it holds the disk, nothing is anybody's leaving
    code, found = doctor(boxlite)
    assert code == 1 and found["leftovers"]["Level"] == "attention" and "boxlite gc" in found["leftovers"]["Hint"]
    listed = boxlite.ok("gc", "--dry-run").splitlines()
    expected = {f"boxes/{box}/shim.pid", f"boxes/{box}/control.sock"}
    assert {line.split()[2] for line in listed[:-1]} == expected and listed[-1].startswith("Reclaimable space: ")
    assert all((boxlite.path / name).exists() for name in expected)
    removed = boxlite.ok("gc").splitlines()
    assert {line.split()[1] for line in removed[:-1]} == expected and removed[-1].startswith("Total reclaimed space: ")
    assert not any((boxlite.path / name).exists() for name in expected)
    assert boxlite.ok("gc", "-n").splitlines() == ["Reclaimable space: 0 B"]
    assert doctor(boxlite)[0] == 0


def test_an_ended_box_of_rm_is_left_over(boxlite):
    box = boxlite.ok("run", "-d", "--rm", "busybox", "true").strip()
    boxlite.ok("wait", box)
    assert f"Would remove boxes/{box} " in boxlite.ok("gc", "-n")
    assert f"Removed boxes/{box} " in boxlite.ok("gc")
    assert not boxlite.directory(box).exists()


def test_no_engine(bare):
    code, found = doctor(bare, env={"BOXLITE_QEMU": "/no/emulator", "BOXLITE_QEMU_ACCEL": "tcg"})
    assert code == 1 and found["engine"]["Level"] == "attention" and "/no/emulator" in found["engine"]["Text"]


def test_no_installation(bare, tmp_path):
    code, found = doctor(bare, env={"BOXLITE_RUNTIME_DIR": str(tmp_path)})
    assert code == 1 and {found[check]["Level"] for check in ("install", "guest")} == {"attention"}
    assert "make kernel" in found["guest"]["Text"]


def test_a_home_that_is_a_file(bare, tmp_path):
    (tmp_path / "file").write_text("")
    code, found = doctor(bare, env={"BOXLITE_HOME": str(tmp_path / "file")})
    assert code == 1 and list(found) == KNOWN[:KNOWN.index("home") + 1] and found["home"]["Level"] == "attention"
    assert "--home or BOXLITE_HOME" in found["home"]["Text"]


def test_little_room(make_home):
    home = small.on_small_disk(make_home)
    code, found = doctor(home)
    assert code == 1 and found["space"]["Level"] == "attention" and "image prune" in found["space"]["Hint"]


def test_a_limit_of_namespaces(bare):
    """The kernel's own ENOSPC: inside a namespace that may have no other below it."""
    inside = f"echo 0 >/proc/sys/user/max_user_namespaces && exec {homes.COMMAND} doctor --format json"
    if not shutil.which("unshare") or subprocess.run(["unshare", "-r", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    done = subprocess.run(["unshare", "-r", "sh", "-c", inside], env=bare.environment, capture_output=True, text=True, check=False)
    found = {finding["Check"]: finding for finding in json.loads(done.stdout)}
    assert found["namespaces"]["Level"] == "note" and "No space left" in found["namespaces"]["Text"], done
    assert "user.max_user_namespaces" in found["namespaces"]["Hint"]
