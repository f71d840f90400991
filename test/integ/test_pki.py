# SPDX-License-Identifier: Apache-2.0
"""Certificates: who is refused and why, renewal and rotation of all of them under load, hosts that were off for longer
than a certificate lives, and what happens before an authority ends."""
import contextlib
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import time

import hostlib
import pytest
from lablib import STATE, Lab, unique_name, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
LEAF_S = 16
PKI = "/var/lib/mcp/pki"
RENEWALS = 6 if os.environ.get("MCP_DRILLS") == "1" else 2

PLATFORM = """platform: {{name}}
domain: pki.example
regions:
  ra: {{{{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}}}
  rb: {{{{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}}}
hosts:
  a1: {{{{region: ra, address: 10.20.0.11, public: true}}}}
  a2: {{{{region: ra, address: 10.20.0.12}}}}
  a3: {{{{region: ra, address: 10.20.0.13}}}}
  b1: {{{{region: rb, address: 10.40.0.11, public: true}}}}
state: {{{{members: [a1, a2, b1]}}}}
lab:
  wan: [{{{{between: [ra, rb], delay: 2ms}}}}]
  clients: {{{{KR: 198.51.100.0/28}}}}
routing:
  nameservers: {{{{ns1: ra, ns2: rb}}}}
  countries: {{{{KR: [rb]}}}}
  default: [ra]
modules:
  api:
    image: oci:{image}
    port: 8080
    health: {{{{path: /healthz, interval: 1s, timeout: 500ms, start_timeout: 10s}}}}
    route: {{{{names: [api.pki.example], path: /, auth: none}}}}
    regions: {{{{ra: {instances}}}}}
    limits: {{{{memory: 64MiB, pids: 32}}}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    image = ROOT / "example/images/api"
    text = PLATFORM.format(image=image, instances=1)
    with Lab(text, name=unique_name("pki"), folder=tmp_path_factory.mktemp("pki")) as lab:
        lab.mcp("up", env=dict(os.environ, MCP_LEAF_SECONDS=str(LEAF_S)))
        for host in ("a2", "a3"):
            subprocess.run(["cp", "-a", f"{lab.path('a1', '/var/lib/mcp/images')}/.", lab.path(host, "/var/lib/mcp/images")],
                           check=True)
        lab.declare(PLATFORM.format(image=image, instances=3))
        lab.mcp("apply", "--wait", "--timeout", "60s")
        yield lab


def ca_status(lab):
    return json.loads(lab.mcp("ca", "status", "--json").stdout)


def all_fresh(lab, hosts=("a1", "a2", "a3", "b1")):
    status = {h["host"]: h for h in ca_status(lab)["hosts"]}
    return all(status[h]["heard"] and status[h]["leaves"]
               and all(leaf["state"] in ("fresh", "due") for leaf in status[h]["leaves"]) for h in hosts)


def gap(lab):
    """Why not, for a failing wait."""
    return [(h["host"], leaf["name"], leaf["state"], leaf["error"]) for h in ca_status(lab)["hosts"]
            for leaf in h.get("leaves", []) if leaf["state"] not in ("fresh", "due")]


# --- load: new TLS connections through both the edge and the mesh, commands, reads of the state store


class Load:
    def __init__(self, lab):
        self.lab, self.ends = lab, threading.Event()
        self.done = {"tls": 0, "kept": 0, "status": 0, "revisions": 0}
        self.errors = []
        self.threads = [threading.Thread(target=self._repeat, args=(kind, work), daemon=True) for kind, work in
                        (("tls", self.request), ("status", self.status), ("revisions", self.revisions))]
        self.threads.append(threading.Thread(target=self._keep, daemon=True))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.ends.set()
        for t in self.threads:
            t.join(30)

    def _repeat(self, kind, work):
        while not self.ends.wait(0.03):
            try:
                work()
                self.done[kind] += 1
            except Exception as e:
                self.errors.append(f"{kind}: {str(e)[:400]}")

    def connect(self):
        """A connection of a buyer who trusts what a host of the platform trusts at this moment."""
        context = ssl.create_default_context(cadata=self.lab.path("a1", f"{PKI}/ca.pem").read_text())
        s = self.lab.socket("client")
        s.settimeout(10)
        s.connect(("203.0.113.20", 443))
        return context.wrap_socket(s, server_hostname="api.pki.example")

    @staticmethod
    def get(s):
        s.sendall(b"GET /whoami HTTP/1.1\r\nHost: api.pki.example\r\n\r\n")
        data = s.recv(65536)
        assert data.startswith(b"HTTP/1.1 200 "), data[:200]

    def request(self):
        with self.connect() as s:
            self.get(s)

    def _keep(self):
        """One connection from before everything to after everything."""
        try:
            with self.connect() as s:
                while not self.ends.wait(0.02):
                    self.get(s)
                    self.done["kept"] += 1
        except Exception as e:
            self.errors.append(f"kept: {e!r}")

    def status(self):
        assert len(self.lab.status()["hosts"]) == 4

    def revisions(self):
        self.lab.mcp("revisions", "--json")

    def enough(self, each=5):
        return all(n >= each for n in self.done.values())


@contextlib.contextmanager
def load(lab):
    with Load(lab) as under:
        wait_until(under.enough, 60, "traffic on every path")
        yield under
        before = dict(under.done)
        wait_until(lambda: all(under.done[k] > before[k] for k in before), 60, "traffic afterwards")
    assert under.errors == [], under.done


def serials(lab):
    """Of every leaf on every host: (host, name) -> serial."""
    found = {}
    for host in ("a1", "a2", "a3", "b1"):
        for pem in lab.path(host, PKI).glob("*.pem"):
            if pem.name not in ("ca.pem", "state-ca.pem"):
                out = subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", pem], capture_output=True, text=True)
                found[host, pem.stem] = out.stdout.strip()
    return found


def issuers(lab):
    return {leaf["issuer"] for h in ca_status(lab)["hosts"] for leaf in h["leaves"]}


def test_every_host_has_what_it_needs_and_no_more(lab):
    wait_until(lambda: all_fresh(lab), 60)
    names = {h["host"]: {leaf["name"] for leaf in h["leaves"]} for h in ca_status(lab)["hosts"]}
    assert {"host", "state", "edge", "gateway"} <= names["a1"]
    assert "edge" not in names["a2"] and "gateway" not in names["a3"]
    assert {h["host"] for h in ca_status(lab)["hosts"] if h["holds"]} == {"a1", "a2", "b1"}
    assert not lab.path("a3", f"{PKI}/authority.json").exists()
    for host in ("a1", "a2", "b1"):
        sealed = lab.path(host, f"{PKI}/authority.json")
        assert sealed.stat().st_mode & 0o777 == 0o600 and "PRIVATE" not in sealed.read_text()
    uris = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName,extendedKeyUsage", "-in",
                           lab.path("a2", f"{PKI}/state.pem")], capture_output=True, text=True).stdout
    assert f"spiffe://{lab.name}/control/a2" in uris and "10.20.0.12" in uris
    assert "Server Authentication" in uris and "Client Authentication" in uris  # etcd's gateway is its own client


def test_short_leaves_are_renewed_under_load(lab):
    seen = {}

    def all_renewed():
        for leaf, serial in serials(lab).items():
            seen.setdefault(leaf, set()).add(serial)
        return all(len(s) > RENEWALS for leaf, s in seen.items() if leaf[1] in ("host", "state", "edge"))

    with load(lab) as under:
        wait_until(all_renewed, RENEWALS * LEAF_S + 30, "renewals of every leaf")
    print(under.done)


def test_every_certificate_is_rotated_under_load(lab):
    with load(lab) as under:
        before = serials(lab)
        lab.mcp("ca", "rotate", "--leaves")
        after = serials(lab)
        assert all(after[leaf] != serial for leaf, serial in before.items() if leaf in after)
        old = issuers(lab)
        lab.mcp("ca", "rotate", "--intermediate")
        assert len(issuers(lab)) == 2 and not issuers(lab) & old
        roots = {r["id"] for r in ca_status(lab)["roots"]}
        began = time.monotonic()
        lab.mcp("ca", "rotate", "--root")
        status = ca_status(lab)
        print(f"root in {time.monotonic() - began:.1f} s", under.done)
        assert len(status["roots"]) == 2 and not {r["id"] for r in status["roots"]} & roots
        assert status["rotation"] is None and status["last"]["kind"] == "root"
    for host in ("a1", "a3"):
        assert lab.path(host, f"{PKI}/ca.pem").read_text() == pathlib.Path(lab.state()["ca"]).read_text()
    told = lab.mcp("timeline", "-n", "300").stdout
    assert told.count("rotation: root drop") >= 1 and told.count("rotation: root done") >= 1


def test_a_rotation_outlives_whoever_carries_it_out(lab):
    """kill -9 of a control at every phase: it converges."""
    lab.mcp("ca", "rotate", "--root", "--no-wait")
    turn = 0

    def step():
        nonlocal turn
        host = ("a1", "a2", "b1", "a3")[turn % 4]
        turn += 1
        roles = next(h for h in lab.status()["hosts"] if h["name"] == host)["roles"]
        pid = next((r["pid"] for r in roles if r["name"] == "control"), 0)
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if pid:
                lab.exec(host, "kill", "-9", str(pid), check=False)
        status = ca_status(lab)
        return turn >= 8 or (status["known"] and status["rotation"] is None)

    wait_until(step, 60, "controls to be killed")
    lab.mcp("ca", "rotate", "--root", "--timeout", "90s")  # goes on watching, and puts the new root in its place
    wait_until(lambda: all_fresh(lab), 60)
    assert ca_status(lab)["rotation"] is None
    assert lab.path("a3", f"{PKI}/ca.pem").read_text() == pathlib.Path(lab.state()["ca"]).read_text()


# --- who is refused


def openssl(*args, **kw):
    return subprocess.run(["openssl", *[str(a) for a in args]], check=True, capture_output=True, text=True, **kw)


class Forge:
    """Leaves that nobody should accept, by the platform's own intermediate or by a stranger's."""

    def __init__(self, folder, ca):
        self.folder, self.ca = folder, ca

    def leaf(self, name, uri, ca=None, begins=None, ends=None, cn="x"):
        ca, d = ca or self.ca, self.folder
        (d / f"{name}.ext").write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                                       f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=URI:{uri}\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/O=MCP/CN={cn}",
                "-keyout", d / f"{name}.key", "-out", d / f"{name}.csr")
        if begins:  # x509 -req cannot end in the past
            (d / "index.txt").write_text("")
            (d / "serial").write_text("01\n")
            (d / "ca.cnf").write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={d}/index.txt\nserial={d}/serial\n"
                                      f"new_certs_dir={d}\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
            openssl("ca", "-batch", "-config", d / "ca.cnf", "-cert", f"{ca}/intermediate.pem", "-keyfile",
                    f"{ca}/intermediate.key", "-in", d / f"{name}.csr", "-out", d / f"{name}.crt", "-startdate", begins,
                    "-enddate", ends, "-extfile", d / f"{name}.ext", "-notext")
        else:
            openssl("x509", "-req", "-in", d / f"{name}.csr", "-CA", f"{ca}/intermediate.pem", "-CAkey",
                    f"{ca}/intermediate.key", "-set_serial", "7", "-days", "1", "-extfile", d / f"{name}.ext", "-out",
                    d / f"{name}.crt")
        pem = (d / f"{name}.crt").read_text() + pathlib.Path(ca, "intermediate.pem").read_text()
        (d / f"{name}.pem").write_text(pem)
        return d / f"{name}.pem", d / f"{name}.key"


def stranger_ca(folder):
    folder.mkdir()
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", folder / "root.key", "-out", folder / "root.pem", "-subj", "/CN=r", "-days", 9)
    openssl("req", *key, "-keyout", folder / "intermediate.key", "-out", folder / "i.csr", "-subj", "/CN=i")
    (folder / "ext").write_text("basicConstraints=critical,CA:TRUE,pathlen:0\n")
    openssl("x509", "-req", "-in", folder / "i.csr", "-CA", folder / "root.pem", "-CAkey", folder / "root.key",
            "-set_serial", 3, "-days", 5, "-extfile", folder / "ext", "-out", folder / "intermediate.pem")
    return folder


def knock(lab, address, port, pair, host="a3"):
    """What the other end says to a client with that certificate: "" when it goes on to speak with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair:
        context.load_cert_chain(*pair)
    with lab.socket(host) as s:
        s.settimeout(10)
        s.connect((address, port))
        try:
            with context.wrap_socket(s) as t:
                if port == 7400:
                    hello = json.dumps({"protocol": [1, 1], "name": "control@a3"}).encode()
                    t.sendall(len(hello).to_bytes(4, "big") + hello)
                    return "" if t.recv(4) and t.recv(1) and not closed_soon(t) else "closed"
                t.sendall(b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n" + b'{"key":"L21j"}')
                return "" if t.recv(100).startswith(b"HTTP/1.1 200") else "closed"
        except (ssl.SSLError, ConnectionError) as e:
            return str(e)


def closed_soon(t):
    """Its hello is all that it says."""
    t.settimeout(1)
    try:
        while True:
            if not t.recv(4096):
                return True
    except (socket.timeout, TimeoutError):
        return False
    except (ssl.SSLError, ConnectionError):
        return True


def refusals(lab, host):
    return (STATE / lab.name / "log" / f"{host}.log").read_text()


def test_wrong_certificates_are_refused_with_the_reason(lab, tmp_path):
    wait_until(lambda: all_fresh(lab), 60)
    ca = pathlib.Path(lab.state()["ca"]).parent
    forge, foreign = Forge(tmp_path, ca), stranger_ca(tmp_path / "stranger")
    name, past = lab.name, ("20250101000000Z", "20250102000000Z")
    good = forge.leaf("good", f"spiffe://{name}/host/a3")
    cases = {
        "expired": (forge.leaf("expired", f"spiffe://{name}/host/a3", None, *past), "expired"),
        "foreign": (forge.leaf("foreign", f"spiffe://{name}/host/a3", foreign), "certificate refused|unable to get"),
        "other platform": (forge.leaf("other", "spiffe://shop/host/a3"), "of another platform"),
        "module": (forge.leaf("module", f"spiffe://{name}/module/api"), "is no host of"),
        "none": (None, "did not return a certificate|peer did not"),
    }
    assert knock(lab, "10.20.0.12", 7400, good) == ""
    for what, (pair, reason) in cases.items():
        mark = len(refusals(lab, "a2"))
        assert knock(lab, "10.20.0.12", 7400, pair) != "", what
        wait_until(lambda: re.search(reason, refusals(lab, "a2")[mark:]), 60, f"the reason for {what}")
    # etcd: a host's leaf opens nothing, also a good one; nor does an expired or a foreign one of its own kind.
    state = Forge(tmp_path, ca / "state")
    client = state.leaf("client", f"spiffe://{name}/control/a3", cn="mcp-state-client")
    assert knock(lab, "10.20.0.12", 2379, client) == ""
    for what, pair in {"host": good, "expired": state.leaf("e", f"spiffe://{name}/control/a3", None, *past),
                       "foreign": forge.leaf("f", f"spiffe://{name}/control/a3", foreign), "none": None}.items():
        assert knock(lab, "10.20.0.12", 2379, pair) != "", what
    # A client of the state store is no member of it.
    assert knock(lab, "10.20.0.12", 2380, client) != ""


# --- off for longer than a certificate lives


def test_hosts_that_were_off_for_too_long_come_back(lab):
    """One that issues renews its own; one that does not proves itself by its sealing key."""
    wait_until(lambda: all_fresh(lab), 60)
    lab.mcp("lab", "kill", "a3")
    lab.mcp("lab", "kill", "a2")
    ends = time.time() + LEAF_S  # whenever they were renewed last
    wait_until(lambda: time.time() > ends + 1, LEAF_S + 10, "their certificates to end")
    lab.mcp("lab", "heal", "a2")
    lab.mcp("lab", "heal", "a3")
    wait_until(lambda: all_fresh(lab) or gap(lab) and None, 60, "both to be heard with fresh certificates")
    told = lab.mcp("timeline", "-n", "200").stdout
    assert re.search(r"a3: proved itself by its sealing key", told)
    assert "a2: proved itself" not in told


def test_nobody_proves_himself_with_another_key(lab):
    """The door answers strangers, but only the owner of the sealing key can open what it answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def call(method, params):
        with lab.socket("a3") as s:
            s.settimeout(10)
            s.connect(("10.20.0.12", 7403))
            with context.wrap_socket(s) as t:
                for message in ({"protocol": [1, 1], "name": "x"}, {"id": 1, "method": method, "params": params}):
                    data = json.dumps(message).encode()
                    t.sendall(len(data).to_bytes(4, "big") + data)
                stream = t.makefile("rb")
                for _ in range(2):
                    answer = json.loads(stream.read(int.from_bytes(stream.read(4), "big")))
                return answer

    csr = openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a3",
                  "-keyout", "/dev/null").stdout
    box = call("pki.challenge", {"host": "a3"})["result"]
    for proof in ("A" * 43 + "=", ""):
        wrong = call("pki.renew", {"id": box["id"], "proof": proof, "request": {"kind": "host", "csr": csr}})
        assert wrong["error"]["code"] == "denied", wrong
    assert call("pki.challenge", {"host": "x9"})["error"]["code"] == "denied"
    assert call("pki.issue", {"kind": "host", "csr": csr})["error"]["code"] == "denied"


# --- before an authority ends: one host with certificates made here, and a clock that is moved


def short_lived(folder):
    """A host's folder whose intermediate ends in ten days and whose leaf in five."""
    folder.mkdir()
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", folder / "root.key", "-out", folder / "ca.pem", "-subj", "/CN=root", "-days",
            3650)
    openssl("req", *key, "-keyout", folder / "i.key", "-out", folder / "i.csr", "-subj", "/CN=intermediate")
    (folder / "ca.ext").write_text("basicConstraints=critical,CA:TRUE,pathlen:0\nsubjectKeyIdentifier=hash\n")
    openssl("x509", "-req", "-in", folder / "i.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "root.key", "-days", 10,
            "-set_serial", 2, "-extfile", folder / "ca.ext", "-out", folder / "i.pem")
    openssl("req", *key, "-keyout", folder / "host.key", "-out", folder / "h.csr", "-subj", "/CN=hk1")
    (folder / "h.ext").write_text("subjectAltName=URI:spiffe://reindeers/host/hk1,IP:10.20.0.11\n")
    openssl("x509", "-req", "-in", folder / "h.csr", "-CA", folder / "i.pem", "-CAkey", folder / "i.key", "-days", 5,
            "-set_serial", 3, "-extfile", folder / "h.ext", "-out", folder / "h.pem")
    (folder / "host.pem").write_text((folder / "h.pem").read_text() + (folder / "i.pem").read_text())
    return folder


