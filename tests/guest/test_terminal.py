# SPDX-License-Identifier: Apache-2.0
"""Terminals: a pty of the box's own, as controlling terminal."""


def test_is_a_terminal_of_the_box(machine):
    done = machine.shell("tty; test -t 0 && test -t 1 && test -t 2 && echo all; stty size; echo $TERM; ls -ln $(tty) | cut -c1-10",
                         tty=True, rows=33, columns=121)
    lines = done.stdout.decode().split()
    assert lines[0].startswith("/dev/pts/") and lines[1:] == ["all", "33", "121", "xterm", "crw--w----"], done.stdout
    assert done.stderr == b"" and done.code == 0


def test_echo_resize_and_keys(machine):
    shell = machine.exec(["sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do read x && echo got-$x; done"],
                         tty=True, stdin=True, rows=10, columns=20).wait_for(b"ready")
    shell.resize(44, 100)
    shell.write(b"abc\n")
    shell.wait_for(b"abc\r\n").wait_for(b"got-abc").wait_for(b"44 100")
    shell.write(b"\x03")
    assert shell.wait().signal == 2


def test_control_d_and_end_of_input(machine):
    done = machine.exec(["cat"], tty=True, stdin=True).wait_opened()
    done.write(b"line\n")
    done.wait_for(b"line\r\nline\r\n")
    done.eof()
    assert done.wait().code == 0


def test_close_hangs_up(machine):
    machine.run(["rm", "-f", "/tmp/hup"])
    stream = machine.exec(["sh", "-c", "sleep 1000"], tty=True, stdin=True).wait_opened()
    stream.close()
    assert stream.wait().signal in (1, 9)


def test_output_before_the_end_is_whole(machine):
    done = machine.shell("i=0; while [ $i -lt 3000 ]; do echo line-$i; i=$((i+1)); done", tty=True)
    assert done.stdout == b"".join(b"line-%d\r\n" % i for i in range(3000))


def test_belongs_to_its_user(machine):
    done = machine.shell("echo x >$(tty) && ls -ln $(tty) | awk '{print $3, $4}'", tty=True, user="user")
    assert done.stdout == b"x\r\n1000 5\r\n", done.stdout


def test_workload_with_a_terminal(new_machine):
    machine = new_machine().configure()
    main = machine.workload(["sh"], tty=True, stdin=True, rows=24, columns=80).wait_opened()
    main.write(b"tty; echo to-console >/dev/console; exit 3\n")
    assert main.wait().code == 3
    assert b"/dev/pts/0\r\n" in main.stdout and b"\nto-console\r\n" in main.stdout
    machine.shut_down()
