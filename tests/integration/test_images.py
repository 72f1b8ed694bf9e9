# SPDX-License-Identifier: Apache-2.0
"""test_images.py - every form in which people hand images around becomes a box; what is loaded can be listed and removed"""
import json
import re
import tarfile

import pytest

import oci

EXTRA = {"note": "from the second layer\n"}


def layers():
    return [oci.busybox_layer(), oci.layer(("root/note", EXTRA["note"]), oci.member("tmp/gone", mode=0o600))]


def layout(name="test:latest", how=None, config=None):
    made = oci.Layout()
    made.add(layers(), config, name, how)
    return made


@pytest.mark.parametrize("form", ["directory", "directory gzip layers", "directory zstd layers", "archive", "archive.gz", "archive.zst",
                                  "docker", "docker.gz", "docker.zst", "standard input"])
def test_forms(make_home, tmp_path, form):
    home = make_home()
    path, options = tmp_path / "image", {}
    if form.startswith("directory"):
        layout(how={"gzip": "gzip", "zstd": "zstd"}.get(form.split()[1] if " " in form else "")).write(path)
    elif form.startswith("archive"):
        layout(how="gzip").archive(path, {"gz": "gzip", "zst": "zstd"}.get(form.partition(".")[2]))
    elif form.startswith("docker"):
        oci.docker_archive(path, layers(), how={"gz": "gzip", "zst": "zstd"}.get(form.partition(".")[2]))
    else:
        options["stdin"] = open(oci.docker_archive(path, layers(), how="gzip"), "rb")
        path = "-"
    home.ok("load", path, **options)
    image, = json.loads(home.ok("images", "--format", "json"))
    assert (image["Repository"], image["Tag"]) == ("test", "latest")
    if form in ("directory zstd layers", "docker.gz"):  # one of each family is run, too: a boot each is enough
        assert home.ok("run", "--rm", "test", "cat", "/root/note") == EXTRA["note"]


def test_configuration_of_the_image(boxlite, tmp_path):
    config = {"Env": [oci.PATH, "A=image", "B=image"], "Entrypoint": ["sh", "-c", 'echo "$A $B $(pwd) $(id -un) $@"; exit 3', "entry"],
              "Cmd": ["by", "default"], "WorkingDir": "/var/www", "User": "www-data"}
    boxlite.ok("load", layout(config=config).write(tmp_path / "image"))
    done = boxlite.run("run", "--rm", "test")
    assert (done.code, done.out) == (3, "image image /var/www www-data by default\n"), done
    done = boxlite.run("run", "--rm", "-e", "B=mine", "-u", "root", "-w", "/", "test", "given")
    assert (done.code, done.out) == (3, "image mine / root given\n"), done


def test_layers_replace_and_remove(boxlite, tmp_path):
    made = oci.Layout()
    made.add([oci.busybox_layer(),
              oci.layer(oci.member("d", oci.tarfile.DIRTYPE, 0o755), ("d/one", "1"), ("d/two", "2"), ("file", "old"), ("will-be-dir", "x"),
                        oci.member("hard", tarfile.LNKTYPE, link="file"), oci.member("opaque", tarfile.DIRTYPE, 0o755), ("opaque/old", "x")),
              oci.layer(("d/.wh.one", ""), ("file", "new"), oci.member("will-be-dir", tarfile.DIRTYPE, 0o755), ("will-be-dir/in", "in"),
                        ("opaque/.wh..wh..opq", ""), ("opaque/new", "y"),
                        (oci.member("root/owned", mode=0o4751, uid=1234, gid=4321, mtime=1000000001), "s"))])
    boxlite.ok("load", made.write(tmp_path / "image"))
    out = boxlite.ok("run", "--rm", "test", "sh", "-c",
                     "ls /d /opaque; cat /file /hard /will-be-dir/in; echo; stat -c '%a %u %g %Y' /root/owned")
    assert out.split() == ["/d:", "two", "/opaque:", "new", "newoldin", "4751", "1234", "4321", "1000000001"]


def test_platforms(boxlite, tmp_path):
    made = oci.Layout()
    made.add([oci.layer(("foreign", "x"))], name=None, architecture="arm64")
    made.add(layers(), name=None)
    index = made.blob("index.v1+json", oci.encode({"schemaVersion": 2, "mediaType": oci.OCI + "index.v1+json", "manifests": made.manifests}),
                      annotations={"org.opencontainers.image.ref.name": "multi:1"})
    made.manifests = [index]
    boxlite.ok("load", made.write(tmp_path / "both"))
    assert boxlite.ok("run", "--rm", "multi:1", "cat", "/root/note") == EXTRA["note"]
    only = oci.Layout()
    only.add([oci.layer(("foreign", "x"))], name="foreign:1", architecture="arm64")
    boxlite.fails("load", only.write(tmp_path / "only"), says=["arm64", "amd64"])


def test_list_and_remove(boxlite, tmp_path):
    boxlite.ok("load", layout("one:1").write(tmp_path / "one"))
    boxlite.ok("load", layout("two:2").write(tmp_path / "two"))  # the same content: they share a disk
    shown = {image["Repository"]: image for image in json.loads(boxlite.ok("images", "--format", "json"))}
    assert set(shown) == {"busybox", "one", "two"} and re.fullmatch("[0-9a-f]{12}", shown["one"]["ID"])
    assert len(boxlite.ok("images", "-q").split()) >= 2
    disks = set((boxlite.path / "images" / "disks").glob("*.ext4"))
    assert len(disks) == 2
    box = boxlite.ok("create", "--name", "user", "one:1").strip()
    boxlite.ok("rmi", "one:1")
    assert boxlite.ok("run", "--rm", "two:2", "cat", "/root/note") == EXTRA["note"]
    boxlite.ok("rmi", "two:2")
    assert len(set((boxlite.path / "images" / "disks").glob("*.ext4"))) == 1
    assert boxlite.sh(box, "cat /root/note") == EXTRA["note"]  # a box keeps its base
    boxlite.fails("rmi", "one:1", says="one")
    boxlite.fails("run", "--rm", "--pull", "never", "one:1", "true", code=125)
    assert boxlite.ok("run", "--rm", "busybox", "echo", "ok") == "ok\n"


def test_rootfs(boxlite, tmp_path):
    path = layout(name=None).write(tmp_path / "layout")
    assert boxlite.ok("run", "--rm", "--rootfs", path, "cat", "/root/note") == EXTRA["note"]
    assert {image["Repository"] for image in json.loads(boxlite.ok("images", "--format", "json"))} == {"busybox"}
    boxlite.fails("create", "--rootfs", path, "busybox", code=2, says="cannot be used with")
    boxlite.fails("create", code=2, says="required")
    boxlite.fails("create", "--rootfs", tmp_path / "nowhere", says="does not exist")
    (tmp_path / "file").touch()
    boxlite.fails("create", "--rootfs", tmp_path / "file", says="not a directory")
    (tmp_path / "empty").mkdir()
    boxlite.fails("create", "--rootfs", tmp_path / "empty", says="oci-layout")


def test_many_load_the_same_at_once(bare, tmp_path):
    path = layout(how="gzip").archive(tmp_path / "image.tar")
    processes = [bare.start("load", path) for _ in range(6)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert len(bare.ok("images", "-q").split()) == 1
    assert bare.ok("run", "--rm", "test", "cat", "/root/note") == EXTRA["note"]
