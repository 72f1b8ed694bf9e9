# SPDX-License-Identifier: Apache-2.0
"""
test_bad_input.py - whatever is wrong is told in one line that says what to do, with the documented exit code, and leaves nothing

Each case has its control beside it: the same thing, unspoilt, works in test_images.py or here.
"""
import gzip
import os
import shutil
import subprocess
import tarfile

import pytest

import home as homes
import oci
from small import on_small_disk

SMALL = oci.layer(("file", "content" * 1000))


def spoilt(change):
    """An OCI layout of one small layer after something was changed: change(layout), or change(layout, manifest) before the blob."""
    made = oci.Layout()
    made.add([SMALL], spoil=lambda manifest: change(made, manifest))
    return made


def wrong_layer_bytes(made, manifest):
    path = "blobs/" + manifest["layers"][0]["digest"].replace(":", "/")
    made.files[path] = made.files[path][:-1] + b"x"


def wrong_config_bytes(made, manifest):
    path = "blobs/" + manifest["config"]["digest"].replace(":", "/")
    made.files[path] = made.files[path].replace(b"amd64", b"amd46")


def missing_layer(made, manifest):
    del made.files["blobs/" + manifest["layers"][0]["digest"].replace(":", "/")]


def cut_layer(made, manifest):
    path = "blobs/" + manifest["layers"][0]["digest"].replace(":", "/")
    made.files[path] = made.files[path][:700]


