# SPDX-License-Identifier: Apache-2.0
"""`mcp edge serve`: the edge alone, in front of one upstream, asked by curl. Loopback, free ports."""
import http.server
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LARGE = 1 << 20
MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def content(self):
        data = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return data + self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def stream(self, n):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for _ in range(n // 16384):
                self.wfile.write(b"4000\r\n" + b"x" * 16384 + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            self.server.upstream.broken.set()
            self.close_connection = True

    def do_GET(self):
        up = self.server.upstream
        if self.path == "/deaf":
            up.held.set()
            up.go.wait(60)
            self.close_connection = True
            return
        data = self.content()
        up.seen.append(self.path)
        if self.path in ("/large", "/endless"):
            self.stream(LARGE if self.path == "/large" else 1 << 40)
            return
        if self.path == "/dies":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"x" * 50000)
            self.close_connection = True
            return
        if self.path == "/held":
            up.held.set()
            up.go.wait(60)
        said = {"path": self.path, "method": self.command, "bytes": len(data),
                "headers": [[k.lower(), v] for k, v in self.headers.items()]}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_PUT = do_HEAD = do_GET


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class Upstream:
    def __init__(self):
        self.seen, self.held, self.go, self.broken = [], threading.Event(), threading.Event(), threading.Event()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.upstream = self
        self.place = "127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.go.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def upstream():
    u = Upstream()
    yield u
    u.close()


class Edge:
    def __init__(self, upstream, *words):
        self.process = subprocess.Popen([MCP, "edge", "serve", "--listen", "127.0.0.1:0", "--upstream", upstream.place,
                                         *words], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening on 127.0.0.1:"), line
        self.port = int(line.rpartition(":")[2])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        self.process.stdout.close()


def curl(*words, status=0):
    done = subprocess.run(["curl", "-sS", "--max-time", "60", "-w", "\n%{json}", *words], capture_output=True, text=True,
                          timeout=120)
    assert status is None or done.returncode == status, done.stderr
    body, _, figures = done.stdout.rpartition("\n")
    return body, json.loads(figures)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    "key.pem", "-out", "cert.pem", "-subj", "/CN=a.example", "-addext", "subjectAltName=DNS:a.example",
                    "-days", "2"], cwd=folder, check=True, capture_output=True)
    return folder


def test_every_name_goes_to_the_upstream(upstream):
    for words in ([], ["-"]):
        with Edge(upstream, *words) as edge:
            body, figures = curl(f"http://127.0.0.1:{edge.port}/a/../b?c=d", "--data", "some", "--path-as-is")
            said = json.loads(body)
            assert (figures["http_code"], said["path"], said["bytes"]) == (200, "/b?c=d", 4)
            assert dict(said["headers"])["x-forwarded-for"] == "127.0.0.1"
            body, figures = curl("--http1.0", "-H", "Host:", f"http://127.0.0.1:{edge.port}/")
            assert figures["http_code"] == 200


def test_routes_of_a_file(upstream, tmp_path):
    (tmp_path / "routes.yaml").write_text(
        "route:\n  - {names: [a.example, b.example], path: /v1, auth: none}\n  - {names: a.example, path: /v1/own}\n")
    with Edge(upstream, str(tmp_path / "routes.yaml")) as edge:
        for name, path, status in (("a.example", "/v1/x", 200), ("b.example", "/v1", 200), ("a.example", "/v2", 404),
                                   ("a.example", "/v1/own", 401), ("c.example", "/v1", 421)):
            assert curl("-H", f"Host: {name}", f"http://127.0.0.1:{edge.port}{path}")[1]["http_code"] == status
    assert upstream.seen == ["/v1/x", "/v1"]


