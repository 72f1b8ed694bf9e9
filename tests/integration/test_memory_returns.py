# SPDX-License-Identifier: Apache-2.0
"""test_memory_returns.py - memory that a box does not need any more goes back to the host by itself (free page reporting)"""
import contextlib
import pathlib
import resource
import time

import leaks

MIB = 1 << 20
HELD_MIB = 128
DEADLINE_SECONDS = 120


def family(pid):
    """A process and all below it."""
    return [pid] + [other for child in leaks.children(pid) for other in family(child)]


def resident_mib(home, box):
    """What the box takes of the host's memory: its shim, and an emulator below it. (Who is not dumpable shows no smaps.)"""
    pages = 0
    for pid in family(home.shim(box)):
        with contextlib.suppress(OSError):  # it ended while we looked
            pages += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def wait_resident(home, box, fits):
    """Nothing announces that memory goes: asks until it fits. Return: MiB"""
    end = time.monotonic() + DEADLINE_SECONDS
    while not fits(resident := resident_mib(home, box)):
        assert time.monotonic() < end, f"after {DEADLINE_SECONDS} s the box takes {resident:.0f} MiB"
        time.sleep(0.1)
    return resident


def test_free_pages_go_back(boxlite):
    box = boxlite.idle("--memory", "512")
    before = resident_mib(boxlite, box)
    boxlite.sh(box, "mkfifo /root/go")
    # dd holds what it read until cat takes it, and that waits for a word.
    holder = boxlite.start("exec", box, "--", "sh", "-c", f"dd if=/dev/zero bs={HELD_MIB}M count=1 | cat /root/go - > /dev/null")
    held = wait_resident(boxlite, box, lambda now: now >= before + HELD_MIB * 0.8)
    boxlite.sh(box, "echo > /root/go")
    holder.communicate(timeout=DEADLINE_SECONDS)
    after = wait_resident(boxlite, box, lambda now: now <= before + HELD_MIB * 0.5)
    print(f"before {before:.0f} MiB, held {held:.0f} MiB, after {after:.0f} MiB")
