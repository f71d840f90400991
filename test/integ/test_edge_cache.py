# SPDX-License-Identifier: Apache-2.0
"""`mcp edge serve --cache`: what is kept, asked by curl over HTTP/1.1 and HTTP/2, in front of an upstream that counts."""
import http.server
import os
import re
import socket
import subprocess
import threading

import pytest

from test_edge_serve import MCP, Edge, Server, curl

BOTH = pytest.mark.parametrize("how", ["--http1.1", "--http2-prior-knowledge"])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        up = self.server.upstream
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with up.lock:
            up.seen.append((self.command, self.path, self.headers))
            n = len([1 for _, path, _ in up.seen if path == self.path])
        up.answers[self.path.split("?")[0]](self, n)

    do_GET = do_HEAD = do_POST = do_DELETE = answer

    def say(self, status=200, body=b"", length=None, **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(body)
            self.wfile.flush()


class Upstream:
    def __init__(self):
        self.seen, self.lock, self.held, self.go = [], threading.Lock(), threading.Event(), threading.Event()
        self.answers = {}
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.upstream = self
        self.place = "127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def count(self, path):
        with self.lock:
            return len([1 for _, p, _ in self.seen if p == path])

    def last(self, path):
        with self.lock:
            return [h for _, p, h in self.seen if p == path][-1]

    def hold(self):
        self.held.set()
        assert self.go.wait(60)

    def close(self):
        self.go.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def up():
    u = Upstream()
    yield u
    u.close()


class Answer:
    def __init__(self, edge, path, *words, status=0):
        done = subprocess.run(["curl", "-sS", "-i", "--max-time", "60", f"http://127.0.0.1:{edge.port}{path}", *words],
                              capture_output=True, timeout=120)
        assert status is None or done.returncode == status, done.stderr
        head, _, self.body = done.stdout.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            self.fields.setdefault(name.lower(), []).append(value)
        self.said = self.fields.get("cache-status", [""])[-1]

    def __getitem__(self, name):
        return self.fields[name][-1]


def cached(up, *words):
    return Edge(up, "-", "--cache", *words)


@BOTH
def test_a_hit(up, how):
    up.answers["/a"] = lambda h, n: h.say(body=b"one %d" % n, Cache_Control="max-age=3600", ETag='"1"', X_Own="x",
                                          Cache_Status="origin; hit")
    with cached(up) as edge:
        first, second = Answer(edge, "/a", how), Answer(edge, "/a", how)
        assert (first.status, first.body, first.said) == (200, b"one 1", "mcp; fwd=uri-miss; stored")
        assert "age" not in first.fields
        assert (second.status, second.body, second["x-own"], second["content-length"]) == (200, b"one 1", "x", "5")
        assert second.said.startswith("mcp; hit; ttl=3") and int(second["age"]) < 3600
        assert second.fields["cache-status"][0] == "origin; hit"
        assert len(second.fields["date"]) == len(second.fields["x-request-id"]) == 1
        assert Answer(edge, "/a?b", how).body == b"one 1" and up.count("/a?b") == 1  # another key
        assert Answer(edge, "/a", how, "-H", "Host: other.example").body == b"one 2"
    assert up.count("/a") == 2


def test_both_protocols_share_what_is_kept(up):
    data = os.urandom(300000)

    def chunked(h, n):
        h.send_response(200)
        h.send_header("Cache-Control", "max-age=3600")
        h.send_header("Transfer-Encoding", "chunked")
        h.end_headers()
        for i in range(0, len(data), 10000):
            h.wfile.write(b"2710\r\n" + data[i:i + 10000] + b"\r\n")
        h.wfile.write(b"0\r\n\r\n")
    up.answers["/a"] = chunked
    with cached(up) as edge:
        for how in ("--http1.1", "--http2-prior-knowledge", "--http1.1"):
            assert Answer(edge, "/a", how).body == data
        assert Answer(edge, "/a", "--http1.0").body == data
        assert Answer(edge, "/a")["content-length"] == "300000"
    assert up.count("/a") == 1


@BOTH
def test_what_is_asked_of_what_is_kept(up, how):
    body = bytes(range(100))
    up.answers["/a"] = lambda h, n: h.say(body=body, Cache_Control="max-age=3600", ETag='"1"', Content_Type="image/x",
                                          Last_Modified="Tue, 01 Jan 2019 00:00:00 GMT")
    with cached(up) as edge:
        def ask(*words):
            return Answer(edge, "/a", how, *words)
        assert ask().body == body
        for words in (("-H", 'If-None-Match: "0", W/"1"'), ("-H", "If-Modified-Since: Tue, 01 Jan 2019 00:00:00 GMT")):
            got = ask(*words)
            assert (got.status, got.body, got["etag"]) == (304, b"", '"1"')
            assert not {"content-length", "content-type"} & set(got.fields)
        assert ask("-H", 'If-None-Match: "2"').status == 200
        got = ask("-I")
        assert (got.status, got.body, got["content-length"], got["content-type"]) == (200, b"", "100", "image/x")
        got = ask("-H", "Range: bytes=10-19")
        assert (got.status, got.body, got["content-range"], got["content-length"]) == (206, body[10:20], "bytes 10-19/100", "10")
        assert ask("-H", "Range: bytes=-5").body == body[-5:]
        got = ask("-H", "Range: bytes=100-")
        assert (got.status, got["content-range"], got["content-length"]) == (416, "bytes */100", "0")
        assert ask("-H", "Range: bytes=0-1", "-H", 'If-Range: "2"').body == body
        got = ask("-H", "Range: bytes=0-1,50-59,-1")
        boundary = re.fullmatch("multipart/byteranges; boundary=(.*)", got["content-type"])[1].encode()
        assert (got.status, int(got["content-length"])) == (206, len(got.body))
        parts = got.body.split(b"--" + boundary)
        assert [p.partition(b"\r\n\r\n")[2] for p in parts[1:-1]] == [body[0:2] + b"\r\n", body[50:60] + b"\r\n", b"c\r\n"]
        assert b"Content-Range: bytes 50-59/100" in parts[2] and b"Content-Type: image/x" in parts[2] and parts[-1] == b"--\r\n"
        assert ask("-H", "Cache-Control: only-if-cached").body == body
        assert Answer(edge, "/b", how, "-H", "Cache-Control: only-if-cached").status == 504
    assert up.count("/a") == 1 and up.count("/b") == 0


@BOTH
def test_validation(up, how):
    def answer(h, n):
        if h.headers.get("If-None-Match") == '"1"' and n < 4:
            h.say(304, ETag='"1"', Cache_Control="no-cache", X_New=str(n))
        else:
            h.say(body=b"body %d" % n, Cache_Control="no-cache", ETag='"1"' if n < 4 else '"2"', X_New="0", X_Old="old")
    up.answers["/a"] = answer
    with cached(up) as edge:
        assert Answer(edge, "/a", how).body == b"body 1"
        got = Answer(edge, "/a", how)
        assert (got.status, got.body, got["x-new"], got["x-old"]) == (200, b"body 1", "2", "old")
        assert got.said.startswith("mcp; fwd=stale; fwd-status=304") and "; stored" in got.said
        got = Answer(edge, "/a", how, "-H", 'If-None-Match: "1"', "-H", "Range: bytes=0-1")
        assert (got.status, got["x-new"], up.last("/a").get("Range")) == (304, "3", None)
        assert Answer(edge, "/a", how).body == b"body 4"
        assert up.last("/a")["If-None-Match"] == '"1"'
    assert up.count("/a") == 4


def test_what_is_not_kept(up):
    fields = {"no-store": {"Cache_Control": "no-store"}, "private": {"Cache_Control": "private, max-age=60"},
              "nothing": {}, "cookie": {"Set_Cookie": "a=b", "Last_Modified": "Tue, 01 Jan 2019 00:00:00 GMT"},
              "vary": {"Cache_Control": "max-age=60", "Vary": "*"}}
    for name, f in fields.items():
        up.answers["/" + name] = lambda h, n, f=f: h.say(body=b"%d" % n, **f)
    up.answers["/kept"] = lambda h, n: h.say(body=b"%d" % n, Cache_Control="max-age=60")
    up.answers["/public"] = lambda h, n: h.say(body=b"%d" % n, Cache_Control="public, max-age=60")

    def until_close(h, n):
        h.send_response(200)
        h.send_header("Cache-Control", "max-age=60")
        h.send_header("Connection", "close")
        h.end_headers()
        h.wfile.write(b"%d" % n)
        h.close_connection = True
    up.answers["/close"] = until_close
    with cached(up) as edge:
        for name in (*fields, "close"):
            assert [Answer(edge, "/" + name).body for _ in range(3)] == [b"1", b"2", b"3"], name
        auth = ("-H", "Authorization: Bearer x")
        assert [Answer(edge, "/kept", *auth).body for _ in range(2)] == [b"1", b"2"]
        assert [Answer(edge, "/public", *auth).body for _ in range(2)] == [b"1", b"1"]
        assert Answer(edge, "/kept").body == Answer(edge, "/kept").body == b"3"
        assert Answer(edge, "/kept", "-H", "Cache-Control: no-cache").body == b"4"


def test_variants(up):
    up.answers["/a"] = lambda h, n: h.say(body=h.headers.get("Accept-Language", "-").encode(), Cache_Control="max-age=60",
                                          Vary="Accept-Language")
    with cached(up) as edge:
        for _ in range(3):
            for language in ("ko", "en"):
                assert Answer(edge, "/a", "-H", f"Accept-Language: {language}").body == language.encode()
        assert "fwd=vary-miss" in Answer(edge, "/a", "-H", "Accept-Language: de").said
    assert up.count("/a") == 3


@BOTH
def test_unsafe_methods_invalidate(up, how):
    def answer(h, n):
        if h.command == "GET":
            h.say(body=b"%d" % n, Cache_Control="max-age=60")
        else:
            h.say(int(h.headers["X-Status"]), Location="/b")
    up.answers["/a"] = up.answers["/b"] = answer
    with cached(up) as edge:
        assert [Answer(edge, p, how).body for p in ("/a", "/b", "/a", "/b")] == [b"1"] * 4
        assert Answer(edge, "/a", how, "-d", "x", "-H", "X-Status: 500").status == 500
        assert [Answer(edge, p, how).body for p in ("/a", "/b")] == [b"1"] * 2
        assert Answer(edge, "/a", how, "-d", "x", "-H", "X-Status: 201").said == "mcp; fwd=method"
        assert [Answer(edge, p, how).body for p in ("/a", "/b")] == [b"4", b"2"]


@BOTH
def test_one_fetch_for_many(up, how):
    def answer(h, n):
        up.hold()
        h.say(body=b"x" * 100000, Cache_Control="max-age=60")
    up.answers["/a"] = answer
    with cached(up, "--threads", "2") as edge:
        url = f"http://127.0.0.1:{edge.port}/a"
        asked = [subprocess.Popen(["curl", "-sS", how, url], stdout=subprocess.PIPE) for _ in range(20)]
        assert up.held.wait(60)
        up.go.set()
        assert [a.communicate(timeout=60)[0] for a in asked] == [b"x" * 100000] * 20
    assert up.count("/a") == 1


def test_many_that_may_not_share_are_all_answered(up):
    def answer(h, n):
        if n == 1:
            up.hold()
        h.say(body=b"%d" % n, Cache_Control="no-store")
    up.answers["/a"] = answer
    with cached(up) as edge:
        url = f"http://127.0.0.1:{edge.port}/a"
        asked = [subprocess.Popen(["curl", "-sS", url], stdout=subprocess.PIPE) for _ in range(10)]
        assert up.held.wait(60)
        up.go.set()
        assert sorted(int(a.communicate(timeout=60)[0]) for a in asked) == list(range(1, 11))


def test_who_waits_may_leave(up):
    def answer(h, n):
        up.hold()
        h.say(body=b"whole", Cache_Control="max-age=60")
    up.answers["/a"] = answer
    with cached(up) as edge:
        url = f"http://127.0.0.1:{edge.port}/a"
        first = subprocess.Popen(["curl", "-sS", url], stdout=subprocess.PIPE)
        assert up.held.wait(60)
        for how in ("--http1.1", "--http2-prior-knowledge"):  # curl's own deadline: it hangs up, the edge may not notice
            assert curl(how, url, "--max-time", "1", status=28)
        up.go.set()
        assert first.communicate(timeout=60)[0] == b"whole"
        assert Answer(edge, "/a").said.startswith("mcp; hit")
    assert up.count("/a") == 1


def test_who_fetches_may_leave(up):
    def answer(h, n):
        if n == 1:
            up.hold()
        h.say(body=b"%d" % n, Cache_Control="max-age=60")
    up.answers["/a"] = answer
    with cached(up, "--threads", "2") as edge:
        words = ["curl", "-sS", "--http2-prior-knowledge", f"http://127.0.0.1:{edge.port}/a"]
        first = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert up.held.wait(60)
        others = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(5)]
        first.kill()
        first.communicate()
        assert [o.communicate(timeout=60)[0] for o in others] == [b"2"] * 5  # one of them fetches for all
    assert up.count("/a") == 2


