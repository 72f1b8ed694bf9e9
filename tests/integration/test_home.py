# SPDX-License-Identifier: Apache-2.0
"""test_home.py - homes in long places, of ordinary users, and the product away from its tree"""
import os
import pathlib
import subprocess

import pytest

import leaks


def test_path_of_two_hundred_characters(make_home):
    """A Unix socket's path ends at 108 bytes; a home's does not."""
    home = make_home(name="/".join(["d" * 40] * 5) + "/home")
    home.path.parent.mkdir(parents=True)
    assert len(str(home.path)) > 200
    box = home.idle()
    assert home.sh(box, "echo deep") == "deep\n"
    assert home.ok("run", "--rm", "busybox", "echo", "too") == "too\n"
    home.ok("stop", box)


def test_home_on_the_command_line(make_home, prepared):
    home = make_home(prepared)
    environment = {"BOXLITE_HOME": "/nowhere/else"}
    assert home.ok("--home", home.path, "images", "-q", env=environment).strip()
    assert home.ok("images", "-q", "--home", home.path, env=environment).strip()


def test_nobody_is_root(boxlite):
    """The runner drops root for these tests; a shim and its emulator have no more than their user."""
    if os.getuid() == 0:
        pytest.skip("run by hand as root; the runner makes an ordinary user of us")
    box = boxlite.idle()
    for pid in leaks.processes(boxlite.path, [box]):
        fields = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        assert set(fields["Uid"].split()) == {str(os.getuid())}
        assert int(fields["CapEff"], 16) == 0 and int(fields["CapPrm"], 16) == 0
    assert boxlite.sh(box, "id -u").strip() == "0"  # inside, root is free


def test_installed(boxlite):
    """`make install` elsewhere: everything is found from where the program lies."""
    prefix = os.environ.get("BOXLITE_INSTALLED")
    if not prefix:
        pytest.skip("the runner installs; by hand: set BOXLITE_INSTALLED to a prefix")
    command = pathlib.Path(prefix) / "bin" / "boxlite"
    done = subprocess.run([command, "run", "--rm", "busybox", "echo", "installed"], env=boxlite.environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, b"installed\n"), done.stderr
    info = subprocess.run([command, "info", "--format", "json"], env=boxlite.environment, stdout=subprocess.PIPE, timeout=60, check=True)
    assert str(boxlite.path) in info.stdout.decode()
