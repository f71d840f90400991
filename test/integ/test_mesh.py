# SPDX-License-Identifier: Apache-2.0
"""Mesh roles as processes, locked in as in production: two hosts with a cable between them, units that are addresses
on their loopbacks, certificates made here. Who may call whom, by which certificate, and what is told of the rest."""
import contextlib
import os
import pathlib
import select
import signal
import socket
import threading
import time

import dns.message
import dns.rdatatype
import pytest

from meshlib import PLATFORM, Host, Pki, cable
from role import CLONE_NEWNET, LIBC

IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; Python does not name it
REQUESTS = int(os.environ.get("MCP_MESH_REQUESTS", "1000000" if os.environ.get("MCP_DRILLS") else "20000"))


class Server:
    """An instance: says its name and echoes what comes, to the end."""

    def __init__(self, machine, name, address, port):
        self.name, self.count = name, 0
        self.listener = machine.listener(socket.SOCK_STREAM, address, port)
        self.listener.setblocking(True)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        with conn, contextlib.suppress(OSError):
            conn.sendall(self.name.encode() + b"\n")
            while data := conn.recv(65536):
                conn.sendall(data)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def name_of(conn):
    """What the instance says first; raises when the connection is refused."""
    line = b""
    while not line.endswith(b"\n"):
        part = conn.recv(1)
        if not part:
            raise ConnectionResetError("closed")
        line += part
    return line.decode().strip()


def is_refused(connect):
    """The connection that connect() makes ends without a byte."""
    try:
        with connect() as conn:
            conn.sendall(b"x")
            return conn.recv(10) == b""
    except OSError:
        return True


class Pair:
    """hk1 and hk2. web, api and ai: api needs ai. web-1 and api-1 run on hk1; ai-1 on hk1, ai-2 on hk2."""
    WEB, API, AI1 = "100.127.0.2", "100.127.0.3", "100.127.0.4"
    AI2 = "100.126.0.4"

    def __init__(self, folder):
        self.pki = Pki(folder / "pki")
        self.foreign = None
        self.folder = folder
        self.a, self.b = Host("hk1", "10.20.0.11", 127), Host("hk2", "10.20.0.12", 126)
        cable(self.a, self.b)
        for h in (self.a, self.b):
            h.start()
        self.a.servers["ai-1"] = Server(self.a.machine, "ai-1", self.AI1, 8080)
        self.b.servers["ai-2"] = Server(self.b.machine, "ai-2", self.AI2, 8080)
        self.tell()

    def modules(self, host, targets=("ai-1", "ai-2"), callers=("api",)):
        all_targets = {
            "ai-1": {"unit": "ai-1", "host": "hk1", "addresses": [self.AI1 if host is self.a else self.a.address]},
            "ai-2": {"unit": "ai-2", "host": "hk2", "addresses": [self.AI2 if host is self.b else self.b.address]}}
        for t in all_targets.values():
            t["tier"] = 0 if t["host"] == host.name else 1
        return {"web": {"port": 8080, "callers": [], "edges": ["hk1"], "targets": []},
                "api": {"port": 8080, "callers": [], "edges": [], "targets": []},
                "ai": {"port": 8080, "callers": list(callers), "edges": ["hk1"],
                       "targets": [all_targets[t] for t in targets]}}

    def tell(self, targets=("ai-1", "ai-2"), callers=("api",), identities=True, waits=None):
        api = {"unit": "api-1", "module": "api"} | ({"waits": waits} if waits else {})
        if identities:
            self.a.identities(self.pki.ca, *[self.pki.leaf(n) for n in ("module/web", "module/api", "module/ai",
                                                                        "edge/hk1")])
            self.b.identities(self.pki.ca, self.pki.leaf("module/ai"))
        self.a.view(self.modules(self.a, targets, callers),
                    [{"address": self.a.vip(1), "module": "ai"},
                     {"address": self.a.vip(2), "module": "ai", "target":
                      {"unit": "ai-2", "host": "hk2", "addresses": [self.b.address]}}],
                    {self.WEB: {"unit": "web-1", "module": "web"}, self.API: api},
                    {"api": [{"name": "psp.example", "below": False, "port": 0},
                             {"name": "maps.example", "below": True, "port": 8443},
                             {"name": "inside.example", "below": False, "port": 0},
                             {"name": "nowhere.example", "below": False, "port": 0},
                             {"name": "silent.example", "below": False, "port": 0}]})
        self.b.view(self.modules(self.b, targets, callers), [])

    def call(self, source=None, vip=1):
        return self.a.connect(source or self.API, self.a.vip(vip))

    def close(self):
        self.a.close()
        self.b.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    p = Pair(tmp_path_factory.mktemp("mesh"))
    yield p
    p.close()


