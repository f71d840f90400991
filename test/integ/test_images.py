# SPDX-License-Identifier: Apache-2.0
"""Images by digest: uploaded at apply, pulled from host to host, verified, gone on with after every kind of death."""
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "lib"))
from lablib import Lab, lab_traces, wait_until
from units import Image, busybox, entry, layer

STORE = "/var/lib/mcp/images"
BIG = 12 << 20  # of the layer that pulls are watched on

PLATFORM = """
platform: {name}
domain: {name}.example
regions:
  ra: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
  rb: {{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}
  rc: {{duty: serving, address: 203.0.113.60, network: 10.60.0.0/16}}
hosts:
  a1: {{region: ra, address: 10.20.0.11, public: true}}
  a2: {{region: ra, address: 10.20.0.12}}
  b1: {{region: rb, address: 10.40.0.11, public: true}}
  c1: {{region: rc, address: 10.60.0.11, public: true}}
state: {{members: [a1, a2, b1]}}  # these keep every image, c1 what it runs
lab:
  wan: [{{between: [ra, rb], delay: 10ms}}, {{between: [ra, rc], delay: 10ms}}, {{between: [rb, rc], delay: 10ms}}]
modules:
  app: {{image: "{source}", command: [/bin/sh, -c, "trap exit TERM; sleep 100000 & wait"], health: {{kind: none}}, rollout: {{drain: 0s}}, limits: {{memory: 64MiB}},
        regions: {regions}}}
"""


def layout(image, folder):
    """The image as an OCI layout folder."""
    image.put(folder)
    pathlib.Path(folder, "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    pathlib.Path(folder, "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image.descriptor]}))
    return image


def big_image(seed="one"):
    return Image(busybox(), layer(entry("noise", random.Random(seed).randbytes(BIG))), cmd=["/bin/sh"])


class Platform(Lab):
    regions = "{each: 1}"

    def declare(self, text, regions="{each: 1}", source="oci:images/app"):
        self.file.write_text(text.format(name=self.name, regions=regions, source=source))

    def scale(self, regions):
        self.declare(PLATFORM, regions)
        return self.mcp("apply", "--wait", "--timeout", "60s")

    def unit(self, host):
        units = [u for u in self.status()["units"] if u["host"] == host and u["kind"] == "module"]
        return units[0] if units else {"state": "none", "reason": ""}

    def ready(self, timeout=60):
        wait_until(lambda: self.status()["ready"], timeout, "the platform to be ready")

    def wipe(self, host):
        self.exec(host, "sh", "-c", f"rm -rf {STORE}/*")

    def blob(self, host, digest):
        return self.path(host, f"{STORE}/blobs/sha256/{digest[7:]}")

    def partial(self, host, digest):
        return self.path(host, f"{STORE}/partial/{digest[7:]}")

    def role(self, host, name):
        """The pid of a role's process there."""
        for pid in self.processes(host):
            with contextlib.suppress(OSError):
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[:3] == [b"mcp", b"role", name.encode()]:
                    return pid
        raise AssertionError(f"no {name} on {host}")

    def slow(self):
        for region in ("ra", "rb"):
            self.mcp("lab", "slow", "--rate", "20Mbit", region, "rc")

    def mend(self):
        for region in ("ra", "rb"):
            self.mcp("lab", "mend", region, "rc")

    def start_anew(self, host="c1"):
        """Its instance goes and comes, so that the image is looked at for a fresh start."""
        self.mcp("apply", "--revision", "2")
        wait_until(lambda: self.unit(host)["state"] == "none", 60, "no instance")
        self.mcp("apply", "--revision", "1")
        wait_until(lambda: self.unit(host)["state"] != "none", 60, "an instance")


@pytest.fixture(scope="module")
def image():
    return big_image()


@pytest.fixture(scope="module")
def platform(tmp_path_factory, image):
    folder = tmp_path_factory.mktemp("images")
    layout(image, folder / "images/app")
    with Platform(text=PLATFORM, folder=folder) as lab:
        lab.up()
        lab.scale("{ra: 1, rb: 1}")  # revision 2: nothing in rc
        lab.scale("{each: 1}")
        yield lab
    assert lab_traces(lab.name) == []


def big_layer(image):
    manifest = json.loads(image.blobs[image.digest[7:]])
    return manifest["layers"][1]["digest"]


def test_every_member_has_it_without_the_lab(platform, image):
    """Uploaded to one host, pulled by the others."""
    for host in ("a1", "a2", "b1", "c1"):
        wait_until(lambda: all(platform.blob(host, "sha256:" + b).exists() for b in image.blobs), 30,
                   f"the image on {host}")
    assert not list(platform.path("c1", f"{STORE}/partial").iterdir())


