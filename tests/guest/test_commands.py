# SPDX-License-Identifier: Apache-2.0
"""Commands: the workload and execs beside it, their channels, users, environment, and ends."""
import hashlib
import os
import threading

import pytest

from machine import EOF, EXIT, OPENED, STDERR, STDOUT, WINDOW


def test_runs_a_command(machine):
    done = machine.run(["echo", "hello"])
    assert (done.stdout, done.stderr, done.code, done.error) == (b"hello\n", b"", 0, "")
    assert done.frames[0] == OPENED and done.frames[-1] == EXIT and done.frames.count(EOF) == 2
    assert done.pid > 1


def test_an_output_ends_before_its_process(machine):
    """The end of an output waits a moment for EXIT; when that is not near, it comes alone."""
    stream = machine.exec(["sh", "-c", "echo said; exec >&-; read wait; echo late >&2"], stdin=True)
    machine.until(lambda: stream.ended[STDOUT], "the end of stdout")
    assert (stream.stdout, stream.exit, stream.ended[STDERR]) == (b"said\n", None, False)
    stream.write(b"\n")
    assert (stream.wait().code, stream.stderr) == (0, b"late\n")


@pytest.mark.parametrize("script,code,signal", [("exit 0", 0, None), ("exit 255", 255, None), ("kill -9 $$", 137, 9),
                                                ("kill -TERM $$", 143, 15)])
def test_tells_how_it_ended(machine, script, code, signal):
    done = machine.shell(script)
    assert (done.code, done.signal, done.error, done.timed_out, done.oom) == (code, signal, "", False, False)


@pytest.mark.parametrize("args,code,words", [
    (["no-such-command"], 127, 'Execution error: exec "no-such-command": executable file not found in $PATH'),
    (["/no/such/file"], 127, "not found"),
    (["/etc/passwd"], 126, "permission denied"),
    (["/etc"], 126, "is a directory"),
    (["/bin/sh/x"], 127, "not found"),
    ([""], 127, "not found"),
    (["/broken-interpreter"], 127, "interpreter"),
    (["/no-format"], 126, "exec format error"),
])
def test_says_why_it_never_ran(machine, args, code, words):
    machine.shell("printf '#!/no/interpreter\\n' >/broken-interpreter; printf x >/no-format; chmod +x /broken-interpreter /no-format")
    done = machine.run(args)
    assert (done.code, words in done.error) == (code, True), done.error
    assert OPENED not in done.frames and "\n" not in done.error


def test_path_is_the_boxs(machine):
    machine.shell("mkdir -p /opt/first /opt/second; echo 'echo first' >/opt/first/tool; printf '#!/bin/sh\\necho second\\n' >/opt/second/tool;"
                  "chmod +x /opt/second/tool")
    # The first one is not executable: the next that is wins.
    assert machine.run(["tool"], env=["PATH=/opt/first:/opt/second:/bin"]).stdout == b"second\n"
    assert machine.run(["tool"], env=["PATH=/opt/first"]).code == 126
    assert machine.run(["sh", "-c", "echo $PATH"]).stdout == b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"


@pytest.mark.parametrize("user,expected", [
    (None, "0 0 0 /root"),
    ("user", "1000 1000 1000 2000 /home/user"),
    ("1000", "1000 1000 1000 2000 /home/user"),
    ("many", "1001 1001 1001 2000 2001 /home/user"),
    ("user:team", "1000 2000 2000 /home/user"),
    ("4711", "4711 0 0 /"),
    ("4711:4712", "4711 4712 4712 /"),
    ("root:crew", "0 2001 2001 /root"),
])
def test_runs_as_the_user(machine, user, expected):
    done = machine.shell("echo $(id -u) $(id -g) $(id -G) $HOME", user=user)
    assert done.stdout.decode().strip() == expected, (done.stdout, done.error)


@pytest.mark.parametrize("user,words", [("nobody-such", "unable to find user nobody-such: no matching entries in passwd file"),
                                        ("user:no-group", "unable to find group no-group"), ("99999999999", "unable to find user")])
def test_unknown_user(machine, user, words):
    done = machine.run(["true"], user=user)
    assert done.code == 126 and words in done.error


