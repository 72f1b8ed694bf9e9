# SPDX-License-Identifier: Apache-2.0
"""test_cp.py - files into and out of a box, placed as `cp -a` and `docker cp` place them"""
import io
import os
import subprocess
import tarfile

ALL_BYTES = bytes(range(256)) * 4096


def test_files(boxlite, tmp_path):
    box = boxlite.idle(name="box")
    source = tmp_path / "source"
    source.write_bytes(ALL_BYTES)
    source.chmod(0o751)
    boxlite.ok("cp", source, "box:/root/named")
    boxlite.ok("cp", source, "box:/tmp")
    assert boxlite.sh(box, "cmp /root/named /tmp/source && stat -c '%a %s' /tmp/source").split() == ["751", str(len(ALL_BYTES))]
    boxlite.ok("cp", "box:/root/named", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == ALL_BYTES and (tmp_path / "back").stat().st_mode & 0o777 == 0o751
    boxlite.sh(box, "echo original > /root/there")
    boxlite.fails("cp", "--no-overwrite", source, "box:/root/there")
    assert boxlite.sh(box, "cat /root/there") == "original\n"
    boxlite.ok("cp", source, "box:/dev/shm/x")  # a mount of the workload's own
    assert boxlite.sh(box, "stat -c %s /dev/shm/x").strip() == str(len(ALL_BYTES))


def test_trees(boxlite, tmp_path):
    box = boxlite.idle(name="box")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_bytes(b"content")
    os.utime(tree / "a" / "file", (1000000000, 1000000000))
    (tree / "a" / "b" / "up").symlink_to("../file")
    (tree / "absolute").symlink_to("/etc/passwd")
    (tree / "empty").touch()
    boxlite.ok("cp", tree, "box:/root/new")       # a missing target gets the name
    boxlite.ok("cp", tree, "box:/root")           # an existing directory takes it in
    boxlite.ok("cp", f"{tree}/.", "box:/tmp")     # only what is in it
    for place in ("/root/new", "/root/tree", "/tmp"):
        out = boxlite.sh(box, f"cd {place} && cat a/b/up && readlink a/b/up && readlink absolute && stat -c %Y a/file && ls")
        assert out.split() == ["content../file", "/etc/passwd", "1000000000", "a", "absolute", "empty"], place
    boxlite.ok("cp", "box:/root/tree", tmp_path / "out")
    assert subprocess.run(["diff", "-r", "--no-dereference", tree, tmp_path / "out"], check=False).returncode == 0
    boxlite.ok("cp", "--follow-symlinks", tree / "a" / "b" / "up", "box:/root/followed")
    assert boxlite.sh(box, "cat /root/followed; test -L /root/followed || echo file").split() == ["contentfile"]


def test_tar_streams(boxlite, tmp_path):
    box = boxlite.idle(name="box")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("dir/file")
        info.size, info.mode, info.uid, info.gid = len(ALL_BYTES), 0o640, 33, 34
        tar.addfile(info, io.BytesIO(ALL_BYTES))
    boxlite.ok("cp", "-", "box:/root", stdin=out.getvalue())
    assert boxlite.sh(box, "stat -c '%a %u %g %s' /root/dir/file").split() == ["640", "33", "34", str(len(ALL_BYTES))]
    done = boxlite.run("cp", "box:/root/dir", "-")
    assert done.code == 0, done
    with tarfile.open(fileobj=io.BytesIO(done.raw)) as tar:
        info = tar.getmember("dir/file")
        assert (info.mode, info.uid, info.gid) == (0o640, 33, 34) and tar.extractfile(info).read() == ALL_BYTES


def test_refusals_leave_no_trace(boxlite, tmp_path):
    boxlite.idle(name="box")
    (tmp_path / "file").touch()
    boxlite.fails("cp", tmp_path / "file", tmp_path / "other", code=2)
    boxlite.fails("cp", "box:/etc/passwd", "box:/tmp/x", code=2)
    done = boxlite.fails("cp", "box:/nowhere", tmp_path / "made")
    assert any(words in done.err for words in ("does not exist", "not found", "No such file")), done
    assert not (tmp_path / "made").exists()
    boxlite.fails("cp", tmp_path / "nowhere", "box:/tmp/x")
    boxlite.fails("cp", tmp_path / "file", "box:/nowhere/deep/x")
    boxlite.fails("cp", tmp_path / "file", "box:/tmp/../etc/x", says="must not contain")
    assert boxlite.sh("box", "ls /tmp") == ""


def test_box_cannot_write_beside_the_target(boxlite, tmp_path):
    """A box that plants links where a copy will land must not lead the copy out of its target."""
    box = boxlite.idle(name="box")
    boxlite.sh(box, f"mkdir -p /evil/d; ln -s {tmp_path}/secret /evil/d/link; echo pwned > /evil/file")
    (tmp_path / "secret").mkdir()
    boxlite.ok("cp", "box:/evil", tmp_path / "out")
    boxlite.sh(box, "rm -r /evil; mkdir -p /evil/d/link; echo pwned > /evil/d/link/file")
    boxlite.run("cp", "box:/evil/.", tmp_path / "out")
    assert list((tmp_path / "secret").iterdir()) == []


def test_stopped_boxes(boxlite, tmp_path):
    (tmp_path / "file").write_text("content")
    box = boxlite.ok("create", "--name", "plain", "busybox").strip()
    boxlite.ok("cp", tmp_path / "file", "plain:/root/file")  # started for the copy, then stopped
    assert boxlite.status(box) != "running"
    assert boxlite.sh(box, "cat /root/file") == "content"
    job = boxlite.ok("create", "busybox", "sh", "-c", "echo ran").strip()
    boxlite.fails("cp", tmp_path / "file", f"{job}:/root/file")
    assert boxlite.status(job) == "configured"
