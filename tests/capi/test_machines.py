# SPDX-License-Identifier: Apache-2.0
"""test_machines.py - the public API on real virtual machines: each scenario of machines.c in a home of its own"""
import os
import subprocess

import pytest

import home as homes

MACHINES = homes.BUILD / "tests" / "capi" / "machines"
SECONDS = 400  # a scenario that takes longer hangs


def scenarios():
    listed = subprocess.run([MACHINES, "--list"], stdout=subprocess.PIPE, text=True, check=True)
    return listed.stdout.split()


@pytest.mark.parametrize("name", scenarios())
def test_scenario(boxlite, name):
    done = subprocess.run([MACHINES, name], env={**os.environ, **boxlite.environment}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout
