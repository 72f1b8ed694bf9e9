# SPDX-License-Identifier: Apache-2.0
"""test_pid_reuse.py - another process bears the recorded pid: it is never taken for the box, never signalled (pid_reuse.py)"""
import pathlib
import subprocess
import sys

import home as homes

INNER = pathlib.Path(__file__).resolve().parent / "pid_reuse.py"


def test_forced_pid_reuse(make_home, prepared):
    """No root is needed: in a user namespace of its own anybody may choose pids. Where that is forbidden, this fails and says so."""
    base = make_home().base
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable,
                           str(INNER), str(base), str(prepared)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=5 * homes.TIMEOUT)
    assert done.returncode == 0 and done.stdout.endswith("17 rounds\n"), done.stdout
