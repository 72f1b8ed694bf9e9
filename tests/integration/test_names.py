# SPDX-License-Identifier: Apache-2.0
"""test_names.py - what a box may be called, and what a name finds"""
import re

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
