# SPDX-License-Identifier: Apache-2.0
"""`mcp drill` on a platform of three regions: faults under load, read back, undone whatever becomes of the command."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading

import pytest
from lablib import BINARY, RUN, Lab, unique_name, wait_until

LONG = bool(os.environ.get("MCP_DRILLS"))
ROOT = pathlib.Path(__file__).resolve().parents[2]
HK, SEOUL, BANGKOK = "ap-hongkong", "ap-seoul", "ap-bangkok"
PLATFORM = f"""platform: @
domain: trade.example
regions:
  {HK}: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
  {SEOUL}: {{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}
  {BANGKOK}: {{duty: serving, address: 203.0.113.80, network: 10.80.0.0/16}}
hosts:
  hk1: {{region: {HK}, address: 10.20.0.11, public: true}}
  seoul1: {{region: {SEOUL}, address: 10.40.0.11, public: true}}
  bangkok1: {{region: {BANGKOK}, address: 10.80.0.11, public: true}}
state: {{members: [hk1, seoul1, bangkok1]}}
lab:
  wan: [{{between: [{HK}, {SEOUL}], delay: 19ms}}, {{between: [{HK}, {BANGKOK}], delay: 22ms}}]
  clients: {{KR: 198.51.100.0/28, TH: 198.51.100.16/28}}
routing:
  nameservers: {{ns1: {HK}, ns2: {SEOUL}, ns3: {BANGKOK}}}
  countries: {{KR: [{SEOUL}]}}
  default: [{HK}]
  on_failure: [dr, main]
data:
  trade: {{source: {HK}, replicas: [{SEOUL}], schema: "{ROOT}/example/schema/trade.sql", limits: {{memory: 512MiB, cpu: 2}},
          failover: {{auto: true, lease: 15s, max_lag: 10s, cooldown: 1h}}}}
modules:
  api:
    image: "oci:{ROOT}/example/images/api"
    port: 8080
    health: {{path: /healthz}}
    route: {{names: [api.trade.example], path: /v1, auth: none}}
    needs: [{{data: trade, access: write, tables: [orders]}}]
    regions: {{{HK}: 1, {SEOUL}: 1}}
    limits: {{memory: 64MiB, cpu: 2, pids: 32}}
"""


class Drilled(Lab):
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.out = ROOT / "bench/results" if LONG else self.folder / "out"
        super().__init__(PLATFORM, name=unique_name("drill"), folder=folder)

    def declare(self, text):
        self.file.write_text(text.replace("@", self.name))

    def words(self, command, *args):
        return [BINARY, "drill", command, *map(str, args), "--platform", self.name]

    def drill(self, command, *args, status=0):
        p = subprocess.run(self.words(command, *args), capture_output=True, text=True, timeout=500)
        assert p.returncode == status, f"{p.returncode}: {p.stdout}{p.stderr}"
        return p.stdout

    def run(self, name, *args, status=0):
        """The report, which is the evidence too."""
        r = json.loads(self.drill("run", name, "--out", self.out, "--json", *args, status=status))
        evidence = json.loads(pathlib.Path(r["evidence"]).read_text())
        assert evidence == r
        print({k: r[k] for k in ("drill", "passed", "why", "rto_ms", "client_rto_ms", "cached_client_rto_ms", "acked",
                                 "present", "lost", "duplicated", "reported_missing", "rescued", "two_writers")})
        for s in r["steps"]:
            print(f"{s['at_ms']:+8d} ms  {s['name']}")
        return r

    def well(self):
        def look():
            d = json.loads(self.mcp("data", "status", "trade", "--json").stdout)
            return d["state"] == "writable" and d["replicas"][0]["state"] == "replicating" and not d["change"] and d
        return wait_until(look, 90, "the database to be well")

    def is_free(self):
        """The platform knows of no drill that is under way."""
        p = subprocess.run(self.words("plan", "wan-cut", "--json"), capture_output=True, text=True)
        return {c["name"]: c["good"] for c in json.loads(p.stdout)["checks"]}["alone"]

    def is_ready(self):
        """Every check of a drill that fails over is good."""
        p = subprocess.run(self.words("plan", "dark", "--json"), capture_output=True, text=True)
        return all(c["good"] for c in json.loads(p.stdout)["checks"])

    def rules(self):
        return self.listing()["wan"]["rules"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Drilled(tmp_path_factory.mktemp("drill")) as lab:
        lab.up()
        lab.well()
        lab.mcp("data", "arm", "trade")
        wait_until(lab.is_ready, 60, "the host that plans to know that failover is armed")
        yield lab


def lab_free(*words):
    return subprocess.run([BINARY, *words], capture_output=True, text=True, check=True).stdout


def names(report):
    return [s["name"] for s in report["steps"]]


def test_plan(lab):
    listed = {d["name"]: d for d in json.loads(lab_free("drill", "list", "--json"))["drills"]}
    assert {"source-crash", "source-freeze", "disk-full", "disk-stall", "dark", "power", "freeze", "wan-cut",
            "wan-cut-one-way", "wan-loss", "flapping", "clock-jump", "store-leader-loss", "controller-death"} <= set(listed)
    plan = json.loads(lab.drill("plan", "dark", "--json"))
    assert {(a["from"], a["to"]) for a in plan["acts"]} == {
        pair for other in (SEOUL, BANGKOK, "client") for pair in ((HK, other), (other, HK))}
    assert plan["lost_regions"] == [HK] and all(c["good"] for c in plan["checks"])
    lab.mcp("lab", "slow", HK, BANGKOK, "--delay", "30ms", "--one-way")
    refused = json.loads(lab.drill("plan", "dark", "--json", status=3))
    assert [c["name"] for c in refused["checks"] if not c["good"]] == ["lines"]
    assert "lab mend" in lab.drill("run", "dark", "--json", status=3)
    lab.mcp("lab", "mend", HK, BANGKOK)
    p = subprocess.run(lab.words("plan", "drak"), capture_output=True, text=True)
    assert p.returncode == 2 and "did you mean dark" in p.stderr


def test_the_source_crashes(lab):
    """It is back in place; nobody lost an order, and the page says so."""
    lab.well()
    r = lab.run("source-crash", "--hold", "1s")
    assert r["passed"] and r["why"] == [] and (r["lost"], r["duplicated"], r["two_writers"]) == (0, 0, False)
    assert r["acked"] == r["present"] > 0 and r["client_rto_ms"]["n"] == 8 and r["rto_ms"] > 0
    assert r["client_rto_ms"]["p50"] <= r["client_rto_ms"]["p95"] <= r["client_rto_ms"]["max"]
    assert set(r["by_country"]) == {"KR", "TH"} and r["by_country"]["KR"]["clients"] == 4
    assert [f["good"] for f in r["read_back"]] == [True] and r["read_back"][0]["op"] == "kill"
    order = ("load begins", "fault injected", "first order acknowledged", "undo begins", "undone", "all is well again")
    assert [n for n in names(r) if n in order] == list(order)
    assert any(s["host"] == "hk1" and not s["answers"] for s in r["servers"])
    page = pathlib.Path(r["page"]).read_text()
    assert "passed" in page and "source-crash" in page and page.count("<svg") == 2
    assert "passed" in lab_free("drill", "report", "source-crash", "--out", lab.out) and r["evidence"].endswith(".json")


def start(lab, name, *args):
    p = subprocess.Popen(lab.words("run", name, "--out", str(lab.out), *args), stdout=subprocess.PIPE, text=True)
    seen = []
    for line in p.stdout:
        seen.append(line)
        if " read back" in line:
            return p
    pytest.fail("".join(seen))


def test_the_undo_outlives_the_command(lab):
    """kill -9 of the command in the middle: the guard, a process of its own, takes the fault away."""
    lab.well()
    p = start(lab, "wan-cut", "--hold", "90s")
    held = RUN / lab.name / "drill.json"
    assert {(r["from"], r["to"]) for r in lab.rules()} == {(HK, SEOUL), (SEOUL, HK)} and held.exists()
    for words in (lab.words("run", "source-crash"), [BINARY, "deploy", "api", "--platform", lab.name],
                  [BINARY, "data", "switchover", "trade", "--to", SEOUL, "--platform", lab.name]):
        p2 = subprocess.run(words, capture_output=True, text=True)
        assert p2.returncode != 0 and "drill" in p2.stderr and "under way" in p2.stderr, f"{words}: {p2}"
    p.send_signal(signal.SIGKILL)
    p.wait()
    p.stdout.close()
    wait_until(lambda: not lab.rules() and not held.exists(), 60, "the guard to undo it")
    wait_until(lab.is_free, 60, "the guard to say that the drill has ended")


@contextlib.contextmanager
def mending(lab):
    """Somebody takes every cut away at once."""
    over = threading.Event()

    def work():
        while not over.wait(0.02):
            for a, b in ((HK, SEOUL), (SEOUL, HK)):
                lab.mcp("lab", "mend", a, b, check=False)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_an_injection_that_cannot_be_read_back_fails(lab):
    lab.well()
    with mending(lab):
        r = lab.run("wan-cut", "--hold", "1s", status=1)
    assert not r["passed"] and "the injection could not be read back" in r["why"]
    assert not all(f["good"] for f in r["read_back"]) and r["lost"] == 0
    assert not lab.rules()


def in_sync(lab):
    """A failover would lose nothing: the replica is in the set that was published last."""
    rules = json.loads(lab.mcp("explain", "failover", "trade", "--json").stdout)["rules"]
    return not next(r for r in rules if r["id"] == "R12")["holds"]


if LONG:
    @pytest.mark.parametrize("name", ["disk-stall", "controller-death", "dark", "power", "freeze"])
    def test_every_fault_with_a_failover(lab, name):
        """One after the other; nobody acknowledges anything between them: a drill does so itself, and arms."""
        lab.well()
        r = lab.run(name)
        assert r["passed"] and (r["lost"], r["duplicated"], r["two_writers"]) == (0, 0, False), r["why"]
        explained = json.loads(lab.mcp("explain", "failover", "trade", "--json").stdout)
        assert explained["armed"] and {x["id"]: x["holds"] for x in explained["rules"]}["R14"] is False, explained


    def test_acknowledged_orders_that_did_not_leave_the_region(lab):
        """Asynchronous: some are lost; each is in the range that was reported, and in the files of who returned."""
        lab.well()
        r = lab.run("lag-then-power")
        assert r["passed"] and r["lost"] > 0 and not r["two_writers"] and r["duplicated"] == 0, r["why"]
        assert r["lost"] == r["reported_missing"] == r["rescued"] == len(r["lost_orders"])
        assert all(o["rescued"] and o["reported"] and o["gtid"] for o in r["lost_orders"]), r["lost_orders"]

    def test_semi_sync_loses_none(tmp_path):
        """The same fault: what the replica does not have is not acknowledged."""
        with Drilled(tmp_path) as lab:
            lab.declare(PLATFORM.replace("schema:", "replication: {mode: semi-sync}, schema:"))
            lab.up()
            lab.well()
            wait_until(lambda: in_sync(lab), 90, "the replica to be in the sync set")
            lab.mcp("data", "arm", "trade")
            r = lab.run("lag-then-power")
            assert r["passed"] and (r["lost"], r["duplicated"], r["two_writers"]) == (0, 0, False), r["why"]


@pytest.mark.parametrize("name", ["disk-full", "wan-cut", "wan-cut-one-way", "wan-loss", "flapping", "clock-jump",
                                  "store-leader-loss"] if LONG else ["clock-jump"])
def test_every_fault_without_a_failover(lab, name):
    lab.well()
    r = lab.run(name, *(() if LONG else ("--hold", "1s")))
    assert r["passed"], r["why"]


def test_a_rehearsal_does_everything_but_the_fault(lab):
    lab.well()
    r = lab.run("wan-cut", "--mode", "rehearse")
    assert r["passed"] and r["lost"] == 0 and "rehearsed: nothing is injected" in names(r)
    assert r["read_back"] == [] and all(f["good"] for f in r["undo"]) and len(r["undo"]) == 2
