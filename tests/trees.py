# SPDX-License-Identifier: Apache-2.0
"""
trees.py - images of chance, and what is in a tree, entry by entry: in one that umoci unpacked, and on a disk of ours

As an ordinary user umoci can't give owners, which then stand in an attribute, nor attributes of the system's, and makes empty files
for devices. As root all is compared.
"""
import hashlib
import io
import os
import pathlib
import random
import stat
import subprocess
import tarfile

import home as homes

TOOLS = homes.BUILD / "tests" / "unit"
ROOTLESS = "user.rootlesscontainers"
NOBODY = 2**32 - 1  # "as it is": root, for the one who unpacks
TIMEOUT = 300
ROOT = os.geteuid() == 0

def run(*command, **options):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT,
                          check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}"
    return done.stdout


class Layer:
    """A tar archive under construction."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, path, kind=tarfile.REGTYPE, data=b"", **fields):
        info = tarfile.TarInfo(path)
        info.type = kind
        info.size = len(data) if kind == tarfile.REGTYPE else 0
        info.mtime = fields.pop("mtime", 1500000000)
        for name, value in fields.items():
            setattr(info, name, value)
        self.tar.addfile(info, io.BytesIO(data))

    def done(self):
        self.tar.close()
        return self.bytes.getvalue()


class Chance:
    """Layers made of chance that obey the rules that real layers obey: parents come first, whiteouts name what was below."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.kinds = {}  # path: "d", "f" or "l" of what is there now
        self.serial = 0

    def time(self):
        return self.random.randrange(1, 2**31) + self.random.randrange(0, 1000) / 1000

    def directories(self):
        return [""] + sorted(path for path, kind in self.kinds.items() if kind == "d")

    def below(self, path):
        return [other for other in self.kinds if other.startswith(path + "/")]

    def forget(self, path):
        for other in self.below(path):
            del self.kinds[other]
        self.kinds.pop(path, None)

    def new_path(self):
        self.serial += 1
        parent = self.random.choice(self.directories())
        name = self.random.choice(["a", "bin", "x" * 120, "sp ace", "\u00e9\u20ac", ".hidden", "..dots"]) + str(self.serial)
        return f"{parent}/{name}".lstrip("/")

    def put(self, layer, path):
        owner = {"uid": self.random.choice([0, 0, 1, 1000, 65534, 3000000]), "gid": self.random.choice([0, 5, 100000])}
        kind = self.random.choice("ddfffffl")
        self.forget(path) if kind != "d" or self.kinds.get(path) != "d" else None
        if kind == "d":
            layer.add(path, tarfile.DIRTYPE, mode=self.random.choice([0o755, 0o700, 0o1777, 0o2755]), mtime=self.time(), **owner)
        elif kind == "l":
            layer.add(path, tarfile.SYMTYPE, linkname=self.random.choice(["target", "../" * 3 + "up", "/abs/" + "t" * 100]), mode=0o777,
                      mtime=self.time(), **owner)
        else:
            size = self.random.choice([0, 1, 100, 4095, 4096, 4097, 70000, 300000])
            extra = {"SCHILY.xattr.user.note": f"note {self.serial}"} if self.random.random() < 0.1 else {}
            layer.add(path, data=self.random.randbytes(size), mode=self.random.choice([0o644, 0o755, 0o4755, 0o600]),
                      mtime=self.time(), pax_headers=extra, **owner)
        self.kinds[path] = kind

    def link(self, layer):
        files = sorted(path for path, kind in self.kinds.items() if kind == "f")
        if files:
            path = self.new_path()
            layer.add(path, tarfile.LNKTYPE, linkname=self.random.choice(files))
            self.kinds[path] = "f"

    def layer(self, entries, first):
        layer = Layer()
        layer.add("./", tarfile.DIRTYPE, mode=0o755, mtime=self.time())
        if not first:
            for path in self.random.sample(sorted(self.kinds), len(self.kinds) // 8):
                if path in self.kinds:
                    parent, _, name = path.rpartition("/")
                    layer.add(f"{parent}/.wh.{name}".lstrip("/"))
                    self.forget(path)
            for path in [p for p in self.directories() if p and self.below(p)][:2]:
                if path not in self.kinds:
                    continue  # it was below the other
                layer.add(path, tarfile.DIRTYPE, mode=0o711, mtime=self.time())
                layer.add(f"{path}/.wh..wh..opq")
                for other in self.below(path):
                    del self.kinds[other]
        for _ in range(entries):
            choice = self.random.random()
            if choice < 0.15 and self.kinds and not first:
                self.put(layer, self.random.choice(sorted(self.kinds)))
            elif choice < 0.25:
                self.link(layer)
            else:
                self.put(layer, self.new_path())
        # Directories come last once more: their times are then what the layer says, whatever was done in them.
        for path in self.directories():
            layer.add(path or ".", tarfile.DIRTYPE, mode=0o755, mtime=self.time(), uid=7)
        return layer.done()


def make_image(folder, layers):
    """An OCI layout of layers that stay as they are."""
    layout = folder / "layout"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:made")
    for number, layer in enumerate(layers):
        path = folder / f"layer{number}.tar"
        path.write_bytes(layer)
        run("umoci", "raw", "add-layer", "--image", f"{layout}:made", path)
    return layout


def is_device(mode):
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def varints(data):
    """The numbers of a protobuf message of varint fields."""
    fields, at = {}, 0
    while at < len(data):
        values = []
        for _ in range(2):
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
            values.append(value)
        fields[values[0] >> 3] = values[1]
    return fields


def describe_host(root):
    """What umoci made: a description by path, and which paths are one file."""
    described, same = {}, {}
    for parent, directories, files in os.walk(os.fsencode(root)):
        for name in [b""] * (parent == os.fsencode(root)) + directories + files:
            path = os.path.join(parent, name) if name else parent
            status = os.lstat(path)
            attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
            owner = varints(attributes.pop(ROOTLESS, b""))
            owner = {field: 0 if value == NOBODY else value for field, value in owner.items()}
            link = stat.S_ISLNK(status.st_mode)
            key = os.fsencode("/") + os.path.relpath(path, os.fsencode(root)) if name else b""
            regular = stat.S_ISREG(status.st_mode)
            described[key] = {
                "mode": status.st_mode,
                # It stands in an attribute, which links can't have.
                "owner": (status.st_uid, status.st_gid) if ROOT else None if link else (owner.get(1, 0), owner.get(2, 0)),
                "mtime": status.st_mtime_ns,
                "target": os.readlink(path) if link else None,
                "device": (os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device(status.st_mode) else None,
                "content": hashlib.sha256(pathlib.Path(os.fsdecode(path)).read_bytes()).hexdigest() if regular else None,
                "attributes": {k: v for k, v in attributes.items() if ROOT or k.startswith("user.")},
            }
            same.setdefault((status.st_dev, status.st_ino), set()).add(key)
    return described, {frozenset(paths) for paths in same.values() if len(paths) > 1}


def describe_disk(disk):
    """The same of a disk."""
    described, same = {}, {}
    for line in run(TOOLS / "ext4-dump", disk).decode(errors="surrogateescape").rstrip("\n").split("\n"):
        path, inode, mode, uid, gid, links, _, mtime, device, target, content, attributes = line.split("\t")
        mode = int(mode, 8)
        link = stat.S_ISLNK(mode)
        pairs = dict(word.split("=") for word in attributes.split(",") if word)
        described[bytes.fromhex(path)] = {
            "mode": mode,
            "owner": None if link and not ROOT else (int(uid), int(gid)),
            "mtime": int(mtime),
            "target": bytes.fromhex(target) if link else None,
            "device": tuple(map(int, device.split(":"))) if is_device(mode) else None,
            "content": content or None,
            "attributes": {name: bytes.fromhex(value) for name, value in pairs.items()},
        }
        same.setdefault(inode, set()).add((bytes.fromhex(path), int(links)))
    groups = {frozenset(path for path, _ in names) for names in same.values() if len(names) > 1}
    for names in same.values():  # links are counted right
        for path, links in names:
            assert stat.S_ISDIR(described[path]["mode"]) or links == len(names)
    return described, groups


def as_umoci_sees(ours):
    """Our description, as an ordinary user's umoci can make it. Return: a copy"""
    if ROOT:
        return ours
    seen = {}
    for path, entry in ours.items():
        entry = {**entry, "attributes": {name: value for name, value in entry["attributes"].items() if name.startswith("user.")}}
        if is_device(entry["mode"]):
            entry |= {"mode": stat.S_IFREG | stat.S_IMODE(entry["mode"]), "device": None, "content": hashlib.sha256(b"").hexdigest()}
        seen[path] = entry
    return seen


def unpack(layout, bundle):
    """Has umoci unpack an image ("folder:tag"). Return: (descriptions, links)"""
    run("umoci", "unpack", *([] if ROOT else ["--rootless"]), "--image", layout, bundle)
    found = describe_host(bundle / "rootfs")
    subprocess.run(["chmod", "-R", "u+rwX", bundle], check=False)
    return found


def check_equal(disk, theirs, their_links):
    """Fails when a disk is not what umoci made of the same image. Return: what is on the disk"""
    ours, our_links = describe_disk(disk)
    seen = as_umoci_sees(ours)
    assert sorted(seen) == sorted(theirs)
    different = [f"{path!r}: {name} is {seen[path][name]!r}, with umoci {theirs[path][name]!r}"
                 for path in seen for name in seen[path] if seen[path][name] != theirs[path][name]]
    assert not different, "\n".join(different[:20])
    assert our_links == their_links
    return ours
