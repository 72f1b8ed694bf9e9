# SPDX-License-Identifier: Apache-2.0
"""test_store.py - what is done with images that were pulled: names, archives, words about them, and getting rid of them"""
import fcntl
import json
import subprocess

import pytest

import oci
import trees


def names(home):
    return {f"{row['Repository']}:{row['Tag']}" for row in json.loads(home.ok("images", "--format", "json"))}


def blobs(home):
    return {path.name for path in (home.path / "images" / "blobs").iterdir()}


def disks(home):
    return list((home.path / "images" / "disks").iterdir())


def used(home):
    return json.loads(home.ok("info", "--format", "json"))["imagesBytes"]


def test_tag_gives_a_name_more(bare, registry, image):
    name = f"{registry.host}/app:1"
    bare.ok("pull", name)
    bare.ok("tag", name, "mine")
    assert names(bare) == {name, "mine:latest"} and len(disks(bare)) == 1
    out = bare.ok("rmi", name)
    assert "Untagged" in out and "Deleted" not in out
    assert names(bare) == {"mine:latest"}
    bare.ok("create", "--pull", "never", "mine")
    bare.fails("tag", "other", "x", says="no image 'other'")
    bare.fails("tag", "mine", "UPPER", says="UPPER")
    bare.fails("tag", "mine", "x@sha256:" + "0" * 64, says="digest")
    bare.fails("tag", "mine", code=2)


def test_save_is_what_was_pulled(make_home, registry, image, tmp_path):
    home, other = make_home(name="a"), make_home(name="b")
    name = f"{registry.host}/app:1"
    home.ok("pull", name)
    home.ok("save", "-o", tmp_path / "app.tar", name)
    # skopeo reads it, and finds what the registry has.
    subprocess.run(["skopeo", "--tmpdir", tmp_path, "--insecure-policy", "copy", f"oci-archive:{tmp_path}/app.tar", f"oci:{tmp_path}/out:x"],
                   check=True, stdout=subprocess.DEVNULL)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == image.digest
    # So does load, from a pipe, with the name.
    saver = home.start("save", name)
    done = other.run("load", "-", stdin=saver.stdout)
    saver.communicate()
    assert done.code == 0 and saver.returncode == 0, done
    assert names(other) == names(home)
    assert disks(home)[0].name == disks(other)[0].name
    home.fails("save", "-o", tmp_path / "no.tar", "missing", says="no image")
    assert not list(tmp_path.glob("no.tar*"))


@pytest.mark.parametrize("kind", ["oci", "docker", "pruned", "embedded"])
def test_save_of_what_has_no_layers_here(make_home, registry, image, layers, tmp_path, kind):
    """It came out of an archive, or its layers were pruned: all of it is saved as one layer."""
    home, other = make_home(name="a"), make_home(name="b")
    name = "test:latest"
    if kind == "oci":
        home.ok("load", image.write(tmp_path / "layout"))
    elif kind == "docker":
        home.ok("load", oci.docker_archive(tmp_path / "docker.tar", layers, config={"Cmd": ["cat", "/etc/motd"]}))
    elif kind == "pruned":
        name = f"{registry.host}/app:1"
        home.ok("pull", name)
        home.ok("image", "prune", "--layers")
    else:
        name = "busybox:latest"
        home.ok("create", name)
    home.ok("save", "-o", tmp_path / "saved.tar", name)
    assert not list((home.path / "images" / "partial").iterdir())
    # skopeo reads it, to its last byte, and finds what the image says of itself.
    subprocess.run(["skopeo", "--tmpdir", tmp_path, "--insecure-policy", "copy", f"oci-archive:{tmp_path}/saved.tar", f"dir:{tmp_path}/out"],
                   check=True, stdout=subprocess.DEVNULL)
    said = json.loads(subprocess.run(["skopeo", "inspect", "--config", f"oci-archive:{tmp_path}/saved.tar"], check=True,
                                     stdout=subprocess.PIPE).stdout)
    inspected = json.loads(home.ok("image", "inspect", name))[0]
    assert said["config"] == inspected["Config"] and said["architecture"] == "amd64" and len(said["rootfs"]["diff_ids"]) == 1
    assert [step.get("empty_layer", False) for step in said["history"]].count(False) == 1
    # So does load; and the files are the same.
    other.ok("load", tmp_path / "saved.tar")
    assert names(other) == names(home)
    again = json.loads(other.ok("image", "inspect", name))[0]
    assert trees.describe_disk(again["Disk"]) == trees.describe_disk(inspected["Disk"])
    # The same image gives the same archive.
    home.ok("save", "-o", tmp_path / "twice.tar", name)
    assert (tmp_path / "twice.tar").read_bytes() == (tmp_path / "saved.tar").read_bytes()