SMALL = """platform: reindeers
domain: reindeers.example
regions: {ap-hongkong: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
hosts: {hk1: {region: ap-hongkong, address: 10.20.0.11, public: true}}
routing: {nameservers: {ns1: ap-hongkong}, default: [ap-hongkong]}
"""


def test_an_authority_that_ends_is_told_and_then_shuts_the_door(tmp_path):
    day = 86400 * 1000
    made = short_lived(tmp_path / "made")
    (tmp_path / "platform.yaml").write_text(SMALL)
    record = hostlib.boot_record(roles=["control", "agent"])
    with hostlib.Host(record) as host:
        os.makedirs(host.path(PKI), exist_ok=True)
        for name in ("ca.pem", "host.pem", "host.key"):
            pathlib.Path(host.path(f"{PKI}/{name}")).write_bytes((made / name).read_bytes())

        def mcp(*args):
            env = dict(os.environ, MCP_SOCKET=host.path("/run/mcp/mcp.sock"), MCP_FILE=str(tmp_path / "platform.yaml"))
            return subprocess.run([hostlib.BINARY, *args], capture_output=True, text=True, env=env, timeout=30)

        def again(days):
            host.stop()
            host.env["MCP_CLOCK_OFFSET_MS"] = str(days * day)
            host.start()
            wait_until(lambda: mcp("status", "--json").returncode == 0, 60)

        def alarms():
            return " | ".join(a["text"] for a in json.loads(mcp("status", "--json").stdout)["alarms"])

        host.start()
        applied = wait_until(lambda: (p := mcp("apply")).returncode == 0 and p, 60, "an apply")
        assert "applied" in applied.stdout
        wait_until(lambda: "the intermediate certificate ends in 9 days" in alarms(), 60, "the alarm")
        assert "root" not in alarms()
        again(8)
        wait_until(lambda: "ends in 1 days" in alarms(), 60)
        assert "the certificate host of hk1 has ended; renewing fails" in alarms()
        for command in ("plan", "apply"):
            refused = mcp(command)
            assert refused.returncode == 3, refused
            assert "the intermediate certificate ends in" in refused.stderr and "mcp ca rotate" in refused.stderr
        again(11)  # long ended: what is there is still served
        assert "has ended" in alarms() and mcp("plan").returncode == 3
        log = "\n".join(host.log.lines)
        assert "a certificate has ended: other hosts refuse it" in log and "the intermediate certificate has ended" in log
