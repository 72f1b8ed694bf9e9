# SPDX-License-Identifier: Apache-2.0
"""home.py - one home of boxes for one test, and the command line that works on it

Each test has a home of its own, below a short path, so that tests can run side by side. Images are costly to make and never
change, so one prepared home lends its `images` directory to the others, file by file, as hard links.
"""
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import leaks

TREE = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("BOXLITE_BUILD") or TREE / "build")
COMMAND = pathlib.Path(os.environ.get("BOXLITE_COMMAND") or BUILD / "boxlite")
TIMEOUT = 120  # seconds for any one command: far more than it takes, so that a busy machine fails no test
FROM_OUTSIDE = ("PATH", "LANG", "BOXLITE_ENGINE", "BOXLITE_QEMU", "BOXLITE_RUNTIME_DIR")


class Done:
    """How a command ended."""

    def __init__(self, arguments, code, out, err, seconds):
        self.arguments = arguments
        self.code = code
        self.raw = out
        self.raw_err = err
        self.seconds = seconds

    @property
    def out(self):
        return self.raw.decode(errors="replace")

    @property
    def err(self):
        return self.raw_err.decode(errors="replace")

    def __repr__(self):
        return (f"boxlite {' '.join(map(str, self.arguments))}\n  ended with {self.code} after {self.seconds:.1f} s\n"
                f"  stdout: {self.out[-2000:]!r}\n  stderr: {self.err[-2000:]!r}")