def test_another_user_is_no_root(machine):
    done = machine.shell("grep CapEff /proc/self/status; cat /etc/new 2>&1; touch /etc/new", user="user")
    assert b"CapEff:\t0000000000000000" in done.stdout and done.code == 1
    # Its descriptors are its own, so that they can be opened again by name.
    assert machine.shell("echo out >/dev/stdout; echo err >/dev/stderr", user="user").stdout == b"out\n"


def test_environment_and_directory(new_machine):
    machine = new_machine().configure()
    main = machine.workload(["sh", "-c", "pwd; env; exec sleep 1000"], env=["A=1", "B=two words", "PATH=/bin"], cwd="/made/by/us",
                            user="user").wait_opened().wait_for(b"PATH=/bin\n")
    assert main.stdout.startswith(b"/made/by/us\n") and b"HOME=/home/user\n" in main.stdout and b"HOSTNAME=boxlite\n" in main.stdout
    inherited = machine.shell("pwd; echo $A $B $C $(id -u) $PATH", env=["B=3", "C=4"])
    assert inherited.stdout == b"/made/by/us\n1 3 4 1000 /bin\n"
    assert machine.shell("pwd; id -u; echo $HOME", cwd="/tmp", user="root").stdout == b"/tmp\n0\n/root\n"
    missing = machine.run(["true"], cwd="/not/there")
    assert missing.code == 126 and '"/not/there"' in missing.error and "No such file" in missing.error
    machine.shut_down(grace_ms=100)


