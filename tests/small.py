# SPDX-License-Identifier: Apache-2.0
"""
small.py - homes on a file system with little room, which the runner mounts when it may

One home at a time has it: what another test wrote there meanwhile would be in the way of what this one freed.
"""
import fcntl
import os
import pathlib
import shutil
import tempfile

import pytest

import home as homes


def on_small_disk(make_home, images=None, folder="BOXLITE_SMALL_DISK"):
    """A home on the small file system, all of which goes with it."""
    place = os.environ.get(folder)
    if not place:
        pytest.skip("no small file system: only the runner, as root, can mount one")
    home = make_home()
    home.room = open(f"{place}/lock", "wb")  # pylint: disable=consider-using-with
    fcntl.flock(home.room, fcntl.LOCK_EX)
    base = pathlib.Path(tempfile.mkdtemp(dir=place))
    home.path = base / "home"
    home.environment["BOXLITE_HOME"] = str(home.path)
    if images is not None:
        home.path.mkdir(mode=0o700)
        shutil.copytree(images, home.path / "images", copy_function=copy_sparse)
    return home


def copy_sparse(source, target):
    homes.subprocess.run(["cp", "--sparse=always", "-p", source, target], check=True)