def test_the_folder_is_not_needed_any_more(platform, image):
    """All hosts restart, and a host that has nothing of it gets an instance again."""
    folder = platform.file.parent / "images"
    platform.mcp("apply", "--revision", "2", "--wait", "--timeout", "60s")
    folder.rename(folder.with_name("away"))
    try:
        platform.wipe("c1")
        platform.mcp("apply", "--revision", "1", "--wait", "--timeout", "60s")
        assert platform.unit("c1")["state"] == "ready"
        for host in ("a1", "a2", "b1", "c1"):
            platform.mcp("lab", "kill", host)
        for host in ("a1", "a2", "b1", "c1"):
            platform.mcp("lab", "heal", host)
        platform.ready()
    finally:
        folder.with_name("away").rename(folder)


def test_a_wiped_host_pulls(platform, image):
    platform.wipe("c1")
    platform.start_anew()
    platform.ready()
    assert platform.blob("c1", big_layer(image)).exists()


def test_wrong_bytes_are_refused_and_another_host_is_asked(platform, image):
    blob = platform.blob("a1", big_layer(image))
    good = blob.read_bytes()
    with open(blob, "r+b") as f:
        f.seek(BIG // 2)
        f.write(b"wrong")
    try:
        for other in ("a2", "b1"):  # so that it is a1 that is asked
            platform.exec(other, "mv", STORE, STORE + ".away")
        platform.wipe("c1")
        os.kill(platform.unit("c1")["pid"], signal.SIGKILL)  # and its image is looked at for the next start
        wait_until(lambda: "wrong bytes refused" in platform.mcp("timeline").stdout, 60, "the refusal")
        assert "a1 sent other bytes than the digest names" in platform.mcp("timeline").stdout
        wait_until(lambda: "is not here" in platform.unit("c1")["reason"], 60, "a reason")
        assert platform.unit("c1")["state"] == "starting"
        for other in ("a2", "b1"):
            platform.exec(other, "sh", "-c", f"rm -rf {STORE}; mv {STORE}.away {STORE}")
        platform.ready()
        assert platform.blob("c1", big_layer(image)).read_bytes() == good
    finally:
        blob.write_bytes(good)


def test_a_full_disk_says_so_and_recovers(platform, image):
    platform.wipe("c1")
    platform.exec("c1", "sh", "-c", "rm -f /var/lib/mcp/filler; "
                  "free=$(df --output=avail -k /var/lib/mcp | tail -1); fallocate -l $((free - 70000))k /var/lib/mcp/filler")
    try:
        platform.start_anew()
        wait_until(lambda: "disk is full" in platform.unit("c1")["reason"], 60, "the reason")
        assert platform.unit("a1")["state"] == "ready"
    finally:
        platform.exec("c1", "rm", "-f", "/var/lib/mcp/filler")
    platform.ready()


@pytest.mark.parametrize("victim", ["control", "agent"])
def test_killed_in_mid_pull_goes_on(platform, image, victim):
    """Whoever dies on the fetching host: the bytes that came are kept."""
    platform.slow()
    partial = platform.partial("c1", big_layer(image))
    try:
        platform.wipe("c1")
        platform.start_anew()
        wait_until(lambda: partial.stat().st_size > 1 << 20, 60, "some bytes")
        before = partial.stat()
        os.kill(platform.role("c1", victim), signal.SIGKILL)
        after = partial.stat()
        assert after.st_ino == before.st_ino and after.st_size >= before.st_size
        wait_until(lambda: partial.stat().st_size > after.st_size + (1 << 20), 60, "more bytes in the same file")
        assert partial.stat().st_ino == before.st_ino
    finally:
        platform.mend()
    platform.ready()


def test_the_host_that_sends_dies(platform, image):
    platform.slow()
    partial = platform.partial("c1", big_layer(image))
    try:
        platform.wipe("c1")
        platform.start_anew()
        wait_until(lambda: " from " in platform.unit("c1")["reason"], 60, "a source")
        wait_until(lambda: partial.stat().st_size > 1 << 20, 60, "some bytes")
        source = platform.unit("c1")["reason"].split()[-1]
        before = partial.stat()
        platform.mcp("lab", "kill", source)
        wait_until(lambda: partial.stat().st_size > before.st_size + (1 << 20), 60, "more bytes in the same file")
        assert partial.stat().st_ino == before.st_ino
    finally:
        platform.mend()
    platform.mcp("lab", "heal", source)
    platform.ready()


def test_a_killed_upload_goes_on(platform, image, tmp_path):
    """What the store holds of a blob is not sent again: here its start could not even be sent."""
    new = big_image("two")
    layout(new, platform.file.parent / "images/app")
    digest = big_layer(new)
    whole = new.blobs[digest[7:]]
    blob = platform.file.parent / "images/app/blobs/sha256" / digest[7:]
    half = len(whole) // 2
    blob.write_bytes(bytes(half) + whole[half:])
    platform.partial("a1", digest).write_bytes(whole[:half])
    platform.mcp("apply", "--wait", "--timeout", "60s")
    assert platform.blob("a1", digest).read_bytes() == whole
    platform.ready()


def test_a_broken_image_changes_nothing(platform, image):
    """Nothing is applied when a blob is not what its name says."""
    new = big_image("three")
    layout(new, platform.file.parent / "images/app")
    blob = platform.file.parent / "images/app/blobs/sha256" / big_layer(new)[7:]
    with open(blob, "r+b") as f:
        f.write(b"wrong")
    before = platform.status()["revision"]
    p = platform.mcp("apply", "--wait", check=False)
    assert p.returncode == 1 and "the bytes have the digest" in p.stderr, p.stdout + p.stderr
    assert platform.status()["revision"] == before and platform.status()["ready"]
    layout(image, platform.file.parent / "images/app")


@contextlib.contextmanager
def registry(folder):
    """A real registry on a free port of the loopback; its address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
                      f"http: {{addr: 127.0.0.1:{port}}}\n")
    with open(folder / "registry.log", "w") as log, \
            subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log) as server:
        try:
            wait_until(lambda: socket.create_connection(("127.0.0.1", port)).close() is None, 60, "the registry")
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()


def test_from_a_registry_and_from_an_archive(platform, tmp_path, monkeypatch):
    """docker://... is fetched where the command runs and pinned: hosts never speak to the registry."""
    monkeypatch.setenv("MCP_IMAGE_CACHE", str(tmp_path / "cache"))
    new = layout(big_image("registry"), tmp_path / "layout")
    with registry(tmp_path) as address:
        source = f"docker://{address}/team/app:v1"
        subprocess.run(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{tmp_path}/layout", source],
                       check=True)
        platform.declare(PLATFORM, source=source)
        platform.mcp("apply", "--wait", "--timeout", "60s")
    rows = json.loads(platform.mcp("image", "list", "--json").stdout)["images"]
    current = next(r for r in rows if r["revision"] == "current")
    assert current["name"] == source and current["digest"] == new.digest and "c1" in current["hosts"]
    gone = platform.mcp("apply", check=False)  # without the registry the name means nothing
    assert gone.returncode == 1 and "skopeo inspect" in gone.stderr
    other = layout(big_image("archive"), tmp_path / "other")
    archive = platform.file.parent / "app.tar"
    subprocess.run(["skopeo", "copy", "--quiet", f"oci:{tmp_path}/other", f"oci-archive:{archive}"], check=True)
    platform.declare(PLATFORM, source="oci:app.tar")
    platform.mcp("apply", "--wait", "--timeout", "60s")
    assert platform.blob("c1", big_layer(other)).exists() and platform.status()["ready"]
    platform.declare(PLATFORM)
    platform.mcp("apply", "--wait", "--timeout", "60s")


def test_what_nothing_needs_is_removed(platform, image):
    """Three revisions with an image each: of the oldest nothing stays, of the others everything."""
    folder = platform.file.parent / "images/app"
    images = [big_image(seed) for seed in ("four", "five", "six")]
    for new in images:
        layout(new, folder)
        platform.mcp("apply", "--wait", "--timeout", "60s")
    for host in ("a2", "b1"):
        wait_until(lambda: platform.blob(host, big_layer(images[2])).exists(), 60, f"the newest on {host}")
    kept = json.loads(platform.mcp("image", "gc", "--json").stdout)["hosts"]
    assert {h["host"]: h["blobs"] for h in kept} == dict.fromkeys(("a1", "a2", "b1", "c1"), 0), "all within the grace"
    dry = json.loads(platform.mcp("image", "gc", "--grace", "0s", "--dry-run", "--json").stdout)["hosts"]
    assert all(h["blobs"] > 0 and h["dry_run"] for h in dry) and platform.blob("a1", big_layer(images[0])).exists()
    assert "removed" in platform.mcp("image", "gc", "--grace", "0s").stdout
    for host in ("a1", "a2", "b1"):
        assert not platform.blob(host, big_layer(images[0])).exists()
        assert platform.blob(host, big_layer(images[1])).exists() and platform.blob(host, big_layer(images[2])).exists()
    assert platform.blob("c1", big_layer(images[2])).exists() and not platform.blob("c1", big_layer(images[1])).exists()
    assert platform.status()["ready"] and "nothing needs them" in platform.mcp("timeline").stdout
    listed = json.loads(platform.mcp("image", "list", "--json").stdout)
    rows = {i["revision"]: i for i in listed["images"]}
    assert rows["current"]["digest"] == images[2].digest and sorted(rows["current"]["hosts"]) == ["a1", "a2", "b1", "c1"]
    assert rows["previous"]["digest"] == images[1].digest and sorted(rows["previous"]["hosts"]) == ["a1", "a2", "b1"]


def test_what_runs_is_never_removed(platform, image):
    """Not even when the documents that say which layers it runs on are gone."""
    before = platform.status()["revision"]
    unit = platform.unit("c1")
    platform.exec("c1", "sh", "-c", f"rm -f {STORE}/blobs/sha256/*")
    p = platform.mcp("image", "gc", "--grace", "0s", "--host", "c1", check=False)
    assert p.returncode == 1 and "nothing is removed" in p.stderr
    assert list(platform.path("c1", f"{STORE}/layers").iterdir())
    assert platform.unit("c1")["pid"] == unit["pid"] and platform.status()["revision"] == before
