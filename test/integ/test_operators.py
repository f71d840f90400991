# SPDX-License-Identifier: Apache-2.0
"""Who may do what, from a host and from afar, and that every change is in the audit log: one host with SQLite, the
operator's machine being another process of the same host with a home of its own."""
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "lib"))
from lablib import BINARY, Lab, lab_traces, wait_until

ONE_HOST = """
platform: {name}
domain: {name}.example
regions: {{ra: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}}}
hosts: {{a1: {{region: ra, address: 10.20.0.11, public: true}}}}
lab: {{clients: {{KR: 198.51.100.0/28}}}}
routing: {{nameservers: {{ns1: ra}}, default: [ra], ttl: 60s}}
"""
ADDRESS = "10.20.0.11"


class Afar:
    """A machine of an operator: his home, and nothing else of the platform than its network."""

    def __init__(self, lab, home):
        self.lab, self.home = lab, home

    def mcp(self, *words, **kw):
        env = ["env", f"HOME={self.home}", f"MCP_REMOTE={self.lab.name}"]
        return self.lab.exec("a1", *env, BINARY, *words, check=False, **kw)

    def login(self, token, address=ADDRESS):
        return self.mcp("login", address, input=token + "\n")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab(ONE_HOST, folder=tmp_path_factory.mktemp("operators")) as lab:
        lab.up()
        yield lab
    assert lab_traces(lab.name) == []


@pytest.fixture
def afar(lab, tmp_path):
    return Afar(lab, tmp_path)


def token_of(lab, name, *words):
    return lab.mcp("operator", "add", name, *words).stdout.strip()


def audit(lab, *words):
    return json.loads(lab.mcp("audit", "--json", *words).stdout)


def newest(lab, action):
    found = [x for x in audit(lab)["entries"] if x["action"] == action]
    return found[-1] if found else None


def test_a_viewer_looks_and_changes_nothing(lab, afar):
    done = afar.login(token_of(lab, "vera"))
    assert done.returncode == 0, done.stderr
    profile = afar.home / ".config/mcp" / f"{lab.name}.json"
    assert profile.stat().st_mode & 0o777 == 0o600
    status = json.loads(afar.mcp("status", "--json").stdout)
    assert status["platform"] == lab.name
    before = status["revision"]
    lab.declare(ONE_HOST.replace("60s", "45s"))
    refused = afar.mcp("apply", "-f", lab.file)
    assert refused.returncode == 3 and "takes the role deployer" in refused.stderr
    assert lab.status()["revision"] == before
    entry = wait_until(lambda: newest(lab, "mcp:Apply"))
    assert (entry["who"], entry["from"], entry["outcome"]) == ("vera", ADDRESS, "refused")


def test_a_deployer_applies_and_is_named(lab, afar):
    assert afar.login(token_of(lab, "dora", "--role", "deployer")).returncode == 0
    lab.declare(ONE_HOST.replace("60s", "50s"))
    done = afar.mcp("apply", "-f", lab.file, "--note", "from afar")
    assert done.returncode == 0, done.stderr
    revisions = json.loads(lab.mcp("revisions", "--json").stdout)
    assert revisions[0]["by"] == "dora"
    entry = wait_until(lambda: newest(lab, "mcp:Apply"))
    assert (entry["who"], entry["subject"], entry["outcome"]) == ("dora", "from afar", "accepted")
    assert afar.mcp("operator", "add", "mallory", "--role", "admin").returncode == 3
    timeline = lab.mcp("timeline", "--kind", "audit").stdout
    assert "dora" in timeline and "mcp:OperatorAdd mallory: refused" in timeline


def test_a_right_that_is_taken_away_ends_at_once(lab, afar):
    token = token_of(lab, "rob", "--role", "admin")
    assert afar.login(token).returncode == 0
    assert afar.mcp("status").returncode == 0
    again = token_of(lab, "rob", "--role", "admin")
    assert "nobody has this token" in afar.mcp("status").stderr
    assert afar.login(again).returncode == 0
    lab.mcp("operator", "rm", "rob")
    assert afar.mcp("status").returncode == 1
    assert lab.mcp("operator", "rm", "rob", check=False).returncode == 1


def test_a_wrong_token_is_refused_with_the_reason(lab, afar, tmp_path):
    old = token_of(lab, "tess")
    token = token_of(lab, "tess")  # the first one is void now
    slip = token[:-1] + ("a" if token[-1] != "a" else "b")
    with Lab(ONE_HOST, folder=tmp_path) as second:
        second.up()
        foreign = token_of(second, "tess")
    for bad, says in ((slip, "slip"), ("mcp1-hello", "token"), (old, "nobody has this token"),
                      (foreign, "another fingerprint")):
        done = afar.login(bad)
        assert done.returncode in (1, 2, 3) and says in done.stderr, done.stderr
    assert not (afar.home / ".config").exists()
    assert newest(lab, "mcp:Login")["outcome"] == "refused"


def test_the_socket_is_roots_alone(lab):
    done = lab.exec("a1", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", BINARY, "status", check=False)
    assert done.returncode == 1 and "root" in done.stderr


def test_a_change_is_audited_before_a_kill(lab):
    """Control dies right after it was told: the entry is in the journal or in the chain, once."""
    before = len(audit(lab, "-n", "0")["entries"])
    role = next(r for r in lab.status()["hosts"][0]["roles"] if r["name"] == "control")
    os.kill(int(role["pid"]), signal.SIGSTOP)
    waiting = subprocess.Popen([BINARY, "operator", "add", "--platform", lab.name, "kim"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    os.kill(int(role["pid"]), signal.SIGCONT)
    waiting.wait(timeout=30)
    os.kill(int(role["pid"]), signal.SIGKILL)
    entries = wait_until(lambda: audit(lab, "-n", "0", "--verify")["entries"], timeout=60)
    kims = [x for x in entries if x["subject"] == "kim"]
    assert len(kims) == 1 and len(entries) == before + 1


# Inside the host, as somebody with root there would: prints what the row held before.
FORGE = """
import sqlite3, sys
like, old, new = sys.argv[1:]
with sqlite3.connect("/var/lib/mcp/control/state.sqlite", timeout=10) as db:
    tables = [r[0] for r in db.execute("select name from sqlite_master where type='table'")]
    table = next(t for t in tables if any(c[1] == "key" for c in db.execute(f"pragma table_info({t})")))
    for key, value in db.execute(f"select key, value from {table} where key like ? order by key", (like,)).fetchall():
        text = value.decode() if isinstance(value, bytes) else value
        forged = text.replace(old, new)
        if forged != text:
            forged = forged.encode() if isinstance(value, bytes) else forged
            db.execute(f"update {table} set value=? where key=?", (forged, key))
            print("forged")
"""


def test_tampering_with_the_log_is_seen(lab):
    assert "unbroken" in lab.mcp("audit", "--verify").stdout
    like = f"/mcp/{lab.name}/audit/e/%"

    def forge(old, new):
        assert "forged" in lab.exec("a1", "/usr/bin/python3", "-c", FORGE, like, old, new).stdout

    forge('"subject":"kim"', '"subject":"lee"')
    done = lab.mcp("audit", "--verify", check=False)
    assert done.returncode == 1 and "was changed" in done.stderr
    forge('"subject":"lee"', '"subject":"kim"')
    assert "unbroken" in lab.mcp("audit", "--verify").stdout
