# SPDX-License-Identifier: Apache-2.0
"""oci.py - makes images for tests, byte by byte: layouts, archives of both kinds, and everything that can be wrong with them"""
import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

import home as homes

OCI = "application/vnd.oci.image."
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def encode(value):
    return json.dumps(value).encode()


def compress(content, how):
    """how: None, "gzip" or "zstd"."""
    if how == "gzip":
        return gzip.compress(content, 1, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-1", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout
    return content


def member(name, kind=tarfile.REGTYPE, mode=0o644, size=0, link="", uid=0, gid=0, **more):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname, info.uid, info.gid = kind, mode, size, link, uid, gid
    for key, value in more.items():
        setattr(info, key, value)
    return info


def layer(*members):
    """An uncompressed layer: of TarInfo, or of pairs (TarInfo or name, content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item in members:
            info, content = item if isinstance(item, tuple) else (item, b"")
            if isinstance(info, str):
                info = member(info)
            content = content.encode() if isinstance(content, str) else content
            if info.type == tarfile.REGTYPE and info.size == 0:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def busybox_layer():
    """The layer of the embedded image: what makes an image of ours able to run a shell."""
    with tarfile.open(homes.BUILD / "images" / "busybox.tar") as archive:
        files = {info.name: archive.extractfile(info).read() for info in archive if info.isfile()}

    def blob(descriptor):
        return files["blobs/" + descriptor["digest"].replace(":", "/")]

    manifest = json.loads(blob(json.loads(files["index.json"])["manifests"][0]))
    return blob(manifest["layers"][0])


class Layout:
    """An OCI image layout in memory; files may be spoilt before it is written."""

    def __init__(self):
        self.files = {"oci-layout": encode({"imageLayoutVersion": "1.0.0"})}
        self.manifests = []

    def blob(self, media_type, content, **more):
        self.files["blobs/" + digest(content).replace(":", "/")] = content
        return {"mediaType": OCI + media_type, "digest": digest(content), "size": len(content), **more}

    def add(self, layers, config=None, name="test:latest", how=None, architecture="amd64", spoil=None):
        """
        Adds an image of uncompressed layers. how: their compression; name: None for none
        spoil: called with the manifest before it becomes a blob
        """
        suffix = {None: "tar", "gzip": "tar+gzip", "zstd": "tar+zstd"}[how]
        document = {"architecture": architecture, "os": "linux", "config": {"Env": [PATH], "Cmd": ["sh"], **(config or {})},
                    "rootfs": {"type": "layers", "diff_ids": [digest(content) for content in layers]}}
        manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                    "config": self.blob("config.v1+json", encode(document)),
                    "layers": [self.blob("layer.v1." + suffix, compress(content, how)) for content in layers]}
        if spoil:
            spoil(manifest)
        named = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        descriptor = self.blob("manifest.v1+json", encode(manifest), platform={"architecture": architecture, "os": "linux"}, **named)
        self.manifests.append(descriptor)
        return descriptor

    def finished(self):
        index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": self.manifests}
        return {**self.files, "index.json": encode(index)}

    def write(self, folder):
        """Writes the layout as a directory. Return: its path"""
        for name, content in self.finished().items():
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return pathlib.Path(folder)

    def archive(self, path, how=None):
        """Writes the layout as an oci-archive. Return: its path"""
        pathlib.Path(path).write_bytes(compress(pack(self.finished()), how))
        return pathlib.Path(path)


def pack(files):
    return layer(*sorted(files.items()))


def docker_archive(path, layers, config=None, tags=("test:latest",), how=None):
    """Writes what `docker save` writes. Return: its path"""
    document = encode({"architecture": "amd64", "os": "linux", "config": {"Env": [PATH], "Cmd": ["sh"], **(config or {})},
                       "rootfs": {"type": "layers", "diff_ids": [digest(content) for content in layers]}})
    name = digest(document)[7:] + ".json"
    files = {name: document}
    names = []
    for content in layers:
        names.append(f"{digest(content)[7:]}/layer.tar")
        files[names[-1]] = content
    files["manifest.json"] = encode([{"Config": name, "RepoTags": list(tags), "Layers": names}])
    pathlib.Path(path).write_bytes(compress(pack(files), how))
    return pathlib.Path(path)
