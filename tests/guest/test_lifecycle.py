# SPDX-License-Identifier: Apache-2.0
"""From power on to power off: configuration, the workload's life, the end, and conversations that break off."""
import os
import struct
import subprocess
import time

import pytest

from machine import CLOSE, CONFIG, HELLO, MAGIC, OPENED, PING, Machine, fields, make_disk, number, u64


def test_ready_says_when(new_machine):
    machine = new_machine()
    machine.greet()
    machine.configure()
    init, configured, mounted = (number(machine.ready[tag]) for tag in (1, 2, 3))
    assert 0 < init <= configured <= mounted and machine.ready[4]
    assert "BoxLite Guest Agent" in machine.console()
    machine.shut_down()


def test_configuration(new_machine):
    machine = new_machine()
    machine.greet()
    machine.send(CONFIG, fields([(1, "other-name"), (2, u64(4102444800 * 10**9)), (3, os.urandom(256)), (999, "unknown")]))
    machine.until(lambda: machine.ready, "READY")
    machine.workload([]).wait_opened()
    done = machine.shell("hostname; cat /etc/hostname; echo $HOSTNAME; date +%Y")
    assert done.stdout.split() == [b"other-name"] * 3 + [b"2100"]
    machine.shut_down()


@pytest.mark.parametrize("config,words", [
    (fields([(1, "x" * 65)]), "host name"),
    (fields([(3, b"short")]), "entropy"),
    (fields([(6, "share")]), "shared"),
    (b"\1\0\xff\xff\xff\xff", "cut short"),
])
def test_faults(new_machine, config, words):
    machine = new_machine()
    machine.greet()
    machine.send(CONFIG, config)
    machine.until(lambda: machine.fault, "FAULT")
    assert words in machine.fault
    assert machine.qemu.wait(120) == 0
    assert words in machine.console()


def test_a_disk_without_a_file_system(tmp_path):
    empty = tmp_path / "empty"
    empty.write_bytes(bytes(1 << 20))
    with Machine(empty) as machine:
        machine.configure()
        assert machine.fault == "the disk holds no ext4 file system"
        assert machine.qemu.wait(120) == 0


def test_a_larger_disk_grows(tmp_path):
    disk = make_disk(tmp_path / "disk", size_mib=32)
    os.truncate(disk, 96 << 20)
    with Machine(disk) as machine:
        machine.configure(disk_bytes=96 << 20)
        machine.workload([]).wait_opened()
        assert int(machine.shell("df -m / | tail -1 | awk '{print $2}'").stdout) > 80
        machine.shut_down()
    assert subprocess.run(["/sbin/e2fsck", "-fn", disk], capture_output=True).returncode == 0
    # Never shrinks, and more than the device is what the device has.
    with Machine(disk) as machine:
        machine.configure(disk_bytes=1 << 40)
        assert machine.fault is None
        machine.shut_down()


def test_what_was_written_stays(tmp_path):
    disk = make_disk(tmp_path / "disk")
    for expected in (b"", b"1\n", b"1\n1\n"):
        with Machine(disk) as machine:
            machine.configure()
            machine.workload([]).wait_opened()
            assert machine.shell("cat /root/log 2>/dev/null; echo 1 >>/root/log").stdout == expected
            machine.shut_down()
        checked = subprocess.run(["/sbin/e2fsck", "-fn", disk], capture_output=True, text=True)
        assert checked.returncode == 0 and "recover" not in checked.stdout, checked.stdout


def test_names_in_etc(tmp_path):
    """An image's host name gives way, its own other files stay, and a second start writes nothing."""
    disk = make_disk(tmp_path / "disk", files=[("etc/hostname", b"image-builder\n"), ("etc/hosts", b"1.2.3.4 mine\n")])
    for _ in range(2):
        with Machine(disk) as machine:
            machine.configure()
            machine.workload([]).wait_opened()
            assert machine.run(["cat", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]).stdout == b"boxlite\n1.2.3.4 mine\n"
            written = machine.run(["stat", "-c", "%Y", "/etc/hostname"]).stdout
            machine.shut_down()
    with Machine(disk) as machine:
        machine.configure(hostname="renamed")
        machine.workload([]).wait_opened()
        assert machine.run(["cat", "/etc/hostname"]).stdout == b"renamed\n"
        assert machine.run(["stat", "-c", "%Y", "/etc/hostname"]).stdout >= written
        machine.shut_down()


