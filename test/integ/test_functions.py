# SPDX-License-Identifier: Apache-2.0
"""Functions, and users steered elsewhere by hand and by one: two regions, one host each, real containers and name
servers."""
import json
import pathlib
import subprocess

import pytest
import units
from lablib import Lab, unique_name, wait_until

RA, RB = "203.0.113.20", "203.0.113.40"
NAME = "web.{name}.example"
PLATFORM = """
platform: {name}
domain: {name}.example
regions:
  ra: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
  rb: {{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}
hosts:
  a1: {{region: ra, address: 10.20.0.11, public: true}}
  b1: {{region: rb, address: 10.40.0.11, public: true}}
state: {{members: [a1]}}
lab:
  wan: [{{between: [ra, rb], delay: 5ms}}]
  clients: {{KR: 198.51.100.0/28}}
routing:
  nameservers: {{ns1: ra, ns2: rb}}
  countries: {{KR: [rb]}}
  default: [ra]
  health: {{interval: 1s, timeout: 500ms, down: 2, up: 2}}
modules:
  web:
    image: oci:web
    port: 8080
    health: {{path: /, interval: 500ms, timeout: 300ms, start_timeout: 10s}}
    route: {{names: [web.{name}.example], path: /, auth: none}}
    regions: {{each: 1}}
    before: [gate]
    after: [announce]
  broken:
    image: oci:fn
    command: [/bin/sleep, "1000000"]
    port: 8080
    health: none
    rollout: {{strategy: replace}}
    route: {{names: [broken.{name}.example], path: /, auth: none}}
    regions: {{each: 1}}
alarms:
  api-errors: {{when: "route.broken.error_rate > 5%", for: 1s, run: leave-rb}}
functions:
  echo:
    image: oci:fn
    command: [/bin/sh, -c, "cat; echo; cat /run/secrets/pin; echo $MCP_FUNCTION $WORD; id -u; echo oops >&2"]
    env: {{WORD: hello}}
    secrets: [pin]
    deadline: 20s
  gate: {{image: oci:fn, command: [/bin/sh, -c, GATE]}}
  announce: {{image: oci:fn, command: [/bin/sh, -c, cat]}}
  slow: {{image: oci:fn, command: [/bin/sleep, "60"], deadline: 1s}}
  three: {{image: oci:fn, command: [/bin/sh, -c, "echo why >&2; exit 3"]}}
  big: {{image: oci:fn, command: [/bin/sh, -c, "while true; do echo 0123456789abcdef; done"], deadline: 2s}}
  leave-rb:
    image: oci:fn
    command: [/bin/sh, -c, ASK]
    may: [dns:SteerAway]
  come-back:
    image: oci:fn
    command: [/bin/ask, POST, /v1/dns/steer-back, '{{"region":"rb"}}']
    may: [dns:SteerBack]
"""
# What it may do, and what it may not: take its own act back, and anything else.
ASKS = [("POST", "/v1/dns/steer-away", '{"region":"rb","why":"the api fails"}'),
        ("POST", "/v1/dns/steer-back", '{"region":"rb"}'), ("GET", "/v1/secrets/pin", "{}"),
        ("POST", "/v1/dns/steer-away", '{"region":"mars"}')]
GATE = json.dumps('case "$(cat)" in *forbidden*) echo not this one >&2; exit 1;; esac')
ASK = json.dumps("; ".join(f"/bin/ask {method} {path} '{body}'" for method, path, body in ASKS))


