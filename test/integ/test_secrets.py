# SPDX-License-Identifier: Apache-2.0
"""Secrets: what a unit waits for, gets, and sees change (an agent alone); and that a value is nowhere but in the memory
of whom it is for (a lab of two regions, everything searched for a canary)."""
import base64
import json
import os
import pathlib
import stat
import time

import pytest
from canary import Watch, files_below, forms, memory_of, searched
from lablib import RUN, STATE, Lab, wait_until
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


# --- a platform

CANARY = f"canary-{os.getpid()}-" + base64.b32encode(os.urandom(10)).decode()
NEXT = f"canary-{os.getpid()}-" + base64.b32encode(os.urandom(10)).decode()

THREE = """
platform: {{name}}
domain: {{name}}.example
regions:
  ra: {{{{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}}}
  rb: {{{{duty: dr, network: 10.40.0.0/16}}}}
  rc: {{{{network: 10.60.0.0/16}}}}
hosts:
  a1: {{{{region: ra, address: 10.20.0.11, public: true}}}}
  b1: {{{{region: rb, address: 10.40.0.11}}}}
  c1: {{{{region: rc, address: 10.60.0.11}}}}
state: {{{{members: [a1]}}}}
modules:
  api: {{{{image: "oci:{image}", command: [/bin/sleep, "1000000"], stop_timeout: 0s, regions: {{{{rb: 1}}}}, secrets: [psp_key]}}}}
  other: {{{{image: "oci:{image}", command: [/bin/sleep, "1000000"], stop_timeout: 0s, regions: {{{{rc: 1}}}}{other}}}}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    image = Image(busybox(), User="app").layout(folder / "image")
    with Lab(THREE.format(image=image, other=""), folder=folder) as three:
        three.image = image
        with Watch(forms(CANARY) + forms(NEXT)) as three.watch:
            three.up("--hosts-only")
            wait_until(lambda: three.status()["state_store"]["connected"], 60, "the state store")
            yield three


def unit_of(lab, module):
    return next(u for u in lab.status()["units"] if u["module"] == module)


def secret_of(lab, name="psp_key"):
    return next(s for s in json.loads(lab.mcp("secret", "list", "--json").stdout) if s["name"] == name)


def shown_by(lab, module, name="psp_key"):
    """The file as the module's own process has it."""
    return lab.mcp("exec", module, "--", "/bin/cat", f"/run/secrets/{name}").stdout


def memory_files(lab, host):
    top = lab.path(host, "/run/mcp/secrets")
    return sorted(str(f.relative_to(top)) for f in top.glob("*/*"))


def test_an_instance_waits_until_its_secret_is_set(lab):
    warned = lab.mcp("apply").stderr
    assert "module api waits for secret psp_key, which is not set" in warned
    wait_until(lambda: "mcp secret set psp_key" in unit_of(lab, "api")["reason"], 60)
    assert unit_of(lab, "api")["state"] == "pending" and not unit_of(lab, "api")["pid"]
    wait_until(lambda: unit_of(lab, "other")["state"] == "ready", 60)
    lab.mcp("secret", "set", "psp_key", input=CANARY)
    wait_until(lambda: "mcp secret grant psp_key api" in unit_of(lab, "api")["reason"], 60)
    lab.mcp("secret", "grant", "psp_key", "api")
    wait_until(lambda: unit_of(lab, "api")["state"] == "ready", 60)
    assert shown_by(lab, "api") == CANARY
    assert [memory_files(lab, h) for h in ("a1", "b1", "c1")] == [[], ["api-1/psp_key"], []]


def test_only_who_may_have_it_holds_a_key(lab):
    wait_until(lambda: sorted(secret_of(lab)["hosts"]) == ["a1", "b1"], 30)  # keeps the state; runs it. Not c1
    assert secret_of(lab)["asked_by"] == ["api"] and secret_of(lab)["grants"] == ["api"]
    assert not lab.path("c1", "/var/lib/mcp/control/secrets/psp_key.json").exists()


