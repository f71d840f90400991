# SPDX-License-Identifier: Apache-2.0
"""The agent with real containers: what runs keeps running, what dies comes back, what misbehaves is named."""
import base64
import contextlib
import os
import signal
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import units  # noqa: E402
from units import entry, layer, spec  # noqa: E402

HTTP = {"kind": "http", "path": "/healthz"}
SERVE = ["/bin/sh", "-c", "exec httpd -f -p $PORT -h /www"]


@pytest.fixture(scope="module")
def image():
    return units.Image(units.busybox(), layer(entry("www", kind="d", mode=0o755), entry("www/healthz", b"ok\n")),
                       cmd=SERVE, User="app", Env=["PORT=80"])


@pytest.fixture
def agent(image):
    with units.Agent() as a:
        a.put(image)
        yield a.start()


def test_module_becomes_ready_and_goes(agent, image):
    agent.apply(spec("web-1", image, port=80, probe=HTTP))
    web = agent.wait_state("web-1", "ready")
    assert web["address"] == "100.127.0.2" and web["pid"] > 0 and web["restarts"] == 0 and web["reason"] == ""
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{web['pid']}/status") if ":\t" in line)
    assert int(status["CapEff"], 16) == 0 and status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1"
    assert status["Uid"].split()[0] == str(0x10000000 + 1000)
    agent.apply()
    agent.wait(lambda u: not u)
    assert agent.cgroup_pids() == set() and agent.shims() == {}


def test_killed_module_is_ready_again_within_a_second(agent, image):
    agent.apply(spec("web-1", image, port=80, probe=HTTP))
    before = agent.wait_state("web-1", "ready")
    start = time.monotonic()
    os.kill(before["pid"], signal.SIGKILL)
    agent.wait(lambda u: u["web-1"]["state"] == "ready" and u["web-1"]["restarts"] == 1)
    took = time.monotonic() - start
    print(f"ready again after {took * 1000:.0f} ms")
    assert took < 1.0
    assert any(t["message"] == "starting" and "signal 9" in t["cause"] for t in agent.timeline)


def test_hanging_module_is_probed_out_and_restarted(agent, image):
    agent.apply(spec("web-1", image, port=80, probe={**HTTP, "interval_ms": 50, "timeout_ms": 200}))
    web = agent.wait_state("web-1", "ready")
    os.kill(web["pid"], signal.SIGSTOP)
    agent.wait_state("web-1", "unhealthy")
    agent.wait(lambda u: u["web-1"]["state"] == "ready" and u["web-1"]["restarts"] == 1)
    causes = {t["message"]: t["cause"] for t in agent.timeline}
    assert "no answer within 200ms" in causes["unhealthy"] and "probe failed" in causes["stopping"]


def test_out_of_memory_is_named(agent, image):
    eat = ["/bin/sh", "-c", "x=x; while true; do x=$x$x; done"]
    agent.apply(spec("eater-1", image, eat, limits={"memory_bytes": 16 << 20}))
    agent.wait(lambda u: "out of memory (limit 16MiB)" in u["eater-1"]["reason"] if "eater-1" in u else False)


def test_crash_loop_backs_off(agent, image):
    agent.apply(spec("bad-1", image, ["/bin/sh", "-c", "exit 3"]))
    unit = agent.wait(lambda u: "crash loop: exit 3 ×3" in u.get("bad-1", {}).get("reason", ""))["bad-1"]
    assert unit["state"] == "backoff" and "next try in" in unit["reason"]


def test_missing_program_is_failed_not_restarted(agent, image):
    agent.apply(spec("none-1", image, ["/no/such/program"]))
    unit = agent.wait_state("none-1", "failed")
    assert "/no/such/program" in unit["reason"] and unit["restarts"] == 0


def test_missing_image_is_named(agent):
    absent = units.Image(units.busybox(), cmd=["/other"])
    agent.apply(spec("gone-1", absent))
    unit = agent.wait(lambda u: "is not here" in u.get("gone-1", {}).get("reason", ""))["gone-1"]
    assert unit["state"] == "starting" and "no host has it" in unit["reason"] and "next try in" in unit["reason"]
    agent.apply()  # and one that waits can be stopped
    agent.wait(lambda u: "gone-1" not in u)


