# SPDX-License-Identifier: Apache-2.0
"""Commands: the workload and execs beside it, on a real machine."""


def test_runs_a_command(machine):
    done = machine.run(["echo", "hello"])
    assert (done.stdout, done.stderr, done.code, done.error) == (b"hello\n", b"", 0, "")
    assert done.frames[0] == 17 and done.frames[-1] == 23  # OPENED first, EXIT last
