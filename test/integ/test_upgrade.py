# SPDX-License-Identifier: Apache-2.0
"""Upgrades: two releases in one platform, a whole upgrade under load, binaries that are broken, leaders that die."""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess

import processes
import pytest
from lablib import BINARY, Lab, unique_name, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
NEXT = pathlib.Path(BINARY).with_name("mcp-next")  # the same, with a protocol version more
HK = "203.0.113.20"

PLATFORM = """platform: {name}
domain: up.example
regions:
  ap-hongkong: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
  ap-seoul: {{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}
hosts:
  hk1: {{region: ap-hongkong, address: 10.20.0.11, public: true}}
  hk2: {{region: ap-hongkong, address: 10.20.0.12}}
  seoul1: {{region: ap-seoul, address: 10.40.0.11, public: true}}
state: {{members: [hk1, hk2, seoul1]}}
lab:
  wan: [{{between: [ap-hongkong, ap-seoul], delay: 2ms}}]
  clients: {{KR: 198.51.100.0/28}}
routing:
  nameservers: {{ns1: ap-hongkong, ns2: ap-seoul}}
  countries: {{KR: [ap-seoul]}}
  default: [ap-hongkong]
modules:
  api:
    image: oci:IMAGE
    port: 8080
    env: {{VERSION: "1"}}
    health: {{path: /healthz, interval: 1s, timeout: 500ms, start_timeout: 5s}}
    route: {{names: [api.up.example], path: /, auth: none}}
    regions: {{ap-hongkong: 2, ap-seoul: 1}}
    limits: {{memory: 64MiB, pids: 32}}
""".replace("IMAGE", str(ROOT / "example/images/payment"))

# Every other request may not be sent twice: nothing can be mended by trying again.
WRK = """
local turn = 0
local order = '{"order": "a", "amount": 1, "currency": "KRW"}'
function request()
  turn = turn + 1
  if turn % 2 == 0 then return wrk.format("GET", "/whoami") end
  return wrk.format("POST", "/v1/charges", {["Content-Type"] = "application/json"}, order)
end
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("upgrade")
    (folder / "wrk.lua").write_text(WRK)
    with Lab(PLATFORM, name=unique_name("up"), folder=folder) as lab:
        lab.up()
        wait_until(lambda: lab.status()["ready"], 60, "a ready platform")
        yield lab


def hosts(lab):
    return {h["name"]: h for h in lab.status()["hosts"]}


def binaries(lab):
    status = json.loads(lab.mcp("upgrade", "--json").stdout)
    return {h["host"]: h["binary"]["digest"] for h in status["hosts"]}


def units(lab):
    return sorted((u["name"], u["host"], u["pid"], u["restarts"]) for u in lab.status()["units"])


def leaves(pid):
    """The process itself where it has none: `mcp lab exec` becomes the command."""
    return [c for p in processes.children(pid) for c in leaves(p)] or [pid]


@contextlib.contextmanager
def load(lab):
    """wrk over TLS from the buyers' network until the block ends; what came of it, afterwards."""
    script = lab.file.with_name("wrk.lua")
    words = ["wrk", "-t1", "-c8", "-d600s", "--timeout", "5s", "-H", "Host: api.up.example", "-s", script,
             f"https://{HK}/"]
    found = {}
    wrk = subprocess.Popen([BINARY, "lab", "exec", "--platform", lab.name, "client", "--", *map(str, words)],
                           stdout=subprocess.PIPE, text=True)
    try:
        yield found
    finally:
        for pid in leaves(wrk.pid):
            os.kill(pid, signal.SIGINT)  # it says what it has seen
        text = wrk.communicate(timeout=30)[0]
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    found["requests"] = int(re.search(r"(\d+) requests in", text)[1])
    found["failed"] = (sum(map(int, errors.groups())) if errors else 0) + (int(bad[1]) if bad else 0)
    found["text"] = text


def refused(lab):
    """What the edge of Hong Kong did not answer well, as its log has it."""
    found = []
    for log in lab.path("hk1", "/var/lib/mcp/edge").glob("access*"):
        found += [line for line in log.read_text(errors="replace").splitlines() if re.search(r'"status": ?[45]', line)]
    return "\n".join(found[-10:])


def fake(folder, name, body):
    path = pathlib.Path(folder) / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


# ---- refused before anything is touched


def test_dry_run_shows_the_order(lab):
    out = lab.mcp("upgrade", "--to", NEXT, "--dry-run").stdout
    order = re.findall(r"\d\. (\w+) in", out)
    assert order[0] == "seoul1" and sorted(order[1:]) == ["hk1", "hk2"], out  # DR first, main last


def test_protocols_without_overlap_are_refused(lab, tmp_path):
    far = fake(tmp_path, "far", """echo '{"version":"9.0.0","protocol":[7,9]}'""")
    p = lab.mcp("upgrade", "--to", far, check=False)
    assert p.returncode == 3 and "protocol 7 to 9" in p.stderr and "1 to 1" in p.stderr, p.stderr
    assert "fix:" in p.stderr
    p = lab.mcp("upgrade", "--to", fake(tmp_path, "no", "exit 3"), check=False)
    assert p.returncode == 1 and "does not run" in p.stderr, p.stderr


