# SPDX-License-Identifier: Apache-2.0
"""The command line itself: words, exit statuses, errors as text and as JSON, and what commands make of control's
answers. No platform runs here; control is test/lib/control.py."""
import json
import os
import pathlib
import pty
import re
import select
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/lib"))
from control import Control, Refuse  # noqa: E402

MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))

STATUS = {
    "platform": "reindeers", "revision": 3, "ready": True, "not_ready": "", "asked_host": "hk1",
    "state_store": {"kind": "sqlite", "connected": True, "reason": ""}, "names": [], "alarms": [],
    "regions": [{"name": "ap-hongkong", "duty": "main", "state": "up", "address": ["203.0.113.20"]}],
    "hosts": [{"name": "hk1", "region": "ap-hongkong", "state": "up", "roles": []}], "units": []}


@pytest.fixture
def env(tmp_path):
    """No platform but the one that a test names; nobody's platform.yaml."""
    e = {k: v for k, v in os.environ.items() if not k.startswith("MCP_")}
    e["MCP_SOCKET"] = str(tmp_path / "mcp.sock")
    return e


@pytest.fixture
def mcp(tmp_path, env):
    def run(*words, stdin=subprocess.DEVNULL):
        return subprocess.run([MCP, *words], cwd=tmp_path, env=env, stdin=stdin, capture_output=True, text=True,
                              timeout=60)
    return run


@pytest.fixture
def control(tmp_path):
    made = []

    def make(answers, **kw):
        made.append(Control(tmp_path / "mcp.sock", answers, **kw))
        return made[-1]
    yield make
    for c in made:
        c.close()


