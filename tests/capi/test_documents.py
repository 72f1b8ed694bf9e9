# SPDX-License-Identifier: Apache-2.0
"""test_documents.py - what documentation and examples promise: programs that compile, run and print what they say they print"""
import os
import pathlib
import re
import subprocess

import pytest

import home as homes

MAN = sorted((homes.TREE / "docs" / "man").glob("*.3"))
SOURCE = homes.TREE / "src" / "capi" / "unsupported.c"
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-D_GNU_SOURCE", f"-I{homes.TREE}/include"]
EXAMPLES = {
    "hello": "Hello from BoxLite\n",
    "streaming": "exit code 7\n",
    "stdin_tty": "apple\nfig\npear\nexit code 0\n",
    "hundred": "100 made, 100 removed\n",
}


def compile_program(source, program, compiler="cc", flags=None):
    done = subprocess.run([compiler, *(flags or FLAGS), "-o", program, source, f"-L{homes.BUILD}", "-lboxlite"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


def run_program(home, *command):
    environment = {**os.environ, **home.environment, "LD_LIBRARY_PATH": str(homes.BUILD)}
    done = subprocess.run(command, env=environment, cwd=home.base, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def verbatim_blocks(page):
    """The .EX blocks of a man page, as a reader sees them."""
    blocks = re.findall(r"^\.EX\n(.*?)^\.EE$", page.read_text(), re.M | re.S)
    return [re.sub(r"^\\&", "", block.replace("\\-", "-"), flags=re.M).replace("\\e", "\\") for block in blocks]


@pytest.mark.parametrize("page", MAN, ids=lambda page: page.stem)
def test_example_of_a_man_page(boxlite, page):
    program, expected = verbatim_blocks(page)
    source = boxlite.base / "example.c"
    source.write_text(program)
    compile_program(source, boxlite.base / "example")
    if page.stem == "boxlite_copy":  # the page copies the host's /etc/hostname
        assert pathlib.Path("/etc/hostname").is_file()
    assert run_program(boxlite, boxlite.base / "example").strip() == expected.strip()


@pytest.mark.parametrize("page", MAN, ids=lambda page: page.stem)
def test_man_page_is_clean(page):
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize("name", EXAMPLES)
def test_c_example(boxlite, name):
    compile_program(homes.TREE / "examples" / "c" / f"{name}.c", boxlite.base / name)
    out = run_program(boxlite, boxlite.base / name)
    assert EXAMPLES[name] in out.replace("\r", "")
    if name == "streaming":
        assert "out: line 3\n" in out and "err: oops\n" in out
    if name == "stdin_tty":
        assert "40 120" in out and "got a line" in out


def test_agent_example_keeps_its_box(boxlite):
    compile_program(homes.TREE / "examples" / "c" / "agent.c", boxlite.base / "agent")
    assert run_program(boxlite, boxlite.base / "agent") == "a new box\nexit code 0\nresult: 42\n"
    assert run_program(boxlite, boxlite.base / "agent") == "the box of last time\nexit code 0\nresult: 42\nresult: 42\n"
    boxlite.ok("rm", "agent-tool")


def test_cpp_example(boxlite):
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{homes.TREE}/include"]
    compile_program(homes.TREE / "examples" / "cpp" / "hello.cpp", boxlite.base / "hello", "c++", flags)
    assert run_program(boxlite, boxlite.base / "hello") == "Hello from C++\nexit code 0\n"


def test_python_example(boxlite):
    out = run_program(boxlite, "/usr/bin/python3", homes.TREE / "examples" / "python" / "hello.py")
    assert out == "Hello from Python\nexit code 0\n"


@pytest.mark.parametrize("compiler, flags", [("cc", ["-std=c11"]), ("c++", ["-std=c++17"]), ("c++", ["-std=c++17", "-DBOXLITE_NO_LEGACY_NAMES"]),
                                             ("cc", ["-std=c11", "-DBOXLITE_NO_LEGACY_NAMES"])])
def test_header_alone(tmp_path, compiler, flags):
    source = tmp_path / ("header.c" if compiler == "cc" else "header.cc")
    legacy = "BOXLITE_OK" if "-DBOXLITE_NO_LEGACY_NAMES" in flags else "Ok"
    source.write_text(f"#include <boxlite.h>\nint main(void) {{ enum Own {{ NotFoundHere }}; return {legacy}; }}\n")
    done = subprocess.run([compiler, *flags, "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{homes.TREE}/include", "-fsyntax-only", source],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


def declared_functions():
    text = re.sub(r"/\*.*?\*/", "", (homes.TREE / "include" / "boxlite.h").read_text(), flags=re.S)
    return set(re.findall(r"\b(boxlite_\w+)\s*\(", text))


def test_every_function_is_called_by_a_test_and_stands_in_a_page():
    tests = "".join(path.read_text() for path in (homes.TREE / "tests" / "capi").glob("*.c"))
    assert {name for name in declared_functions() if not re.search(rf"\b{name}\b", tests)} == set()
    pages = "".join(page.read_text() for page in MAN)
    assert {name for name in declared_functions() if not re.search(rf"\b{name}\b", pages)} == set()


def test_library_shows_the_header_and_nothing_else():
    declared = declared_functions()
    listed = subprocess.run(["nm", "-D", "--defined-only", homes.BUILD / "libboxlite.so"], stdout=subprocess.PIPE, text=True, check=True)
    shown = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert shown == declared


def test_static_library_brings_only_names_of_ours():
    listed = subprocess.run(["nm", "-g", "--defined-only", homes.BUILD / "libboxlite.a"], stdout=subprocess.PIPE, text=True, check=True)
    names = {line.split()[2] for line in listed.stdout.splitlines() if len(line.split()) == 3}
    assert len(names) > 100 and {name for name in names if not name.startswith(("boxlite_", "bl_"))} == set()


def test_table_of_what_is_not_built():
    table = (homes.TREE / "docs" / "library.md").read_text().split("## What is not built")[1].split("## ")[0]
    documented = set(re.findall(r"`(boxlite_\w+)`", table)) - {"boxlite_runtime_new"}
    answered = set(re.findall(r"^enum BoxliteErrorCode (boxlite_\w+)\((?:[^{]|\n)*\{(?:[^}]|\n)*?missing\(", SOURCE.read_text(), re.M))
    assert documented - {"boxlite_image_usage"} == answered
