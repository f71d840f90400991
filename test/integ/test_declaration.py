# SPDX-License-Identifier: Apache-2.0
"""The declaration as people meet it: init, plan, schema, the manual, completion. No platform runs; control is
test/lib/control.py where one must answer."""
import copy
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/lib"))
from control import Control, Refuse  # noqa: E402

MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))
PLATFORM = """\
platform: demo
domain: example.com
regions:
  hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}
  kr: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}
hosts:
  hk1: {region: hk, address: 10.20.0.11, public: true}
  kr1: {region: kr, address: 10.40.0.11, public: true}
state: {members: [hk1]}
routing: {countries: {KR: [kr]}}
modules:
  web: {image: oci:images/web, port: 80, regions: {each: 1}, route: {names: example.com, auth: none}}
"""


def put_image(folder, name, content):
    manifest = json.dumps({"content": content}).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    blobs = folder / "images" / name / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / digest).write_bytes(manifest)
    index = {"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + digest, "size": 1}]}
    (folder / "images" / name / "index.json").write_text(json.dumps(index))
    return "sha256:" + digest


@pytest.fixture
def env(tmp_path):
    e = {k: v for k, v in os.environ.items() if not k.startswith("MCP_")}
    e["MCP_SOCKET"] = str(tmp_path / "mcp.sock")
    return e


@pytest.fixture
def mcp(tmp_path, env):
    def run(*words, cwd=tmp_path, **more):
        return subprocess.run([MCP, *words], cwd=cwd, env={**env, **more}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
    return run


@pytest.fixture
def declared(tmp_path):
    (tmp_path / "platform.yaml").write_text(PLATFORM)
    put_image(tmp_path, "web", 1)
    return tmp_path


def plan(mcp, *words):
    p = mcp("plan", "--json", *words)
    assert p.returncode == 0, p.stderr + p.stdout
    return json.loads(p.stdout)


def test_init_writes_a_valid_file_once(mcp, tmp_path):
    p = mcp("init", "new/platform")
    assert p.returncode == 0, p.stderr
    file = tmp_path / "new/platform/platform.yaml"
    put_image(file.parent, "web", 1)
    assert len(plan(mcp, "-f", str(file))["actions"]) > 5
    text = file.read_text()
    assert text.count("#") > 15
    file.write_text("mine\n")
    p = mcp("init", "new/platform")
    assert p.returncode == 3
    assert "is there already" in p.stderr
    assert file.read_text() == "mine\n"
    p = mcp("init", "new/platform/platform.yaml", "--json")
    assert p.returncode == 1 and json.loads(p.stdout)["error"]["code"] == "system"


def test_init_is_one_of_two_at_once(tmp_path, env):
    running = [subprocess.Popen([MCP, "init"], cwd=tmp_path, env=env, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL) for _ in range(8)]
    assert sorted(p.wait() for p in running) == [0] + [3] * 7


def test_plan_without_a_platform(mcp, declared):
    j = plan(mcp)
    assert (j["platform"], j["from"], j["to"]) == ("demo", None, 1)
    assert {"verb", "subject", "reason", "impact"} == set(j["actions"][0])
    assert {a["verb"] for a in j["actions"]} == {"create"}
    assert "module web in kr" in [a["subject"] for a in j["actions"]]
    p = mcp("plan")
    assert p.returncode == 0
    assert "compared with nothing, for no running platform answers" in p.stdout
    assert "\033[" not in p.stdout


def revision(mcp, declared, number=7):
    """What control would hold after this declaration was applied: by the same code, through `apply`."""
    kept = {}

    def apply(params, more):
        kept.update(params)
        return {"revision": number, "unchanged": False, "ready": True}

    def none(params, more):
        raise Refuse("not_found", "no revision yet")
    with Control(declared / "mcp.sock", {"apply": apply, "revision": none, "status": {}}):
        p = mcp("apply")
        assert p.returncode == 0, p.stderr
    return {"format": 1, "revision": number, "created": "2026-11-23T05:30:12.345Z", "by": "root@hk1", "note": "",
            "platform": kept["platform"], "files": kept["files"], "of a later version": 1}


def test_plan_against_the_running_revision(mcp, declared):
    now = revision(mcp, declared)
    with Control(declared / "mcp.sock", {"revision": lambda params, more: now}) as control:
        j = plan(mcp)
        assert (j["from"], j["to"], j["actions"]) == (7, 7, [])
        assert "nothing would change, revision 7 says the same" in mcp("plan").stdout
        put_image(declared, "web", 2)  # only the image's content
        j = plan(mcp)
        assert (j["from"], j["to"]) == (7, 8)
        assert [(a["verb"], a["subject"], a["impact"]) for a in j["actions"]] == [
            ("replace", "module web in hk", "restarts 1 instance"),
            ("replace", "module web in kr", "restarts 1 instance")]
        put_image(declared, "web", 1)
        (declared / "platform.yaml").write_text(PLATFORM.replace("KR: [kr]", "KR: [hk], JP: [kr]"))
        assert [(a["verb"], a["subject"]) for a in plan(mcp, "--from", "5")["actions"]] == [
            ("create", "steering JP"), ("update", "steering KR")]
        assert control.calls[-1] == ("revision", {"revision": 5})


def test_the_order_of_the_file_means_nothing(mcp, declared):
    now = revision(mcp, declared)
    lines = PLATFORM.splitlines(keepends=True)
    (declared / "platform.yaml").write_text("".join(lines[5:] + lines[:2] + [lines[2], lines[4], lines[3]]))
    with Control(declared / "mcp.sock", {"revision": lambda params, more: now}):
        assert plan(mcp)["actions"] == []


def test_a_canonical_tree_is_a_declaration(mcp, declared):
    now = revision(mcp, declared)
    (declared / "platform.json").write_text(json.dumps(now["platform"]))
    with Control(declared / "mcp.sock", {"revision": lambda params, more: now}):
        assert plan(mcp, "-f", "platform.json")["actions"] == []


def test_another_platform_answers(mcp, declared):
    other = copy.deepcopy(revision(mcp, declared))
    other["platform"]["platform"] = "other"
    with Control(declared / "mcp.sock", {"revision": lambda params, more: other}):
        p = mcp("plan")
    assert p.returncode == 3
    assert "other" in p.stderr


def test_a_revision_that_is_not_there(mcp, declared):
    def gone(params, more):
        raise Refuse("not_found", "revision 3 is gone, the oldest kept is 5")
    with Control(declared / "mcp.sock", {"revision": gone}):
        p = mcp("plan", "--from", "3", "--json")
        assert p.returncode == 1
        assert json.loads(p.stdout)["error"]["code"] == "not_found"
        assert plan(mcp)["from"] is None  # no revision yet: everything is new
    assert mcp("plan", "--from", "3").returncode == 1
    assert mcp("plan", "--from", "x").returncode == 2


def test_every_error_at_once(mcp, declared):
    text = PLATFORM.replace("duty: dr", "duty: main").replace("public: true", "publik: true", 1)
    (declared / "platform.yaml").write_text(text + "data: {}\n")
    p = mcp("plan")
    assert p.returncode == 1 and p.stdout == ""
    assert [line.split(": ")[0] for line in p.stderr.splitlines() if line.startswith("platform.yaml:")] == [
        "platform.yaml:5:14", "platform.yaml:7:42", "platform.yaml:13:1"]
    assert p.stderr.count("\n  fix: ") == 3
    assert "mcp: platform.yaml has 3 errors" in p.stderr
    error = json.loads(mcp("plan", "--json").stdout)["error"]
    assert error["code"] == "invalid"
    assert [d["where"] for d in error["details"]] == ["platform.yaml:5:14", "platform.yaml:7:42", "platform.yaml:13:1"]
    assert 'did you mean "public"?' in error["details"][1]["fix"]


def test_missing_image(mcp, declared):
    shutil.rmtree(declared / "images")
    p = mcp("plan", "--json")
    assert p.returncode == 1
    error = json.loads(p.stdout)["error"]
    assert error["code"] == "not_found"
    assert error["where"] == "platform.yaml:12:16"
    assert "build-images.sh" in error["fix"]


def test_the_whole_vocabulary_is_known(mcp):
    """Words of later versions are refused one by one, with their places, and nothing else is said."""
    p = mcp("plan", "--json", "-f", str(ROOT / "test/fuzz/corpus/platform/full-vocabulary.yaml"))
    details = json.loads(p.stdout)["error"]["details"]
    assert len(details) == 18
    assert all("is not built yet in this version" in d["message"] for d in details)
    words = [d["message"].split("`")[1] for d in details]
    assert words == ["data", "events", "cache", "identity", "policies", "needs", "needs", "needs", "secrets", "egress",
                     "needs", "store", "cdn", "delivery", "functions", "alarms", "notify", "drills"]


def test_examples_are_valid(mcp, tmp_path):
    for file in sorted((ROOT / "example").glob("platform*.yaml")):
        p = mcp("plan", "--json", "-f", str(file))
        j = json.loads(p.stdout)
        if p.returncode:  # only the images may be missing, they are made by a script
            rows = j["error"].get("details", [j["error"]])
            assert all("no OCI image layout" in r["message"] for r in rows), rows
        else:
            assert j["actions"]


def test_hostile_files_end_quickly(mcp, tmp_path):
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8))
    for text in (bomb, "[" * 4_000_000, "{a: " * 900_000, "a: 1\n" * 800_000, "- \n" * 1_300_000, "\0" * 100,
                 "x: \"" + "y" * 4_000_000, ("k" * 2000 + ": 1\n") * 100, "z" * 5_000_000):
        (tmp_path / "p.yaml").write_text(text)
        p = subprocess.run([MCP, "plan", "-f", "p.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=20)
        assert p.returncode == 1, text[:40]
        assert "p.yaml" in p.stderr and len(p.stderr) < 60_000


def test_schema(mcp):
    j = json.loads(mcp("schema", "--json").stdout)
    assert j["$schema"].endswith("2020-12/schema")
    assert set(j["required"]) == {"platform", "domain", "regions", "hosts"}
    region = j["properties"]["regions"]["additionalProperties"]
    assert region["properties"]["duty"]["enum"] == ["main", "dr", "serving"]
    assert "data" not in j["properties"] and j["additionalProperties"] is False
    text = mcp("schema").stdout
    assert "modules.MODULE.limits.memory" in text and "256MiB" in text
    assert "not built yet" in text


@pytest.mark.parametrize("page,words", [("1", ["mcp plan", "EXIT STATUS", "--json"]),
                                        ("5", ["modules", "stop_timeout", "256MiB", "not listed here are errors"])])
def test_manual(mcp, tmp_path, page, words):
    source = mcp("man", page).stdout
    (tmp_path / "page").write_text(source)
    shown = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-P-cbou", "page"], cwd=tmp_path, capture_output=True,
                           text=True)
    if shown.returncode == 127 or "cannot" in shown.stderr:
        pytest.fail(shown.stderr)
    assert shown.stderr == ""
    flat = " ".join(shown.stdout.split())
    for word in words:
        assert word in flat, word


def test_completion_in_bash(mcp, declared):
    script = 'source <("$0" completion bash); mcp() { "$MCP" "$@"; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); ' \
             'compopt() { echo "compopt $*"; }; _mcp; printf "%s\\n" "${COMPREPLY[@]}"'

    def complete(*words):
        return subprocess.run(["bash", "-c", script, MCP, *words], cwd=declared, env={**os.environ, "MCP": MCP},
                              capture_output=True, text=True, check=True).stdout.split()
    assert "plan" in complete("mcp", "pl")
    assert complete("mcp", "lab", "kill", "k") == ["kr", "kr1"]
    assert complete("mcp", "logs", "") == ["web"]
    assert complete("mcp", "plan", "-f", "") == ["compopt", "-o", "default"]


def test_completion_shells(mcp):
    for shell in ("bash", "zsh", "fish"):
        assert "__complete" in mcp("completion", shell).stdout
    p = mcp("completion", "tcsh")
    assert p.returncode == 2 and "bash, zsh and fish" in p.stderr
