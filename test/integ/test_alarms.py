# SPDX-License-Identifier: Apache-2.0
"""Alarms: the reference's two triggers (a database that does not answer, an API that answers with errors), told to a
real HTTP receiver once, whoever leads; three hosts, real etcd and MariaDB."""
import contextlib
import http.server
import json
import os
import signal
import threading

import pytest
import units
from lablib import STATE, Lab, unique_name, wait_until

CANARY = "T0CANARY/B0/hq7Zt2"
PLATFORM = """
platform: {name}
domain: {name}.example
regions:
  ra: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
  rb: {{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}
  rc: {{network: 10.50.0.0/16}}
hosts:
  a1: {{region: ra, address: 10.20.0.11, public: true}}
  b1: {{region: rb, address: 10.40.0.11}}
  c1: {{region: rc, address: 10.50.0.11}}
state: {{members: [a1, b1, c1]}}
lab:
  wan: [{{between: [ra, rb], delay: 2ms}}]
  clients: {{KR: 198.51.100.0/28}}
data:
  trade: {{source: ra, replicas: [rb], limits: {{memory: 256MiB}}}}
modules:
  api:
    image: oci:api
    port: 8080
    health: none
    rollout: {{strategy: replace}}
    route: {{names: [api.{name}.example], path: /, auth: none}}
    regions: {{ra: 1}}
alarms:
  db-silent: {{when: "data.trade.answering == false", for: 2s, clear_for: 1s, severity: critical, notify: ops}}
  repl-broken: {{when: "data.trade.replicating == false", for: 1s, clear_for: 1s}}
  lag: {{when: "data.trade.lag_ms > 1500", for: 1s, clear_for: 1s}}
  api-errors: {{when: "route.api.error_rate > 5% and route.api.requests >= 3", for: 2s, notify: [ops, nobody]}}
notify:
  ops: {{slack: {{url_secret: hook, channel: "#ops"}}, builtin: false}}
  nobody: {{slack: {{url_secret: dead_hook}}, builtin: false}}
"""


class Receiver:
    """What a webhook is: takes JSON by POST. It lives in a host's network, and can be told to refuse."""

    def __init__(self, lab, host, address):
        outer = self
        self.bodies, self.paths, self.keys, self.refuse = [], [], [], 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.keys.append((self.headers["Idempotency-Key"], json.loads(body)["attachments"][0]["callback_id"]))
                if outer.refuse:
                    outer.refuse -= 1
                    self.send_response(503)
                else:
                    outer.paths.append((self.path, self.headers["Content-Type"]))
                    outer.bodies.append(json.loads(body))
                    self.send_response(200)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.sock = lab.socket(host)
        self.sock.bind((address, 0))
        self.sock.listen(16)
        self.server = http.server.ThreadingHTTPServer((address, 0), Handler, bind_and_activate=False)
        self.server.socket.close()
        self.server.socket = self.sock
        self.url = f"http://{address}:{self.sock.getsockname()[1]}/services/{CANARY}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def of(self, alarm, what=""):
        return [b for b in self.bodies if f"alarm {alarm} {what}" in b["text"]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alarms")
    units.Image(units.busybox(), cmd=["/bin/sleep", "1000000"]).layout(folder / "api")
    with Lab(PLATFORM, name=unique_name("alarm"), folder=folder) as lab:
        lab.up()
        with contextlib.closing(Receiver(lab, "c1", "10.50.0.11")) as lab.receiver:
            lab.mcp("secret", "set", "hook", input=lab.receiver.url + "\n")
            yield lab


def show(lab, name):
    return json.loads(lab.mcp("alarms", "show", name, "--json").stdout)["alarms"][0]


def values(lab):
    return json.loads(lab.mcp("alarms", "values", "--json").stdout)["values"]


class Frozen:
    """The database of a host does not answer, whoever kills it and starts it again."""

    def __init__(self, lab, host):
        self.lab, self.host, self.pids, self.over = lab, host, set(), threading.Event()
        self.thread = threading.Thread(target=self.keep)

    def server(self):
        return next((u["pid"] for u in self.lab.status()["units"]
                     if u["host"] == self.host and u["name"] == "db-trade"), 0)

    def keep(self):
        while not self.over.wait(0.1):
            pid = self.server()
            if pid and pid not in self.pids:
                with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGSTOP)
                    self.pids.add(pid)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.thread.join()
        pid = self.server()
        if pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def leader(lab):
    """The host that decides, and the pid of its control."""
    said = [json.loads(line) for line in lab.mcp("timeline", "--json", "--kind", "placement").stdout.splitlines()]
    host = [e["host"] for e in said if e["message"].startswith("decides where")][-1]
    roles = next(h for h in lab.status()["hosts"] if h["name"] == host)["roles"]
    return host, next(r["pid"] for r in roles if r["name"] == "control")


