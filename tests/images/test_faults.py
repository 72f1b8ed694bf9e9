# SPDX-License-Identifier: Apache-2.0
"""test_faults.py - networks and servers as they are: what passes is waited out, what does not is told, nothing is left"""
import json
import os
import signal
import subprocess
import threading

import pytest

import home as homes
import oci
import registry as registries
import small

LARGE = 1  # the layer that takes more than one read


def blob(image, number):
    return f"/blobs/{image.digests[number]}"


def images_of(home):
    return json.loads(home.ok("images", "--format", "json"))


def blobs_of(home):
    folder = home.path / "images" / "blobs"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def check_complete(home, name):
    assert f"{images_of(home)[0]['Repository']}:{images_of(home)[0]['Tag']}" == name
    disk, = (home.path / "images" / "disks").iterdir()
    assert subprocess.run(["/usr/sbin/e2fsck", "-fn", disk], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
    dump = subprocess.run([homes.BUILD / "tests" / "unit" / "ext4-dump", disk], check=True, stdout=subprocess.PIPE).stdout
    assert b"/data/new".hex().encode() in dump and b"/data/old".hex().encode() not in dump


def test_cuts_are_continued(bare, proxy, image):
    proxy.rule(blob(image, LARGE), registries.cut(1 << 20))
    proxy.rule(blob(image, LARGE), registries.cut(1 << 20))
    bare.ok("pull", f"{proxy.host}/app:1")
    asked = [request.headers.get("Range") for request in proxy.got(blob(image, LARGE))]
    assert asked[0] is None and len(asked) == 3
    starts = [int(value.removeprefix("bytes=").removesuffix("-")) for value in asked[1:]]
    assert 0 < starts[0] < starts[1]
    check_complete(bare, f"{proxy.host}/app:1")


def test_servers_without_ranges(bare, proxy, image):
    proxy.rule(blob(image, LARGE), registries.cut(1 << 20))
    proxy.rule(blob(image, LARGE), registries.whole)
    bare.ok("pull", f"{proxy.host}/app:1")
    assert "Range" in proxy.got(blob(image, LARGE))[1].headers
    check_complete(bare, f"{proxy.host}/app:1")


def test_ranges_that_lie(bare, proxy, image):
    def other_part(proxy_, handler, fetch):
        status, headers, content = fetch()
        registries.answer(handler, status, {**headers, "Content-Range": "bytes 7-9/10"}, content)

    proxy.rule(blob(image, LARGE), registries.cut(1 << 20))
    proxy.rule(blob(image, LARGE), other_part)
    bare.ok("pull", f"{proxy.host}/app:1")
    check_complete(bare, f"{proxy.host}/app:1")


def test_busy_servers_are_asked_again(bare, proxy, image):
    proxy.rule("/manifests/", registries.says(429, {"Retry-After": "1"}))
    proxy.rule("/manifests/", registries.says(503))
    proxy.rule(blob(image, 0), registries.says(500))
    proxy.rule(blob(image, 2), registries.says(504, {"Retry-After": "1"}))
    bare.ok("pull", f"{proxy.host}/app:1")
    assert len(proxy.got("/manifests/1")) == 3
    check_complete(bare, f"{proxy.host}/app:1")


def test_servers_that_stay_busy_are_given_up(bare, proxy):
    proxy.rule("/manifests/", registries.says(429, {"Retry-After": "7200"}, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"limit reached"}]}'), 9)
    done = bare.fails("pull", f"{proxy.host}/app:1", says=["too many requests", "limit reached", "failed to pull"])
    assert len(proxy.got("/manifests/")) == 1 and done.err.count("\n") <= 2


def test_silent_server_is_given_up(bare, proxy, image, configure):
    configure(bare, network_timeout_s=3, image_registries=[{"host": proxy.host, "transport": "http"}])
    never = threading.Event()
    proxy.rule(blob(image, LARGE), registries.stuck(1 << 20, never))
    bare.ok("pull", f"{proxy.host}/app:1")
    assert len(proxy.got(blob(image, LARGE))) >= 2
    check_complete(bare, f"{proxy.host}/app:1")


def test_damaged_layer_that_came_early_is_found_at_once(bare, proxy, image):
    """The layer below it never comes: what waits above it is verified nevertheless."""
    never = threading.Event()
    proxy.rule(blob(image, LARGE), registries.stuck(1 << 20, never))
    proxy.rule(blob(image, 2), registries.changed(registries.corrupt))
    bare.fails("pull", f"{proxy.host}/app:1", says=["layer 3", image.digests[2][:19], "damaged"])
    assert len(proxy.got(blob(image, LARGE))) == 1  # asked again, it would have come: the damage was found before
    assert not images_of(bare) and not [name for name in blobs_of(bare) if image.digests[2][7:] in name]
    bare.ok("pull", f"{proxy.host}/app:1")
    check_complete(bare, f"{proxy.host}/app:1")


