# SPDX-License-Identifier: Apache-2.0
"""A source that cannot prove any more that it is the source: it acknowledges nothing after its deadline, and ends itself."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import uuid

import dns.message
import dns.query
import pymysql
import pytest
from lablib import Lab, enter_netns, in_thread, unique_name, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIR = "/var/lib/mcp/data/trade"
HK, SEOUL, BKK = "ap-hongkong", "ap-seoul", "ap-bangkok"
LEASE = 15
PLATFORM = f"""platform: @
domain: trade.example
regions:
  {HK}: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
  {SEOUL}: {{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}
  {BKK}: {{duty: serving, address: 203.0.113.60, network: 10.60.0.0/16}}
hosts:
  hk1: {{region: {HK}, address: 10.20.0.11, public: true}}
  seoul1: {{region: {SEOUL}, address: 10.40.0.11, public: true}}
  bkk1: {{region: {BKK}, address: 10.60.0.11, public: true}}
state: {{members: [hk1, seoul1, bkk1]}}
routing:
  nameservers: {{ns1: {HK}, ns2: {SEOUL}}}
  default: [{HK}]
  on_failure: [dr, main]
data:
  trade:
    source: {HK}
    replicas: [{SEOUL}]
    schema: "{ROOT}/example/schema/trade.sql"
    limits: {{memory: 512MiB, cpu: 2}}
    failover: {{auto: false, lease: {LEASE}s}}
modules:
  api:
    image: "oci:{ROOT}/example/images/api"
    port: 8080
    health: {{path: /healthz}}
    route: {{names: [api.trade.example], path: /v1, auth: none}}
    needs: [{{data: trade, access: write, tables: [orders]}}]
    regions: {{{HK}: 1}}
    limits: {{memory: 64MiB, cpu: 2, pids: 32}}
"""


ORDER = ("INSERT INTO orders (id, idem_key, country, customer, item, quantity, amount_cents, region, created_at) "
         "VALUES (%s, %s, 'KR', 'kim', 'tea', 1, 100, 'ap-hongkong', NOW(6))")


def boot_clock():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Trade(Lab):
    def __init__(self, folder):
        super().__init__(PLATFORM, name=unique_name("lease"), folder=folder)

    def declare(self, text):
        self.file.write_text(text.replace("@", self.name))

    def value(self, host, statement):
        """None: the server does not answer."""
        p = self.exec(host, "mariadb", "--no-defaults", "-NB", "-S", f"{DIR}/run/db.sock", "-e", statement, check=False)
        return p.stdout.strip() if p.returncode == 0 else None

    def data(self):
        return json.loads(self.mcp("data", "status", "trade", "--json").stdout)

    def settled(self):
        def look():
            d = self.data()
            return d["state"] == "writable" and d["replicas"][0]["state"] == "replicating" and d
        return wait_until(look, 120, "hk1 to write and seoul1 to replicate")

    def server(self, host="hk1"):
        return wait_until(lambda: next(u["pid"] for u in self.status()["units"]
                                       if (u["name"], u["host"]) == ("db-trade", host)), 60, "the server to run")

    def role(self, host, name):
        roles = next(h for h in self.status()["hosts"] if h["name"] == host)["roles"]
        return next(r["pid"] for r in roles if r["name"] == name)

    def entries(self):
        return [json.loads(line) for line in self.mcp("timeline", "-n", 2000, "--json").stdout.splitlines()]

    def told(self):
        return [e["message"] for e in self.entries()]

    def isolate(self, *others):
        for other in others:
            self.mcp("lab", "cut", HK, other)

    def join(self):
        for other in (SEOUL, BKK):
            self.mcp("lab", "mend", HK, other)

    def session(self):
        """A session with the database as the api of hk1 has one."""
        pid = next(u["pid"] for u in self.status()["units"] if (u["name"], u["host"]) == ("api-1", "hk1"))
        servers = re.findall(r"nameserver (\S+)", pathlib.Path(f"/proc/{pid}/root/etc/resolv.conf").read_text())

        def make():
            enter_netns(f"/proc/{pid}/ns/net")
            reply = dns.query.udp(dns.message.make_query("trade.rw.mcp.internal", "A"), servers[0], timeout=5)
            address = next(r.address for rrset in reply.answer for r in rrset)
            return socket.create_connection((address, 3306), 10)
        login = json.loads(pathlib.Path(f"/proc/{pid}/root/run/secrets/trade").read_text())
        s = pymysql.connect(user=login["user"], password=login["password"], database="trade", defer_connect=True,
                            autocommit=True, read_timeout=30, write_timeout=30)
        s.connect(in_thread(make))
        return s


class Writer:
    """Writes again and again until stopped; knows when the last one was acknowledged."""

    def __init__(self, lab):
        self.lab, self.acked, self.last, self.stopped = lab, 0, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        n = self.acked
        wait_until(lambda: self.acked > n + 3, 60, "writes")
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.thread.join()

    def run(self):
        session = None
        while not self.stopped.wait(0.02):
            try:
                session = session or self.lab.session()
                with session.cursor() as c:
                    c.execute(ORDER, (str(uuid.uuid4()), str(uuid.uuid4())))
                self.acked, self.last = self.acked + 1, boot_clock()
            except (pymysql.Error, OSError, AssertionError, StopIteration, subprocess.TimeoutExpired):
                session = None


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Trade(tmp_path_factory.mktemp("lease")) as lab:
        lab.up()
        lab.settled()
        yield lab


def gone(pid):
    return not pathlib.Path(f"/proc/{pid}").exists() or "\nState:\tZ" in pathlib.Path(f"/proc/{pid}/status").read_text()


def test_cut_off_from_the_state_store(lab):
    """What was acknowledged last was so before the deadline, the server is killed, and comes back read-only; when the
    state store is reached again it writes on, at its epoch."""
    d = lab.settled()
    server = lab.server()
    assert any("its lease of epoch 1 is held" in m for m in lab.told())
    with Writer(lab) as writer:
        lab.isolate(SEOUL, BKK)
        cut = boot_clock()
        wait_until(lambda: gone(server), 60, "the server to be killed")
        after = boot_clock()
        wait_until(lambda: lab.value("hk1", "SELECT @@global.read_only") == "1", 60, "the server to be back")
        acked = writer.acked
        assert writer.last < cut + LEASE, f"acknowledged {writer.last - cut:.2f} s after the cut"
        print(f"last acknowledgement {writer.last - cut:.2f} s after the cut, killed by {after - cut:.2f} s")
        lab.join()
        wait_until(lambda: writer.acked > acked, 120, "writes to go on")
    assert lab.settled()["epoch"] == d["epoch"]
    assert any("the server was killed: its lease has ended" in m for m in lab.told())


def test_a_server_that_dies_gives_its_lease_back(lab):
    """Its end is told at once, nobody needs to wait for the lease; the server comes back in place and writes on."""
    lab.settled()
    os.kill(lab.server(), signal.SIGKILL)
    wait_until(lambda: any("the server does not run" in json.dumps(e) for e in lab.entries()), 60, "the end of the lease")
    lab.settled()


def test_the_watchdog_needs_nobody(lab):
    """Everything that could end the lease stands still: the watchdog does it."""
    lab.settled()
    server, frozen = lab.server(), [lab.service_pid("hk1"), lab.role("hk1", "data"), lab.role("hk1", "control")]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: gone(server), 60, "the server to be killed")
    finally:
        for pid in reversed(frozen):
            os.kill(pid, signal.SIGCONT)
    lab.settled()


STOOD_STILL = "the server was killed: it stood still"


def test_a_slow_server_is_not_ended(lab):
    """Most of its time it stands still, and checks of it are missed; but it gets on in between."""
    lab.settled()
    server = lab.server()
    for _ in range(4):
        for sign, then in ((signal.SIGSTOP, 1.6), (signal.SIGCONT, 0.4)):
            os.kill(server, sign)
            until = boot_clock() + then
            wait_until(lambda: boot_clock() >= until, 10, "a moment")
    assert not gone(server) and lab.server() == server
    assert not any(STOOD_STILL in m for m in lab.told())
    lab.settled()


def test_a_frozen_server_is_ended_by_its_own_host(lab):
    """Long before its lease is over; that is proof that it writes nothing, so the lease is given back. It comes back in
    place and writes on."""
    lab.settled()
    server = lab.server()
    os.kill(server, signal.SIGSTOP)
    begun = boot_clock()
    wait_until(lambda: gone(server), 60, "the server to be killed")
    print(f"a frozen server was ended {boot_clock() - begun:.1f} s after it froze")
    wait_until(lambda: any(STOOD_STILL in m for m in lab.told()), 60, "it to be told")
    d = lab.settled()
    assert d["epoch"] == 1
    print(f"it writes {boot_clock() - begun:.1f} s after it froze")
    assert any("the server does not run" in json.dumps(e) for e in lab.entries())