def test_several_images_in_one_archive(make_home, registry, image, tmp_path):
    """One with its layers, one without, and a second name of that one."""
    home, other = make_home(name="a"), make_home(name="b")
    name = f"{registry.host}/app:1"
    home.ok("pull", name)
    home.ok("load", oci.docker_archive(tmp_path / "docker.tar", [oci.layer(("a", "a"))], tags=("one:1",)))
    home.ok("tag", "one:1", "two:2")
    home.ok("save", "-o", tmp_path / "saved.tar", name, "one:1", "two:2")
    other.ok("load", tmp_path / "saved.tar")
    assert names(other) == {name, "one:1", "two:2"} and len(disks(other)) == 2


def test_save_notices_damage(bare, registry, image, tmp_path):
    name = f"{registry.host}/app:1"
    bare.ok("pull", name)
    layer = bare.path / "images" / "blobs" / image.digests[1].replace(":", "-")
    content = bytearray(layer.read_bytes())
    content[1000] ^= 1
    layer.write_bytes(content)
    bare.fails("save", "-o", tmp_path / "app.tar", name, says=["layer 2", "damaged"])
    assert not list(tmp_path.iterdir())
    # Pulling an image that shares the layer finds it, too, and gets it anew.
    more = oci.Layout()
    more.add([oci.layer(("new-first", "x"))], how="gzip")
    first = json.loads(more.files["blobs/" + more.manifests[0]["digest"].replace(":", "/")])["layers"][0]
    manifest = json.loads(image.files["blobs/" + image.digest.replace(":", "/")])
    config = json.loads(image.files["blobs/" + manifest["config"]["digest"].replace(":", "/")])
    config["rootfs"]["diff_ids"].append(oci.digest(oci.layer(("new-first", "x"))))
    manifest["config"] = image.blob("config.v1+json", oci.encode(config))
    manifest["layers"].append(first)
    for part in (more.files["blobs/" + first["digest"].replace(":", "/")], oci.encode(config)):
        registry.push_blob("app", part)
    registry.push_manifest("app", "more", oci.encode(manifest), manifest["mediaType"])
    bare.ok("pull", f"{registry.host}/app:more")
    bare.ok("save", "-o", tmp_path / "app.tar", name)


def test_what_an_image_says(bare, registry, image):
    name = f"{registry.host}/app:1"
    bare.ok("pull", name)
    bare.ok("tag", name, "mine")
    said = json.loads(bare.ok("image", "inspect", name))[0]
    assert said["Digest"] == image.digest and said["Architecture"] == "amd64" and said["Os"] == "linux"
    assert set(said["RepoTags"]) == {name, "mine:latest"} and said["RepoDigests"][0].endswith("@" + image.digest)
    assert len(said["RootFS"]["diff_ids"]) == 3 and said["Config"]["Cmd"] == ["sh"]
    assert [layer["digest"] for layer in said["Layers"]] == image.digests
    assert bare.ok("image", "inspect", "-f", "{{.Id}}", "mine").strip() == said["Id"]
    assert bare.ok("image", "inspect", said["Id"][:19]) != ""
    bare.fails("image", "inspect", "nothing", says="no image")
    assert bare.ok("history", "mine").startswith("┌")