def test_a_database_that_does_not_answer_is_told_once(lab):
    """Frozen, its alarm fires; the leader's control dies, and nothing is repeated; it goes on, and that is told."""
    wait_until(lambda: values(lab).get("data.trade.answering") and values(lab).get("data.trade.replicating"), 90)
    assert show(lab, "db-silent")["state"] == "ok"
    lab.receiver.refuse = 1  # the first attempt fails: it is tried again
    with Frozen(lab, "a1"):
        body = wait_until(lambda: lab.receiver.of("db-silent", "fires"), 90, "the webhook")[0]
        assert body["channel"] == "#ops" and f"[{lab.name}] critical" in body["text"]
        attachment = body["attachments"][0]
        assert attachment["color"] == "danger" and attachment["title"] == "data.trade.answering == false"
        assert "data.trade.answering is false" in attachment["text"]
        assert lab.receiver.paths[0] == (f"/services/{CANARY}", "application/json")
        first, second = lab.receiver.keys[:2]  # refused, and sent again: the same message
        assert first == second == (f'"{second[1]}"', second[1]) and second[1].startswith(f"{lab.name}-db-silent-1-raised-")
        alarm = wait_until(lambda: (lambda a: a if not a["due"] else None)(show(lab, "db-silent")), 60, "all told")
        assert (alarm["state"], alarm["id"], alarm["builtin"]) == ("firing", 1, False)
        wait_until(lambda: any("alarm db-silent (critical) fires" in a["text"] for a in lab.status()["alarms"]), 60)
        os.kill(leader(lab)[1], signal.SIGKILL)
        wait_until(lambda: show(lab, "data.trade.answering")["state"] == "firing", 60, "the built-in one")
        lab.mcp("alarms", "ack", "db-silent", "--reason", "on it")
        assert show(lab, "db-silent")["acked"]["why"] == "on it"
    wait_until(lambda: lab.receiver.of("db-silent", "is over"), 90, "its end")
    assert show(lab, "db-silent")["state"] == "ok"
    assert len(lab.receiver.of("db-silent", "fires")) == 1 and len(lab.receiver.of("db-silent")) == 2
    assert not lab.receiver.of("data.trade.answering")  # nobody asked for the built-in ones
    told = lab.mcp("timeline", "--kind", "alarm", "-n", "300").stdout
    assert "db-silent: fires (critical) (data.trade.answering is false)" in told and "acknowledged by" in told
    refused = lab.mcp("alarms", "ack", "db-silent", check=False)
    assert refused.returncode == 3 and "nothing to acknowledge" in refused.stderr


def test_an_api_that_answers_with_errors(lab):
    """Its instance runs and listens nowhere: each request is answered 502. A webhook that nobody can reach is given up
    without holding up the other."""
    for _ in range(6):
        out = lab.exec("client", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--interface", "198.51.100.1",
                       "--resolve", f"api.{lab.name}.example:443:203.0.113.20",
                       f"https://api.{lab.name}.example/v1").stdout
        assert out in ("502", "503")
    wait_until(lambda: lab.receiver.of("api-errors", "fires"), 90, "the webhook")
    alarm = show(lab, "api-errors")
    assert alarm["state"] == "firing" and alarm["notify"] == ["ops", "nobody"]
    assert any(d["to"] == "nobody" for d in alarm["due"] or []) or alarm["failed"]["to"] == "nobody"
    host = leader(lab)[0]
    address = {"a1": "10.20.0.11", "b1": "10.40.0.11", "c1": "10.50.0.11"}[host]
    metrics = lab.exec(host, "curl", "-sS", f"http://{address}:7402/metrics").stdout
    assert 'mcp_alarm_firing{role="control",alarm="api-errors",severity="warning"} 1' in metrics


def test_silenced(lab):
    lab.mcp("alarms", "silence", "db-silent", "--for", "10m", "--reason", "works")
    before = len(lab.receiver.bodies)
    with Frozen(lab, "a1"):
        wait_until(lambda: show(lab, "db-silent")["state"] == "firing", 90, "the alarm")
        alarm = show(lab, "db-silent")
        assert alarm["silenced"] and alarm["due"] is None and alarm["silence"]["why"] == "works"
        assert not [b for b in lab.receiver.bodies[before:] if "db-silent" in b["text"]]
        lab.mcp("alarms", "silence", "db-silent", "--off")
        wait_until(lambda: len(lab.receiver.of("db-silent", "fires")) == 2, 60, "what the silence kept")


def test_a_replica_that_stops(lab):
    """Its server stands still: it is behind, and does not follow. Both alarms end when it has caught up."""
    wait_until(lambda: values(lab).get("data.trade.replicating"), 90, "the replica to follow")
    with Frozen(lab, "b1"):
        for name in ("repl-broken", "lag"):
            wait_until(lambda: show(lab, name)["state"] in ("firing", "clearing"), 90, name)
    for name in ("repl-broken", "lag"):
        wait_until(lambda: show(lab, name)["state"] == "ok", 90, f"the end of {name}")


def test_the_url_is_nowhere(lab):
    """In no log, no timeline, no argument, no environment, no answer."""
    shown = lab.mcp("timeline", "-n", "500").stdout + lab.mcp("alarms", "list", "--json").stdout
    shown += lab.mcp("audit", "--json").stdout + json.dumps(lab.status())
    assert CANARY not in shown
    for log in (STATE / lab.name / "log").glob("*.log"):
        assert CANARY not in log.read_text(errors="replace"), log
    for pid in lab.processes():
        for what in ("cmdline", "environ"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                with open(f"/proc/{pid}/{what}", "rb") as f:
                    assert CANARY.encode() not in f.read()
