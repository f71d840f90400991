# SPDX-License-Identifier: Apache-2.0
"""Several hosts a region: placement, drain, silence, rollouts under load, leaders that die in the middle."""
import base64
import contextlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import processes
import pytest
import units
from lablib import BINARY, Lab, unique_name, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
HK = "203.0.113.20"
LONG = os.environ.get("MCP_DRILLS") == "1"  # the full forms: `make drills`
ROLLOUTS = 100 if LONG else 5
KILLS = 40 if LONG else 5

PLATFORM = """platform: {{name}}
domain: fleet.example
regions:
  ap-hongkong: {{{{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}}}
  ap-seoul: {{{{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}}}
hosts:
  hk1: {{{{region: ap-hongkong, address: 10.20.0.11, public: true}}}}
  hk2: {{{{region: ap-hongkong, address: 10.20.0.12}}}}
  seoul1: {{{{region: ap-seoul, address: 10.40.0.11, public: true}}}}
state: {{{{members: [hk1, hk2, seoul1]}}}}
lab:
  wan: [{{{{between: [ap-hongkong, ap-seoul], delay: 2ms}}}}]
  clients: {{{{KR: 198.51.100.0/28}}}}
routing:
  nameservers: {{{{ns1: ap-hongkong, ns2: ap-seoul}}}}
  countries: {{{{KR: [ap-seoul]}}}}
  default: [ap-hongkong]
modules:
  api:
    image: oci:{image}
    port: 8080
    env: {{{{VERSION: "{version}"}}}}
    health: {{{{path: /healthz, interval: 1s, timeout: 500ms, start_timeout: 5s}}}}
    route: {{{{names: [api.fleet.example], path: /, auth: none}}}}
    regions: {{{{ap-hongkong: {instances}}}}}
    rollout: {{{{strategy: {strategy}, deadline: {deadline}, canary: {{{{weight: 20, for: 2s}}}}}}}}
    limits: {{{{memory: 64MiB, pids: 32}}}}
"""

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


