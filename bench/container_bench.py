# SPDX-License-Identifier: Apache-2.0
"""container_bench.py RUNS: see container.sh. Each side has its image unpacked before the clock starts; both use runc,
a network namespace with an address, a memory and a pids limit. Ours has a user namespace, seccomp and a read-only root
on top, and is also timed to the moment the agent calls it ready."""
import json
import os
import platform
import statistics
import subprocess
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "test/lib"))
import socket  # noqa: E402

import units  # noqa: E402
from units import entry, layer, spec  # noqa: E402

PODMAN_ADDRESS = "10.88.0.50"
LIMIT_S = 60


def answered(machine, address):
    """When the first GET succeeds; asked again at once until then."""
    def ask():
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            s = socket.socket()
            s.settimeout(0.05)
            try:
                s.connect((address, 8080))
                s.settimeout(5)
                s.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                if b"200" in s.recv(64):
                    return time.monotonic()
            except OSError:
                time.sleep(0.0005)
            finally:
                s.close()
        raise TimeoutError(f"{address} does not answer")
    return machine.inside(ask)


def ours(agent, image, n):
    start = time.monotonic()
    agent.apply(spec("web-1", image, port=8080, probe={"kind": "http", "path": "/healthz", "interval_ms": 10}))
    first = answered(agent.machine, f"100.127.0.{2 + n}")  # a freed address is taken again last
    ready = agent.wait_state("web-1", "ready")
    took_ready = time.monotonic() - start
    shim = agent.shims()["web-1"]
    with open(f"/proc/{shim}/smaps_rollup") as f:
        pss = next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    assert ready["restarts"] == 0
    agent.apply()
    agent.wait(lambda u: not u)
    return (first - start) * 1000, took_ready * 1000, pss


def podman(machine, *words):
    return machine.run("podman", "--root", "/var/lib/mcp/podman", "--runroot", "/run/mcp/podman", "--cgroup-manager",
                       "cgroupfs", "--events-backend", "file", "--runtime", "runc", *words)


def theirs(machine, layout):
    start = time.monotonic()
    podman(machine, "run", "-d", "--name", "web", "--ip", PODMAN_ADDRESS, "--memory", "64m", "--pids-limit", "64",
           "--ulimit", "nproc=4096:4096", "--ulimit", "nofile=20000:20000", layout)
    took = (answered(machine, PODMAN_ADDRESS) - start) * 1000
    podman(machine, "rm", "-f", "-t", "0", "web")
    return took


def main():
    runs = int(sys.argv[1])
    serve = ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"]
    image = units.Image(units.busybox(), layer(entry("www", kind="d", mode=0o755), entry("www/healthz", b"ok\n")),
                        cmd=serve)
    with units.Agent() as agent:
        agent.put(image)
        agent.start()
        layout = "/var/lib/mcp/layout"
        image.put(agent.path(layout))
        with open(agent.path(layout + "/index.json"), "w") as f:
            json.dump({"schemaVersion": 2, "manifests": [image.descriptor]}, f)
        with open(agent.path(layout + "/oci-layout"), "w") as f:
            json.dump({"imageLayoutVersion": "1.0.0"}, f)
        theirs_id = podman(agent.machine, "pull", f"oci:{layout}").strip()
        mine, other = [], []
        for i in range(runs + 1):  # the first of each fills the caches
            mine.append(ours(agent, image, i))
            other.append(theirs(agent.machine, theirs_id))
        podman(agent.machine, "rmi", "-f", theirs_id)
    first = statistics.median(m[0] for m in mine[1:])
    ready = statistics.median(m[1] for m in mine[1:])
    peer = statistics.median(other[1:])
    result = {"mcp_first_answer_ms": round(first, 1), "mcp_ready_ms": round(ready, 1),
              "podman_first_answer_ms": round(peer, 1), "ratio": round(peer / first, 2), "runs": runs,
              "shim_pss_kib": mine[-1][2]}
    version = subprocess.run(["podman", "--version"], capture_output=True, text=True).stdout.strip()
    runc = subprocess.run(["runc", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    print(f"{version}, {runc}; {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"asked to first answer, median of {runs}: mcp {first:.0f} ms (ready {ready:.0f} ms), podman {peer:.0f} ms, "
          f"{peer / first:.1f} times as fast; shim {mine[-1][2]} KiB")
    if os.environ.get("JSON"):
        print(json.dumps(result))


main()
