# SPDX-License-Identifier: Apache-2.0
"""Copies into and out of a box, as entries."""
import hashlib
import os

import pytest

from machine import (COPY_IN, COPY_OUT, DIRECTORY, FIFO, FILE, FOLLOW_LINKS, HARDLINK, NO_OVERWRITE, SYMLINK, copy_in, copy_out, entry,
                     fields)


def test_a_file_to_a_new_name(machine):
    content = bytes(range(256)) * 100
    assert copy_in(machine, "/root/new", entry(FILE, content=content, mode=0o4751, uid=1000, gid=2000, name="old",
                                               mtime_ns=1234567890123456789)).code == 0
    assert machine.run(["stat", "-c", "%a %u %g %Y", "/root/new"]).stdout == b"4751 1000 2000 1234567890\n"
    assert machine.run(["cat", "/root/new"]).stdout == content
    stream, got = copy_out(machine, "/root/new")
    assert stream.code == 0 and list(got) == [""]
    one = got[""]
    assert (one.kind, one.name, one.mode, one.uid, one.gid, one.mtime_ns, one.content) == \
        ("file", "new", 0o4751, 1000, 2000, 1234567890123456789, content)


def test_where_it_lands(machine):
    machine.shell("rm -rf /tmp/w; mkdir -p /tmp/w/there; ln -s there /tmp/w/link; echo old >/tmp/w/file")
    tree = [entry(DIRECTORY, name="tree", mode=0o711), entry(FILE, "f", b"f"), entry(DIRECTORY, "d"), entry(FILE, "d/g", b"g")]
    one = entry(FILE, content=b"one", name="one")
    for path, first, expected in [
            ("/tmp/w/new", tree, "new/d/g"),         # a name that does not exist: the source gets it
            ("/tmp/w/there", tree, "there/tree/d/g"),  # a directory: into it
            ("/tmp/w/link", [one], "there/one"),     # also through a link
            ("/tmp/w/there/.", tree, "there/d/g"),   # its content
            ("/tmp/w/fresh/.", tree, "fresh/d/g"),
            ("/tmp/w/there/", [one], "there/one"),
            ("/tmp/w/file", [one], "file")]:
        machine.shell("cd /tmp/w; rm -rf new there/*")
        done = copy_in(machine, path, *first)
        assert done.code == 0, (path, done.error)
        assert machine.shell(f"cat /tmp/w/{expected}").stdout in (b"g", b"one"), path
    assert machine.run(["stat", "-c", "%a", "/tmp/w/fresh"]).stdout == b"711\n"


@pytest.mark.parametrize("path,words", [("/tmp/no/such/x", "does not exist"), ("/etc/passwd/x", "does not exist"),
                                        ("/tmp/nodir/", "does not exist"), ("/bin/..", ""), ("/proc/x", "")])
def test_where_it_can_not_land(machine, path, words):
    done = copy_in(machine, path, entry(FILE, content=b"x" * 1000000, name="n"))
    if path == "/bin/..":  # is the root, a directory
        assert done.code == 0 and machine.run(["rm", "/n"]).code == 0
    else:
        assert done.code == 1 and words in done.error and 7 in done.exit, done.error


def test_directories_that_were_there_stay_as_they_are(machine):
    before = machine.run(["stat", "-c", "%a %u", "/tmp"]).stdout
    assert copy_in(machine, "/tmp/.", entry(DIRECTORY, mode=0o700, uid=5, name="x"), entry(FILE, "in-tmp", b"1")).code == 0
    assert machine.run(["stat", "-c", "%a %u", "/tmp"]).stdout == before