class Fleet(Lab):
    """A lab whose one module is declared anew by what changes."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.script = self.folder / "wrk.lua"
        self.script.write_text(WRK)
        self.values = {"image": ROOT / "example/images/payment", "version": 1, "instances": 2, "strategy": "rolling",
                       "deadline": "30s"}
        super().__init__(self.text(), name=unique_name("fleet"), folder=folder)

    def text(self, **values):
        self.values.update(values)
        return PLATFORM.format(**self.values)

    def apply(self, *args, check=True, **values):
        self.declare(self.text(**values))
        return self.mcp("apply", *args, check=check)

    def instances(self, module="api", **match):
        """Of the units that are heard."""
        return [u for u in self.status()["units"]
                if u["module"] == module and all(u[k] == v for k, v in match.items())]

    def where(self):
        return sorted((u["name"], u["host"], u["pid"]) for u in self.instances(state="ready"))

    def ready(self, timeout=60):
        return wait_until(lambda: (s := self.status())["ready"] and s, timeout, f"{self.name} to be ready")

    def deployment(self, module="api"):
        return next((d for d in self.status()["deployments"] if d["module"] == module), None)

    def control(self, host):
        roles = next(h for h in self.status()["hosts"] if h["name"] == host)["roles"]
        return next((r["pid"] for r in roles if r["name"] == "control"), 0)

    def leader(self):
        told = [line.split() for line in self.mcp("timeline", "-n", 2000).stdout.splitlines()
                if "decides where instances run (epoch" in line and "no longer" not in line]
        return max(told, key=lambda words: int(words[-1].rstrip(")")))[1]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Fleet(tmp_path_factory.mktemp("fleet")) as lab:
        lab.up()
        yield lab


@pytest.fixture
def lab(fleet):
    for host in ("hk1", "hk2", "seoul1"):
        fleet.mcp("lab", "heal", host)
    fleet.mcp("host", "undrain", "hk2")
    fleet.mcp("host", "undrain", "hk1")
    fleet.values.update(image=ROOT / "example/images/payment", instances=2, strategy="rolling", deadline="30s")
    fleet.apply("--wait", version=time.monotonic_ns())
    return fleet


@contextlib.contextmanager
def load(lab, connections=8):
    """wrk from the buyers' network, over TLS, through Hong Kong's edge, until the block ends; afterwards the dict that
    it gave has what came of it. Connections are kept: each of them meets every change."""
    words = ["wrk", "-t1", f"-c{connections}", "-d600s", "--timeout", "5s", "-H", "Host: api.fleet.example",
             "-s", lab.script, f"https://{HK}/"]
    found = {}
    wrk = subprocess.Popen([BINARY, "lab", "exec", "--platform", lab.name, "client", "--", *words],
                           stdout=subprocess.PIPE, text=True)
    try:
        yield found
    finally:
        for pid in leaves(wrk.pid):
            os.kill(pid, signal.SIGINT)  # it says what it has seen
        text = wrk.communicate(timeout=30)[0]
        wrk.wait()
    found["requests"] = int(re.search(r"(\d+) requests in", text)[1])
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    found["failed"] = (sum(map(int, errors.groups())) if errors else 0) + (int(bad[1]) if bad else 0)
    found["text"] = text


def leaves(pid):
    """The process itself where it has none: `mcp lab exec` becomes the command."""
    return [c for p in processes.children(pid) for c in leaves(p)] or [pid]


def assert_no_failure(found, what):
    print(f"{what}: {found['requests']} requests, {found['failed']} failed")
    assert found["requests"] > 100 and found["failed"] == 0, found["text"]


# ---- rollouts


def test_rollouts_under_load_fail_no_request(lab):
    took = []
    with load(lab) as found:
        for turn in range(ROLLOUTS):
            begun = time.monotonic()
            lab.apply("--wait", version=f"roll{turn}")
            took.append(time.monotonic() - begun)
    assert_no_failure(found, f"{ROLLOUTS} rollouts, {sum(took) / len(took):.1f} s each")
    assert lab.deployment()["state"] == "done"
    assert len(lab.instances(state="ready")) == 2


@pytest.mark.parametrize("strategy", ["blue-green", "canary"])
def test_other_strategies_fail_no_request(lab, strategy):
    with load(lab) as found:
        lab.apply("--wait", strategy=strategy, version=strategy)
    assert_no_failure(found, strategy)
    assert lab.deployment()["state"] == "done" and lab.deployment()["strategy"] == strategy


@pytest.mark.parametrize("command, why", [("/bin/false", "exit 1"), ("/bin/sleep 1000", "ready")])
def test_a_bad_image_goes_back_by_itself_and_says_why(lab, tmp_path, command, why):
    """It ends at once, or it runs and never answers: what served before goes on, and the next apply is not blocked."""
    before = lab.where()
    bad = units.Image(units.busybox(), cmd=command.split()).layout(tmp_path / "bad")
    with load(lab) as found:
        failed = lab.apply("--wait", check=False, image=bad, deadline="6s")
        wait_until(lambda: lab.deployment()["state"] == "rolled-back", 60, "the rollout to be over")
        lab.ready()
    assert_no_failure(found, f"rolled back from {command}")
    print(failed.stderr)
    assert failed.returncode == 1 and "api" in failed.stderr and why in failed.stderr
    assert why in lab.deployment()["reason"]
    assert lab.where() == before
    assert lab.apply("--wait", image=ROOT / "example/images/payment", version="after").returncode == 0
    assert lab.deployment()["state"] == "done" and len(lab.instances(state="ready")) == 2


def test_leaders_killed_during_rollouts_lose_no_request(lab):
    """kill -9 of the control that leads, at any moment of a rollout: another or itself goes on with it."""
    rng = random.Random(11)
    with load(lab) as found:
        for turn in range(KILLS):
            lab.declare(lab.text(version=f"kill{turn}"))
            apply = subprocess.Popen([BINARY, "apply", "-f", lab.file], stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                apply.wait(rng.uniform(0, 2))
            os.kill(lab.control(lab.leader()), signal.SIGKILL)
            apply.wait(60)
            # It may have been asked of the control that died.
            wait_until(lambda: lab.mcp("apply", "--wait", check=False).returncode == 0, 120, "the rollout to be over")
    assert_no_failure(found, f"{KILLS} leaders killed")
    assert lab.deployment()["state"] == "done" and len(lab.instances(state="ready")) == 2


def seq(lab):
    return next(p["seq"] for p in lab.status()["placements"] if p["region"] == "ap-hongkong")


@pytest.mark.parametrize("step", range(1, 13) if LONG else [1, 3])
def test_a_leader_killed_after_a_step_is_gone_on_from(lab, step):
    """Each write of the placement is a step of the rollout; the one that wrote it dies right behind it."""
    leader, before = lab.control(lab.leader()), seq(lab)
    with load(lab) as found:
        lab.apply(version=f"step{step}")
        with contextlib.suppress(AssertionError):  # a rollout of fewer steps: killed when it is over
            wait_until(lambda: seq(lab) >= before + step, 60, f"step {step}")
        os.kill(leader, signal.SIGKILL)
        wait_until(lambda: lab.mcp("apply", "--wait", check=False).returncode == 0, 120, "the rollout to be over")
    assert_no_failure(found, f"killed after step {step}")
    assert lab.deployment()["state"] == "done" and len(lab.instances(state="ready")) == 2


def forget_placements(lab):
    """What a state store of the time before placements looks like."""
    for kind in ("placement", "deploy"):
        first, behind = (base64.b64encode(f"/mcp/{lab.name}/{kind}{end}".encode()).decode() for end in "/0")
        words = json.dumps({"key": first, "range_end": behind})
        lab.exec("hk1", "curl", "-sS", "--fail", "--cacert", "/var/lib/mcp/pki/state-ca.pem", "--cert",
                 "/var/lib/mcp/pki/state.pem", "--key", "/var/lib/mcp/pki/state.key", "-d", words,
                 "https://10.20.0.11:2379/v3/kv/deleterange")


def test_a_platform_from_before_placements_keeps_its_instances(lab):
    before = lab.where()
    controls = {h: lab.control(h) for h in ("hk1", "hk2", "seoul1")}
    for pid in controls.values():
        os.kill(pid, signal.SIGSTOP)
    forget_placements(lab)
    for host, pid in controls.items():
        lab.path(host, "/var/lib/mcp/control/placement.json").unlink()
        os.kill(pid, signal.SIGKILL)
    lab.ready()
    assert lab.where() == before


# ---- hosts



def hosts_of(lab, module="api"):
    return sorted(u["host"] for u in lab.instances(module, state="ready"))


def spread(lab):
    """One instance a host: a rollout places them anew."""
    lab.apply("--wait", version=time.monotonic_ns())
    wait_until(lambda: hosts_of(lab) == ["hk1", "hk2"], 60, "an instance on each host")


def test_drain_moves_instances_and_loses_no_request(lab):
    spread(lab)
    with load(lab) as found:
        begun = time.monotonic()
        drained = json.loads(lab.mcp("host", "drain", "hk2", "--json").stdout)
        took = time.monotonic() - begun
        assert drained["instances"] == 0 and hosts_of(lab) == ["hk1", "hk1"]
    assert_no_failure(found, f"drained in {took:.1f} s")
    assert next(h for h in lab.status()["hosts"] if h["name"] == "hk2")["drained"]
    before = lab.where()
    lab.mcp("host", "undrain", "hk2")
    lab.ready()
    assert lab.where() == before  # nothing moves back by itself
    with load(lab) as found:
        lab.mcp("host", "drain", "hk1", "--timeout", "60s")
        assert hosts_of(lab) == ["hk2", "hk2"]
    assert_no_failure(found, "the edge's own host drained")


def make_lead(lab, host):
    """The controls of the others stand still until it does."""
    others = [lab.control(h) for h in ("hk1", "hk2", "seoul1") if h != host]
    entries = lab.path(host, "/var/lib/mcp/control/timeline")
    if lab.leader() == host:
        return
    told = sum(f.read_text().count('"decides where') for f in entries.glob("*"))
    with contextlib.ExitStack() as stack:
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
            stack.callback(os.kill, pid, signal.SIGCONT)
        wait_until(lambda: sum(f.read_text().count('"decides where') for f in entries.glob("*")) > told, 30,
                   f"{host} to lead")


@pytest.mark.parametrize("leads", [False, True])
def test_a_dead_host_loses_its_instances_and_heal_shuffles_nothing(lab, leads):
    """Also when it is the one that decides where instances run."""
    spread(lab)
    make_lead(lab, "hk2" if leads else "hk1")
    begun = time.monotonic()
    lab.mcp("lab", "kill", "hk2")
    wait_until(lambda: hosts_of(lab) == ["hk1", "hk1"], 60, "both instances on hk1")
    took = time.monotonic() - begun
    print(f"ready on hk1 {took:.1f} s after the power of hk2, which {'led' if leads else 'did not lead'}, went")
    assert took <= 20
    before = lab.where()
    lab.mcp("lab", "heal", "hk2")
    lab.ready()
    wait_until(lambda: lab.where() == before, 60, "what it still ran under an old name to be gone, and nothing moved")