@pytest.fixture
def pair(both):
    both.tell()
    return both


def test_the_instance_of_the_same_host_is_called_first(pair):
    for _ in range(4):
        with pair.call() as c:
            assert name_of(c) == "ai-1"
            c.sendall(b"hello")
            assert c.recv(10) == b"hello"


def test_an_instance_of_another_host_is_called_over_tls(pair):
    pair.tell(targets=["ai-2"])
    before = pair.b.role.metric("mcp_mesh_links_total")
    for _ in range(3):
        with pair.call() as c:
            assert name_of(c) == "ai-2"
            data = os.urandom(300_000)
            threading.Thread(target=c.sendall, args=(data,)).start()
            got = b""
            while len(got) < len(data):
                got += c.recv(65536)
            assert got == data
    assert pair.b.role.metric("mcp_mesh_links_total") == before + 3


def test_an_instance_that_its_own_host_hears_of_last_is_called(pair):
    """The caller's host knows of it first: it is there in a moment, or it is not."""
    modules = pair.modules(pair.b)
    modules["ai"]["targets"] = []
    pair.b.view(modules, [])
    with pair.call(pair.a.gateway(), 2) as c:
        c.sendall(b"early")
        assert not select.select([c], [], [], 0.2)[0]
        pair.b.view(pair.modules(pair.b), [])
        assert name_of(c) == "ai-2" and c.recv(5) == b"early"
    pair.b.view(modules, [])
    begun = time.monotonic()
    assert is_refused(lambda: pair.call(pair.a.gateway(), 2))
    assert 0.8 < time.monotonic() - begun < 20


def test_calls_to_another_host_follow_each_other_on_one_connection(pair):
    """Each is looked at by itself all the same: needs that are taken away end it."""
    pair.tell(targets=["ai-2"])
    assert hammer(pair, 200, threads=1) == []
    made = pair.a.role.metric("mcp_mesh_dials_total")
    assert hammer(pair, 200, threads=1) == []
    assert pair.a.role.metric("mcp_mesh_dials_total") - made < 20
    assert pair.a.role.metric("mcp_mesh_kept") > 0
    pair.b.view(pair.modules(pair.b, ["ai-2"], ["web"]), [])
    before = pair.b.servers["ai-2"].count
    assert is_refused(pair.call)
    assert pair.b.servers["ai-2"].count == before
    assert any("spiffe://reindeers/module/api tried to call ai: not in its needs" in m for m in pair.b.refusals())


def wait_stored(host):
    """Until the last view lies on the host's disk."""
    told = "/var/lib/mcp/mesh/view.json"
    while f'"seq":{host.seq}' not in host.machine.run("sh", "-c", f"cat {told} || true"):
        pass
    return told


def test_a_kept_connection_that_died_is_nobodys_failure(pair):
    pair.tell(targets=["ai-2"])
    assert hammer(pair, 50, threads=2) == []
    kept = pair.b.role.wait_kept(0)
    wait_stored(pair.b)
    pair.b.role.kill()
    pair.b.role.close()
    links, pair.b.links = pair.b.links, pair.b.links + kept
    pair.b.start()
    pair.b.links = links
    assert hammer(pair, 50, threads=2) == []


def test_the_next_is_called_when_one_refuses(pair):
    pair.a.servers["ai-1"].close()
    try:
        with pair.call() as c:
            assert name_of(c) == "ai-2"
    finally:
        pair.a.servers["ai-1"] = Server(pair.a.machine, "ai-1", pair.AI1, 8080)


