# SPDX-License-Identifier: Apache-2.0
"""conftest.py - a registry, and a proxy before it, for the tests of images from registries"""
import json
import shutil

import pytest

import oci
import registry as registries


@pytest.fixture(scope="session")
def registry(shared, worker_id):
    """A plain docker-registry of this worker."""
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    made = registries.Registry(shared / f"registry-{worker_id}")
    yield made
    made.close()
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture
def proxy(registry):
    made = registries.Proxy(registry)
    yield made
    made.close()


@pytest.fixture
def make_proxy():
    """Proxies that end with the test."""
    made = []

    def make(*arguments, **options):
        made.append(registries.Proxy(*arguments, **options))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def configure():
    """Writes a home's configuration file: configure(home, ca_file=..., image_registries=[...])."""
    def write(home, **settings):
        folder = home.base / ".config" / "boxlite"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(settings))

    return write


def noise(seed, size):
    """Bytes that don't compress, always the same."""
    import random
    return random.Random(seed).randbytes(size)


@pytest.fixture(scope="session")
def layers():
    """Three layers, uncompressed; the middle one is large and does not compress."""
    return [oci.layer(("etc/motd", "first\n"), ("data/old", "old\n"), ("data/kept", "kept\n")),
            oci.layer(("data/noise", noise(1, 3 << 20)), ("etc/motd", "second\n")),
            oci.layer("data/.wh.old", ("data/new", "new\n"))]


@pytest.fixture(scope="session")
def image(registry, layers):
    """An image of these layers, in the registry as app:1. Return: its oci.Layout"""
    layout = oci.Layout()
    layout.add(layers, how="gzip")
    layout.digest = registry.push(layout, "app", "1")
    layout.digests = [part["digest"] for part in json.loads(layout.files["blobs/" + layout.digest.replace(":", "/")])["layers"]]
    return layout
