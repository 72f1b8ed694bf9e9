# SPDX-License-Identifier: Apache-2.0
"""Starts that must fail: at once, with one plain line, and leaving nothing behind."""
import fcntl
import os
import shutil
import signal
import struct
import subprocess

import pytest

from shimbox import BUILD, fields

MAKE_INITRAMFS = BUILD.parent / "scripts" / "make-initramfs"


def failure(shim):
    """The parts of a "failed" line: code, exit code, message."""
    line = shim.answer()
    assert line.startswith("failed "), line
    shim.wait()
    _, code, exit_code, message = line.split(" ", 3)
    return int(code), int(exit_code), message


def test_second_shim_changes_nothing(box):
    with box.start() as first:
        first.start_ready()
        before = box.read("shim.pid")
        with box.start() as second:
            code, exit_code, message = failure(second)
            assert (code, exit_code) == (4, 125) and str(first.pid) in message, message
            assert second.process.returncode != 0
        assert box.read("shim.pid") == before and not (box.dir / "exit.json").exists()
        assert first.connect().run(["echo", "still here"]).stdout == b"still here\n"
        first.stop()


def test_argument_must_be_the_box(box):
    with box.start(argument=box.id[:-1]) as shim:
        assert "is not the box" in failure(shim)[2]
    assert not (box.dir / "shim.lock").exists()


def test_configuration_cut_short(box):
    with box.start(cut=1) as shim:
        assert shim.answer() == "" and shim.wait() == 1
    assert "cut short" in box.read("logs/shim.log")
    assert not (box.dir / "shim.lock").exists()


def test_without_configuration(box):
    with box.start(cut=1 << 20) as shim:
        assert shim.answer() == "" and shim.wait() == 1
    assert "started by the library" in box.read("logs/shim.log")


def test_configuration_that_never_ends(box):
    with open("/dev/zero", "rb") as endless, open(box.dir / "logs/shim.log", "wb") as log:
        assert subprocess.run([BUILD / "boxlite-shim", box.id], stdin=endless, stderr=log, check=False).returncode == 1
    assert "too large" in box.read("logs/shim.log")


def test_wrong_number_of_arguments():
    done = subprocess.run([BUILD / "boxlite-shim", "a", "b"], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2 and b"usage" in done.stderr


def test_environment_that_is_too_long(box):
    with box.start(args=["true"], workload={"env": [f"NAME{n}={'x' * 1000}" for n in range(70)]}) as shim:
        code, exit_code, message = failure(shim)
        assert (code, exit_code) == (5, 125) and "65536 is the most" in message, message


def test_environment_of_tens_of_thousands_of_bytes(box):
    environment = [f"NAME{n}={'x' * 1000}" for n in range(60)]
    with box.start(args=["sh", "-c", "env | grep -c xxx"], workload={"env": environment}, start_on_attach=True) as shim:
        shim.start_ready()
        assert shim.connect().attach().wait().stdout == b"60\n"
        shim.wait()


def test_missing_kernel(box):
    with box.start(wrong={"kernel": "/nonexistent/vmlinux"}) as shim:
        code, exit_code, message = failure(shim)
        assert (code, exit_code) == (12, 125) and "/nonexistent/vmlinux" in message and "make kernel" in message
    assert box.report()["type"] == "error" and not box.report()["ready"]


def test_missing_emulator(box):
    with box.start(environment={"PATH": "/nonexistent"}) as shim:
        code, _, message = failure(shim)
        assert code == 12 and "qemu-system-x86" in message and "apt install" in message


def test_emulator_that_dies_early_is_reported_at_once(box, tmp_path):
    broken = tmp_path / "qemu"
    broken.write_text("#!/bin/sh\necho 'qemu: something is wrong here' >&2\nexit 1\n")
    broken.chmod(0o755)
    with box.start(environment={"BOXLITE_QEMU": str(broken)}) as shim:
        code, exit_code, message = failure(shim)
        assert (code, exit_code) == (12, 125) and "something is wrong here" in message and "code 1" in message


def test_emulator_that_fails_with_kvm_only(box, tmp_path):
    picky = tmp_path / "qemu"
    picky.write_text("#!/bin/sh\ncase \"$*\" in *'-accel kvm'*) echo 'qemu: no KVM today' >&2; exit 1;; esac\n"
                     f"exec {shutil.which('qemu-system-x86_64')} \"$@\"\n")
    picky.chmod(0o755)
    with box.start(engine="qemu", environment={"BOXLITE_QEMU": str(picky), "BOXLITE_QEMU_ACCEL": "kvm:tcg"}) as shim:
        shim.start_ready()
        assert shim.connect().status()[4] == b"qemu (emulation)"
        assert shim.connect().run(["true"]).code == 0
        shim.stop()
    assert "no KVM today" in box.read("logs/shim.log")
    with box.start(engine="qemu", environment={"BOXLITE_QEMU": str(picky), "BOXLITE_QEMU_ACCEL": "kvm"}) as shim:
        assert "no KVM today" in failure(shim)[2]


def test_engine_that_cannot_run_here(box):
    with box.start(engine="kvm", environment={"BOXLITE_QEMU_ACCEL": "tcg"}) as shim:
        code, _, message = failure(shim)
        assert code == 19 and "engine qemu" in message


def test_own_monitor_that_cannot_run(box):
    """Processors that our own monitor does not have: where emulation will do, another process is to start the box."""
    with box.start(engine="auto", cpus=40, environment={"BOXLITE_QEMU_ACCEL": "kvm:tcg"}) as shim:
        assert shim.answer().startswith("again engine our own monitor can't run here: ")
        assert shim.wait() == 1
    assert not (box.dir / "exit.json").exists()  # the start goes on: nothing has ended
    assert not (box.dir / "control.sock").exists() and not (box.dir / "shim.pid").exists()
    for engine, force in (("auto", "kvm"), ("kvm", "kvm:tcg")):
        with box.start(engine=engine, cpus=40, environment={"BOXLITE_QEMU_ACCEL": force}) as shim:
            assert failure(shim)[0] == 19
        assert box.report()["exit_code"] == 125


def test_engine_that_does_not_exist(box):
    with box.start(engine="vax") as shim:
        assert failure(shim)[0] == 5


def test_missing_disk(box):
    (box.dir / "disks/base.ext4").unlink()
    with box.start() as shim:
        code, _, message = failure(shim)
        assert code == 7 and "base.ext4" in message


def test_disk_that_an_emulator_still_has(box):
    overlay = os.open(box.dir / "disks/disk.qcow2", os.O_RDWR)
    fcntl.fcntl(overlay, 37, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 101, 1, 0))  # F_OFD_SETLK, as QEMU would hold it
    with box.start() as shim:
        code, _, message = failure(shim)
        assert code == 4 and f"process {os.getpid()}" in message, message
    os.close(overlay)


