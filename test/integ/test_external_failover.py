# SPDX-License-Identifier: Apache-2.0
"""A source that others run: no lease ends it, so it is fenced by statement, which is read back, or nothing is promoted."""
import json
import os
import pathlib
import signal

import processes
import pytest
from lablib import BINARY, Lab, unique_name, wait_until
from test_endpoints import ADMIN, Foreign

PLATFORM = """platform: @
domain: trade.example
regions:
  ra: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}
  rb: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}
  rc: {network: 10.60.0.0/16}
hosts:
  a1: {region: ra, address: 10.20.0.11, public: true}
  b1: {region: rb, address: 10.40.0.11, public: true}
  c1: {region: rc, address: 10.60.0.11}
state: {members: [a1, b1, c1]}
routing:
  nameservers: {ns1: ra, ns2: rb}
  default: [ra]
  on_failure: [dr, main]
data:
  crm: {managed: false, source: ra, replicas: [rb], secret: crm_admin, tls: false,
        external: {ra: "10.20.0.11:3310", rb: "10.40.0.11:3310"}, failover: {auto: true, fence: {by: statement}}}
"""


class Crm(Lab):
    def __init__(self, folder):
        super().__init__(PLATFORM, name=unique_name("crm"), folder=folder)

    def declare(self, text):
        self.file.write_text(text.replace("@", self.name))

    def explain(self):
        return json.loads(self.mcp("explain", "failover", "crm", "--json").stdout)

    def rule(self, name):
        return next(r for r in self.explain()["rules"] if r["id"] == name)

    def data(self):
        return json.loads(self.mcp("data", "status", "crm", "--json").stdout)

    def settled(self, source):
        def look():
            d = self.data()
            well = (d["state"], d["replicas"][0]["state"]) == ("writable", "replicating")
            return well and d["source"] == source and not d["change"] and d
        return wait_until(look, 120, f"{source} to write and to be followed")

    def role(self, host, name):
        roles = next(h for h in self.status()["hosts"] if h["name"] == host)["roles"]
        return next(r["pid"] for r in roles if r["name"] == name)


def server_pid(foreign):
    """Of the process that was started, or of the server below it."""
    below = [foreign.process.pid]
    for pid in below:
        if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "mariadbd":
            return pid
        below += processes.children(pid)
    raise AssertionError(below)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Crm(tmp_path_factory.mktemp("crm")) as lab:
        lab.up()
        lab.servers = {"a1": Foreign(lab, "a1", "10.20.0.11", 71), "b1": Foreign(lab, "b1", "10.40.0.11", 72)}
        try:
            lab.mcp("secret", "set", "crm_admin", input=json.dumps({"user": "platform", "password": ADMIN}))
            lab.settled("a1")
            yield lab
        finally:
            for s in lab.servers.values():
                s.process.kill()
                s.process.wait(60)


def test_nothing_by_itself_before_it_was_rehearsed(lab):
    wait_until(lambda: lab.rule("R6")["value"] == "by statement, never rehearsed", 60, "the rule to say so")
    assert lab.rule("R6")["holds"] and not lab.explain()["armed"]
    lab.mcp("data", "arm", "crm")
    wait_until(lambda: not lab.rule("R6")["holds"] and not lab.rule("R7")["holds"], 60, "it to be rehearsed")
    lab.settled("a1")
    assert lab.servers["a1"].sql("SELECT @@read_only") == "0"


def test_it_is_fenced_by_its_own_host(lab):
    """By hand, while it lives: it is made read-only and read back before the other is promoted."""
    lab.mcp("failover", "--to", "rb", "--database", "crm", "--accept-loss", "1m", "--yes")
    d = lab.settled("b1")
    assert d["epoch"] == 2
    assert [s.sql("SELECT @@read_only") for s in lab.servers.values()] == ["1", "0"]


if os.environ.get("MCP_DRILLS"):
    def test_it_is_fenced_from_afar(lab):
        """Its own host is silent, the server goes on: the successor's host fences it, and waits until the silent one
        could not permit writes again."""
        def at(*words):
            return json.loads(lab.exec("a1", BINARY, *words).stdout)
        control = lab.role("b1", "control")
        os.kill(control, signal.SIGSTOP)
        try:
            def regions_that_see_it():
                rules = at("explain", "failover", "crm", "--json")["rules"]
                return int(next(r for r in rules if r["id"] == "R4")["value"].split()[0])
            wait_until(lambda: regions_that_see_it() >= 2, 90, "b1 to be silent")
            lab.exec("a1", BINARY, "failover", "--to", "ra", "--database", "crm", "--accept-loss", "1m", "--yes")
            wait_until(lambda: lab.servers["a1"].sql("SELECT @@read_only") == "0", 90, "the other to write")
            assert lab.servers["b1"].sql("SELECT @@read_only") == "1"
        finally:
            os.kill(control, signal.SIGCONT)
        lab.settled("a1")


def test_out_of_reach_nothing_is_promoted(lab):
    """Whether a server that answers nobody still writes, nobody knows: only a person can say so."""
    lab.mcp("data", "arm", "crm")
    wait_until(lambda: not lab.rule("R8")["holds"], 60, "the replica's lag to be known")
    d = lab.data()
    old, new, region = ("b1", "a1", "ra") if d["source"] == "b1" else ("a1", "b1", "rb")
    pid = server_pid(lab.servers[old])
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: lab.rule("R6")["value"] == "by statement, out of reach", 60, "the rule to forbid it")
        order = ("failover", "--to", region, "--database", "crm", "--accept-loss", "1m", "--yes")
        refused = lab.mcp(*order, check=False)
        assert refused.returncode == 3 and "R6 forbids it" in refused.stderr, refused.stderr
        lab.mcp(*order, "--attest-source-off")
        wait_until(lambda: lab.servers[new].sql("SELECT @@read_only") == "0", 60, "the other to write")
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: lab.servers[old].sql("SELECT @@read_only") == "1", 60, "the old one to stop, which was not off")
    assert lab.data()["epoch"] == d["epoch"] + 1
