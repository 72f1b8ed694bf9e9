# SPDX-License-Identifier: Apache-2.0
"""conftest.py - fixtures of the tests that drive boxlite as a user would

`boxlite` is a home of its own with the image `busybox` in it; `bare` is one that does not exist yet. Both end with the leak
check: a test that leaves a process, zombie, lock, socket, mount or file behind fails, whatever else it showed.
"""
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import home as homes  # noqa: E402  (the path above leads to it)
import leaks  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Remembers how the test itself went, and shows the boxes' logs beside a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.stash[FAILED] = report.failed
        if report.failed:
            for home in item.stash.get(HOMES, []):
                report.sections.append((f"logs of {home.path}", home.tails()))


FAILED = pytest.StashKey()
HOMES = pytest.StashKey()


@pytest.fixture(scope="session")
def shared():
    """A directory that all workers of this run share; the runner names it, else it is this process's own."""
    given = os.environ.get("BOXLITE_TEST_BASE")
    if given:
        yield pathlib.Path(given)
        return
    made = tempfile.mkdtemp(prefix="blt-", dir="/tmp")
    yield pathlib.Path(made)
    shutil.rmtree(made, ignore_errors=True)


def look_for_strangers():
    found = leaks.strangers_that_stay()
    assert not found, "left behind:\n" + "\n".join(found)


@pytest.fixture(scope="session", autouse=True)
def no_strangers_in_the_end():
    """Once what a module's or a worker's tests share is gone, too."""
    yield
    look_for_strangers()


@pytest.fixture(autouse=True)
def no_strangers():
    """What no home names, for the suites without one too: no test leaves an engine without its host process, or a zombie."""
    yield
    look_for_strangers()


@pytest.fixture(scope="session")
def prepared(shared):
    """The `images` directory of a home that knows busybox."""
    with homes.once(shared, "prepared") as (folder, missing):
        if missing:
            home = homes.Home(folder)
            identity = home.ok("create", "busybox").strip()
            home.ok("rm", identity)
            assert not home.finish()
    return shared / "prepared" / "home" / "images"


@pytest.fixture
def make_home(shared, request):
    """Makes homes that end with the test: make_home(images=None, name="home", kind=Home)."""
    made = request.node.stash.setdefault(HOMES, [])
    bases = []

    def make(images=None, name="home", kind=homes.Home):
        base = pathlib.Path(tempfile.mkdtemp(prefix="t", dir=shared))
        bases.append(base)
        made.append(kind(base, images, name))
        return made[-1]

    yield make
    found = []
    for home in made:
        found += home.finish()
    for base in bases:
        shutil.rmtree(base, ignore_errors=True)
    assert not found, "left behind:\n" + "\n".join(found)


@pytest.fixture
def boxlite(make_home, prepared):
    return make_home(prepared)


@pytest.fixture
def bare(make_home):
    return make_home()
