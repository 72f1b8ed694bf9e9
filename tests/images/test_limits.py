# SPDX-License-Identifier: Apache-2.0
"""test_limits.py - what an image may cost: each limit just reached, and just missed, by a pull and by a load

Every limit stands in the configuration. What goes over one ends with a line that names the setting, and leaves nothing.
"""
import json
import subprocess
import threading

import pytest

import home as homes
import oci
import registry as registries

MIB = 1 << 20


def sized(size, *members):
    """An uncompressed layer of just this size."""
    content = oci.layer(*members).rstrip(b"\0")
    assert len(content) <= size
    return content + bytes(size - len(content))


def image_of(layers, how=None, manifest_size=0, config_size=0):
    """A layout of an image; documents are filled up with spaces. Return: the layout"""
    layout = oci.Layout()
    layout.add(layers, how=how)
    descriptor = layout.manifests[0]
    manifest = json.loads(layout.files.pop("blobs/" + descriptor["digest"].replace(":", "/")))
    if config_size:
        config = layout.files.pop("blobs/" + manifest["config"]["digest"].replace(":", "/"))
        manifest["config"] = layout.blob("config.v1+json", config.ljust(config_size))
    content = oci.encode(manifest).ljust(manifest_size)
    descriptor |= {"digest": oci.digest(content), "size": len(content)}
    layout.files["blobs/" + descriptor["digest"].replace(":", "/")] = content
    return layout


def many(count):
    return oci.layer(*((f"file{number}", "x") for number in range(count)))


