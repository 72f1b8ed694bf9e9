# SPDX-License-Identifier: Apache-2.0
"""leaks.py - what a test may not leave behind, looked up in the kernel's own books

A home and the ids of the boxes that it ever held name everything that can belong to a test:

- processes: an argument that equals a box id (the shim has no other), the home in an argument, the working directory or an open
  file (the emulator gets its disks as descriptors);
- zombies: children of the test process that nobody reaped;
- locks on files of the home (/proc/locks, by inode), mounts, loop devices, swept from the same root;
- files: sockets, what `partial` holds, directories of removed boxes, anything in the temporary directory that was lent.

What names no home is looked for among the orphans of this user: an engine or helper whose host process is gone, and strangers that
hold a KVM descriptor, a memory file of ours, or a listening port. A port that nobody who can be looked into holds belongs to a host
process, so there may be none when no host process lives. What was there when this module was loaded is somebody else's.

Ends are events: processes are waited for through pidfds. The rest (the lock of a process that just died, an orphan that init has
yet to reap) follows within moments that nothing announces, so a check looks again until it is clean or a deadline has passed.
"""
import os
import pathlib
import select
import stat
import time

SETTLE_SECONDS = 60.0
LISTEN = "0A"  # in /proc/net/tcp


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _ancestors():
    """This process and those above it: their arguments may name a home, and they are no leak."""
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        after_name = _read(pathlib.Path(f"/proc/{pid}/stat")).decode(errors="replace").rpartition(")")[2].split()
        pid = int(after_name[1]) if len(after_name) > 1 else 0
    return found


def _opened(process):
    try:
        return [_link(descriptor) for descriptor in (process / "fd").iterdir()]
    except OSError:
        return []  # another user's, or one that made itself undumpable (the shim): told by its arguments


def processes(home, ids):
    """Living processes that belong to a home, as {pid: how it is known}."""
    home, ids, own, found = str(home), {name.encode() for name in ids}, _ancestors(), {}
    for process in pathlib.Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) in own:
            continue
        arguments = _read(process / "cmdline").split(b"\0")
        if not arguments[0]:
            continue  # a zombie or a thread of the kernel
        words = b" ".join(arguments).decode(errors="replace").strip()
        if any(argument in ids for argument in arguments[1:]):
            found[int(process.name)] = f"has the id of a box: {words[:200]}"
        elif home.encode() in b"\0".join(arguments):
            found[int(process.name)] = f"names the home: {words[:200]}"
        elif any(path == home or path.startswith(home + "/") for path in [_link(process / "cwd")] + _opened(process)):
            found[int(process.name)] = f"holds a file of the home: {words[:200]}"
    return found


def shims(ids):
    """Pids of the shims of these boxes: the id is all that they were given, while a command that names a box has words around it."""
    ids, found = {name.encode() for name in ids}, []
    for process in pathlib.Path("/proc").iterdir():
        arguments = _read(process / "cmdline").split(b"\0") if process.name.isdigit() else []
        if len(arguments) == 3 and arguments[1] in ids and pathlib.PurePath(os.fsdecode(arguments[0])).name == "boxlite-shim":
            found.append(int(process.name))
    return found


def children(pid):
    """Pids of a process's children, as its threads have them; one that ends while we look has none."""
    found = []
    try:
        tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return found
    for task in tasks:
        found += [int(child) for child in _read(task / "children").split()]
    return found


def wait_gone(pids, seconds):
    """Waits until these processes have ended. Return: those that have not"""
    deadline, left = time.monotonic() + seconds, set()
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(max(0, int((deadline - time.monotonic()) * 1000))):
                left.add(pid)
        finally:
            os.close(descriptor)
    return left


def _parent(process):
    fields = _read(process / "stat").decode(errors="replace").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _reapers():
    """Who gets the children of those that end: the first process, and those above the tests, such as their runner."""
    above = _ancestors() - {os.getpid()}
    return {1} | {pid for pid in above if b"pytest" not in _read(pathlib.Path(f"/proc/{pid}/cmdline"))}


