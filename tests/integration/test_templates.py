# SPDX-License-Identifier: Apache-2.0
"""test_templates.py - starts that go on from a saved machine: a box is a box all the same, and no start fails because of one

What a start did with a template stands in its box's shim.log.
"""
import contextlib
import json
import os
import re
import resource
import time

KEPT, WENT_ON, NOT_RESTORED, DAMAGED = "kept as a template", "went on from the template", "can't be restored", "is damaged"


def log(home, box):
    return (home.directory(box) / "logs/shim.log").read_text()


def templates(home):
    return sorted((home.path / "templates").glob("*.template")) if (home.path / "templates").exists() else []


def info(home):
    return json.loads(home.ok("info", "--format", "json"))


@contextlib.contextmanager
def spoilt(template):
    """A template that is changed behind everybody's back."""
    template.chmod(0o600)
    with open(template, "r+b") as file:
        yield file
    template.chmod(0o400)


LOOK = """cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid
head -c 16 /dev/urandom | od -An -tx1
grep -F '[stack]' /proc/self/maps | cut -d' ' -f1
date +%s
cat /etc/hostname"""


def test_boxes_of_one_template_are_boxes_of_their_own(boxlite):
    first = boxlite.box()
    assert KEPT in log(boxlite, first)
    known = info(boxlite)
    assert known["templates"] == "on" and known["templatesCount"] == 1 and known["templatesBytes"] > 1 << 20
    assert templates(boxlite)[0].stat().st_mode & 0o777 == 0o400 and templates(boxlite)[0].parent.stat().st_mode & 0o777 == 0o700

    # All that these two do is the same: what differs came after the template.
    before = int(time.time())  # a machine that kept the time of its template would be behind this
    second, third = boxlite.box(), boxlite.box()
    seen = []
    for box in (second, third):
        assert WENT_ON in log(boxlite, box)
        assert "BoxLite Guest Agent: version" in (boxlite.directory(box) / "logs/console.log").read_text()
        lines = boxlite.sh(box, LOOK).splitlines()
        assert before - 1 <= int(lines[4]) <= time.time() + 1
        assert lines[5] == "boxlite"
        seen.append(lines[:4])
    for one, other in zip(*seen):
        assert one != other, f"two boxes of one template drew the same: {seen}"

    # Another size of disk, with the machine that was saved beside a smaller one.
    larger = boxlite.box("--disk-size", "12")
    assert WENT_ON in log(boxlite, larger)
    sizes = [int(boxlite.sh(box, "df -k / | tail -n 1 | awk '{ print $2 }'")) for box in (larger, third)]
    assert 11 << 20 < sizes[0] < 12 << 20 and 9 << 20 < sizes[1] < 10 << 20
    assert boxlite.exec(third, "sh", "-c", "echo kept >/root/note; exit 7").code == 7

    # Its life goes on as any: stopped, started (from the template again), and what it wrote is there.
    boxlite.ok("restart", third)
    assert log(boxlite, third).count(WENT_ON) == 2
    assert boxlite.sh(third, "cat /root/note") == "kept\n"
    assert boxlite.run("run", "--rm", "busybox", "sh", "-c", "exit 3").code == 3
    assert len(templates(boxlite)) == 1


