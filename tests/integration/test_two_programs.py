# SPDX-License-Identifier: Apache-2.0
"""test_two_programs.py - any number of programs use one home at once: no lock on it, no lost record, no mixed-up box"""
import concurrent.futures

PROGRAMS = 4


def life(boxlite, number):
    """One program: makes a box, uses it, looks around, and removes it."""
    name = f"box-{number}"
    boxlite.ok("create", "--name", name, "busybox")
    for turn in range(2):
        assert boxlite.sh(name, f"echo {number}.{turn} >> /root/log; cat /root/log").split()[-1] == f"{number}.{turn}"
        assert name in boxlite.ok("list", "-a")
        assert boxlite.inspect(name)["Name"] == name
        boxlite.ok("stop", name)
    assert boxlite.ok("run", "--rm", "busybox", "echo", name) == f"{name}\n"
    boxlite.ok("rm", name)


def test_four_programs(bare):
    """From a home that does not exist: they also race to make it and to load the embedded image."""
    with concurrent.futures.ThreadPoolExecutor(PROGRAMS) as pool:
        for done in [pool.submit(life, bare, number) for number in range(PROGRAMS)]:
            done.result()
    assert bare.listed() == [] and len(bare.ok("images", "-q").split()) == 1


def test_one_name_for_many(boxlite):
    processes = [boxlite.start("create", "--name", "only", "busybox") for _ in range(PROGRAMS)]
    codes = []
    for process in processes:
        _, err = process.communicate(timeout=120)
        codes.append(process.returncode)
        assert process.returncode == 0 or b"already exists" in err
    assert sorted(codes) == [0] + [1] * (PROGRAMS - 1)
    assert len(boxlite.listed()) == 1


def test_start_and_stop_race(boxlite):
    box = boxlite.ok("create", "--name", "raced", "busybox").strip()
    for command in ("start", "stop"):
        processes = [boxlite.start(command, "raced") for _ in range(PROGRAMS)]
        for process in processes:
            out, err = process.communicate(timeout=180)
            assert process.returncode == 0, (command, out, err)
    assert boxlite.status(box) == "stopped"