def test_nothing_before_its_time(new_machine):
    machine = new_machine()
    machine.greet()
    early = machine.exec(["true"]).wait()
    assert early.code == 125 and "before it was configured" in early.error
    machine.configure()
    early = machine.exec(["true"]).wait()
    assert early.code == 125 and "not started yet" in early.error
    main = machine.workload(["sh", "-c", "echo one; read x; exit 42"], stdin=True).wait_opened()
    second = machine.workload(["true"]).wait()
    assert second.code == 125 and "started already" in second.error
    main.eof()
    main.wait()
    assert (main.stdout, main.code) == (b"one\n", 42)
    late = machine.exec(["true"]).wait()
    assert late.code == 125 and "has ended" in late.error
    machine.shut_down()


def test_one_workload_after_another(new_machine):
    """Each gets a box that is as new but for its disk: no process, mount or limit of the one before is left."""
    machine = new_machine().configure()
    for life in range(3):
        script = f"echo {life} >> /lives; mkdir /dev/shm/mine; sleep 600 & echo begun; read x; exit {life}"
        main = machine.workload(["sh", "-c", script], stdin=True)
        main.wait_for(b"begun")
        assert machine.run(["cat", "/lives"]).stdout == b"".join(b"%d\n" % before for before in range(life + 1))
        assert machine.run(["sh", "-c", "ls /dev/shm; ps | grep -c sleep"]).stdout.split()[:1] == [b"mine"]
        stray = machine.exec(["sleep", "600"])
        stray.wait_opened()
        main.eof()
        assert main.wait().code == life
        assert stray.wait().code == 137  # its pid namespace has ended
        late = machine.exec(["true"]).wait()
        assert late.code == 125 and "has ended" in late.error
    failed = machine.workload(["no-such"]).wait()
    assert failed.code == 127 and OPENED not in failed.frames
    machine.workload([]).wait_opened()
    assert machine.run(["sh", "-c", "ps | grep -c [s]leep; ls /dev/shm | wc -l"]).stdout.split() == [b"0", b"0"]
    machine.shut_down()


def test_a_workload_that_can_not_run(new_machine):
    machine = new_machine().configure()
    main = machine.workload(["no-such"]).wait()
    assert main.code == 127 and "not found" in main.error and OPENED not in main.frames
    machine.shut_down()


def test_commands_wait_for_a_workload_that_starts(new_machine):
    """Opened at once after it, they run in its box and nowhere else, with the input that came meanwhile; or say why not."""
    machine = new_machine().configure()
    machine.workload([])
    streams = [machine.exec(["sh", "-c", "ls /init; cat; cat /proc/1/comm"], stdin=True) for _ in range(5)]
    closed = machine.exec(["true"])
    closed.close()
    for stream in streams:
        stream.write(b"input\n")
        stream.eof()
    for stream in streams:
        assert stream.wait().stdout == b"input\nboxlite-idle\n", stream.error
    closed.wait()
    machine.shut_down()

    machine = new_machine().configure()
    failing = machine.workload(["no-such"])
    waiting = machine.exec(["true"])
    assert waiting.wait().code == 125 and "has ended" in waiting.error and failing.wait().code == 127
    machine.shut_down()


def test_its_end_ends_all_in_it(new_machine):
    machine = new_machine().configure()
    main = machine.workload(["sh", "-c", "read x; exit 9"], stdin=True).wait_opened()
    beside = machine.exec(["sh", "-c", "trap '' TERM HUP; sleep 1000"]).wait_opened()
    main.write(b"\n")
    assert main.wait().code == 9 and beside.wait().signal == 9
    machine.ping()
    machine.shut_down()