@BOTH
def test_an_answer_that_is_cut_off_is_not_kept(up, how):
    def answer(h, n):
        if n > 2:
            h.say(body=b"x" * 100000, Cache_Control="max-age=60")
            return
        if n == 1:
            h.say(body=b"x" * 50000, length=100000, Cache_Control="max-age=60")
        else:
            h.send_response(200)
            h.send_header("Cache-Control", "max-age=60")
            h.send_header("Transfer-Encoding", "chunked")
            h.end_headers()
            h.wfile.write(b"4000\r\n" + b"x" * 16384 + b"\r\n")
        h.close_connection = True
    up.answers["/a"] = answer
    with cached(up) as edge:
        for n in (1, 2):
            got = subprocess.run(["curl", "-sS", how, f"http://127.0.0.1:{edge.port}/a"], capture_output=True, timeout=60)
            assert got.returncode or b"broke off" in got.stdout or b"closed the connection" in got.stdout
            assert up.count("/a") == n
        assert Answer(edge, "/a", how).body == Answer(edge, "/a", how).body == b"x" * 100000
    assert up.count("/a") == 3


@BOTH
def test_a_client_that_leaves_does_not_end_the_fetch(up, how):
    def answer(h, n):
        h.send_response(200)
        h.send_header("Cache-Control", "max-age=60")
        h.send_header("Content-Length", "200000")
        h.end_headers()
        h.wfile.write(b"x" * 100000)
        h.wfile.flush()
        up.hold()
        h.wfile.write(b"y" * 100000)
    up.answers["/a"] = answer
    with cached(up) as edge:
        url = f"http://127.0.0.1:{edge.port}/a"
        first = subprocess.Popen(["curl", "-sS", "-N", how, url], stdout=subprocess.PIPE, bufsize=0)
        assert up.held.wait(60) and first.stdout.read(1000) == b"x" * 1000
        second = subprocess.Popen(["curl", "-sS", "-N", how, url], stdout=subprocess.PIPE, bufsize=0)
        assert second.stdout.read(1000) == b"x" * 1000  # it reads what the first one fetches
        first.kill()
        first.communicate()
        up.go.set()
        assert second.communicate(timeout=60)[0] == b"x" * 99000 + b"y" * 100000 and second.returncode == 0
        assert Answer(edge, "/a", how).body == b"x" * 100000 + b"y" * 100000
    assert up.count("/a") == 1


