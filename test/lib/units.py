# SPDX-License-Identifier: Apache-2.0
"""Small OCI images out of busybox, and an agent alone: the test plays its control."""
import contextlib
import gzip
import hashlib
import io
import json
import os
import select
import signal
import subprocess
import tarfile
import time

import role

BINARY = os.environ.get("MCP_BINARY", os.path.join(os.path.dirname(__file__), "../../build/mcp"))
PATIENCE_S = 60
APPLETS = "sh sleep echo httpd cat ls id kill head yes true false mkdir touch dd wc stat".split()


def entry(name, data=None, kind="f", mode=0o644, **attributes):
    info = tarfile.TarInfo(name)
    info.mode = mode
    info.type = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE,
                 "c": tarfile.CHRTYPE}[kind]
    if kind in "lh":
        info.linkname = data
        data = None
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, data


def layer(*entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            info.size = len(data) if data is not None else 0
            tar.addfile(info, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


def busybox():
    with open("/bin/busybox", "rb") as f:
        binary = f.read()
    return layer(entry("bin", kind="d", mode=0o755), entry("bin/busybox", binary, mode=0o755),
                 *[entry(f"bin/{a}", "busybox", "l") for a in APPLETS],
                 entry("etc", kind="d", mode=0o755),
                 entry("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"))


class Image:
    """Blobs in memory; put() writes them where an image store or a layout has them."""

    def __init__(self, *layers, cmd=("/bin/sh",), **config):
        self.blobs = {}
        descriptors, diff_ids = [], []
        for raw in layers:
            diff_ids.append("sha256:" + hashlib.sha256(raw).hexdigest())
            descriptors.append(self._blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(raw, 1)))
        config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": list(cmd), **config},
                  "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self._blob("application/vnd.oci.image.config.v1+json", json.dumps(config).encode()),
                    "layers": descriptors}
        self.descriptor = self._blob(manifest["mediaType"], json.dumps(manifest).encode())
        self.digest = self.descriptor["digest"]

    def _blob(self, media, data):
        name = hashlib.sha256(data).hexdigest()
        self.blobs[name] = data
        return {"mediaType": media, "digest": "sha256:" + name, "size": len(data)}

    def put(self, root):
        os.makedirs(f"{root}/blobs/sha256", exist_ok=True)
        for name, data in self.blobs.items():
            with open(f"{root}/blobs/sha256/{name}", "wb") as f:
                f.write(data)
        return self

    def layout(self, folder):
        """An OCI layout, as `image: oci:FOLDER` names it."""
        self.put(folder)
        with open(f"{folder}/oci-layout", "w", encoding="utf-8") as f:
            f.write('{"imageLayoutVersion":"1.0.0"}')
        named = {**self.descriptor, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
        with open(f"{folder}/index.json", "w", encoding="utf-8") as f:
            json.dump({"schemaVersion": 2, "manifests": [named]}, f)
        return folder


def spec(name, image=None, command=None, **changes):
    unit = {"name": name, "kind": "module", "module": name.rsplit("-", 1)[0], "runtime": "oci",
            "image": image.digest if image else None, "command": command, "env": {}, "port": 0,
            "probe": {"kind": "none", "path": "/", "command": None, "interval_ms": 100, "timeout_ms": 1000,
                      "start_timeout_ms": 20000, "failures": 3},
            "limits": {"memory_bytes": 64 << 20, "cpu_milli": 0, "pids": 64}, "stop_timeout_ms": 300,
            "standby": False}
    unit["probe"].update(changes.pop("probe", {}))
    unit["limits"].update(changes.pop("limits", {}))
    unit.update(changes)
    return unit


class Agent:
    """`mcp role agent` in a machine of its own, with the test as its control."""
    count = 0

    def __init__(self, env=None):
        Agent.count += 1
        self.cgroup = f"/mcp/test{os.getpid()}-{Agent.count}.hk1"
        self.machine = role.Machine(["10.20.0.11"])
        self.boot = {"format": 1, "platform": "test", "host": "hk1", "region": "ap-hongkong",
                     "addresses": ["10.20.0.11"], "public": [], "bridge": "100.127.0.0/16", "roles": ["agent"],
                     "state": {"kind": "sqlite"}, "peers": [], "cgroup": self.cgroup}
        self.env, self.units, self.revision, self.role, self.timeline = env or {}, {}, 0, None, []

    def path(self, inside):
        return f"/proc/{self.machine.holder.pid}/root{inside}"

    def put(self, image):
        image.put(self.path("/var/lib/mcp/images"))
        return image

    def start(self):
        with_env = dict(os.environ, **self.env)
        old = dict(os.environ)
        os.environ.update(with_env)
        try:
            self.role = role.Role(self.machine, os.path.abspath(BINARY), "agent", self.boot, [])
        finally:
            os.environ.clear()
            os.environ.update(old)
        return self

    def kill(self):
        self.role.kill()
        self.role.process.stderr.close()

    def apply(self, *specs):
        self.revision += 1
        self.role.notify("units", {"revision": self.revision, "units": list(specs)})

    def _take(self, message):
        if message.get("method") == "status":
            self.units = {u["name"]: u for u in message["params"]["units"]}
        elif message.get("method") == "timeline":
            self.timeline.append(message["params"])
        elif message.get("method") == "blob.pull":
            self.role.say({"id": message["id"], "error": {"code": "not_found", "message": "no host has it"}})

    def wait(self, condition, timeout=PATIENCE_S):
        """Until condition(units by name) holds; checked at every status that the agent sends."""
        until = time.monotonic() + timeout
        while not condition(self.units):
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.role.control], [], [], left)[0]:
                raise AssertionError(f"waited in vain; units: {self.units}\n" + "\n".join(self.role.log))
            self._take(self.role.hear())
        return self.units

    def wait_state(self, name, state, timeout=PATIENCE_S):
        return self.wait(lambda u: u.get(name, {}).get("state") == state, timeout)[name]

    def call(self, method, params):
        """Answer and parts of a stream."""
        self.role.calls += 1
        number, parts = self.role.calls, []
        self.role.say({"id": number, "method": method, "params": params})
        while True:
            message = self.role.hear()
            if message.get("id") != number:
                self._take(message)
            elif "more" in message:
                parts.append(message["more"])
            else:
                return message, parts

    def log(self, unit, lines=1000):
        answer, parts = self.call("logs", {"unit": unit, "lines": lines, "follow": False})
        assert "error" not in answer, answer
        return [p["line"] for p in parts]

    def cgroup_pids(self):
        pids = set()
        for folder, _, files in os.walk(f"/sys/fs/cgroup/freezer{self.cgroup}"):
            with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs") as f:
                pids |= {int(p) for p in f.read().split()}
        return pids

    def shims(self):
        found = subprocess.run(["pgrep", "-x", "mcp-shim", "-a"], capture_output=True, text=True).stdout
        mine = os.stat(self.path("/run/mcp")).st_dev
        pids = {}
        for line in found.splitlines():
            pid, *words = line.split()
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/root/run/mcp").st_dev == mine:
                    pids[os.path.basename(words[-1])] = int(pid)
        return pids

    def close(self):
        if self.role and self.role.process.poll() is None:
            self.kill()
        shims = self.shims()
        fds = [os.pidfd_open(p) for p in shims.values()]
        for pid in shims.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
        for fd in fds:
            select.select([fd], [], [], PATIENCE_S)
            os.close(fd)
        self.machine.close()
        for controller in os.listdir("/sys/fs/cgroup"):
            for folder, _, _ in os.walk(f"/sys/fs/cgroup/{controller}{self.cgroup}", topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0] and self.role:
            print("\n".join(self.role.log))
        self.close()
