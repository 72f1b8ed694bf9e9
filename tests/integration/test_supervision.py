# SPDX-License-Identifier: Apache-2.0
"""test_supervision.py - one host process per running box, named by its id, told true whatever dies"""
import fcntl
import os
import pathlib
import pty
import signal
import stat
import struct
import subprocess

import leaks

FLOCK = "hhqqi4x"  # struct flock of x86-64: type, whence, start, length, pid


def arguments(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]


def holder(path):
    """The pid that the kernel names as the holder of a record lock; 0 for none."""
    with open(path, "r+b") as file:
        answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    kind, _, _, _, pid = struct.unpack(FLOCK, answer)
    return 0 if kind == fcntl.F_UNLCK else pid


def engine(home, shim):
    """Pid of the process that runs the guest: the emulator below a shim, or the shim itself."""
    if os.environ.get("BOXLITE_ENGINE") == "kvm":
        return shim
    for process in pathlib.Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                after = (process / "stat").read_text().rpartition(")")[2].split()
                if int(after[1]) == shim and b"qemu" in arguments(process.name)[0]:
                    return int(process.name)
            except (OSError, IndexError):
                pass
    raise AssertionError(f"no emulator under the shim {shim} of {home.path}")


def test_shim_is_named_by_its_box(boxlite):
    box = boxlite.idle()
    pid = boxlite.shim(box)
    shim = arguments(pid)
    assert len(shim) == 2 and shim[0].endswith(b"/boxlite-shim") and shim[1] == box.encode()
    assert holder(boxlite.directory(box) / "shim.lock") == pid == boxlite.inspect(box)["State"]["Pid"]
    lines = (boxlite.directory(box) / "shim.pid").read_text().splitlines()
    started = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert lines == [str(pid), started, pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
    socket = (boxlite.directory(box) / "control.sock").lstat()
    assert stat.S_ISSOCK(socket.st_mode) and stat.S_IMODE(socket.st_mode) == 0o600
    boxlite.ok("start", box)  # a success that changes nothing
    assert boxlite.shim(box) == pid


def test_twenty_rounds_by_other_commands(boxlite):
    """Each command is a program of its own that never saw the start: nothing may judge the box dead, nor start it again."""
    box = boxlite.idle(name="steady")
    pid = boxlite.shim(box)
    hint = (boxlite.directory(box) / "shim.pid").read_bytes()
    for turn in range(20):
        assert [entry["ID"] for entry in boxlite.listed() if entry["Status"] == "Running"] == [box]
        state = boxlite.inspect("steady")["State"]
        assert state["Running"] and state["Pid"] == pid
        assert boxlite.sh(box, f"echo {turn} >> /root/turns; wc -l < /root/turns").strip() == str(turn + 1)
        boxlite.fails("rm", "steady", says="is running")
        assert (boxlite.directory(box) / "shim.pid").read_bytes() == hint and leaks.shims([box]) == [pid]
    (boxlite.directory(box) / "shim.pid").write_text("garbage\n")  # a hint, no more: the lock tells
    assert boxlite.inspect("steady")["State"]["Pid"] == pid
    (boxlite.directory(box) / "shim.pid").unlink()
    assert boxlite.sh(box, "echo on") == "on\n" and boxlite.shim(box) == pid
    boxlite.ok("rm", "-f", "steady")
    assert not leaks.shims([box]) and not boxlite.directory(box).exists()


def test_killed_shim_is_told_and_takes_the_engine_with_it(boxlite):
    box = boxlite.idle()
    shim = boxlite.shim(box)
    machine = engine(boxlite, shim)
    os.kill(shim, signal.SIGKILL)
    assert not leaks.wait_gone([shim, machine], 60)
    shown = boxlite.inspect(box)
    assert shown["Status"].lower() == "stopped" and shown["State"]["ExitCode"] == 137 and not shown["State"]["Running"], shown
    assert "killed" in str(shown), shown
    boxlite.ok("start", box)
    assert boxlite.sh(box, "echo again") == "again\n"


def test_killed_engine_is_told(boxlite):
    box = boxlite.idle()
    shim = boxlite.shim(box)
    os.kill(engine(boxlite, shim), signal.SIGKILL)
    assert not leaks.wait_gone([shim], 60)
    shown = boxlite.inspect(box)
    assert shown["Status"].lower() in ("stopped", "failed") and shown["State"]["ExitCode"] != 0, shown
    boxlite.ok("start", box)


def test_command_in_a_dying_box_ends(boxlite):
    box = boxlite.idle()
    process = boxlite.start("exec", box, "--", "sh", "-c", "echo up; sleep 3600")
    assert process.stdout.readline() == b"up\n"
    os.kill(boxlite.shim(box), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0 and err.strip(), err


def test_attached_box_ends_with_its_creator(boxlite):
    process = boxlite.start("run", "--name", "attached", "busybox", "sh", "-c", "echo up; sleep 3600")
    assert process.stdout.readline() == b"up\n"
    boxlite.note_ids()
    shim = boxlite.inspect("attached")["State"]["Pid"]
    process.kill()
    process.communicate()
    assert not leaks.wait_gone([shim], 60)
    assert boxlite.status("attached") == "stopped"


def test_detached_box_survives_its_terminal(boxlite):
    words = " ".join(boxlite.command("run", "-d", "--name", "kept", "busybox", "sleep", "3600"))
    shell, terminal = pty.fork()
    if shell == 0:
        # Who reads from the terminal could be told its end before the signal comes; and these tests may run under nohup.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execve("/bin/sh", ["sh", "-c", f"{words} && echo made && exec sleep 3600"], boxlite.environment)
    said = b""
    while b"made" not in said:
        said += os.read(terminal, 4096)
    boxlite.note_ids()
    state = boxlite.inspect("kept")["State"]
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1]) == -signal.SIGHUP  # the control: who was at the terminal is gone
    assert boxlite.sh("kept", "echo on") == "on\n"
    assert boxlite.inspect("kept")["State"]["Pid"] == state["Pid"] == boxlite.shim(next(iter(boxlite.ids)))


