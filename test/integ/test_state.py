# SPDX-License-Identifier: Apache-2.0
"""Care of the state store, by the steps of doc/guide/disaster.md: backup and restore, also on new machines; quorum lost
for good; a platform of one host that grows."""
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "lib"))
from lablib import BINARY, Lab, lab_traces, wait_until

THREE_HOSTS = """
platform: {name}
domain: {name}.example
regions:
  ra: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
hosts:
  a1: {{region: ra, address: 10.20.0.11, public: true}}
  a2: {{region: ra, address: 10.20.0.12}}
  a3: {{region: ra, address: 10.20.0.13}}
state: {{members: [a1, a2, a3]}}
lab:
  clients: {{KR: 198.51.100.0/28}}
routing:
  nameservers: {{ns1: ra}}
  default: [ra]
  ttl: 60s
"""


@pytest.fixture
def lab(tmp_path):
    with Lab(THREE_HOSTS, folder=tmp_path) as lab:
        yield lab
    assert lab_traces(lab.name) == []


def hosts(lab):
    return {h["host"]: h for h in json.loads(lab.mcp("host", "list", "--json").stdout)["hosts"]}


def apply(lab, ttl):
    lab.declare(THREE_HOSTS.replace("ttl: 60s", f"ttl: {ttl}s"))
    return json.loads(lab.mcp("apply", "--json").stdout)["revision"]


def etcdctl(lab, host, *args):
    pki = "/var/lib/mcp/pki"
    address = {"a1": "10.20.0.11", "a2": "10.20.0.12", "a3": "10.20.0.13"}[host]
    return lab.exec(host, "env", "ETCDCTL_API=3", "etcdctl", "--cacert", f"{pki}/state-ca.pem", "--cert",
                    f"{pki}/state.pem", "--key", f"{pki}/state.key", "--endpoints", f"https://{address}:2379",
                    *args).stdout


def epoch(lab, host="a1"):
    return int(etcdctl(lab, host, "get", "--print-value-only", f"/mcp/{lab.name}/epoch/scheduler").strip() or 0)


def revision(lab):
    return lab.status()["revision"]


def test_backup_and_restore(lab):
    lab.up()
    assert apply(lab, 50) == 2
    wait_until(lambda: epoch(lab) > 0)
    file = lab.file.parent / "kept.mcp"
    said = json.loads(lab.mcp("state", "backup", file, "--json").stdout)
    assert said["revision"] == 2 and said["keys"] > 3 and file.stat().st_mode & 0o777 == 0o600
    keys = [json.loads(line).get("k") for line in file.read_text().splitlines()]
    assert "desired/1" in keys and "desired/2" in keys and "host/a2" in keys
    assert apply(lab, 40) == 3
    wait_until(lambda: revision(lab) == 3)
    # what is refused
    damaged = lab.file.parent / "damaged.mcp"
    damaged.write_bytes(file.read_bytes().replace(b"member", b"nember", 1))
    p = lab.mcp("state", "restore", damaged, "--confirm", lab.name, check=False)
    assert p.returncode == 1 and "checksum is another" in p.stderr
    damaged.write_bytes(file.read_bytes()[:-200])
    assert "was cut" in lab.mcp("state", "restore", damaged, "--confirm", lab.name, check=False).stderr
    for confirm in ((), ("--confirm", "yes")):
        p = lab.mcp("state", "restore", file, *confirm, check=False)
        assert p.returncode == 3 and f"--confirm {lab.name}" in p.stderr, p.stderr
    assert revision(lab) == 3
    # what is done
    before = epoch(lab)
    members = [m["id"] for m in json.loads(lab.mcp("state", "status", "--json").stdout)["members"]]
    lab.mcp("state", "restore", file, "--confirm", lab.name)
    wait_until(lambda: revision(lab) == 2 and lab.status()["ready"])
    assert epoch(lab) >= before + 1000000
    assert "revision 2 of a backup is put back" in lab.mcp("timeline", "--kind", "state").stdout
    assert [m["id"] for m in json.loads(lab.mcp("state", "status", "--json").stdout)["members"]] == members
    assert apply(lab, 30) == 3  # its number is free again
    wait_until(lambda: lab.status()["ready"])

    # On new machines: everything is lost but the file.
    lab.mcp("lab", "wipe", "ra")
    ca = lab.file.parent / "ca"
    p = lab.exec("a1", BINARY, "host", "init", "-f", lab.file, "--root-out", ca, "--restore", damaged, check=False)
    assert p.returncode == 1 and "was cut" in p.stderr
    made = json.loads(lab.exec("a1", BINARY, "host", "init", "-f", lab.file, "--root-out", ca, "--restore", file,
                               "--json").stdout)
    lab.mcp("lab", "heal", "a1")
    # the declaration of today over the state of then
    wait_until(lambda: revision(lab) == 3, timeout=60)
    lab.exec("a2", BINARY, "host", "join", "10.20.0.11", made["token"])
    assert epoch(lab) > 1000000
    notes = {r["revision"]: r["note"] for r in json.loads(lab.mcp("revisions", "--json").stdout)}
    assert notes[1] == "mcp up" and notes[3] == "mcp host init"
    lab.mcp("lab", "heal", "a2")
    wait_until(lambda: hosts(lab)["a2"]["member"] == "member", timeout=60)


