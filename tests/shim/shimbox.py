# SPDX-License-Identifier: Apache-2.0
"""A box made by hand, the real boxlite-shim that runs it, and clients of its control socket, written from the documents alone.

    box = Box(tmp_path, disk)
    with box.start(args=["sh", "-c", "echo hello"], start_on_attach=True) as shim:
        assert shim.answer() == "ready"
        client = shim.connect()
        workload = client.attach().wait()
        assert workload.stdout == b"hello\\n"
        assert shim.wait() == 0
        assert box.report()["type"] == "workload"
"""
import json
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "guest"))
import machine as guest  # noqa: E402  (the host's side of the protocol lives beside the guest's tests)
from machine import BUILD, EXEC, PATIENCE_S, Machine, fields, kernel, number, parse_fields, u64  # noqa: E402

SHIM = BUILD / "boxlite-shim"
ATTACH, STATUS, STOP = 33, 32, 34
LAUNCH_MAGIC = b"BLLAUNCH"
DISK_BYTES = 256 << 20


def open_fields(kind, args, **more):
    return fields([(1, kind), (2, list(args or [])), (3, list(more.get("env", []))), (4, more.get("cwd")), (5, more.get("user")),
                   (6, int(more.get("tty", False))), (9, int(more.get("stdin", False)))])


def launch_document(**said):
    """src/proto/launch.h, with tags of its own numbering: 1 box id, 2 directory, ... 17 the workload."""
    body = fields([(1, said["id"]), (2, said["dir"]), (3, said.get("engine", "auto")), (4, said["kernel"]), (5, said["initramfs"]),
                   (6, said.get("kernel_args")), (7, said.get("hostname")), (8, u64(said.get("memory", 256 << 20))),
                   (9, u64(said.get("disk_bytes", DISK_BYTES))), (10, said.get("cpus", 1)),
                   (11, said.get("start_timeout_ms", PATIENCE_S * 1000)), (12, said.get("stop_grace_ms", 10000)),
                   (13, said.get("ready_fd")), (14, said.get("lifecycle_fd")), (15, said.get("creator_fd")),
                   (16, bool(said.get("start_on_attach")) * 1 + bool(said.get("discard")) * 2 + bool(said.get("debug", True)) * 4),
                   (17, open_fields(1, said.get("args"), **said.get("workload", {})))])
    return LAUNCH_MAGIC + struct.pack("<II", 1, len(body)) + body


class Box:
    """A box's directory with disks, and what stands in it."""

    def __init__(self, folder, disk, ident="box10ABCdefgh"):
        self.id, self.dir = ident, pathlib.Path(folder) / "boxes" / ident
        (self.dir / "disks").mkdir(parents=True)
        (self.dir / "logs").mkdir()
        os.link(disk, self.dir / "disks/base.ext4")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.ext4", self.dir / "disks/disk.qcow2",
                        str(DISK_BYTES)], check=True)

    def start(self, **said):
        return Shim(self, **said)

    def read(self, name):
        path = self.dir / name
        return path.read_text(errors="replace") if path.exists() else ""

    def report(self):
        return json.loads(self.read("exit.json"))


