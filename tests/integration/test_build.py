# SPDX-License-Identifier: Apache-2.0
"""What the build makes beside the programs: the initramfs, the embedded image, the cache; and that set-up only says what to do
when it may not do it."""
import hashlib
import io
import json
import os
import pathlib
import select
import subprocess
import tarfile

TREE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BOXLITE_BUILD") or TREE / "build")
SCRIPTS = TREE / "scripts"
DEADLINE_S = 120


def run(*command, check=True, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE_S, check=check, **more)


def unpack_cpio(data):
    """Returns {name: (mode, content, device)} of the archives in `data`, which follow one another, and checks their shape."""
    entries, at = {}, 0
    while at < len(data):
        if data[at] == 0:
            at += 1
            continue
        assert data[at : at + 6] == b"070701", f"no header at {at}"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        _, mode, uid, gid, _, mtime, size, _, _, major, minor, length, _ = fields
        name = data[at + 110 : at + 110 + length - 1].decode()
        at = (at + 110 + length + 3) & ~3
        content = data[at : at + size]
        assert len(content) == size and (uid, gid, mtime) == (0, 0, 0)
        at = (at + size + 3) & ~3
        if name != "TRAILER!!!":
            assert name not in entries
            entries[name] = (mode, content, (major, minor))
    return entries


def test_initramfs_holds_the_agent_and_a_console():
    entries = unpack_cpio((BUILD / "guest" / "tuned" / "initramfs").read_bytes())
    assert entries["init"][0] == 0o100755 and entries["init"][1].startswith(b"\x7fELF")
    assert entries["dev/console"][0] == 0o020600 and entries["dev/console"][2] == (5, 1)
    assert not [name for name in entries if name.startswith("modules")]


def test_stock_initramfs_lists_modules_after_what_they_need():
    entries = unpack_cpio((BUILD / "guest" / "stock" / "initramfs").read_bytes())
    order = entries["modules/order"][1].decode().splitlines()
    assert sorted(f"modules/{name}" for name in order) == sorted(n for n in entries if n.endswith(".ko"))
    # Which of the two needs the other differs between releases of the kernel; the loop below reads it from the modules.
    assert max(order.index("virtio_ring.ko"), order.index("virtio.ko")) < order.index("virtio_mmio.ko")
    seen = set()
    for name in order:
        content = entries[f"modules/{name}"][1]
        depends = content.split(b"\0depends=")[1].split(b"\0")[0].decode()
        assert set(filter(None, depends.split(","))) <= seen, f"{name} comes before what it needs"
        seen.add(name[: -len(".ko")])


