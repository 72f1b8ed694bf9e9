# SPDX-License-Identifier: Apache-2.0
"""
test_restart.py - who starts a box again, and who stops and removes it, when nobody watches: the rows of docs/restart.md

A workload tells what number its life has, which it keeps on the box's disk; it ends when a file is there, so nothing depends on
time. "The machine was started" is another boot id in the record of a box, which is all that tells a program of it.
"""
import contextlib
import os
import pathlib
import select
import shutil
import signal
import sqlite3
import subprocess

import pytest

import leaks

LIVES = ('n=$(cat /lives 2>/dev/null || echo 0); n=$((n + 1)); echo $n >/lives; '
         'echo "life $n $(cat /proc/sys/kernel/random/boot_id)"; ')
UNTIL_TOLD = "while [ ! -e /go$n ]; do sleep 0.1; done; "
LONG = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def policy_box(home, policy, script, *options):
    return home.ok("run", "-d", "--restart", policy, *options, "busybox", "sh", "-c", script).strip()


def counted(home, box):
    state = home.inspect(box)["State"]
    return state["Status"], state["RestartCount"], state["ExitCode"]


def life(home, box, number):
    """Waits until a box's workload has begun N lives, by what it prints. (What a killed machine had not written yet is lost.)"""
    follow = home.start("logs", "-f", box)
    got = b""
    while got.count(b"life ") < number:
        ready, _, _ = select.select([follow.stdout], [], [], 120)
        piece = os.read(follow.stdout.fileno(), 65536) if ready else b""
        assert piece, f"life {number} did not begin: {got!r}"
        got += piece
    follow.kill()
    follow.communicate()


def kill_shim(home, box):
    shim = home.shim(box)
    os.kill(shim, signal.SIGKILL)
    assert not leaks.wait_gone([shim], 60)


def reboot(home, *boxes):
    """As after a restart of the machine: nobody runs them, and the boot id is another."""
    for box in boxes:
        if home.shim(box):
            kill_shim(home, box)
    with contextlib.closing(sqlite3.connect(home.path / "db" / "boxlite.db", timeout=60)) as database, database:
        for box in boxes:
            assert database.execute("SELECT boot_id FROM boxes WHERE id = ?", (box,)).fetchone()[0] == BOOT_ID
            database.execute("UPDATE boxes SET boot_id = '11111111-2222-3333-4444-555555555555' WHERE id = ?", (box,))


def machines(home, box):
    """The boot ids of the virtual machines that the lives of a box's workload had, in order."""
    return [line.split()[2] for line in home.ok("logs", box).splitlines() if line.startswith("life ")]


def test_a_workload_that_fails_is_started_again(boxlite):
    """In the same machine, as often as was said; and a command that changes something later does not take that up again."""
    box = policy_box(boxlite, "on-failure:2", LIVES + "exit $((10 + n))")
    assert boxlite.ok("wait", box) == "13\n"
    assert counted(boxlite, box) == ("stopped", 2, 13)
    lives = machines(boxlite, box)
    assert len(lives) == 3 and len(set(lives)) == 1
    boxlite.ok("create", "busybox")
    assert counted(boxlite, box) == ("stopped", 2, 13)
    assert boxlite.inspect(box)["State"]["RestartPolicy"] == "on-failure:2"


def test_a_success_is_final_for_on_failure_only(boxlite):
    final = policy_box(boxlite, "on-failure", LIVES + "exit 0")
    assert boxlite.ok("wait", final) == "0\n"
    assert counted(boxlite, final) == ("stopped", 0, 0)
    again = policy_box(boxlite, "always", LIVES + UNTIL_TOLD + "exit 0")
    boxlite.sh(again, "touch /go1")
    life(boxlite, again, 2)
    assert boxlite.sh(again, "echo in it") == "in it\n"
    assert counted(boxlite, again) == ("running", 1, 0)
    assert len(set(machines(boxlite, again))) == 1


def test_a_stop_ends_it(boxlite):
    """While the workload runs, and while it waits to be started again."""
    box = policy_box(boxlite, "always", LIVES + "[ $n -gt 1 ] || exit 7; " + LONG)
    life(boxlite, box, 2)
    boxlite.ok("stop", box)
    boxlite.ok("create", "busybox")
    assert counted(boxlite, box)[:2] == ("stopped", 1)
    # After four failures in a row it waits most of the time.
    crashing = policy_box(boxlite, "always", LIVES + "exit 7")
    life(boxlite, crashing, 5)
    boxlite.ok("stop", crashing)
    before = counted(boxlite, crashing)
    assert before[0] == "stopped" and before[1] >= 4 and before[2] != 0
    boxlite.ok("create", "busybox")
    assert counted(boxlite, crashing) == before


def test_a_killed_shim_is_for_the_next_that_changes_something(boxlite):
    box = policy_box(boxlite, "unless-stopped", LIVES + LONG)
    plain = boxlite.box()
    life(boxlite, box, 1)
    kill_shim(boxlite, box)
    kill_shim(boxlite, plain)
    for looks in (("ls", "-a"), ("inspect", box), ("logs", box), ("info",)):
        boxlite.ok(*looks)
    assert counted(boxlite, box) == ("stopped", 0, 137)
    boxlite.ok("rm", plain)
    assert counted(boxlite, box) == ("running", 1, 0)
    life(boxlite, box, 2)
    assert len(set(machines(boxlite, box))) == 2
    # A signal to its shim is nobody's decision either: the machine may be going down.
    os.kill(boxlite.shim(box), signal.SIGTERM)
    boxlite.ok("wait", box)
    boxlite.ok("start", "--by-policy")
    assert counted(boxlite, box)[:2] == ("running", 2)