def _listening():
    """Sockets of this user that listen for connections, as {inode: address}."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in _read(pathlib.Path("/proc/net", table)).decode().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[7]) == os.geteuid():
                found[fields[9]] = f"{table} port {int(fields[1].rpartition(':')[2], 16)}"
    return found


def strangers():
    """New orphans of this user that are an engine or helper, or hold what only those may; ports that only a host process can hold."""
    return [line for line in _all_strangers() if line not in _HERE_BEFORE]


def _all_strangers():
    ports, reapers, found, shims_live = _listening(), _reapers(), [], False
    for process in pathlib.Path("/proc").iterdir():
        try:
            if not process.name.isdigit() or process.stat().st_uid != os.geteuid():
                continue
        except OSError:
            continue  # it ended while we looked
        arguments = _read(process / "cmdline").split(b"\0")
        name = pathlib.PurePath(os.fsdecode(arguments[0])).name
        if name == "boxlite-shim":
            shims_live = True
            continue
        opened = _opened(process)
        held = [ports.pop(path[len("socket:["):-1]) for path in opened if path[len("socket:["):-1] in ports]
        if not name or _parent(process) not in reapers or int(process.name) in reapers:
            continue
        held += [path for path in opened if path.startswith(("/dev/kvm", "anon_inode:kvm-", "/memfd:boxlite-"))]
        if name.startswith(("qemu-system-", "boxlite-")):
            found.append(f"process {process.name} without a host process: {name}")
        elif held:
            found.append(f"process {process.name} ({name}) holds {', '.join(sorted(set(held)))}")
    if not shims_live:
        found += [f"{port} is open, and whoever listens can't be looked into" for port in ports.values()]
    return found


_HERE_BEFORE = frozenset(_all_strangers())


def zombies():
    """Children of this process that ended and were not reaped."""
    found = []
    for process in pathlib.Path("/proc").iterdir():
        if process.name.isdigit():
            head, _, tail = _read(process / "stat").decode(errors="replace").rpartition(")")
            fields = tail.split()
            if len(fields) > 1 and fields[0] == "Z" and int(fields[1]) == os.getpid():
                found.append(f"zombie {process.name} {head.partition('(')[2]}")
    return found


def strangers_that_stay(seconds=SETTLE_SECONDS):
    """Strangers and zombies that are still there after a while: one whose parent died a moment ago is about to follow it."""
    deadline = time.monotonic() + seconds
    while True:
        found = strangers() + zombies()
        if not found or time.monotonic() >= deadline:
            return found
        time.sleep(0.1)


def _walk(home):
    for folder, _, names in os.walk(home):
        for name in names:
            path = pathlib.Path(folder, name)
            try:
                yield path, path.lstat()
            except FileNotFoundError:
                pass


def locks(home):
    """Locks on files of a home; not on those that it shares with other homes (lent images), which others may be using."""
    inodes = {f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}": path for path, info in _walk(home)
              if info.st_nlink == 1}
    found = []
    for line in _read(pathlib.Path("/proc/locks")).decode().splitlines():
        for word in line.split():
            if word in inodes:
                found.append(f"lock on {inodes[word]}: {line.strip()}")
    return found


def mounts(home):
    lines = _read(pathlib.Path("/proc/self/mountinfo")).decode(errors="replace").splitlines()
    return [f"mount: {line}" for line in lines if str(home) in line]


def loop_devices(home):
    found = []
    for device in pathlib.Path("/sys/block").glob("loop*"):
        backing = _read(device / "loop" / "backing_file").decode(errors="replace")
        if str(home) in backing:
            found.append(f"loop device {device.name}: {backing.strip()}")
    return found


def files(home, scratch):
    """What should not be there once no box is left."""
    home = pathlib.Path(home)
    found = [f"socket or pipe {path}" for path, info in _walk(home) if stat.S_ISSOCK(info.st_mode) or stat.S_ISFIFO(info.st_mode)]
    for folder in (home / "boxes", home / "names", home / "images" / "partial", scratch):
        if folder is not None and folder.is_dir():
            found += [f"left in {folder}: {entry.name}" for entry in folder.iterdir()]
    return found


def check(home, ids, scratch=None, seconds=SETTLE_SECONDS, everybody=True):
    """
    Looks for what a test left behind once all its boxes were removed.

    home: the home; ids: of every box it ever held; scratch: the directory that was lent as TMPDIR; everybody: strangers, too
    Return: a list of findings, empty when it is clean
    """
    deadline = time.monotonic() + seconds
    alive = processes(home, ids)
    stayed = wait_gone(alive, seconds)
    found = [f"process {pid} {alive[pid]}" for pid in stayed]
    if found:
        return found
    while True:
        found = [f"process {pid} {how}" for pid, how in processes(home, ids).items()]
        found += zombies() + locks(home) + mounts(home) + loop_devices(home) + files(home, scratch) + (strangers() if everybody else [])
        if not found or time.monotonic() >= deadline:
            return found
        time.sleep(0.1)
