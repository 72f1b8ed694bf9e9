# SPDX-License-Identifier: Apache-2.0
"""Each guest kernel boots 30 times in a row without one hang.

The stock kernel, given no help, waits for ever in one boot of three at the calibration of its clocks under software
emulation, so a few boots prove nothing. Each boot ends by itself when its init has run; the deadline only tells a hang.
On engine kvm it is our own monitor that boots them, as bare.
"""
import os
import pathlib
import subprocess

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BOXLITE_BUILD") or TREE / "build")
BOOTS = 30
DEADLINE_S = 300


@pytest.mark.parametrize("kernel", ["stock", "tuned"])
def test_boots_every_time(kernel):
    vmlinux = BUILD / "guest" / kernel / "vmlinux"
    assert vmlinux.exists(), f"{vmlinux} is missing: run make kernel"
    command = [TREE / "scripts" / "boot-kernel", "--console", vmlinux, BUILD / "trivial.initramfs"]
    if os.environ.get("BOXLITE_ENGINE") == "kvm":
        command = [BUILD / "tests" / "unit" / "kvm-boot", vmlinux, BUILD / "trivial.initramfs", "1", "512", "console=ttyS0"]
    for boot in range(1, BOOTS + 1):
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE_S, check=False)
        except subprocess.TimeoutExpired as hung:
            pytest.fail(f"boot {boot} of {BOOTS} hung; its last messages:\n" + (hung.stdout or b"").decode(errors="replace")[-2000:])
        messages = done.stdout.decode(errors="replace")
        assert done.returncode == 0, messages
        # A panic ends QEMU as well: only init itself says this.
        assert "Restarting system" in messages and "Kernel panic" not in messages, messages[-2000:]
