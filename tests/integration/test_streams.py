# SPDX-License-Identifier: Apache-2.0
"""test_streams.py - pipes into and out of a box: binary, at full speed, both ways at once, with readers that do not read"""
import hashlib
import os
import subprocess
import tarfile
import threading

MIB = 1 << 20


def blocks(count):
    """@count MiB that differ from each other, cheaply."""
    block = bytearray(os.urandom(MIB))
    for number in range(count):
        block[:8] = number.to_bytes(8, "little")
        yield bytes(block)


def feed(process, count, digest):
    try:
        for block in blocks(count):
            digest.update(block)
            process.stdin.write(block)
    finally:
        process.stdin.close()


def test_two_hundred_megabytes_both_ways_at_once(boxlite):
    box = boxlite.idle()
    sent, came = hashlib.sha256(), hashlib.sha256()
    process = boxlite.start("exec", "-i", box, "--", "cat")
    writer = threading.Thread(target=feed, args=(process, 200, sent))
    writer.start()
    length = 0
    while block := process.stdout.read(MIB):
        came.update(block)
        length += len(block)
    writer.join()
    assert process.wait(60) == 0 and process.stderr.read() == b""
    assert length == 200 * MIB and came.digest() == sent.digest()


def test_slow_reader_delays_nobody_else(boxlite):
    box = boxlite.idle()
    process = boxlite.start("exec", box, "--", "sh", "-c", f"head -c {64 * MIB} /dev/zero; echo done >&2")
    first = process.stdout.read(MIB)  # it has begun, and from now on nobody reads
    for _ in range(3):
        assert boxlite.ok("exec", box, "--", "echo", "still there") == "still there\n"
    rest = process.stdout.read()
    assert len(first) + len(rest) == 64 * MIB and not any(rest[-MIB:])
    assert process.stderr.read() == b"done\n" and process.wait(60) == 0


def test_end_of_input_is_passed_on(boxlite):
    box = boxlite.idle()
    done = boxlite.exec(box, "sh", "-c", "cat; echo after", options=("-i",), stdin=b"\0\1binary\xff\n")
    assert (done.code, done.raw) == (0, b"\0\1binary\xff\nafter\n"), done
    # Without -i nothing is read, and a command that reads finds the end at once.
    done = boxlite.exec(box, "cat", stdin=b"not for it")
    assert (done.code, done.raw) == (0, b""), done
    done = boxlite.run("run", "--rm", "-i", "busybox", "wc", "-c", stdin=b"x" * 100000)
    assert (done.code, done.out.strip()) == (0, "100000"), done


def test_command_that_stops_reading(boxlite):
    box = boxlite.idle()
    process = boxlite.start("exec", "-i", box, "--", "head", "-c", "3")
    digest = hashlib.sha256()

    def feed_quietly():
        try:
            feed(process, 20, digest)
        except BrokenPipeError:
            pass  # the command is gone, and said so

    writer = threading.Thread(target=feed_quietly)
    writer.start()
    assert len(process.stdout.read()) == 3 and process.wait(60) == 0
    writer.join()


def test_reader_that_goes_away(boxlite):
    box = boxlite.idle()
    process = boxlite.start("exec", box, "--", "yes")
    assert process.stdout.read(2) == b"y\n"
    process.stdout.close()
    assert process.wait(60) != 0
    assert "yes" not in boxlite.sh(box, "ps -o comm").split()


def test_streams_are_apart(boxlite):
    box = boxlite.idle()
    done = boxlite.exec(box, "sh", "-c", "for i in 1 2 3; do echo out$i; echo err$i >&2; done")
    assert (done.raw, done.raw_err) == (b"out1\nout2\nout3\n", b"err1\nerr2\nerr3\n")


def test_tar_through_a_pipe(boxlite, tmp_path):
    box = boxlite.idle()
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep" / "er").mkdir(parents=True)
    target.mkdir()
    for number in range(50):
        (source / "deep" / f"file{number}").write_bytes(os.urandom(5000))
    (source / "deep" / "er" / "link").symlink_to("../file1")
    tar = subprocess.Popen(["tar", "c", "-C", source, "."], stdout=subprocess.PIPE)
    boxlite.sh(box, "mkdir /there")
    done = boxlite.exec(box, "tar", "x", "-C", "/there", options=("-i",), stdin=tar.stdout)
    assert done.code == 0 and tar.wait() == 0, done
    out = tmp_path / "out.tar"
    out.write_bytes(boxlite.exec(box, "tar", "c", "-C", "/there", ".").raw)
    with tarfile.open(out) as archive:
        archive.extractall(target)
    assert subprocess.run(["diff", "-r", "--no-dereference", source, target], check=False).returncode == 0
