# SPDX-License-Identifier: Apache-2.0
"""
test_docs.py - what the documentation shows is what happens

A block marked `console` holds commands after "$ " and what they print. The blocks of one document are run in order, in one home
and one directory. A line "..." in the output stands for anything; "<id>" for an id of a box.
"""
import re
import subprocess

import pytest

import home as homes

def steps(text):
    """The commands of a document with the output that it promises."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append([line[2:], []])
            elif line.startswith("> "):
                found[-1][0] += "\n" + line[2:]
            else:
                found[-1][1].append(line)
    return found


def pattern(lines):
    """A regular expression for promised output."""
    parts = []
    for line in lines:
        parts.append("(?:.*\n)*?" if line.strip() == "..." else re.escape(line).replace("<id>", "[0-9A-Za-z]{12}") + "\n")
    return "".join(parts)


DOCUMENTS = [path for path in [homes.TREE / "README.md", *sorted((homes.TREE / "docs").glob("**/*.md"))] if steps(path.read_text())]


def test_commands_are_found():
    assert {"README.md", "cli.md"} <= {path.name for path in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document(make_home, prepared, tmp_path, document):
    home = make_home(prepared)
    environment = {**home.environment, "PATH": f"{homes.COMMAND.parent}:/usr/bin:/bin"}
    for command, lines in steps(document.read_text()):
        done = subprocess.run(["bash", "-c", command], env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=homes.TIMEOUT, check=False)
        home.note_ids()
        shown = done.stdout.decode(errors="replace")
        if shown and not shown.endswith("\n"):
            shown += "\n"
        assert re.fullmatch(pattern(lines), shown), f"$ {command}\n--- shows\n{shown}--- the document says\n" + "\n".join(lines)
