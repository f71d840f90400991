# SPDX-License-Identifier: Apache-2.0
"""The images: of which layers each is made, and how it is started."""
import os
from dataclasses import dataclass, field

import trees

MODULES_DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "modules")


@dataclass
class Layer:
    name: str
    fill: callable
    debs: dict = field(default_factory=dict)
    node: bool = False
    sources: tuple = ()  # folders and files under modules/


@dataclass
class Image:
    layers: list
    entrypoint: list
    env: list = field(default_factory=list)
    cmd: list = field(default_factory=list)
    port: bool = True


PATH = "PATH=/usr/local/bin:/usr/bin:/bin"
SKELETON = Layer("skeleton", trees.skeleton)
BASE = Layer("base", trees.base, trees.BASE_DEBS)
NODE = Layer("node", trees.node, trees.NODE_DEBS, node=True)
MARIADB = Layer("mariadb", trees.mariadb, trees.MARIADB_DEBS)
PYTHON = Layer("python", trees.python, trees.PYTHON_DEBS)
BUSYBOX = Layer("busybox", trees.busybox, {"busybox-static": []})


def c_image(name, port=True, below=()):
    sources = (name, "common", "Makefile")
    layer = Layer(name, trees.c_module(name, MODULES_DIR), sources=sources)
    return Image([SKELETON, *below, layer], [f"/app/{name}"], port=port)


def web_image():
    layer = Layer("web", trees.script_module("web", MODULES_DIR, ["*.mjs", "public/*"]),
                  sources=("web",))
    # 96 MiB of heap beside node's own 45 stay under the module's limit of 192 MiB.
    return Image([SKELETON, BASE, NODE, layer],
                 ["/usr/local/bin/node", "--max-old-space-size=96", "/app/main.mjs"])


def ai_image():
    layer = Layer("ai", trees.script_module("ai", MODULES_DIR, ["*.py"]), sources=("ai",))
    return Image([SKELETON, BASE, PYTHON, layer], ["/usr/bin/python3", "/app/main.py"],
                 env=["PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1"])


MODULES = {
    "web": web_image(),
    "api": c_image("api", below=(BASE, MARIADB)),
    "order-worker": c_image("order-worker"),
    "logistics-worker": c_image("logistics-worker"),
    "payment": c_image("payment"),
    "wms": c_image("wms"),
    "ai": ai_image(),
}
TESTS = {
    "faulty": c_image("faulty", port=False),
    # As PID 1 sleep does not hear SIGTERM: stopping it takes SIGKILL.
    "busybox": Image([SKELETON, BUSYBOX], ["/bin/sleep"], cmd=["infinity"], port=False),
}
