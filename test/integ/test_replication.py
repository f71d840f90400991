# SPDX-License-Identifier: Apache-2.0
"""The data role as a process, locked in as in production."""
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/lib"))
from role import Machine, Role  # noqa: E402

MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))
IDLE_BYTES_MAX = 256 * 1024  # over a role that does nothing at all


def boot(host):
    return {"format": 1, "platform": "reindeers", "host": host, "region": "ap-hongkong", "addresses": ["10.20.0.11"],
            "public": [], "bridge": "100.127.0.0/16", "roles": ["data"], "state": {"kind": "sqlite"}, "peers": [],
            "cgroup": f"/mcp/reindeers.{host}"}


def own_bytes(machine):
    """What a data role without databases alone makes the host hold (pages of the binary are shared with the other
    roles), and that it is locked in and starts no threads."""
    role = Role(machine, MCP, "data", boot("hk1"), [])
    role.call("ping")
    proc = f"/proc/{role.process.pid}"
    status = dict(line.split(":\t", 1) for line in open(f"{proc}/status").read().splitlines() if ":\t" in line)
    assert status["Threads"] == "1" and status["CapEff"] == "0" * 16 and status["Uid"].split()[0] != "0"
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    rollup = open(f"{proc}/smaps_rollup").read().splitlines()
    role.close()
    return sum(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Private_Dirty:"))


def test_idle_role_costs_little(monkeypatch):
    machine = Machine(["10.20.0.11"])
    idle = own_bytes(machine)
    monkeypatch.setenv("MCP_STUB_ROLES", "1")
    nothing = own_bytes(machine)
    machine.close()
    print(f"data idle: {idle} bytes of its own, a role that does nothing: {nothing}")
    assert idle < nothing + IDLE_BYTES_MAX