def test_history(bare, registry):
    layout = oci.Layout()
    layers = [oci.layer(("a", "a")), oci.layer(("b", "b"))]
    layout.add(layers)
    manifest = json.loads(layout.files["blobs/" + layout.manifests[0]["digest"].replace(":", "/")])
    config = json.loads(layout.files["blobs/" + manifest["config"]["digest"].replace(":", "/")])
    config["history"] = [{"created": "2026-01-01T00:00:00Z", "created_by": "ADD a"}, {"created_by": "ENV \u001b[31mx=y", "empty_layer": True},
                         {"created_by": "ADD b " + "long " * 40}]
    manifest["config"] = layout.blob("config.v1+json", oci.encode(config))
    layout.manifests = [layout.blob("manifest.v1+json", oci.encode(manifest))]
    registry.push(layout, "told")
    bare.ok("pull", f"{registry.host}/told")
    steps = json.loads(bare.ok("image", "history", "--format", "json", f"{registry.host}/told"))
    assert [step["CreatedBy"][:5] for step in steps] == ["ADD b", "ENV \u001b", "ADD a"]
    assert [step["EmptyLayer"] for step in steps] == [False, True, False]
    assert [step["Size"] for step in steps] == [len(layers[1]), 0, len(layers[0])]
    table = bare.ok("image", "history", f"{registry.host}/told")
    assert "\u001b" not in table and "..." in table and "2026-01-01" in table


def test_removed_images_leave_no_layers(bare, registry, layers, image):
    """Layers that another image shares stay."""
    name = f"{registry.host}/app:1"
    other = oci.Layout()
    other.add([*layers[:2], oci.layer(("other", "other"))], how="gzip")
    registry.push(other, "sharing")
    bare.ok("pull", name)
    bare.ok("pull", f"{registry.host}/sharing")
    bare.ok("rmi", name)
    kept = blobs(bare)
    assert {digest.replace(":", "-") for digest in image.digests[:2]} < kept
    assert image.digests[2].replace(":", "-") not in kept and image.digest.replace(":", "-") not in kept
    bare.ok("rmi", f"{registry.host}/sharing")
    assert not blobs(bare) and not disks(bare)


def test_prune(bare, registry, image):
    name = f"{registry.host}/app:1"
    bare.ok("pull", name)
    bare.ok("create", "--name", "user", name)
    stray = bare.path / "images" / "blobs" / ("sha256-" + "1" * 64 + ".part")
    stray.write_bytes(bytes(100000))
    assert "reclaimed" in bare.ok("image", "prune") and not stray.exists()
    assert names(bare) == {name} and len(blobs(bare)) == 5
    # An image that a box uses is not unused; its layers can go.
    bare.ok("image", "prune", "-a", "--layers")
    assert names(bare) == {name} and not blobs(bare)
    bare.ok("save", "-o", bare.base / "x", name)
    bare.ok("rm", "user")
    out = bare.ok("image", "prune", "-a")
    assert f"Untagged: {name}" in out and "Deleted: sha256:" in out
    assert not names(bare) and not disks(bare) and used(bare) == 0


def test_size_limit_takes_the_longest_unused_first(bare, registry):
    for number in range(3):
        layout = oci.Layout()
        layout.add([oci.layer((f"file{number}", bytes([number + 1]) * (4 << 20)))], how="gzip")
        registry.push(layout, f"sized{number}")
        bare.ok("pull", f"{registry.host}/sized{number}")
    # Making and removing a box is use: the first becomes the last used.
    bare.ok("create", "--name", "user", f"{registry.host}/sized0")
    bare.ok("rm", "user")
    one = used(bare) / 3
    bare.ok("image", "prune", "--max-size", f"{int(one * 2.5) >> 20}")
    assert names(bare) == {f"{registry.host}/sized0:latest", f"{registry.host}/sized2:latest"}
    bare.ok("image", "prune", "--max-size", f"{int(one * 1.5) >> 20}")
    assert names(bare) == {f"{registry.host}/sized0:latest"}
    bare.ok("create", "--name", "user", f"{registry.host}/sized0")
    bare.ok("image", "prune", "--max-size", "1")
    assert names(bare) == {f"{registry.host}/sized0:latest"}  # a box has it
    bare.fails("image", "prune", "--max-size", "lots", code=2)


