# SPDX-License-Identifier: Apache-2.0
"""test_pull.py - images from a real registry: what arrives, what is asked for, and what is not asked for again"""
import contextlib
import json
import os
import re
import shutil
import subprocess
import threading

import pytest

import home as homes
import oci
import registry as registries

BLOBS = r"/blobs/"


def disk(home):
    """The base disk of the only image of a home."""
    found = list((home.path / "images" / "disks").iterdir())
    assert len(found) == 1, found
    return found[0]


def tree(home):
    """What is on it, entry by entry."""
    return subprocess.run([homes.BUILD / "tests" / "unit" / "ext4-dump", disk(home)], check=True, stdout=subprocess.PIPE).stdout


def names(home):
    return {f"{row['Repository']}:{row['Tag']}" for row in json.loads(home.ok("images", "--format", "json"))}


def test_what_is_pulled_is_what_load_makes(make_home, registry, image, layers, tmp_path):
    pulled, loaded = make_home(name="p"), make_home(name="l")
    out = pulled.ok("pull", f"{registry.host}/app:1")
    assert f"Pulled: {registry.host}/app:1" in out and image.digest in out
    loaded.ok("load", image.write(tmp_path / "layout"))
    assert tree(pulled) == tree(loaded)
    assert subprocess.run(["/usr/sbin/e2fsck", "-fn", disk(pulled)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert names(pulled) == {f"{registry.host}/app:1"}
    assert not list((pulled.path / "images" / "partial").iterdir())
    # Again, quietly: the id, and nothing else.
    quiet = pulled.run("pull", "-q", f"{registry.host}/app:1")
    assert quiet.code == 0 and quiet.out.startswith("sha256:") and len(quiet.out.split()) == 1 and not quiet.err


@pytest.mark.parametrize("how", [None, "zstd"])
def test_compressions(bare, registry, how):
    layout = oci.Layout()
    layout.add([oci.layer(("a", "one")), oci.layer(("b", "two"))], how=how)
    registry.push(layout, f"packed-{how or 'plain'}".lower())
    bare.ok("pull", f"{registry.host}/packed-{how or 'plain'}")
    assert b"\n" in tree(bare)


def test_skopeo_pushes_the_other_kind_of_manifest(bare, registry, image, tmp_path):
    layout = image.write(tmp_path / "layout")
    subprocess.run(["skopeo", "--tmpdir", tmp_path, "--insecure-policy", "copy", "--dest-tls-verify=false", "--format", "v2s2",
                    f"oci:{layout}:test:latest", f"docker://{registry.host}/docker-kind:2"], check=True, stdout=subprocess.DEVNULL)
    answer, _ = registry.request("GET", "/v2/docker-kind/manifests/2", headers={"Accept": registries.MANIFEST_TYPES[2]})
    assert answer.headers["Content-Type"] == registries.MANIFEST_TYPES[2]
    bare.ok("pull", f"{registry.host}/docker-kind:2")
    assert names(bare) == {f"{registry.host}/docker-kind:2"}


def test_platform_is_picked_from_an_index(bare, registry):
    layout = oci.Layout()
    for architecture in ("arm64", "amd64"):
        layout.add([oci.layer(("arch", architecture))], architecture=architecture, name=None)
    registry.push(layout, "many")
    bare.ok("pull", f"{registry.host}/many")
    assert oci.digest(b"amd64")[7:].encode() in tree(bare)
    only = oci.Layout()
    for architecture in ("arm64", "s390x"):
        only.add([oci.layer(("arch", architecture))], architecture=architecture, name=None)
    registry.push(only, "strange")
    bare.fails("pull", f"{registry.host}/strange", says=["linux/amd64", "linux/arm64"])


def test_images_of_other_platforms_are_kept_and_not_run(bare, make_home, registry, tmp_path):
    layout = oci.Layout()
    for architecture in ("amd64", "arm64", "arm"):
        layout.add([oci.layer(("arch", architecture))], architecture=architecture, name=None)
    layout.manifests[2]["platform"]["variant"] = "v6"
    registry.push(layout, "several")
    name = f"{registry.host}/several"
    assert layout.manifests[1]["digest"] in bare.ok("pull", "--platform", "linux/arm64", name)
    assert oci.digest(b"arm64")[7:].encode() in tree(bare)
    assert bare.ok("image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", name).strip() == "linux/arm64"
    # It is an image like any other but for what boxes can do with it.
    bare.ok("save", "-o", tmp_path / "arm.tar", name)
    said = json.loads(subprocess.run(["skopeo", "--override-arch", "arm64", "inspect", f"oci-archive:{tmp_path}/arm.tar"], check=True,
                                     stdout=subprocess.PIPE).stdout)
    assert said["Architecture"] == "arm64"
    bare.fails("run", "--rm", name, "true", code=125, says=["linux/arm64", "boxes are linux/amd64", "boxlite pull"])
    bare.fails("create", name, says="boxes are linux/amd64")
    other = make_home(name="other")
    other.fails("load", tmp_path / "arm.tar", says=["linux/amd64", "linux/arm64"])
    other.ok("load", "--platform", "linux/arm64/v8", tmp_path / "arm.tar")
    # Variants: what is asked for in full must be there in full.
    bare.fails("pull", "--platform", "linux/arm/v7", name, says=["linux/arm/v7", "linux/arm/v6"])
    assert layout.manifests[2]["digest"] in bare.ok("pull", "--platform", "linux/arm", name)
    assert layout.manifests[2]["digest"] in bare.ok("pull", "--platform", "linux/arm/v6", name)
    bare.fails("pull", "--platform", "windows/amd64", name, says="windows/amd64")
    for wrong in ("linux", "linux/", "linux/arm/v7/x", "Linux/amd64", ""):
        bare.fails("pull", "--platform", wrong, name, code=2, says="platform")
    # Pulled for boxes it is one for boxes again.
    assert layout.manifests[0]["digest"] in bare.ok("pull", name)
    bare.ok("create", name)


def test_digests(bare, registry, image):
    bare.ok("pull", f"{registry.host}/app@{image.digest}")
    wrong = "sha256:" + "0" * 64
    bare.fails("pull", f"{registry.host}/app@{wrong}", says="not found")
    bare.fails("pull", f"{registry.host}/none", says=["failed to pull", "not found"])
    bare.fails("pull", f"{registry.host}/app:nine", says=["not found", "manifest unknown"])


def test_known_layers_are_not_downloaded_again(bare, proxy, registry, layers, image):
    bare.ok("pull", f"{proxy.host}/app:1")
    assert len({request.path for request in proxy.got(BLOBS)}) == len(proxy.got(BLOBS)) == len(layers) + 1
    seen = len(proxy.got(BLOBS))
    bare.ok("pull", f"{proxy.host}/app:1")
    assert len(proxy.got(BLOBS)) == seen + 1  # the configuration
    more = oci.Layout()
    more.add([*layers, oci.layer(("extra", "extra"))], how="gzip")
    registry.push(more, "app", "2")
    seen = len(proxy.got(BLOBS))
    bare.ok("pull", f"{proxy.host}/app:2")
    assert len(proxy.got(BLOBS)) == seen + 2  # its configuration and its one new layer
    # What is here under a name needs no network.
    seen = len(proxy.requests)
    identity = bare.ok("create", f"{proxy.host}/app:2").strip()
    assert len(identity) == 12 and len(proxy.requests) == seen


def test_cached_image_is_not_read_again(bare, proxy, registry, layers, image):
    """A box of an image that is here opens no layer and asks nobody, not even whether there is something newer."""
    name = f"{proxy.host}/app:1"
    sharing = oci.Layout()
    sharing.add([*layers, oci.layer(("more", "more"))], how="gzip")
    registry.push(sharing, "sharing")
    bare.ok("pull", name)
    seen = len(proxy.requests)
    folder = bare.path / "images" / "blobs"
    folder.chmod(0)
    try:
        bare.ok("create", name)
        assert len(proxy.requests) == seen
        bare.ok("create", "--pull", "never", name, env={"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"})
        # What does look at layers can't.
        if os.getuid():
            bare.fails("pull", f"{proxy.host}/sharing", says="permission denied")
    finally:
        folder.chmod(0o700)


def test_layer_that_unpacks_to_something_else(bare, registry, layers):
    """Its own digest is right, the configuration's for what is in it is not."""
    layout = oci.Layout()
    layout.add(layers[:1], how="gzip")
    manifest = json.loads(layout.files["blobs/" + layout.manifests[0]["digest"].replace(":", "/")])
    manifest["layers"] = [layout.blob("layer.v1.tar+gzip", oci.compress(layers[2], "gzip"))]
    layout.manifests = [layout.blob("manifest.v1+json", oci.encode(manifest))]
    registry.push(layout, "forged")
    bare.fails("pull", f"{registry.host}/forged", says=["layer 1", "decompressed", "forged"])
    assert not names(bare) and not list((bare.path / "images" / "disks").iterdir())


def test_policies(bare, proxy, image):
    name = f"{proxy.host}/app:1"
    bare.fails("create", "--pull", "never", name, says=["no image", "boxlite pull"])
    assert not proxy.requests
    bare.ok("create", name)
    seen = len(proxy.requests)
    assert seen
    bare.ok("create", "--pull", "missing", name)
    bare.ok("create", "--pull", "never", name)
    assert len(proxy.requests) == seen
    bare.ok("create", "--pull", "always", name)
    assert len(proxy.requests) > seen
    bare.fails("create", "--pull", "sometimes", name, code=2)


def test_search_order(bare, proxy, make_proxy, configure, registry, image):
    # A dead first registry falls through to the next.
    with registries.nobody() as dead:
        assert f"Pulled: {proxy.host}/app:1" in bare.ok("pull", "--registry", dead, "--registry", proxy.host, "app:1")
    # One that has not got it, too.
    empty = make_proxy()
    configure(bare, image_registries=[{"host": empty.host, "search": True}, {"host": proxy.host, "search": True}])
    assert f"Pulled: {proxy.host}/app:1" in bare.ok("pull", "app:1")
    assert empty.got("/v2/app/manifests/1")
    # With a search order in the configuration nobody else is asked.
    bare.fails("pull", "no-such:1", says="not found")
    # A name with a registry goes to that one only.
    seen = len(proxy.requests)
    bare.fails("pull", f"{empty.host}/app:1", says="not found")
    assert len(proxy.requests) == seen
    # What the search found is found again without asking.
    bare.ok("create", "app:1")
    assert len(proxy.requests) == seen
    bare.fails("pull", "--registry", "http://x", "app", code=2, says="host")


def test_configuration_gives_the_home_and_is_checked(bare, configure, registry, image):
    other = bare.base / "other"
    configure(bare, home_dir=str(other))
    environment = {name: value for name, value in bare.environment.items() if name != "BOXLITE_HOME"}
    done = subprocess.run(bare.command("pull", "-q", f"{registry.host}/app:1"), env=environment, check=False, stdout=subprocess.PIPE)
    assert done.returncode == 0 and (other / "images" / "disks").is_dir()
    shutil.rmtree(other)
    configure(bare, skip_verfiy=True)
    bare.fails("pull", f"{registry.host}/app:1", says=["skip_verfiy", "config.json"])
    given = bare.base / "given.json"
    given.write_text("{}")
    bare.ok("pull", "--config", given, f"{registry.host}/app:1")


def test_proxies_of_the_environment(bare, proxy, configure, image):
    configure(bare, image_registries=[{"host": "registry.test", "transport": "http"}])
    # Loopback is never asked of a proxy; other hosts are.
    bare.ok("pull", f"{proxy.host}/app:1", env={"http_proxy": "http://127.0.0.1:1"})

    def as_proxy(proxy_, handler, fetch):
        handler.path = handler.path.removeprefix("http://registry.test")
        status, headers, content = fetch_path(proxy_, handler)
        registries.answer(handler, status, headers, content)

    def fetch_path(proxy_, handler):
        headers = {"Accept": ", ".join(handler.headers.get_all("Accept") or ["*/*"])}
        connection = proxy_.target.connect()
        connection.request("GET", handler.path, headers=headers)
        got = connection.getresponse()
        content = got.read()
        connection.close()
        return got.status, {"Content-Type": got.headers["Content-Type"]}, content

    proxy.rule(r"^http://registry\.test/", as_proxy, 100)
    bare.ok("pull", "registry.test/app:1", env={"http_proxy": f"http://{proxy.host}"})
    assert f"registry.test/app:1" in names(bare)


def test_progress_is_lines_where_there_is_no_terminal(bare, registry, image):
    done = bare.run("pull", f"{registry.host}/app:1")
    lines = done.err.strip().splitlines()
    assert lines[0] == f"Pulling {registry.host}/app:1"
    assert [line.split(":")[0] for line in lines[1:]] == ["layer 1 of 3", "layer 2 of 3", "layer 3 of 3"]
    assert b"\033" not in done.raw_err


def read_terminal(master, pieces):
    """All that is written to a terminal, until its last writer has gone."""
    with contextlib.suppress(OSError):
        while got := os.read(master, 65536):
            pieces.append(got)


def test_progress_says_what_each_layer_does(bare, proxy, image):
    release = threading.Event()
    proxy.rule(f"/blobs/{image.digests[1]}", registries.stuck(1 << 20, release))
    master, slave = os.openpty()
    process = bare.start("pull", f"{proxy.host}/app:1", stderr=slave)
    os.close(slave)
    drawn = b""
    wanted = [rb"  downloading  \[[=> ]{24}\]  [0-9.]+ [kM]?B of 3\.1 MB", rb"  done         [0-9.]+ B"]
    with contextlib.suppress(OSError):
        while got := os.read(master, 65536):
            drawn += got
            if all(re.search(word, drawn) for word in wanted):
                release.set()
    process.communicate(timeout=homes.TIMEOUT)
    os.close(master)
    assert process.returncode == 0 and release.is_set(), drawn[-2000:]
    for digest in image.digests:
        assert digest[7:19].encode() in drawn


def test_progress_on_a_terminal_leaves_only_the_result(bare, registry, image):
    master, slave = os.openpty()
    process = bare.start("pull", f"{registry.host}/app:1", stderr=slave)
    os.close(slave)
    pieces = []
    reader = threading.Thread(target=read_terminal, args=(master, pieces))
    reader.start()
    out, _ = process.communicate(timeout=homes.TIMEOUT)
    reader.join(homes.TIMEOUT)
    os.close(master)
    drawn = b"".join(pieces)
    assert process.returncode == 0 and b"Pulled: " in out
    assert b"\033[3A" in drawn and b"done" in drawn and drawn.endswith(b"\033[J")
