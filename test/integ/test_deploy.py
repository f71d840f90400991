# SPDX-License-Identifier: Apache-2.0
"""`mcp deploy`, `mcp deploy status` and `mcp rollback` on one host: the smallest platform that can roll."""
import json

import pytest
import units
from lablib import Lab, unique_name, wait_until

PLATFORM = """
platform: {name}
domain: deploy.example
regions:
  ra: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
hosts:
  a1: {{region: ra, address: 10.20.0.11, public: true}}
modules:
  web:
    image: oci:web
    port: 8080
    health: {{path: /, interval: 500ms, timeout: 300ms, start_timeout: 5s}}
    route: {{names: [web.deploy.example], path: /, auth: none}}
    regions: {{ra: 1}}
    rollout: {{deadline: 8s, drain: 2s}}
"""
CLIENTS = "lab: {{clients: {{KR: 198.51.100.0/28}}}}\nmodules:\n"


def image(words, *cmd):
    """Serves its own words on port 8080, or does what it is told."""
    www = units.layer(units.entry("www", kind="d", mode=0o755), units.entry("www/index.html", words.encode()))
    return units.Image(units.busybox(), www, cmd=cmd or ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"])


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deploy")
    image("one").layout(folder / "web")
    two = image("two")
    two.layout(folder / "two")
    image("bad", "/bin/false").layout(folder / "bad")
    with Lab(PLATFORM.replace("modules:\n", CLIENTS), name=unique_name("deploy"), folder=folder) as lab:
        lab.two = two.digest
        lab.up()
        yield lab


def served(lab):
    unit = next(u for u in lab.status()["units"] if u["module"] == "web" and u["state"] == "ready")
    return lab.exec("a1", "curl", "-sS", f"http://{unit['address']}:8080/").stdout


def rollout(lab):
    return json.loads(lab.mcp("deploy", "status", "web", "--json").stdout)["deployments"][0]


def test_deploy_and_rollback(lab):
    assert "nothing was rolled out yet" in lab.mcp("deploy", "status").stdout
    assert served(lab) == "one"
    told = lab.mcp("deploy", "web", "--image", "oci:two", "--wait")
    assert "ra: in turn" in told.stdout and "after" in told.stdout
    assert served(lab) == "two"
    assert (rollout(lab)["state"], rollout(lab)["strategy"]) == ("done", "rolling")
    answer = json.loads(lab.mcp("rollback", "web", "--wait", "--json").stdout)
    assert answer["ready"] and not answer["unchanged"]
    assert served(lab) == "one"
    assert "rollback web to revision" in lab.mcp("revisions").stdout


def test_a_bad_image_comes_back_and_can_be_asked_for_again(lab):
    before = served(lab)
    for _ in range(2):  # the second time nothing changes in the revision: it is tried again all the same
        failed = lab.mcp("deploy", "web", "--image", "oci:bad", "--wait", check=False)
        assert failed.returncode == 1 and "was rolled back" in failed.stderr and "exit 1" in failed.stderr, failed.stderr
        assert served(lab) == before
    assert rollout(lab)["state"] == "rolled-back" and "exit 1" in rollout(lab)["reason"]
    assert "exit 1" in lab.mcp("deploy", "status").stdout
    assert lab.mcp("rollback", "web", "--wait").returncode == 0
    assert served(lab) == before


def test_an_image_that_the_platform_has_by_its_digest(lab):
    lab.mcp("deploy", "web", "--image", lab.two, "--no-wait")
    assert lab.mcp("deploy", "status", "web", "--watch").returncode == 0
    wait_until(lambda: served(lab) == "two", 60, "the image of that digest to serve")


def declare(lab, instances, rollout):
    """And everything is "one" again."""
    text = PLATFORM.replace("modules:\n", CLIENTS).replace("{{ra: 1}}", f"{{{{ra: {instances}}}}}")
    lab.declare(text.replace("{{deadline: 8s, drain: 2s}}", "{{deadline: 8s, drain: 2s, %s}}" % rollout))
    lab.mcp("apply", "--wait")


def ask(lab, n):
    """One buyer after the other, by the edge; every request is answered."""
    done = lab.exec("client", "curl", "-sS", "--fail", "--insecure", "--max-time", 5, "-w", "\\n", "--resolve",
                    "web.deploy.example:443:203.0.113.20", f"https://web.deploy.example/?[1-{n}]")
    assert done.returncode == 0, done.stderr
    answers = [line for line in done.stdout.split("\n") if line and not line.startswith("--_curl_--")]
    assert len(answers) == n and set(answers) <= {"one", "two"}
    return answers


def part_of(lab):
    return rollout(lab)["regions"]["ra"]


def test_canaries_get_their_part_and_the_others_follow(lab):
    declare(lab, 4, "strategy: canary, canary: {{weight: 20, for: 5s}}")
    lab.mcp("deploy", "web", "--image", "oci:two", "--no-wait")
    wait_until(lambda: part_of(lab)["state"] == "canary" and part_of(lab)["ready"] == 1, 60, "the canary to be ready")
    answers = ask(lab, 400)
    assert part_of(lab)["state"] == "canary"
    assert 0.12 < answers.count("two") / len(answers) < 0.28, answers.count("two")
    wait_until(lambda: rollout(lab)["state"] == "done" or not ask(lab, 20), 60, "the others to follow")
    assert set(ask(lab, 40)) == {"two"}


def test_blue_green_changes_all_traffic_at_once(lab):
    declare(lab, 2, "strategy: blue-green")
    answers, revision = ask(lab, 10), lab.status()["revision"]
    lab.mcp("deploy", "web", "--image", "oci:two", "--no-wait")
    wait_until(lambda: rollout(lab)["revision"] > revision, 60, "the rollout to begin")
    while rollout(lab)["state"] == "running":
        answers += ask(lab, 100)
    answers += ask(lab, 10)
    assert answers == sorted(answers) and set(answers) == {"one", "two"}  # "one" and then nothing but "two"


@pytest.mark.parametrize("words, code, text", [
    (["deploy", "nothing"], 1, "declares no module nothing"),
    (["deploy", "web", "--image", "web"], 2, "is no image"),
    (["deploy", "web", "--image", "oci:absent"], 1, "absent"),
    (["rollback", "web", "--to", "999"], 1, "999"),
    (["rollback", "nothing"], 1, "declares no module nothing"),
    (["deploy", "status", "nothing"], 1, "declares no module nothing"),
])
def test_refusals_say_what_to_do(lab, words, code, text):
    failed = lab.mcp(*words, check=False)
    assert (failed.returncode, text in failed.stderr) == (code, True), failed.stderr