def test_a_copy_is_no_stop(boxlite):
    """An idle box is started for a copy and stopped again, but not one that died and that its policy wants to run."""
    box = boxlite.ok("create", "--restart", "always", "busybox").strip()
    boxlite.ok("start", box)
    kill_shim(boxlite, box)
    boxlite.ok("cp", "/etc/hostname", f"{box}:/copied")
    assert counted(boxlite, box)[0] == "running"
    boxlite.ok("stop", box)
    boxlite.ok("cp", f"{box}:/copied", "-")
    assert counted(boxlite, box)[0] == "stopped"


def test_after_the_machine_was_started(boxlite):
    boxes = {policy: policy_box(boxlite, policy, LONG) for policy in ("no", "unless-stopped")}
    stopped = {policy: policy_box(boxlite, policy, LONG, "--name", policy) for policy in ("always", "unless-stopped")}
    boxlite.ok("stop", "-t", "0", *stopped.values())
    reboot(boxlite, *boxes.values(), *stopped.values())
    said = boxlite.ok("start", "--by-policy").split()
    assert sorted(said) == sorted([boxes["unless-stopped"], "always"])
    assert boxlite.inspect(boxes["no"])["State"]["Reason"] == "the machine went down"
    running = {entry["ID"] for entry in boxlite.listed() if entry["Status"] == "Running"}
    assert running == {boxes["unless-stopped"], stopped["always"]}
    assert boxlite.ok("start", "--by-policy") == ""  # there is nothing left to do


def test_the_unit_for_systemd(tmp_path):
    tool = shutil.which("systemd-analyze")
    if not tool:
        pytest.skip("systemd-analyze is not there")
    unit = pathlib.Path(__file__).resolve().parents[2] / "contrib" / "systemd" / "boxlite-restart.service"
    bad = tmp_path / unit.name
    bad.write_text(unit.read_text().replace("Type=oneshot", "Type=oneshoot"))
    done, control = (subprocess.run([tool, "verify", "--user", "--man=no", file], capture_output=True, text=True,
                                    env={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}) for file in (unit, bad))
    # That the command is installed is not the unit's matter.
    said = [line for line in done.stderr.splitlines() if unit.name in line and "is not executable" not in line]
    assert not said and "--by-policy" in unit.read_text(), done.stderr
    assert "oneshoot" in control.stderr


def test_auto_stop_counts_from_the_last_use(boxlite):
    """A command holds it off for as long as it runs. One that comes too late, on a busy machine, comes again."""
    box = boxlite.ok("create", "--auto-stop", "2s", "--auto-delete", "1h", "busybox").strip()
    shown = boxlite.inspect(box)
    assert (shown["Config"]["AutoStop"], shown["Config"]["AutoDelete"]) == (2, 3600)
    for _ in range(10):
        done = boxlite.exec(box, "sh", "-c", "sleep 4; echo still here")
        if not done.code:
            break
        boxlite.ok("wait", box)
    assert done.out == "still here\n", done
    assert boxlite.ok("wait", box) == "0\n"
    state = boxlite.inspect(box)["State"]
    assert (state["Status"], state["Reason"]) == ("stopped", "stopped: nobody used it for 2 s")


def test_auto_stop_ends_a_policy_and_auto_delete_the_box(boxlite):
    box = boxlite.ok("run", "-d", "--restart", "always", "--auto-stop", "500ms", "--auto-delete", "1ms", "busybox", "sh", "-c",
                     LONG).strip()
    boxlite.ok("wait", box)
    assert boxlite.ok("ls", "-a", "-q") == ""
    assert boxlite.directory(box).exists()
    boxlite.ok("create", "--name", "other", "busybox")
    assert not boxlite.directory(box).exists()
    boxlite.fails("inspect", box, says="no such box")


def test_a_removed_box_gives_its_disk_back_by_itself(boxlite):
    box = boxlite.ok("run", "-d", "--rm", "--name", "brief", "busybox", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=8; sync").strip()
    boxlite.ok("wait", box)  # only looks
    assert not list((boxlite.directory(box) / "disks").iterdir())
    assert boxlite.ok("ls", "-a", "-q") == ""
    boxlite.ok("create", "--name", "brief", "busybox")
    assert not boxlite.directory(box).exists()


@pytest.mark.parametrize("arguments,says", [
    (["run", "--restart", "always", "busybox"], "needs --detach"),
    (["run", "-d", "--rm", "--restart", "always", "busybox"], "--rm cannot be used"),
    (["run", "-d", "--rm", "--auto-delete", "5", "busybox"], "--rm cannot be used"),
    (["create", "--restart", "sometimes", "busybox"], "expected no, on-failure"),
    (["create", "--auto-stop", "soon", "busybox"], "invalid value 'soon'"),
    (["start", "--by-policy", "box"], "cannot be used"),
    (["start"], "required: BOX"),
])
def test_what_makes_no_sense(boxlite, arguments, says):
    boxlite.fails(*arguments, code=2, says=says)
