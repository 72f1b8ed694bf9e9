# SPDX-License-Identifier: Apache-2.0
"""test_random_kills.py - a host process or an emulator dies at a moment that only the seed knows, while its box starts or serves"""
import contextlib
import os
import random
import signal
import time

import pytest

import kernel

NAME = "random"
LATEST_S = 2.0


def appears(home, box, victim, starter):
    """Waits for the process that is to die. Return: its pid; None when the start was over before"""
    deadline = time.monotonic() + kernel.SECONDS
    while time.monotonic() < deadline:
        over = starter.poll() is not None
        shim = home.shim(box)
        pid = shim if victim == "shim" or not shim else kernel.emulator(home, shim)
        if pid or over:
            return pid
        time.sleep(0.01)  # nothing announces another process's child
    raise AssertionError(f"no {victim} appeared")


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("victim", ["shim", "emulator"])
def test_killed_at_a_random_moment(boxlite, victim, seed):
    box = boxlite.ok("create", "--name", NAME, "busybox").strip()
    starter = boxlite.start("start", NAME)
    pid = appears(boxlite, box, victim, starter)
    assert pid
    time.sleep(random.Random(f"{victim} {seed}").uniform(0, LATEST_S))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, err = starter.communicate(timeout=kernel.SECONDS)
    assert starter.returncode == 0 or err.strip()
    status, code = kernel.compare(boxlite, box, kernel.settled(boxlite, box, False))
    assert status == ("stopped" if victim == "shim" and starter.returncode == 0 else "failed"), (status, code, err)
    boxlite.ok("start", NAME)
    kernel.compare(boxlite, box, kernel.settled(boxlite, box, True))
    assert boxlite.sh(NAME, "echo alive") == "alive\n"
