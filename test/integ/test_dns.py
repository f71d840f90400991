# SPDX-License-Identifier: Apache-2.0
"""The dns role as a process, locked in as in production, with the real country database: who gets what, over UDP and
TCP, under load, across restarts."""
import os
import pathlib
import re
import socket
import subprocess
import sys

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/lib"))
from role import Machine, Role  # noqa: E402

MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))
GEO = ROOT / "geo/country.mmdb"
HK, SEOUL, SHANGHAI = "203.0.113.20", "203.0.113.40", "203.0.113.60"
KOREAN, AMERICAN = "198.51.100.5", "198.51.100.50"  # invented buyers
BOOT = {"format": 1, "platform": "reindeers", "host": "hk1", "region": "ap-hongkong"}


def zone(revision=1, **change):
    z = {"format": 1, "revision": revision, "domain": "reindeers.com", "ttl_s": 60,
         "regions": [{"name": "ap-hongkong", "addresses": [HK]}, {"name": "ap-seoul", "addresses": [SEOUL]},
                     {"name": "ap-shanghai", "addresses": [SHANGHAI]}],
         "lists": [[0, 1], [1, 0], [2, 1, 0]], "countries": {"KR": 1, "JP": 1, "CN": 2},
         "overrides": [["198.51.100.0/28", "KR"], ["198.51.100.48/28", "US"]],
         "names": [{"name": "reindeers.com", "regions": [0, 1, 2]}, {"name": "api.reindeers.com", "regions": [0, 1]}],
         "nameservers": [{"name": "ns1.reindeers.com", "region": 0}, {"name": "ns2.reindeers.com", "region": 1}],
         "records": [{"name": "reindeers.com", "type": "MX", "value": "10 mail.reindeers.com.", "ttl_s": 60}] +
                    [{"name": "big.reindeers.com", "type": "TXT", "value": f"{i:0100}", "ttl_s": 60}
                     for i in range(40)]}
    z.update(change)
    return z


def health(revision, seq, choice, ttl_s=60):
    return {"revision": revision, "seq": seq, "names": {"reindeers.com": {"ttl_s": ttl_s, "choice": choice}}}


class Server:
    def __init__(self):
        self.machine = Machine([HK, KOREAN, AMERICAN])
        self.listens = [("dns-udp", t, self.machine.listener(socket.SOCK_DGRAM, HK, 53, shared=True))
                        for t in range(2)]
        self.listens.append(("dns-tcp", 0, self.machine.listener(socket.SOCK_STREAM, HK, 53)))
        self.role = self.start()

    def start(self):
        return Role(self.machine, MCP, "dns", BOOT, self.listens)

    def load(self, snapshot):
        fd = os.open(GEO, os.O_RDONLY)
        self.role.notify("zone", snapshot, fd)
        os.close(fd)
        self.role.wait_metric("mcp_dns_zone_revision", snapshot["revision"])

    def ask(self, name, rdtype="A", ecs=None, source="0.0.0.0", tcp=False, size=1232):
        options = []
        if ecs:
            address, bits = ecs.split("/")
            options = [dns.edns.ECSOption(address, int(bits))]
        q = dns.message.make_query(name, rdtype, use_edns=0 if size else -1, payload=size or 0, options=options)
        send = dns.query.tcp if tcp else dns.query.udp
        return self.machine.inside(lambda: send(q, HK, timeout=10, source=source if source != "0.0.0.0" else None))

    def close(self):
        self.role.close()
        for _, _, s in self.listens:
            s.close()
        self.machine.close()


@pytest.fixture(scope="module")
def server():
    assert GEO.exists(), "run tools/fetch_geo.sh"
    s = Server()
    s.load(zone())
    yield s
    s.close()


def answers(message, name="reindeers.com."):
    return sorted(r.to_text() for rrset in message.answer for r in rrset)


def scope(message):
    return next(o.scopelen for o in message.options if isinstance(o, dns.edns.ECSOption))


# An address each country really has, from the country database, and the region that the reference gives it.
@pytest.mark.parametrize("country,subnet,region", [
    ("KR", "168.126.63.1/32", SEOUL), ("KR", "168.126.63.0/24", SEOUL), ("JP", "126.0.0.0/24", SEOUL),
    ("TH", "203.113.0.0/24", HK), ("MY", "175.136.0.0/24", HK), ("SG", "116.86.0.0/24", HK),
    ("CN", "180.76.76.0/24", SHANGHAI), ("CN", "223.5.5.0/24", SHANGHAI), ("US", "8.8.8.0/24", HK),
    ("KR", "2406:5900::/48", SEOUL), ("US", "2001:4860::/48", HK), ("CN", "2408:8000::/48", SHANGHAI)])
def test_countries(server, country, subnet, region):
    r = server.ask("reindeers.com", ecs=subnet)
    assert r.rcode() == dns.rcode.NOERROR and r.flags & dns.flags.AA
    assert answers(r) == [region], country
    assert [rrset.ttl for rrset in r.answer] == [60]
    assert scope(r) > 0


def test_buyers_without_client_subnet(server):
    assert answers(server.ask("reindeers.com", source=KOREAN)) == [SEOUL]
    assert answers(server.ask("reindeers.com", source=AMERICAN)) == [HK]


