# SPDX-License-Identifier: Apache-2.0
"""test_exec_many.py - many commands in one box at once: no byte and no exit code is lost or mixed up"""

COUNT = 64


def test_sixty_four_at_once(boxlite):
    box = boxlite.idle()
    script = "seq $0 $(($0 + 3000)); echo err$0 >&2; exit $0"
    processes = [boxlite.start("exec", box, "--", "sh", "-c", script, str(number)) for number in range(COUNT)]
    # All of them run before the first is read: none may depend on another being read.
    for number, process in enumerate(processes):
        out, err = process.communicate(timeout=300)
        assert process.returncode == number, err
        assert out.split() == [str(value).encode() for value in range(number, number + 3001)]
        assert err == f"err{number}\n".encode()
    assert boxlite.sh(box, "ls /proc | grep -c '^[0-9]*$'").strip()  # and it still answers
