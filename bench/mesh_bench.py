#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""See mesh.sh. The two hosts are those of test/integ/test_mesh.py; everything ends with them."""
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
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "test/lib"), str(ROOT / "test/integ")]
import test_mesh  # noqa: E402

CONNECTIONS = 16
NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile 8192; pid {dir}/{name}.pid; error_log {dir}/{name}.err;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
  server {{ {listens} location / {{ default_type text/plain; return 200 "hello, world"; }} }} }}
"""
TICKS = os.sysconf("SC_CLK_TCK")


def nginx(machine, folder, name, addresses):
    conf = folder / f"{name}.conf"
    listens = "".join(f"listen {a}:9000 backlog=4096; " for a in addresses)
    conf.write_text(NGINX.format(dir=folder, name=name, listens=listens))
    path = "/usr/sbin/nginx"
    return subprocess.Popen(machine.enter(path, "-c", str(conf), "-e", str(folder / f"{name}.err")),
                            stderr=subprocess.DEVNULL)


def wait_up(machine, address):
    deadline = time.monotonic() + 20
    while True:
        try:
            return machine.inside(lambda: socket.create_connection((address, 9000), 1)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise


def cpu_s(role):
    with open(f"/proc/{role.process.pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def us(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1, "ms": 1000, "s": 1e6}[unit]


def run(pair, address, kept, seconds, port):
    """Requests a second, p50 and p99 in microseconds, CPU of both meshes per request in microseconds."""
    roles = (pair.a.role, pair.b.role)
    before = sum(map(cpu_s, roles))
    words = [] if kept else ["-H", "Connection: close"]
    out = pair.a.machine.run("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", *words,
                             f"http://{address}:{port}/")
    used = sum(map(cpu_s, roles)) - before
    requests = int(re.search(r"(\d+) requests in", out)[1])
    if "Non-2xx" in out or not requests:
        raise SystemExit(out)
    return {"rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), "p50_us": us(re.search(r"50%\s+(\S+)", out)[1]),
            "p99_us": us(re.search(r"99%\s+(\S+)", out)[1]), "cpu_us": used * 1e6 / requests}


def median(rows):
    return {k: statistics.median(r[k] for r in rows) for k in rows[0]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        pair = test_mesh.Pair(folder)
        servers = [nginx(pair.a.machine, folder, "one", [pair.AI1]),
                   nginx(pair.b.machine, folder, "two", [pair.AI2, pair.b.address])]
        wait_up(pair.a.machine, pair.AI1)
        wait_up(pair.b.machine, pair.AI2)
        try:
            results = measure(pair, args)
        finally:
            for s in servers:
                s.terminate()
                s.wait()
            pair.close()
    report(results, args)


def measure(pair, args):
    # wrk cannot choose its address: what goes to virtual ones comes from the unit api-1.
    pair.a.machine.run("ip", "route", "replace", "local", f"{pair.a.net}.128.0/17", "dev", "lo", "src", pair.API)
    plain = pair.modules

    def modules(host, *rest):
        told = plain(host, *rest)
        told["ai"]["port"] = 9000
        return told
    pair.modules = modules
    ways = [("direct, same host", None, pair.AI1), ("mesh, same host", ["ai-1"], pair.a.vip(1)),
            ("direct, other host", None, pair.b.address), ("mesh, other host (TLS)", ["ai-2"], pair.a.vip(1))]
    rows = {}
    for _ in range(args.rounds):
        for name, targets, address in ways:
            if targets:
                pair.tell(targets=targets)
            for kept in (True, False):
                rows.setdefault((name, kept), []).append(run(pair, address, kept, args.seconds, 9000))
    return {key: median(v) for key, v in rows.items()}


def report(results, args):
    print(f"{CONNECTIONS} connections of wrk, one nginx worker behind each way, {os.cpu_count()} cores shared by all; "
          f"medians of {args.rounds} x {args.seconds} s; kernel {os.uname().release}")
    print(f"{'':24} {'':6} {'requests/s':>11} {'p50':>9} {'p99':>9} {'mesh CPU/request':>17}")
    for (name, kept), r in sorted(results.items(), key=lambda item: not item[0][1]):
        print(f"{name:24} {'kept' if kept else 'new':6} {r['rps']:11.0f} {r['p50_us']:6.0f} us {r['p99_us']:6.0f} us "
              f"{r['cpu_us']:14.1f} us")
    ratios = {}
    for where in ("same host", "other host"):
        for kept in (True, False):
            mesh = next(r for (n, k), r in results.items() if n.startswith(f"mesh, {where}") and k == kept)
            direct = results[f"direct, {where}", kept]
            ratio = ratios[f"{where}, {'kept' if kept else 'new'}"] = {
                "latency": mesh["p50_us"] / direct["p50_us"], "throughput": mesh["rps"] / direct["rps"]}
            print(f"mesh / direct, {where}, {'kept' if kept else 'new':5}: p50 x {ratio['latency']:.2f}, "
                  f"requests/s x {ratio['throughput']:.2f}")
    if os.environ.get("JSON"):
        print(json.dumps({"results": {f"{n}, {'kept' if k else 'new'}": r for (n, k), r in results.items()},
                          "ratios": ratios}))


if __name__ == "__main__":
    main()