def long_window(size):
    """A layer whose zstd frame asks for a window of 16 MiB."""
    layout = oci.Layout()
    content = oci.layer(("noise", bytes(size)))
    packed = subprocess.run(["zstd", "-q", "--long=24", "--no-content-size", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout
    layout.add([content], how="zstd", spoil=lambda manifest: manifest["layers"][0].update(
        layout.blob("layer.v1.tar+zstd", packed)))
    return layout


# setting, value, an image that just fits, one that just does not, and what is said
CASES = {
    "unpacked_mib": (2, lambda: image_of([sized(MIB, ("a", "a")), sized(MIB, ("b", "b"))]),
                     lambda: image_of([sized(MIB, ("a", "a")), sized(MIB + 512, ("b", "b"))], how="gzip"), "more than 2097152 bytes"),
    "layer_mib": (1, lambda: image_of([sized(MIB, ("a", "a")), sized(MIB, ("b", "b"))]),
                  lambda: image_of([sized(MIB, ("a", "a")), sized(MIB + 512, ("b", "b"))], how="gzip"), "layer 2"),
    "files": (4, lambda: image_of([many(4)]), lambda: image_of([many(5)]), "more than 4 files"),
    "path_depth": (3, lambda: image_of([oci.layer(("a/b/c", "x"))]), lambda: image_of([oci.layer(("a/b/c/d", "x"))]), "3 components"),
    "layers": (2, lambda: image_of([many(1), many(2)]), lambda: image_of([many(1), many(2), many(3)]), "3 layers, more than 2"),
    "manifest_kib": (1, lambda: image_of([many(1)], manifest_size=1024), lambda: image_of([many(1)], manifest_size=1025), "1024 bytes"),
    "config_kib": (1, lambda: image_of([many(1)], config_size=1024), lambda: image_of([many(1)], config_size=1025), "1024 bytes"),
    "zstd_window_mib": (16, lambda: long_window(40 * MIB), None, None),
}


def left(home):
    """What an image left in the store."""
    return [path for folder in ("index", "disks", "partial") for path in (home.path / "images" / folder).iterdir()]


@pytest.mark.parametrize("setting", CASES)
def test_limit(bare, make_home, registry, configure, tmp_path, setting):
    value, fits, over, says = CASES[setting]
    loads = make_home(name="loads")
    name = f"{registry.host}/limit-{setting.replace('_', '-')}"
    registry.push(fits(), name.split("/")[1], "fits")
    for home in (bare, loads):
        configure(home, image_limits={setting: value})
    bare.ok("pull", f"{name}:fits")
    loads.ok("load", fits().write(tmp_path / "fits"))
    for home, reference in ((bare, f"{name}:fits"), (loads, "test:latest")):
        home.ok("rmi", reference)
        assert not left(home)
    if over is None:  # the same image, and a setting of less
        over, says = fits, f"more than {value // 2} MiB"
        for home in (bare, loads):
            configure(home, image_limits={setting: value // 2})
    registry.push(over(), name.split("/")[1], "over")
    bare.fails("pull", f"{name}:over", code=1, says=["failed to pull", says, f"'image_limits.{setting}'"])
    loads.fails("load", over().write(tmp_path / "over"), code=1, says=[says, f"'image_limits.{setting}'"])
    assert not left(bare) and not left(loads)
    # The image is as good as any other: it was the limit.
    for home in (bare, loads):
        configure(home)
    bare.ok("pull", f"{name}:over")
    loads.ok("load", tmp_path / "over")


def test_layer_limit_of_the_environment(bare, registry, image):
    """As BOXLITE_MAX_LAYER_DECOMPRESSED_SIZE has it elsewhere: in bytes."""
    layer = sized(MIB, ("a", "a"))
    registry.push(image_of([layer], how="gzip"), "environment")
    name = f"{registry.host}/environment"
    bare.fails("pull", name, env={"BOXLITE_MAX_LAYER_DECOMPRESSED_SIZE": str(MIB - 1)}, says=["layer 1", "1048575 bytes"])
    bare.fails("pull", name, env={"BOXLITE_MAX_LAYER_DECOMPRESSED_SIZE": "20G"}, says="number of bytes")
    assert not left(bare)
    bare.ok("pull", name, env={"BOXLITE_MAX_LAYER_DECOMPRESSED_SIZE": str(MIB)})


def test_stored_bytes_count_too(bare, proxy, registry, configure):
    """A layer that is nothing but empty gzip members takes the disk as it is stored, not as it unpacks."""
    layout = oci.Layout()
    member = oci.compress(b"", "gzip")
    layout.add([b""], how="gzip", spoil=lambda manifest: manifest["layers"][0].update(
        layout.blob("layer.v1.tar+gzip", member * (MIB // len(member) + 1))))
    registry.push(layout, "padded")
    configure(bare, image_limits={"layer_mib": 1})
    bare.fails("pull", f"{proxy.host}/padded", says=["layer 1", "'image_limits.layer_mib'"])
    # It is refused by what the manifest says: not a byte of it was asked for.
    assert not proxy.got("/blobs/")


def test_time_of_a_pull(bare, proxy, image, configure):
    configure(bare, image_limits={"time_s": 2})
    never = threading.Event()
    part = bare.path / "images" / "blobs" / (image.digests[1].replace(":", "-") + ".part")
    proxy.rule(f"/blobs/{image.digests[1]}", registries.stuck(MIB, never), 60)
    for _ in range(60):
        bare.fails("pull", f"{proxy.host}/app:1", says=["failed to pull", "'image_limits.time_s'", "continues"])
        assert not [path for path in left(bare) if path.parent.name != "partial"]
        if part.exists() and part.stat().st_size:  # where two seconds were too short for the layer's first bytes, once more
            break
    never.set()
    configure(bare, image_limits={"time_s": 600})
    bare.ok("pull", f"{proxy.host}/app:1")
    assert proxy.got(f"/blobs/{image.digests[1]}")[-1].headers["Range"].startswith("bytes=")


def test_time_of_a_registry_that_never_answers(bare, make_proxy, configure):
    configure(bare, image_limits={"time_s": 1})
    silent = make_proxy()
    silent.rule("/", registries.stuck(0, threading.Event()), 100)
    bare.fails("pull", f"{silent.host}/app:1", says=["failed to pull", "'image_limits.time_s'"])


def test_time_of_a_load(bare, configure):
    configure(bare, image_limits={"time_s": 1})
    process = bare.start("load", "-")  # from a pipe into which nobody writes
    process.wait(timeout=homes.TIMEOUT)
    err = process.stderr.read().decode()
    assert process.returncode == 1 and "'image_limits.time_s'" in err, err
    assert not left(bare)
