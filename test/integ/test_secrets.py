# SPDX-License-Identifier: Apache-2.0
"""Secrets: what a unit waits for, gets, and sees change (an agent alone); and that a value is nowhere but in the memory
of whom it is for (a lab of two regions, everything searched for a canary)."""
import base64
import os
import stat

import pytest
from lablib import wait_until
from units import Agent, Image, busybox, spec

READ = ["/bin/sh", "-c", "ls -ln /run/secrets; cat /run/secrets/psp_key; echo; id -u; while true; do sleep 1; done"]


def secret(name="psp_key", file=None, mode=0o400, on_change="watch", number=1):
    return {"name": name, "file": file or name, "mode": mode, "on_change": on_change, "signal": number}


def tell(agent, module="api", v=1, **values):
    secrets = {name: {"v": v, "value": base64.b64encode(text.encode()).decode()} if text is not None
               else {"error": f"secret {name} is not set; `mcp secret set {name}`", "passing": False}
               for name, text in values.items()}
    agent.role.notify("secrets", {"module": module, "secrets": secrets})


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        a.image = a.put(Image(busybox(), User="app"))
        yield a.start()


def unit(agent, name="api-1", command=None, **changes):
    return spec(name, agent.image, command or READ, **changes)


def shown(agent, name="api-1", path="/run/secrets/psp_key"):
    """The file as the process sees it."""
    answer, parts = agent.call("exec", {"unit": name, "argv": ["/bin/cat", path]})
    assert answer.get("result") == {"exit": 0}, (answer, parts)
    return b"".join(base64.b64decode(p["stdout"]) for p in parts if "stdout" in p).decode()


def test_a_unit_waits_for_its_secret_and_reads_it(agent):
    agent.apply(unit(agent, secrets=[secret()]))
    waiting = agent.wait(lambda u: u.get("api-1", {}).get("state") == "pending")["api-1"]
    assert "psp_key" in waiting["reason"]
    tell(agent, psp_key=None)
    agent.wait(lambda u: "mcp secret set psp_key" in u["api-1"]["reason"] and u["api-1"]["state"] == "pending")
    tell(agent, psp_key="hunter2")
    first = agent.wait_state("api-1", "ready")
    assert first["restarts"] == 0
    wait_until(lambda: "hunter2" in agent.log("api-1"))
    lines = agent.log("api-1")
    assert any(line.startswith("-r--------") and "1000" in line for line in lines), lines
    assert "1000" in lines  # not root inside, and the file is its own
    pid = agent.wait_state("api-1", "ready")["pid"]
    mounts = open(f"/proc/{pid}/mountinfo").read()
    row = next(line for line in mounts.splitlines() if " /run/secrets " in line)
    assert "ro," in row and "noexec" in row and (" - ramfs " in row or " - tmpfs " in row), row


def test_a_rotation_is_seen_without_a_restart(agent):
    before = agent.wait_state("api-1", "ready")
    tell(agent, v=2, psp_key="hunter3")
    wait_until(lambda: shown(agent) == "hunter3")
    after = agent.wait_state("api-1", "ready")
    assert (after["pid"], after["restarts"]) == (before["pid"], before["restarts"])
    assert any("version 2" in t["message"] for t in agent.timeline if t["subject"] == "api-1")
    assert "hunter" not in str(agent.timeline)


def test_an_agent_that_starts_anew_keeps_the_file(agent):
    before = agent.wait_state("api-1", "ready")
    agent.kill()
    agent.units = {}
    agent.start()
    assert agent.wait_state("api-1", "ready")["pid"] == before["pid"]
    assert shown(agent) == "hunter3"
    os.kill(before["pid"], 9)  # and without a word of control it is there for the next process
    again = agent.wait(lambda u: u["api-1"]["state"] == "ready" and u["api-1"]["pid"] != before["pid"])["api-1"]
    assert again["restarts"] == 1 and shown(agent) == "hunter3"
    for folder, _, files in os.walk(agent.path("/var/lib/mcp")):
        for name in files:
            with open(os.path.join(folder, name), "rb") as f:
                assert b"hunter" not in f.read() or folder.endswith("/log"), name  # the module itself printed it
    for name in os.listdir(agent.path("/run/mcp/units/api-1")):
        path = agent.path(f"/run/mcp/units/api-1/{name}")
        if stat.S_ISREG(os.lstat(path).st_mode):
            assert b"hunter" not in open(path, "rb").read(), name


def test_what_happens_on_change_is_declared(agent):
    trap = ["/bin/sh", "-c", "trap 'cat /run/secrets/k; echo' HUP; echo armed; while true; do sleep 0.1; done"]
    agent.apply(unit(agent, "hup-1", trap, secrets=[secret("k", on_change="signal")]),
                unit(agent, "again-1", secrets=[secret("k", file="psp_key", mode=0o440, on_change="restart")]))
    for module in ("hup", "again"):
        tell(agent, module, k="one")
    before = {n: agent.wait_state(n, "ready")["pid"] for n in ("hup-1", "again-1")}
    wait_until(lambda: "armed" in agent.log("hup-1"))
    for module in ("hup", "again"):
        tell(agent, module, v=2, k="two")
    agent.wait(lambda u: u["again-1"]["state"] == "ready" and u["again-1"]["pid"] != before["again-1"])
    assert shown(agent, "again-1") == "two"
    wait_until(lambda: "two" in agent.log("hup-1"))
    assert agent.units["hup-1"]["pid"] == before["hup-1"]


def test_nothing_stays_of_a_unit_that_went(agent):
    agent.apply()
    agent.wait(lambda u: not u)
    wait_until(lambda: not os.listdir(agent.path("/run/mcp/secrets")))


def test_a_removed_secret_holds_the_next_start(agent):
    agent.apply(unit(agent, secrets=[secret()]))
    tell(agent, psp_key="hunter4")
    pid = agent.wait_state("api-1", "ready")["pid"]
    tell(agent, psp_key=None)
    os.kill(pid, 9)
    agent.wait(lambda u: "not set" in u["api-1"]["reason"] and u["api-1"]["state"] != "ready")
    tell(agent, psp_key="hunter5")
    agent.wait_state("api-1", "ready")
    assert shown(agent) == "hunter5"