def test_each_end_is_passed_on_by_itself(pair):
    for targets in (["ai-1"], ["ai-2"]):
        pair.tell(targets=targets)
        with pair.call() as c:
            name_of(c)
            c.sendall(b"last words")
            c.shutdown(socket.SHUT_WR)
            got = b""
            while part := c.recv(100):
                got += part
            assert got == b"last words"


def test_what_nobody_declared_is_refused_and_told(pair):
    before = pair.a.servers["ai-1"].count
    assert is_refused(lambda: pair.call(pair.WEB))
    assert is_refused(lambda: pair.call("100.127.0.9"))  # nobody's address
    assert is_refused(lambda: pair.call(pair.API, vip=2))  # the edge's way to ai-2
    assert pair.a.servers["ai-1"].count == before
    assert "web tried to call ai: not in its needs" in pair.a.refusals()
    assert any("100.127.0.9 tried to call ai" in m for m in pair.a.refusals())
    told = [m["params"] for m in pair.a.role.said if m.get("method") == "timeline"]
    assert {"kind": "mesh", "subject": "web"}.items() <= told[0].items()


def test_needs_that_change_hold_from_the_next_connection_on(pair):
    with pair.call() as old:
        name_of(old)
        pair.tell(callers=["web"])
        assert is_refused(pair.call)
        with pair.call(pair.WEB) as c:
            assert name_of(c).startswith("ai-")
        old.sendall(b"still here")
        assert old.recv(20) == b"still here"


def test_a_unit_that_is_not_admitted_calls_nobody(pair):
    """Neither from now on, nor on what it has open, and who tries on and on fills no timeline."""
    with pair.call() as old, pair.call() as other:
        name_of(old), name_of(other)
        before = len(pair.a.refusals())
        pair.tell(waits="standby: admitted by promotion")
        for conn in (old, other):
            with contextlib.suppress(ConnectionResetError):
                assert conn.recv(10) == b""
    assert is_refused(pair.call) and is_refused(pair.call)
    with pair.a.connect(pair.API, pair.a.gateway(), 3128) as c:
        c.sendall(b"CONNECT psp.example:443 HTTP/1.1\r\n\r\n")
        said = b""
        while part := c.recv(65536):
            said += part
    assert said.startswith(b"HTTP/1.1 403 ") and b"standby: admitted by promotion" in said
    assert len(pair.a.refusals()) == before
    pair.tell()
    with pair.call() as c:
        assert name_of(c).startswith("ai-")


def test_the_edge_reaches_an_instance_of_another_host(pair):
    with pair.a.connect(pair.a.gateway(), pair.a.vip(2)) as c:
        assert name_of(c) == "ai-2"


WRONG = ["foreign CA", "another module", "another platform", "expired", "two names", "a host's"]


@pytest.mark.parametrize("what", WRONG)
def test_a_caller_with_a_wrong_certificate_is_refused(pair, what):
    """hk1 shows it; hk2 must not let it through, whatever hk1's view says."""
    pair.foreign = pair.foreign or Pki(pair.folder / "foreign")
    leaf = {"foreign CA": lambda: pair.foreign.leaf("module/api"),
            "another module": lambda: pair.pki.leaf("module/api", f"spiffe://{PLATFORM}/module/web"),
            "another platform": lambda: pair.pki.leaf("module/api", "spiffe://other/module/api"),
            "expired": lambda: pair.pki.leaf("module/api", expired=True),
            "two names": lambda: pair.pki.leaf("module/api", f"spiffe://{PLATFORM}/module/api,URI:spiffe://x/y"),
            "a host's": lambda: pair.pki.leaf("module/api", f"spiffe://{PLATFORM}/host/hk1")}[what]()
    pair.tell(targets=["ai-2"])
    before = pair.b.servers["ai-2"].count
    pair.a.identities(pair.pki.ca, leaf)
    assert is_refused(pair.call)
    assert pair.b.servers["ai-2"].count == before