def test_stale_while_it_is_validated(up):
    up.answers["/a"] = lambda h, n: h.say(body=b"%d" % n, Age="10" if n == 1 else "0",
                                          Cache_Control="max-age=9, stale-while-revalidate=3600" if n == 1 else "max-age=3600")
    with cached(up) as edge:
        assert Answer(edge, "/a", "-H", "Cookie: c=d").body == b"1"
        got = Answer(edge, "/a", "-H", "Cookie: c=d", "-H", "Via: 1.1 other")
        assert (got.body, got.said.startswith("mcp; hit; ttl=-")) == (b"1", True)
        while (got := Answer(edge, "/a")).body == b"1":
            pass  # the other fetch is on its way
        assert got.body == b"2" and got.said.startswith("mcp; hit; ttl=3")
        asked = up.last("/a")
        assert (asked["Cookie"], asked.get_all("Via"), asked.get_all("X-Forwarded-For")) == (
            "c=d", ["1.1 other", "1.1 mcp"], ["127.0.0.1"])
    assert up.count("/a") == 2


@BOTH
def test_stale_if_there_is_an_error(up, how):
    def answer(h, n):
        if n == 1:
            h.say(body=b"good", Age="10", ETag='"1"', Cache_Control="max-age=9, stale-if-error=3600")
        elif n == 2:
            h.say(503, b"bad")
        else:
            h.close_connection = True
    up.answers["/a"] = answer
    with cached(up) as edge:
        assert Answer(edge, "/a", how).body == b"good"
        got = Answer(edge, "/a", how)
        assert (got.status, got.body) == (200, b"good") and "fwd=stale; fwd-status=503; ttl=-" in got.said
        for _ in range(2):
            got = Answer(edge, "/a", how)
            assert (got.status, got.body) == (200, b"good") and "fwd=stale" in got.said
    assert up.count("/a") >= 4


