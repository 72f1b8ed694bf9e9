# SPDX-License-Identifier: Apache-2.0
"""
test_trees.py - what a pull makes of real images, entry by entry beside what umoci makes of the same

The images are made by umoci (and one by mmdebstrap) and pushed by skopeo. Modes, owners, times to the nanosecond, attributes,
contents, links and devices are compared; see trees.py for what umoci can't do as an ordinary user.
"""
import json
import os
import pathlib
import shutil
import struct
import tarfile

import pytest

import oci
import trees

pytestmark = pytest.mark.skipif(not shutil.which("umoci") or not shutil.which("skopeo"), reason="umoci or skopeo is not installed")

# VFS_CAP_REVISION_2 with cap_net_raw, effective
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def push(registry, layout, name, tmp_path):
    trees.run("skopeo", "--tmpdir", tmp_path, "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{layout}",
              f"docker://{registry.host}/{name}")
    return f"{registry.host}/{name}"


def pulled(home, name):
    """Pulls an image. Return: the path of its disk, which is right"""
    home.ok("pull", name)
    disk = home.ok("image", "inspect", "-f", "{{.Disk}}", name).strip()
    trees.run("/usr/sbin/e2fsck", "-fn", disk)
    return disk


def compare(home, registry, layout, name, tmp_path):
    """An image of a layout ("folder:tag"), pulled and unpacked. Return: what is on the disk"""
    disk = pulled(home, push(registry, layout, name, tmp_path))
    return trees.check_equal(disk, *trees.unpack(layout, tmp_path / "bundle"))


def test_busybox(bare, registry, tmp_path):
    layout = trees.make_image(tmp_path, [oci.busybox_layer()])
    ours = compare(bare, registry, f"{layout}:made", "trees-busybox", tmp_path)
    assert b"/bin/busybox" in ours


def test_twelve_layers(bare, registry, tmp_path):
    chance = trees.Chance(12)
    layers = [chance.layer(50, first=number == 0) for number in range(12)]
    assert any(b".wh..wh..opq" in layer for layer in layers) and any(b"/.wh." in layer for layer in layers)
    layout = trees.make_image(tmp_path, layers)
    ours = compare(bare, registry, f"{layout}:made", "trees-twelve", tmp_path)
    assert set(ours) == {b""} | {b"/" + os.fsencode(path) for path in chance.kinds}


