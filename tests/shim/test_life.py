# SPDX-License-Identifier: Apache-2.0
"""A box from its start to its report: how it begins, all the ways in which it can end, and what its files say then."""
import contextlib
import fcntl
import os
import signal
import struct

from shimbox import PATIENCE_S, wait_gone

UNLOCKED = struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0)
F_OFD_GETLK, F_OFD_SETLK = 36, 37


def ofd_locked(fd):
    """Whether somebody else holds a lock of an open file description on a file."""
    return struct.unpack_from("h", fcntl.fcntl(fd, F_OFD_GETLK, UNLOCKED))[0] != fcntl.F_UNLCK


def test_attached_workload_runs_to_its_end(box):
    with box.start(args=["sh", "-c", "echo out; echo err >&2; exit 3"], start_on_attach=True) as shim:
        shim.start_ready()
        workload = shim.connect().attach().wait()
        assert (workload.stdout, workload.stderr, workload.code) == (b"out\n", b"err\n", 3)
        assert shim.wait() == 0
    report = box.report()
    assert (report["type"], report["exit_code"], report["ready"], report["message"]) == ("workload", 3, True, "")
    assert sorted(line.split(" ", 1)[1] for line in box.read("logs/output.log").splitlines()) == ["stderr F err", "stdout F out"]
    assert not (box.dir / "shim.pid").exists() and not (box.dir / "control.sock").exists()


def test_files_and_locks_of_a_running_box(box):
    lock = os.open(box.dir / "lifecycle.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.fcntl(lock, F_OFD_SETLK, UNLOCKED)
    probe = os.open(box.dir / "lifecycle.lock", os.O_RDWR)
    (box.dir / "exit.json").write_text("of the run before")
    with box.start(lifecycle_fd=lock) as shim:
        assert ofd_locked(probe)
        os.close(lock)
        shim.start_ready()
        # The line comes first, the lock goes after it; STATUS is answered by the same loop, so it comes later than both.
        client = shim.connect()
        assert client.status()[1] == b"running"
        assert not ofd_locked(probe)
        pid, ticks, boot = box.read("shim.pid").splitlines()
        assert int(pid) == shim.pid and boot == open("/proc/sys/kernel/random/boot_id").read().strip()
        assert ticks == open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19]
        assert open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[1:] == [box.id.encode(), b""]
        assert not (box.dir / "exit.json").exists()
        assert os.stat(box.dir / "control.sock").st_mode & 0o777 == 0o600
        with open(box.dir / "shim.lock", "r+b") as held:
            answer = struct.unpack("hhqqi", fcntl.fcntl(held, fcntl.F_GETLK, UNLOCKED))
            assert answer[0] == fcntl.F_WRLCK and answer[4] == shim.pid
        overlay = os.open(box.dir / "disks/disk.qcow2", os.O_RDWR)
        assert ofd_locked(overlay)
        assert os.getsid(shim.pid) == shim.pid
        assert "NoNewPrivs:\t1" in open(f"/proc/{shim.pid}/status").read()
        assert shim.stop() == 0
        assert not ofd_locked(overlay)
        os.close(overlay)
    os.close(probe)
    assert box.report()["type"] == "stopped"


def test_what_was_written_is_there_after_a_stop(box):
    with box.start() as shim:
        shim.start_ready()
        assert shim.connect().run(["sh", "-c", "echo kept > /root/file"]).code == 0
        assert shim.stop() == 0
    with box.start() as shim:
        shim.start_ready()
        assert shim.connect().run(["cat", "/root/file"]).stdout == b"kept\n"
        shim.stop()


def test_stop_of_an_idle_box_does_not_take_its_grace_period(box):
    with box.start() as shim:
        shim.start_ready()
        # A grace period that is longer than the test's patience: waiting for its end would fail.
        assert shim.stop(grace_ms=PATIENCE_S * 2000) == 0
    assert box.report()["type"] == "stopped"