def push_sized(registry, number, mib=4):
    """An image of its own that takes this much. Return: its name"""
    layout = oci.Layout()
    layout.add([oci.layer((f"file{number}", bytes([number + 1]) * (mib << 20)))], how="gzip")
    registry.push(layout, f"kept{number}")
    return f"{registry.host}/kept{number}:latest"


def test_store_limit_is_kept_by_pulls_and_loads(bare, registry, configure, tmp_path):
    configured = [push_sized(registry, number) for number in range(4)]
    bare.ok("pull", configured[0])
    one = used(bare) >> 20
    bare.ok("pull", configured[1])
    bare.ok("pull", configured[2])
    bare.ok("create", "--name", "user", configured[0])
    configure(bare, image_store_mib=3 * one + 2)
    # The longest unused goes; what a box uses stays, however old.
    bare.ok("pull", configured[3])
    assert names(bare) == {configured[0], configured[2], configured[3]}
    assert used(bare) <= (3 * one + 2) << 20
    # What is within the limit evicts nothing, and what is asked for again is used again.
    bare.ok("pull", configured[2])
    assert names(bare) == {configured[0], configured[2], configured[3]}
    layout = oci.Layout()
    layout.add([oci.layer(("loaded", bytes([9]) * (4 << 20)))], name="loaded:latest")
    bare.ok("load", layout.write(tmp_path / "layout"))
    assert names(bare) == {configured[0], configured[3], "loaded:latest"}
    # An image that alone takes more than all may is there nevertheless, and runs: it is in use.
    configure(bare, image_store_mib=1)
    bare.ok("pull", configured[1])
    assert names(bare) == {configured[0], configured[1]}
    bare.ok("create", configured[1])
    assert not blobs(bare)


def test_parts_go_before_images(bare, registry, configure):
    """What an interrupted pull left is no reason to remove an image; also a pull that fails tidies up."""
    first, second = push_sized(registry, 20), push_sized(registry, 21)
    bare.ok("pull", first)
    stray = bare.path / "images" / "blobs" / ("sha256-" + "1" * 64 + ".part")
    configure(bare, image_store_mib=20)
    stray.write_bytes(b"x" * (30 << 20))
    bare.ok("pull", second)
    assert names(bare) == {first, second} and not stray.exists()
    stray.write_bytes(b"x" * (10 << 10))
    bare.fails("pull", f"{registry.host}/nothing", says="not found")
    assert stray.exists()  # it is within the limit
    stray.write_bytes(b"x" * (30 << 20))
    bare.fails("pull", f"{registry.host}/nothing", says="not found")
    assert names(bare) == {first, second} and not stray.exists()


def test_image_on_its_way_into_a_box_is_not_evicted(bare, registry, configure):
    """Somebody pulled it, and has not made the box yet: the library holds such a disk locked."""
    first, second = push_sized(registry, 10), push_sized(registry, 11)
    bare.ok("pull", first)
    disk, = disks(bare)
    configure(bare, image_store_mib=1)
    with open(disk, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        bare.ok("pull", second)
        assert names(bare) == {first, second}
        bare.ok("image", "prune", "-a")
        assert names(bare) == {first}
    bare.ok("pull", second)
    assert names(bare) == {second}


def test_pulled_image_runs(bare, registry):
    layout = oci.Layout()
    layout.add([oci.busybox_layer(), oci.layer(("etc/word", "from a registry\n"))], how="gzip", config={"Cmd": ["cat", "/etc/word"]})
    registry.push(layout, "runs")
    done = bare.run("run", "--rm", f"{registry.host}/runs")
    assert done.code == 0 and done.out == "from a registry\n", done
    assert f"Pulling {registry.host}/runs:latest" in done.err