def test_a_module_that_was_not_granted_it_waits(lab):
    lab.declare(THREE.format(image=lab.image, other=", secrets: [psp_key]"))
    warned = lab.mcp("apply").stderr
    assert "module other waits for secret psp_key, which is not granted to it" in warned
    wait_until(lambda: any("not granted to module other" in u["reason"]
                           for u in lab.status()["units"] if u["module"] == "other"), 30)
    assert memory_files(lab, "c1") == []
    lab.mcp("secret", "grant", "psp_key", "other")
    wait_until(lambda: lab.status()["ready"], 60, "other to have its secret")
    assert shown_by(lab, "other") == CANARY


def test_a_rotation_reaches_all_without_a_restart(lab):
    before = {u["name"]: (u["pid"], u["restarts"]) for u in lab.status()["units"]}
    files = [lab.path("b1", "/run/mcp/secrets/api-1/psp_key"), *lab.path("c1", "/run/mcp/secrets").glob("*/psp_key")]
    begun = time.monotonic()
    lab.mcp("secret", "rotate", "psp_key", input=NEXT)
    wait_until(lambda: all(f.read_text() == NEXT for f in files), 60)
    print(f"secrets: two hosts had the next version {time.monotonic() - begun:.2f} s after `mcp secret rotate` began")
    assert len(files) == 2 and shown_by(lab, "api") == shown_by(lab, "other") == NEXT
    wait_until(lambda: secret_of(lab)["versions"] == 1, 60, "the old version to be dropped")
    assert secret_of(lab)["version"] == 2 and set(secret_of(lab)["in_place"].values()) == {2}
    assert {u["name"]: (u["pid"], u["restarts"]) for u in lab.status()["units"]} == before
    history = [row["what"] for row in json.loads(lab.mcp("secret", "history", "psp_key", "--json").stdout)]
    assert history == ["version 1 set", "granted to module api", "granted to module other", "version 2 set"]


def test_the_value_is_in_no_argument_and_no_environment(lab):
    assert lab.watch.rounds > 10 and lab.watch.found == []
    print(f"secrets: arguments and environment of every process were read {lab.watch.rounds} times")


def test_the_value_is_in_no_output(lab):
    words = [("status", "--json"), ("timeline", "--json"), ("revisions", "--json"), ("plan", "--json"), ("plan",),
             ("secret", "list", "--json"), ("secret", "list"), ("secret", "history", "psp_key", "--json"),
             ("audit", "--json"), ("logs", "api"), ("host", "list", "--json")]
    for args in words:
        shown = lab.mcp(*args)
        assert shown.stdout or shown.stderr or args[0] == "logs"
        for word in forms(CANARY) + forms(NEXT):
            assert word.decode() not in shown.stdout + shown.stderr, args
    backup = lab.file.with_suffix(".backup")
    lab.mcp("state", "backup", backup)
    assert searched([backup], forms(CANARY) + forms(NEXT))[0] == [] and b"psp_key" in backup.read_bytes()
    for host, address in (("a1", "10.20.0.11"), ("b1", "10.40.0.11"), ("c1", "10.60.0.11")):
        metrics = lab.exec(host, "curl", "-sS", "--max-time", "5", f"http://{address}:7402/metrics").stdout
        assert "mcp_" in metrics and CANARY not in metrics and NEXT not in metrics


def test_who_passed_a_value_on_has_forgotten_it(lab):
    """Control saw it on the way from the command line, into the state store and to its agent."""
    def kept(host, role, words):
        return sum(part.count(w) for part in memory_of(lab, host, role) for w in words)
    assert kept("b1", "control", [b"psp_key"]) and kept("b1", "agent", [NEXT.encode()])
    for host in ("a1", "b1", "c1"):
        assert kept(host, "control", forms(CANARY) + forms(NEXT)) == 0, host
        assert kept(host, "agent", forms(CANARY)) == 0, host  # the version before


