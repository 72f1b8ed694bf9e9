# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a base disk for all tests, and a box of its own for each."""
import pytest

from shimbox import Box, guest


@pytest.fixture(scope="session")
def disk(tmp_path_factory):
    return guest.make_disk(tmp_path_factory.mktemp("base") / "base.ext4", size_mib=256)


@pytest.fixture
def box(tmp_path, disk):
    return Box(tmp_path, disk)
