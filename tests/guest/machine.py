# SPDX-License-Identifier: Apache-2.0
"""A real machine that runs boxlite-guest, and the host's side of the protocol (src/proto), small and exact.

    with Machine(disk) as machine:
        machine.configure()
        machine.workload(["sh"])
        assert machine.run(["echo", "hello"]).stdout == b"hello\\n"

One thread reads frames and notes them down in Stream objects; everything waits on one condition with a deadline. Nothing here
shares code with the product: what the agent says is checked against the written protocol.
"""
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

TREE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BOXLITE_BUILD") or TREE / "build")
PATIENCE_S = int(os.environ.get("BOXLITE_TEST_PATIENCE") or 120)  # no test is about how long something takes, so nothing but a hang takes that long
WINDOW = 262144

HELLO, CONFIG, READY, FAULT, PING, PONG, SHUTDOWN, DOWN = range(1, 9)
OPEN, OPENED, DATA, EOF, CREDIT, SIGNAL, RESIZE, EXIT, CLOSE = range(16, 25)
STDIN, STDOUT, STDERR = range(3)
WORKLOAD, EXEC, COPY_IN, COPY_OUT = range(1, 5)
FOLLOW_LINKS, NO_OVERWRITE = 1, 2
MAGIC = b"BOXLITE\x01"


def fields(pairs):
    """Tagged fields: numbers are u32 unless they are given as bytes, lists repeat the tag, None is left out."""
    out = b""
    for tag, value in pairs:
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            raw = one if isinstance(one, bytes) else os.fsencode(one) if isinstance(one, str) else struct.pack("<I", one)
            out += struct.pack("<HI", tag, len(raw)) + raw
    return out


def parse_fields(payload):
    out, at = {}, 0
    while at < len(payload):
        tag, length = struct.unpack_from("<HI", payload, at)
        out[tag] = payload[at + 6:at + 6 + length]
        at += 6 + length
    return out


def u64(value):
    return struct.pack("<Q", value)


def number(raw):
    return int.from_bytes(raw, "little")


class Stream:
    """What came of one OPEN."""

    def __init__(self, machine, ident):
        self.machine, self.ident = machine, ident
        self.received = {STDOUT: bytearray(), STDERR: bytearray()}
        self.ended = {STDOUT: False, STDERR: False}
        self.pid = None
        self.exit = None
        self.gives_credit = True
        self.stdin_credit = WINDOW
        self.frames = []

    @property
    def stdout(self):
        return bytes(self.received[STDOUT])

    @property
    def stderr(self):
        return bytes(self.received[STDERR])

    @property
    def code(self):
        """The exit code as a shell says it."""
        return number(self.exit[1]) if 1 in self.exit else 128 + number(self.exit[2])

    @property
    def signal(self):
        return number(self.exit[2]) if 2 in self.exit else None

    @property
    def timed_out(self):
        return number(self.exit.get(3, b"\0")) == 1

    @property
    def oom(self):
        return number(self.exit.get(4, b"\0")) == 1

    @property
    def error(self):
        return self.exit.get(5, b"").decode()

    def wait(self):
        self.machine.until(lambda: self.exit is not None, f"EXIT of stream {self.ident}")
        return self

    def wait_opened(self):
        self.machine.until(lambda: self.pid is not None or self.exit is not None, f"OPENED of stream {self.ident}")
        assert self.exit is None, self.error
        return self

    def wait_for(self, text, channel=STDOUT):
        self.machine.until(lambda: text in self.received[channel] or self.exit is not None, f"{text!r} of stream {self.ident}")
        assert text in self.received[channel], (self.stdout, self.stderr, self.exit)
        return self

    def write(self, data):
        """Sends input, as far as the window allows, until all of it is sent or the stream ends."""
        view = memoryview(data)
        while view:
            self.machine.until(lambda: self.stdin_credit > 0 or self.exit is not None, "credit for input")
            if self.exit is not None:
                return
            part = view[:min(65536, self.stdin_credit)]
            self.stdin_credit -= len(part)
            self.machine.send(DATA, bytes(part), STDIN, self.ident)
            view = view[len(part):]

    def eof(self):
        self.machine.send(EOF, b"", STDIN, self.ident)

    def credit(self, size, channel=STDOUT):
        self.machine.send(CREDIT, struct.pack("<I", size), channel, self.ident)

    def kill(self, signal):
        self.machine.send(SIGNAL, struct.pack("<I", signal), 0, self.ident)

    def resize(self, rows, columns):
        self.machine.send(RESIZE, struct.pack("<HH", rows, columns), 0, self.ident)

    def close(self):
        self.machine.send(CLOSE, b"", 0, self.ident)


def kernel():
    """The kernel that a box would run: the tuned one when it was built. Returns directory and whether it is tuned."""
    chosen = os.environ.get("BOXLITE_TEST_KERNEL")
    for name in [chosen] if chosen else ["tuned", "stock"]:
        if (BUILD / "guest" / name / "vmlinux").exists():
            return BUILD / "guest" / name, name == "tuned"
    raise FileNotFoundError(f"no guest kernel in {BUILD}/guest: run make, or make kernel")


