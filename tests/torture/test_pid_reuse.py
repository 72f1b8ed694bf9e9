# SPDX-License-Identifier: Apache-2.0
"""test_pid_reuse.py - another process bears the recorded pid: it is never taken for the box, never signalled (pid_reuse.py)"""
import pathlib
import subprocess
import sys

import pytest

import home as homes

INNER = pathlib.Path(__file__).resolve().parent / "pid_reuse.py"


def test_forced_pid_reuse(make_home, prepared):
    """No root is needed: in a user namespace of its own anybody may choose pids."""
    namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
    tried = subprocess.run([*namespace, "true"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no user namespaces here: {tried.stderr.strip()}")
    base = make_home().base
    done = subprocess.run([*namespace, sys.executable, str(INNER), str(base), str(prepared)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=5 * homes.TIMEOUT)
    assert done.returncode == 0 and done.stdout.endswith("17 rounds\n"), done.stdout