def test_quorum_lost_for_good(lab):
    """Two of three members lose their disks. The guide's steps: recover on the third, then the two machines join."""
    lab.up()
    assert apply(lab, 50) == 2
    wait_until(lambda: epoch(lab) > 0)
    before = epoch(lab)
    p = lab.mcp("state", "recover", "--on", "a1", "--confirm", lab.name, check=False)
    assert p.returncode == 3 and "reaches the state store" in p.stderr
    lab.mcp("lab", "wipe", "a2")
    lab.mcp("lab", "wipe", "a3")
    wait_until(lambda: not lab.status()["state_store"]["connected"], timeout=60)
    assert lab.mcp("apply", "--note", "x", check=False).returncode != 0
    p = lab.mcp("state", "recover", "--on", "a1", check=False)
    assert p.returncode == 3 and f"the whole state store of {lab.name}" in p.stderr
    said = json.loads(lab.mcp("state", "recover", "--on", "a1", "--confirm", lab.name, "--json").stdout)
    assert said == {"member": "a1", "revision": 2}
    wait_until(lambda: lab.status()["state_store"]["connected"])
    assert epoch(lab) >= before + 1000000
    assert apply(lab, 40) == 3  # changes are accepted again
    for host in ("a2", "a3"):
        made = lab.mcp("host", "token", "--as", host).stdout.strip()
        lab.exec(host, BINARY, "host", "join", "10.20.0.11", made)
        lab.mcp("lab", "heal", host)
    wait_until(lambda: [h["member"] for h in hosts(lab).values()] == ["member"] * 3, timeout=90)
    wait_until(lambda: lab.status()["ready"] and revision(lab) == 3)
    lab.mcp("lab", "kill", "a1")  # what was recovered is whole without the one it came from
    wait_until(lambda: json.loads(lab.mcp("revisions", "--json").stdout)[0]["revision"] == 3, timeout=60)


ROOT = pathlib.Path(__file__).parents[2]
MODULE = """
modules:
  api:
    image: oci:{image}
    port: 8080
    health: {{path: /healthz, interval: 1s, timeout: 500ms}}
    route: {{names: [{name}.example], path: /, auth: none}}
    regions: {{ra: 2}}
    limits: {{memory: 64MiB, pids: 32}}
"""


def module_pids(lab):
    return {u["name"]: u["pid"] for u in lab.status()["units"] if u["module"] == "api" and u["state"] == "ready"}


def test_a_platform_of_one_host_grows(lab):
    """SQLite to etcd: no process of a module is another afterwards; then the other hosts join and hold the store."""
    lab.up("--hosts-only")
    lab.mcp("lab", "wipe", "ra")
    module = MODULE.replace("{image}", str(ROOT / "example/images/api"))
    one = THREE_HOSTS.replace("  a2: {{region: ra, address: 10.20.0.12}}\n", "").replace(
        "  a3: {{region: ra, address: 10.20.0.13}}\n", "").replace("[a1, a2, a3]", "[a1]")
    lab.declare(one + module)
    lab.exec("a1", BINARY, "host", "init", "-f", lab.file, "--root-out", lab.file.parent / "ca")
    lab.mcp("lab", "heal", "a1")
    wait_until(lambda: revision(lab) == 1, timeout=60)
    lab.mcp("apply", "--wait")
    p = lab.mcp("state", "move", "etcd", check=False)
    assert p.returncode == 3 and "one host: SQLite serves it" in p.stderr
    lab.declare(THREE_HOSTS + module)
    lab.mcp("apply")
    wait_until(lambda: revision(lab) == 2 and len(module_pids(lab)) == 2)
    before = module_pids(lab)
    # control is killed on the way: SQLite is what it was, and the member that had begun goes
    moving = subprocess.Popen([BINARY, "state", "move", "etcd", "--platform", lab.name], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    wait_until(lambda: [u for u in lab.status()["units"] if u["module"] == "etcd"])
    os.kill(next(r["pid"] for r in lab.status()["hosts"][0]["roles"] if r["name"] == "control"), signal.SIGKILL)
    assert moving.wait(timeout=30) != 0
    wait_until(lambda: (s := lab.status()["state_store"])["kind"] == "sqlite" and s["connected"])
    wait_until(lambda: not [u for u in lab.status()["units"] if u["module"] == "etcd"])
    assert module_pids(lab) == before and revision(lab) == 2
    said = json.loads(lab.mcp("state", "move", "etcd", "--json").stdout)
    assert said["kind"] == "etcd" and said["keys"] > 5
    wait_until(lambda: (s := lab.status()["state_store"])["kind"] == "etcd" and s["connected"], timeout=60)
    wait_until(lambda: module_pids(lab) == before)
    assert revision(lab) == 2
    kept = [json.loads(lab.mcp("revisions", "--json").stdout)[i]["revision"] for i in range(2)]
    assert kept == [2, 1]
    assert lab.exec("a1", "ls", "/var/lib/mcp").stdout.count("etcd-m") >= 1
    for host in ("a2", "a3"):
        made = lab.mcp("host", "token", "--as", host).stdout.strip()
        lab.exec(host, BINARY, "host", "join", "10.20.0.11", made)
        lab.mcp("lab", "heal", host)
    wait_until(lambda: [h["member"] for h in hosts(lab).values()] == ["member"] * 3, timeout=90)
    p = lab.mcp("state", "move", "etcd", check=False)
    assert p.returncode == 3 and "is etcd already" in p.stderr
    assert module_pids(lab) == before
    wait_until(lambda: lab.status()["ready"], timeout=60)
    # A host that joined runs instances, with images that came over the platform.
    lab.mcp("host", "drain", "a1")
    wait_until(lambda: {u["host"] for u in lab.status()["units"] if u["module"] == "api" and u["state"] == "ready"}
               <= {"a2", "a3"} and len(module_pids(lab)) == 2, timeout=60)