def test_tls(upstream, certificate):
    with Edge(upstream, "-", "--tls", str(certificate / "cert.pem"), str(certificate / "key.pem")) as edge:
        body, figures = curl("--cacert", str(certificate / "cert.pem"), "--http1.1", "--resolve",
                             f"a.example:{edge.port}:127.0.0.1", f"https://a.example:{edge.port}/x")
        assert (figures["http_code"], figures["ssl_verify_result"]) == (200, 0)
        assert dict(json.loads(body)["headers"])["x-forwarded-proto"] == "https"


def test_it_ends_when_what_is_in_flight_has_ended(upstream):
    with Edge(upstream) as edge:
        asked = subprocess.Popen(["curl", "-sS", f"http://127.0.0.1:{edge.port}/held"], stdout=subprocess.PIPE, text=True)
        assert upstream.held.wait(60)
        edge.process.send_signal(signal.SIGTERM)
        while curl(f"http://127.0.0.1:{edge.port}/x", status=None)[1]["http_code"] == 200:
            pass  # it has not heard of the signal yet
        assert edge.process.poll() is None
        upstream.go.set()
        assert json.loads(asked.communicate(timeout=60)[0])["path"] == "/held"
        assert asked.returncode == 0


@pytest.mark.parametrize("words, status, said", [
    (["--upstream", "127.0.0.1:1"], 2, "--listen"),
    (["--listen", "127.0.0.1:0", "--upstream", "somewhere"], 2, "ADDRESS:PORT"),
    (["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--tls", "x.pem"], 2, "CERT KEY"),
    (["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "/dev/null"], 1, "/dev/null:1:1"),
])
def test_what_it_does_not_take(words, status, said):
    done = subprocess.run([MCP, "edge", "serve", *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr


# -- what two parties could read differently (RFC 9112 sections 2, 3, 5, 6, 7) ------------------------------

HOST = b"Host: a.example\r\n"
AMBIGUOUS = {
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "the same length twice": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\na",
    "a length with a sign": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\na",
    "a negative length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\na",
    "an octal length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 010\r\n\r\n0123456789",
    "a hexadecimal length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x1\r\n\r\na",
    "a length over 64 bits": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 18446744073709551617\r\n\r\na",
    "an empty length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \r\n\r\n",
    "length and chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "identity": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n",
    "xchunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a vertical tab before chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare LF": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\n\r\n",
    "bare LFs": b"GET / HTTP/1.1\nHost: a.example\n\n",
    "a bare CR in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n",
    "a bare CR as line end": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rY: b\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X\0: a\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a folded line": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "a folded first line": b"GET / HTTP/1.1\r\n " + HOST + b"\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + b"Host: b.example\r\n\r\n",
    "the same host twice": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: a.example/b\r\n\r\n",
    "a host with a user": b"GET / HTTP/1.1\r\nHost: u@a.example\r\n\r\n",
    "another host in the target": b"GET http://b.example/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "no colon": b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n" + HOST + b": a\r\n\r\n",
    "two blanks": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "words behind the version": b"GET / HTTP/1.1 x\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "a fragment": b"GET /#a HTTP/1.1\r\n" + HOST + b"\r\n",
    "Connection names the length": b"POST / HTTP/1.1\r\n" + HOST + b"Connection: content-length\r\nContent-Length: 1\r\n\r\na",
}
CHUNKS = {
    "no size": b"\r\n\r\n", "not a number": b"x\r\n", "a sign": b"+1\r\na\r\n0\r\n\r\n", "0x": b"0x1\r\na\r\n0\r\n\r\n",
    "a blank behind the size": b"1 \r\na\r\n0\r\n\r\n", "bare LF": b"1\na\n0\n\n", "too long a size": b"0000000000000001\r\na\r\n",
    "a size over 64 bits": b"10000000000000001\r\na\r\n", "no end of the chunk": b"1\r\nab\r\n0\r\n\r\n",
    "bare LF behind the chunk": b"1\r\na\n0\r\n\r\n", "NUL in an extension": b"1;\0\r\na\r\n0\r\n\r\n",
    "bare CR in an extension": b"1;a\rb\r\na\r\n0\r\n\r\n", "a trailer without a colon": b"1\r\na\r\n0\r\nx\r\n\r\n",
    "a folded trailer": b"1\r\na\r\n0\r\nX: a\r\n b\r\n\r\n",
}


def exchange(port, data):
    with socket.create_connection(("127.0.0.1", port), 60) as s:
        s.sendall(data)
        got = b""
        try:
            while part := s.recv(65536):
                got += part
        except ConnectionResetError:
            pass
    return got


def test_what_can_be_read_in_two_ways(upstream):
    behind = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
    with Edge(upstream, "--threads", "1") as edge:
        for name, request in AMBIGUOUS.items():
            got = exchange(edge.port, request + behind)
            assert got.startswith(b"HTTP/1.1 400 ") and got.count(b"HTTP/1.1 ") == 1, (name, got)
            assert b"Connection: close\r\n" in got, name
    assert upstream.seen == []  # not even the first half of one


def test_chunks_that_can_be_read_in_two_ways(upstream):
    head = b"POST /chunks HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    with Edge(upstream, "--threads", "1") as edge:
        for name, chunks in CHUNKS.items():
            got = exchange(edge.port, head + chunks + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
            assert got.startswith(b"HTTP/1.1 400 ") and got.count(b"HTTP/1.1 ") == 1, (name, got)
    assert "/smuggled" not in upstream.seen

# -- HTTP/2 -----------------------------------------------------------------------------------------------

class H2:
    """A client of python3-h2 that keeps what came, by stream."""

    def __init__(self, port, settings=None, loose=False):
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=not loose,
                                           normalize_outbound_headers=not loose)
        self.c, self.settings = h2.connection.H2Connection(config), settings or {}
        self.s = socket.create_connection(("127.0.0.1", port), 60)
        self.got, self.gone, self.agreed = {}, None, set()
        self.c.initiate_connection()
        if settings:
            self.c.update_settings(settings)
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.close()

    def flush(self):
        self.s.sendall(self.c.data_to_send())

    def ask(self, path="/x", method="GET", extra=(), end=True):
        i = self.c.get_next_available_stream_id()
        self.got[i] = {"status": None, "informed": [], "body": b"", "ended": False, "reset": None}
        self.c.send_headers(i, [(":method", method), (":scheme", "http"), (":authority", "a.example"), (":path", path), *extra],
                            end_stream=end)
        self.flush()
        return i

    def event(self, e):
        one = self.got.get(getattr(e, "stream_id", None))
        if isinstance(e, h2.events.ResponseReceived):
            one["status"], one["headers"] = int(dict(e.headers)[":status"]), e.headers
        elif isinstance(e, h2.events.InformationalResponseReceived):
            one["informed"].append(int(dict(e.headers)[":status"]))
        elif isinstance(e, h2.events.DataReceived):
            one["body"] += e.data
            if self.take:
                self.c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
        elif isinstance(e, h2.events.StreamEnded):
            one["ended"] = True
        elif isinstance(e, h2.events.StreamReset) and one:
            one["reset"] = e.error_code
        elif isinstance(e, (h2.events.RemoteSettingsChanged, h2.events.SettingsAcknowledged)):
            self.agreed.add(type(e))
        elif isinstance(e, h2.events.ConnectionTerminated):
            self.gone = e.error_code

    take = True

    def until(self, what):
        while not what():
            data = self.s.recv(65536)
            if not data:
                assert what(), (self.got, self.gone)
                return
            for e in self.c.receive_data(data):
                self.event(e)
            self.flush()

    def answer(self, i):
        self.until(lambda: self.got[i]["ended"] or self.got[i]["reset"] is not None or self.gone is not None)
        return self.got[i]


def test_curl_by_http2(upstream, certificate, tmp_path):
    data = os.urandom(1 << 20)
    (tmp_path / "data").write_bytes(data)
    with Edge(upstream) as edge:
        url = f"http://127.0.0.1:{edge.port}"
        body, figures = curl("--http2-prior-knowledge", url + "/a/../b?c=d", "-H", "Cookie: x=1", "--path-as-is")
        said = json.loads(body)
        assert (figures["http_code"], figures["http_version"], said["path"]) == (200, "2", "/b?c=d")
        headers = dict(said["headers"])
        assert (headers["via"], headers["cookie"], headers["host"]) == ("2.0 mcp", "x=1", f"127.0.0.1:{edge.port}")
        for words in (["-T", str(tmp_path / "data")], ["--data-binary", f"@{tmp_path}/data"],
                      ["-T", str(tmp_path / "data"), "-H", "Expect: 100-continue"]):
            body, figures = curl("--http2-prior-knowledge", url + "/up", *words)
            assert (figures["http_version"], json.loads(body)["bytes"]) == ("2", len(data))
        with open(tmp_path / "data", "rb") as f:  # of a length that curl does not know
            done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-T", "-", url + "/up"], stdin=f,
                                  capture_output=True, timeout=60, check=True)
        assert json.loads(done.stdout)["bytes"] == len(data)
        body, figures = curl("--http2-prior-knowledge", url + "/large")
        assert (figures["http_version"], len(body)) == ("2", LARGE)
        assert curl("--http2-prior-knowledge", "-I", url + "/x")[1]["http_code"] == 200
    with Edge(upstream, "-", "--tls", str(certificate / "cert.pem"), str(certificate / "key.pem")) as edge:
        url = f"https://a.example:{edge.port}/x"
        words = ["--cacert", str(certificate / "cert.pem"), "--resolve", f"a.example:{edge.port}:127.0.0.1"]
        body, figures = curl(*words, "--http2", url)
        assert (figures["http_code"], figures["http_version"]) == (200, "2")
        assert curl(*words, "--http1.1", url)[1]["http_version"] == "1.1"


def test_nghttp_and_h2load(upstream):
    with Edge(upstream, "--threads", "2") as edge:
        out = subprocess.run(["nghttp", "-v", "-m", "8", f"http://127.0.0.1:{edge.port}/x"], capture_output=True, text=True,
                             timeout=60, check=True).stdout
        assert out.count(":status: 200") == 8
        out = subprocess.run(["h2load", "-n", "1000", "-c", "4", "-m", "8", f"http://127.0.0.1:{edge.port}/x"],
                             capture_output=True, text=True, timeout=120, check=True).stdout
        assert "1000 succeeded, 0 failed, 0 errored" in out and "status codes: 1000 2xx" in out, out


def test_streams_of_one_connection_do_not_wait_for_each_other(upstream):
    with Edge(upstream) as edge, H2(edge.port) as c:
        held = c.ask("/held")
        assert upstream.held.wait(60)
        assert c.answer(c.ask("/y"))["status"] == 200
        assert not c.got[held]["ended"]
        upstream.go.set()
        assert json.loads(c.answer(held)["body"])["path"] == "/held"


def test_a_client_that_resets_cancels_its_request(upstream):
    with Edge(upstream) as edge, H2(edge.port) as c:
        i = c.ask("/endless")
        c.until(lambda: len(c.got[i]["body"]) > 100000)
        c.c.reset_stream(i, 8)
        c.flush()
        assert upstream.broken.wait(60)  # the edge hung up on it
        assert c.answer(c.ask("/y"))["status"] == 200


def test_an_answer_that_breaks_off_is_reset(upstream):
    with Edge(upstream) as edge, H2(edge.port) as c:
        got = c.answer(c.ask("/dies"))
        assert got["reset"] == 2 or got["status"] == 502
        assert c.answer(c.ask("/y"))["status"] == 200


def test_an_answer_waits_for_the_windows(upstream):
    with Edge(upstream) as edge, H2(edge.port) as c:
        c.take = False
        i = c.ask("/endless")
        c.until(lambda: len(c.got[i]["body"]) == 65535)
        c.take = True
        other = c.ask("/y")  # its head may come, its content may not: the connection's window is used up
        c.until(lambda: c.got[other]["status"] == 200)
        assert (len(c.got[i]["body"]), c.got[other]["body"]) == (65535, b"")
        c.c.acknowledge_received_data(65535, i)
        c.flush()
        c.until(lambda: len(c.got[i]["body"]) > 65535 and c.got[other]["ended"])


def test_content_waits_for_the_upstream(upstream):
    with Edge(upstream) as edge, H2(edge.port) as c:
        i = c.ask("/deaf", "POST", end=False)
        assert upstream.held.wait(60)
        sent = 0
        c.s.settimeout(2)
        try:
            while sent < 64 << 20:
                room = min(c.c.local_flow_control_window(i), c.c.max_outbound_frame_size)
                if room:
                    c.c.send_data(i, b"x" * room)
                    c.flush()
                    sent += room
                else:
                    before = c.c.local_flow_control_window(i)
                    c.until(lambda: c.c.local_flow_control_window(i) > before)
        except TimeoutError:
            pass  # no more window for two seconds
        assert sent < 32 << 20  # what the kernel's buffers and ours hold
        c.s.settimeout(60)
        upstream.go.set()
        assert c.answer(c.ask("/y"))["status"] == 200


def test_what_is_malformed_reaches_nobody(upstream):
    with Edge(upstream) as edge, H2(edge.port, loose=True) as c:
        for extra in ([("connection", "close")], [("transfer-encoding", "chunked")], [("te", "gzip")], [("Upper", "x")],
                      [("host", "other.example")], [("content-length", "5")], [(":path", "/again")]):
            assert c.answer(c.ask("/malformed", extra=extra))["reset"] == 1
        i = c.ask("/malformed", "POST", [("content-length", "5")], end=False)
        c.c.streams[i]._expected_content_length = None
        c.c.send_data(i, b"four", end_stream=True)
        c.flush()
        assert c.answer(i)["reset"] == 1
        assert c.answer(c.ask("/good"))["status"] == 200
        assert c.answer(c.ask("/x" * 5000))["status"] == 414
        assert c.answer(c.ask("/", "BREW"))["status"] == 501
    assert upstream.seen == ["/good"]


def test_floods_end_the_connection(upstream):
    def resets(c):
        c.c.reset_stream(c.ask("/held"), 8)

    def pings(c):
        c.c.ping(b"12345678")

    def settings(c):
        c.c.update_settings({})
    with Edge(upstream) as edge:
        for flood in (resets, pings, settings):
            with H2(edge.port) as c:
                try:
                    for _ in range(3000):
                        flood(c)
                    c.flush()
                    c.until(lambda: c.gone is not None)
                    assert c.gone == 11
                except (ConnectionError, h2.exceptions.ProtocolError):
                    pass  # it was closed while we were still sending
        with H2(edge.port) as c:
            assert c.answer(c.ask("/y"))["status"] == 200
    assert upstream.seen.count("/held") <= 300


def test_drain_says_goodbye(upstream):
    with Edge(upstream) as edge, H2(edge.port) as idle:
        asked = subprocess.Popen(["curl", "-sS", "--http2-prior-knowledge", f"http://127.0.0.1:{edge.port}/held"],
                                 stdout=subprocess.PIPE, text=True)
        assert upstream.held.wait(60)
        idle.until(lambda: len(idle.agreed) == 2)  # nothing is left to be said to a connection that is closed
        edge.process.send_signal(signal.SIGTERM)
        idle.until(lambda: idle.gone == 0)
        assert edge.process.poll() is None
        upstream.go.set()
        assert json.loads(asked.communicate(timeout=60)[0])["path"] == "/held"
        assert (asked.returncode, edge.process.wait(60)) == (0, 0)
