# SPDX-License-Identifier: Apache-2.0
"""Calls of modules to modules on a real platform: two hosts in one region and one in another, containers, certificates
of the platform's own CA, names from the resolver, refusals in the timeline."""
import json
import os
import pathlib
import signal
import threading

import processes
import pytest
from lablib import Lab, TWO_REGIONS, unique_name, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVE = ("[/bin/busybox, sh, -c, 'mkdir /tmp/w; echo $MCP_INSTANCE on $MCP_HOST >/tmp/w/index.html; "
         "exec /bin/busybox httpd -f -p 8080 -h /tmp/w']")
IDLE = "[/usr/bin/python3, -c, 'import signal; signal.pause()']"
GET = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
"""
# What a unit may try on the network, and what came of each.
TRY = """
import errno, json, socket, sys
said = {}
def attempt(name, work):
    try:
        said[name] = work()
    except OSError as e:
        said[name] = errno.errorcode.get(e.errno, str(e))
def reach(address, port, source=None):
    s = socket.socket()
    s.settimeout(1.5)
    if source:
        s.setsockopt(socket.IPPROTO_IP, 15, 1)
        s.bind((source, 0))
    s.connect((address, port))
    s.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
    return s.recv(20).decode() or "closed"
for target in sys.argv[3:]:
    address, port = target.split(":")
    attempt(target, lambda: reach(address, int(port)))
vip = sys.argv[1]
attempt("as another", lambda: reach(vip, 8080, sys.argv[2]))
attempt("raw", lambda: str(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)))
attempt("packets", lambda: str(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)))
print(json.dumps(said))
"""
MODULES = f"""
modules:
  shop:
    image: oci:{ROOT}/example/images/ai
    command: {IDLE}
    regions: {{{{ra: 2}}}}
    needs: [{{{{module: stock}}}}, {{{{module: far}}}}]
    egress: [psp.example]
  thief:
    image: oci:{ROOT}/example/images/ai
    command: {IDLE}
    regions: {{{{ra: 1}}}}
  stock:
    image: oci:{ROOT}/example/images/busybox
    command: {SERVE}
    port: 8080
    health: {{{{path: /, interval: 1s, timeout: 500ms}}}}
    route: {{{{names: ["{{name}}.example"], path: /, auth: none}}}}
    regions: {{{{ra: 2}}}}
  far:
    image: oci:{ROOT}/example/images/busybox
    command: {SERVE}
    port: 8080
    health: {{{{path: /, interval: 1s, timeout: 500ms}}}}
    regions: {{{{rb: 1}}}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mesh")
    with Lab(TWO_REGIONS + MODULES, name=unique_name("mesh"), folder=folder) as lab:
        lab.up()
        wait_until(lambda: lab.status()["ready"], 120, "a ready platform")
        yield lab


def get(lab, unit, url, check=False):
    """What an HTTP client in that unit gets."""
    return lab.mcp("exec", unit, "--", "/usr/bin/python3", "-c", GET, url, check=check)


def hosts(lab):
    return {u["name"]: u["host"] for u in lab.status()["units"]}


def test_modules_call_what_they_need(lab):
    """Within the host, to the other host, to the other region."""
    at = hosts(lab)
    assert {at["stock-1"], at["stock-2"]} == {"a1", "a2"}
    for unit in ("shop-1", "shop-2"):
        said = wait_until(lambda u=unit: get(lab, u, "http://stock.mcp.internal:8080/").stdout, 60)
        assert said.strip().endswith(f"on {at[unit]}")  # the instance of its own host first
        said = wait_until(lambda u=unit: get(lab, u, "http://far.mcp.internal:8080/").stdout, 60)
        assert said.strip() == "far-1 on b1"


def test_what_is_not_declared_is_refused_and_told(lab):
    refused = get(lab, "thief-1", "http://stock.mcp.internal:8080/")
    assert refused.returncode != 0 and refused.stdout == ""
    wait_until(lambda: "thief tried to call stock: not in its needs" in lab.mcp("timeline", "-n", 200).stdout, 60)
    wait_until(lambda: "thief from mesh" in lab.mcp("audit", "--verify").stdout, 60, "the refusal in the audit log")


# Calls one after the other; says how many, and what else came of them.
CALLS = """
import collections, json, sys, time, urllib.request
said, until = collections.Counter(), time.monotonic() + 3
while time.monotonic() < until:
    try:
        said[urllib.request.urlopen(sys.argv[1], timeout=5).status] += 1
    except Exception as e:
        said[str(getattr(e, "reason", e))] += 1
print(json.dumps(said))
"""


def test_a_mesh_that_dies_refuses_nobody(lab):
    """Host holds its sockets: who calls meanwhile waits. What is just being said is lost with it, no more."""
    host = hosts(lab)["shop-1"]
    answer = {}
    caller = threading.Thread(target=lambda: answer.update(json.loads(lab.mcp(
        "exec", "shop-1", "--", "/usr/bin/python3", "-c", CALLS, "http://stock.mcp.internal:8080/").stdout)))
    caller.start()
    before = role_pid(lab, host)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: role_pid(lab, host) != before, 60)
    caller.join()
    assert answer.pop("200") > 10
    assert sum(answer.values()) <= 1, answer