def test_a_change_that_lacks_its_secret_harms_nothing(lab):
    before = unit_of(lab, "api")
    lab.declare(THREE.format(image=lab.image, other=", secrets: [psp_key]")
                .replace("secrets: [psp_key]}}", "secrets: [psp_key, not_there], rollout: {{deadline: 3s}}, health: {{start_timeout: 2s}}}}", 1))
    lab.mcp("apply")
    wait_until(lambda: [line for line in lab.mcp("timeline").stdout.splitlines()
                        if "goes back" in line and "not_there is not set" in line], 30)
    wait_until(lambda: len([u for u in lab.status()["units"] if u["module"] == "api"]) == 1, 60)
    after = unit_of(lab, "api")
    assert (after["name"], after["pid"], after["state"]) == (before["name"], before["pid"], "ready")
    lab.declare(THREE.format(image=lab.image, other=", secrets: [psp_key]"))
    lab.mcp("apply", "--wait", "--timeout", "60s")


def test_the_value_is_on_no_disk_and_in_no_core_file(lab):
    """Disks are read raw: the state store's log and pages, what was deleted, all of it. Control and agent are aborted
    before, so that a core file would be there."""
    roles = [(h["name"], r["pid"]) for h in lab.status()["hosts"] if h["name"] in ("a1", "b1")
             for r in h["roles"] if r["name"] in ("control", "agent")]
    assert len(roles) == 4
    for host, pid in roles:
        limits = lab.exec(host, "cat", f"/proc/{pid}/limits").stdout
        core = next(line for line in limits.splitlines() if "core file" in line)
        assert core.split()[4:6] == ["0", "0"], core
        lab.exec(host, "kill", "-ABRT", str(pid))
    wait_until(lambda: lab.status()["ready"], 60)
    wait_until(lambda: shown_by(lab, "api") == NEXT, 60)
    os.sync()
    words = forms(CANARY) + forms(NEXT)
    found, total = searched(files_below(STATE / lab.name, RUN / lab.name), words)
    assert found == [] and total > 10 << 20
    named, _ = searched(files_below(STATE / lab.name), [b"secret/psp_key"])
    assert any("disk" in path or path.endswith(".img") for path, _ in named), named  # the search does see disks
    for host in ("a1", "b1", "c1"):
        top = str(lab.path(host, "/run/mcp"))
        found, read = searched(files_below(top, but=(f"{top}/secrets",)), words)
        assert found == []
        total += read
        assert not [f for f in lab.path(host, "/").glob("core*")] and not list(pathlib.Path("/").glob("core*"))
    print(f"secrets: {total >> 20} MiB of disks and run folders searched")
    found, _ = searched(files_below(*[lab.path(h, "/run/mcp/secrets") for h in ("a1", "b1", "c1")]), words)
    assert {path.rsplit("/", 2)[1].split("-")[0] for path, _ in found} == {"api", "other"}  # there it is


def test_a_reboot_without_the_state_store_starts_what_needs_it(lab):
    lab.mcp("lab", "kill", "b1")
    lab.mcp("lab", "kill", "a1")  # the only member of the state store
    lab.mcp("lab", "heal", "b1")

    file = lab.path("b1", "/run/mcp/secrets/api-1/psp_key")
    wait_until(file.exists, 60, "the secret to be there again")
    wait_until(lambda: shown_by(lab, "api") == NEXT, 60, "api to run again")
    assert memory_files(lab, "b1") == ["api-1/psp_key"]
    lab.mcp("lab", "heal", "a1")
    wait_until(lambda: lab.status()["ready"], 90)
    wait_until(lambda: lab.mcp("secret", "grant", "psp_key", "api", check=False).returncode == 0, 60, "the state store")


def test_what_is_removed_is_gone(lab):
    lab.mcp("secret", "rm", "psp_key")
    assert json.loads(lab.mcp("secret", "list", "--json").stdout) == []
    for host in ("a1", "b1", "c1"):
        wait_until(lambda h=host: not list(lab.path(h, "/var/lib/mcp/control/secrets").glob("*")), 60)
    assert lab.mcp("secret", "rotate", "psp_key", input="x", check=False).returncode == 1
    assert lab.mcp("secret", "set", "../x", input="x", check=False).returncode == 2
    assert lab.mcp("secret", "set", "big", input="x" * 65537, check=False).returncode == 1
