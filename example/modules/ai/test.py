#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "testkit"))
import modtest

AI = ["/usr/bin/python3", "-B", os.path.join(HERE, "main.py")]
POST = b"POST /v1/hs-code HTTP/1.1\r\nHost: x\r\n"


def proposes():
    rows = [("6년근 홍삼 1,200상자", "1211.20"), ("Roasted laver snacks", "2008.99"),
            ("2-layer printed circuit boards", "8534.00"), ("리튬 배터리 셀", "8507.60")]
    with modtest.Module(AI) as m:
        for text, want in rows:
            status, got = m.ask("POST", "/v1/hs-code", {"text": text})
            assert status == 200 and got["codes"][0]["code"] == want, (text, got)
            quoted = modtest.quote(text)
            assert m.ask("GET", f"/v1/hs-code?text={quoted}") == (200, got)
        assert m.ask("POST", "/v1/hs-code", {"text": "zzz"})[1]["codes"] == []


def refused():
    rows = [(400, "{"), (400, "[" * 8000), (422, "[]"), (422, {}), (422, {"text": 1}),
            (422, {"text": " "}), (422, {"text": "x" * 501}), (413, "x" * 8193)]
    with modtest.Module(AI) as m:
        for want, body in rows:
            assert m.ask("POST", "/v1/hs-code", body)[0] == want, (want, body[:9])
        for want, head in ((b"411", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                           (b"400", b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
                           (b"400", b"Content-Length: +1\r\n\r\nx")):
            answer = m.raw(POST + head)
            assert answer.startswith(b"HTTP/1.1 " + want), (head, answer)


def more_clients_than_threads():
    with modtest.Module(AI) as m:
        held = []
        for _ in range(40):
            s = m.connect()
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert s.recv(1000).startswith(b"HTTP/1.1 200"), "a late client goes unanswered"
            held.append(s)
        for s in held:
            s.close()


def stop_when_full():
    with modtest.Module(AI) as m:
        held = [m.connect() for _ in range(40)]  # none of them asks anything
        code, took = m.end()
        assert code == 0 and took < 3, (code, took)
        for s in held:
            s.close()


def bad_port():
    for port in ("-1", "65536", "x", "²"):
        done = modtest.subprocess.run(AI, env={"PORT": port}, capture_output=True, timeout=10)
        assert done.returncode == 1 and b"PORT is not" in done.stdout, (port, done)


modtest.run({
    "ai common": lambda: modtest.check_common(AI),
    "ai stop": lambda: modtest.check_stop(AI),
    "ai proposes": proposes,
    "ai refused": refused,
    "ai more clients than threads": more_clients_than_threads,
    "ai stop when full": stop_when_full,
    "ai bad port": bad_port,
})