def test_scope_is_exact(server):
    """Every address of the scope gets the same, the neighbouring prefix of that size does not."""
    r = server.ask("reindeers.com", ecs="198.51.100.5/32")
    assert scope(r) == 28 and answers(r) == [SEOUL]
    assert answers(server.ask("reindeers.com", ecs="198.51.100.15/32")) == [SEOUL]
    assert answers(server.ask("reindeers.com", ecs="198.51.100.16/32")) == [HK]
    assert scope(server.ask("reindeers.com", "MX", ecs="198.51.100.5/32")) == 0


def test_tcp_and_truncation(server):
    r = server.ask("big.reindeers.com", "TXT")
    assert r.flags & dns.flags.TC and not r.answer
    r = server.ask("big.reindeers.com", "TXT", tcp=True)
    assert not r.flags & dns.flags.TC and len(r.answer[0]) == 40
    assert answers(server.ask("reindeers.com", ecs="168.126.63.0/24", tcp=True)) == [SEOUL]


def test_dig_and_delv_agree(server):
    """Another implementation's reader finds nothing odd."""
    out = server.machine.run("dig", "@" + HK, "ReinDeers.com", "A", "+subnet=168.126.63.0/24", "+norec")
    assert "flags: qr aa;" in out and "status: NOERROR" in out and "CLIENT-SUBNET: 168.126.63.0/24/" in out
    assert re.search(r"^ReinDeers\.com\.\s+60\s+IN\s+A\s+203\.0\.113\.40$", out, re.M)
    assert "WARNING" not in out and "malformed" not in out
    for words, status in [(["nope.reindeers.com"], "NXDOMAIN"), (["example.com"], "REFUSED"),
                          (["reindeers.com", "+edns=1", "+noednsneg"], "BADVERS"),
                          (["reindeers.com", "+opcode=5"], "NOTIMP"), (["version.bind", "CH", "TXT"], "REFUSED")]:
        out = server.machine.run("dig", "@" + HK, *words)
        assert f"status: {status}" in out and "malformed" not in out, out


def figure(report, key):
    return int(report[key].split()[0])


def test_load_loses_nothing_and_swaps_lose_nothing(server, tmp_path):
    queries = tmp_path / "queries"
    queries.write_text("reindeers.com A\napi.reindeers.com A\nreindeers.com MX\nnope.reindeers.com A\n")
    command = server.machine.enter("dnsperf", "-s", HK, "-d", str(queries), "-n", "25000", "-c", "4", "-q", "60")
    load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    revision = 1
    while load.poll() is None:  # new zones, new decisions, all the time
        revision += 1
        server.load(zone(revision))
        server.role.notify("health", health(revision, 1, [revision % 2, 1, 2]))
    report = dict(line.split(":", 1) for line in load.stdout.read().splitlines() if ":" in line)
    report = {k.strip(): v for k, v in report.items()}
    assert figure(report, "Queries sent") == 100000
    assert figure(report, "Queries completed") == 100000
    assert figure(report, "Queries lost") == 0
    assert "SERVFAIL" not in report["Response codes"]
    assert revision > 3
    server.load(zone(revision + 1))


def test_health_moves_answers_and_survives_a_crash(server):
    revision = int(server.role.metric("mcp_dns_zone_revision")) + 1
    server.load(zone(revision))
    server.role.notify("health", health(revision, 1, [0, 0, 2], ttl_s=5))
    server.role.call("ping")
    r = server.ask("reindeers.com", ecs="168.126.63.0/24")
    assert answers(r) == [HK] and r.answer[0].ttl == 5
    while not server.machine.run("sh", "-c", "cat /var/lib/mcp/dns/health.json || :").count(f'"revision":{revision}'):
        pass
    server.role.kill()
    # Queries that arrive while nobody reads wait in the socket.
    query = dns.message.make_query("reindeers.com", "A", use_edns=0,
                                   options=[dns.edns.ECSOption("168.126.63.0", 24)])
    waiting = server.machine.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    waiting.settimeout(20)
    waiting.sendto(query.to_wire(), (HK, 53))
    server.role = server.start()
    late = dns.message.from_wire(waiting.recv(4096))
    waiting.close()
    assert answers(late) == [HK] and late.answer[0].ttl == 5  # decided before, without a word from control
    server.load(zone(revision + 1))


def test_a_refused_zone_leaves_the_old_one(server):
    revision = int(server.role.metric("mcp_dns_zone_revision"))
    server.role.said.clear()
    server.role.notify("zone", zone(revision + 1, names=[{"name": "elsewhere.net", "regions": [0]}]))
    while not any("refused" in m.get("params", {}).get("message", "") for m in server.role.said):
        server.role.call("ping")
    assert int(server.role.metric("mcp_dns_zone_revision")) == revision
    assert answers(server.ask("reindeers.com", ecs="180.76.76.0/24")) == [SHANGHAI]


def test_memory(server):
    """With the whole country database loaded."""
    status = pathlib.Path(f"/proc/{server.role.process.pid}/smaps_rollup").read_text()
    pss = int(re.search(r"^Pss:\s+(\d+) kB", status, re.M).group(1))
    nodes = int(server.role.metric("mcp_dns_geo_nodes"))
    print(f"pss {pss} kB, {nodes} nodes, {int(server.role.metric('mcp_dns_data_bytes'))} bytes of data")
    assert 10000 < nodes < 200000
    assert pss < 30000


def test_locked_in(server):
    status = pathlib.Path(f"/proc/{server.role.process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] != "0"
    assert int(fields["CapEff"], 16) == 0 and int(fields["CapPrm"], 16) == 0
    assert fields["Seccomp"] == "2" and fields["NoNewPrivs"] == "1"