def test_damaged_start_of_a_layer_that_came_early_is_fetched_anew(bare, proxy, image):
    bare.ok("images")
    folder = bare.path / "images" / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"sha256-{image.digests[2][7:]}.part").write_bytes(b"not its start")
    slow = threading.Event()
    proxy.rule(blob(image, LARGE), registries.stuck(1 << 20, slow))
    process = bare.start("pull", f"{proxy.host}/app:1")
    proxy.wait_for(blob(image, 2), 2)
    slow.set()
    _, err = process.communicate(timeout=homes.TIMEOUT)
    assert process.returncode == 0, err
    assert [("Range" in request.headers) for request in proxy.got(blob(image, 2))] == [True, False]
    check_complete(bare, f"{proxy.host}/app:1")


def test_damaged_layer_is_named_and_removed(bare, proxy, image):
    proxy.rule(blob(image, LARGE), registries.changed(registries.corrupt))
    bare.fails("pull", f"{proxy.host}/app:1", says=["layer 2", image.digests[LARGE][:19], "damaged"])
    assert not images_of(bare) and not list((bare.path / "images" / "disks").iterdir())
    assert not [name for name in blobs_of(bare) if image.digests[LARGE][7:] in name]
    bare.ok("pull", f"{proxy.host}/app:1")
    check_complete(bare, f"{proxy.host}/app:1")


@pytest.mark.parametrize("change, word", [(lambda content: content[:-100], "bytes"), (lambda content: content + b"more", "more than")])
def test_layer_of_a_wrong_size(bare, proxy, image, change, word):
    proxy.rule(blob(image, LARGE), registries.changed(change), 20)
    bare.fails("pull", f"{proxy.host}/app:1", says=["layer 2", word])
    assert not images_of(bare)


def test_part_that_rotted_is_fetched_anew(bare, proxy, image):
    """The start of a layer is here from an earlier pull, and is not what it was: as after a power cut."""
    release = threading.Event()
    proxy.rule(blob(image, LARGE), registries.stuck(1 << 20, release))
    process = bare.start("pull", f"{proxy.host}/app:1")
    part = wait_for_part(bare, image)
    process.kill()
    process.communicate()
    release.set()
    with open(part, "r+b") as file:
        file.seek(1000)
        file.write(bytes(1000))
    bare.ok("pull", f"{proxy.host}/app:1")
    check_complete(bare, f"{proxy.host}/app:1")


def wait_for_part(home, image, number=LARGE, size=1 << 19):
    """Waits until a part of a layer is on the disk. Return: its path"""
    part = home.path / "images" / "blobs" / (image.digests[number].replace(":", "-") + ".part")
    ready = threading.Event()
    for _ in range(2400):
        if part.exists() and part.stat().st_size >= size:
            return part
        ready.wait(0.05)
    raise AssertionError(f"{part} does not come")


def test_killed_pull_is_continued(bare, proxy, image):
    release = threading.Event()
    proxy.rule(blob(image, LARGE), registries.stuck(1 << 20, release))
    process = bare.start("pull", f"{proxy.host}/app:1")
    part = wait_for_part(bare, image)
    wait_for_part(bare, image, 0, len(image.files["blobs/" + image.digests[0].replace(":", "/")]))
    process.kill()
    process.communicate()
    release.set()
    assert not images_of(bare) and not list((bare.path / "images" / "disks").iterdir())
    have = part.stat().st_size
    bare.ok("pull", f"{proxy.host}/app:1")
    assert proxy.got(blob(image, LARGE))[-1].headers["Range"] == f"bytes={have}-"
    # What had come whole was not asked for again.
    assert len(proxy.got(blob(image, 0))) == 1
    check_complete(bare, f"{proxy.host}/app:1")
    assert not [name for name in blobs_of(bare) if name.endswith(".part")]


def test_interrupt_ends_a_pull_at_once(bare, proxy, image):
    release = threading.Event()
    proxy.rule(blob(image, LARGE), registries.stuck(1 << 20, release))
    process = bare.start("pull", f"{proxy.host}/app:1")
    wait_for_part(bare, image)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=homes.TIMEOUT)
    assert process.returncode == 130
    release.set()
    assert not images_of(bare)