# ---- broken ones go back


def left(lab, host):
    """How often an instance was started elsewhere because that host was silent for too long."""
    said = [json.loads(line) for line in lab.mcp("timeline", "-n", 2000, "--json", "--kind", "placement").stdout.splitlines()]
    return sum(f"leaves {host} in" in e["message"] for e in said)


def test_a_binary_that_ends_at_once_goes_back(lab, tmp_path):
    """It says its version and then does not run: three starts, and the host is what it was. Its containers live through
    it, unless the machine is so busy that the host is silent for long: then the instance is started elsewhere."""
    before, ran, gone = binaries(lab), units(lab), left(lab, "hk2")
    lame = fake(tmp_path, "lame", f"""[ "$1" = version ] && exec {BINARY} version --json\nexit 3""")
    p = lab.mcp("upgrade", "--to", lame, "--host", "hk2", check=False)
    assert p.returncode == 1 and "hk2: the host ended each time that it was started" in p.stderr, p.stderr
    assert binaries(lab) == before
    wait_until(lambda: lab.status()["ready"], 60, "a ready platform")
    now, here = set(units(lab)), {u for u in ran if u[1] != "hk2"}
    assert here <= now and (now == set(ran) or left(lab, "hk2") > gone), (ran, now)


def test_a_binary_that_a_host_cannot_run_is_not_tried(lab, tmp_path):
    """It runs here and not there: refused by the host itself, nothing is restarted."""
    before = binaries(lab)
    picky = fake(tmp_path, "picky", f"""[ -e {ROOT}/build ] && [ -e /var/lib/mcp/boot.json ] && exit 5
exec {BINARY} "$@" """)
    pid = lab.service_pid("hk2")
    p = lab.mcp("upgrade", "--to", picky, "--host", "hk2", check=False)
    assert p.returncode == 1 and "hk2: it does not run" in p.stderr, p.stderr
    assert binaries(lab) == before and lab.service_pid("hk2") == pid


# ---- two releases


def test_two_releases_live_together(lab):
    lab.mcp("upgrade", "--to", NEXT, "--host", "seoul1")
    ranges = {n: h["protocol"] for n, h in hosts(lab).items()}
    assert ranges == {"hk1": [1, 1], "hk2": [1, 1], "seoul1": [1, 2]}
    assert all(h["acts_at"] is None for h in hosts(lab).values())  # the platform acts at the lowest
    for version, host in (("2", "seoul1"), ("3", "hk1")):  # applied through either release
        lab.file.write_text(re.sub(r'VERSION: "\d+"', f'VERSION: "{version}"', lab.file.read_text()))
        lab.exec(host, BINARY, "status", "--json")
        lab.mcp("apply", "--wait")
        assert lab.status()["ready"]
    states = {h["name"]: h["state"] for h in lab.status()["hosts"]}
    assert set(states.values()) == {"up"}, states
    seen = json.loads(lab.exec("seoul1", BINARY, "status", "--json").stdout)
    assert {h["name"]: h["state"] for h in seen["hosts"]} == states
    assert {n["name"]: {r["state"] for r in n["regions"]} for n in seen["names"]} == {"api.up.example": {"up"}}


def test_an_upgrade_under_load_fails_no_request(lab):
    ran = units(lab)
    with load(lab) as found:
        lab.mcp("upgrade", "--to", NEXT)
    print(f"upgrade: {found['requests']} requests, {found['failed']} failed")
    assert found["requests"] > 100 and found["failed"] == 0, found["text"] + refused(lab)
    assert units(lab) == ran
    wait_until(lambda: {h["acts_at"] for h in hosts(lab).values()} == {2}, 60, "acting at protocol 2")
    told = lab.mcp("timeline").stdout
    assert re.search(r"upgrade hk1: upgrade to .* done", told), told[-3000:]


def test_a_dead_leader_is_followed_by_one_that_goes_on(lab):
    """Back to the old release, with each control killed once on the way."""
    ran = units(lab)
    p = subprocess.Popen([BINARY, "upgrade", "--rollback", "--platform", lab.name], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    for host in ("hk1", "hk2", "seoul1"):
        def switching():
            doc = json.loads(lab.mcp("upgrade", "--json").stdout)["upgrade"]
            return {"switching", "settling", "done"} & {h["state"] for h in doc["hosts"] if h["name"] == host}

        wait_until(switching, 60, f"{host}'s turn")
        for h in hosts(lab).values():
            for r in h["roles"]:
                if r["name"] == "control" and h["name"] != host:
                    lab.exec(h["name"], "kill", "-9", r["pid"], check=False)
    out = p.communicate(timeout=120)[0]
    assert p.returncode == 0, out
    assert len(set(binaries(lab).values())) == 1 and units(lab) == ran
    assert {tuple(h["protocol"]) for h in hosts(lab).values()} == {(1, 1)}
