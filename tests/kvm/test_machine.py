# SPDX-License-Identifier: Apache-2.0
"""test_machine.py - who gets a machine of our own monitor, and how they end: kernels of a few bytes, made here, and a distribution's

kvm-boot starts a kernel without a box around it and prints how the machine ended. Each kernel begins in 32-bit protected mode.
"""
import gzip
import json
import os
import pathlib
import struct
import subprocess

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BOXLITE_BUILD") or TREE / "build")
ADDRESS = 0x200000
DEADLINE_S = 300

# By bit 5 (enable) and the kind 5 in bits 2 to 4: what the tables call _S5.
POWER_OFF = bytes.fromhex("66ba0006 b034 ee")  # mov $0x600, %dx; mov $0x34, %al; out %al, (%dx)
RESET_REGISTER = bytes.fromhex("66ba0406 b001 ee")
KEYBOARD_RESET = bytes.fromhex("b0fe e664")
TRIPLE_FAULT = bytes.fromhex("0f011d00302000 cc")  # lidt 0x203000, where only zeros are; int3
# Code where nothing is: mov $0x12345678, %ecx; mov $0xd0100000, %eax; jmp *%eax
NO_MANS_LAND = bytes.fromhex("b978563412 b8000010d0 ffe0")


def make_kernel(path, code):
    """An ELF file with one segment and the note that names its entry (Xen's XEN_ELFNOTE_PHYS32_ENTRY)."""
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", ADDRESS)
    at = 64 + 2 * 56
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, ADDRESS, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    notes = struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(note), len(note), 4)
    loaded = struct.pack("<IIQQQQQQ", 1, 7, at + len(note), ADDRESS, ADDRESS, len(code), 0x4000, 1)
    path.write_bytes(header + notes + loaded + note + code)
    return path


def pack_kernel(path, kernel):
    """A bzImage around an ELF file, as Linux's boot protocol wants it (Documentation/arch/x86/boot.rst): two sectors of setup, then
    what is packed."""
    packed = gzip.compress(kernel.read_bytes())
    setup = bytearray(2 * 512)
    struct.pack_into("<B", setup, 0x1f1, 1)  # sectors of setup after the first
    struct.pack_into("<HH4sH", setup, 0x1fe, 0xaa55, 0, b"HdrS", 0x20f)
    struct.pack_into("<II", setup, 0x248, 0, len(packed))
    path.write_bytes(bytes(setup) + packed)
    return path


def boot(kernel, initramfs, words="quiet"):
    """Return: exit code, and what it said, the guest's console before its own words"""
    command = [BUILD / "tests" / "unit" / "kvm-boot", kernel, initramfs, "1", "256", words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE_S,
                          check=False)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.parametrize("code, says", [
    (POWER_OFF, "the guest powered off"),
    (RESET_REGISTER, "the guest reset itself"),
    (KEYBOARD_RESET, "the guest reset itself"),
    (TRIPLE_FAULT, "the guest reset itself"),
], ids=["power-off", "reset-register", "keyboard", "triple-fault"])
def test_orderly_ends(tmp_path, code, says):
    # What comes after the end is not run: it would be a failure.
    status, said = boot(make_kernel(tmp_path / "kernel", code + NO_MANS_LAND), BUILD / "trivial.initramfs")
    assert status == 0 and says in said, said


def test_it_is_taken_unasked(boxlite):
    """Where /dev/kvm works and nobody names an engine, and the line of `info` says why."""
    boxlite.environment.pop("BOXLITE_ENGINE", None)
    info = json.loads(boxlite.ok("info", "--format", "json"))
    assert (info["engine"], info["engineReason"]) == ("kvm", "/dev/kvm is usable")
    box = boxlite.box()
    said = (boxlite.directory(box) / "logs" / "shim.log").read_text()
    assert "info: engine: kvm: /dev/kvm is usable" in said and "info: the machine runs: " in said
    assert boxlite.sh(box, "echo alive") == "alive\n"


def test_a_bzimage_is_unpacked(tmp_path):
    kernel = make_kernel(tmp_path / "kernel", POWER_OFF + NO_MANS_LAND)
    status, said = boot(pack_kernel(tmp_path / "bzImage", kernel), BUILD / "trivial.initramfs")
    assert status == 0 and "the guest powered off" in said, said


def test_an_exit_that_is_not_known_is_reported_with_registers(tmp_path):
    status, said = boot(make_kernel(tmp_path / "kernel", NO_MANS_LAND), BUILD / "trivial.initramfs")
    assert status == 1 and "processor 0: " in said, said
    assert " rip 0xd0100000 " in said and " rcx 0x12345678 " in said and " rax 0xd0100000 " in said and " efer 0" in said, said


def test_a_distribution_s_kernel_switches_off_by_acpi(tmp_path):
    """The tables name the register; the kernel has no other way to switch this machine off."""
    (tmp_path / "init").write_text("#!/busybox sh\n/busybox poweroff -f\n")
    (tmp_path / "init").chmod(0o755)
    (tmp_path / "busybox").write_bytes(pathlib.Path("/bin/busybox").read_bytes())
    (tmp_path / "busybox").chmod(0o755)
    packed = subprocess.run(["/bin/busybox", "cpio", "-o", "-H", "newc"], input=b"busybox\ninit\n", cwd=tmp_path, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, check=True).stdout
    (tmp_path / "initramfs").write_bytes(packed)
    status, said = boot(BUILD / "guest" / "stock" / "vmlinux", tmp_path / "initramfs", "console=ttyS0")
    assert status == 0 and "the guest powered off" in said, said[-4000:]
    assert "ACPI: PM: Preparing to enter system sleep state S5" in said, said[-4000:]