def commands():
    out = subprocess.run([MCP, "--help"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^  ([a-z]+(?: [a-z]+)*)  ", out, re.M)


def test_overview_names_the_first_commands():
    assert {"status", "apply", "revisions", "version"} <= set(commands())


@pytest.mark.parametrize("name", commands())
def test_help_of_every_command(mcp, name):
    a, b = mcp(*name.split(), "--help"), mcp("help", *name.split())
    assert (a.returncode, a.stderr) == (0, "")
    assert a.stdout == b.stdout
    head, summary, *rest = [p for p in a.stdout.split("\n\n") if p]
    assert head.startswith(f"usage: mcp {name}")
    assert summary.endswith(".") and rest
    assert "-h, --help" in a.stdout
    for line in a.stdout.splitlines():
        assert line == line.rstrip(), line
    if "--json" in a.stdout:  # a script that misspells a word still gets its object
        r = mcp(*name.split(), "--no-such-option", "--json")
        error = json.loads(r.stdout)["error"]
        assert r.returncode == 2 and r.stderr == ""
        assert error["code"] == "usage" and error["message"] == "unknown option --no-such-option"
        assert set(error) == {"code", "message", "where", "fix"}


@pytest.mark.parametrize("words,status,text", [
    ([], 2, "usage: mcp COMMAND"),
    (["nonsense"], 2, "unknown command 'nonsense'"),
    (["stauts"], 2, "did you mean `mcp status`?"),
    (["lab"], 2, "'lab' needs another word"),
    (["lab", "kil"], 2, "did you mean `mcp lab kill`?"),
    (["status", "extra"], 2, "one word too many: 'extra'"),
    (["status", "--wach"], 2, "did you mean --watch?"),
    (["status", "-f"], 2, "--file needs a value: FILE"),
    (["revisions", "x"], 2, "'x' is no whole number"),
    (["help", "nonsense"], 2, "unknown command 'nonsense'"),
])
def test_wrong_words(mcp, control, words, status, text):
    control({})
    r = mcp(*words)
    assert r.returncode == status
    assert r.stdout == ""
    assert text in r.stderr


def test_version(mcp):
    assert mcp("version").stdout == mcp("--version").stdout
    j = json.loads(mcp("version", "--json").stdout)
    assert re.fullmatch(r"\d+\.\d+\.\d+", j["version"]) and j["protocol"][0] <= j["protocol"][1]


# --- the way to control ---

def test_nothing_runs(mcp, env):
    r = mcp("status", "--json")
    assert r.returncode == 1
    assert json.loads(r.stdout)["error"]["message"] == f"there is no {env['MCP_SOCKET']}"


def test_the_file_names_a_platform_that_does_not_run(mcp, env, tmp_path):
    del env["MCP_SOCKET"]
    (tmp_path / "platform.yaml").write_text("platform: no-such-platform-here\n")
    r = mcp("status")
    assert r.returncode == 1
    assert "no-such-platform-here does not run on this machine" in r.stderr
    assert "fix: `mcp up -f platform.yaml`" in r.stderr


def test_a_named_file_must_be_there(mcp, env):
    del env["MCP_SOCKET"]
    r = mcp("status", "-f", "gone.yaml")
    assert r.returncode == 1 and "gone.yaml" in r.stderr


def test_other_protocol_is_named(mcp, control):
    control({"status": STATUS}, protocol=(7, 9))
    r = mcp("status")
    assert r.returncode == 1 and "7" in r.stderr and "9" in r.stderr


@pytest.mark.parametrize("code,status", [("failed", 1), ("invalid", 1), ("refused", 3), ("unavailable", 1)])
def test_errors_of_control_become_exit_statuses(mcp, control, code, status):
    def refuse(params, more):
        raise Refuse(code, "because of 이유", "hk1", "do this")
    control({"status": refuse})
    r = mcp("status")
    assert (r.returncode, r.stdout) == (status, "")
    assert r.stderr == "mcp: hk1: because of 이유\n  fix: do this\n"
    r = mcp("status", "--json")
    assert (r.returncode, r.stderr) == (status, "")
    assert json.loads(r.stdout) == {"error": {"code": code, "message": "because of 이유", "where": "hk1",
                                              "fix": "do this"}}


# --- status ---

def test_status(mcp, control):
    control({"status": STATUS})
    assert json.loads(mcp("status", "--json").stdout) == STATUS
    out = mcp("status").stdout
    assert out.startswith("reindeers, revision 3: READY\n")
    assert "\x1b" not in out


def test_status_not_ready_is_still_an_answer(mcp, control):
    control({"status": {**STATUS, "ready": False, "not_ready": "hk1 is at revision 2"}})
    r = mcp("status")
    assert r.returncode == 0
    assert r.stdout.startswith("reindeers, revision 3: NOT READY because hk1 is at revision 2\n")


def read_until(fd, text):
    data = b""
    while text not in data:
        assert select.select([fd], [], [], 30)[0], data
        data += os.read(fd, 65536)
    return data


def test_watch_outlives_the_host_it_asked(tmp_path, env, control):
    first = control({"status": STATUS})
    reader, writer = os.pipe()
    p = subprocess.Popen([MCP, "status", "--watch"], cwd=tmp_path, env=env, stdout=writer, stdin=subprocess.DEVNULL)
    os.close(writer)
    try:
        read_until(reader, b"revision 3: READY")
        first.close()
        read_until(reader, b"asking again")
        control({"status": {**STATUS, "revision": 4}})
        read_until(reader, b"revision 4: READY")
    finally:
        p.terminate()
        p.wait()
        os.close(reader)


def test_watch_draws_in_place_on_a_terminal(tmp_path, env, control):
    control({"status": STATUS})
    leader, follower = pty.openpty()
    env["TERM"] = "xterm"
    env.pop("NO_COLOR", None)
    p = subprocess.Popen([MCP, "status", "--watch"], cwd=tmp_path, env=env, stdout=follower, stdin=subprocess.DEVNULL)
    os.close(follower)
    try:
        data = read_until(leader, b"\x1b[J")
        assert data.startswith(b"\x1b[2J\x1b[H")
        assert b"\x1b[32mREADY\x1b[0m\x1b[K" in data
        data = read_until(leader, b"\x1b[J")
        assert b"\x1b[2J" not in data  # only the first time: clearing is what flickers
    finally:
        p.terminate()
        p.wait()
        os.close(leader)


def test_watch_as_json_is_one_object_a_line(tmp_path, env, control):
    control({"status": STATUS})
    with subprocess.Popen([MCP, "status", "--watch", "--json"], cwd=tmp_path, env=env, stdout=subprocess.PIPE,
                          text=True) as p:
        assert [json.loads(p.stdout.readline()) for _ in range(2)] == [STATUS, STATUS]
        p.terminate()


# --- revisions ---

def test_revisions(mcp, control):
    rows = [{"revision": 2, "created": "2026-11-23T05:30:12.345Z", "by": "root@hk1", "note": "더 많이", "current": True},
            {"revision": 1, "created": "2026-11-23T05:00:00.000Z", "by": "root@hk1", "note": "", "current": False}]
    c = control({"revisions": rows, "revision": {"format": 1, "revision": 2}})
    assert json.loads(mcp("revisions", "--json").stdout) == rows
    assert mcp("revisions").stdout == (
        "REVISION     CREATED                   BY        NOTE\n"
        "2 (current)  2026-11-23T05:30:12.345Z  root@hk1  더 많이\n"
        "1            2026-11-23T05:00:00.000Z  root@hk1  -\n")
    assert json.loads(mcp("revisions", "2").stdout)["revision"] == 2
    assert c.calls[-1] == ("revision", {"revision": 2})


def test_no_revision_yet(mcp, control):
    control({"revisions": []})
    assert mcp("revisions").stdout == "no revision yet: `mcp apply` makes the first\n"


# --- apply ---

DECLARATION = """\
platform: reindeers
domain: reindeers.com
regions:
  ap-hongkong: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}
hosts:
  hk1: {region: ap-hongkong, address: 10.20.0.11, public: true}
routing: {ttl: TTL, default: [ap-hongkong]}
"""


class Store:
    """What control does with revisions, as far as commands see it."""

    def __init__(self, control):
        self.revisions = []
        self.control = control({"revision": self.revision, "apply": self.apply})

    def revision(self, params, more):
        number = params["revision"] or len(self.revisions)
        if not 0 < number <= len(self.revisions):
            raise Refuse("not_found", "nothing was applied yet")
        return self.revisions[number - 1]

    def apply(self, params, more):
        if params["expect"] not in (-1, len(self.revisions)):
            raise Refuse("conflict", "another revision came first")
        if params["wait"]:
            more({"text": "hk1: 0 of 1 instances ready", "done": 1, "total": 2})
            more({"text": "\x1b[2Jhk1: 모두"})
        number = len(self.revisions) + 1
        if self.revisions and self.revisions[-1]["platform"] == params["platform"]:
            return {"revision": number - 1, "unchanged": True, "ready": params["wait"]}
        self.revisions.append({"format": 1, "revision": number, "created": "2026-11-23T05:30:12.345Z",
                               "by": params["by"], "note": params["note"], "platform": params["platform"],
                               "files": params["files"]})
        return {"revision": number, "unchanged": False, "ready": params["wait"]}


@pytest.fixture
def store(control):
    return Store(control)


@pytest.fixture
def declare(tmp_path):
    def write(ttl="60s", text=DECLARATION):
        (tmp_path / "platform.yaml").write_text(text.replace("TTL", ttl))
    write()
    return write


def test_apply_then_the_same_then_undo(mcp, store, declare):
    r = mcp("apply", "--note", "첫 번째")
    assert (r.returncode, r.stderr) == (0, "")
    assert "reindeers: revision 0 → 1" in r.stdout and "revision 1 is applied" in r.stdout
    assert store.revisions[0]["note"] == "첫 번째" and "@" in store.revisions[0]["by"]

    r = mcp("apply")
    assert (r.returncode, r.stderr) == (0, "")
    assert "nothing to change, revision 1 says the same" in r.stdout and "revision 1 stays" in r.stdout

    declare("30s")
    assert json.loads(mcp("apply", "--json").stdout)["revision"] == 2
    j = json.loads(mcp("apply", "--revision", "1", "--json").stdout)
    assert (j["from"], j["revision"], j["unchanged"]) == (2, 3, False) and len(j["actions"]) >= 1
    assert store.revisions[2]["platform"] == store.revisions[0]["platform"]
    assert store.revisions[2]["note"] == "back to revision 1"
    assert mcp("revisions", "--diff", "1", "3").stdout == "revisions 1 and 3 say the same\n"
    assert json.loads(mcp("revisions", "--diff", "1", "2", "--json").stdout)["actions"]
    assert mcp("revisions", "--diff", "1").returncode == 2
    assert mcp("revisions", "1", "2").returncode == 2


def test_dry_run_changes_nothing(mcp, store, declare):
    r = mcp("apply", "--dry-run")
    assert r.returncode == 0 and "to create" in r.stdout
    assert json.loads(mcp("apply", "--dry-run", "--json").stdout)["to"] == 1
    assert store.revisions == []


def test_wait_shows_progress_that_cannot_steer_the_terminal(mcp, store, declare):
    r = mcp("apply", "--wait", "--timeout", "90s")
    assert r.returncode == 0
    assert "\nhk1: 0 of 1 instances ready (1 of 2)\n?[2Jhk1: 모두\n" in r.stdout
    assert re.search(r"\nrevision 1 is applied and ready after \d+\.\d s\n$", r.stdout)
    params = store.control.calls[-1][1]
    assert params["wait"] is True and params["timeout_ms"] == 90000


def test_what_came_between_is_not_written_over(mcp, store, declare):
    mcp("apply")
    declare("30s")
    r = mcp("apply", "--expect", "0")
    assert r.returncode == 1 and "fix: somebody else applied meanwhile" in r.stderr
    assert len(store.revisions) == 1
    assert mcp("apply", "--expect", "1").returncode == 0


def test_a_wrong_declaration_never_reaches_control(mcp, store, declare):
    declare(text="platform: reindeers\nregionz: {}\nhosts: 7\n")
    r = mcp("apply")
    assert r.returncode == 1 and r.stdout == ""
    assert "platform.yaml:2:1: " in r.stderr and "platform.yaml:3:8: " in r.stderr
    assert store.control.calls == []
    error = json.loads(mcp("apply", "--json").stdout)["error"]
    assert error["code"] == "invalid" and error["details"][0]["where"].startswith("platform.yaml:")


def test_another_platform_is_refused(mcp, store, declare):
    mcp("apply")
    declare(text=DECLARATION.replace("platform: reindeers", "platform: other"))
    r = mcp("apply")
    assert r.returncode == 3 and "the platform that answers is reindeers, the declaration is other" in r.stderr
    assert len(store.revisions) == 1


@pytest.mark.parametrize("words", [["--timeout", "soon"], ["--timeout", "0"], ["--timeout", "2h"],
                                   ["--revision", "x"], ["--expect", "-1"]])
def test_apply_values(mcp, store, declare, words):
    assert mcp("apply", *words).returncode == 2
    assert store.revisions == []