def test_two_pulls_of_one_image_download_it_once(bare, proxy, image):
    release = threading.Event()
    proxy.rule(blob(image, LARGE), registries.stuck(1 << 20, release))
    first = bare.start("pull", f"{proxy.host}/app:1")
    proxy.wait_for(blob(image, LARGE))
    second = bare.start("pull", f"{proxy.host}/app:1")
    proxy.wait_for("/blobs/", 5)  # the second one has the configuration, and needs the layers
    release.set()
    for process in (first, second):
        _, err = process.communicate(timeout=homes.TIMEOUT)
        assert process.returncode == 0, err
    for number in range(3):
        assert len(proxy.got(blob(image, number))) == 1
    check_complete(bare, f"{proxy.host}/app:1")


def test_different_images_do_not_wait(bare, proxy, registry, image, layers):
    """Not even those that share the layer that is stuck."""
    release = threading.Event()
    other = oci.Layout()
    other.add([*layers, oci.layer(("other", "other"))], how="gzip")
    registry.push(other, "other")
    proxy.rule(f"/v2/app{blob(image, LARGE)}", registries.stuck(1 << 20, release))
    first = bare.start("pull", f"{proxy.host}/app:1")
    wait_for_part(bare, image)
    bare.ok("pull", f"{proxy.host}/other")
    assert first.poll() is None
    release.set()
    _, err = first.communicate(timeout=homes.TIMEOUT)
    assert first.returncode == 0, err
    assert len(images_of(bare)) == 2


def test_redirects_in_circles(bare, proxy):
    proxy.rule("/manifests/", registries.redirect(lambda path: path), 100)
    bare.fails("pull", f"{proxy.host}/app:1", says="circles")
    assert len(proxy.got("/manifests/")) <= 12
    proxy.rule("/v2/else/", registries.redirect(lambda path: "file:///etc/passwd"), 100)
    bare.fails("pull", f"{proxy.host}/else:1", says="failed to pull")


def hostile_manifest(proxy, content, media_type=registries.MANIFEST_TYPES[1]):
    proxy.rule("/manifests/", registries.says(200, {"Content-Type": media_type}, content), 20)


def test_hostile_manifests(bare, make_proxy, registry, image):
    good = json.loads(image.files["blobs/" + image.digest.replace(":", "/")])
    foreign = json.loads(json.dumps(good))
    foreign["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    huge = json.loads(json.dumps(good))
    huge["layers"][0]["size"] = 2 ** 62
    lies = json.loads(json.dumps(good))
    lies["config"]["size"] += 1
    cases = [(b"", "JSON"), (b"{}", "neither"), (b"[" * 100000, "JSON"), (b"{" + b" " * (8 << 20), "more than"),
             (oci.encode({"schemaVersion": 1, "fsLayers": []}), "neither"), (oci.encode(foreign), "foreign"),
             (oci.encode(huge), "may have"), (oci.encode(lies), "bytes")]
    for content, word in cases:
        proxy = make_proxy(registry)
        hostile_manifest(proxy, content)
        done = bare.fails("pull", f"{proxy.host}/app:1", says=["failed to pull", word])
        assert done.code == 1 and len(done.err) < 1500
    assert not images_of(bare)


def test_forged_documents(bare, make_proxy, registry, image):
    forged = make_proxy(registry)
    config = json.loads(image.files["blobs/" + image.digest.replace(":", "/")])["config"]["digest"]
    forged.rule(f"/blobs/{config}", registries.changed(registries.corrupt), 20)
    bare.fails("pull", f"{forged.host}/app:1", says="forged")
    by_digest = make_proxy(registry)
    by_digest.rule("/manifests/", registries.changed(registries.corrupt), 20)
    bare.fails("pull", f"{by_digest.host}/app@{image.digest}", says="forged")
    assert not images_of(bare)


def test_unreachable_registries(bare):
    with registries.nobody() as dead:
        bare.fails("pull", f"{dead}/app:1", says=["failed to pull", dead])
        bare.fails("pull", "no-such-host.invalid/app:1", says="no-such-host.invalid")
        bare.fails("run", "--rm", f"{dead}/app:1", "true", code=125, says="failed to pull")


def test_full_disk(make_home, registry, image):
    home = small.on_small_disk(make_home)
    filler = home.path.parent / "filler"
    with open(filler, "wb") as file:
        left = os.statvfs(filler.parent)
        os.posix_fallocate(file.fileno(), 0, max(1, left.f_bavail * left.f_frsize - (2 << 20)))
    home.fails("pull", f"{registry.host}/app:1", says=["failed to pull", "space"])
    filler.unlink()
    home.ok("pull", f"{registry.host}/app:1")