@pytest.mark.parametrize("what", WRONG)
def test_a_host_that_does_not_prove_the_module_is_not_spoken_to(pair, what):
    pair.foreign = pair.foreign or Pki(pair.folder / "foreign")
    leaf = {"foreign CA": lambda: pair.foreign.leaf("module/ai"),
            "another module": lambda: pair.pki.leaf("module/ai", f"spiffe://{PLATFORM}/module/web"),
            "another platform": lambda: pair.pki.leaf("module/ai", "spiffe://other/module/ai"),
            "expired": lambda: pair.pki.leaf("module/ai", expired=True),
            "two names": lambda: pair.pki.leaf("module/ai", f"spiffe://{PLATFORM}/module/ai,URI:spiffe://x/y"),
            "a host's": lambda: pair.pki.leaf("module/ai", f"spiffe://{PLATFORM}/host/hk2")}[what]()
    pair.tell(targets=["ai-2"])
    before = pair.b.servers["ai-2"].count
    pair.b.identities(pair.pki.ca, leaf)
    assert is_refused(pair.call)
    assert pair.b.servers["ai-2"].count == before


def test_certificates_change_under_open_connections(pair):
    pair.tell(targets=["ai-2"])
    with pair.call() as c:
        name_of(c)
        new = Pki(pair.folder / "renewed")
        pair.a.identities(new.ca, new.leaf("module/api"), new.leaf("edge/hk1"))
        pair.b.identities(new.ca, new.leaf("module/ai"))
        c.sendall(b"as before")
        assert c.recv(20) == b"as before"
        with pair.call() as fresh:
            assert name_of(fresh) == "ai-2"


def test_a_restart_refuses_nobody(pair):
    """Its sockets outlive it, its view and certificates are on its disk, and nobody has told the new one anything."""
    host = pair.a
    kept = host.role.wait_kept(2)
    told = wait_stored(host)
    assert host.machine.run("stat", "-c", "%a", told, "/var/lib/mcp/mesh/identities.json") == "600\n600\n"
    host.role.kill()
    with pair.call() as queued, pair.call(pair.WEB) as refused:
        host.role.close()
        links, host.links = host.links, host.links + kept
        host.start()
        assert name_of(queued).startswith("ai-")
        assert is_refused(lambda: refused)
    host.links = links


def test_an_orderly_stop_waits_for_what_moves(pair):
    host = pair.a
    kept = host.role.wait_kept(2)
    wait_stored(host)
    with pair.call() as silent, pair.call() as busy:
        name_of(silent)
        name_of(busy)
        host.role.process.send_signal(signal.SIGTERM)
        busy.sendall(b"1")
        until = time.monotonic() + 20
        while time.monotonic() < until:  # as long as it goes back and forth
            assert busy.recv(1) == b"1"
            busy.sendall(b"1")
            if select.select([silent], [], [], 0.02)[0]:
                break
        assert silent.recv(1) == b""  # ended in order, not broken
        busy.close()
    assert host.role.process.wait(20) == 0
    host.role.close()
    links, host.links = host.links, host.links + kept
    host.start()
    host.links = links


def test_a_slow_reader_holds_the_sender_not_memory(pair):
    pair.tell(targets=["ai-2"])
    before = anonymous_kib(pair.a.role)
    with pair.call() as c:
        name_of(c)
        c.settimeout(1)
        sent = 0
        with contextlib.suppress(socket.timeout):
            while sent < 256 << 20:
                sent += c.send(b"x" * 65536)
        assert sent < 64 << 20
        assert anonymous_kib(pair.a.role) - before < 4096 or is_sanitized(pair.a.role)


OUTSIDE = "9.9.9.9"  # on hk1's loopback, which is all the internet that there is here


class Names:
    """The resolver of hk1: answers units and the mesh, and remembers what it was asked."""

    def __init__(self, host):
        self.asked = []
        self.answers = {"psp.example.": OUTSIDE, "eu.maps.example.": OUTSIDE, "inside.example.": "10.20.0.11"}
        self.socket = host.machine.listener(socket.SOCK_DGRAM, host.gateway(), 53)
        self.socket.setblocking(True)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            data, who = self.socket.recvfrom(4096)
            q = dns.message.from_wire(data)
            name = q.question[0].name.to_text()
            self.asked.append((name, who[0]))
            if name == "silent.example.":
                continue
            r = dns.message.make_response(q, recursion_available=True)
            if name in self.answers and q.question[0].rdtype == dns.rdatatype.A:
                r.answer.append(dns.rrset.from_text(name, 300, "IN", "A", self.answers[name]))
            self.socket.sendto(r.to_wire(), who)