def test_capabilities_attributes_and_devices(bare, registry, tmp_path):
    def attribute(name, value):
        return {f"SCHILY.xattr.{name}": value.decode(errors="surrogateescape")}

    layer = trees.Layer()
    layer.add("./", tarfile.DIRTYPE, mode=0o755)
    layer.add("ping", data=b"#!", mode=0o755, pax_headers=attribute("security.capability", CAPABILITY))
    layer.add("noted", data=b"x", pax_headers=attribute("user.note", b"one") | attribute("user.empty.\u00e9", b"two"), uid=5, gid=6)
    layer.add("large", data=b"x", pax_headers=attribute("user.large", b"v" * 3000))
    layer.add("directory/", tarfile.DIRTYPE, mode=0o1777, pax_headers=attribute("user.note", b"of a directory"))
    layer.add("null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)
    layer.add("high", tarfile.BLKTYPE, mode=0o640, devmajor=259, devminor=1000, gid=6)
    layer.add("fifo", tarfile.FIFOTYPE, mode=0o600)
    layer.add("directory/again", tarfile.LNKTYPE, linkname="noted")
    # The next layer says something else of some of them.
    above = trees.Layer()
    above.add("large", data=b"y", pax_headers=attribute("user.small", b"1"))
    above.add("directory/", tarfile.DIRTYPE, mode=0o700)
    layout = trees.make_image(tmp_path, [layer.done(), above.done()])
    ours = compare(bare, registry, f"{layout}:made", "trees-attributes", tmp_path)
    # What umoci can't give as an ordinary user is there too.
    assert ours[b"/ping"]["attributes"] == {"security.capability": CAPABILITY}
    assert ours[b"/null"]["device"] == (1, 3) and ours[b"/high"]["device"] == (259, 1000)
    assert ours[b"/large"]["attributes"] == {"user.small": b"1"}


def test_saved_disk(bare, make_home, tmp_path):
    """An image that was loaded, and so is saved from its disk: umoci and we find in the archive what is on the disk."""
    chance = trees.Chance(7)
    special = trees.Layer()
    special.add("special/", tarfile.DIRTYPE, mode=0o1777, mtime=1.25)
    special.add("special/ping", data=b"#!", mode=0o755, pax_headers={"SCHILY.xattr.security.capability": CAPABILITY.decode()})
    special.add("special/null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)
    special.add("special/fifo", tarfile.FIFOTYPE, mode=0o600)
    special.add("special/holes", data=b"a" * 5000 + bytes(3 << 20) + b"b" * 5000 + bytes(2 << 20))
    special.add("special/only holes", data=bytes(2 << 20))
    special.add("special/zeros", data=bytes(70000) + b"x")
    special.add("special/empty")
    special.add("special/" + "n" * 240 + "\udcff\udcfe", data=b"of bytes")
    special.add("special/long", tarfile.SYMTYPE, linkname="t" * 3000, mode=0o777)
    special.add("special/sixty", tarfile.SYMTYPE, linkname="t" * 60, mode=0o777)
    special.add("special/old", data=b"x", mtime=-5)
    special.add("special/far", data=b"x", mtime=2**33 + 0.5)
    for number in range(700):
        special.add(f"many/{'m' * 60}{number}", data=b"")
    made = trees.make_image(tmp_path, [chance.layer(80, first=True), chance.layer(40, first=False), special.done()])
    bare.ok("load", "-t", "made", made)
    bare.ok("save", "-o", tmp_path / "saved.tar", "made")
    disk = bare.ok("image", "inspect", "-f", "{{.Disk}}", "made").strip()
    trees.run("skopeo", "--tmpdir", tmp_path, "--insecure-policy", "copy", f"oci-archive:{tmp_path}/saved.tar", f"oci:{tmp_path}/out:saved")
    trees.check_equal(disk, *trees.unpack(f"{tmp_path}/out:saved", tmp_path / "bundle"))
    other = make_home(name="other")
    other.ok("load", tmp_path / "saved.tar")
    again = other.ok("image", "inspect", "-f", "{{.Disk}}", "made").strip()
    assert trees.describe_disk(again) == trees.describe_disk(disk)
    # Holes are holes again.
    assert os.stat(again).st_blocks <= os.stat(disk).st_blocks + 2048


def test_every_platform_of_an_index(bare, registry, tmp_path):
    """Each of several images under one name."""
    manifests, bundles = [], {}
    for architecture in ("amd64", "arm64"):
        (tmp_path / architecture).mkdir()
        chance = trees.Chance(f"platform {architecture}")
        made = trees.make_image(tmp_path / architecture, [chance.layer(40, first=True), chance.layer(20, first=False)])
        trees.run("umoci", "config", "--image", f"{made}:made", "--architecture", architecture)
        push(registry, f"{made}:made", f"trees-many:{architecture}", tmp_path)
        answer, content = registry.request("GET", f"/v2/trees-many/manifests/{architecture}",
                                           headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
        manifests.append({"mediaType": answer.headers["Content-Type"], "digest": oci.digest(content), "size": len(content),
                          "platform": {"architecture": architecture, "os": "linux"}})
        bundles[architecture] = trees.unpack(f"{made}:made", tmp_path / architecture / "bundle")
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
    registry.push_manifest("trees-many", "latest", json.dumps(index).encode(), index["mediaType"])
    for architecture in ("amd64", "arm64"):
        bare.ok("pull", "--platform", f"linux/{architecture}", f"{registry.host}/trees-many")
        disk = bare.ok("image", "inspect", "-f", "{{.Disk}}", f"{registry.host}/trees-many").strip()
        trees.check_equal(disk, *bundles[architecture])


def test_debian(bare, registry, tmp_path):
    """Debian with python3, as mmdebstrap makes it: some 8,000 files."""
    made = os.environ.get("BOXLITE_DEBIAN_IMAGE")
    if not made:
        pytest.skip("no Debian image: the runner makes one where mmdebstrap can")
    ours = compare(bare, registry, f"{pathlib.Path(made)}:debian", "trees-debian", tmp_path)
    assert len(ours) > 3000 and b"/usr/bin/python3" in ours