def test_stop_kills_what_does_not_listen(box):
    with box.start(args=["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]) as shim:
        shim.start_ready()
        shim.connect().attach().wait_for(b"deaf")
        assert shim.stop(grace_ms=200) == 0
    report = box.report()
    assert (report["type"], report["exit_code"]) == ("stopped", 137)


def test_sigterm_is_a_graceful_stop_and_its_code_is_kept(box):
    with box.start(args=["sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"]) as shim:
        shim.start_ready()
        shim.connect().attach().wait_for(b"up")
        shim.process.send_signal(signal.SIGTERM)
        assert shim.wait() == 0
    report = box.report()
    assert (report["type"], report["exit_code"]) == ("stopped", 7)


def test_end_of_the_creator_stops_the_box(box):
    creator = os.fork()
    if creator == 0:
        signal.pause()
        os._exit(0)
    pidfd = os.pidfd_open(creator)
    with box.start(creator_fd=pidfd, stop_grace_ms=1000) as shim:
        shim.start_ready()
        os.kill(creator, signal.SIGKILL)
        os.waitpid(creator, 0)
        assert shim.wait() == 0
    os.close(pidfd)
    assert box.report()["type"] == "stopped"


def test_death_of_the_emulator_is_reported_to_who_waits(box):
    with box.start() as shim:
        shim.start_ready()
        client = shim.connect()
        waiting = client.exec(["sleep", "1000"]).wait_opened()
        os.kill(shim.emulator(), signal.SIGKILL)
        client.wait_hung_up()
        report = box.report()  # it stands before connections close
        assert waiting.exit is None
        assert (report["type"], report["exit_code"], report["ready"]) == ("error", 137, True)
        assert "emulator" in report["message"] and "killed" in report["message"]
        assert report["console"]
        shim.wait()


def test_emulator_dies_with_the_shim(box):
    with box.start() as shim:
        shim.start_ready()
        emulator = shim.emulator()
        shim.process.kill()
        shim.wait()
        wait_gone(emulator)
    assert not (box.dir / "exit.json").exists()
    with box.start() as shim:
        shim.start_ready()
        assert shim.connect().run(["echo", "again"]).stdout == b"again\n"
        shim.stop()


def test_box_whose_disk_nobody_needs_ends_at_once(box):
    with box.start(args=["sh", "-c", "head -c 1000000 /dev/zero; exit 9"], start_on_attach=True, discard=True) as shim:
        shim.start_ready()
        workload = shim.connect().attach().wait()
        assert (len(workload.stdout), workload.code) == (1000000, 9)
        assert shim.wait() == 0
    report = box.report()
    assert (report["type"], report["exit_code"]) == ("workload", 9)


def test_workload_ended_by_a_signal(box):
    with box.start(args=["sleep", "1000"], start_on_attach=True) as shim:
        shim.start_ready()
        workload = shim.connect().attach().wait_opened()
        workload.kill(signal.SIGKILL)
        assert workload.wait().signal == signal.SIGKILL
        shim.wait()
    report = box.report()
    assert (report["type"], report["exit_code"], report["signal"]) == ("signal", 137, 9)


def test_emulator_gets_nothing_that_it_does_not_need(box):
    lock = os.open(box.dir / "lifecycle.lock", os.O_RDWR | os.O_CREAT, 0o600)
    with box.start(lifecycle_fd=lock, environment={"SECRET": "hidden"}, workload={"env": ["TOKEN=hidden"]}) as shim:
        os.close(lock)
        shim.start_ready()
        emulator = shim.emulator()
        words = open(f"/proc/{emulator}/cmdline", "rb").read()
        assert str(box.dir).encode() not in words, "disks are descriptors, not paths"
        environment = open(f"/proc/{emulator}/environ", "rb").read()
        assert b"hidden" not in words and b"hidden" not in environment
        opened = set()
        for entry in os.scandir(f"/proc/{emulator}/fd"):
            with contextlib.suppress(FileNotFoundError):  # it was closed while we looked
                opened.add(os.readlink(entry.path))
        assert {name for name in opened if name.startswith(str(box.dir))} == {f"{box.dir}/disks/base.ext4",
                                                                             f"{box.dir}/disks/disk.qcow2"}
        assert shim.connect().run(["sh", "-c", "echo $TOKEN"]).stdout == b"hidden\n"  # the control: it has arrived
        shim.stop()
    assert "hidden" not in box.read("logs/shim.log") + box.read("logs/console.log") + box.read("exit.json")
