#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hello.py - BoxLite through ctypes: no binding, only the ABI of the C header.

    python3 hello.py            (libboxlite.so.0 is found as the loader finds it, or named by BOXLITE_LIBRARY)
"""
import ctypes
import os
import sys


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("message", ctypes.c_char_p)]


class Command(ctypes.Structure):
    _fields_ = [
        ("command", ctypes.c_char_p),
        ("args", ctypes.POINTER(ctypes.c_char_p)),
        ("argc", ctypes.c_int),
        ("env_pairs", ctypes.POINTER(ctypes.c_char_p)),
        ("env_count", ctypes.c_int),
        ("workdir", ctypes.c_char_p),
        ("user", ctypes.c_char_p),
        ("timeout_secs", ctypes.c_double),
        ("tty", ctypes.c_int),
    ]


BOX_CB = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Error), ctypes.c_void_p)
OUTPUT_CB = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t, ctypes.c_void_p)
EXIT_CB = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)

lib = ctypes.CDLL(os.environ.get("BOXLITE_LIBRARY", "libboxlite.so.0"))
lib.boxlite_version.restype = ctypes.c_char_p
for name in ("boxlite_runtime_free", "boxlite_box_free", "boxlite_execution_free"):
    getattr(lib, name).argtypes = [ctypes.c_void_p]
    getattr(lib, name).restype = None


def check(code, error):
    if code != 0:
        sys.exit(f"hello.py: {error.message.decode()}")


class Hello:
    """One box and one command; callbacks run inside drain(), on this thread."""

    def __init__(self):
        self.runtime, self.error = ctypes.c_void_p(), Error()
        self.box, self.execution = ctypes.c_void_p(), ctypes.c_void_p()
        self.output, self.exit_code, self.failure = b"", None, None
        # ctypes frees a callback that nobody holds, so these live as long as we do.
        self.on_box, self.on_stdout, self.on_exit = BOX_CB(self._box), OUTPUT_CB(self._stdout), EXIT_CB(self._exit)

    def _box(self, box, error, _data):
        self.box = ctypes.c_void_p(box)
        self.failure = error.contents.message.decode() if error else None

    def _stdout(self, data, length, _data):
        self.output += ctypes.string_at(data, length)

    def _exit(self, code, _data):
        self.exit_code = code

    def drain(self):
        if lib.boxlite_runtime_drain(self.runtime, -1, ctypes.byref(self.error)) < 0 or self.failure:
            sys.exit(f"hello.py: {self.failure or self.error.message.decode()}")

    def run(self):
        options, error = ctypes.c_void_p(), ctypes.byref(self.error)
        check(lib.boxlite_runtime_new(None, None, 0, ctypes.byref(self.runtime), error), self.error)
        check(lib.boxlite_options_new(b"busybox", ctypes.byref(options), error), self.error)
        check(lib.boxlite_create_box(self.runtime, options, self.on_box, None, error), self.error)
        while not self.box:
            self.drain()
        command = Command(command=b"echo", args=(ctypes.c_char_p * 1)(b"Hello from Python"), argc=1)
        check(lib.boxlite_box_exec(self.box, ctypes.byref(command), ctypes.byref(self.execution), error), self.error)
        lib.boxlite_execution_on_stdout(self.execution, self.on_stdout, None, None)
        lib.boxlite_execution_on_exit(self.execution, self.on_exit, None, None)
        while self.exit_code is None:
            self.drain()
        print(f"{self.output.decode()}exit code {self.exit_code}")
        lib.boxlite_execution_free(self.execution)
        lib.boxlite_box_free(self.box)
        lib.boxlite_runtime_free(self.runtime)


print(f"BoxLite {lib.boxlite_version().decode()}", file=sys.stderr)
Hello().run()