def test_stop_signal_then_kill(new_machine):
    machine = new_machine().configure()
    main = machine.workload(["sh", "-c", "trap 'echo stopping; sync; exit 7' USR1; trap '' TERM; echo up; while :; do sleep 0.05; done"],
                            stop_signal=10).wait_opened().wait_for(b"up")
    machine.send(7, struct.pack("<I", 100000))
    machine.until(lambda: machine.down, "DOWN")
    assert main.stdout == b"up\nstopping\n" and main.code == 7  # its EXIT came before DOWN
    assert machine.qemu.wait(120) == 0

    machine = new_machine().configure()
    stubborn = machine.workload(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"]).wait_opened().wait_for(b"up")
    beside = machine.exec(["sleep", "1000"]).wait_opened()
    machine.shut_down(grace_ms=300)
    assert stubborn.signal == 9 and beside.signal == 9


def test_idle_ends_on_request_and_refuses_afterwards(new_machine):
    machine = new_machine().configure()
    main = machine.workload([]).wait_opened()
    machine.shut_down(grace_ms=100000)
    assert main.code == 0


def test_shutdown_without_a_workload(new_machine):
    machine = new_machine()
    machine.greet()
    machine.shut_down()


def test_timeout_of_the_workload(new_machine):
    machine = new_machine().configure()
    main = machine.workload(["sh", "-c", "trap '' TERM; echo up; sleep 1000"], timeout_ms=500).wait()
    assert main.timed_out and main.signal == 9
    machine.shut_down()


def test_a_new_conversation(new_machine):
    """What the old one had open is closed; the workload goes on, and the same numbers can be used again."""
    machine = new_machine().configure()
    machine.workload(["sh", "-c", "while :; do echo tick >/dev/shm/tick; sleep 0.05; done"]).wait_opened()
    old = machine.exec(["sh", "-c", "echo $$ >/dev/shm/old; sleep 1000"]).wait_opened()
    machine.shell("while ! [ -s /dev/shm/old ]; do sleep 0.02; done")
    machine.configure()
    machine.strange.clear()
    machine.next_stream = old.ident
    assert machine.shell("while kill -0 $(cat /dev/shm/old) 2>/dev/null; do sleep 0.02; done; echo gone").stdout == b"gone\n"
    assert machine.shell("rm /dev/shm/tick; while ! [ -e /dev/shm/tick ]; do sleep 0.02; done; echo on").stdout == b"on\n"
    machine.shut_down(grace_ms=100)


def test_noise_before_and_between_conversations(new_machine):
    """Bytes that are no frame end a conversation; the next HELLO begins one, wherever it stands."""
    machine = new_machine()
    machine.socket.sendall(os.urandom(100000) + b"\x20\0\0\0\1\0\0\0\0\0\0\0BOXLIT")
    machine.greet()
    machine.configure()
    machine.workload([]).wait_opened()
    machine.ping()
    machine.socket.sendall(b"\xff" * 5000)
    machine.configure()
    machine.ping()
    assert machine.run(["echo", "fine"]).stdout == b"fine\n"
    # A version that nobody speaks is not answered.
    machine.hello = None
    machine.send(HELLO, MAGIC + struct.pack("<II", 99, 98) + os.urandom(16))
    machine.ping()
    assert machine.hello is None
    machine.shut_down()


def test_split_and_merged_reads(new_machine):
    machine = new_machine()
    hello = MAGIC + struct.pack("<II", 1, 1) + os.urandom(16)
    for byte in struct.pack("<IHHI", 32, HELLO, 0, 0) + hello:
        machine.socket.sendall(bytes([byte]))
        time.sleep(0)
    machine.until(lambda: machine.hello is not None, "HELLO")
    ping = struct.pack("<IHHI", 8, PING, 0, 0)
    machine.socket.sendall(b"".join(ping + struct.pack("<Q", i) for i in range(5000)))
    machine.until(lambda: len(machine.pongs) == 5000, "5000 answers")
    assert machine.pongs == [struct.pack("<Q", i) for i in range(5000)]
    machine.shut_down()


def test_a_job_with_input_and_its_files(new_machine):
    machine = new_machine().configure()
    main = machine.workload(["cat"], stdin=True)
    main.write(b"hello")
    main.eof()
    assert main.wait().stdout == b"hello" and main.code == 0
    machine.shut_down()


def test_closing_the_workload(new_machine):
    machine = new_machine().configure()
    main = machine.workload(["sleep", "1000"]).wait_opened()
    machine.send(CLOSE, b"", 0, main.ident)
    assert main.wait().signal == 9
    machine.shut_down()
