# SPDX-License-Identifier: Apache-2.0
"""A database in two regions, its source moved there and back under orders: what was acknowledged is there, once."""
import contextlib
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import threading
import time

import dns.message
import dns.query
import pymysql
import pytest
from lablib import BINARY, Lab, enter_netns, in_thread, unique_name, wait_until

LONG = bool(os.environ.get("MCP_DRILLS"))
RATE = 100
TURNS = 5 if LONG else 2
LAG_RATE, LAG_SECONDS = (1000, 60) if LONG else (200, 5)
ROUNDS = 50 if LONG else 4
DEATHS = 30 if LONG else 2
SEED = int(os.environ.get("SEED", "4"))

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIR = "/var/lib/mcp/data/trade"
HK, SEOUL = "ap-hongkong", "ap-seoul"
PLATFORM = f"""platform: @
domain: trade.example
regions:
  {HK}: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
  {SEOUL}: {{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}
hosts:
  hk1: {{region: {HK}, address: 10.20.0.11, public: true}}
  hk2: {{region: {HK}, address: 10.20.0.12}}
  seoul1: {{region: {SEOUL}, address: 10.40.0.11, public: true}}
state: {{members: [hk1, hk2, seoul1]}}
lab:
  wan: [{{between: [{HK}, {SEOUL}], delay: 19ms}}]
  clients: {{KR: 198.51.100.0/28, TH: 198.51.100.16/28}}
routing:
  nameservers: {{ns1: {HK}, ns2: {SEOUL}}}
  countries: {{KR: [{SEOUL}]}}
  default: [{HK}]
  on_failure: [dr, main]
data:
  trade: {{source: {HK}, replicas: [{SEOUL}], schema: "{ROOT}/example/schema/trade.sql", limits: {{memory: 512MiB, cpu: 2}}}}
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


class Trade(Lab):
    """The lab, and orders placed in it."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        super().__init__(PLATFORM, name=unique_name("trade"), folder=folder)

    def declare(self, text):
        self.file.write_text(text.replace("@", self.name))

    def sql(self, host, *statements):
        p = self.exec(host, "mariadb", "--no-defaults", "-NB", "-S", f"{DIR}/run/db.sock", "-e", "; ".join(statements))
        return [line.split("\t") for line in p.stdout.splitlines()]

    def begin(self):
        self.up()
        self.settled("hk2")

    # ---- looking

    def data(self):
        return json.loads(self.mcp("data", "status", "trade", "--json").stdout)

    def settled(self, source=None, timeout=90):
        """The source writes, the other one follows it and says how far behind it is."""
        def look():
            d = self.data()
            r = d["replicas"][0]
            near = r["state"] == "replicating" and r["lag_ms"] is not None and r["lag_ms"] < 5000
            return d["state"] == "writable" and near and not d["change"] and source in (None, d["source"]) and d
        return wait_until(look, timeout, f"{source} to write and the other to replicate")

    def unit(self, name, host):
        return next(u for u in self.status()["units"] if (u["name"], u["host"]) == (name, host))

    def role(self, host, name):
        roles = next(h for h in self.status()["hosts"] if h["name"] == host)["roles"]
        return next(r["pid"] for r in roles if r["name"] == name)

    def told(self):
        """What the timeline says of the database: [(host, message, details)], oldest first."""
        lines = [json.loads(line) for line in self.mcp("timeline", "-n", 2000, "--json").stdout.splitlines()]
        return [(e["host"], e["message"]) for e in lines if e["kind"] == "data"]

    def leader(self):
        told = [line.split() for line in self.mcp("timeline", "-n", 2000).stdout.splitlines()
                if "decides where instances run (epoch" in line and "no longer" not in line]
        return max(told, key=lambda words: int(words[-1].rstrip(")")))[1]

    def session(self, host, end="rw"):
        """A session with the database as the api of that host has one: from its network, by the platform's name."""
        pid = self.unit("api-1", host)["pid"]
        servers = re.findall(r"nameserver (\S+)", pathlib.Path(f"/proc/{pid}/root/etc/resolv.conf").read_text())

        def make():
            enter_netns(f"/proc/{pid}/ns/net")
            reply = dns.query.udp(dns.message.make_query(f"trade.{end}.mcp.internal", "A"), servers[0], timeout=5)
            address = next(r.address for rrset in reply.answer for r in rrset)
            return socket.create_connection((address, 3306), 10)
        login = json.loads(pathlib.Path(f"/proc/{pid}/root/run/secrets/trade").read_text())
        s = pymysql.connect(user=login["user"], password=login["password"], database="trade", defer_connect=True)
        s.connect(in_thread(make))
        return s

    # ---- doing

    def switchover(self, region, *args, check=True):
        p = self.mcp("data", "switchover", "trade", "--to", region, "--json", *args, check=check)
        return json.loads(p.stdout) if p.stdout else p.stderr

    def start_switchover(self, region, *args):
        return subprocess.Popen([BINARY, "data", "switchover", "--platform", self.name, "trade", "--to", region, "--json",
                                 *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Orders:
    """`mcp traffic` until the block ends; then `report` is its last word."""

    def __init__(self, lab, rate, reads=0.2):
        self.lab, self.lines, self.report = lab, [], None
        self.ledger = lab.folder / unique_name("ledger")
        self.words = [BINARY, "traffic", "--platform", lab.name, "--rate", str(rate), "--reads", str(reads), "--ledger",
                      str(self.ledger), "--progress", "jsonl"]

    def __enter__(self):
        self.process = subprocess.Popen(self.words, stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.read)
        self.thread.start()
        self.flowing()
        return self

    def read(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def acked(self):
        return self.lines[-1]["acked"] if self.lines else 0

    def flowing(self, timeout=60):
        """Orders of after this moment were acknowledged, in every country."""
        n = len(self.lines) + 1
        wait_until(lambda: any(all(c["acked"] > 0 and c["write_gap_ms"] < 900 for c in s["by_country"].values())
                               and s["acked_now"] > 0 for s in self.lines[n:] if s["phase"] == "run"), timeout, "orders")

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(200)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.thread.join()
            self.process.stdout.close()
        self.report = self.lines[-1]
        if kind is None:
            assert self.report["phase"] == "report" and self.report["compared"], self.report

    def whole(self):
        """Nothing acknowledged is lost, nothing is there twice, and orders were placed."""
        r = self.report
        print({k: r[k] for k in ("acked", "present", "lost", "duplicated", "not_sent", "unanswered", "retries", "errors",
                                 "write_outage_ms", "read_outage_ms")})
        assert (r["lost"], r["duplicated"]) == (0, 0) and r["acked"] == r["present"] > 0, r
        return r


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Trade(tmp_path_factory.mktemp("trade")) as lab:
        begun = time.monotonic()
        lab.begin()
        print(f"up with a database of two regions in {time.monotonic() - begun:.1f} s")
        yield lab


def print_lag(lab, when):
    r = lab.data()["replicas"][0]
    print(f"lag {when}: p50 {r['lag_p50_ms']} ms, p95 {r['lag_p95_ms']} ms, max {r['lag_max_ms']} ms")


def equal(lab):
    p = lab.mcp("data", "checksum", "trade", check=False)
    assert p.returncode == 0 and p.stdout.rstrip().endswith("equal"), p.stdout + p.stderr


def ended(session):
    """The platform closed it."""
    session._sock.settimeout(60)
    with contextlib.suppress(ConnectionResetError):
        while session._sock.recv(1000):
            pass
    return True


def test_it_can_be_replicated(lab):
    """After a formation nothing is left to mend."""
    def look():
        p = lab.mcp("data", "preflight", "trade", check=False)
        return p.returncode == 0 or pytest.fail(p.stdout) if "FAIL  clock" not in p.stdout else None
    wait_until(look, 60, "clocks to be compared")


def test_a_dry_run_changes_nothing(lab):
    before, told = lab.data(), lab.told()
    assert lab.switchover(SEOUL, "--dry-run")["obstacles"] == []
    refused = lab.mcp("data", "switchover", "trade", "--to", HK, "--dry-run", check=False)
    assert refused.returncode == 3 and "hk2 is the source already" in refused.stdout
    after = lab.data()
    assert [after[k] for k in ("source", "epoch", "change")] == [before[k] for k in ("source", "epoch", "change")]
    assert lab.told() == told


def move(lab, orders, region):
    """One switchover; old sessions end, new ones reach the new source, orders go on."""
    old = [lab.session("hk1"), lab.session("seoul1")]
    epoch = lab.data()["epoch"]
    done = lab.switchover(region)
    assert done["outcome"] == "done", done
    assert [s["step"] for s in done["steps"]] == ["hold", "freeze", "equal", "promote", "release", "reverse"]
    assert all(ended(s) for s in old)
    assert lab.settled(done["to"])["epoch"] == epoch + 1
    orders.flowing()
    for host in ("hk1", "seoul1"):
        with contextlib.closing(lab.session(host)) as s, s.cursor() as c:
            c.execute("SELECT @@server_id")
            assert c.fetchone()[0] == {"hk2": 1, "seoul1": 2}[done["to"]]
    return done


def test_there_and_back_under_orders(lab):
    lab.settled("hk2")
    for turn in range(TURNS):
        with Orders(lab, RATE) as orders:
            done = move(lab, orders, (SEOUL, HK)[turn % 2])
        r = orders.whole()
        print(f"switchover {turn + 1} to {done['to']}: writes waited {done['pause_ms']} ms by its record, "
              f"{r['write_outage_ms']} ms as buyers saw it")
    equal(lab)


def test_lag_under_load(lab):
    """The platform's own figures, of the row that the source writes each second."""
    lab.settled()
    with Orders(lab, LAG_RATE, reads=0) as orders:
        first = len(orders.lines)
        wait_until(lambda: len(orders.lines) >= first + LAG_SECONDS, 60 + LAG_SECONDS, "seconds of load")
        r = lab.data()["replicas"][0]
        print_lag(lab, f"at {LAG_RATE} orders/s offered for {LAG_SECONDS} s")
        assert r["lag_p95_ms"] is not None and r["ship_ms"] is not None
    r = orders.whole()
    print(f"{r['acked'] * 1000 / r['elapsed_ms']:.0f} orders/s acknowledged, latency {r['latency_ms']}")


@contextlib.contextmanager
def frozen(lab, host):
    """The database server of that host, in the middle of whatever it does."""
    pid = lab.unit("db-trade", host)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("hold, outcome", [("120s", "done"), ("4s", "undone")])
def test_a_leader_that_dies_on_the_way_is_followed(lab, hold, outcome):
    """The target cannot apply the last transaction while it is frozen; meanwhile the control that leads is killed.
    Another goes on from the document: to the end when the target comes back, back to the beginning when it does not
    in time. Both are in the timeline."""
    d = lab.settled()
    source, region = d["source"], d["replicas"][0]["region"]
    target = d["replicas"][0]["host"]
    with Orders(lab, RATE) as orders:
        with frozen(lab, target):
            p = lab.start_switchover(region, "--hold", hold)
            wait_until(lambda: (lab.data()["change"] or {}).get("step") == "equal", 60, "the step `equal`")
            leader = lab.leader()
            pid = lab.role(leader, "control")
            os.kill(pid, signal.SIGKILL)
            if outcome == "done":
                wait_until(lambda: lab.role(leader, "control") not in (0, pid), 60, "another control")
            else:
                wait_until(lambda: not lab.data()["change"], 90, "it to be undone")
        out, err = p.communicate(timeout=200)
        last = json.loads(out)
        assert (last["outcome"], p.returncode) == (outcome, 0 if outcome == "done" else 1), out + err
        lab.settled(target if outcome == "done" else source)
        orders.flowing()
    orders.whole()
    told = [m for _, m in lab.told() if m.startswith(f"switchover from {source} to {target}: ")]
    assert f"switchover from {source} to {target}: equal" in told and told[-1].endswith(outcome), told


@contextlib.contextmanager
def harm(lab, what):
    """Gives a function that does it; what it takes away besides is back afterwards. kill -9 of a part, of the host that is
    the source now, of the one that shall be, or of the leader; a whole host; or the line between the regions."""
    d = lab.data()
    kind, _, where = what.partition("-")
    host = {"source": d["source"], "target": d["replicas"][0]["host"], "regions": None}.get(where) or lab.leader()
    if kind == "host":
        yield lambda: lab.mcp("lab", "kill", host)
        lab.mcp("lab", "heal", host)
    elif kind == "cut":
        yield lambda: lab.mcp("lab", "cut", HK, SEOUL)
        lab.mcp("lab", "mend", HK, SEOUL)
    else:
        pid = lab.unit("db-trade", host)["pid"] if kind == "db" else lab.role(host, kind)
        yield lambda: os.kill(pid, signal.SIGKILL)


HARMS = ["db-target", "control-leader", "cut-regions", "host-target", "host-source", "mesh-source", "data-source",
         "data-target", "mesh-target", "db-source", "control-source", "control-target", "agent-source"]


def test_whatever_fails_during_a_switchover_loses_nothing(lab):
    """At any moment of it, before and after the point of no return. It ends, one way or the other, by itself."""
    rng = random.Random(SEED)
    lab.settled()
    with Orders(lab, RATE) as orders:
        for i in range(DEATHS):
            what, after_ms = HARMS[i % len(HARMS)], rng.randrange(1200)
            before = lab.data()
            target = before["replicas"][0]
            with harm(lab, what) as do:
                p = lab.start_switchover(target["region"])
                with contextlib.suppress(subprocess.TimeoutExpired):
                    p.wait(after_ms / 1000)
                do()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    p.wait(20)
            out, err = p.communicate(timeout=400)
            outcome = json.loads(out).get("outcome", out)
            print(f"{what} {after_ms} ms after it began (source {before['source']}): {outcome}", flush=True)
            now = lab.settled()
            if outcome in ("done", "undone"):
                assert now["source"] == (target["host"] if outcome == "done" else before["source"]), (outcome, now)
            orders.flowing(120)
    orders.whole()
    equal(lab)


VICTIMS = ["db-source", "db-replica", "agent-source", "mesh-replica", "agent-replica", "mesh-source"]


def victim_pid(lab, what):
    d = lab.data()
    kind, _, duty = what.partition("-")
    host = d["source"] if duty == "source" else d["replicas"][0]["host"]
    return (host, lab.unit("db-trade", host)["pid"]) if kind == "db" else (host, lab.role(host, kind))


def test_what_is_killed_loses_nothing(lab):
    """kill -9 of database servers, agents and meshes under orders: acknowledged is acknowledged, and replication
    goes on by itself."""
    lab.settled()
    with Orders(lab, RATE) as orders:
        for i in range(ROUNDS):
            what = VICTIMS[i % len(VICTIMS)]
            host, pid = victim_pid(lab, what)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: victim_pid(lab, what)[1] not in (0, pid), 90, f"another {what} on {host}")
            lab.settled()
            orders.flowing(120)
            if LONG:
                print(f"round {i + 1}: {what} on {host}, {orders.acked()} acknowledged so far", flush=True)
        print_lag(lab, f"under orders, after {ROUNDS} kills")
    orders.whole()
    equal(lab)
