# SPDX-License-Identifier: Apache-2.0
"""test_capabilities.py - --cap-add, --cap-drop, --security, --no-auto-resume: what a box may do is what was asked for"""
import pathlib
import re

import pytest

import leaks

EVERY_ONE = (1 << 41) - 1
DEFAULT = 0xa80425fb
CHOWN, KILL, SYS_TIME = 1 << 0, 1 << 5, 1 << 25
SET_CLOCK = "date -s 2030-01-01 >/dev/null 2>&1; [ $(date +%Y) = 2030 ]"  # busybox' date is content with any answer
READ = "while read key value; do case $key in CapEff:|CapPrm:|CapBnd:) echo $value;; CapInh:|CapAmb:) echo none$value;; esac; done" \
       " </proc/self/status"


def shown(wanted):
    """What READ prints for a set: inheritable, permitted, effective, bounding and ambient."""
    return "none{0:016x}\n{1:016x}\n{1:016x}\n{1:016x}\nnone{0:016x}\n".format(0, wanted)


@pytest.mark.parametrize("arguments, wanted, script, works", [
    ((), DEFAULT, SET_CLOCK, False),
    (("--cap-add", "sys_time"), DEFAULT | SYS_TIME, SET_CLOCK, True),
    (("--cap-drop", "CAP_CHOWN"), DEFAULT & ~CHOWN, ": >/tmp/f; chown 1 /tmp/f", False),
    (("--cap-drop", "ALL", "--cap-add", "CHOWN"), CHOWN, ": >/tmp/f; chown 1 /tmp/f", True),
    (("--cap-drop", "all"), 0, ": >/tmp/f; chown 1 /tmp/f", False),
    (("--cap-add", "ALL", "--cap-drop", "KILL", "--cap-drop=sys_time"), EVERY_ONE & ~KILL & ~SYS_TIME, "hostname other", True),
], ids=lambda value: " ".join(value) or "default" if isinstance(value, tuple) else "")
def test_what_a_command_may_do(boxlite, arguments, wanted, script, works):
    done = boxlite.run("run", "--rm", *arguments, "busybox", "sh", "-c", f"{READ}; {script}")
    assert done.out.startswith(shown(wanted)), done
    assert (done.code == 0) == works, done


def test_execs_may_do_what_the_box_may(boxlite):
    box = boxlite.ok("create", "--cap-drop", "ALL", "--cap-add", "net_admin", "--cap-add", "CAP_NET_ADMIN", "--user", "65534",
                     "busybox").strip()
    net_admin = 1 << 12
    assert boxlite.sh(box, READ) == "none{0:016x}\n{0:016x}\n{0:016x}\n{1:016x}\nnone{0:016x}\n".format(0, net_admin)
    assert boxlite.sh(box, READ, options=("--user", "0")) == shown(net_admin)
    config = boxlite.inspect(box)["Config"]
    assert (config["CapAdd"], config["CapDrop"]) == (["CAP_NET_ADMIN"], ["ALL"])
    assert config["Capabilities"] == ["CAP_NET_ADMIN"] and config["Security"] is True
    # They are the box's, whoever starts it.
    boxlite.ok("restart", box)
    assert boxlite.sh(box, READ, options=("--user", "0")) == shown(net_admin)


def test_a_copy_does_not_need_what_is_denied(boxlite):
    box = boxlite.idle("--cap-drop", "ALL")
    (boxlite.base / "file").write_text("content")
    boxlite.ok("cp", boxlite.base / "file", f"{box}:/root/file")
    assert boxlite.sh(box, "cat /root/file") == "content"


@pytest.mark.parametrize("option", ["--cap-add", "--cap-drop"])
@pytest.mark.parametrize("command", ["run", "create"])
def test_an_unknown_name_is_refused_before_anything_is_made(boxlite, command, option):
    done = boxlite.fails(command, option, "KILL", option, "KILLER", "busybox", "true", code=125 if command == "run" else 1,
                         says=("'KILLER' is no capability", "capabilities(7)"))
    assert len(done.err.splitlines()) == 1
    assert boxlite.listed() == []


def sandboxed(boxlite, box):
    """Whether the emulator of a box runs with a filter of system calls."""
    states = [re.search(r"^Seccomp:\s+(\d)", pathlib.Path(f"/proc/{child}/status").read_text(), re.M)[1]
              for child in leaks.children(boxlite.shim(box))]
    assert len(states) == 1, "one emulator"
    return states[0] == "2"


@pytest.mark.parametrize("arguments, variable, on", [
    ((), None, True),
    (("--security", "disable"), None, False),
    ((), "off", False),
    (("--security=enabled",), "off", True),
], ids=str)
def test_security_is_a_switch(boxlite, arguments, variable, on):
    box = boxlite.ok("run", "-d", "--engine", "qemu", *arguments, "busybox", "sleep", "3600",
                     env={"BOXLITE_SECURITY": variable} if variable else None).strip()
    assert boxlite.inspect(box)["Config"]["Security"] is on
    assert sandboxed(boxlite, box) is on


def test_security_of_a_strange_word(boxlite):
    boxlite.fails("create", "busybox", env={"BOXLITE_SECURITY": "maybe"}, says="BOXLITE_SECURITY is 'maybe'")
    boxlite.ok("list", env={"BOXLITE_SECURITY": "maybe"})


def test_a_box_that_does_not_resume(boxlite):
    box = boxlite.ok("create", "--no-auto-resume", "busybox").strip()
    assert boxlite.inspect(box)["Config"]["AutoResume"] is False
    assert boxlite.sh(box, "echo first") == "first\n", "it has not stopped yet"
    boxlite.ok("stop", box)
    (boxlite.base / "file").write_text("content")
    done = boxlite.exec(box, "true")
    assert done.code == 1 and "does not resume by itself" in done.err, done
    boxlite.fails("cp", boxlite.base / "file", f"{box}:/root/file", says="does not resume by itself")
    assert boxlite.status(box) == "stopped"
    boxlite.ok("start", box)
    assert boxlite.sh(box, "echo again") == "again\n"
