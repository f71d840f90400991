#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""See dns.sh. Everything runs in a network namespace of its own and ends with it."""
import argparse
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile

import dns.edns
import dns.exception
import dns.message
import dns.query

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test/lib"))
from role import Machine, Role  # noqa: E402

MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))
GEO = ROOT / "geo/country.mmdb"
HK, SEOUL, SHANGHAI = "203.0.113.20", "203.0.113.40", "203.0.113.60"
PORTS = {"mcp": 53, "gdnsd": 5301, "knot": 5302}
SERVER_CPU, LOAD_CPU = "0", "1"
OPTION = "8:00011800a87e3f"  # client subnet 168.126.63.0/24, in Korea
ZONE = """$TTL 60
@ SOA ns1 hostmaster 1 7200 1800 259200 60
@ NS ns1
ns1 A 203.0.113.20
"""
# gdnsd finds no country in this database's layout: it gets a few networks by hand, so its tree is far smaller than
# the other two's.
GDNSD = """
options => {{ listen => "{hk}:{port}", udp_threads => 1, tcp_threads => 1, run_dir => "{dir}/run",
  state_dir => "{dir}/state", zones_default_ttl => 60 }}
plugins => {{ geoip => {{
  maps => {{ m => {{ datacenters => [ hk, seoul, cn ],
    nets => {{ 168.126.0.0/16 => [ seoul, hk ], 126.0.0.0/8 => [ seoul, hk ], 180.76.0.0/14 => [ cn, seoul, hk ] }} }} }},
  resources => {{ www => {{ map => m, service_types => up,
    dcmap => {{ hk => {hk}, seoul => {seoul}, cn => {shanghai} }} }} }} }} }}
"""
KNOT = """
server:
  rundir: "{dir}"
  listen: {hk}@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  edns-client-subnet: on
database:
  storage: "{dir}"
mod-geoip:
  - id: g
    config-file: {dir}/geo.conf
    ttl: 60
    mode: geodb
    geodb-file: {geo}
    geodb-key: [ country_code ]
zone:
  - domain: reindeers.com
    file: {dir}/zone
    module: mod-geoip/g
"""
KNOT_GEO = """
reindeers.com:
  - geo: "KR"
    A: 203.0.113.40
  - geo: "JP"
    A: 203.0.113.40
  - geo: "CN"
    A: 203.0.113.60
"""


class Mcp:
    def __init__(self, machine, _dir):
        self.socket = machine.listener(socket.SOCK_DGRAM, HK, PORTS["mcp"])
        boot = {"format": 1, "platform": "bench", "host": "hk1", "region": "ap-hongkong"}
        self.role = Role(machine, MCP, "dns", boot, [("dns-udp", 0, self.socket)])
        self.pid = self.role.process.pid
        fd = os.open(GEO, os.O_RDONLY)
        self.role.notify("zone", {
            "format": 1, "revision": 1, "domain": "reindeers.com", "ttl_s": 60,
            "regions": [{"name": "hk", "addresses": [HK]}, {"name": "seoul", "addresses": [SEOUL]},
                        {"name": "shanghai", "addresses": [SHANGHAI]}],
            "lists": [[0, 1], [1, 0], [2, 1, 0]], "countries": {"KR": 1, "JP": 1, "CN": 2}, "overrides": [],
            "names": [{"name": "reindeers.com", "regions": [0, 1, 2]}],
            "nameservers": [{"name": "ns1.reindeers.com", "region": 0}], "records": []}, fd)
        os.close(fd)
        self.role.wait_metric("mcp_dns_zone_revision", 1)

    def close(self):
        self.role.close()
        self.socket.close()


class Peer:
    """A server of Debian's in the foreground."""

    def __init__(self, machine, words, log):
        self.log = open(log, "w")
        self.process = subprocess.Popen(machine.enter("taskset", "-c", SERVER_CPU, *words), stdout=self.log,
                                        stderr=subprocess.STDOUT)
        self.pid = self.process.pid

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def start_gdnsd(machine, dir):
    base = dir / "gdnsd"
    (base / "zones").mkdir(parents=True)
    (base / "config").write_text(GDNSD.format(hk=HK, seoul=SEOUL, shanghai=SHANGHAI, port=PORTS["gdnsd"], dir=base))
    (base / "zones/reindeers.com").write_text(ZONE + "@ DYNA geoip!www\n")
    for d in ("run", "state"):
        (base / d).mkdir()
    return Peer(machine, ["gdnsd", "-c", str(base), "start"], base / "log")


def start_knot(machine, dir):
    base = dir / "knot"
    base.mkdir()
    (base / "knot.conf").write_text(KNOT.format(hk=HK, port=PORTS["knot"], dir=base, geo=GEO))
    (base / "geo.conf").write_text(KNOT_GEO)
    (base / "zone").write_text(ZONE + "@ A 203.0.113.20\n")
    return Peer(machine, ["knotd", "-c", str(base / "knot.conf")], base / "log")


