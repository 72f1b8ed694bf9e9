# SPDX-License-Identifier: Apache-2.0
"""test_image_trees.py - what the loader makes of an image, entry by entry beside what umoci makes of it

umoci is another reader of the same specification. Images of several layers are made of chance (always the same chance): files
come, change, move between kinds, and go by whiteouts and opaque directories. umoci unpacks them on the host as an ordinary user,
where owners that it can't give stand in an attribute; the loader's disk is read with libext2fs.
"""
import os
import shutil

import pytest

import home as homes
from trees import TOOLS, Chance, check_equal, describe_disk, make_image, run, unpack

pytestmark = pytest.mark.skipif(not shutil.which("umoci"), reason="umoci is not installed")


def load(folder, source):
    store = folder / "home"
    store.mkdir(exist_ok=True)
    reference, _, disk = run(TOOLS / "image-load", store, homes.BUILD, source, "made").decode().split()
    assert reference == "docker.io/library/made:latest"
    run("e2fsck", "-fn", disk, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    return disk


def compare(folder, layers):
    layout = make_image(folder, layers)
    return check_equal(load(folder, layout), *unpack(f"{layout}:made", folder / "bundle"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_layers_of_chance(tmp_path, seed):
    chance = Chance(seed)
    layers = [chance.layer(120, first=number == 0) for number in range(5)]
    ours = compare(tmp_path, layers)
    assert set(ours) == {b""} | {b"/" + os.fsencode(path) for path in chance.kinds}  # and it is what was meant
    assert len(ours) > 100


def test_archives_of_skopeo(tmp_path):
    """The same disk from each of the shapes that skopeo writes."""
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    chance = Chance(4)
    layout = make_image(tmp_path, [chance.layer(40, first=True), chance.layer(40, first=False)])
    expected = describe_disk(load(tmp_path, layout))
    for shape in ("oci-archive:{}:made", "docker-archive:{}:x:made", "dir-compressed"):
        target = tmp_path / shape.split(":")[0]
        if shape == "dir-compressed":
            target = tmp_path / "again.tar.zst"
            plain = (tmp_path / "oci-archive").read_bytes()
            target.write_bytes(run("zstd", "-c", input=plain) if shutil.which("zstd") else plain)
        else:
            run("skopeo", "--tmpdir", tmp_path, "--insecure-policy", "copy", f"oci:{layout}:made", shape.format(target))
        shutil.rmtree(tmp_path / "home")
        assert describe_disk(load(tmp_path, target)) == expected
