# SPDX-License-Identifier: Apache-2.0
"""OCI image layouts: deterministic layer tars, config, manifest, index (image-spec 1.0)."""
import hashlib
import json
import os
import stat
import subprocess
import tarfile

MEDIA = "application/vnd.oci.image."
INPUTS = "com.reindeers.inputs"  # the digest of everything an image was made from
NAME = "org.opencontainers.image.ref.name"
EPOCH = "1970-01-01T00:00:00Z"

# Measured with bsdtar on the layer that decides, node: size of the blob, unpack + its sha256
#   none      86 MB  0.09 + 0.49 s
#   gzip -1   36 MB  0.46 + 0.20 s
#   zstd -3   31 MB  0.15 + 0.18 s
#   zstd -19  25 MB  0.27 + 0.14 s, but 34 s to make
# so zstd -3 stands first, and is small to copy between hosts. skopeo and libarchive read it; for
# older tools (Debian 12's umoci, Docker before 23) there is --compress gzip.
COMPRESS = {
    "zstd": ("tar+zstd", ["zstd", "-q", "-3", "-T1", "-c"]),
    "gzip": ("tar+gzip", ["gzip", "-n", "-1", "-c"]),
    "none": ("tar", None),
}
PLAIN_MAX = 64 * 1024  # a layer of that size gains nothing by being compressed
MODES = {"tmp": 0o1777}  # all other folders 0755, files 0644 or 0755


def sha256_file(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def entry(tree, path):
    info = tarfile.TarInfo(os.path.relpath(path, tree))
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
    elif stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, MODES.get(info.name, 0o755)
    else:
        info.size = status.st_size
        info.mode = 0o755 if status.st_mode & 0o100 else 0o644
    return info  # TarInfo's own defaults are owner 0:0 and mtime 0


def walk(tree):
    for folder, folders, files in os.walk(tree):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted(set(files) | set(folders)):
            yield os.path.join(folder, name)
        folders[:] = [name for name in folders if name not in links]


def write_tar(tree, out):
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(walk(tree)):
            info = entry(tree, path)
            if info.isreg():
                with open(path, "rb") as f:
                    tar.addfile(info, f)
            else:
                tar.addfile(info)


def write_layer(tree, blob, compress):
    """Packs `tree` into the file `blob`; the layer's description."""
    tar = blob + ".tar"
    write_tar(tree, tar)
    diff_id = "sha256:" + sha256_file(tar)
    media, command = COMPRESS["none" if os.path.getsize(tar) <= PLAIN_MAX else compress]
    if command:
        with open(blob, "wb") as out:
            subprocess.run([*command, tar], stdout=out, check=True)
        os.unlink(tar)
    else:
        os.rename(tar, blob)
    return {"mediaType": MEDIA + "layer.v1." + media, "digest": "sha256:" + sha256_file(blob),
            "size": os.path.getsize(blob), "diff_id": diff_id}


def dump(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Layout:
    """One image layout folder. index.json is written last: until then the old image stands."""

    def __init__(self, folder):
        self.folder = folder
        self.blobs = os.path.join(folder, "blobs", "sha256")
        self.kept = set()

    def inputs(self):
        """What the image here was made from, or None."""
        try:
            with open(os.path.join(self.folder, "index.json"), encoding="utf-8") as f:
                return json.load(f)["manifests"][0]["annotations"].get(INPUTS)
        except (OSError, ValueError, LookupError):
            return None

    def put(self, data, media):
        digest = hashlib.sha256(data).hexdigest()
        self.replace(os.path.join(self.blobs, digest), data)
        self.kept.add(digest)
        return {"mediaType": media, "digest": "sha256:" + digest, "size": len(data)}

    def put_layer(self, layer, blob):
        digest = layer["digest"].removeprefix("sha256:")
        target = os.path.join(self.blobs, digest)
        self.kept.add(digest)
        if not os.path.exists(target):
            try:
                os.link(blob, target)  # a blob never changes, so one copy serves all images
            except OSError:  # another filesystem
                with open(blob, "rb") as f:
                    self.replace(target, f.read())
        return {key: layer[key] for key in ("mediaType", "digest", "size")}

    @staticmethod
    def replace(path, data):
        with open(path + ".new", "wb") as f:
            f.write(data)
        os.rename(path + ".new", path)

    def write(self, layers, config, architecture, inputs):
        """layers: [(description, blob file, what made it)]."""
        os.makedirs(self.blobs, exist_ok=True)
        described = [self.put_layer(layer, blob) for layer, blob, _ in layers]
        config = self.put(dump({
            "created": EPOCH, "architecture": architecture, "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer["diff_id"] for layer, _, _ in layers]},
            "history": [{"created": EPOCH, "created_by": made_by} for _, _, made_by in layers],
        }), MEDIA + "config.v1+json")
        manifest = self.put(dump({
            "schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json",
            "config": config, "layers": described,
        }), MEDIA + "manifest.v1+json")
        manifest["platform"] = {"architecture": architecture, "os": "linux"}
        manifest["annotations"] = {NAME: "latest", INPUTS: inputs}
        self.replace(os.path.join(self.folder, "oci-layout"), dump({"imageLayoutVersion": "1.0.0"}))
        self.replace(os.path.join(self.folder, "index.json"),
                     dump({"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json",
                           "manifests": [manifest]}))
        for name in set(os.listdir(self.blobs)) - self.kept:
            os.unlink(os.path.join(self.blobs, name))
        return sum(layer["size"] for layer in described)