class Outside:
    """Keeps what it was sent, says one answer."""

    def __init__(self, machine, port):
        self.seen = []
        self.listener = machine.listener(socket.SOCK_STREAM, OUTSIDE, port)
        self.listener.setblocking(True)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            conn, _ = self.listener.accept()
            with conn, contextlib.suppress(OSError):
                self.seen.append(conn.recv(65536))
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")


@pytest.fixture(scope="module")
def internet(both):
    both.a.machine.run("ip", "addr", "add", OUTSIDE + "/32", "dev", "lo")
    return Names(both.a), {port: Outside(both.a.machine, port) for port in (80, 443, 8443)}


def ask_proxy(pair, request, source=None, then=b""):
    """Everything that comes back."""
    with pair.a.connect(source or pair.API, pair.a.gateway(), 3128) as c:
        c.sendall(request)
        got = b""
        if then:
            while b"\r\n\r\n" not in got:
                got += c.recv(65536)
            c.sendall(then)
        while part := c.recv(65536):
            got += part
    return got.decode()


def test_a_declared_name_outside_is_reached(pair, internet):
    names, servers = internet
    said = ask_proxy(pair, b"CONNECT PSP.example:443 HTTP/1.1\r\nHost: psp.example:443\r\n\r\n", then=b"hello tls")
    assert said.startswith("HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK")
    assert servers[443].seen == [b"hello tls"] and names.asked[-1] == ("psp.example.", pair.a.vip(250))
    said = ask_proxy(pair, b"CONNECT eu.maps.example:8443 HTTP/1.1\r\nHost: x\r\n\r\n", then=b"x")
    assert "Connection established" in said


def test_a_plain_request_is_written_anew(pair, internet):
    _, servers = internet
    said = ask_proxy(pair, b"POST http://psp.example/pay?x=1 HTTP/1.1\r\nHost: psp.example\r\nProxy-Connection: keep-alive\r\n"
                     b"Proxy-Authorization: Basic c2VjcmV0\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nAccept: */*\r\n"
                     b"Content-Length: 5\r\n\r\nmoney")
    assert said.endswith("yes")
    head, _, body = servers[80].seen[-1].partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [b"POST /pay?x=1 HTTP/1.1", b"Host: psp.example", b"Connection: close", b"Accept: */*",
                                    b"Content-Length: 5"]
    assert body == b"money"


@pytest.mark.parametrize("request_line,source,status,words", [
    ("CONNECT other.example:443 HTTP/1.1", None, 403, "not in its egress"),
    ("CONNECT psp.example:22 HTTP/1.1", None, 403, "not in its egress"),
    ("CONNECT maps.example:8443 HTTP/1.1", None, 403, "not in its egress"),
    ("CONNECT evilmaps.example:8443 HTTP/1.1", None, 403, "not in its egress"),
    ("CONNECT 9.9.9.9:443 HTTP/1.1", None, 403, "not in its egress"),
    ("CONNECT psp.example:443 HTTP/1.1", Pair.WEB, 403, "not in its egress"),
    ("CONNECT inside.example:443 HTTP/1.1", None, 403, "its addresses are not outside"),
    ("CONNECT nowhere.example:443 HTTP/1.1", None, 502, "the name has no address"),
    ("CONNECT silent.example:443 HTTP/1.1", None, 504, "the resolver does not answer"),
    ("CONNECT psp.example HTTP/1.1", None, 400, ""),
    ("GET /local HTTP/1.1\r\nHost: psp.example", None, 400, "absolute http targets"),
    ("GET https://psp.example/ HTTP/1.1\r\nHost: psp.example", None, 400, "absolute http targets"),
    ("GET http://psp.example/ HTTP/1.1\r\nHost: other.example", None, 400, "different hosts"),
])
def test_everything_else_is_refused_with_the_reason(pair, internet, request_line, source, status, words):
    _, servers = internet
    before = {p: len(s.seen) for p, s in servers.items()}
    said = ask_proxy(pair, request_line.encode() + b"\r\n\r\n", source)
    assert said.startswith(f"HTTP/1.1 {status} ") and words in said
    assert {p: len(s.seen) for p, s in servers.items()} == before
    if status == 403:
        assert any(words in m and "tried to reach" in m for m in pair.a.refusals())


