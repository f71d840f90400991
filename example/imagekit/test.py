#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The image builder, without network: layers, layouts, and one real image of a C module."""
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "testkit")]
import images
import modtest
import oci

BUILD = os.path.join(HERE, "..", "build-images.sh")


def make_tree(folder, order, mtime):
    for name in order:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(name)
        os.utime(path, (mtime, mtime))
    os.chmod(os.path.join(folder, "bin/run"), 0o700)
    os.makedirs(os.path.join(folder, "tmp"))
    os.symlink("bin", os.path.join(folder, "sbin"))


def layer_is_deterministic():
    names = ["bin/run", "etc/a", "etc/b.d/c"]
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        make_tree(a + "/tree", names, 1)
        make_tree(b + "/tree", names[::-1], 1e9)
        one = oci.write_layer(a + "/tree", a + "/blob", "zstd")
        assert one == oci.write_layer(b + "/tree", b + "/blob", "zstd")
        assert one["mediaType"].endswith(".tar"), "too small to be worth compressing"
        with tarfile.open(a + "/blob") as tar:
            members = {m.name: m for m in tar}
        assert list(members) == ["bin", "bin/run", "etc", "etc/a", "etc/b.d", "etc/b.d/c", "sbin",
                                 "tmp"], list(members)
        assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, 0)}
        assert members["bin/run"].mode == 0o755 and members["etc/a"].mode == 0o644
        assert members["tmp"].mode == 0o1777 and members["sbin"].linkname == "bin"


def read_blob(folder, described):
    path = os.path.join(folder, "blobs/sha256", described["digest"].removeprefix("sha256:"))
    with open(path, "rb") as f:
        data = f.read()
    assert len(data) == described["size"], described
    assert "sha256:" + hashlib.sha256(data).hexdigest() == described["digest"], described
    return data


def inflate(data, media):
    if media.endswith("+zstd"):
        return subprocess.run(["zstd", "-dc"], input=data, check=True, capture_output=True).stdout
    return gzip.decompress(data) if media.endswith("+gzip") else data


def check_layout(folder):
    """Follows every digest from index.json down; the manifest and the config."""
    with open(os.path.join(folder, "index.json"), encoding="utf-8") as f:
        index = json.load(f)
    entry, = index["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "latest"
    manifest = json.loads(read_blob(folder, entry))
    config = json.loads(read_blob(folder, manifest["config"]))
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        tar = inflate(read_blob(folder, layer), layer["mediaType"])
        assert "sha256:" + hashlib.sha256(tar).hexdigest() == diff_id
        assert tarfile.open(fileobj=io.BytesIO(tar)).getnames()
    named = {one["digest"][7:] for one in (entry, manifest["config"], *manifest["layers"])}
    assert set(os.listdir(os.path.join(folder, "blobs/sha256"))) == named, "stray blobs"
    return manifest, config


def build(*arguments):
    done = subprocess.run([BUILD, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def builds_a_module():
    with tempfile.TemporaryDirectory() as out:
        faulty = os.path.join(out, "faulty")
        for compress, media in (("zstd", "tar+zstd"), ("gzip", "tar+gzip"), ("none", "tar")):
            arguments = ("--compress", compress, "--test-images", out, "faulty")
            assert build(*arguments).endswith("built\n")
            manifest, config = check_layout(faulty)
            assert manifest["layers"][1]["mediaType"].endswith("layer.v1." + media), manifest
            assert config["config"]["User"] == "1000:1000", config
            assert config["config"]["Entrypoint"] == ["/app/faulty"], config
            assert build(*arguments) == "faulty: up to date\n"


def bad_arguments():
    for arguments in (["api"], ["out", "nothing"], ["--compress", "x"]):
        done = subprocess.run([BUILD, *arguments], capture_output=True, check=False)
        assert done.returncode == 2, (arguments, done)


def declared_images_are_built():
    folder = os.path.join(HERE, "..")
    names = [name for name in os.listdir(folder) if re.fullmatch(r"platform.*\.yaml", name)]
    assert len(names) == 3, names
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            declared = re.findall(r"image: oci:images/(\S+)", f.read())
        assert declared and set(declared) <= set(images.MODULES), (name, declared)


modtest.run({
    "images: layer is deterministic": layer_is_deterministic,
    "images: builds a module": builds_a_module,
    "images: bad arguments": bad_arguments,
    "images: declared images are built": declared_images_are_built,
})
