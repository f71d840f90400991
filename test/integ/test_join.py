# SPDX-License-Identifier: Apache-2.0
"""Machines that join a running platform by token, and those that must not. The machines are lab hosts whose disk was
wiped: they have the binary, an address and nothing else."""
import base64
import hashlib
import json
import pathlib
import socket
import ssl
import struct
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "lib"))
from lablib import BINARY, Lab, in_thread, enter_netns, lab_traces, wait_until

FOUR_HOSTS = """
platform: {name}
domain: {name}.example
regions:
  ra: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
hosts:
  a1: {{region: ra, address: 10.20.0.11, public: true}}
  a2: {{region: ra, address: 10.20.0.12}}
  a3: {{region: ra, address: 10.20.0.13}}
  a4: {{region: ra, address: 10.20.0.14}}
state: {{members: [a1, a2, a3]}}
lab:
  clients: {{KR: 198.51.100.0/28}}
routing:
  nameservers: {{ns1: ra}}
  default: [ra]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab(FOUR_HOSTS, folder=tmp_path_factory.mktemp("join")) as lab:
        lab.up()
        yield lab
    assert lab_traces(lab.name) == []


def hosts(lab):
    return {h["host"]: h for h in json.loads(lab.mcp("host", "list", "--json").stdout)["hosts"]}


def token(lab, *args):
    return lab.mcp("host", "token", *args).stdout.strip()


def wipe(lab, host):
    """A fresh machine that the others no longer hear."""
    lab.mcp("lab", "wipe", host)
    wait_until(lambda: not hosts(lab)[host]["heard"], timeout=60, what=f"{host} is no longer heard")


def join(lab, host, token, *args, env=()):
    return lab.exec(host, "env", *env, BINARY, "host", "join", "10.20.0.11", token, *args, check=False)


def change(token, at):
    """The same token with one bit changed at that byte: 0 to 7 id, 8 to 23 root, 24 to 39 secret."""
    body = bytearray(base64.b32decode(token.split("-")[1].upper()))
    body[at] ^= 1
    text = base64.b32encode(bytes(body)).decode().lower()
    check = base64.b32encode(hashlib.sha256(bytes(body)).digest()[:5]).decode().lower()[:4]
    return f"mcp1-{text}-{check}"


def roles_up(lab, host):
    listed = {h["name"]: h for h in lab.status()["hosts"]}
    return {r["name"] for r in listed[host]["roles"] if r["state"] == "up"}


def refusals(lab):
    return lab.mcp("timeline", "--kind", "enrol").stdout


@pytest.fixture(scope="module")
def stranger(lab):
    wipe(lab, "a4")
    return "a4"


def test_refused_with_the_reason(lab, stranger):
    good = token(lab, "--as", "a4")
    for what, made, args, env, said in [
            ("a slip", good[:20] + ("b" if good[20] != "b" else "c") + good[21:], (), (), "has a slip in it"),
            ("no token", "hello", (), (), "this is no token"),
            ("another root", change(good, 9), (), (), "another fingerprint; nothing was said"),
            ("another secret", change(good, 30), (), (), "knows no such token"),
            ("another id", change(good, 1), (), (), "knows no such token"),
            ("clock ahead", good, (), ("MCP_CLOCK_OFFSET_MS=6000",), "the clocks differ by more than 5 s"),
            ("clock behind", good, (), ("MCP_CLOCK_OFFSET_MS=-3600000",), "the clocks differ by more than 5 s"),
            ("another name", good, ("--as", "a3"), (), "the token is for the host a4, not for a3"),
    ]:
        p = join(lab, stranger, made, *args, env=env)
        assert p.returncode != 0 and said in p.stderr and "fix:" in p.stderr, (what, p.stderr)
        assert lab.exec(stranger, "test", "-e", "/var/lib/mcp/boot.json", check=False).returncode == 1, what
    said = refusals(lab)
    assert "10.20.0.14 was refused" in said and "knows no such token" in said
    assert good.split("-")[1] not in said  # what is refused is not told on
    assert "joined from" not in said


def test_token_of_another_machine(lab, stranger):
    p = join(lab, stranger, token(lab), "--as", "a3")
    assert p.returncode == 3 and "a3 is declared at 10.20.0.13, which this machine does not have" in p.stderr
    p = lab.mcp("host", "token", "--as", "a3", check=False)
    assert p.returncode == 3 and "a3 has joined and is heard" in p.stderr
    p = lab.mcp("host", "token", "--as", "a9", check=False)
    assert p.returncode == 3 and "no host a9" in p.stderr
    # a token for anybody does not replace one that joined once
    p = join(lab, stranger, token(lab))
    assert p.returncode == 3 and "a4 has joined already" in p.stderr


def test_expired(lab, stranger):
    made = token(lab, "--as", "a4", "--ttl", "1s")
    p = wait_until(lambda: (p := join(lab, stranger, made, "--as", "a3")) and "expired" in p.stderr and p)
    assert p.returncode == 3 and "the token expired at" in p.stderr


def call_door(lab, frames, port=7403, cert=None):
    """What a port says to a client with that certificate or none: until each frame is answered or it hangs up."""
    def talk():
        enter_netns(f"/proc/{lab.pid('a4')}/ns/net")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        heard = []
        if cert:
            context.load_cert_chain(*cert)
        with socket.create_connection(("10.20.0.11", port), 5) as raw, context.wrap_socket(raw) as s:
            s.settimeout(10)
            hello = json.dumps({"protocol": [1, 1], "name": "join"}).encode()
            try:
                for frame in [hello, *frames]:
                    s.sendall(struct.pack("!I", len(frame)) + frame)
                data = b""
                while len(heard) < 1 + len(frames):  # its hello comes first
                    got = s.recv(65536)
                    if not got:
                        return heard + ["closed"]
                    data += got
                    while len(data) >= 4 and len(data) >= 4 + struct.unpack("!I", data[:4])[0]:
                        n = struct.unpack("!I", data[:4])[0]
                        heard.append(json.loads(data[4:4 + n]))
                        data = data[4 + n:]
                return heard
            except (ConnectionError, ssl.SSLError):
                return heard + ["closed"]
    return in_thread(talk)


def test_a_stranger_may_say_little(lab, stranger):
    for method in ("status", "apply", "pki.issue", "agent", "timeline", "host.token"):
        said = call_door(lab, [json.dumps({"id": 1, "method": method, "params": {}}).encode()])
        assert [a["error"]["code"] for a in said if isinstance(a, dict) and "error" in a] == ["denied"], (method, said)
    assert call_door(lab, [b"x" * 70000])[-1] == "closed"  # over the size of a frame
    many = [json.dumps({"id": i + 1, "method": "enrol.hello", "params": {}}).encode() for i in range(12)]
    said = [a for a in call_door(lab, many) if isinstance(a, dict) and a.get("id")]
    assert sum("result" in a for a in said) == 8 and said[-1]["error"]["code"] == "limit"
    nothing = {"id": 1, "method": "enrol.join", "params": {"token": "x", "addresses": [1]}}
    assert call_door(lab, [json.dumps(nothing).encode()])[-1]["error"]["code"] == "invalid"


def test_used_by_one_of_many(lab, stranger):
    """The same token from many processes at once: one is a host afterwards. Then it runs, is heard, and the token is
    good for nobody."""
    made = token(lab, "--as", "a4")
    command = [BINARY, "lab", "exec", "--platform", lab.name, "a4", "--", BINARY, "host", "join", "10.20.0.11", made]
    many = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ends = [p.communicate(timeout=60) + (p.returncode,) for p in many]
    assert sorted(rc != 0 for _, _, rc in ends) == [False, True, True, True], ends
    assert all("used already" in err or "already the host" in err for _, err, rc in ends if rc), ends
    again = join(lab, "a4", made)
    assert again.returncode == 3 and "already the host a4" in again.stderr
    boot = json.loads(lab.path("a4", "/var/lib/mcp/boot.json").read_text())
    assert boot["host"] == "a4" and boot["platform"] == lab.name and "member" in boot["state"]
    lab.mcp("lab", "heal", "a4")
    row = wait_until(lambda: (r := hosts(lab)["a4"])["heard"] and r)
    assert row["joined"] and row["joined_ms"] > 0 and row["member"] == ""
    wait_until(lambda: lab.status()["ready"], what="ready again")
    assert "a4 joined from 10.20.0.14" in refusals(lab)
    wipe(lab, "a4")
    p = join(lab, "a4", made)
    assert p.returncode == 3 and "the token was used already, by a4 from 10.20.0.14" in p.stderr


def test_join_through_any_host(lab, stranger):
    """Through one that cannot sign: it passes the request on."""
    made = token(lab, "--as", "a4")
    assert join(lab, "a4", made).returncode == 0
    # As if under a version that had fewer roles: it gets what this one has.
    record = lab.path("a4", "/var/lib/mcp/boot.json")
    boot = json.loads(record.read_text())
    roles = boot["roles"]
    record.write_text(json.dumps({**boot, "roles": [r for r in roles if r not in ("mesh", "data")]}))
    lab.mcp("lab", "heal", "a4")
    wait_until(lambda: hosts(lab)["a4"]["heard"])
    wait_until(lambda: json.loads(record.read_text())["roles"] == roles, timeout=60)
    wait_until(lambda: {"mesh", "data"} <= roles_up(lab, "a4"), timeout=60)
    wipe(lab, "a2")
    made = token(lab, "--as", "a2")
    p = lab.exec("a2", BINARY, "host", "join", "10.20.0.14", made)
    assert "the host a2" in p.stdout and "declared to hold the state store" in p.stdout
    lab.mcp("lab", "heal", "a2")
    wait_until(lambda: hosts(lab)["a2"]["heard"])


def test_a_member_comes_back_as_a_new_one(lab):
    """The state store's member of the machine that was wiped is replaced: the old one goes, the new one learns, then
    votes; and the declaration is as it was."""
    wait_until(lambda: hosts(lab)["a2"]["member"] == "member", timeout=60)
    def state():
        return json.loads(lab.path("a2", "/var/lib/mcp/boot.json").read_text())["state"]
    wait_until(lambda: state()["member"]["name"] == "a2" and len(state()["endpoints"]) == 3)
    said = lab.mcp("timeline", "--kind", "state").stdout
    assert "a2: the state store's member is removed (its disk is another now" in said
    assert "a2: the state store's member is added, as a learner at first" in said
    wait_until(lambda: lab.status()["ready"])
    before = state()
    lab.up()  # leaves it what it has
    assert state() == before and hosts(lab)["a2"]["member"] == "member"
    lab.mcp("lab", "kill", "a3")  # the new one counts: without it there would be no majority
    lab.declare(FOUR_HOSTS.replace("default: [ra]", "default: [ra]\n  ttl: 30s"))
    lab.mcp("apply")
    lab.mcp("lab", "heal", "a3")


def test_other_members_are_declared(lab):
    """The set changes by apply: the new one learns and votes before the old one goes, whose etcd ends."""
    lab.declare(FOUR_HOSTS.replace("[a1, a2, a3]", "[a1, a2, a4]"))
    lab.mcp("apply")
    wait_until(lambda: {n: h["member"] for n, h in hosts(lab).items()}
               == {"a1": "member", "a2": "member", "a3": "", "a4": "member"}, timeout=60)
    wait_until(lambda: not [u for u in lab.status()["units"] if u["module"] == "etcd" and u["host"] == "a3"],
               timeout=30)
    said = lab.mcp("timeline", "--kind", "state").stdout
    added, removed = said.index("a4: the state store's member is added"), said.rindex("is removed (it is not declared")
    assert added < removed
    lab.declare(FOUR_HOSTS)
    lab.mcp("apply")
    wait_until(lambda: {n: h["member"] for n, h in hosts(lab).items()}
               == {"a1": "member", "a2": "member", "a3": "member", "a4": ""}, timeout=60)


def test_removed(lab):
    """A removed host is refused by all others until a machine joins under its name again."""
    for host, args, said in [("a9", (), "no host a9"), ("a2", (), "holds a member of the state store"),
                             ("a1", ("--force",), "this is a1 itself")]:
        p = lab.mcp("host", "remove", host, *args, check=False)
        assert p.returncode != 0 and said in p.stderr, p.stderr
    lab.mcp("host", "remove", "a4")
    wait_until(lambda: (r := hosts(lab)["a4"])["denied"] and not r["heard"] and not r["joined"])
    assert "a4 was removed; its certificates are refused" in refusals(lab)
    own = [lab.path("a4", f"/var/lib/mcp/pki/host.{kind}") for kind in ("pem", "key")]
    beat = json.dumps({"id": 1, "method": "timeline", "params": {}}).encode()
    assert call_door(lab, [beat], 7400, own)[-1] == "closed"
    wait_until(lambda: "a4 was removed from the platform" in lab.mcp("timeline").stdout)
    assert not hosts(lab)["a4"]["joined"]  # it does not put itself back
    wipe(lab, "a4")
    p = lab.mcp("host", "remove", "a4", check=False)
    assert p.returncode == 3 and "--force" in p.stderr
    assert join(lab, "a4", token(lab)).returncode == 0
    lab.mcp("lab", "heal", "a4")
    wait_until(lambda: (r := hosts(lab)["a4"])["heard"] and r["joined"] and not r["denied"])
    # one that is dead for good, with its member
    lab.mcp("lab", "kill", "a3")
    wait_until(lambda: not hosts(lab)["a3"]["heard"], timeout=60)
    said = wait_until(lambda: json.loads(lab.mcp("host", "remove", "a3", "--force", "--json").stdout), timeout=60)
    assert said == {"host": "a3", "member": True}
    wait_until(lambda: hosts(lab)["a3"]["member"] == "missing")
    p = lab.mcp("host", "remove", "a2", "--force", check=False)
    assert p.returncode == 3 and "would lose its quorum" in p.stderr


@pytest.fixture
def fresh(tmp_path):
    """Machines with a network and nothing on them."""
    with Lab(FOUR_HOSTS, folder=tmp_path) as lab:
        lab.up("--hosts-only")
        lab.mcp("lab", "wipe", "ra")
        yield lab
    assert lab_traces(lab.name) == []


def test_from_nothing(fresh):
    """A platform begins on one machine, the others join, and the state store grows to its declared members."""
    lab = fresh
    ca = lab.file.parent / "ca"
    inside = lambda *a, **kw: lab.exec("a1", BINARY, *a, **kw)
    wrong = lab.exec("a4", BINARY, "host", "init", "-f", lab.file, "--root-out", ca, check=False)
    assert wrong.returncode == 3 and "a4 is not in state.members" in wrong.stderr
    wrong = inside("host", "init", "-f", lab.file, "--as", "a2", check=False)
    assert wrong.returncode == 3 and "does not have the address of a2" in wrong.stderr
    made = json.loads(inside("host", "init", "-f", lab.file, "--root-out", ca, "--json").stdout)
    assert made["host"] == "a1" and not made["done_before"]
    assert (ca / "root.key").stat().st_mode & 0o777 == 0o600
    assert json.loads(inside("host", "init", "-f", lab.file, "--root-out", ca, "--json").stdout)["done_before"]
    assert lab.exec("a1", "sh", "-c", "ls /var/lib/mcp/pki/root.key /var/lib/mcp/pki/intermediate.key",
                    check=False).returncode != 0
    lab.mcp("lab", "heal", "a1")
    wait_until(lambda: hosts(lab)["a1"]["heard"], timeout=60)
    assert hosts(lab)["a2"]["member"] == "missing"
    p = lab.exec("a2", BINARY, "host", "join", "10.20.0.11", made["token"])  # the one that init printed
    assert "the host a2" in p.stdout
    for host in ("a3", "a4"):
        p = join(lab, host, token(lab))
        assert p.returncode == 0 and f"the host {host}" in p.stdout, p.stderr
    lab.mcp("lab", "heal", "ra")
    wait_until(lambda: [h["member"] for h in hosts(lab).values()] == ["member", "member", "member", ""], timeout=60)
    wait_until(lambda: lab.status()["ready"], timeout=60)
    revision = json.loads(lab.mcp("revisions", "--json").stdout)[0]
    assert revision["revision"] == 1 and revision["note"] == "mcp host init"
    lab.mcp("lab", "kill", "a1")  # the first one is one of three
    wait_until(lambda: lab.status()["state_store"]["connected"])
