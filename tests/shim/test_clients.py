# SPDX-License-Identifier: Apache-2.0
"""Many programs at one box: execs, attachments, and clients that stall, leave, or break the rules."""
import os

import pytest

from shimbox import Box


@pytest.fixture(scope="module")
def shim(tmp_path_factory, disk):
    box = Box(tmp_path_factory.mktemp("clients"), disk)
    with box.start(args=["sh", "-c", "echo first; cat; echo end of input"], workload={"stdin": True}) as running:
        running.start_ready()
        yield running
        if running.process.poll() is None:
            running.stop(grace_ms=1000)


def test_exec(shim):
    done = shim.connect().run(["sh", "-c", "cat; echo err >&2; exit 5"], data=b"in")
    assert (done.stdout, done.stderr, done.code) == (b"in", b"err\n", 5)


def test_many_streams_of_one_client(shim):
    client = shim.connect()
    streams = [client.exec(["sh", "-c", f"echo {n}; exit {n}"]) for n in range(16)]
    assert [(s.wait().code, s.stdout) for s in streams] == [(n, b"%d\n" % n) for n in range(16)]


def test_megabytes_in_both_directions(shim):
    data = os.urandom(1 << 20) * 8
    done = shim.connect().run(["cat"], data=data)
    assert done.stdout == data and done.code == 0


def test_client_that_does_not_read_blocks_nobody(shim):
    lazy = shim.connect()
    stalled = lazy.exec(["sh", "-c", "cat /dev/zero"], gives_credit=False)
    lazy.until(lambda: len(stalled.stdout) == 262144, "a whole window")
    assert shim.connect().run(["echo", "quick"]).stdout == b"quick\n"
    assert len(stalled.stdout) == 262144
    lazy.stop()


def test_commands_of_a_client_that_left_are_killed(shim):
    client, mark = shim.connect(), "1000.5"
    client.exec(["sleep", mark]).wait_opened()
    assert mark in shim.connect().run(["ps"]).stdout.decode()
    client.stop()
    other = shim.connect()
    other.shell(f"while ps | grep -v grep | grep -q 'sleep {mark}'; do sleep 0.1; done")


def test_unknown_command(shim):
    done = shim.connect().run(["no-such-command"])
    assert done.code == 127 and done.error


def test_status_counts(shim):
    client = shim.connect()
    before = client.status()
    client.run(["true"])
    after = client.status()
    assert after[1] == b"running" and after[4].startswith(b"qemu (")
    assert int.from_bytes(after[3], "little") == int.from_bytes(before[3], "little") + 1
    assert int.from_bytes(after[5], "little") > 0


@pytest.mark.parametrize("kind,payload,channel,stream", [
    (3, b"", 0, 0),                                # READY is the guest's to say
    (16, b"garbage", 0, 1),                        # OPEN that is none
    (16, b"\1\0\4\0\0\0\1\0\0\0", 0, 1),           # OPEN of a workload
    (33, b"", 0, 0),                               # ATTACH without a stream
    (34, b"\1\0\2\0\0\0\0\0", 0, 0),               # STOP with a number that is none
    (5, b"123456789", 0, 0),                       # PING that is too long
])
def test_client_that_breaks_the_rules_is_hung_up(shim, kind, payload, channel, stream):
    client = shim.connect()
    client.send(kind, payload, channel, stream)
    client.wait_hung_up()
    assert shim.connect().run(["true"]).code == 0


def test_no_frame_at_all(shim):
    client = shim.connect(greet=False)
    client.socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    client.wait_hung_up()


def test_hello_must_come_first(shim):
    client = shim.connect(greet=False)
    client.send(32)
    client.wait_hung_up()


def test_input_past_the_window(shim):
    client = shim.connect()
    stream = client.exec(["sleep", "1000"], stdin=True)
    # A window, what the pipe of a command that reads nothing takes (and gives back as credit), and more.
    for _ in range(4 + 1 + 1):
        client.send(18, bytes(65536), 0, stream.ident)
    client.wait_hung_up()


def test_credit_for_nothing(shim):
    client = shim.connect()
    stream = client.exec(["sleep", "1000"]).wait_opened()
    stream.credit(1)
    client.wait_hung_up()


def test_attachments_one_after_the_other(shim):
    """Last in the file: it ends the workload's input, and with it the box."""
    first = shim.connect()
    workload = first.attach().wait_for(b"first\n")
    workload.write(b"one\n")
    workload.wait_for(b"one\n")
    other = shim.connect().attach().wait()
    assert other.code == 125 and "attached already" in other.error
    first.stop()
    second = shim.connect()
    again = second.attach()
    again.write(b"two\n")
    again.wait_for(b"two\n")
    assert b"first" not in again.stdout
    again.eof()
    again.wait()
    assert again.stdout.endswith(b"end of input\n") and again.code == 0
    assert shim.wait() == 0
    assert shim.box.report()["type"] == "workload"