def test_nobody_else_may_use_the_proxy(pair, internet):
    assert is_refused(lambda: pair.a.connect("100.127.0.9", pair.a.gateway(), 3128))


def anonymous_kib(role):
    """Its own memory: a share of the program's text would change with who else runs it at the moment."""
    with open(f"/proc/{role.process.pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Anonymous:"))


def is_sanitized(role):
    """Freed memory is kept for a while then."""
    return "libasan" in pathlib.Path(f"/proc/{role.process.pid}/maps").read_text()


def fds(role):
    return len(os.listdir(f"/proc/{role.process.pid}/fd"))


def hammer(pair, n, threads=4):
    """n connections of api-1, four at a time; what went wrong."""
    failures = []

    def work():
        LIBC.setns(pair.a.machine.netns, CLONE_NEWNET)  # this thread only
        for _ in range(n // threads):
            try:
                with socket.socket() as c:
                    c.settimeout(20)
                    c.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)  # one port for many, as connect() does
                    c.bind((pair.API, 0))
                    c.connect((pair.a.vip(1), 8080))
                    c.sendall(b"ping")
                    got = c.recv(100)
                    while not got.endswith(b"ping"):
                        part = c.recv(100)
                        assert part, got
                        got += part
            except (OSError, AssertionError) as e:
                failures.append(e)
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    return failures


def test_leaves_are_renewed_under_load(pair):
    """Twenty times on both hosts, in no order: no call fails."""
    pair.tell(targets=["ai-2"])
    leaves = [pair.pki.leaf("module/api"), pair.pki.leaf("module/api", f"spiffe://{PLATFORM}/module/api\n"),
              pair.pki.leaf("module/ai"), pair.pki.leaf("module/ai", f"spiffe://{PLATFORM}/module/ai\n")]
    failures = []
    load = threading.Thread(target=lambda: failures.extend(hammer(pair, 2000)))
    load.start()
    for i in range(20):
        pair.a.identities(pair.pki.ca, leaves[i % 2], pair.pki.leaf("edge/hk1"))
        pair.b.identities(pair.pki.ca, leaves[2 + i % 2])
    load.join()
    assert failures == []


KEPT_KIB = 96  # of a TLS connection with its buffers


@pytest.mark.parametrize("target,share", [("ai-1", 0.7), ("ai-2", 0.3)])
def test_requests_leak_nothing(pair, target, share):
    """Descriptors and memory of both meshes before and after; MCP_MESH_REQUESTS says how many requests."""
    pair.tell(targets=[target])
    roles = (pair.a.role, pair.b.role)
    n = int(REQUESTS * share)
    assert hammer(pair, n // 4) == []  # what is kept for reuse is there from then on

    def figures():
        """Without the connections that wait between the two for the next call."""
        roles[0].wait_metric("mcp_mesh_flows", 0)
        kept = int(roles[0].metric("mcp_mesh_kept"))
        roles[1].wait_metric("mcp_mesh_flows", kept)
        return kept, [(fds(role) - kept, anonymous_kib(role)) for role in roles]
    kept_before, before = figures()
    begun = time.monotonic()
    assert hammer(pair, n - n // 4) == []
    kept_after, after = figures()
    print(f"{n - n // 4} requests to {target} in {time.monotonic() - begun:.1f} s: (descriptors, KiB) of each mesh "
          f"{before} before, {after} after; {kept_before} and {kept_after} connections kept")
    kept_kib = KEPT_KIB * max(kept_after - kept_before, 0)
    for (fds_before, kib_before), (fds_after, kib_after) in zip(before, after):
        assert fds_after == fds_before
        # arenas, and connections that were not there before; what leaked would grow with the requests
        assert kib_after - kib_before < 2048 + kept_kib or is_sanitized(roles[0])