class Home:
    """A home and its boxes; finish() must be called, and says what was left behind."""

    def __init__(self, base, images=None, name="home"):
        self.base = pathlib.Path(base)
        self.path = self.base / name
        self.scratch = self.base / "tmp"
        self.scratch.mkdir(exist_ok=True)
        self.ids = set()
        self.room = None  # an open file whose lock this home holds until its end (small.py)
        self.started = []
        self.environment = {key: os.environ[key] for key in FROM_OUTSIDE if key in os.environ}
        self.environment |= {"HOME": str(self.base), "TMPDIR": str(self.scratch), "TERM": "dumb", "BOXLITE_HOME": str(self.path)}
        if images is not None:
            self.path.mkdir(mode=0o700)
            lend(images, self.path / "images")

    def command(self, *arguments):
        return [str(COMMAND)] + [os.fspath(argument) if isinstance(argument, os.PathLike) else str(argument) for argument in arguments]

    def start(self, *arguments, env=None, **popen):
        """Starts a command and leaves it running: a Popen with all three streams as pipes unless said otherwise."""
        for stream in ("stdin", "stdout", "stderr"):
            popen.setdefault(stream, subprocess.PIPE)
        process = subprocess.Popen(self.command(*arguments), env={**self.environment, **(env or {})}, cwd=popen.pop("cwd", self.base),
                                   **popen)
        self.started.append(process)
        return process

    def run(self, *arguments, stdin=b"", timeout=TIMEOUT, env=None, **popen):
        """Runs a command to its end. Return: Done, whatever the exit code"""
        begun = time.monotonic()
        if isinstance(stdin, (bytes, str)):
            given = stdin.encode() if isinstance(stdin, str) else stdin
            process = self.start(*arguments, env=env, **popen)
        else:
            given, process = None, self.start(*arguments, env=env, stdin=stdin, **popen)
        try:
            out, err = process.communicate(given, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"boxlite {' '.join(map(str, arguments))} did not end within {timeout} s; stdout {out[-1000:]!r}, "
                                 f"stderr {err[-1000:]!r}") from late
        self.note_ids()
        return Done(arguments, process.returncode, out or b"", err or b"", time.monotonic() - begun)

    def ok(self, *arguments, **options):
        """Runs a command that must succeed. Return: its output as text"""
        done = self.run(*arguments, **options)
        assert done.code == 0, done
        return done.out

    def fails(self, *arguments, code=1, says=(), **options):
        """Runs a command that must fail with a code and one clear line. Return: Done"""
        done = self.run(*arguments, **options)
        assert done.code == code, done
        lines = done.err.strip().splitlines()
        assert lines and lines[-1].strip(), f"no word about why: {done!r}"
        for word in [says] if isinstance(says, str) else says:
            assert word.lower() in done.err.lower(), f"{word!r} is not said: {done!r}"
        return done

    def box(self, *arguments, image="busybox", name=None, command=("sleep", "3600")):
        """A running box. Return: its id"""
        named = ["--name", name] if name else []
        out = self.ok("run", "-d", *named, *arguments, image, *command)
        return out.strip()

    def idle(self, *arguments, image="busybox", name=None):
        """A running box without a command of its own. Return: its id"""
        named = ["--name", name] if name else []
        identity = self.ok("create", *named, *arguments, image).strip()
        self.ok("start", identity)
        return identity

    def exec(self, box, *command, options=(), **more):
        return self.run("exec", *options, box, "--", *command, **more)

    def sh(self, box, script, options=(), **more):
        """A shell script in a box that must succeed. Return: its output"""
        done = self.run("exec", *options, box, "--", "sh", "-c", script, **more)
        assert done.code == 0, done
        return done.out

    def inspect(self, box):
        return json.loads(self.ok("inspect", box))[0]

    def status(self, box):
        return self.inspect(box)["Status"].lower()

    def listed(self):
        return json.loads(self.ok("list", "-a", "--format", "json"))

    def directory(self, identity):
        return self.path / "boxes" / identity

    def shim(self, identity):
        """Pid of the shim that serves a box; None when there is none."""
        return next(iter(leaks.shims([identity])), None)

    def note_ids(self):
        with contextlib.suppress(FileNotFoundError):
            self.ids |= {entry.name for entry in (self.path / "boxes").iterdir()}

    def tails(self):
        """What the boxes' logs say at the end, for the report of a failed test."""
        parts = []
        for log in sorted(self.path.glob("boxes/*/logs/*.log")):
            with contextlib.suppress(OSError):
                text = log.read_bytes()[-4000:].decode(errors="replace").strip()
                if text:
                    parts.append(f"--- {log.relative_to(self.path)}\n" + "\n".join(text.splitlines()[-40:]))
        return "\n".join(parts)

    def finish(self):
        """Removes all boxes by the command line itself, then looks for leavings. Return: findings, empty when clean"""
        try:
            return self.clear()
        finally:
            if self.room:
                shutil.rmtree(self.path.parent, ignore_errors=True)
                self.room.close()

    def clear(self):
        found = []
        for process in self.started:
            if process.poll() is None:  # a test that failed half-way did not wait for it
                process.kill()
                process.communicate()
        if not self.path.exists():
            return leaks.check(self.path, self.ids, self.scratch)
        self.note_ids()
        with contextlib.suppress(PermissionError):
            self.path.chmod(0o700)
        if self.ids:
            listed = self.run("list", "-a", "-q")
            boxes = listed.out.split()
            if listed.code:
                found.append(f"the final list: {listed!r}")
            if boxes:
                removed = self.run("rm", "-f", *boxes)
                if removed.code:
                    found.append(f"the final rm -f: {removed!r}")
        return found + leaks.check(self.path, self.ids, self.scratch)


def lend(images, target):
    """Gives a home the images of another, as hard links: they never change, and index entries are replaced, not rewritten."""
    subprocess.run(["cp", "-al", images, target], check=True)
    for folder in ("partial", "locks"):
        shutil.rmtree(target / folder, ignore_errors=True)


@contextlib.contextmanager
def once(folder, name):
    """
    Lets one of several workers make something that all share: yields (directory, whether it is to be made), under a lock; the
    others wait for it. What raised is made again by the next one.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / name
        if made.exists():
            yield made, False
            return
        work = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        try:
            yield work, True
            work.rename(made)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
