# SPDX-License-Identifier: Apache-2.0
"""test_devices.py - what a box finds in its machine, the same on every engine"""


def test_devices_have_their_names(boxlite):
    box = boxlite.idle()
    said = boxlite.sh(box, """cat /sys/block/vda/serial; echo
        cat /sys/class/virtio-ports/*/name
        cat /sys/class/misc/hw_random/rng_current
        for device in /sys/bus/virtio/devices/*; do echo $(cat $device/device) $(basename $(readlink $device/driver)); done | sort""")
    assert [line for line in said.splitlines() if line] == [
        "boxlite-root", "boxlite.agent", "virtio_rng.0",
        "0x0002 virtio_blk", "0x0003 virtio_console", "0x0004 virtio_rng", "0x0005 virtio_balloon"], said
