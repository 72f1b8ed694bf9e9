# SPDX-License-Identifier: Apache-2.0
"""test_names.py - what a box may be called, and what a name finds"""
import os
import re
import shutil

import pytest


def test_ids_names_and_prefixes(boxlite):
    out = boxlite.ok("create", "--name", "web", "busybox")
    assert re.fullmatch(r"[0-9A-Za-z]{12}\n", out)
    box = out.strip()
    for name in (box, "web", box[:8], box[:4]):
        assert boxlite.inspect(name)["Id"] == box
    # An exact name comes before a prefix of an id.
    other = boxlite.ok("create", "--name", box[:5], "busybox").strip()
    assert boxlite.inspect(box[:5])["Id"] == other
    assert boxlite.inspect(box)["Id"] == box
    boxlite.fails("create", "--name", "web", "busybox", says="already exists")
    assert len(boxlite.listed()) == 2


@pytest.mark.parametrize("name", ["", "-x", ".x", "a b", "a/b", "../x", "ä", "x" * 129, "a\nb"])
def test_bad_names_leave_no_trace(boxlite, name):
    done = boxlite.run("create", "--name", name, "busybox")
    assert done.code in (1, 2) and done.err.strip() and "\n" not in done.err.strip().split("\nSee ")[0], done
    assert boxlite.listed() == []


def test_longest_name(boxlite):
    name = "x" * 128
    boxlite.ok("create", "--name", name, "busybox")
    assert boxlite.inspect(name)["Name"] == name


def link(boxlite, name):
    return boxlite.path / "names" / name


def leads_to(boxlite, name):
    """Where a name's link leads: an id; None: there is no link."""
    path = link(boxlite, name)
    return path.readlink().name if path.is_symlink() else None


def test_a_name_of_a_running_box_needs_no_database(boxlite):
    box = boxlite.idle(name="web")
    assert leads_to(boxlite, "web") == box and (link(boxlite, "web") / "disks").is_dir()
    aside = boxlite.path / "aside"
    (boxlite.path / "db").rename(aside)
    try:
        answers = [boxlite.run("exec", name, "--", "echo", "here") for name in (box, "web")]
        made = list((boxlite.path / "db").iterdir())
    finally:  # without it nothing could be removed
        shutil.rmtree(boxlite.path / "db", ignore_errors=True)
        aside.rename(boxlite.path / "db")
    assert [answer.out for answer in answers] == ["here\n"] * 2 and made == [], answers
    boxlite.ok("rm", "-f", "web")
    assert leads_to(boxlite, "web") is None


def test_a_name_goes_to_the_next_box_that_has_it(boxlite):
    first = boxlite.idle(name="web")
    boxlite.ok("rm", "-f", "web")
    link(boxlite, "web").symlink_to(f"../boxes/{first}")  # as if the database had been lost with the box
    boxlite.ok("create", "--name", "web", "busybox")
    assert leads_to(boxlite, "web") is None
    boxlite.ok("rm", "web")
    second = boxlite.idle(name="web")
    assert leads_to(boxlite, "web") == second != first
    assert boxlite.ok("exec", "web", "--", "echo", "second") == "second\n"
    # What a box that removes itself leaves is gone with it, whoever removes it.
    boxlite.ok("run", "--rm", "--name", "once", "busybox", "true")
    assert leads_to(boxlite, "once") is None


@pytest.mark.parametrize("spoil", ["nothing", "a box that is gone", "no box", "itself", "a file", "a directory"])
def test_a_link_is_no_more_than_a_way(boxlite, spoil):
    """Whatever lies in its place, the box is found; and its next start, or a removal, puts it right where it can."""
    box = boxlite.idle(name="web")
    path = link(boxlite, "web")
    path.unlink()
    if spoil == "a file":
        path.write_text(box)
    elif spoil == "a directory":
        path.mkdir()
    elif spoil != "nothing":
        path.symlink_to({"a box that is gone": "../boxes/000000000000", "no box": "../../etc", "itself": "web"}[spoil])
    assert boxlite.ok("exec", "web", "--", "echo", "here") == "here\n"
    boxlite.ok("stop", "web")
    assert boxlite.ok("exec", "web", "--", "echo", "again") == "again\n"
    assert leads_to(boxlite, "web") == (None if spoil == "a directory" else box)
    boxlite.ok("rm", "-f", "web")
    assert os.path.lexists(path) == (spoil == "a directory")
    if path.exists():
        path.rmdir()


def test_no_link_where_capitals_make_no_difference(boxlite):
    """There "web" and "WEB" are one link, so exec in the one would go to the other."""
    box = boxlite.ok("create", "--name", "web-1", "busybox").strip()
    (boxlite.path / "names").mkdir()
    link(boxlite, "WEB-1").symlink_to(f"../boxes/{box}")  # as such a file system shows it
    boxlite.ok("start", "web-1")
    assert leads_to(boxlite, "web-1") is None
    assert boxlite.ok("exec", "web-1", "--", "echo", "here") == "here\n"
    link(boxlite, "WEB-1").unlink()


def test_a_name_that_looks_like_an_id(boxlite):
    box = boxlite.idle()
    other = boxlite.idle(name="abcdefghijkl")
    boxlite.ok("exec", other, "--", "touch", "/other")
    boxlite.ok("exec", "abcdefghijkl", "--", "test", "-e", "/other")
    # An exact id comes first, whether its box runs or not.
    named = boxlite.idle(name=box)
    assert leads_to(boxlite, box) == named
    boxlite.ok("exec", named, "--", "touch", "/named")
    boxlite.ok("exec", box, "--", "test", "!", "-e", "/named")
    boxlite.ok("stop", box)
    boxlite.ok("exec", box, "--", "test", "!", "-e", "/named")


def test_links_to_no_box_are_collected(boxlite):
    box = boxlite.idle(name="web")
    link(boxlite, "old").symlink_to("../boxes/000000000000")
    link(boxlite, "mine").symlink_to("../../mine")
    assert "names/old" in boxlite.ok("gc", "--dry-run") and leads_to(boxlite, "old")
    assert "names/old" in boxlite.ok("gc")
    assert leads_to(boxlite, "old") is None and leads_to(boxlite, "web") == box
    link(boxlite, "mine").unlink()  # is none of ours, so it was left
