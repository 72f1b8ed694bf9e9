# SPDX-License-Identifier: Apache-2.0
"""test_timing.py - run --timing: each part of a start is there, in order, and together they are the whole

How long a part takes is nobody's promise: only what is named, and the sum.
"""
import re

LINE = re.compile(r"timing: (\w*) +([0-9]+\.[0-9]) ms")
BEFORE, AFTER = ["open", "create", "spawn", "shim"], ["disk", "ready"]
WORKLOAD = ["command", "workload", "", "end"]  # the nameless one is what the box's own clock says
BOOT = {"kvm": ["vmm", "load", "devices", "entry", "kernel", "agent"], "qemu": ["vmm", "emulator", "kernel", "agent"]}
RESTORED = {"kvm": ["vmm", "load", "run", "template"], "qemu": ["vmm", "template"]}


def parts(done):
    assert done.code == 0, done
    found = [(name, float(ms)) for name, ms in LINE.findall(done.err)]
    assert found[-1][0] == "total"
    total = found.pop()[1]
    told = sum(ms for name, ms in found if name)
    assert abs(told - total) <= 0.05 * (len(found) + 1) + 0.01, done  # each is rounded
    return [name for name, _ in found], dict(found)


def engine(boxlite):
    """The engine that the boxes of this run get."""
    return "kvm" if boxlite.environment.get("BOXLITE_ENGINE") == "kvm" else "qemu"


def test_a_boot_is_told_part_by_part(boxlite):
    names, took = parts(boxlite.run("run", "--rm", "--timing", "busybox", "sleep", "0.2", env={"BOXLITE_TEMPLATES": "off"}))
    assert names == BEFORE + BOOT[engine(boxlite)] + AFTER + WORKLOAD
    # Both clocks tell the same: the box's own is no less than what the command slept, and the host's no less than the box's.
    assert 200 <= took[""] <= took["command"] + took["workload"] + 50


def test_a_detached_box_tells_its_start(boxlite):
    done = boxlite.run("run", "-d", "--timing", "busybox", "sleep", "3600", env={"BOXLITE_TEMPLATES": "off"})
    assert parts(done)[0] == BEFORE + BOOT[engine(boxlite)] + AFTER


def test_a_template_is_named(boxlite):
    first, second = (parts(boxlite.run("run", "--rm", "--timing", "busybox", "true"))[0] for _ in range(2))
    assert first == BEFORE + BOOT[engine(boxlite)] + ["keep"] + AFTER + WORKLOAD
    assert second == BEFORE + RESTORED[engine(boxlite)] + AFTER + WORKLOAD


def test_what_never_ran_has_no_parts(boxlite):
    done = boxlite.fails("run", "--rm", "--timing", "busybox", "/no/such/program", code=127)
    assert "timing: workload" not in done.err and "timing: ready" in done.err and "timing: total" in done.err