def test_agent_killed_adopts(agent, image):
    agent.apply(spec("web-1", image, port=80, probe=HTTP), spec("web-2", image, port=80, probe=HTTP))
    agent.wait_state("web-1", "ready")
    before = {n: u["pid"] for n, u in agent.wait(
        lambda u: len(u) == 2 and all(x["state"] == "ready" for x in u.values())).items()}
    agent.kill()
    agent.units = {}
    agent.start()
    after = agent.wait(lambda u: len(u) == 2 and all(x["state"] == "ready" for x in u.values()))
    assert {n: u["pid"] for n, u in after.items()} == before
    assert all(u["restarts"] == 0 for u in after.values())
    os.kill(before["web-1"], signal.SIGKILL)  # and the adopted one is watched
    agent.wait(lambda u: u["web-1"]["state"] == "ready" and u["web-1"]["restarts"] == 1)


def test_unit_died_while_the_agent_was_dead(agent, image):
    agent.apply(spec("web-1", image, port=80, probe=HTTP))
    web = agent.wait_state("web-1", "ready")
    agent.kill()
    shim = os.pidfd_open(agent.shims()["web-1"])
    os.kill(web["pid"], signal.SIGKILL)
    units.select.select([shim], [], [], 20)
    os.close(shim)
    agent.units = {}
    agent.start()  # from its own files: this control says nothing
    again = agent.wait(lambda u: u.get("web-1", {}).get("restarts") == 1 and u["web-1"]["state"] == "ready")["web-1"]
    assert again["pid"] != web["pid"]


def test_killed_shim_leaves_no_second_process(agent, image):
    agent.apply(spec("web-1", image, port=80, probe=HTTP))
    web = agent.wait_state("web-1", "ready")
    os.kill(agent.shims()["web-1"], signal.SIGKILL)
    agent.wait(lambda u: u["web-1"]["state"] == "ready" and u["web-1"]["restarts"] == 1)
    assert len(agent.cgroup_pids()) == 1 and web["pid"] not in agent.cgroup_pids()


def test_changed_spec_replaces_one_by_one(agent, image):
    old = [spec(f"web-{i}", image, port=80, probe=HTTP) for i in (1, 2, 3)]
    agent.apply(*old)
    agent.wait(lambda u: len(u) == 3 and all(x["state"] == "ready" for x in u.values()))
    before = {n: u["pid"] for n, u in agent.units.items()}
    least = [3]

    def all_new(u):
        least[0] = min(least[0], sum(x["state"] == "ready" for x in u.values()))
        return all(x["state"] == "ready" and x["pid"] != before[n] for n, x in u.items())
    agent.apply(*[{**s, "env": {"NEW": "1"}} for s in old])
    agent.wait(all_new)
    assert least[0] == 2


def test_damaged_file_stops_nothing(agent, image):
    agent.apply(spec("web-1", image, port=80, probe=HTTP))
    web = agent.wait_state("web-1", "ready")
    agent.kill()
    with open(agent.path("/var/lib/mcp/agent/units.json"), "w") as f:
        f.write('{"revision": 1, "uni')
    agent.units = {}
    agent.start()
    assert agent.wait_state("web-1", "ready")["pid"] == web["pid"]
    agent.call("status", {})  # and what was told before it
    assert any("units.json" in t["cause"] for t in agent.timeline)
    agent.apply()
    agent.wait(lambda u: not u)


def test_a_standby_runs_and_its_admission_replaces_no_process(agent, image):
    agent.apply(spec("web-1", image, port=80, probe=HTTP, standby=True))
    unit = agent.wait_state("web-1", "ready")
    assert unit["standby"]
    agent.apply(spec("web-1", image, port=80, probe=HTTP))
    agent.wait(lambda units: not units["web-1"]["standby"])
    assert agent.wait_state("web-1", "ready")["pid"] == unit["pid"]