def test_input_reaches_it_whole(machine):
    data = os.urandom(3 << 20)
    done = machine.run(["sha256sum"], data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_both_directions_at_once(machine):
    data = os.urandom(2 << 20)
    done = machine.run(["cat"], data)
    assert done.stdout == data


def test_without_input_it_reads_nothing(machine):
    assert machine.run(["cat"]).stdout == b""
    assert machine.shell("readlink /proc/self/fd/0").stdout == b"/dev/null\n"


def test_input_that_nobody_reads(machine):
    """A command that closes its input, and one that ends without reading it, stop nobody."""
    done = machine.exec(["sh", "-c", "exec <&-; echo closed; sleep 0.2"], stdin=True).wait_for(b"closed")
    done.write(b"x" * (2 * WINDOW))
    assert done.wait().code == 0
    machine.ping()


def test_a_stalled_reader_stops_nobody_else(machine):
    stalled = machine.exec(["sh", "-c", "yes | head -c 2000000; echo done >&2"], gives_credit=False)
    machine.until(lambda: len(stalled.stdout) == WINDOW, "a full window")
    assert machine.run(["echo", "other"]).stdout == b"other\n"
    assert len(stalled.stdout) == WINDOW  # not a byte past the credit
    stalled.gives_credit = True
    stalled.credit(WINDOW)
    assert len(stalled.wait().stdout) == 2000000 and stalled.stderr == b"done\n"


def test_what_it_left_comes_before_its_exit(machine):
    """A process that has ended is not over before its output was taken."""
    done = machine.exec(["sh", "-c", "head -c 65000 /dev/zero; head -c 60000 /dev/zero >&2; exit 5"], gives_credit=False)
    machine.until(lambda: len(done.stdout) + len(done.stderr) == 125000, "all output")
    assert done.wait().code == 5


def test_sixty_four_at_once(machine):
    streams = [machine.exec(["sh", "-c", f"head -c 20000 /dev/zero | tr '\\0' {chr(97 + i % 26)}; echo err{i} >&2; exit {i}"])
               for i in range(64)]
    for i, stream in enumerate(streams):
        stream.wait()
        assert (stream.code, stream.stdout, stream.stderr) == (i, bytes([97 + i % 26]) * 20000, b"err%d\n" % i)


def test_strays_neither_delay_nor_die(machine):
    done = machine.shell("sh -c 'echo $$ >/tmp/stray; echo early; while :; do echo late; sleep 0.05; done' & "
                         "while ! [ -s /tmp/stray ]; do sleep 0.05; done; echo end")
    assert done.code == 0 and b"end\n" in done.stdout
    assert machine.shell("kill -0 $(cat /tmp/stray)").code == 0
    # It writes into a pipe that is still read, so it did not block or break.
    assert machine.shell("sleep 0.5; kill $(cat /tmp/stray)").code == 0
    machine.ping()
    assert not machine.strange


def all_groups_go(machine):
    """Waits until only the cgroup of the command that looks is there; the kernel tells of an empty one a little later."""
    done = machine.shell("while [ $(ls /sys/fs/cgroup/boxlite | grep -c exec-) -gt 1 ]; do sleep 0.05; done; echo gone")
    return done.stdout == b"gone\n"


def test_timeout_kills_all_of_it(machine):
    script = ("rm -f /tmp/t; trap '' TERM ALRM INT HUP; setsid sh -c 'trap \"\" TERM; echo $$ >/tmp/t; sleep 1000' & "
              "while ! [ -s /tmp/t ]; do sleep 0.05; done; echo before; sleep 1000")
    for seconds in (2, 10, 60):  # where it did not come that far in its time, it gets more
        done = machine.exec(["sh", "-c", script], timeout_ms=1000 * seconds).wait()
        assert done.timed_out and done.signal == 9
        if done.stdout:
            break
    assert done.stdout == b"before\n"
    assert machine.shell("while kill -0 $(cat /tmp/t) 2>/dev/null; do sleep 0.05; done").code == 0
    assert not machine.run(["true"], timeout_ms=100000).timed_out
    assert all_groups_go(machine)


def test_close_kills_and_detach_does_not(machine):
    killed = machine.exec(["sh", "-c", "echo $$; sleep 1000"]).wait_for(b"\n")
    killed.close()
    assert killed.wait().signal == 9
    kept = machine.exec(["sh", "-c", "echo 1; while ! [ -e /tmp/go ]; do echo more; sleep 0.05; done; echo kept >/tmp/kept"],
                        detach=True).wait_for(b"1\n")
    kept.close()
    machine.shell("rm -f /tmp/kept; touch /tmp/go")
    assert kept.wait().code == 0
    assert machine.run(["cat", "/tmp/kept"]).stdout == b"kept\n"
    assert all_groups_go(machine)


def test_signals(machine):
    done = machine.exec(["sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done"]).wait_for(b"ready")
    done.kill(10)
    done.wait_for(b"usr1")
    done.kill(15)
    assert done.wait().signal == 15
    # All of an exec's own process group hear it, as at a terminal.
    group = machine.exec(["sh", "-c", "sh -c 'trap \"echo child; exit\" INT; echo up; while :; do sleep 0.05; done'; echo parent"])
    group.wait_for(b"up")
    group.kill(2)
    assert b"child" in group.wait().stdout


def test_children_are_reaped(machine):
    orphans = machine.shell("for i in 1 2 3 4 5; do sh -c 'sleep 0.01 & echo $!'; done").stdout.split()
    assert len(orphans) == 5
    # Each is gone from /proc, which it would not leave as a zombie.
    for orphan in orphans:
        machine.shell(f"while [ -e /proc/{int(orphan)} ]; do sleep 0.05; done")


def test_streams_that_make_no_sense(machine):
    """Frames of streams that do not exist, too much input, too much credit: only the stream suffers."""
    stream = machine.exec(["sleep", "1000"], stdin=True).wait_opened()
    for _ in range(12):
        machine.send(18, b"x" * 65536, 0, stream.ident)
    assert "window" in stream.wait().error and stream.code == 125
    stream = machine.exec(["sleep", "1000"]).wait_opened()
    stream.credit(1)
    assert "credit" in stream.wait().error
    for kind in (18, 19, 20, 21, 22, 24, 17, 23, 34):
        machine.send(kind, b"\1\0\0\0", 1, 4000000)
    machine.send(16, b"no fields at all", 0, 5000000)
    machine.send(16, b"", 0, 0)
    machine.ping()
    assert [kind for kind, _, ident in machine.strange if ident == 5000000] == [23]
    machine.strange.clear()


def test_too_many_streams(machine):
    """The limit is refused plainly, and everything works afterwards."""
    machine.shell("rm -f /tmp/end")
    waiting = [machine.exec(["sh", "-c", "read x"], stdin=True) for _ in range(120)]
    for one in waiting:
        one.wait_opened()
        threading.Thread(target=one.eof).start()
    for one in waiting:
        one.wait()
    assert machine.run(["true"]).code == 0
