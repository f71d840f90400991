# SPDX-License-Identifier: Apache-2.0
"""A database in two regions, a witness in a third: what is done by itself when the source is lost, and what is not."""
import json
import os
import pathlib
import signal
import time

import pytest
import units
from lablib import BINARY, wait_until
from test_switchover import Orders, Trade

LONG = bool(os.environ.get("MCP_DRILLS"))
RATE = 50

ROOT = pathlib.Path(__file__).resolve().parents[2]
HK, SEOUL, TOKYO = "ap-hongkong", "ap-seoul", "ap-tokyo"
PLATFORM = f"""platform: @
domain: trade.example
regions:
  {HK}: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
  {SEOUL}: {{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}
  {TOKYO}: {{network: 10.60.0.0/16}}
hosts:
  hk1: {{region: {HK}, address: 10.20.0.11, public: true}}
  seoul1: {{region: {SEOUL}, address: 10.40.0.11, public: true}}
  tokyo1: {{region: {TOKYO}, address: 10.60.0.11}}
state: {{members: [hk1, seoul1, tokyo1]}}
lab:
  wan:
    - {{between: [{HK}, {SEOUL}], delay: 19ms}}
    - {{between: [{HK}, {TOKYO}], delay: 25ms}}
    - {{between: [{SEOUL}, {TOKYO}], delay: 15ms}}
  clients: {{KR: 198.51.100.0/28}}
routing:
  nameservers: {{ns1: {HK}, ns2: {SEOUL}}}
  countries: {{KR: [{SEOUL}, {HK}]}}
  default: [{HK}]
  on_failure: [dr, main]
data:
  trade:
    source: {HK}
    replicas: [{SEOUL}]
    schema: "{ROOT}/example/schema/trade.sql"
    limits: {{memory: 512MiB, cpu: 2}}
    failover: {{auto: true, lease: 15s, max_lag: 10s, cooldown: 1h, before: [bank], after: [page]}}
functions:
  bank: {{image: "oci:fn", command: [/bin/sh, -c, "cat; echo bank >&2"], deadline: 5s}}
  page: {{image: "oci:fn", command: [/bin/sh, -c, cat], deadline: 5s}}
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


class Failing(Trade):
    """The lab, asked through whichever host lives."""

    def __init__(self, folder):
        super().__init__(folder)
        units.Image(units.busybox()).layout(self.folder / "fn")
        self.declare(PLATFORM)

    def begin(self):
        self.up()
        self.settled("hk1")

    def explain(self):
        return json.loads(self.mcp("explain", "failover", "trade", "--json").stdout)

    def rules(self):
        return {r["id"]: r for r in self.explain()["rules"]}

    def failover_row(self):
        return next(r for r in self.status()["failover"] if r["database"] == "trade")

    def told_failover(self):
        lines = [json.loads(line) for line in self.mcp("timeline", "-n", 2000, "--json").stdout.splitlines()]
        return [e["message"] for e in lines if e["kind"] == "failover"]

    def armed(self, timeout=90):
        return wait_until(lambda: self.explain()["armed"], timeout, "failover to be armed")

    def moved(self, source, timeout=120):
        """That host is the source and takes writes; the failover has ended."""
        def look():
            d = self.data()
            return d["source"] == source and d["state"] == "writable" and not d["change"] and d
        return wait_until(look, timeout, f"{source} to be the source by itself")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Failing(tmp_path_factory.mktemp("failover")) as lab:
        lab.begin()
        yield lab


def test_it_arms_by_a_rehearsal(lab):
    """Nobody relies on a fence that was never tried: DISARMED until it was, and again while it is paused."""
    wait_until(lambda: lab.explain()["state"] == "healthy", 60, "the controller to have looked")
    wait_until(lambda: lab.failover_row()["rule"] == "R7", 60, "nothing but the rehearsal to be missing")
    assert not lab.explain()["armed"]
    status = lab.mcp("status").stdout
    assert "failover trade: DISARMED" in status and "mcp data arm" in status, status
    lab.mcp("data", "arm", "trade")
    lab.settled("hk1")
    lab.armed()
    assert lab.failover_row()["armed"] and "failover trade: ARMED" in lab.mcp("status").stdout
    lab.mcp("pause", "trade", "--why", "work on the line")
    wait_until(lambda: lab.rules()["R1"]["holds"] and not lab.explain()["armed"], 60, "the pause")
    lab.mcp("resume", "trade")
    lab.armed()
    messages = lab.told_failover()
    assert any("rehearsed" in m for m in messages) and any("paused" in m for m in messages), messages


def test_a_host_that_is_being_emptied(lab):
    """Of the source: nothing moves by itself. Of the target: it does not become the source."""
    for host, rule, value in (("hk1", "R1", "maintenance of the source"), ("seoul1", "R13", "drained")):
        assert not lab.rules()[rule]["holds"]
        lab.mcp("host", "drain", host, "--no-wait")
        held = wait_until(lambda: lab.rules()[rule]["holds"] and lab.rules()[rule], 60, f"{rule} to hold")
        lab.mcp("host", "undrain", host)
        assert value in held["value"], held
    lab.settled("hk1")
    lab.armed()


def test_a_living_source_is_not_failed_over(lab):
    """By hand neither, unless the loss is accepted: it is moved by a switchover."""
    p = lab.mcp("failover", "--to", SEOUL, "--yes", check=False)
    assert p.returncode == 3 and "R5 forbids it" in p.stderr and "switchover" in p.stderr, p.stdout + p.stderr
    d = lab.data()
    assert (d["source"], d["change"]) == ("hk1", None)


def seen_from(lab, host):
    """The rules as that host's control has them."""
    said = json.loads(lab.exec(host, BINARY, "explain", "failover", "trade", "--json").stdout)
    return said, {r["id"]: r for r in said["rules"]}