def test_initramfs_is_reproducible(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.ko").write_bytes(b"x" * 5)
        run(SCRIPTS / "make-initramfs", "--modules", tmp_path / name, "--init", "/bin/true", "--output", tmp_path / f"{name}.cpio")
        os.utime(tmp_path / name / "x.ko", (1, 1))
    assert (tmp_path / "a.cpio").read_bytes() == (tmp_path / "b.cpio").read_bytes()


def test_embedded_image_is_sound(tmp_path):
    archive = BUILD / "images" / "busybox.tar"
    shown = json.loads(run("skopeo", "inspect", "--tmpdir", tmp_path, f"oci-archive:{archive}").stdout)
    assert (shown["Os"], shown["Architecture"]) == ("linux", "amd64") and any(e.startswith("PATH=") for e in shown["Env"])

    with tarfile.open(archive) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    for name, content in files.items():
        if name.startswith("blobs/sha256/"):
            assert name.endswith(hashlib.sha256(content).hexdigest())
    (manifest,) = json.loads(files["index.json"])["manifests"]
    assert manifest["annotations"]["org.opencontainers.image.ref.name"] == "docker.io/library/busybox:latest"
    layer = json.loads(files["blobs/sha256/" + manifest["digest"].split(":")[1]])["layers"][0]["digest"].split(":")[1]
    with tarfile.open(fileobj=io.BytesIO(files[f"blobs/sha256/{layer}"])) as tar:
        root = {member.name: member for member in tar}
        passwd = tar.extractfile("etc/passwd").read().decode()
    assert root["tmp"].mode == 0o1777 and root["bin/sh"].linkname == "/bin/busybox" and root["usr/bin/env"].issym()
    assert "root:x:0:0:" in passwd and "nobody:x:65534:" in passwd
    assert not root["bin/busybox"].issym() and root["bin/busybox"].mode == 0o755


def cached(directory, body):
    """Runs in_cache of the scripts with a function that is `body`."""
    script = f'set -euo pipefail; . "{SCRIPTS}/common.sh"; make_it() {{ {body}\n}}; in_cache "{directory}" key make_it'
    return subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def test_cache_makes_a_thing_once_though_two_ask(tmp_path):
    # Each maker takes its turn at a fifo, so that both are in in_cache while the first one works.
    log, fifo = tmp_path / "log", tmp_path / "fifo"
    os.mkfifo(fifo)
    body = f'echo made >>"{log}"; cat "{fifo}" >"$1/result/thing"'
    makers = [cached(tmp_path, body)]
    with open(fifo, "w", encoding="ascii") as go:  # opens when the first maker is at work
        makers.append(cached(tmp_path, body))
        assert select.select([makers[1].stderr], [], [], DEADLINE_S)[0], "the second one neither waits nor says so"
        assert b"waiting" in makers[1].stderr.readline()
        go.write("content")
    for maker in makers:
        assert maker.wait(DEADLINE_S) == 0, maker.stderr.read()
        maker.stdout.close()
        maker.stderr.close()
    assert log.read_text() == "made\n"
    assert (tmp_path / "key" / "thing").read_text() == "content"
    assert not list(tmp_path.glob(".work*"))


def test_cache_replaces_what_is_damaged_or_was_left_half_made(tmp_path):
    (tmp_path / ".work.key.dead").mkdir()
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "thing").write_text("without a list of checksums")
    for content in ("one", "two"):
        maker = cached(tmp_path, f'printf {content} >"$1/result/thing"')
        _, errors = maker.communicate(timeout=DEADLINE_S)
        assert maker.returncode == 0, errors
        assert (tmp_path / "key" / "thing").read_text() == content
        (tmp_path / "key" / "thing").write_text("bits rotted")
    assert not list(tmp_path.glob(".work*"))


def test_cache_keeps_nothing_of_a_failed_maker(tmp_path):
    maker = cached(tmp_path, 'touch "$1/result/thing"; false')
    maker.communicate(timeout=DEADLINE_S)
    assert maker.returncode != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.lock"]


def test_kernel_build_refuses_what_kconfig_dropped(tmp_path):
    (tmp_path / "fragment").write_text("# words\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not set\n")
    script = (f'. "{SCRIPTS}/common.sh"; eval "$(sed -n "/^check_config()/,/^}}/p" "{SCRIPTS}/build-kernel")"; fragment=fragment; '
              "check_config config")
    for config, wrong in (("CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n", []),
                          ("CONFIG_A=y\n# CONFIG_B is not set\n", ["CONFIG_B=y"]),
                          ("CONFIG_A=y\nCONFIG_B=y\nCONFIG_D=y\n", ["# CONFIG_D is not set"])):
        (tmp_path / "config").write_text(config)
        done = run("bash", "-c", script, check=False, cwd=tmp_path, text=True)
        assert (done.returncode != 0) == bool(wrong)
        assert [line.split(": ", 1)[1] for line in done.stderr.splitlines() if line.startswith("not in")] == wrong


def test_setup_without_root_names_packages_and_installs_nothing(tmp_path):
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\necho 'ii gcc'\n")
    (tmp_path / "apt-get").write_text('#!/bin/sh\ntouch "$0.called"\n')
    for name in ("dpkg-query", "apt-get"):
        (tmp_path / name).chmod(0o755)
    done = run(SCRIPTS / "setup", "run", "--dry-run", check=False, text=True, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode != 0 and "apt-get install --no-install-recommends" in done.stderr
    words = done.stderr.split()
    assert "meson" in words and "gcc" not in words
    assert not (tmp_path / "apt-get.called").exists()