def test_two_at_once_make_one(boxlite):
    both = [boxlite.start("run", "-d", "busybox", "sleep", "600") for _ in range(2)]
    boxes = [process.communicate(timeout=120)[0].decode().strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    logs = [log(boxlite, box) for box in boxes]
    assert len(templates(boxlite)) == 1
    assert 1 <= sum(KEPT in text for text in logs) and not any(NOT_RESTORED in text for text in logs)


def test_one_that_is_damaged_is_made_anew(boxlite):
    boxlite.box()
    kept, = templates(boxlite)
    whole = kept.stat().st_size
    with spoilt(kept) as file:
        file.truncate(whole // 2)
    box = boxlite.box()
    assert log(boxlite, box).count(DAMAGED) == 1 and KEPT in log(boxlite, box)
    assert templates(boxlite) == [kept] and kept.stat().st_size > whole // 2

    # Whoever wrote it was killed on the way.
    kept.chmod(0o600)
    assert info(boxlite)["templatesCount"] == 0
    box = boxlite.box()
    assert log(boxlite, box).count(DAMAGED) == 1 and KEPT in log(boxlite, box)
    assert info(boxlite)["templatesCount"] == 1


def test_one_that_can_not_be_restored_is_given_up(boxlite):
    boxlite.box()
    kept, = templates(boxlite)
    data = kept.stat().st_size - (1 << 20)
    with spoilt(kept) as file:  # the guest finds nothing of itself
        file.seek(1 << 20)
        file.write(bytes(data - (1 << 20)))
    box = boxlite.box()
    assert log(boxlite, box).count(NOT_RESTORED) == 1 and KEPT not in log(boxlite, box)
    assert log(boxlite, box).count("shim of box") == 2  # one gave it up, another booted
    assert boxlite.sh(box, "echo alive") == "alive\n"
    assert kept.stat().st_size == 0 and info(boxlite)["templatesCount"] == 0
    again = boxlite.box()
    assert not re.search(f"{KEPT}|{WENT_ON}|{NOT_RESTORED}", log(boxlite, again))


def test_a_box_that_can_not_start_spoils_none(boxlite):
    boxlite.box()
    broken = boxlite.ok("create", "busybox").strip()
    with open(boxlite.directory(broken) / "disks" / "disk.qcow2", "r+b") as disk:
        disk.write(b"no disk")
    assert boxlite.run("start", broken).code
    assert NOT_RESTORED in log(boxlite, broken)  # it was tried, and so was a boot
    assert log(boxlite, broken).count("shim of box") == 2
    box = boxlite.box()
    assert WENT_ON in log(boxlite, box)
    assert info(boxlite)["templatesCount"] == 1


def test_a_machine_of_another_kind_has_its_own_and_few_are_kept(boxlite):
    folder = boxlite.path / "templates"
    folder.mkdir(mode=0o700)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    old = folder / "00000000-1111-2222-3333-444444444444-0123456789abcdef.template"
    others = [folder / f"{boot}-{number:016x}.template" for number in range(5)]
    for age, path in enumerate(reversed([old, *others])):
        path.write_text("of another kind")
        path.chmod(0o400)
        os.utime(path, (time.time() - age,) * 2)  # written in one tick of the clock they could be of one age
    half = folder / f"{boot}-{99:016x}.template"
    half.write_text("its writer was killed")
    half.chmod(0o600)
    boxlite.box()
    left = templates(boxlite)
    # Of an earlier boot of the host none, nor what nobody completes; of this one the last four.
    assert len(left) == 4 and old not in left and others[0] not in left and half not in left
    first, = set(left) - set(others)
    other = boxlite.box("--memory", "320")
    assert KEPT in log(boxlite, other)
    assert len(templates(boxlite)) == 4 and first in templates(boxlite)
    third = boxlite.box("--memory", "320")
    assert WENT_ON in log(boxlite, third)
    assert 290 < int(boxlite.sh(third, "free -m | awk '/^Mem/ { print $2 }'")) < 320


def test_a_limit_on_file_sizes_fails_no_start(boxlite):
    """The guest's memory is a file then, larger than the limit."""
    limit = 200 << 20
    done = boxlite.run("run", "--rm", "busybox", "echo", "alive", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert (done.code, done.out) == (0, "alive\n"), done
    assert not templates(boxlite)


def test_they_can_be_switched_off(boxlite):
    boxlite.environment["BOXLITE_TEMPLATES"] = "off"
    box = boxlite.box()
    assert not templates(boxlite) and "template" not in log(boxlite, box)
    assert info(boxlite)["templates"] == "off"
    boxlite.environment["BOXLITE_TEMPLATES"] = "perhaps"
    boxlite.fails("run", "--rm", "busybox", "true", code=125, says="BOXLITE_TEMPLATES is 'perhaps'")
    del boxlite.environment["BOXLITE_TEMPLATES"]
