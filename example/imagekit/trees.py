# SPDX-License-Identifier: Apache-2.0
"""The file trees that become layers. Each function fills an empty folder."""
import os
import shutil
import subprocess

import packages
from packages import TRIPLET

LIBC = ["ld-linux*", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1",
        "libutil.so.1", "libresolv.so.2", "libnss_dns.so.2", "libnss_files.so.2"]
BASE_DEBS = {
    "libc6": [f"lib/{TRIPLET}/{name}" for name in LIBC] + ["lib64/*", "lib/ld-linux-*"],
    "libgcc-s1": [f"lib/{TRIPLET}/*"],
    "gcc-12-base": [],  # the licence of both gcc libraries
}
NODE_DEBS = {"libstdc++6": [f"usr/lib/{TRIPLET}/libstdc++.so.*"]}
# What `api` is linked to; its plug-ins are the ways to prove a password that are not built in.
MARIADB_DEBS = {
    "libmariadb3": [f"usr/lib/{TRIPLET}/libmariadb.so.*"]
    + [f"usr/lib/{TRIPLET}/libmariadb3/plugin/{name}.so"
       for name in ("client_ed25519", "caching_sha2_password")],
    "libssl3": [f"usr/lib/{TRIPLET}/libssl.so.*", f"usr/lib/{TRIPLET}/libcrypto.so.*"],
    "zlib1g": [f"lib/{TRIPLET}/libz.so.*"],
}
PYTHON_DEBS = {
    "zlib1g": [f"lib/{TRIPLET}/libz.so.*"],
    "libexpat1": [f"lib/{TRIPLET}/libexpat.so.*"],
    "python3.11-minimal": ["usr/bin/python3.11"],
    "libpython3.11-minimal": ["usr/lib/python3.11/*"],
    "libpython3.11-stdlib": ["usr/lib/python3.11/*"],
}
# What no server needs, and extensions whose libraries are not in the image.
PYTHON_UNWANTED = [f"usr/lib/python3.11/{name}" for name in (
    "sitecustomize.py", "*/__pycache__/*", "__pycache__/*", "LICENSE.txt", "test/*", "*/test/*",
    "asyncio/*", "ctypes/*", "curses/*", "dbm/*", "distutils/*", "idlelib/*", "lib2to3/*",
    "multiprocessing/*", "pydoc*", "sqlite3/*", "tkinter/*", "turtle*", "unittest/*", "venv/*",
    "wsgiref/*", "xmlrpc/*", "encodings/cp*", "encodings/mac*", "encodings/iso*", "encodings/koi*",
    *(f"lib-dynload/{name}.*" for name in (
        "_asyncio", "_bz2", "_codecs_*", "_crypt", "_ctypes*", "_curses*", "_dbm", "_decimal",
        "_hashlib", "_lzma", "_multi*", "_sqlite3", "_ssl", "_test*", "_tkinter", "_uuid", "_xx*",
        "nis", "ossaudiodev", "readline", "xx*")))]
FILES = {
    "etc/passwd": "root:x:0:0:root:/:/sbin/nologin\nmodule:x:1000:1000:module:/tmp:/sbin/nologin\n",
    "etc/group": "root:x:0:\nmodule:x:1000:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
    # Empty: places for what the platform binds there, since the root is read-only.
    "etc/hosts": "", "etc/hostname": "", "etc/resolv.conf": "",
}
FOLDERS = ["dev", "proc", "run", "sys", "tmp"]


def skeleton(tree, _cache):
    for name in FOLDERS:
        os.mkdir(os.path.join(tree, name))
    os.mkdir(os.path.join(tree, "etc"))
    for name, text in FILES.items():
        with open(os.path.join(tree, name), "w", encoding="utf-8") as f:
            f.write(text)


def unpack_all(debs, tree, cache, unwanted=()):
    for name, wanted in debs.items():
        packages.unpack_deb(packages.deb(cache, name), tree, wanted, unwanted)


def base(tree, cache):
    unpack_all(BASE_DEBS, tree, cache)


def node(tree, cache):
    unpack_all(NODE_DEBS, tree, cache)
    packages.unpack_node(packages.node_tarball(cache), tree)


def mariadb(tree, cache):
    unpack_all(MARIADB_DEBS, tree, cache)


def python(tree, cache):
    unpack_all(PYTHON_DEBS, tree, cache, PYTHON_UNWANTED)
    library = os.path.join(tree, "usr/lib/python3.11")
    compile_python(tree, library)
    # Bytecode alone: half the size, and nothing is compiled at each start on a read-only root.
    for folder, _, files in os.walk(library):
        for name in files:
            if name.endswith(".py"):
                os.unlink(os.path.join(folder, name))
    os.symlink("python3.11", os.path.join(tree, "usr/bin/python3"))


def compile_python(tree, folder):
    """.pyc beside each .py; by content and not by time, so that the same source gives the same."""
    env = {"PYTHONHOME": os.path.join(tree, "usr"), "PYTHONHASHSEED": "0"}
    python3 = os.path.join(tree, "usr/bin/python3.11")
    packages.run([python3, "-B", "-S", "-m", "compileall", "-q", "-b", "--invalidation-mode",
                  "unchecked-hash", "-s", tree, "-p", "/", folder],
                 "the image's python does not run here", env=env)


def busybox(tree, cache):
    packages.unpack_deb(packages.deb(cache, "busybox-static"), tree, ["bin/busybox"])
    names = subprocess.run([os.path.join(tree, "bin/busybox"), "--list"], check=True,
                           capture_output=True, text=True).stdout.split()
    for name in names:
        if name != "busybox":
            os.symlink("busybox", os.path.join(tree, "bin", name))


def c_module(name, modules):
    def build(tree, _cache):
        # Never in a shared cache: make goes by time, and would take another checkout's binary.
        out = os.path.join(modules, "..", ".cache", "bin")
        packages.run(["make", "-s", "-C", modules, f"OUT={out}", f"{out}/{name}"],
                     "gcc, make, libc6-dev and libmariadb-dev are needed")
        os.mkdir(os.path.join(tree, "app"))
        shutil.copy2(os.path.join(out, name), os.path.join(tree, "app", name))
    return build


def script_module(name, modules, suffixes):
    def build(tree, _cache):
        packages.keep(os.path.join(modules, name), os.path.join(tree, "app"), suffixes,
                      ["test.*", "__pycache__/*"])
    return build
