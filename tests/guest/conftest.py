# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one machine with an idle workload for all tests of a file, and new ones for tests that end theirs."""
import pytest

from machine import Machine, make_disk


@pytest.fixture(scope="session")
def disk_image(tmp_path_factory):
    return make_disk(tmp_path_factory.mktemp("disk") / "disk.ext4")


@pytest.fixture(scope="module")
def machine(tmp_path_factory, disk_image):
    path = tmp_path_factory.mktemp("machine") / "disk.ext4"
    path.write_bytes(disk_image.read_bytes())
    with Machine(path) as started:
        started.configure()
        assert started.fault is None
        started.workload([]).wait_opened()
        yield started


@pytest.fixture
def new_machine(tmp_path, disk_image):
    """A function that makes a machine of a disk of its own; all are stopped at the end."""
    made = []

    def make(**options):
        path = tmp_path / f"disk-{len(made)}.ext4"
        path.write_bytes(disk_image.read_bytes())
        made.append(Machine(path, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()
