#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "testkit"))
import modtest

# The HTTP helper that all C modules share, tried through the smallest of them.
ARGV = modtest.c_module("wms")
HOST = b"Host: x\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /v1/reservations HTTP/1.1\r\n" + HOST
BODY = b'{"sku":"NO","quantity":1}'  # well formed, so 404 proves that it was read whole
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = POST + b"Content-Length: %d\r\n\r\n" % len(BODY)


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


REFUSED = {
    "bare LF": (400, b"GET /healthz HTTP/1.1\nHost: x\n\n\r\n\r\n"),
    "no host": (400, b"GET /healthz HTTP/1.1\r\n\r\n"),
    "two hosts": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n"),
    "absolute form": (400, b"GET http://x/healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "two spaces": (400, b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "lower protocol": (400, b"GET /healthz http/1.1\r\n" + HOST + b"\r\n"),
    "HTTP/2.0": (505, b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n"),
    "space before colon": (400, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
    "folded header": (400, b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n"),
    "NUL in value": (400, b"GET / HTTP/1.1\r\nHost: x\0\r\n\r\n"),
    "NUL in target": (400, b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "length and chunked": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "two lengths": (400, POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    "signed length": (400, POST + b"Content-Length: +5\r\n\r\n"),
    "listed length": (400, POST + b"Content-Length: 5, 5\r\n\r\n"),
    "huge length": (413, POST + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "other coding": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "chunked in 1.0": (400, CHUNKED.replace(b"1.1", b"1.0")),
    "chunk extension": (400, CHUNKED + b"1;a=b\r\nx\r\n0\r\n\r\n"),
    "chunk too big": (413, CHUNKED + b"ffff\r\n"),
    "chunk overrun": (400, CHUNKED + b"1\r\nxy\r\n0\r\n\r\n"),
    "many chunks": (413, CHUNKED + chunk(b"x" * 4000) * 3 + b"0\r\n\r\n"),
    "tiny chunks": (413, CHUNKED + chunk(b"x") * 4000),
    "trailer": (400, CHUNKED + b"0\r\nA: b\r\n\r\n"),
    "expect": (417, POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"),
    "long head": (431, b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"x" * 9000 + b"\r\n\r\n"),
}
TAKEN = {
    "length": (404, LENGTH + BODY),
    "one chunk": (404, CHUNKED + chunk(BODY) + b"0\r\n\r\n"),
    "three chunks": (404, CHUNKED + chunk(BODY[:1]) + chunk(BODY[1:9]) + chunk(BODY[9:])
                     + b"0\r\n\r\n"),
    "1.0 without host": (200, b"GET /healthz HTTP/1.0\r\n\r\n"),
    "query": (200, b"GET /healthz?a=b HTTP/1.1\r\n" + HOST + b"\r\n"),
}


def statuses(answer):
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def check_rows(rows):
    with modtest.Module(ARGV) as m:
        for name, (want, data) in rows.items():
            got = statuses(m.raw(data))
            assert got == [want], (name, got)


def byte_by_byte():
    with modtest.Module(ARGV) as m, m.connect() as s:
        for data in (GET, TAKEN["three chunks"][1]):
            for i in range(len(data)):
                s.sendall(data[i:i + 1])
        s.shutdown(modtest.socket.SHUT_WR)
        answer = b"".join(iter(lambda: s.recv(65536), b""))
        assert statuses(answer) == [200, 404], answer


def pipelined():
    with modtest.Module(ARGV) as m:
        assert statuses(m.raw(GET * 50)) == [200] * 50
        assert statuses(m.raw(GET + LENGTH + BODY + CHUNKED + chunk(BODY) + b"0\r\n\r\n" + GET)) \
            == [200, 404, 404, 200]


def head_has_no_body():
    with modtest.Module(ARGV) as m:
        answer = m.raw(GET.replace(b"GET", b"HEAD"))
        assert answer.endswith(b"\r\n\r\n") and b"Content-Length: 3\r\n" in answer, answer


def close_asked_for():
    with modtest.Module(ARGV) as m, m.connect() as s:
        s.sendall(GET.replace(HOST, HOST + b"Connection: foo, Close\r\n"))
        answer = b"".join(iter(lambda: s.recv(65536), b""))
        assert b"Connection: close\r\n" in answer, answer


def more_clients_than_places():
    with modtest.Module(ARGV) as m:
        held = []
        for _ in range(300):
            s = m.connect()
            s.sendall(GET)
            assert s.recv(1000).startswith(b"HTTP/1.1 200"), "a late client goes unanswered"
            held.append(s)
        assert held[0].recv(1) == b"", "the longest idle gave way"
        for s in held:
            s.close()


def drain_finishes_request():
    with modtest.Module(ARGV) as m, m.connect() as s:
        s.sendall(GET)
        assert s.recv(1000)
        s.sendall(GET[:10])
        # A whole request behind it tells that the half one is in the module's hands.
        with m.connect() as other:
            other.sendall(GET)
            other.recv(1000)
        m.process.terminate()
        m.wait_line(r"draining connections=1")
        s.sendall(GET[10:])
        answer = s.recv(1000)
        assert answer.startswith(b"HTTP/1.1 200") and b"Connection: close" in answer, answer
        assert m.exit_code() == 0


def bad_port():
    for port in ("-1", "65536", "x", "1x"):
        done = modtest.subprocess.run(ARGV, env={"PORT": port}, capture_output=True, timeout=10)
        assert done.returncode == 1 and b"PORT is not" in done.stdout, (port, done)


modtest.run({
    "http refused": lambda: check_rows(REFUSED),
    "http taken": lambda: check_rows(TAKEN),
    "http byte by byte": byte_by_byte,
    "http pipelined": pipelined,
    "http HEAD": head_has_no_body,
    "http close": close_asked_for,
    "http more clients than places": more_clients_than_places,
    "http drain finishes request": drain_finishes_request,
    "http bad port": bad_port,
})