class Shim:
    """One run of boxlite-shim."""

    def __init__(self, box, argument=None, cut=0, environment=None, wrong=None, **said):
        directory, _ = kernel()
        self.box = box
        self.ready, ready = os.pipe()
        said = {"id": box.id, "dir": str(box.dir), "kernel": str(directory / "vmlinux"), "initramfs": str(directory / "initramfs"),
                "ready_fd": ready, **said}
        document = launch_document(**{**said, **(wrong or {})})
        passed = [ready] + [said[name] for name in ("lifecycle_fd", "creator_fd") if name in said]
        self.process = subprocess.Popen([SHIM, argument or box.id], stdin=subprocess.PIPE, pass_fds=passed,
                                        stderr=open(box.dir / "logs/shim.log", "ab"),
                                        env={"PATH": os.environ["PATH"], **(environment or {})})
        os.close(ready)
        self.clients, self.line = [], None
        try:
            self.process.stdin.write(document[:len(document) - cut])
            self.process.stdin.close()
        except BrokenPipeError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.stop()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ready)

    @property
    def pid(self):
        return self.process.pid

    def answer(self):
        """The line on ready_fd, without its end; empty when the shim died."""
        while self.line is None or (self.line and not self.line.endswith("\n")):
            if not select.select([self.ready], [], [], PATIENCE_S)[0]:
                raise AssertionError("no answer from the shim\n" + self.box.read("logs/shim.log"))
            more = os.read(self.ready, 4096).decode()
            self.line = (self.line or "") + more
            if not more:
                break
        line = self.line.strip()
        return "ready" if line.startswith("ready ") else line

    def moments(self):
        """What stands behind "ready": the origin and the moments, as numbers."""
        return [int(number) for number in self.line.split()[1:]]

    def start_ready(self):
        assert self.answer() == "ready", (self.answer(), self.box.read("logs/shim.log"), self.box.read("logs/console.log")[-2000:])
        return self

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def connect(self, **more):
        client = Client(self.box, **more)
        self.clients.append(client)
        return client

    def stop(self, grace_ms=10000):
        self.connect().send(STOP, fields([(1, grace_ms)]))
        return self.wait()

    def until(self, condition):
        """Looks again and again for what nothing announces, while the shim lives."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.box.read("logs/shim.log")
            time.sleep(0.01)

    def children(self):
        return children_of(self.pid)

    def emulator(self):
        """The pid of QEMU: the shim's only child."""
        return only_child(self.pid)


def children_of(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def only_child(pid):
    children = children_of(pid)
    assert len(children) == 1, children
    return int(children[0])


def wait_gone(pid):
    """Waits until a process has ended, on its pidfd."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], PATIENCE_S)[0], f"process {pid} is still there"
    finally:
        os.close(fd)


class Client(Machine):
    """A connection to control.sock. It speaks as the machine's tests do, and adds what only the shim understands."""

    def __init__(self, box, greet=True):
        self.box = box
        self.socket = socket.socket(socket.AF_UNIX)
        folder = os.open(box.dir, os.O_RDONLY)
        try:
            self.socket.connect(f"/proc/self/fd/{folder}/control.sock")
        finally:
            os.close(folder)
        self.changed, self.sending = threading.Condition(), threading.Lock()
        self.streams, self.next_stream = {}, 1
        self.hello = self.ready = self.fault = self.main = None
        self.down = self.hung_up = False
        self.pongs, self.strange, self.statuses = [], [], []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if greet:
            self.greet()

    def stop(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        self.reader.join(PATIENCE_S)

    def console(self):
        return self.box.read("logs/shim.log") + self.box.read("logs/console.log")

    def send(self, kind, payload=b"", channel=0, stream=0):
        try:
            super().send(kind, payload, channel, stream)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the box is gone; what it said before is still to be read

    def take(self, kind, channel, ident, payload):
        if kind == STATUS:
            with self.changed:
                self.statuses.append(parse_fields(payload))
                self.changed.notify_all()
        elif kind == guest.OPENED and not payload:
            super().take(kind, channel, ident, fields([(1, 0)]))  # of an attachment to what runs already
        else:
            super().take(kind, channel, ident, payload)

    def attach(self, gives_credit=True):
        with self.changed:
            stream = guest.Stream(self, self.next_stream)
            self.next_stream += 1
            self.streams[stream.ident] = stream
        stream.gives_credit = gives_credit
        self.send(ATTACH, b"", 0, stream.ident)
        return stream

    def status(self):
        before = len(self.statuses)
        self.send(STATUS)
        self.until(lambda: len(self.statuses) > before, "STATUS")
        return self.statuses[-1]

    def wait_hung_up(self):
        with self.changed:
            assert self.changed.wait_for(lambda: self.hung_up, PATIENCE_S), "the connection was not closed"


__all__ = ["BUILD", "EXEC", "PATIENCE_S", "Box", "Client", "Shim", "fields", "guest", "number", "only_child", "signal", "wait_gone"]
