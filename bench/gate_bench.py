#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""See gate.sh. sysbench runs on the last core, the server on the first; the gate on one or the other."""
import argparse
import json
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "test/lib"), str(ROOT / "test/integ")]
import mariadblib  # noqa: E402
import test_gate  # noqa: E402

THREADS, TABLES, ROWS = 8, 4, 10000
LONG = "SELECT seq, REPEAT('x', 200) FROM seq_1_to_500000"
SETTINGS = "innodb-buffer-pool-size=128M\ninnodb-flush-log-at-trx-commit=1\nsync-binlog=1\nmax-connections=200"
TICKS = os.sysconf("SC_CLK_TCK")
FIRST, LAST = 0, (os.cpu_count() or 1) - 1


def pin(process, core):
    for task in os.listdir(f"/proc/{process.pid}/task"):
        os.sched_setaffinity(int(task), {core})


def cpu_s(process):
    with open(f"/proc/{process.pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def children_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sysbench(place, mode, *words):
    host = [f"--mysql-socket={place}"] if place.startswith("/") else [
        f"--mysql-host={place.rpartition(':')[0]}", f"--mysql-port={place.rpartition(':')[2]}"]
    r = subprocess.run(["taskset", "-c", str(LAST), "sysbench", "oltp_read_write", "--db-driver=mysql", "--mysql-user=u",
                        "--mysql-password=p", "--mysql-db=t", f"--tables={TABLES}", f"--table-size={ROWS}",
                        f"--threads={THREADS}", f"--db-ps-mode={mode}", *host, *words], capture_output=True, text=True)
    if r.returncode:
        raise SystemExit(r.stdout + r.stderr)
    return r.stdout


def run(server, gate, place, mode, seconds):
    processes = [server.process] + ([gate.process] if gate else [])
    before, client = [cpu_s(p) for p in processes], children_s()
    out = sysbench(place, mode, f"--time={seconds}", "run")
    used = [cpu_s(p) - b for p, b in zip(processes, before)] + [0]
    n = int(re.search(r"transactions:\s+(\d+)", out)[1])
    return {"tps": float(re.search(r"transactions:\s+\d+\s+\(([\d.]+) per sec", out)[1]),
            "p95_ms": float(re.search(r"95th percentile:\s+([\d.]+)", out)[1]), "server_us": used[0] * 1e6 / n,
            "gate_us": used[1] * 1e6 / n, "client_us": (children_s() - client) * 1e6 / n}


def long_result(place):
    """MB/s of one result of about 100 MB, thrown away by the client."""
    begun = os.times().elapsed
    r = subprocess.run(["taskset", "-c", str(LAST), "mariadb", "--no-defaults", "--quick", "-N", "-B", "-S", place, "-uu",
                        "-pp", "t", "-e", LONG], stdout=subprocess.DEVNULL)
    if r.returncode:
        raise SystemExit("the long result broke")
    return 500000 * 212 / 1e6 / (os.times().elapsed - begun)


def median(rows):
    return {k: statistics.median(r[k] for r in rows) for k in rows[0]}


def measure(server, gates, args):
    tcp = f"{server.address}:{server.port}"
    rows, long = {}, {"direct": [], "gate": []}
    for _ in range(args.rounds):
        for via, direct in (("unix", server.socket), ("tcp", tcp)):
            gate = gates[via]
            for mode in ("auto", "disable") if via == "unix" else ("auto",):
                key = f"{via}, {'prepared' if mode == 'auto' else 'plain'}"
                rows.setdefault((key, "direct"), []).append(run(server, None, direct, mode, args.seconds))
                for name, core in (("gate beside it", LAST), ("gate on its core", FIRST)):
                    pin(gate.process, core)
                    rows.setdefault((key, name), []).append(run(server, gate, gate.place, mode, args.seconds))
        pin(gates["unix"].process, LAST)
        long["direct"].append(long_result(server.socket))
        long["gate"].append(long_result(gates["unix"].place))
    return {k: median(v) for k, v in rows.items()}, {k: statistics.median(v) for k, v in long.items()}


def report(results, long, args):
    version = subprocess.run(["mariadbd", "--version"], capture_output=True, text=True).stdout.split()[2]
    print(f"MariaDB {version}, {THREADS} threads of sysbench, medians of {args.rounds} x {args.seconds} s, "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, kernel {os.uname().release}")
    print("the server on the first core, sysbench on the last; CPU in microseconds a transaction (20 statements)")
    print(f"{'':36} {'txn/s':>8} {'p95':>9} {'server':>8} {'gate':>8} {'client':>8} {'ratio':>7} {'CPU':>6}")
    ratios = {}
    for (way, how), r in results.items():
        d = results[way, "direct"]
        total = r["server_us"] + r["gate_us"] + r["client_us"]
        base = d["server_us"] + d["client_us"]
        print(f"{way + ', ' + how:36} {r['tps']:8.0f} {r['p95_ms']:6.1f} ms {r['server_us']:8.0f} {r['gate_us']:8.0f} "
              f"{r['client_us']:8.0f} {r['tps'] / d['tps']:7.2f} {total / base:6.2f}")
        if how != "direct":
            ratios[f"{way}, {how}"] = r["tps"] / d["tps"]
    print(f"one long result: direct {long['direct']:.0f} MB/s, gate {long['gate']:.0f} MB/s, "
          f"ratio {long['gate'] / long['direct']:.2f}")
    if os.environ.get("JSON"):
        print(json.dumps({"results": {f"{w}, {h}": r for (w, h), r in results.items()}, "ratios": ratios, "long": long}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    args = parser.parse_args()
    with mariadblib.Server(1, SETTINGS) as server:
        server.query("CREATE DATABASE t", "CREATE USER u@'%' IDENTIFIED BY 'p'", "GRANT ALL ON *.* TO u@'%'")
        pin(server.process, FIRST)
        sysbench(server.socket, "auto", "prepare")
        with test_gate.Gate(server, "--threads", "1") as unix, test_gate.Gate(server, "--threads", "1", tcp=True) as tcp:
            results, long = measure(server, {"unix": unix, "tcp": tcp}, args)
    report(results, long, args)


if __name__ == "__main__":
    main()