def test_a_tree_comes_back_as_it_went(machine):
    machine.run(["rm", "-rf", "/root/tree"])
    big = os.urandom(3 << 20)
    went = [entry(DIRECTORY, name="tree", mode=0o750, uid=1000, gid=1000),
            entry(DIRECTORY, "ro", mode=0o555, mtime_ns=999 * 10**9), entry(FILE, "ro/file", b"in a read-only directory"),
            entry(FILE, "big", big, mode=0o600), entry(FILE, "empty"), entry(HARDLINK, "zz-again", link="big"),
            entry(SYMLINK, "link", link="/nowhere/\u00e9", mode=0o777), entry(FIFO, "pipe", mode=0o640), entry(DIRECTORY, "sub"),
            entry(FILE, "sub/n\u00e4me with\nnewline", b"n")]
    assert copy_in(machine, "/root/tree", *went).code == 0
    stream, got = copy_out(machine, "/root/tree")
    assert stream.code == 0
    assert {path: (one.kind, one.mode) for path, one in got.items() if one.kind not in ("symlink", "hardlink")} == {
        "": ("directory", 0o750), "ro": ("directory", 0o555), "ro/file": ("file", 0o644), "empty": ("file", 0o644),
        "pipe": ("fifo", 0o640), "sub": ("directory", 0o755), "sub/n\u00e4me with\nnewline": ("file", 0o644),
        **{path: ("file", 0o600) for path in ("big", "zz-again") if got[path].kind == "file"}}
    names = sorted((got[path].kind, got[path].link) for path in ("big", "zz-again"))
    assert names[0][0] == "file" and names[1][0] == "hardlink" and names[1][1] in ("big", "zz-again")
    assert next(got[path].content for path in ("big", "zz-again") if got[path].kind == "file") == big
    assert got["link"].link == "/nowhere/\u00e9" and got["ro"].mtime_ns == 999 * 10**9 and got[""].uid == 1000
    assert machine.shell("stat -c %h /root/tree/big").stdout == b"2\n"


def test_follows_links_only_when_asked(machine):
    machine.shell("rm -rf /root/l; mkdir -p /root/l/d; cd /root/l; echo x >d/f; ln -s d to-dir; ln -s d/f to-file; ln -s nowhere broken")
    stream, got = copy_out(machine, "/root/l")
    assert {path: one.kind for path, one in got.items()} == {"": "directory", "d": "directory", "d/f": "file", "to-dir": "symlink",
                                                             "to-file": "symlink", "broken": "symlink"}
    stream, got = copy_out(machine, "/root/l", FOLLOW_LINKS)
    assert stream.code == 0 and got["to-dir/f"].content == got["to-file"].content == b"x\n" and got["broken"].kind == "symlink"
    assert copy_out(machine, "/root/l/to-file")[1][""].kind == "symlink"
    assert copy_out(machine, "/root/l/to-file", FOLLOW_LINKS)[1][""].kind == "file"
    assert "f" in copy_out(machine, "/root/l/to-dir/.")[1]
    machine.run(["ln", "-s", "..", "/root/l/d/up"])
    stream, _ = copy_out(machine, "/root/l", FOLLOW_LINKS)
    assert stream.code == 1 and "follow the link" in stream.error


def test_missing_source(machine):
    stream, _ = copy_out(machine, "/no/such")
    assert stream.code == 1 and 'does not exist' in stream.error and stream.stdout == b""


def test_sees_the_boxs_mounts_and_not_the_agents(machine):
    machine.shell("echo shm >/dev/shm/x")
    assert copy_out(machine, "/dev/shm/x")[1][""].content == b"shm\n"
    assert copy_out(machine, "/init")[0].code == 1
    assert copy_out(machine, "/../../../box")[0].code == 1
    machine.run(["ln", "-sf", "/../../../../init", "/root/out"])
    assert copy_out(machine, "/root/out", FOLLOW_LINKS)[0].code == 1
    stream, got = copy_out(machine, "/proc")  # the directory, not what the kernel shows in it
    assert stream.code == 0 and list(got) == [""]
    stream, _ = copy_out(machine, "/dev/null")
    assert stream.code == 1 and "device" in stream.error


def test_no_overwrite(machine):
    machine.shell("rm -rf /root/o; mkdir /root/o; echo old >/root/o/f")
    one = entry(FILE, content=b"new", name="f")
    done = copy_in(machine, "/root/o", one, flags=NO_OVERWRITE)
    assert done.code == 1 and "not to be overwritten" in done.error
    assert machine.run(["cat", "/root/o/f"]).stdout == b"old\n"
    assert copy_in(machine, "/root/o/other", one, flags=NO_OVERWRITE).code == 0
    assert copy_in(machine, "/root/o", one).code == 0
    assert machine.run(["cat", "/root/o/f"]).stdout == b"new"


def test_replaces_what_is_no_directory(machine):
    machine.shell("rm -rf /root/r; mkdir -p /root/r/dir; echo keep >/root/kept; cd /root/r; ln -s /root/kept link; cp /bin/busybox run;"
                  "./run sleep 1000 & echo")
    for name in ("link", "run"):  # the link itself goes, not what it leads to; a program that runs is no hindrance
        assert copy_in(machine, f"/root/r/{name}", entry(FILE, content=b"new", name=name)).code == 0
        assert machine.shell(f"cat /root/r/{name}").stdout == b"new"
    assert machine.run(["cat", "/root/kept"]).stdout == b"keep\n"
    done = copy_in(machine, "/root", entry(DIRECTORY, name="r"), entry(FILE, "dir", b"x"))
    assert done.code == 1 and "directory" in done.error
    machine.shell("pkill -f 'run sleep' || killall run")