class Machine:
    def __init__(self, disk=None, memory=256, cpus=1, keep_console=None):
        directory, tuned = kernel()
        khz = next((int(float(line.split(":")[1]) * 1000) for line in open("/proc/cpuinfo") if line.startswith("cpu MHz")), 2000000)
        append = f"console=hvc0 reboot=t panic=-1 no_timer_check tsc=reliable tsc_early_khz={khz} lpj={khz * 4} quiet"
        append += " nolapic_timer" if tuned and cpus == 1 else ""
        self.scratch = tempfile.mkdtemp(prefix="boxlite-guest-")
        self.console_path = keep_console or os.path.join(self.scratch, "console")
        ours, theirs = socket.socketpair()
        self.socket = ours
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                   "-machine", f"microvm,acpi={'off' if tuned else 'on'}", "-accel", "tcg", "-cpu", "max", "-m", str(memory),
                   "-smp", str(cpus), "-kernel", directory / "vmlinux", "-initrd", directory / "initramfs", "-append", append,
                   "-device", "virtio-serial-device", "-chardev", f"file,id=console,path={self.console_path}",
                   "-device", "virtconsole,chardev=console,nr=0", "-chardev", f"socket,id=agent,fd={theirs.fileno()}",
                   "-device", "virtserialport,chardev=agent,nr=1,name=boxlite.agent"]
        if disk:
            command += ["-blockdev", f"driver=file,filename={disk},node-name=disk", "-device", "virtio-blk-device,drive=disk"]
        self.qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        theirs.close()
        self.changed = threading.Condition()
        self.sending = threading.Lock()
        self.streams, self.next_stream = {}, 1
        self.hello = self.ready = self.fault = None
        self.down = self.hung_up = False
        self.pongs, self.strange = [], []
        self.main = None
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.qemu.kill()
        self.qemu.wait()
        self.socket.close()
        self.reader.join(PATIENCE_S)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def console(self):
        return pathlib.Path(self.console_path).read_text(errors="replace")

    def until(self, condition, what, patience=PATIENCE_S):
        with self.changed:
            met = self.changed.wait_for(lambda: condition() or self.hung_up, patience)
            if not condition():
                raise AssertionError(f"{'nothing came' if not met else 'the machine ended'} while waiting for {what}\n" +
                                     self.console()[-2000:])

    def send(self, kind, payload=b"", channel=0, stream=0):
        with self.sending:
            self.socket.sendall(struct.pack("<IHHI", len(payload), kind, channel, stream) + payload)

    def read(self):
        buffer = bytearray()
        while True:
            try:
                got = self.socket.recv(1 << 18)
            except OSError:
                got = b""
            if not got:
                break
            buffer += got
            at = 0
            while len(buffer) - at >= 12:
                length, kind, channel, stream = struct.unpack_from("<IHHI", buffer, at)
                if len(buffer) - at - 12 < length:
                    break
                self.take(kind, channel, stream, bytes(buffer[at + 12:at + 12 + length]))
                at += 12 + length
            del buffer[:at]
        with self.changed:
            self.hung_up = True
            self.changed.notify_all()

    def take(self, kind, channel, ident, payload):
        reply = None
        with self.changed:
            stream = self.streams.get(ident)
            if kind == HELLO:
                self.hello = payload
            elif kind == READY:
                self.ready = parse_fields(payload)
            elif kind == FAULT:
                self.fault = parse_fields(payload)[1].decode()
            elif kind == PONG:
                self.pongs.append(payload)
            elif kind == DOWN:
                self.down = True
            elif stream is None or stream.exit is not None:
                self.strange.append((kind, channel, ident))
            else:
                stream.frames.append(kind)
                if kind == DATA:
                    assert not stream.ended[channel]
                    stream.received[channel] += payload
                    reply = len(payload) if stream.gives_credit else None
                elif kind == EOF:
                    stream.ended[channel] = True
                elif kind == CREDIT:
                    stream.stdin_credit += number(payload)
                elif kind == OPENED:
                    stream.pid = number(parse_fields(payload)[1])
                elif kind == EXIT:
                    stream.exit = parse_fields(payload)
            self.changed.notify_all()
        if reply:
            stream.credit(reply, channel)

    def greet(self, epoch=None):
        self.epoch = epoch or os.urandom(16)
        self.hello = None
        self.send(HELLO, MAGIC + struct.pack("<II", 1, 1) + self.epoch)
        self.until(lambda: self.hello is not None, "HELLO")
        assert self.hello[:8] == MAGIC and self.hello[16:32] == self.epoch

    def configure(self, hostname="boxlite", **more):
        self.greet()
        self.ready = None
        config = [(1, hostname), (2, u64(time.time_ns())), (3, os.urandom(64)), (4, u64(more.get("disk_bytes", 0))),
                  (5, more.get("pids_max", 0))]
        self.send(CONFIG, fields(config))
        self.until(lambda: self.ready or self.fault, "READY")
        return self

    def open(self, kind, args=None, **more):
        with self.changed:
            stream = Stream(self, self.next_stream)
            self.next_stream += 1
            self.streams[stream.ident] = stream
        stream.gives_credit = more.get("gives_credit", True)
        stream.asked = more
        self.send(OPEN, fields([(1, kind), (2, list(args or [])), (3, list(more.get("env", []))), (4, more.get("cwd")),
                                (5, more.get("user")), (6, int(more.get("tty", False))), (7, more.get("rows", 0)),
                                (8, more.get("columns", 0)), (9, int(more.get("stdin", False))),
                                (10, u64(more.get("timeout_ms", 0))), (11, more.get("stop_signal", 0)),
                                (12, more.get("path")), (13, more.get("flags", 0)), (14, int(more.get("detach", False))),
                                (15, None if "capabilities" not in more else u64(more["capabilities"]))]),
                  0, stream.ident)
        return stream

    def workload(self, args=None, **more):
        self.main = self.open(WORKLOAD, args, **more)
        return self.main

    def exec(self, args, **more):
        return self.open(EXEC, args, **more)

    def run(self, args, data=None, **more):
        """Runs a command to its end, with input if there is any."""
        stream = self.exec(args, stdin=data is not None, **more)
        if data is not None:
            stream.write(data)
            stream.eof()
        return stream.wait()

    def shell(self, script, **more):
        return self.run(["sh", "-c", script], **more)

    def ping(self):
        token = os.urandom(8)
        self.send(PING, token)
        self.until(lambda: token in self.pongs, "PONG")

    def shut_down(self, grace_ms=10000):
        self.send(SHUTDOWN, struct.pack("<I", grace_ms))
        self.until(lambda: self.down, "DOWN")
        assert self.qemu.wait(PATIENCE_S) == 0


