# SPDX-License-Identifier: Apache-2.0
"""
faults.py - commands in which one call fails

A site is a call and who makes it (src/base/faults.h). A command that is left alone tells all of its sites; then it is run again with
one of them failing, in the way that fits the call, and again with a signal or a short read or write coming in its way where that can
be. The command whose calls fail is built with the address and undefined-behaviour sanitizers, the others are not; the host process
of a box is a stand-in without a machine (tests/tools/stand-in-shim.c), so that a start takes no second.
"""
import collections
import errno
import os
import subprocess

import home as homes
import kernel
import leaks
import soak

# Directories that tests/run lays out: programs, and what they look for beside themselves.
FAULTY = homes.BUILD / "faulty"
SOUND = homes.BUILD / "sound"
SANITIZER_CODE = 99
ENDS = (0, 1, 125)  # what a command may end with
PROMPT_S = 25  # no fault makes a command wait for a deadline of its own (30 s); far more than it takes
# SQLite asks for a lock of its log a hundred times, in ten seconds, before it gives up, and a command may come back to it a few times.
SQLITE_LOCK_S = 60
SHORT = "short"

MEMORY = ("malloc", "calloc", "realloc", "reallocarray", "strdup", "strndup", "vasprintf", "sqlite-malloc", "sqlite-realloc")
# What a call fails with, when not with EIO.
FITTING = {
    errno.ENOMEM: MEMORY + ("poll", "epoll_wait", "epoll_ctl", "execve", "sqlite-mmap", "fork", "dlopen"),
    errno.EMFILE: ("open", "open-proc", "openat", "openat2", "opendir", "fdopendir", "socket", "pipe2", "eventfd", "epoll_create1", "memfd_create",
                   "pidfd_open", "fcntl-dup", "dup2", "sqlite-open"),
    errno.ENOSPC: ("open-create", "openat-create", "mkdir", "mkdirat", "mknodat", "mkfifoat", "pwritev", "linkat", "symlinkat", "renameat", "write", "pwrite",
                   "ftruncate", "fallocate", "fdatasync", "sqlite-write", "sqlite-pwrite", "sqlite-ftruncate"),
    errno.ENOLCK: ("fcntl-look", "fcntl-lock", "fcntl-wait", "flock"),
    errno.EAGAIN: ("clone3", "pthread_create"),
    errno.ECHILD: ("waitid", "waitpid"),
    errno.EPERM: ("pidfd_send_signal",),
    errno.ECONNRESET: ("connect", "send", "recv"),
}
ERRNO = {call: number for number, calls in FITTING.items() for call in calls}
# Calls that a signal can interrupt on a local file system, and those that can move less than they were asked to.
INTERRUPTED = ("read", "write", "fcntl-wait", "flock", "poll", "epoll_wait", "connect", "send", "recv", "getrandom", "waitid", "waitpid",
               "fallocate", "sqlite-read", "sqlite-write")
SHORTENED = ("read", "write", "pread", "pwrite", "preadv2", "pwritev", "send", "recv", "sqlite-read", "sqlite-write", "sqlite-pread", "sqlite-pwrite")

# site: or the name of a call, for all of that name; visit: which of its passes fails, 0 for each; how: an errno, or SHORT
Fault = collections.namedtuple("Fault", "call site visit how")


def sites(log):
    return {tuple(line.split()) for line in log.splitlines()}


def faults_of(log, every=False):
    """What is to be tried, from the log of a run that was left alone: each site once, or at every pass."""
    passes = collections.Counter(tuple(line.split()) for line in log.splitlines())
    found = []
    for (call, site), count in passes.items():
        for visit in range(1, count + 1 if every else 2):
            found.append(Fault(call, site, visit, ERRNO.get(call, errno.EIO)))
            if call in INTERRUPTED:
                found.append(Fault(call, site, visit, errno.EINTR))
            if call in SHORTENED:
                found.append(Fault(call, site, visit, SHORT))
    return found


class FaultyHome(homes.Home):
    """A home whose commands can have a call fail."""

    def __init__(self, base, images=None, name="home"):
        super().__init__(base, images, name)
        self.log = self.base / "faults.log"
        self.environment["BOXLITE_RUNTIME_DIR"] = str(SOUND)
        self.program = SOUND / "boxlite"

    def command(self, *arguments):
        return [str(self.program)] + super().command(*arguments)[1:]

    def faulty(self, *arguments, fault=None):
        """Runs a command with a fault, or writes down the calls that it makes. Return: Done"""
        self.log.unlink(missing_ok=True)
        env = {"BOXLITE_RUNTIME_DIR": str(FAULTY), "BOXLITE_FAULT_LOG": str(self.log), "UBSAN_OPTIONS": f"print_stacktrace=1:halt_on_error=1:exitcode={SANITIZER_CODE}",
               "ASAN_OPTIONS": f"detect_leaks=1:exitcode={SANITIZER_CODE}:detect_stack_use_after_return=1"}
        if fault:
            visit = f"@{fault.visit}" if fault.visit else ""
            env |= {"BOXLITE_FAULT_AT": fault.site + visit, "BOXLITE_FAULT_ERRNO": str(fault.how)}
        self.program = FAULTY / "boxlite"
        try:
            return self.run(*arguments, env=env)
        finally:
            self.program = SOUND / "boxlite"

    def calls(self, *arguments):
        """A command that is left alone, and must succeed. Return: Done, and its log"""
        done = self.faulty(*arguments)
        assert done.code == 0, done
        return done, self.log.read_text()

    def failed(self):
        return self.log.exists() and "failed" in self.log.read_text()


def where(fault):
    """A fault's site in the words of the sources, for whoever reads a finding."""
    places = []
    for part in fault.site.split("/"):
        module, _, offsets = part.partition("+")
        words = ["addr2line", "-e", str(FAULTY / module), "-s", "-p"] + [hex(int(offset, 16) - 1) for offset in offsets.split(".")]
        try:
            places += subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout.splitlines()
        except (OSError, subprocess.CalledProcessError):
            places.append(part)
    how = fault.how if fault.how == SHORT else errno.errorcode[fault.how]
    return f"{fault.call} fails with {how} at pass {fault.visit} of {' < '.join(places)}"


def invisible(fault):
    return fault.how in (errno.EINTR, SHORT)


def check_words(fault, done, ends=ENDS):
    """How a command may end, and what it must say about it."""
    assert done.code in ends, "it broke"
    assert done.seconds < PROMPT_S + SQLITE_LOCK_S * (fault.call == "sqlite-fcntl"), "it waited for what does not come"
    if done.code == 0:
        return
    assert not invisible(fault), "a signal or a short piece is no failure"
    lines = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, "one line says why"
    assert os.strerror(fault.how) in lines[0] or fault.call == "dlopen" or fault.call.startswith("sqlite"), "the line says why"
    assert "(null)" not in done.err and "Success" not in done.err