def role_pid(lab, host, role="mesh"):
    return next(p for p in processes.children(lab.service_pid(host))
                if pathlib.Path(f"/proc/{p}/cmdline").read_bytes().split(b"\0")[1:3] == [b"role", role.encode()])


def test_the_way_out_is_in_the_environment_and_narrow(lab):
    """shop declares psp.example, which has no address in here; everything else is forbidden, and thief has no way."""
    look = """
import os, sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=10)
except urllib.error.HTTPError as e:
    print(e.code, e.read().decode())
except OSError as e:
    print("no way", e)
"""
    def say(unit, url):
        return lab.mcp("exec", unit, "--", "/usr/bin/python3", "-c", look, url).stdout
    assert "403 other.example:80: not in its egress" in say("shop-1", "http://other.example/")
    assert say("shop-1", "http://psp.example/").startswith("502 ")
    assert say("thief-1", "http://psp.example/").startswith("no way")
    wait_until(lambda: "shop tried to reach other.example:80" in lab.mcp("timeline", "-n", 200).stdout, 60)


def addresses(lab, host):
    """Of the units of a host, on its bridge."""
    told = json.loads(lab.path(host, "/var/lib/mcp/mesh/view.json").read_text())
    return {c["unit"]: address for address, c in told["callers"].items()}, {
        entry["module"]: entry["address"] for entry in told["listens"] if "target" not in entry}


def test_a_unit_reaches_its_host_and_nothing_else(lab):
    """Neither its neighbours past the mesh, nor other hosts, nor what its host tells hosts only; and it cannot take
    another's name."""
    host = hosts(lab)["thief-1"]
    number = {"a1": 1, "a2": 2}[host]
    units, vips = addresses(lab, host)
    private = "10.20.0.1%d" % number
    neighbours = [f"{units[f'{m}-{number}']}:{port}" for m, port in (("stock", 8080), ("shop", 22))]
    outside = [f"{private}:7402", f"10.20.0.1{3 - number}:7402", "10.40.0.11:7401", "198.51.100.1:9"]
    said = json.loads(lab.mcp("exec", "thief-1", "--", "/usr/bin/python3", "-c", TRY, vips["stock"],
                              units[f"shop-{number}"], *neighbours, *outside).stdout)
    assert said.pop("raw") == said.pop("packets") == "EPERM"
    assert said.pop("as another") in ("EINVAL", "ENETUNREACH", "EADDRNOTAVAIL")
    assert said.pop(f"{private}:7402") in ("closed", "ECONNRESET")  # metrics are not for units
    for target, outcome in said.items():
        assert outcome in ("timed out", "EHOSTUNREACH", "ENETUNREACH", "EACCES", "ETIMEDOUT"), (target, outcome)


def test_ports_of_calls_that_ended_are_taken_again(lab):
    """Else an instance were called 28,000 times a minute and no more, by a mesh and by a unit alike."""
    knob = "/proc/sys/net/ipv4/tcp_tw_reuse"
    read = f"print(open('{knob}').read())"
    assert lab.exec("a1", "cat", knob).stdout.strip() == "1"
    assert lab.mcp("exec", "shop-1", "--", "/usr/bin/python3", "-c", read).stdout.strip() == "1"


def test_the_edge_reaches_the_instance_of_the_other_host(lab):
    """Requests of a buyer come to both instances; that of the other host only through both meshes."""
    said = set()

    def both():
        p = lab.exec("client", "curl", "-sk", "--max-time", 5, "--resolve", f"{lab.name}.example:443:203.0.113.20",
                     f"https://{lab.name}.example/", check=False)
        said.add(p.stdout.strip().split()[-1] if p.stdout else "")
        return {"a1", "a2"} <= said
    wait_until(both, 60, "answers of both hosts")