def wrong_diff_id(made, manifest):
    document = oci.encode({"architecture": "amd64", "os": "linux", "config": {},
                           "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}})
    manifest["config"] = made.blob("config.v1+json", document)


def path_for_digest(made, manifest):
    manifest["layers"][0]["digest"] = "sha256:../../../../../../etc/passwd"


def a_bomb(made, manifest):
    """300 GB of zeroes in 300 MB of gzip would do; a size that no disk holds, said by a tar header, is as good and quick."""
    head = oci.member("bomb", size=1 << 45).tobuf(tarfile.GNU_FORMAT)
    replace_layer(made, manifest, head + bytes(1 << 20))


def replace_layer(made, manifest, content):
    document = oci.encode({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [oci.digest(content)]}})
    manifest["config"] = made.blob("config.v1+json", document)
    manifest["layers"] = [made.blob("layer.v1.tar+gzip", gzip.compress(content))]


def holding(*members):
    return lambda made, manifest: replace_layer(made, manifest, oci.layer(*members))


@pytest.mark.parametrize("change", [
    wrong_layer_bytes, wrong_config_bytes, missing_layer, cut_layer, wrong_diff_id, path_for_digest, a_bomb,
    pytest.param(holding(("../escaped", "x")), id="dotdot"),
    pytest.param(holding(("a/../../escaped", "x")), id="dotdot_inside"),
    pytest.param(holding(oci.member("link", tarfile.LNKTYPE, link="../../etc/passwd")), id="hardlink_outside"),
    pytest.param(holding(oci.member("link", tarfile.LNKTYPE, link="missing")), id="hardlink_to_nothing"),
    pytest.param(holding(("/".join(["d"] * 10000), "x")), id="deep_path"),
    pytest.param(holding(("n" * 300, "x")), id="long_name"),
])
def test_hostile_images(bare, tmp_path, change):
    done = bare.fails("load", spoilt(change).write(tmp_path / "image"))
    assert len(done.err.strip().splitlines()) == 1, done
    assert bare.ok("images", "-q") == ""
    assert not (tmp_path / "escaped").exists() and not list(bare.base.glob("**/escaped"))
    assert not list(bare.path.glob("images/disks/*"))


def test_strange_but_lawful_image(boxlite, tmp_path):
    """Absolute and escaping links, devices and duplicates are the image's own business, and stay inside it."""
    made = oci.Layout()
    made.add([oci.busybox_layer(), oci.layer(
        oci.member("out", tarfile.SYMTYPE, link=str(tmp_path)), oci.member("up", tarfile.SYMTYPE, link="../../../../../../../etc"),
        oci.member("null", tarfile.CHRTYPE, 0o666, devmajor=1, devminor=3), ("twice", "first"), ("twice", "second"),
        ("./dotted", "x"), ("/rooted", "y"), ("n" * 255, "long"))])
    boxlite.ok("load", made.write(tmp_path / "image"))
    out = boxlite.ok("run", "--rm", "test", "sh", "-c", "readlink /out; readlink /up; cat /twice /dotted /rooted /nnnn*; stat -c %F /null")
    assert out == f"{tmp_path}\n../../../../../../../etc\nsecondxylongcharacter special file\n"


def test_broken_files(bare, tmp_path):
    good = oci.Layout()
    good.add([oci.layer(("file", os.urandom(100000)))], how="gzip")
    whole = good.archive(tmp_path / "whole.tar").read_bytes()
    docker = oci.docker_archive(tmp_path / "docker.tar", [oci.layer(("file", os.urandom(100000)))]).read_bytes()
    cases = {"nothing": b"", "words": b"this is no image\n" * 100, "zeroes": bytes(1 << 20), "cut": whole[:len(whole) // 2],
             "cut docker": docker[:len(docker) // 2], "cut gzip": gzip.compress(whole)[:50000], "gzip of words": gzip.compress(b"words" * 1000),
             "zstd magic": b"\x28\xb5\x2f\xfd" + os.urandom(500), "no json": oci.pack({"oci-layout": b"{", "index.json": b"["}),
             "wrong types": oci.pack({**good.finished(), "index.json": b'{"schemaVersion":2,"manifests":{"a":1}}'}),
             "deep json": oci.pack({**good.finished(), "index.json": b"[" * 100000})}
    for name, content in cases.items():
        path = tmp_path / "broken"
        path.write_bytes(content)
        done = bare.run("load", path)
        assert done.code == 1 and len(done.err.strip().splitlines()) == 1, (name, done)
        with open(path, "rb") as stream:
            bare.fails("load", "-", stdin=stream)
    bare.fails("load", tmp_path / "nowhere", says="nowhere")
    assert bare.ok("images", "-q") == ""
    bare.ok("load", tmp_path / "whole.tar")  # the control: unspoilt, it loads


def test_unknown_images_and_boxes(boxlite):
    boxlite.fails("run", "--pull", "never", "nowhere/image:1", "true", code=125, says=["nowhere/image:1", "boxlite"])  # and how to get it
    boxlite.fails("run", "127.0.0.1:1/nowhere:1", "true", code=125, says="127.0.0.1:1/nowhere:1")  # no registry listens there
    boxlite.fails("create", "Bad Reference!", says="reference")
    for command in ("start", "stop", "restart", "rm", "logs"):
        boxlite.fails(command, "nobody", says="nobody")
    done = boxlite.fails("inspect", "nobody", says="no such")
    assert done.out.strip() == "[]"
    assert boxlite.listed() == []


@pytest.mark.parametrize("option, value, code", [("--memory", "16", 125), ("--memory", "x", 2), ("--cpus", "x", 2), ("--disk-size", "x", 2),
                                                 ("--engine", "warp", 125), ("--user", "nobody-here", 125)])
def test_impossible_boxes(boxlite, option, value, code):
    done = boxlite.run("run", "--rm", option, value, "busybox", "true")
    assert done.code in (code, 2, 126, 127) and done.err.strip(), done
    assert boxlite.listed() == []


def test_homes_that_are_none(make_home, tmp_path):
    home = make_home()
    (tmp_path / "file").touch()
    home.fails("list", env={"BOXLITE_HOME": str(tmp_path / "file")}, says="file")
    done = home.run("list", env={"BOXLITE_HOME": "relative/home"})
    assert done.code in (1, 2) and "must be an absolute path" in done.err, done
    home.fails("list", env={"BOXLITE_HOME": "/proc/home"})
    if os.getuid() != 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o000)
        home.fails("list", env={"BOXLITE_HOME": str(closed / "home")}, says="Permission denied")
        home.fails("run", "busybox", "true", env={"BOXLITE_HOME": str(closed)}, code=125, says="Permission denied")
        closed.chmod(0o700)


def test_broken_database(boxlite):
    boxlite.ok("create", "busybox")
    database = boxlite.path / "db" / "boxlite.db"
    kept = database.read_bytes()
    for name in database.parent.iterdir():
        name.unlink()
    database.write_bytes(b"this is no database " * 500)
    boxlite.fails("list", says="database")
    database.write_bytes(kept)


def runtime_without(tmp_path, *missing):
    """The product's runtime directory, by links, without some of its files."""
    copy = tmp_path / "runtime"
    copy.mkdir(parents=True, exist_ok=True)
    for name in ("boxlite-shim", "libboxlite-image.so", "images", "guest/tuned", "guest/stock"):
        source = homes.BUILD / name
        if source.is_dir():
            (copy / name).mkdir(parents=True)
            for path in source.iterdir():
                if path.name in ("vmlinux", "initramfs") or name == "images":
                    (copy / name / path.name).symlink_to(path)
        elif source.exists():
            (copy / name).symlink_to(source)
    for name in missing:
        for path in copy.glob(name):
            path.unlink()
    return copy


def test_missing_parts(boxlite, tmp_path):
    box = boxlite.ok("create", "--engine", "qemu", "busybox").strip()  # the one with a part that is not ours
    boxlite.fails("start", box, env={"BOXLITE_QEMU": "/nowhere/qemu"}, says="/nowhere/qemu")
    boxlite.fails("start", box, env={"PATH": "/nowhere", "BOXLITE_QEMU": ""}, says="qemu-system-x86")
    runtime = runtime_without(tmp_path, "guest/*/vmlinux")
    boxlite.fails("start", box, env={"BOXLITE_RUNTIME_DIR": str(runtime)}, says="kernel")
    runtime_shim = runtime_without(tmp_path / "shim", "boxlite-shim")
    boxlite.fails("start", box, env={"BOXLITE_RUNTIME_DIR": str(runtime_shim)}, says="boxlite-shim")
    assert boxlite.status(box) in ("failed", "configured", "stopped")
    boxlite.ok("start", box)  # the control: nothing of the failures stayed
    assert boxlite.sh(box, "echo up") == "up\n"


def replace_init(tmp_path, program):
    """A runtime directory whose guest runs another init."""
    runtime = runtime_without(tmp_path, "guest/*/initramfs")
    for kind in ("tuned", "stock"):
        if (runtime / "guest" / kind / "vmlinux").exists():
            subprocess.run([homes.TREE / "scripts" / "make-initramfs", "--init", program, "--output", runtime / "guest" / kind / "initramfs"],
                           check=True)
    return runtime


def test_guest_that_never_answers(boxlite, tmp_path):
    box = boxlite.ok("create", "busybox").strip()
    # busybox as init waits for its terminals for ever.
    runtime = replace_init(tmp_path, shutil.which("busybox") or "/bin/busybox")
    done = boxlite.fails("start", box, env={"BOXLITE_RUNTIME_DIR": str(runtime), "BOXLITE_START_TIMEOUT": "4"}, says="4 s")
    assert 3 < done.seconds < 60 and boxlite.status(box) == "failed" and boxlite.shim(box) is None
    boxlite.ok("start", box)


def test_guest_that_dies_early_is_told_at_once(boxlite, tmp_path):
    box = boxlite.ok("create", "busybox").strip()
    runtime = replace_init(tmp_path, homes.BUILD / "trivial-init")
    done = boxlite.fails("start", box, env={"BOXLITE_RUNTIME_DIR": str(runtime), "BOXLITE_START_TIMEOUT": "100"})
    assert done.seconds < 60 and boxlite.status(box) == "failed", done


def test_full_disk(make_home):
    home = on_small_disk(make_home)
    home.path.mkdir(mode=0o700)
    filler = home.path / "filler"
    with open(filler, "wb") as file:
        with pytest.raises(OSError):
            while True:
                file.write(bytes(1 << 16))
                file.flush()
    filler.open("r+b").truncate(max(0, filler.stat().st_size - (1 << 20)))
    home.fails("run", "busybox", "true", code=125, says="No space left")
    filler.unlink()
    assert home.listed() == [] and home.ok("images", "-q") == ""
    assert home.ok("run", "--rm", "busybox", "echo", "room again") == "room again\n"