@pytest.fixture
def mute(tmp_path):
    """An initramfs whose init never opens the agent's port."""
    initramfs = tmp_path / "initramfs"
    busybox = "/usr/bin/busybox" if os.path.exists("/usr/bin/busybox") else "/bin/busybox"
    subprocess.run([MAKE_INITRAMFS, "--init", busybox, "--output", initramfs], check=True)
    return {"initramfs": str(initramfs)}


def test_guest_that_never_answers(box, mute):
    with box.start(wrong=mute, start_timeout_ms=2000) as shim:
        code, exit_code, message = failure(shim)
        assert (code, exit_code) == (12, 125) and "did not answer within 2 s" in message, message


def test_stop_while_it_starts(box, mute):
    with box.start(wrong=mute) as shim:
        shim.until(shim.children)  # the emulator is started once the socket listens
        client = shim.connect()
        assert client.status()[1] == b"starting"
        client.send(34, fields([(1, 10000)]))
        code, _, message = failure(shim)
        assert code == 11 and "stopped while it was starting" in message
    assert box.report()["type"] == "stopped"


def test_signal_while_it_starts(box, mute):
    with box.start(wrong=mute) as shim:
        shim.until((box.dir / "shim.pid").exists)
        shim.process.send_signal(signal.SIGTERM)
        assert failure(shim)[0] == 11


def test_emulator_that_is_killed_while_it_starts(box, mute):
    with box.start(wrong=mute) as shim:
        shim.until(shim.children)
        os.kill(shim.emulator(), signal.SIGKILL)
        code, _, message = failure(shim)
        assert code == 12 and "killed" in message


def test_guest_that_goes_away(box):
    with box.start(wrong={"initramfs": str(BUILD / "trivial.initramfs")}) as shim:
        code, _, message = failure(shim)
        assert code == 12 and "powered off unasked" in message


def test_kernel_that_gives_up(box):
    """Whether its last words get out is a race in the kernel, between its first process and its console."""
    with box.start(kernel_args="rdinit=/nonexistent") as shim:
        code, _, message = failure(shim)
        assert code == 12 and ("Kernel panic" in message or "powered off unasked" in message), message
    assert box.report()["type"] in ("panic", "error")


def test_command_that_does_not_exist(box):
    with box.start(args=["no-such-command"]) as shim:
        code, exit_code, message = failure(shim)
        assert (code, exit_code) == (10, 127) and "no-such-command" in message
    report = box.report()
    assert (report["type"], report["exit_code"], report["ready"]) == ("error", 127, False)


def test_command_that_does_not_exist_attached(box):
    with box.start(args=["/etc"], start_on_attach=True) as shim:
        shim.start_ready()
        workload = shim.connect().attach().wait()
        assert workload.code == 126 and workload.error
        shim.wait()
    assert box.report()["exit_code"] == 126
