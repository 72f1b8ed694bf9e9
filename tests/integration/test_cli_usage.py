# SPDX-License-Identifier: Apache-2.0
"""test_cli_usage.py - what is wrong with the arguments is told before anything is made, and --help helps"""
import subprocess

import pytest

import home as homes

COMMANDS = ["run", "create", "exec", "list", "start", "stop", "restart", "rm", "wait", "inspect", "logs", "cp", "load", "images", "rmi",
            "gc", "info", "version"]


@pytest.mark.parametrize("arguments, says", [
    ((), "Usage: boxlite"),
    (("frobnicate",), "unknown command 'frobnicate'"),
    (("help", "frobnicate"), "unknown command 'frobnicate'"),
    (("--url", "x", "ls"), "unexpected argument '--url'"),
    (("run",), "required: IMAGE"),
    (("run", "--nam", "x", "busybox"), "unexpected argument '--nam'"),
    (("run", "--rm=yes", "busybox"), "takes no value"),
    (("run", "-d", "-i", "busybox"), "cannot be used with --detach"),
    (("run", "--memory", "lots", "busybox"), "--memory"),
    (("run", "--cpus", "0", "busybox"), "--cpus"),
    (("run", "--name=", "busybox"), "--name cannot be empty"),
    (("run", "--security", "maybe", "busybox"), "enable|"),
    (("create", "-d", "busybox"), "unexpected argument '-d'"),
    (("create", "--rm", "busybox"), "unexpected argument '--rm'"),
    (("exec", "box", "ls"), "--"),
    (("exec", "box", "ls", "-l"), "boxlite exec BOX -- ls -l"),
    (("exec", "box", "--"), "COMMAND"),
    (("exec", "--timeout", "soon", "box", "--", "ls"), "--timeout"),
    (("exec", "--entrypoint", "x", "box", "--", "ls"), "unexpected argument '--entrypoint'"),
    (("list", "-q", "--format", "json"), "cannot be used with --format"),
    (("list", "--format", "xml"), "table|json|yaml"),
    (("list", "extra"), "unexpected argument 'extra'"),
    (("start",), "required: BOX"),
    (("stop", "-t", "-5", "box"), "--time"),
    (("rm",), "required: BOX, or --all"),
    (("rm", "-a", "box"), "--all cannot be used"),
    (("inspect",), "no names or ids specified"),
    (("inspect", "-l", "box"), "cannot be used together"),
    (("inspect", "-f", "table", "box"), "inspect does not support table format"),
    (("inspect", "-f", "xml", "box"), "Unknown format 'xml'. Valid formats"),
    (("info", "--format", "table"), "yaml|json"),
    (("images", "-q", "--format", "yaml"), "cannot be used with --format"),
    (("cp", "a"), "required: SOURCE and DESTINATION"),
    (("cp", "a", "b"), "BOX:PATH"),
    (("cp", "a:/x", "b:/y"), "only one side"),
    (("cp", "a:", "y"), "empty"),
    (("cp", "x", "a:relative"), "must be absolute"),
    (("load", "a", "b"), "unexpected argument 'b'"),
    (("load", "-i", "a", "b"), "--input cannot be used"),
    (("--home", "relative", "list"), "BoxLite home must be an absolute path, got: relative"),
    (("list", "--home="), "--home cannot be empty"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_wrong_arguments(bare, arguments, says):
    done = bare.fails(*arguments, code=2, says=says)
    assert done.out == "" and (not arguments or "--help'." in done.err), done
    assert not bare.path.exists(), "a usage error made a home"


@pytest.mark.parametrize("command", COMMANDS)
def test_help(bare, command):
    out = bare.ok(command, "--help")
    assert out == bare.ok("help", command) == bare.ok(command, "-h")
    assert f"Usage: boxlite {command}" in out and f"boxlite {command}" in out.split("Examples:")[1]
    assert "--home PATH" in out and "--entrypoint" not in bare.ok("exec", "-h")
    assert not bare.path.exists()


def test_overview(bare):
    out = bare.ok("--help")
    assert out == bare.ok("help")
    for command in COMMANDS:
        assert f"\n  {command} " in out
    assert bare.ok("--version") == bare.ok("version") == bare.ok("-V")


def test_completion(bare):
    script = bare.ok("completion", "bash")
    words = 'COMP_WORDS=(boxlite exec --inter); COMP_CWORD=2; _boxlite; echo "${COMPREPLY[*]}"'
    done = subprocess.run(["bash", "-c", script + words], stdout=subprocess.PIPE, check=True, env={"PATH": f"{homes.BUILD}:/usr/bin:/bin"})
    assert done.stdout.split() == [b"--interactive"]
    bare.fails("completion", "csh", code=2, says="csh")


def test_closed_streams(bare):
    """A caller that closed its standard streams gets no file of ours in their place."""
    done = subprocess.run(["bash", "-c", f'"{homes.COMMAND}" images -q <&- >&- 2>&-; echo $?'], env=bare.environment, stdout=subprocess.PIPE,
                          check=True, timeout=homes.TIMEOUT)
    assert done.stdout == b"0\n"
    with open("/dev/full", "w", encoding="ascii") as full:
        done = bare.run("--help", stdout=full)
    assert done.code == 1 and "No space left" in done.err, done
