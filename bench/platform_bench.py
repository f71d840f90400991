#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Benches of the whole platform: time to ready, and what a host costs at rest. Brings the example platform up under a
name of its own and takes it down again. Nothing is asserted but that it works; figures are printed against their aims."""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MCP = str(ROOT / "build" / "mcp")
AIMS = {"up_ready_s": 30, "host_pss_mb": 30, "idle_cpu_percent": 2}


def declaration(folder, name):
    """The example under another name, images by absolute path, so that a demo may run beside it."""
    text = (ROOT / "example" / "platform.yaml").read_text()
    text = re.sub(r"(?m)^platform: .*", f"platform: {name}", text)
    text = text.replace("schema/trade.sql", f"{ROOT}/example/schema/trade.sql")
    text = text.replace("oci:images/", f"oci:{ROOT}/example/images/")
    path = pathlib.Path(folder) / "platform.yaml"
    path.write_text(text)
    return str(path)


def mcp(*words, **kw):
    return subprocess.run([MCP, *words], check=True, text=True, stdout=subprocess.PIPE, **kw).stdout


def down(path):
    subprocess.run([MCP, "down", "-f", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def bench_up(path, runs):
    times = []
    for n in range(runs):
        down(path)
        begun = time.monotonic()
        mcp("up", "-f", path)
        times.append(time.monotonic() - begun)
        print(f"run {n + 1}: {times[-1]:.1f} s")
    return {"up_ready_s": round(statistics.median(times), 2), "runs": [round(t, 2) for t in times]}


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))


def bench_idle(path, seconds):
    down(path)
    mcp("up", "-f", path)
    hosts = json.loads(mcp("status", "-f", path, "--json"))["hosts"]
    pids = {h["name"]: {r["name"]: r["pid"] for r in h["roles"] if r["pid"]} for h in hosts}
    time.sleep(10)  # the last start's work ends
    before = {h: sum(cpu_seconds(p) for p in roles.values()) for h, roles in pids.items()}
    begun = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - begun
    result = {"hosts": {}}
    for host, roles in pids.items():
        memory = {role: round(pss_bytes(pid) / 1e6, 2) for role, pid in roles.items()}
        cpu = 100 * (sum(cpu_seconds(p) for p in roles.values()) - before[host]) / elapsed
        result["hosts"][host] = {"pss_mb": round(sum(memory.values()), 2), "cpu_percent": round(cpu, 2), "roles": memory}
        print(f"{host}: {sum(memory.values()):.1f} MB PSS, {cpu:.2f} % of a core  {memory}")
    result["host_pss_mb"] = max(h["pss_mb"] for h in result["hosts"].values())
    result["idle_cpu_percent"] = max(h["cpu_percent"] for h in result["hosts"].values())
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("bench", choices=["up", "idle"])
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--seconds", type=float, default=30)
    args = p.parse_args()
    subprocess.run([str(ROOT / "example" / "build-images.sh")], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        path = declaration(folder, f"bench{os.getpid()}")
        try:
            result = bench_up(path, args.runs) if args.bench == "up" else bench_idle(path, args.seconds)
        finally:
            down(path)
    for key, aim in AIMS.items():
        if key in result:
            print(f"{key}: {result[key]} (aim <= {aim}: {'met' if result[key] <= aim else 'MISSED'})")
    if os.environ.get("JSON"):
        print(json.dumps(result))


if __name__ == "__main__":
    main()