def told(orders, what):
    r = orders.report
    print(what, {k: r[k] for k in ("acked", "present", "lost", "duplicated", "write_outage_ms")}, flush=True)
    assert r["duplicated"] == 0, r
    return r


def test_a_line_that_is_cut_is_no_death(lab):
    """The replica lost its source, the witness did not: nothing is promoted, and it says why."""
    lab.armed()
    with Orders(lab, RATE, reads=0) as orders:
        lab.mcp("lab", "cut", HK, SEOUL)
        try:
            def look():
                said, rules = seen_from(lab, "seoul1")
                return not rules["R5"]["holds"] and rules["R4"]["holds"] and said
            said = wait_until(look, 90, "the replica to have lost its source")
            print("cut off, seoul1 says:", said["state"], next(r["value"] for r in said["rules"] if r["id"] == "R4"))
            assert not said["allowed"]
        finally:
            lab.mcp("lab", "mend", HK, SEOUL)
        d = lab.settled("hk1")
        assert d["epoch"] == 1
        orders.flowing(120)
    assert told(orders, "line cut:")["lost"] == 0


def test_a_server_that_is_killed(lab):
    """It is back in place, or the replica is promoted: writes go on either way."""
    lab.armed()
    with Orders(lab, RATE, reads=0) as orders:
        os.kill(lab.unit("db-trade", "hk1")["pid"], signal.SIGKILL)
        orders.flowing(120)
    assert told(orders, "server killed:")["lost"] == 0
    lab.settled("hk1")


def test_power_of_the_main_region(lab):
    """The replica is promoted by itself, orders are acknowledged again, none twice; the old source comes back and
    follows, or is told to have diverged."""
    lab.armed()
    lab.settled("hk1")
    with Orders(lab, RATE, reads=0) as orders:
        cut = time.monotonic()
        lab.mcp("lab", "kill", "hk1")
        lab.moved("seoul1")
        promoted = time.monotonic() - cut
        orders.flowing(120)
        print(f"power cut: done {promoted:.1f} s after it", flush=True)
    told(orders, "power cut:")
    d = lab.data()
    assert (d["source"], d["epoch"]) == ("seoul1", 2), d
    steps = [m for m in lab.told_failover() if m.startswith("failover by itself from hk1 to seoul1: ")]
    assert [m.rpartition(" ")[2] for m in steps] == ["fencing", "fenced", "promoting", "verifying", "admitting",
                                                     "switching", "done"], steps
    ran = [line for line in lab.mcp("timeline", "-n", 2000).stdout.splitlines() if " function " in line]
    assert any(" bank:" in r and "before failover" in r for r in ran), ran
    wait_until(lambda: "after failover" in lab.mcp("timeline", "-n", 2000).stdout, 60, "the function that runs after it")
    lab.mcp("lab", "heal", "hk1")

    def returned():
        member = next(m for m in lab.data()["members"] if m["host"] == "hk1")
        return member["state"] in ("replicating", "frozen", "broken") and member
    print("the old source is", wait_until(returned, 120, "the old source to come back")["state"])