def make_disk(path, files=(), size_mib=64):
    """An ext4 disk with Debian's busybox and what an image has around it; @files: pairs of path and content or mode."""
    with tempfile.TemporaryDirectory(prefix="boxlite-disk-") as scratch:
        tree = pathlib.Path(scratch)
        for name in ("bin", "etc", "root", "tmp", "home/user", "usr/bin", "proc", "sys", "dev"):
            (tree / name).mkdir(parents=True)
        busybox = pathlib.Path("/usr/bin/busybox" if os.path.exists("/usr/bin/busybox") else "/bin/busybox")
        shutil.copy(busybox, tree / "bin/busybox")
        for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
            if applet != "busybox":
                (tree / "bin" / applet).symlink_to("busybox")
        (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
                                         "many:x:1001:1001::/home/user:/bin/sh\n")
        (tree / "etc/group").write_text("root:x:0:\nuser:x:1000:\nmany:x:1001:\nteam:x:2000:many,user\ncrew:x:2001:many\n")
        for name, content in files:
            target = tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o755)
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1", "-d",
                        tree, path, f"{size_mib}M"], check=True, capture_output=True)
    return path


# Entries of copies (src/proto/entry.h)

FILE, DIRECTORY, SYMLINK, HARDLINK, FIFO, END = range(1, 7)
KINDS = {FILE: "file", DIRECTORY: "directory", SYMLINK: "symlink", HARDLINK: "hardlink", FIFO: "fifo", END: "end"}


def entry(kind, path="", content=b"", mode=None, uid=0, gid=0, mtime_ns=1700000000 * 10**9, link=None, name=None, size=None):
    """One entry as bytes."""
    if kind == END:
        header = fields([(1, END)])
    else:
        mode = mode if mode is not None else 0o755 if kind == DIRECTORY else 0o644
        header = fields([(1, kind), (2, path), (3, mode), (4, uid), (5, gid), (6, u64(mtime_ns)),
                         (7, u64(len(content) if size is None else size) if kind == FILE else None), (8, link), (9, name)])
    return struct.pack("<I", len(header)) + header + content


class Copied:
    """One entry that came out of a box."""

    def __init__(self, raw, content):
        self.kind = KINDS[number(raw[1])]
        self.path = raw.get(2, b"").decode(errors="surrogateescape")
        self.mode, self.uid, self.gid = (number(raw.get(tag, b"\0")) for tag in (3, 4, 5))
        self.mtime_ns = number(raw.get(6, b"\0"))
        self.link = raw.get(8, b"").decode()
        self.name = raw.get(9, b"").decode()
        self.content = content


def parse_entries(data):
    out, at = [], 0
    while at < len(data):
        length, = struct.unpack_from("<I", data, at)
        raw = parse_fields(data[at + 4:at + 4 + length])
        at += 4 + length
        size = number(raw[7]) if 7 in raw else 0
        out.append(Copied(raw, data[at:at + size]))
        assert len(out[-1].content) == size
        at += size
    return out


def copy_in(machine, path, *entries, flags=0, end=True):
    stream = machine.open(COPY_IN, path=path, flags=flags)
    stream.write(b"".join(entries) + (entry(END) if end else b""))
    stream.eof()
    return stream.wait()


def copy_out(machine, path, flags=0):
    """Returns the stream and its entries by path; without END."""
    stream = machine.open(COPY_OUT, path=path, flags=flags).wait()
    got = parse_entries(stream.stdout) if stream.code == 0 else []
    assert not got or got.pop().kind == "end"
    return stream, {one.path: one for one in got}
