# SPDX-License-Identifier: Apache-2.0
"""The edge role as a process, locked in as in production, in front of a module that answers what it is asked for: over
TLS with curl and http.client, across swaps of instances, crashes and an orderly stop."""
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/lib"))
from role import Machine, Role  # noqa: E402

MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))
PUBLIC, BUYER = "203.0.113.40", "198.51.100.5"
BOOT = {"format": 1, "platform": "reindeers", "host": "seoul1", "region": "ap-seoul"}
LARGE = 40 * 1024 * 1024


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def log_message(self, *_):
        pass

    def reply(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def content(self):
        """Digest and length of the request's content; nothing of it is kept."""
        digest, n = hashlib.sha256(), 0
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                digest.update(self.rfile.read(size))
                n += size
                self.rfile.readline()
            self.rfile.readline()
        left = int(self.headers.get("Content-Length", 0))
        while left:
            part = self.rfile.read(min(left, 65536))
            digest.update(part)
            n, left = n + len(part), left - len(part)
        return {"sha256": digest.hexdigest(), "bytes": n}

    def do_GET(self):
        module = self.server.module
        module.seen.append(self.path)
        if self.path == "/large":
            self.send_response(200)
            self.send_header("Content-Length", str(LARGE))
            self.end_headers()
            for _ in range(LARGE // 65536):
                self.wfile.write(b"x" * 65536)
        elif self.path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for n in (1, 100, 70000):
                self.wfile.write(b"%x\r\n%s\r\n" % (n, b"y" * n))
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/dies":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"some")
            self.close_connection = True
        elif self.path == "/held":
            module.held.set()
            module.go.wait(30)
            self.reply(b"late\n")
        elif self.path == "/nothing":
            self.send_response(204)
            self.end_headers()
        else:
            said = {"module": module.name, "path": self.path, "method": self.command,
                    "headers": [[k.lower(), v] for k, v in self.headers.items()], **self.content()}
            self.reply(json.dumps(said).encode(), Content_Type="application/json")

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET


class Module:
    def __init__(self, machine, name):
        self.name, self.seen, self.held, self.go = name, [], threading.Event(), threading.Event()

        def make():
            class Server(http.server.ThreadingHTTPServer):
                request_queue_size = 128
            return Server(("127.0.0.1", 0), Handler)
        self.server = machine.inside(make)
        self.server.module = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def instance(self, ready=True):
        return {"unit": self.name, "address": "127.0.0.1", "port": self.port, "ready": ready}

    def close(self):
        self.go.set()
        self.server.shutdown()
        self.server.server_close()


def certificates(folder):
    """A CA and a leaf for the names: PEM texts of ca, cert, key."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out",
            "ca.pem", "-subj", "/CN=test CA", "-days", "2")
    (folder / "ext").write_text("subjectAltName=DNS:reindeers.com,DNS:*.reindeers.com\nbasicConstraints=CA:FALSE\n")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "leaf.key", "-out",
            "leaf.csr", "-subj", "/CN=reindeers.com")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "leaf.pem")
    return (folder / "leaf.pem").read_text(), (folder / "leaf.key").read_text()


class Edge:
    def __init__(self, folder):
        self.folder = folder
        self.cert, self.key = certificates(folder)
        self.ca = str(folder / "ca.pem")
        self.machine = Machine([PUBLIC, BUYER])
        self.listens = [("edge-https", t, self.machine.listener(socket.SOCK_STREAM, PUBLIC, 443, shared=True))
                        for t in range(2)]
        self.listens.append(("edge-http", 0, self.machine.listener(socket.SOCK_STREAM, PUBLIC, 80)))
        self.web, self.api = Module(self.machine, "web-1"), Module(self.machine, "api-1")
        self.role = self.start()
        self.revision = 0

    def start(self):
        return Role(self.machine, MCP, "edge", BOOT, self.listens)

    def routes(self, **change):
        self.revision += 1
        doc = {"format": 1, "revision": self.revision, "platform": "reindeers", "region": "ap-seoul",
               "identity": "absent",
               "certificates": [{"name": "platform", "names": ["reindeers.com", "*.reindeers.com"], "default": True,
                                 "cert": self.cert, "key": self.key}],
               "routes": [{"name": "reindeers.com", "path": "/", "module": "web", "auth": "none"},
                          {"name": "api.reindeers.com", "path": "/v1", "module": "api", "auth": "jwt"}],
               "endpoints": {"web": [self.web.instance()], "api": [self.api.instance()]}}
        doc.update(change)
        self.role.notify("routes", doc)
        self.role.wait_metric("mcp_edge_revision", self.revision)

    def instances(self, **modules):
        self.role.begin("endpoints", {"endpoints": modules})
        self.role.call("status")  # what was said before is done now

    def curl(self, url, *words):
        """Body and the figures of -w, from a buyer's address."""
        host = url.split("/")[2]
        resolve = [w for port in (80, 443) for w in ("--resolve", f"{host}:{port}:{PUBLIC}")]
        out = self.machine.run("curl", "-sS", "--interface", BUYER, "--cacert", self.ca, *resolve, "-w", "\n%{json}", *words,
                               url)
        body, _, figures = out.rpartition("\n")
        return body, json.loads(figures)

    def socket(self, port):
        return self.machine.inside(lambda: socket.create_connection((PUBLIC, port), 30, (BUYER, 0)))

    def connection(self, host="reindeers.com", tls=True):
        """http.client on one connection."""
        raw = self.socket(443 if tls else 80)
        if tls:
            raw = ssl.create_default_context(cafile=self.ca).wrap_socket(raw, server_hostname=host)
        c = http.client.HTTPConnection(host)
        c.sock = raw
        c.auto_open = 0
        return c

    def ask(self, c, path, method="GET", body=None, headers=None):
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        return r, r.read()

    def log(self):
        text = self.machine.run("cat", "/var/lib/mcp/edge/access.log")
        return [json.loads(line) for line in text.splitlines()]

    def close(self):
        self.role.close()
        self.web.close()
        self.api.close()
        for _, _, s in self.listens:
            s.close()
        self.machine.close()


@pytest.fixture
def edge(tmp_path):
    e = Edge(tmp_path)
    e.routes()
    yield e
    e.close()


def test_curl_over_tls(edge):
    body, figures = edge.curl("https://reindeers.com/shop//%7Eme?x=1")
    said = json.loads(body)
    assert (figures["http_code"], figures["http_version"], figures["ssl_verify_result"]) == (200, "2", 0)
    assert (said["module"], said["path"]) == ("web-1", "/shop/~me?x=1")
    headers = dict(said["headers"])
    assert headers["host"] == "reindeers.com" and headers["x-forwarded-for"] == BUYER
    assert headers["x-forwarded-proto"] == "https" and len(headers["x-request-id"]) == 32
    assert json.loads(edge.curl("https://api.reindeers.com/v1/orders")[0])["module"] == "api-1"
    assert edge.curl("https://api.reindeers.com/v2")[1]["http_code"] == 404
    assert edge.curl("https://x.reindeers.com/")[1]["http_code"] == 421


def test_health_is_local_and_truthful(edge):
    for scheme in ("http", "https"):
        body, figures = edge.curl(f"{scheme}://reindeers.com/healthz")
        assert (figures["http_code"], json.loads(body)) == (
            200, {"name": "reindeers.com", "region": "ap-seoul", "ready": True})
    edge.instances(web=[edge.web.instance(ready=False)], api=[edge.api.instance()])
    body, figures = edge.curl("https://reindeers.com/healthz")
    assert figures["http_code"] == 503
    assert json.loads(body)["missing"] == ["no ready instance of web for /"]
    assert edge.curl("https://api.reindeers.com/healthz")[1]["http_code"] == 200
    assert edge.curl("https://reindeers.com/")[1]["http_code"] == 503
    assert edge.web.seen == []  # the module was never asked


def test_port_80_redirects(edge):
    figures = edge.curl("http://reindeers.com/a/b?c=d")[1]
    assert (figures["http_code"], figures["redirect_url"]) == (308, "https://reindeers.com/a/b?c=d")
    body, figures = edge.curl("http://reindeers.com/a", "-L", "--data", "kept")
    assert (figures["http_code"], json.loads(body)["method"], json.loads(body)["bytes"]) == (200, "POST", 4)


def test_routes_that_want_a_token(edge):
    edge.routes(identity="present")
    assert edge.curl("https://api.reindeers.com/v1")[1]["http_code"] == 401
    assert edge.curl("https://reindeers.com/")[1]["http_code"] == 200
    assert edge.role.metric("mcp_edge_routes_without_identity") == 0
    edge.routes()
    assert edge.role.metric("mcp_edge_routes_without_identity") == 1
    assert any("want a token" in w for w in edge.role.call("status")["warnings"])
    assert any("want a token" in line and " warn " in line.lower() for line in edge.role.log)
    said = [m["params"] for m in edge.role.said if m.get("method") == "timeline"]
    assert any(e["kind"] == "alarm" and e["subject"] == "edge@seoul1" and "want a token" in e["message"] for e in said)


@pytest.mark.parametrize("tls", [True, False])
def test_http_client_keeps_its_connection(edge, tls):
    edge.routes(http="serve")
    c = edge.connection(tls=tls)
    for method in ("GET", "HEAD", "DELETE", "POST", "PUT"):
        r, body = edge.ask(c, "/x", method, b"hello" if method in ("POST", "PUT") else None)
        assert r.status == 200
        assert body == b"" if method == "HEAD" else json.loads(body)["method"] == method
    r, body = edge.ask(c, "/nothing")
    assert (r.status, body) == (204, b"")
    r, body = edge.ask(c, "/chunks")
    assert (r.getheader("Transfer-Encoding"), body) == ("chunked", b"y" * 70101)
    r, body = edge.ask(c, "/up", "POST", iter([b"a" * 10, b"b" * 100000, b"c"]))  # chunked
    assert json.loads(body)["bytes"] == 100011
    assert edge.role.metric("mcp_edge_connections_total") == 1
    c.close()


def test_large_content_both_ways(edge):
    data = os.urandom(1 << 20) * 20
    (edge.folder / "data").write_bytes(data)
    proc = pathlib.Path(f"/proc/{edge.role.process.pid}")

    def pss():
        return int(next(line for line in (proc / "smaps_rollup").read_text().splitlines() if "Pss:" in line).split()[1])
    before = pss()
    body, figures = edge.curl("https://reindeers.com/put", "-T", str(edge.folder / "data"))  # with Expect: 100-continue
    assert json.loads(body)["sha256"] == hashlib.sha256(data).hexdigest()
    figures = edge.curl("https://reindeers.com/large", "-o", "/dev/null")[1]
    assert (figures["http_code"], figures["size_download"]) == (200, LARGE)
    sanitized = "libasan" in (proc / "maps").read_text()  # keeps freed memory for a while
    assert sanitized or pss() - before < 2048  # KiB: streamed, not stored


def test_smuggling_is_refused(edge):
    edge.routes(http="serve")
    for request in (b"POST / HTTP/1.1\r\nHost: reindeers.com\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: reindeers.com\r\nHost: api.reindeers.com\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: reindeers.com\r\nX: a\n\r\n",
                    b"GET / HTTP/1.1\nHost: reindeers.com\n\n"):
        with edge.socket(80) as s:
            s.sendall(request + b"GET /smuggled HTTP/1.1\r\nHost: reindeers.com\r\n\r\n")
            answer = b""
            while part := s.recv(4096):
                answer += part
        assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1
    assert edge.web.seen == []


def test_a_module_that_dies_within_its_answer(edge):
    c = edge.connection()
    c.request("GET", "/dies")
    r = c.getresponse()
    if r.status == 200:
        with pytest.raises(http.client.IncompleteRead):
            r.read()
    else:  # it was dead before anything of its answer had gone out: still time to say so
        assert (r.status, json.loads(r.read())["error"]["status"]) == (502, 502)


def test_instances_change_under_load(edge):
    second = Module(edge.machine, "web-2")
    stop, failures, count = threading.Event(), [], [0]

    def load():
        c = edge.connection()
        while not stop.is_set():
            r, body = edge.ask(c, "/x")
            count[0] += 1
            if r.status != 200:
                failures.append((r.status, body))
                return
    threads = [threading.Thread(target=load) for _ in range(4)]
    for t in threads:
        t.start()
    for i in range(30):
        module = (edge.web, second)[i % 2]
        before = len(module.seen)
        edge.instances(web=[module.instance()], api=[edge.api.instance()])
        while len(module.seen) == before:
            assert not failures
    stop.set()
    for t in threads:
        t.join()
    assert failures == [] and count[0] > 60
    second.close()


def test_killed_and_back_without_control(edge):
    edge.role.call("status")
    wait_stored(edge)
    edge.role.kill()
    queued = edge.socket(443)  # the listening sockets live on
    role, edge.role = edge.role, edge.start()
    role.close()
    c = http.client.HTTPConnection("reindeers.com")
    c.sock = ssl.create_default_context(cafile=edge.ca).wrap_socket(queued, server_hostname="reindeers.com")
    assert edge.ask(c, "/x")[0].status == 200  # nobody has told it anything yet
    c.close()


def wait_stored(edge):
    while f'"revision":{edge.revision}' not in edge.machine.run("sh", "-c", "cat /var/lib/mcp/edge/routes.json || true"):
        pass
    assert edge.machine.run("stat", "-c", "%a", "/var/lib/mcp/edge/routes.json") == "600\n"  # holds keys


def test_orderly_stop_finishes_what_is_in_flight(edge):
    c = edge.connection()
    c.request("GET", "/held")
    assert edge.web.held.wait(30)
    edge.role.process.send_signal(signal.SIGTERM)
    edge.role.wait_metric("mcp_edge_connections", 1)  # still there, for this one
    edge.web.go.set()
    r = c.getresponse()
    assert (r.status, r.read(), r.getheader("Connection")) == (200, b"late\n", "close")
    assert edge.role.process.wait(30) == 0


def test_log_and_metrics(edge):
    c = edge.connection()
    r, _ = edge.ask(c, "/shop?secret=1")
    edge.role.process.send_signal(signal.SIGTERM)  # the log is written to the end
    c.close()
    assert edge.role.process.wait(30) == 0
    line = edge.log()[-1]
    assert (line["name"], line["method"], line["path"], line["status"]) == ("reindeers.com", "GET", "/shop", 200)
    assert (line["unit"], line["client"], line["tls"], line["end"]) == ("web-1", BUYER, "TLSv1.3", "ok")
    assert line["id"] == r.getheader("X-Request-Id") and line["duration_us"] >= line["upstream_us"] > 0


def test_it_is_locked_in(edge):
    status = dict(l.split(":\t", 1) for l in open(f"/proc/{edge.role.process.pid}/status") if ":\t" in l)
    assert status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1"
    assert status["CapEff"].strip() == status["CapPrm"].strip() == "0" * 16
    assert status["Uid"].split()[0] != "0"


def test_a_bad_snapshot_changes_nothing(edge):
    edge.role.notify("routes", {"format": 1, "revision": 9, "routes": [{"name": "UPPER"}]})
    edge.role.begin("endpoints", {"endpoints": {"web": [{"unit": "x"}]}})
    edge.role.notify("nonsense", {})
    assert edge.curl("https://reindeers.com/")[1]["http_code"] == 200
    assert edge.role.metric("mcp_edge_revision") == edge.revision