def check(machine, name, server):
    """Ready, and right: the comparison is of the same answer."""
    q = dns.message.make_query("reindeers.com", "A", use_edns=0, payload=1232,
                               options=[dns.edns.ECSOption("168.126.63.0", 24)])
    for _ in range(100):
        try:
            r = machine.inside(lambda: dns.query.udp(q, HK, port=PORTS[name], timeout=0.3))
            got = [x.to_text() for rrset in r.answer for x in rrset]
            assert got == [SEOUL], f"{name} answers {got}"
            return
        except (dns.exception.Timeout, OSError):
            alive = getattr(server, "process", None) is None or server.process.poll() is None
            assert alive, f"{name} ended:\n{pathlib.Path(server.log.name).read_text()}"
    raise AssertionError(f"{name} does not answer")


def cpu_ns(pid):
    """Of all its threads, to the nanosecond."""
    return sum(int((t / "schedstat").read_text().split()[0]) for t in pathlib.Path(f"/proc/{pid}/task").iterdir())


def measure(machine, name, server, queries, seconds):
    before = cpu_ns(server.pid)
    out = machine.run("taskset", "-c", LOAD_CPU, "dnsperf", "-s", HK, "-p", str(PORTS[name]), "-d", str(queries),
                      "-l", str(seconds), "-c", "4", "-q", "100", "-T", "1", "-E", OPTION)
    used = cpu_ns(server.pid) - before
    completed = int(re.search(r"Queries completed:\s+(\d+)", out).group(1))
    lost = int(re.search(r"Queries lost:\s+(\d+)", out).group(1))
    rate = float(re.search(r"Queries per second:\s+([\d.]+)", out).group(1))
    assert completed and "NOERROR" in out, out
    return {"qps": rate, "cpu_us": used / 1000 / completed, "lost": lost}


def versions():
    v = {}
    for p in ("gdnsd", "knot", "dnsperf"):
        v[p] = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", p], capture_output=True, text=True).stdout
    v["mcp"] = subprocess.run([MCP, "version"], capture_output=True, text=True).stdout.strip()
    return v


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--seconds", type=int, default=3)
    args = ap.parse_args()
    with tempfile.TemporaryDirectory(prefix="mcp-bench-dns.") as d:
        dir = pathlib.Path(d)
        dir.chmod(0o755)
        machine = Machine([HK])
        servers = {}
        try:
            servers["mcp"] = Mcp(machine, dir)
            servers["gdnsd"] = start_gdnsd(machine, dir)
            servers["knot"] = start_knot(machine, dir)
            queries = dir / "queries"
            queries.write_text("reindeers.com A\n")
            for name, s in servers.items():
                check(machine, name, s)
            runs = {name: [] for name in servers}
            load = os.getloadavg()[0]
            for _ in range(args.rounds):
                for name, s in servers.items():
                    runs[name].append(measure(machine, name, s, queries, args.seconds))
        finally:
            for s in servers.values():
                s.close()
            machine.close()
    report(runs, args, load)


def report(runs, args, load):
    result = {"conditions": {"rounds": args.rounds, "seconds": args.seconds, "load_before": round(load, 1),
                             "versions": versions()}}
    print(f"one core for the server, one for dnsperf; medians of {args.rounds} x {args.seconds} s, load average "
          f"before {load:.1f}")
    for name, v in result["conditions"]["versions"].items():
        print(f"  {name} {v}")
    for name, rs in runs.items():
        result[name] = {"queries_per_second": round(statistics.median(r["qps"] for r in rs)),
                        "cpu_us_per_answer": round(statistics.median(r["cpu_us"] for r in rs), 2),
                        "queries_lost": sum(r["lost"] for r in rs)}
    for name, r in result.items():
        if name == "conditions":
            continue
        ours = result["mcp"]
        r["rate_of_mcp_to_this"] = round(ours["queries_per_second"] / r["queries_per_second"], 2)
        r["cpu_of_mcp_to_this"] = round(ours["cpu_us_per_answer"] / r["cpu_us_per_answer"], 2)
        print(f"{name:6} {r['queries_per_second']:8} q/s  {r['cpu_us_per_answer']:6.2f} us CPU an answer  "
              f"lost {r['queries_lost']}  (mcp: {r['rate_of_mcp_to_this']} x its rate, "
              f"{r['cpu_of_mcp_to_this']} x its CPU)")
    print("the load generator's core is the ceiling of the rate: CPU an answer is the figure to compare; gdnsd's map "
          "holds three networks, the other two's the whole country database")
    if os.environ.get("JSON"):
        print(json.dumps(result))


if __name__ == "__main__":
    main()