def image(*cmd):
    www = units.layer(units.entry("www", kind="d", mode=0o755), units.entry("www/index.html", b"here"))
    return units.Image(units.busybox(), www, cmd=cmd or ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"])


def function_image(folder):
    """busybox, and a program that asks the platform over the socket."""
    source = pathlib.Path(__file__).parents[1] / "lib/platform_ask.c"
    subprocess.run(["cc", "-static", "-O1", "-o", folder / "ask", source], check=True)
    ask = units.layer(units.entry("bin/ask", (folder / "ask").read_bytes(), mode=0o755))
    return units.Image(units.busybox(), ask, User="app")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("functions")
    image().layout(folder / "web")
    image("/bin/httpd", "-f", "-p", "8080", "-h", "/www", "-v").layout(folder / "newer")
    image("/bin/forbidden").layout(folder / "forbidden")
    function_image(folder).layout(folder / "fn")
    with Lab(PLATFORM.replace("GATE", GATE).replace("ASK", ASK.replace("{", "{{").replace("}", "}}")), name=unique_name("fn"), folder=folder) as lab:
        lab.up()
        lab.mcp("secret", "set", "pin", input="1234")
        lab.mcp("secret", "grant", "pin", "echo")
        wait_until(lambda: lab.status()["ready"], 120, "the platform to be ready")
        yield lab


def answered(lab, region):
    """Both name servers send the Korean buyer there."""
    def looks():
        return all(lab.addresses(NAME.format(name=lab.name), server=s, source="198.51.100.1") == [region]
                   for s in (RA, RB))
    wait_until(looks, 60, f"answers of {region}")


def told(lab, text):
    return text in lab.mcp("timeline", "-n", 300).stdout


def test_steered_by_hand_and_back(lab):
    answered(lab, RB)
    away = json.loads(lab.mcp("steer", "away", "rb", "--why", "a try", "--json").stdout)["away"]
    assert [(a["region"], a["why"]) for a in away] == [("rb", "a try")]
    by = away[0]["by"]
    answered(lab, RA)
    because = json.loads(lab.mcp("explain", "dns", NAME.format(name=lab.name), "--from", "198.51.100.1",
                                 "--json").stdout)
    assert f"rb is up, but {by} steers away from it (a try); ra is up" in because["because"]
    assert [r["away"]["by"] for r in because["regions"] if r["name"] == "rb"] == [by]
    last = lab.mcp("steer", "away", "ra", check=False)
    assert last.returncode == 3 and "would have no region left" in last.stderr
    assert "a try" in lab.mcp("steer", "list").stdout
    wait_until(lambda: told(lab, "KR: rb → ra") and told(lab, "steers away from rb: a try"), 60)
    lab.mcp("steer", "back", "rb")
    answered(lab, RB)
    assert lab.mcp("steer", "back", "rb", check=False).returncode == 1
    assert lab.mcp("steer", "list").stdout == "no region is steered away from\n"


def run(lab, name, *words):
    p = lab.mcp("functions", "run", name, "--json", *words, check=False)
    return p.returncode, json.loads(p.stdout)


def left_behind(lab):
    return [p for h in ("a1", "b1") for p in lab.path(h, "/run/mcp/functions").glob("*")]


def test_a_function_runs_once_and_answers(lab):
    code, ran = run(lab, "echo", "--input", '{"order":7}')
    assert code == 0 and ran["status"] == 0 and ran["error"] == "" and ran["errors"] == "oops\n", ran
    said = ran["output"].splitlines()
    told_input = json.loads(said[0])
    assert told_input["order"] == 7 and told_input["function"] == "echo" and "asked for by" in told_input["why"]
    assert said[1] == "1234echo hello" and said[2] == "1000"
    assert [f["name"] for f in json.loads(lab.mcp("functions", "list", "--json").stdout)["functions"]] == \
        ["announce", "big", "come-back", "echo", "gate", "leave-rb", "slow", "three"]
    wait_until(lambda: told(lab, "ran on a1: done in"), 60)
    wait_until(lambda: not left_behind(lab), 60, "all that runs leave to be removed")
    assert lab.status()["ready"] and not [u for u in lab.status()["units"] if u["module"] == "echo"]


def test_what_fails_says_so(lab):
    code, ran = run(lab, "three")
    assert (code, ran["status"], ran["errors"]) == (1, 3, "why\n") and "ended with 3" in ran["error"]
    code, ran = run(lab, "slow")
    assert code == 1 and ran["timed_out"] and "not done after 1000 ms" in ran["error"]
    code, ran = run(lab, "big")
    assert code == 1 and ran["timed_out"] and ran["output"].startswith("0123456789abcdef\n") \
        and 60000 < len(ran["output"]) <= 65536
    gone = lab.mcp("functions", "run", "nobody", check=False)
    assert gone.returncode == 1 and "there is no function nobody" in gone.stderr
    lab.mcp("secret", "grant", "--revoke", "pin", "echo")
    refused = lab.mcp("functions", "run", "echo", check=False)
    assert refused.returncode == 1 and "not granted to module echo" in refused.stderr
    wait_until(lambda: not left_behind(lab), 60)


def test_a_deployment_asks_first_and_tells_afterwards(lab):
    before = lab.status()["revision"]
    refused = lab.mcp("deploy", "web", "--image", "oci:forbidden", "--wait", check=False)
    assert refused.returncode == 1 and "not deployed:" in refused.stderr and "gate" in refused.stderr, refused.stderr
    assert lab.status()["revision"] == before
    lab.mcp("deploy", "web", "--image", "oci:newer", "--wait")
    wait_until(lambda: told(lab, "after deployment"), 60, "the function that is to run after it")


def test_a_function_steers_users_away_and_may_do_nothing_else(lab):
    answered(lab, RB)
    code, ran = run(lab, "leave-rb")
    assert code == 0, ran
    away, back, other, nowhere = ran["output"].splitlines()
    assert away.startswith("200 ") and json.loads(away[4:])["away"][0]["by"] == "function/leave-rb"
    assert back.startswith("403 ") and other.startswith("403 ") and nowhere.startswith("404 ")
    answered(lab, RA)
    assert json.loads(lab.mcp("steer", "list", "--json").stdout)["away"][0]["why"] == "the api fails"
    log = [(x["action"], x["outcome"], x["subject"]) for x in
           json.loads(lab.mcp("audit", "--json", "-n", 100).stdout)["entries"] if x["who"] == "function/leave-rb"]
    assert log[:2] == [("dns:SteerAway", "accepted", "rb"), ("dns:SteerBack", "refused", "rb")]
    assert ("mcp:FunctionAsk", "refused", "GET /v1/secrets/pin") in log
    code, ran = run(lab, "come-back")
    assert code == 0 and ran["output"].startswith("200 "), ran
    answered(lab, RB)


def test_an_alarm_starts_the_function_that_steers_users_away(lab):
    """The reference's own path: an API answers with errors, a function asks the platform for its DNS action, the
    answers change."""
    answered(lab, RB)
    name = f"broken.{lab.name}.example"
    code = lab.exec("client", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--interface", "198.51.100.1",
                    "--resolve", f"{name}:443:{RB}", f"https://{name}/").stdout
    assert code in ("502", "503")
    answered(lab, RA)
    alarm = json.loads(lab.mcp("alarms", "show", "api-errors", "--json").stdout)["alarms"][0]
    assert (alarm["state"], alarm["id"], alarm["run"], alarm["failed"]) == ("firing", 1, "leave-rb", None)
    away = json.loads(lab.mcp("steer", "list", "--json").stdout)["away"]
    assert [(a["region"], a["by"]) for a in away] == [("rb", "function/leave-rb")]
    lab.mcp("steer", "back", "rb")
    answered(lab, RB)