def test_engine_of_the_boot_file_starts_without_control(agent, image):
    agent.kill()
    engine = spec("sleeper-1", None, ["/bin/sleep", "1000"], kind="engine", runtime="exec", user="nobody")
    with open(agent.path("/var/lib/mcp/agent/boot-units.json"), "w") as f:
        f.write(units.json.dumps({"revision": 0, "units": [engine]}))
    agent.start()
    unit = agent.wait_state("sleeper-1", "ready")
    with open(f"/proc/{unit['pid']}/status") as f:
        assert "Uid:\t65534" in f.read()
    os.kill(unit["pid"], signal.SIGKILL)
    agent.wait(lambda u: u["sleeper-1"]["state"] == "ready" and u["sleeper-1"]["restarts"] == 1)


def test_exec_passes_streams_and_status(agent, image):
    agent.apply(spec("web-1", image, port=80, probe=HTTP))
    agent.wait_state("web-1", "ready")
    answer, parts = agent.call("exec", {"module": "web", "argv": ["/bin/sh", "-c", "id -u; echo no >&2; exit 7"]})
    assert answer["result"] == {"exit": 7}, parts
    text = {k: b"".join(base64.b64decode(p[k]) for p in parts if k in p) for k in ("stdout", "stderr")}
    assert text == {"stdout": b"1000\n", "stderr": b"no\n"}
    agent.role.calls += 1
    number = agent.role.calls
    agent.role.say({"id": number, "method": "exec", "params": {"unit": "web-1", "argv": ["/bin/wc", "-c"]}})
    for _ in range(10):
        agent.role.say({"id": number, "input": {"data": base64.b64encode(b"x" * 3000).decode()}})
    agent.role.say({"id": number, "input": {"eof": True}})
    out = b""
    while True:
        message = agent.role.hear()
        if message.get("id") == number and "more" in message:
            out += base64.b64decode(message["more"].get("stdout", ""))
        elif message.get("id") == number:
            break
    assert message["result"] == {"exit": 0} and out.strip() == b"30000"


def test_exec_probe(agent, image):
    agent.apply(spec("job-1", image, ["/bin/sleep", "1000"], probe={"kind": "exec", "command": ["/bin/true"]}),
                spec("sad-1", image, ["/bin/sleep", "1000"],
                     probe={"kind": "exec", "command": ["/bin/false"], "start_timeout_ms": 1500}))
    agent.wait_state("job-1", "ready")
    unit = agent.wait(lambda u: "not ready within" in u["sad-1"]["reason"])["sad-1"]
    assert "exits with 1" in unit["reason"]


def test_logs_are_kept_and_followed(agent, image):
    said = "echo one; printf three; echo two >&2; >/tmp/said; sleep 1000"
    agent.apply(spec("talk-1", image, ["/bin/sh", "-c", said],
                     probe={"kind": "exec", "command": ["/bin/sh", "-c", "[ -e /tmp/said ]"]}))
    agent.wait_state("talk-1", "ready")  # all three were said, the last line without its end
    agent.apply(spec("talk-1", image, ["/bin/sh", "-c", "echo 네번째; sleep 1000"]))
    agent.wait(lambda u: u["talk-1"]["restarts"] == 1 and u["talk-1"]["state"] == "ready")
    agent.role.calls += 1
    number = agent.role.calls
    agent.role.say({"id": number, "method": "logs", "params": {"module": "talk", "lines": 10, "follow": True}})
    lines = []
    while len(lines) < 4:
        message = agent.role.hear()
        if message.get("id") == number:
            lines.append(message["more"])
    assert sorted(l["line"] for l in lines[:2]) == ["one", "two"]
    assert [l["line"] for l in lines[2:]] == ["three", "네번째"]
    assert {l["line"]: l["stream"] for l in lines}["two"] == "stderr"
    agent.apply(spec("talk-1", image, ["/bin/sh", "-c", "echo five; sleep 1000"]))
    while lines[-1]["line"] != "five":
        message = agent.role.hear()
        if message.get("id") == number:
            lines.append(message["more"])
    agent.role.say({"id": number, "cancel": True})


def kept_logs(folder):
    """What each log file of a unit holds now; a file that is renamed between being listed and being opened is read at the next look."""
    kept = []
    for name in sorted(os.listdir(folder)):
        with contextlib.suppress(FileNotFoundError), open(f"{folder}/{name}", errors="surrogateescape") as file:
            kept.append(file.read())
    return kept


