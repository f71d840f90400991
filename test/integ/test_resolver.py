# SPDX-License-Identifier: Apache-2.0
"""The resolver role as a process, locked in as in production: names of the platform, everything else from an upstream
that lives in the same namespace."""
import os
import pathlib
import socket
import sys
import threading

import dns.message
import dns.query
import dns.rcode
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/lib"))
from role import Machine, Role  # noqa: E402

MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))
GATEWAY, CONTAINER, UPSTREAM, STRANGER = "100.127.0.1", "100.127.0.5", "10.20.0.1", "192.0.2.7"
BOOT = {"format": 1, "platform": "reindeers", "host": "hk1", "region": "ap-hongkong", "addresses": ["10.20.0.11"],
        "public": [], "bridge": "100.127.0.0/16", "roles": ["resolver"], "state": {"kind": "sqlite"}, "peers": [],
        "cgroup": "/mcp/reindeers.hk1"}
NAMES = {"names": {"api.mcp.internal": ["100.127.0.5", "100.127.0.6"], "idle.mcp.internal": []},
         "forward": [UPSTREAM]}


class Upstream:
    def __init__(self, machine):
        self.asked = []
        self.socket = machine.listener(socket.SOCK_DGRAM, UPSTREAM, 53)
        self.socket.setblocking(True)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            data, who = self.socket.recvfrom(4096)
            if data == b"stop":
                return
            q = dns.message.from_wire(data)
            self.asked.append(q.question[0].name.to_text())
            r = dns.message.make_response(q, recursion_available=True)
            r.answer.append(dns.rrset.from_text(q.question[0].name, 300, "IN", "A", "198.51.100.9"))
            self.socket.sendto(r.to_wire(), who)

    def close(self, machine):
        machine.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"stop", (UPSTREAM, 53)))
        self.thread.join()
        self.socket.close()


class Resolver:
    def __init__(self):
        self.machine = Machine([GATEWAY, CONTAINER, UPSTREAM, STRANGER])
        self.upstream = Upstream(self.machine)
        self.listens = [("resolver-udp", 0, self.machine.listener(socket.SOCK_DGRAM, GATEWAY, 53)),
                        ("resolver-tcp", 0, self.machine.listener(socket.SOCK_STREAM, GATEWAY, 53))]
        self.role = Role(self.machine, MCP, "resolver", BOOT, self.listens)
        self.names(NAMES)

    def names(self, names):
        self.role.notify("names", names)
        self.role.call("ping")

    def ask(self, name, rdtype="A", source=CONTAINER, tcp=False, timeout=10):
        q = dns.message.make_query(name, rdtype)
        send = dns.query.tcp if tcp else dns.query.udp
        return self.machine.inside(lambda: send(q, GATEWAY, timeout=timeout, source=source))

    def close(self):
        self.role.close()
        self.upstream.close(self.machine)
        for _, _, s in self.listens:
            s.close()
        self.machine.close()


@pytest.fixture(scope="module")
def resolver():
    r = Resolver()
    yield r
    r.close()


def addresses(message):
    return sorted(r.to_text() for rrset in message.answer for r in rrset)


@pytest.mark.parametrize("tcp", [False, True])
def test_names_of_the_platform(resolver, tcp):
    r = resolver.ask("api.mcp.internal", tcp=tcp)
    assert addresses(r) == ["100.127.0.5", "100.127.0.6"] and r.answer[0].ttl == 5
    assert resolver.ask("idle.mcp.internal", tcp=tcp).rcode() == dns.rcode.NOERROR
    assert resolver.ask("nope.mcp.internal", tcp=tcp).rcode() == dns.rcode.NXDOMAIN
    assert resolver.upstream.asked == []


def test_everything_else_is_forwarded(resolver):
    assert addresses(resolver.ask("shop.example")) == ["198.51.100.9"]
    assert resolver.upstream.asked == ["shop.example."]


def test_only_containers_are_answered(resolver):
    def is_answered(source):
        try:
            dns.query.udp(dns.message.make_query("shop.example", "A"), GATEWAY, timeout=0.2, source=source)
            return True
        except dns.exception.Timeout:
            return False
    before = resolver.role.metric("mcp_resolver_strangers_total")
    for source in (STRANGER, GATEWAY):
        assert not resolver.machine.inside(lambda s=source: is_answered(s))
    assert resolver.role.metric("mcp_resolver_strangers_total") == before + 2


def test_restart_knows_the_names(resolver):
    resolver.role.kill()
    resolver.role = Role(resolver.machine, MCP, "resolver", BOOT, resolver.listens)
    assert addresses(resolver.ask("api.mcp.internal")) == ["100.127.0.5", "100.127.0.6"]


def test_no_upstream_is_servfail_at_once(resolver):
    resolver.names({"names": NAMES["names"]})
    assert resolver.ask("shop.example").rcode() == dns.rcode.SERVFAIL
    resolver.names(NAMES)