def test_signals_reach_the_workload(boxlite):
    script = 'trap "echo interrupted; exit 7" INT; echo up; while :; do sleep 1; done'
    process = boxlite.start("run", "--rm", "busybox", "sh", "-c", script)
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (7, b"interrupted\n"), err


def stubborn(home, trap):
    """A running box whose command has set a trap for TERM and says so. Return: its id"""
    box = home.box(command=("sh", "-c", f"trap {trap} TERM; echo set; while :; do sleep 0.2; done"))
    follower = home.start("logs", "-f", box)
    assert follower.stdout.readline() == b"set\n"
    follower.kill()
    follower.communicate()
    return box


def test_stop_asks_before_it_kills(boxlite):
    asked = stubborn(boxlite, "'echo asked; exit 9'")
    boxlite.ok("stop", "-t", "60", asked)
    assert boxlite.inspect(asked)["State"]["ExitCode"] == 9 and "asked" in boxlite.ok("logs", asked)
    deaf = stubborn(boxlite, "''")
    boxlite.ok("stop", "-t", "1", deaf)
    assert boxlite.inspect(deaf)["State"]["ExitCode"] == 137


def look_for(home, marker):
    """A secret is in no process's arguments or environment, in no file of a box, and in no file that others can read."""
    for process in pathlib.Path("/proc").iterdir():
        for book in ("cmdline", "environ") if process.name.isdigit() and int(process.name) != os.getpid() else ():
            try:
                assert marker.encode() not in (process / book).read_bytes(), process
            except OSError:
                pass  # another user's, a host process (which lets nobody look), or one that ended
    found = subprocess.run(["grep", "-rlF", marker, home.path / "boxes", home.scratch], stdout=subprocess.PIPE, check=False).stdout
    assert found == b"", found
    for path in (home.path / "db").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_secrets_go_nowhere(boxlite):
    marker = "marker-" + os.urandom(8).hex()
    process = boxlite.start("run", "-d", "-e", f"SECRET={marker}", "busybox", "sleep", "3600")
    box = process.communicate(timeout=120)[0].decode().strip()
    assert boxlite.sh(box, "echo $SECRET").strip() == marker  # the control: the box has it
    boxlite.ok("exec", "-e", f"OTHER={marker}", box, "--", "true")
    look_for(boxlite, marker)
    shim = boxlite.shim(box)
    os.kill(shim, signal.SIGKILL)
    assert not leaks.wait_gone([shim], 60) and boxlite.status(box) == "stopped"
    look_for(boxlite, marker)
    boxlite.ok("start", box)
    assert boxlite.sh(box, "cat /proc/1/environ").count(marker) == 1
    boxlite.ok("stop", box)
    look_for(boxlite, marker)


def test_restart_of_the_machine_is_told(boxlite):
    """As after a power cut: no process, no lock, a record that says running, a boot id of another life."""
    box = boxlite.idle()
    lines = (boxlite.directory(box) / "shim.pid").read_text().splitlines()
    shim = boxlite.shim(box)
    os.kill(shim, signal.SIGKILL)
    assert not leaks.wait_gone([shim], 60)
    (boxlite.directory(box) / "shim.pid").write_text("\n".join([str(os.getpid()), lines[1], "0" * 8 + lines[2][8:]]) + "\n")
    shown = boxlite.inspect(box)
    assert shown["Status"].lower() == "stopped", shown  # the recorded pid lives, but it is another process
    boxlite.ok("start", box)