def test_logs_rotate_and_are_limited(image):
    with units.Agent(env={"MCP_LOG_FILE_BYTES": "50000", "MCP_LOG_RATE": "1000", "MCP_LOG_BURST": "3000"}) as agent:
        agent.put(image)
        agent.start()
        flood = "i=0; while [ $i -lt 200 ]; do yes 0123456789012345678901234567890123456789 | head -n 100; i=$((i+1)); done; "
        agent.apply(spec("loud-1", image, ["/bin/sh", "-c", flood + "echo done; sleep 1000"]))
        agent.wait_state("loud-1", "ready")
        folder = agent.path("/var/lib/mcp/agent/units/loud-1/log")
        until = time.monotonic() + 30
        while time.monotonic() < until:
            kept = kept_logs(folder)
            if any("lines dropped: more than 1000 a second" in text for text in kept):
                break
        assert any("lines dropped: more than 1000 a second" in text for text in kept)
        assert len(kept) <= 5 and all(len(text.encode(errors="surrogateescape")) <= 50000 for text in kept)


def test_escaping_layers_are_refused(agent):
    rows = {"dots": [entry("../escape", b"x")],
            "link": [entry("evil", "/tmp", "l"), entry("evil/escape", b"x")],
            "hard": [entry("shadow", "../../../../../etc/shadow", "h")]}
    for name, entries in rows.items():
        bad = agent.put(units.Image(units.busybox(), layer(*entries), cmd=["/bin/sleep", "9"]))
        agent.apply(spec(f"{name}-1", bad))
        unit = agent.wait_state(f"{name}-1", "failed")
        assert "leave the image's root" in unit["reason"], unit
    assert not os.path.exists(agent.path("/tmp/escape"))
    left = [f for f in os.listdir(agent.path("/var/lib/mcp/images/layers")) if f.startswith(".")]
    assert left == []


def test_whiteouts(agent):
    lower = layer(entry("d", kind="d", mode=0o755), entry("d/kept", b"1"), entry("d/gone", b"1"),
                  entry("o", kind="d", mode=0o755), entry("o/under", b"1"))
    upper = layer(entry("d/.wh.gone", b""), entry("o", kind="d", mode=0o755), entry("o/.wh..wh..opq", b""),
                  entry("o/over", b"1"), entry("한글", b"1"), entry("null", kind="c", devmajor=0, devminor=0))
    image = agent.put(units.Image(units.busybox(), lower, upper, cmd=["/bin/sleep", "1000"]))
    agent.apply(spec("w-1", image))
    agent.wait_state("w-1", "ready")
    _, parts = agent.call("exec", {"unit": "w-1", "argv": ["/bin/sh", "-c", "echo /d/* /o/* /*"]})
    text = b"".join(base64.b64decode(p["stdout"]) for p in parts if "stdout" in p).decode()
    assert text.split() == ["/d/kept", "/o/over", *sorted("/" + n for n in (
        "bin", "d", "dev", "etc", "o", "proc", "run", "sys", "tmp", "한글"))]


def test_root_is_read_only_and_scratch_is_not(agent, image):
    agent.apply(spec("web-1", image, port=80, probe=HTTP))
    agent.wait_state("web-1", "ready")
    for target, ok in (("/x", False), ("/etc/x", False), ("/tmp/x", True), ("/run/x", True), ("/dev/shm/x", True)):
        answer, parts = agent.call("exec", {"unit": "web-1", "argv": ["/bin/touch", target]})
        assert (answer["result"]["exit"] == 0) == ok, (target, parts)
    _, parts = agent.call("exec", {"unit": "web-1", "argv": ["/bin/cat", "/etc/resolv.conf"]})
    assert b"nameserver 100.127.0.1" in base64.b64decode(parts[0]["stdout"])


def test_metrics(agent, image):
    agent.apply(spec("web-1", image, port=80, probe=HTTP))
    agent.wait_state("web-1", "ready")
    text = agent.call("metrics", {})[0]["result"]["text"]
    assert 'mcp_unit_ready{unit="web-1",module="web"} 1' in text and "mcp_unit_memory_bytes" in text
