# SPDX-License-Identifier: Apache-2.0
"""`mcp traffic` against a platform that lies on command: two regions of one small api over TLS and two name servers, in a
network of their own. What it counts must be what was done to it."""
import asyncio
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

import dns.message
import dns.rcode
import dns.rrset
import pytest
from lablib import BINARY, CLONE_NEWNET, in_thread, libc, wait_until

A, B = "203.0.113.20", "203.0.113.40"
BUYERS = {"KR": "198.51.100.1", "TH": "198.51.100.17"}
PLATFORM = """
platform: shop
domain: shop.test
regions:
  ra: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}
  rb: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}
hosts:
  a1: {region: ra, address: 10.20.0.11, public: true}
  b1: {region: rb, address: 10.40.0.11, public: true}
state: {members: [a1]}
lab: {clients: {KR: 198.51.100.0/28, TH: 198.51.100.16/28}}
routing:
  nameservers: {ns1: ra, ns2: rb}
  default: [ra]
"""


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    d = tmp_path_factory.mktemp("pki")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", d / "ca.key", "-out", d / "ca.pem", "-subj", "/CN=ca", "-days", "2")
    openssl("req", *key, "-keyout", d / "edge.key", "-out", d / "edge.csr", "-subj", "/CN=edge")
    (d / "ext").write_text("subjectAltName=DNS:api.shop.test\n")
    openssl("x509", "-req", "-in", d / "edge.csr", "-CA", d / "ca.pem", "-CAkey", d / "ca.key", "-days", "2", "-extfile",
            d / "ext", "-out", d / "edge.pem")
    return d