def test_memory_is_bounded(up):
    for i in range(40):
        up.answers[f"/{i}"] = lambda h, n, i=i: h.say(body=b"%02d" % i * 25000, Cache_Control="max-age=3600")
    up.answers["/large"] = lambda h, n: h.say(body=b"x" * 200000, Cache_Control="max-age=3600")
    with cached(up, "--cache-size", "1") as edge:
        for _ in range(2):
            for i in range(40):
                assert Answer(edge, f"/{i}").body == b"%02d" % i * 25000
            assert len(Answer(edge, "/large").body) == 200000
    assert up.count("/large") == 2  # more than an eighth of it all
    assert sum(up.count(f"/{i}") for i in range(40)) >= 60  # 1 MiB holds some twenty of them


@BOTH
def test_what_is_being_sent_outlives_its_replacement(up, how):
    size = 8 << 20
    up.answers["/a"] = lambda h, n: h.say(body=b"%d" % n * size, Cache_Control="max-age=3600") if h.command == "GET" else h.say()
    with cached(up, "--cache-size", "128") as edge:
        url = f"http://127.0.0.1:{edge.port}/a"
        assert Answer(edge, "/a", how).body == b"1" * size
        slow = subprocess.Popen(["curl", "-sS", "-N", how, url], stdout=subprocess.PIPE, bufsize=0)
        assert slow.stdout.read(1000)  # from here on the pipe is full, and all behind it waits
        assert Answer(edge, "/a", how, "-d", "x").status == 200
        assert Answer(edge, "/a", how).body == b"3" * size
        left = slow.communicate(timeout=60)[0]
        assert slow.returncode == 0 and set(left) == {ord("1")} and len(left) >= size - 1000


def test_a_connection_goes_on_after_a_hit(up):
    up.answers["/a"] = lambda h, n: h.say(body=b"four", Cache_Control="max-age=3600")
    up.answers["/none"] = lambda h, n: h.say(204, Cache_Control="max-age=3600")
    up.answers["/empty"] = lambda h, n: h.say(Cache_Control="max-age=3600")
    with cached(up) as edge, socket.create_connection(("127.0.0.1", edge.port), 60) as s:
        paths = ["/a", "/none", "/empty"] * 3
        s.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % p.encode() for p in paths[:-1]))
        s.sendall(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\nGET /empty HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = b""
        while part := s.recv(65536):
            got += part
    assert re.findall(rb"HTTP/1.1 (\d+) ", got) == [b"200", b"204", b"200"] * 2 + [b"200", b"204", b"200", b"200"]
    assert got.count(b"four") == 3
    assert all(up.count(p) == 1 for p in ("/a", "/none", "/empty"))


@pytest.mark.parametrize("words, said", [(["--cache-size", "1"], "--cache-size is of --cache"),
                                         (["--cache", "--cache-size", "0"], "--cache-size: 1 to")])
def test_what_it_does_not_take(words, said):
    done = subprocess.run([MCP, "edge", "serve", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", *words],
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
