# SPDX-License-Identifier: Apache-2.0
"""test_cli_formats.py - tables, JSON, YAML and templates of the commands that only look; no box is started here"""
import json
import re

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_list(boxlite):
    header = "│ ID │ IMAGE │ STATUS │ CREATED │ PORTS │ NAMES │"
    lines = boxlite.ok("list").splitlines()
    assert lines[1] == header and len(lines) == 3 and lines[0][0] + lines[2][-1] == "┌┘"
    assert boxlite.ok("ls", "-a", "--format", "json") == "[]\n" and boxlite.ok("ps", "-aq") == ""
    first = boxlite.ok("create", "--name", "first", "busybox").strip()
    second = boxlite.ok("create", "busybox").strip()
    assert boxlite.ok("ls", "-q") == ""  # those that run
    assert boxlite.ok("ls", "-aq").split() == [second, first]  # newest first
    boxes = json.loads(boxlite.ok("ls", "-a", "--format", "json"))
    assert [list(box) for box in boxes] == [["ID", "Image", "Status", "CreatedAt", "Ports", "Names"]] * 2
    assert boxes[1]["ID"] == first and boxes[1]["Names"] == "first" and boxes[1]["Status"] == "Configured"
    assert boxes[0]["Names"] == "" and re.fullmatch(TIME, boxes[0]["CreatedAt"]) and boxes[0]["Image"].startswith("busybox")
    table = boxlite.ok("ls", "-a").splitlines()
    assert len(table) == 6 and len({len(line) for line in table}) == 1 and table[2][0] == "├"
    assert [cell.strip() for cell in table[4].split("│")[1:-1]][0:3] == [first, boxes[1]["Image"], "Configured"]
    yaml = boxlite.ok("ls", "-a", "--format", "yaml").splitlines()
    assert yaml[0] == f"- ID: {second}" or yaml[0] == f'- ID: "{second}"'  # an id that looks like a number is quoted
    assert "  Status: Configured" in yaml and "  Names: first" in yaml and '  Names: ""' in yaml


def test_inspect(boxlite):
    boxlite.fails("inspect", "--latest", says="no boxes to inspect")
    box = boxlite.ok("create", "--name", "job", "--memory", "1g", "--cpus", "2", "-e", "A=b c", "-w", "/tmp", "busybox", "sh", "-c", "true").strip()
    other = boxlite.ok("create", "busybox").strip()
    shown, = json.loads(boxlite.ok("inspect", "job"))
    assert (shown["Id"], shown["Name"], shown["Status"], shown["Cpus"], shown["Memory"]) == (box, "job", "configured", 2, 1 << 30)
    assert re.fullmatch(RFC3339, shown["Created"])
    state = shown["State"]
    assert (state["Status"], state["Running"], state["Pid"], state["ExitCode"], state["StartedAt"]) == ("configured", False, 0, 0, None)
    assert shown["Config"]["Cmd"] == ["sh", "-c", "true"] and "A=b c" in shown["Config"]["Env"] and shown["Config"]["WorkingDir"] == "/tmp"
    assert json.loads(boxlite.ok("inspect", "--latest"))[0]["Id"] == other
    assert [one["Id"] for one in json.loads(boxlite.ok("inspect", other, "job"))] == [other, box]
    assert boxlite.ok("inspect", "-f", "yaml", "job").startswith("- Id: ")
    done = boxlite.fails("inspect", "job", "nobody", says="no such box: nobody")
    assert [one["Id"] for one in json.loads(done.out)] == [box]


def test_templates(boxlite):
    box = boxlite.ok("create", "--name", "job", "busybox", "sh", "-c", "true").strip()
    for template, expected in [
        ("{{.Id}} {{.ID}} {{.Name}}", f"{box} {box} job\n"),
        ("{{.State.Pid}}", "0\n"),
        ('{{.Name}}{{"\\n"}}{{.Status}}', "job\nconfigured\n"),
        ("{{json .Config.Cmd}}", '["sh","-c","true"]\n'),
        ("{{.Config.Cmd}}", "[sh -c true]\n"),
    ]:
        assert boxlite.ok("inspect", "-f", template, "job") == expected
    assert boxlite.ok("inspect", "-f", "{{.State}}", "job").startswith("{Status:configured Running:false Pid:0 ")
    assert boxlite.ok("inspect", "-f", "{{.Image}}", "job") == boxlite.ok("inspect", "-f", "{{.ImageID}}", "job")
    boxlite.fails("inspect", "-f", "{{.Nothing}}", "job", says="Nothing")
    boxlite.fails("inspect", "-f", "{{.Name", "job", says="template")


def test_images(boxlite):
    image, = json.loads(boxlite.ok("images", "--format", "json"))
    assert (image["Repository"], image["Tag"]) == ("busybox", "latest") and image["Size"] > 500_000
    digest = boxlite.ok("images", "-q").strip()
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest) and image["ID"] == digest[7:19]
    table = boxlite.ok("images").splitlines()
    assert [cell.strip() for cell in table[1].split("│")[1:-1]][:4] == ["REPOSITORY", "TAG", "IMAGE ID", "CREATED"]
    assert [cell.strip() for cell in table[3].split("│")[1:-1]][:3] == ["busybox", "latest", image["ID"]]
    assert boxlite.ok("images", "ls", "-q").strip() == digest
    assert "Deleted" in boxlite.ok("images", "rm", "busybox") and boxlite.ok("images", "-q") == ""
    boxlite.fails("rmi", "busybox", says="busybox")


def test_info(boxlite):
    boxlite.ok("create", "busybox")
    info = json.loads(boxlite.ok("info", "--format", "json"))
    assert info["homeDir"] == str(boxlite.path) and info["version"] and info["os"] == "linux"
    assert info["virtualization"] == "available" or info["virtualization"].startswith("unavailable: ")
    assert info["boxesTotal"] == info["boxesRunning"] + info["boxesStopped"] + info["boxesConfigured"] == 1 and info["imagesCount"] == 1
    assert f"homeDir: {boxlite.path}\n" in boxlite.ok("info")


def test_looking_makes_a_home_and_changes_nothing(bare):
    assert bare.ok("images", "-q") == "" and bare.ok("list", "-q") == ""
    assert json.loads(bare.ok("info", "--format", "json"))["boxesTotal"] == 0
    assert (bare.path / "db" / "boxlite.db").exists()


def test_rm_all_asks(boxlite):
    boxlite.ok("create", "busybox")
    boxlite.ok("create", "busybox")
    assert boxlite.run("rm", "-a", stdin="n\n").code == 0 and len(boxlite.listed()) == 2
    boxlite.fails("rm", "-a", stdin="", says="rm -a -f")
    assert len(boxlite.listed()) == 2
    done = boxlite.run("rm", "-a", stdin="y\n")
    assert done.code == 0 and len(done.out.split()) == 2 and "all 2 boxes" in done.err and boxlite.listed() == []
