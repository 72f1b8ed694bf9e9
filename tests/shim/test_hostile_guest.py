# SPDX-License-Identifier: Apache-2.0
"""Guests that no agent of ours would be: a small program takes the emulator's place and says what a test wants said."""
import struct

import pytest

from shimbox import PATIENCE_S, fields

STAND_IN = '''#!/usr/bin/python3 -S
import os, signal, socket, struct, sys, time
agent, console = socket.socket(fileno=4), socket.socket(fileno=5)
HELLO, CONFIG, READY, FAULT, SHUTDOWN, DOWN, OPEN, OPENED, DATA, EXIT = 1, 2, 3, 4, 7, 8, 16, 17, 18, 23
def say(kind, payload=b"", channel=0, stream=0):
    agent.sendall(struct.pack("<IHHI", len(payload), kind, channel, stream) + payload)
def exactly(size):
    out = b""
    while len(out) < size:
        more = agent.recv(size - len(out))
        if not more:
            sys.exit(0)
        out += more
    return out
def hear(wanted=None):
    while True:
        length, kind, channel, stream = struct.unpack("<IHHI", exactly(12))
        payload = exactly(length)
        if wanted in (None, kind):
            return kind, stream, payload
def field(tag, value):
    raw = value if isinstance(value, bytes) else struct.pack("<I", value)
    return struct.pack("<HI", tag, len(raw)) + raw
def begin():
    say(HELLO, hear(HELLO)[2])
    hear(CONFIG)
def open_workload():
    begin()
    say(READY)
    stream = hear(OPEN)[1]
    say(OPENED, stream=stream)
    return stream
'''


@pytest.fixture
def guest(box, tmp_path):
    """A function that starts the box with a stand-in that plays a script."""
    def start(script, **said):
        emulator = tmp_path / "emulator"
        emulator.write_text(STAND_IN + script)
        emulator.chmod(0o755)
        return box.start(environment={"BOXLITE_QEMU": str(emulator)}, **said)
    return start


def test_fault_of_the_guest(box, guest):
    with guest("begin(); say(FAULT, field(1, b'mount /dev/vda: \\x1b[31mbad superblock')); hear()") as shim:
        line = shim.answer()
        assert line.startswith("failed 12 125 ") and "bad superblock" in line and "\x1b" not in line
        shim.wait()
    assert (box.report()["type"], box.report()["ready"]) == ("error", False)


def test_fault_without_a_reason(box, guest):
    with guest("begin(); say(FAULT); hear()") as shim:
        assert "no reason" in shim.answer()
        shim.wait()


def test_another_version_of_the_protocol(box, guest):
    with guest("h = hear(HELLO)[2]; say(HELLO, h[:8] + struct.pack('<II', 99, 99) + h[16:]); hear()") as shim:
        assert "another version" in shim.answer()
        shim.wait()


@pytest.mark.parametrize("words,why", [
    ("say(DATA, bytes(65536), 1, 4242)", "does not exist"),
    ("agent.sendall(b'\\xff' * 4096)", "no frame"),
    ("say(DOWN)", "out of order"),
])
def test_rules_broken_while_it_runs(box, guest, words, why):
    with guest(f"s = open_workload(); console.sendall(b'on the console\\n'); {words}; hear(0)") as shim:
        shim.start_ready()
        shim.wait()
        report = box.report()
        assert (report["type"], report["exit_code"], report["ready"]) == ("error", 137, True)
        assert why in report["message"] and report["console"] == ["on the console"]


@pytest.mark.parametrize("script,exit_code", [("begin()", 125), ("open_workload()", 137)])
def test_kernel_panic(box, guest, script, exit_code):
    with guest(f"{script}; console.sendall(b'[1.0] Kernel panic - not syncing: no more\\nCall Trace:\\n')") as shim:
        shim.answer()
        shim.wait()
    report = box.report()
    assert (report["type"], report["exit_code"]) == ("panic", exit_code)
    assert report["message"] == "the guest's kernel gave up: Kernel panic - not syncing: no more"
    assert report["console"] == ["[1.0] Kernel panic - not syncing: no more", "Call Trace:"]


def test_guest_that_ends_before_its_disk_is_synced(box, guest):
    with guest("s = open_workload(); say(EXIT, field(1, 5), 0, s); hear(SHUTDOWN)") as shim:
        shim.start_ready()
        shim.wait()
    report = box.report()
    assert (report["type"], report["exit_code"]) == ("workload", 5) and "before its disk was synced" in report["message"]


def test_last_words_count(box, guest):
    """The EXIT lies unread in the socket when the emulator ends."""
    with guest("s = open_workload(); say(DATA, b'bye', 1, s); say(EXIT, field(1, 6), 0, s); os._exit(0)") as shim:
        shim.answer()
        shim.wait()
    assert (box.report()["type"], box.report()["exit_code"]) == ("workload", 6)
    assert " stdout P bye\n" in box.read("logs/output.log")


def test_guest_that_does_not_power_off_is_killed(box, guest):
    with guest("s = open_workload(); signal.signal(signal.SIGTERM, signal.SIG_IGN); hear(99)") as shim:
        shim.start_ready()
        client = shim.connect()
        client.send(34, fields([(1, PATIENCE_S * 2000)]))  # a grace period that outlasts the test
        client.status()
        shim.process.terminate()  # at once, since it is stopping already
        assert shim.process.wait(PATIENCE_S) == 0
    assert (box.report()["type"], box.report()["exit_code"]) == ("stopped", 137)


def test_guest_that_says_down_but_does_not_go(box, guest):
    with guest("s = open_workload(); hear(SHUTDOWN); say(EXIT, field(2, 15), 0, s); say(DOWN); hear(99)") as shim:
        shim.start_ready()
        assert shim.stop() == 0
    report = box.report()
    assert (report["type"], report["exit_code"], report["signal"], report["message"]) == ("stopped", 143, 15, "")


def test_grace_reaches_the_guest(box, guest):
    with guest("s = open_workload(); g = hear(SHUTDOWN)[2]; say(DATA, g, 1, s); say(EXIT, field(1, 0), 0, s); say(DOWN); hear(99)") as shim:
        shim.start_ready()
        client = shim.connect()
        workload = client.attach()
        client.send(34, fields([(1, 12345)]))
        assert workload.wait().stdout == struct.pack("<I", 12345)
        shim.wait()
