# SPDX-License-Identifier: Apache-2.0
"""test_devices.py - what a box finds in its machine, the same on every engine and with each guest kernel"""
import pytest

import home as homes

LOOK = """cat /sys/block/vda/serial; echo
cat /sys/class/virtio-ports/*/name
cat /sys/class/misc/hw_random/rng_current
for device in /sys/bus/virtio/devices/*; do echo $(cat $device/device) $(basename $(readlink $device/driver)); done | sort
nproc"""


def runtime_with(kernel, folder):
    """The product's runtime directory, by links, with one guest kernel only."""
    (folder / "guest").mkdir(parents=True)
    for name in ("boxlite-shim", "libboxlite-image.so", "images", f"guest/{kernel}"):
        (folder / name).symlink_to(homes.BUILD / name)
    return folder


@pytest.mark.parametrize("kernel", ["tuned", "stock"])
def test_devices_have_their_names(boxlite, kernel):
    """A distribution's kernel is as it is, with modules, and finds devices and processors in ACPI's tables."""
    boxlite.environment["BOXLITE_RUNTIME_DIR"] = str(runtime_with(kernel, boxlite.base / "runtime"))
    assert f"guest/{kernel}/vmlinux" in boxlite.ok("info")
    box = boxlite.idle("--cpus", "2")
    said = boxlite.sh(box, LOOK)
    assert [line for line in said.splitlines() if line] == [
        "boxlite-root", "boxlite.agent", "virtio_rng.0",
        "0x0002 virtio_blk", "0x0003 virtio_console", "0x0004 virtio_rng", "0x0005 virtio_balloon", "2"], said