class World:
    """Regions ra and rb with one table of orders, and their name servers."""

    def __init__(self, pki):
        self.pki = pki
        self.reset()
        self.open = {"ra": set(), "rb": set()}
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._main, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(10)

    def reset(self):
        self.orders = {}  # key -> [ids]
        self.taken = []  # (region, buyer's address, key) of every POST, in order
        self.questions = []  # (server, buyer's address)
        self.ttl = 1
        self.answer = {BUYERS["KR"]: B, BUYERS["TH"]: A}  # buyer's address -> region's
        self.silent = set()  # name servers that say nothing
        self.on_order = lambda region, key: "take"
        self.on_export = lambda: "give"
        self.connections = {"ra": 0, "rb": 0}

    # ---- in the thread, which stays in the new network

    def _main(self, ready):
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError("unshare")
        for words in ("link set lo up", *(f"addr add {a}/32 dev lo" for a in (A, B, *BUYERS.values()))):
            subprocess.run(["ip", *words.split()], check=True)
        self.netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())
        ready.set()
        self.loop.run_forever()

    async def _serve(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pki / "edge.pem", self.pki / "edge.key")
        self.context = context
        self.servers = {}
        for region, address in (("ra", A), ("rb", B)):
            await self._listen(region, address)
            await self.loop.create_datagram_endpoint(lambda a=address: Nameserver(self, a), (address, 53))

    async def _listen(self, region, address):
        async def client(reader, writer):
            await self._client(region, reader, writer)
        self.servers[region] = await asyncio.start_server(client, address, 443, ssl=self.context, backlog=512)

    async def _client(self, region, reader, writer):
        self.connections[region] += 1
        self.open[region].add(asyncio.current_task())
        try:
            while (said := await self._one(region, reader, writer)) is not None:
                status, value = said
                text = json.dumps(value).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(text)) + text)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        writer.transport.abort()
        self.open[region].discard(asyncio.current_task())

    async def _one(self, region, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        return await self._request(region, writer, head.split(" ")[:2], fields, body)

    async def _request(self, region, writer, line, fields, body):
        method, target = line
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        if method == "POST":
            return await self._place(region, writer.get_extra_info("peername")[0], fields["idempotency-key"], body)
        if url.path.endswith("/export"):
            return self._export(query)
        ids = self.orders.get(query["key"])
        return (200, {"id": ids[0]}) if ids else (404, {})

    async def _place(self, region, buyer, key, body):
        assert json.loads(body)["quantity"] > 0
        self.taken.append((region, buyer, key))
        what = self.on_order(region, key)
        if isinstance(what, int):
            return what, {}
        if what == "hang":
            await asyncio.Event().wait()  # for ever
        known = key in self.orders
        made = f"id-{key}-{len(self.orders.get(key, []))}"
        if what == "twice" or not known:
            if what != "lose":
                self.orders.setdefault(key, []).append(made)
        if what == "mute":
            return None
        ids = self.orders.get(key, [made])
        return 200 if known else 201, {"id": ids[-1], "region": region}

    def _export(self, query):
        if self.on_export() != "give":
            return 503, {}
        rows = sorted((k, i) for k, ids in self.orders.items() for i in ids
                      if k.startswith(query["prefix"]) and k > query.get("after", ""))
        return 200, {"orders": rows[:100], "next": rows[99][0] if len(rows) >= 100 else None}

    # ---- from the tests

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    async def _kill(self, region):
        self.servers[region].close()
        for task in self.open[region]:
            task.cancel()

    def kill(self, region):
        """Its connections break, and nobody listens there any more."""
        self.call(self._kill(region))

    def revive(self, region):
        self.call(self._listen(region, {"ra": A, "rb": B}[region]))

    def enter(self):
        if libc.setns(self.netns, CLONE_NEWNET) != 0:
            os._exit(99)

    def close(self):
        self.kill("ra")
        self.kill("rb")
        wait_until(lambda: not self.open["ra"] and not self.open["rb"])
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        os.close(self.netns)


class Nameserver(asyncio.DatagramProtocol):
    def __init__(self, world, address):
        self.world, self.address = world, address

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        w = self.world
        w.questions.append((self.address, peer[0], time.monotonic()))
        if self.address in w.silent:
            return
        query = dns.message.from_wire(data)
        said = dns.message.make_response(query)
        if query.question[0].name.to_text() == "api.shop.test." and peer[0] in w.answer:
            said.answer.append(dns.rrset.from_text("api.shop.test.", w.ttl, "IN", "A", w.answer[peer[0]]))
        else:
            said.set_rcode(dns.rcode.REFUSED)
        self.transport.sendto(said.to_wire(), peer)


@pytest.fixture(scope="module")
def shared(pki):
    w = World(pki)
    yield w
    w.close()


@pytest.fixture
def world(shared):
    shared.reset()
    return shared


class Traffic:
    def __init__(self, world, folder):
        self.world = world
        self.folder = pathlib.Path(folder)
        self.ledger = self.folder / "ledger"
        (self.folder / "platform.yaml").write_text(PLATFORM)

    def words(self, *args, command="traffic", countries="KR,TH"):
        return [BINARY, *command.split(), "-f", self.folder / "platform.yaml", "--here", "--ca",
                self.world.pki / "ca.pem", "--countries", countries, "--ledger", self.ledger,
                *(("--connections", "16") if command == "traffic" and "--connections" not in args else ()),
                *map(str, args)]

    def start(self, *args, **kw):
        return subprocess.Popen(self.words(*args, **kw), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                preexec_fn=self.world.enter)

    def run(self, *args, status=0, **kw):
        """The report."""
        p = self.start("--json", *args, **kw)
        out, err = p.communicate(timeout=60)
        assert p.returncode == status, (out, err)
        return json.loads(out)

    def keys(self, kind):
        return [int(line.split()[1]) for line in self.ledger.read_text().splitlines() if line.startswith(kind)]


@pytest.fixture
def traffic(world, tmp_path):
    return Traffic(world, tmp_path)


def test_orders_reads_and_answers_kept_for_their_life(world, traffic):
    r = traffic.run("--rate", 100, "--duration", "3s", "--reads", 0.5)
    assert (r["scheduled"], r["acked"], r["present"], r["lost"], r["duplicated"]) == (300, 300, 300, 0, 0), r
    assert r["errors"] == {} and r["not_sent"] == r["unanswered"] == 0 and r["compared"]
    assert 80 <= r["reads"]["answered"] <= 150 and r["reads"]["stale"] == 0
    by = r["by_country"]
    assert all(v["reads"]["answered"] > 30 for v in by.values())
    assert {c: v["regions"] for c, v in by.items()} == {"KR": {"rb": 150}, "TH": {"ra": 150}}
    assert 0 < by["KR"]["latency_ms"]["p50"] <= by["KR"]["latency_ms"]["p95"] <= by["KR"]["latency_ms"]["max"]
    assert 0 < r["write_outage_ms"]
    # From the buyers' own addresses, and never more often than the answer's life of a second allows.
    assert {(reg, buyer) for reg, buyer, _ in world.taken} == {("rb", BUYERS["KR"]), ("ra", BUYERS["TH"])}
    for buyer in BUYERS.values():
        asked = [t for _, who, t in world.questions if who == buyer]
        assert len(asked) >= 3 and all(b - a >= 0.99 for a, b in zip(asked, asked[1:])), asked
    assert world.connections["ra"] + world.connections["rb"] < 40, "connections are kept"
    # The ledger has it all, and can be compared again.
    assert sorted(traffic.keys("i")) == sorted(traffic.keys("a")) == list(range(300))
    again = traffic.run(command="traffic compare")
    assert (again["acked"], again["present"], again["lost"]) == (300, 300, 0)
    text = subprocess.run(traffic.words(command="traffic compare"), capture_output=True, text=True,
                          preexec_fn=world.enter).stdout
    assert "300 acknowledged, 300 present, 0 lost, 0 duplicated" in text
    refused = traffic.run("--duration", "1s", status=1)
    assert "create the ledger" in refused["error"]["message"]


def test_what_is_lost_or_there_twice_is_found(world, traffic):
    seen = set()

    def twice(region, key):
        """The first attempt is taken and not answered; the second makes another order."""
        if key.endswith("00000011"):
            first = key not in seen
            seen.add(key)
            return "mute" if first else "twice"
        return "lose" if key.endswith("00000017") else "take"
    world.on_order = twice
    r = traffic.run("--rate", 50, "--duration", "1s", status=1)
    run = r["run"]
    assert (r["acked"], r["present"], r["lost"], r["duplicated"]) == (50, 49, 1, 1)
    assert r["lost_keys"] == [f"{run}-00000017"] and r["errors"] == {"closed": 1} and r["retries"] == 1


def test_an_unanswered_commit_is_one_order(world, traffic):
    seen = set()

    def mute_once(region, key):
        first = key not in seen
        seen.add(key)
        return "mute" if first and key[-1] in "05" else "take"
    world.on_order = mute_once
    r = traffic.run("--rate", 100, "--duration", "2s")
    assert (r["acked"], r["present"], r["lost"], r["duplicated"]) == (200, 200, 0, 0)
    assert r["acked_again"] == r["errors"]["closed"] == r["retries"] == 40
    assert len(world.taken) == 240


def test_an_outage_of_writes_is_measured(world, traffic):
    begin = []

    def outage(region, key):
        now = time.monotonic()
        if not begin and key.endswith("00000100"):
            begin.append(now)
        return 503 if begin and now - begin[0] < 1.5 else "take"
    world.on_order = outage
    p = traffic.start("--rate", 100, "--duration", "4s", "--reads", 1, "--progress", "jsonl")
    lines = [json.loads(line) for line in p.communicate(timeout=60)[0].splitlines()]
    r = lines[-1]
    assert p.returncode == 0 and r["phase"] == "report"
    assert r["acked"] == r["present"] == 400 - r["not_sent"] > 350
    assert r["write_outage_ms"] >= 1400
    assert r["read_outage_ms"] < r["write_outage_ms"] and set(r["errors"]) == {"http_503"}
    assert all(c["write_outage_ms"] >= 1400 for c in r["by_country"].values())
    seconds = [s for s in lines[:-1] if s["phase"] == "run"]
    assert len(seconds) >= 3 and any(s["write_gap_ms"] > 300 for s in seconds) and seconds[0]["acked_now"] > 50
    assert seconds[0]["by_country"]["KR"]["region"] == "rb"


def test_a_region_dies_and_its_buyers_follow_the_dns(world, traffic):
    p = traffic.start("--json", "--rate", 100, "--duration", "6s", "--reads", 0.5)
    wait_until(lambda: len(world.taken) > 100)
    world.kill("rb")
    dead = time.monotonic()
    try:
        # An answer lives on for what is left of its second; the next one names the dead region once more.
        wait_until(lambda: any(who == BUYERS["KR"] and t > dead for _, who, t in world.questions))
        world.answer[BUYERS["KR"]] = A
        out, err = p.communicate(timeout=60)
    finally:
        world.revive("rb")
    r = json.loads(out)
    assert p.returncode == 0, err
    assert r["acked"] == r["present"] + r["lost"] and r["lost"] == r["unanswered"] == 0
    kr, th = r["by_country"]["KR"], r["by_country"]["TH"]
    assert set(kr["regions"]) == {"ra", "rb"} and set(th["regions"]) == {"ra"}
    assert kr["write_outage_ms"] > 0
    assert kr["errors"].get("connect") and th["errors"] == {}


def test_a_silent_name_server(world, traffic):
    world.silent = {A}
    r = traffic.run("--rate", 50, "--duration", "2s", "--patience", "10s")
    assert r["lost"] == 0 and r["acked"] + r["not_sent"] == 100 and r["acked"] > 50
    servers = [s for s, who, _ in world.questions if who == BUYERS["KR"]]
    assert servers.count(A) == 1 and servers.count(B) >= 1, "whoever answered is asked first"
    world.reset()
    world.silent = {A, B}
    traffic.ledger.unlink()
    r = traffic.run("--rate", 20, "--duration", "1500ms", "--patience", "2s", status=1)
    assert r["sent"] == 0 and r["not_sent"] == r["scheduled"] == 30 and not r["compared"] and r["lost"] is None
    assert r["compare_error"] == "no name server answers"
    assert r["write_outage_ms"] >= 1500


def test_open_loop(world, traffic):
    """Nobody answers: orders are due all the same, and what cannot be sent is counted."""
    world.on_order = lambda region, key: "hang"
    start = time.monotonic()
    p = traffic.start("--json", "--rate", 100, "--duration", "2s", "--connections", 4, "--patience", "3s")
    r = json.loads(p.communicate(timeout=60)[0])
    assert r["scheduled"] == 200 and r["sent"] == 4 and r["not_sent"] == 196, r
    assert (r["acked"], r["unanswered"]) == (0, 4) and r["write_outage_ms"] >= 4900
    assert time.monotonic() - start < 20
    world.reset()
    traffic.ledger.unlink()
    r = traffic.run("--rate", 50, "--duration", "1s", "--in-flight", 1, "--connections", 50)
    assert r["lost"] == 0 and r["acked"] == r["sent"]


def test_stopped_and_killed(world, traffic):
    p = traffic.start("--json", "--rate", 100)
    wait_until(lambda: len(world.taken) > 50)
    p.send_signal(signal.SIGINT)
    r = json.loads(p.communicate(timeout=60)[0])
    assert p.returncode == 0 and r["interrupted"] and r["compared"] and r["acked"] == r["present"] >= 50
    traffic.ledger = traffic.folder / "second"
    world.taken.clear()
    p = traffic.start("--json", "--rate", 500)
    wait_until(lambda: len(world.taken) > 200)
    p.kill()
    p.communicate()
    acked = set(traffic.keys("a")) if traffic.ledger.read_bytes().endswith(b"\n") else None
    r = traffic.run(command="traffic compare")
    assert r["compared"] and r["lost"] == 0 and r["acked"] == r["present"] >= 100
    assert acked is None or r["acked"] == len(acked)
    # An order whose answer the client did not live to hear is in the database, and in the ledger as intended.
    assert len(world.orders) - r["acked"] >= r["unacked_present"] >= 0 and r["strangers"] == 0
    with open(traffic.ledger, "a") as f:
        f.write("a 3 id-that-was-cut")
    r = traffic.run(command="traffic compare")
    assert r["torn"] and r["lost"] == 0


def test_nothing_to_compare_with(world, traffic):
    world.on_export = lambda: "refuse"
    r = traffic.run("--rate", 50, "--duration", "500ms", "--patience", "1s", status=1)
    assert r["acked"] == 25 and not r["compared"] and "status 503" in r["compare_error"]
    world.on_export = lambda: "give"
    assert traffic.run(command="traffic compare")["present"] == 25


def test_a_disk_that_is_full(world, traffic):
    """What cannot be written down is not acknowledged: the run ends."""
    small = traffic.folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", small], check=True)
    try:
        traffic.ledger = small / "ledger"
        r = traffic.run("--rate", 500, "--duration", "20s", status=1)
        assert "write the ledger" in r["error"]["message"], r
    finally:
        subprocess.run(["umount", small], check=True)


def test_words_that_are_wrong(traffic):
    for args, words in ((("--rate", "0"), "--rate"), (("--reads", "x"), "--reads"), (("--connections", "0"), "1 to"),
                        (("--progress", "dots"), "jsonl"), (("--countries", "XX"), "no buyer in 'XX'"),
                        (("--name", "a..b"), "is no name")):
        p = subprocess.run(traffic.words(*args), capture_output=True, text=True, preexec_fn=traffic.world.enter)
        assert p.returncode == 2 and words in p.stderr, (args, p.stderr)
    p = subprocess.run([BINARY, "traffic", "compare", "--here", "-f", traffic.folder / "platform.yaml"],
                       capture_output=True, text=True)
    assert p.returncode == 2 and "--ledger" in p.stderr
