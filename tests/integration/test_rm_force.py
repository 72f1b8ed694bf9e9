# SPDX-License-Identifier: Apache-2.0
"""test_rm_force.py - a running box is removed only on purpose, and then whole"""


def test_running_box_is_not_removed_by_accident(boxlite):
    box = boxlite.idle(name="busy")
    boxlite.fails("rm", "busy", says="--force")
    assert boxlite.sh(box, "echo alive") == "alive\n"
    assert boxlite.ok("rm", "-f", "busy").strip() == "busy"
    assert boxlite.listed() == [] and not boxlite.directory(box).exists()
    boxlite.fails("rm", "busy", says="No such box")
    boxlite.ok("rm", boxlite.ok("create", "--name", "busy", "busybox").strip())  # the name is free; a stopped box needs no force


def test_several_and_all(boxlite):
    one, two = (boxlite.ok("create", "busybox").strip() for _ in range(2))
    done = boxlite.run("rm", one, "nowhere", two)
    assert done.code == 1 and "nowhere" in done.err and done.out.split() == [one, two], done
    boxlite.ok("create", "busybox")
    boxlite.idle()
    boxlite.ok("rm", "-a", "-f")
    assert boxlite.listed() == []


def test_detached_box_goes_when_its_job_ends(boxlite):
    process = boxlite.start("run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "1")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    boxlite.ids.add(out.decode().strip())
    boxlite.run("wait", "brief")
    assert boxlite.listed() == []
    boxlite.ok("gc")
    assert not boxlite.directory(out.decode().strip()).exists()