HOSTILE = {
    "through a link that came first": [entry(SYMLINK, "l", link="/root/victim"), entry(FILE, "l/f", b"x")],
    "through a link that was there": [entry(FILE, "there/f", b"x")],
    "hard link through it": [entry(HARDLINK, "h", link="there/secret")],
    "dot dot": [entry(FILE, "../f", b"x")],
    "absolute": [entry(FILE, "/root/victim/f", b"x")],
    "dot dot in a link": [entry(HARDLINK, "h", link="../victim/secret")],
    "two sources": [entry(FILE, "", b"x")],
    "no kind": [b"\x08\0\0\0" + fields([(2, b"ab")])],
    "huge header": [b"\xff\xff\xff\xff"],
    "unknown kind": [entry(9, "x")],
    "device": [entry(7, "x")],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_entries(machine, case):
    machine.shell("rm -rf /root/victim /root/in; mkdir /root/victim /root/in; echo secret >/root/victim/secret; ln -s /root/victim /root/in/there")
    done = copy_in(machine, "/root/in/.", entry(DIRECTORY, name="x"), *HOSTILE[case])
    assert done.code == 1 and done.error
    assert machine.shell("ls /root/victim; ls /root/in/there/ /root/in/h 2>/dev/null | grep -c f").stdout.split()[0] == b"secret"
    assert machine.run(["ls", "/root/victim"]).stdout == b"secret\n"


def test_cut_short(machine):
    machine.shell("rm -rf /root/c; mkdir /root/c")
    for parts in ([], [entry(FILE, content=b"1234", size=10, name="half")], [entry(DIRECTORY, name="d"), entry(FILE, "f", b"1")]):
        done = copy_in(machine, "/root/c", *parts, end=False)
        assert done.code == 1 and "cut short" in done.error
    assert machine.run(["ls", "/root/c"]).stdout == b"d\n"  # half a file is none


def test_disk_full(new_machine):
    machine = new_machine().configure()
    machine.workload([]).wait_opened()
    done = copy_in(machine, "/big", entry(FILE, content=b"x" * (80 << 20), name="big"))
    assert done.code == 1 and "No space left" in done.error
    assert machine.run(["ls", "/big"]).code != 0
    assert copy_in(machine, "/small", entry(FILE, content=b"fits", name="small")).code == 0
    machine.shut_down()


def test_a_copy_that_is_given_up(machine):
    machine.shell("echo before >/root/given-up")
    stream = machine.open(COPY_IN, path="/root/given-up").wait_opened()
    stream.write(entry(FILE, content=b"x" * (4 << 20), size=10**9, name="x"))  # more than can be under way: so it is being written
    stream.close()
    assert stream.wait().signal == 9
    assert machine.run(["cat", "/root/given-up"]).stdout == b"before\n"  # a file that is not whole has no name
    stream = machine.open(COPY_OUT, path="/bin", gives_credit=False)
    machine.until(lambda: len(stream.stdout) > 100000, "some of it")
    stream.close()
    assert stream.wait().signal == 9


def test_holds_no_pipe_of_others(machine):
    """A copy under way keeps nobody from seeing the end of its input."""
    reader = machine.exec(["cat"], stdin=True).wait_opened()
    copy = machine.open(COPY_IN, path="/root/under-way").wait_opened()
    reader.eof()
    assert reader.wait().code == 0
    copy.close()
    copy.wait()


def test_runs_no_risk_inside_the_box(machine):
    """The process of a copy is not in the box's pid namespace: nobody there can see or signal it."""
    stream = machine.open(COPY_IN, path="/root/unseen").wait_opened()
    assert b"/init" not in machine.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | sed 's/^.init//'").stdout
    stream.close()
    stream.wait()


def test_much_is_fast_enough(new_machine):
    """48 MiB each way, whole; the rate is a matter of the benchmarks."""
    machine = new_machine().configure()
    machine.workload([]).wait_opened()
    content = os.urandom(1 << 20) * 48
    assert copy_in(machine, "/much", entry(FILE, content=content, name="much")).code == 0
    assert machine.run(["sha256sum", "/much"]).stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()
    assert copy_out(machine, "/much")[1][""].content == content
    machine.shut_down()
