#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "testkit"))
import modtest

API = modtest.c_module("api")
FAULTS = {"MODULE_FAULTS": "1"}
ORDER = {"customer": "부산식품", "item": "조미김 \"100\"", "quantity": 12}


def orders():
    with modtest.Module(API) as m:
        assert m.ask("GET", "/v1/orders") == (200, {"total": 0, "orders": []})
        status, made = m.ask("POST", "/v1/orders", ORDER)
        assert status == 201 and made["id"] == "tested-1-1", made
        assert {k: made[k] for k in ORDER} == ORDER, made
        assert m.ask("GET", "/v1/orders/1") == (200, made)
        assert m.ask("GET", "/v1/orders/2")[0] == 404
        assert m.ask("GET", "/v1/orders") == (200, {"total": 1, "orders": [made]})


def pages_and_bound():
    with modtest.Module(API) as m:
        client = m.client()
        for n in range(1, 1006):
            order = {"customer": "\x01" * 80, "item": "\x01" * 120, "quantity": n}
            client.request("POST", "/v1/orders", modtest.json.dumps(order))
            assert client.getresponse().read()
        client.close()
        page = m.ask("GET", "/v1/orders?limit=40")[1]
        assert [o["number"] for o in page["orders"]] == list(range(1005, 965, -1))
        page = m.ask("GET", "/v1/orders?limit=40&before=8")[1]
        assert [o["number"] for o in page["orders"]] == [7, 6], "the oldest are forgotten"
        for bad in ("limit=41", "limit=0", "limit=x", "before=-1", "before="):
            assert m.ask("GET", "/v1/orders?" + bad)[0] == 400, bad


def bad_orders():
    rows = [
        (400, ""), (400, "[]"), (400, "{"), (400, '{"a":1}x'), (400, '{"a":1,"a":2}'),
        (400, '{"a":{}}'), (400, '{"a":1.5}'), (400, '{"a":01}'), (400, b'{"a":"\xff"}'),
        (400, b'{"a":"\xed\xa0\x80"}'), (400, '{"a":"\\ud800"}'), (400, '{"a":"\\u0000"}'),
        (400, '{"a":"\n"}'), (400, '{"a":"%s"}' % ("x" * 161)), (422, "{}"),
        (422, {**ORDER, "quantity": 0}), (422, {**ORDER, "quantity": "1"}),
        (422, {**ORDER, "customer": ""}), (422, {**ORDER, "customer": "x" * 81}),
    ]
    with modtest.Module(API) as m:
        for want, body in rows:
            got = m.ask("POST", "/v1/orders", body)
            assert got[0] == want, (body, got)
        assert m.ask("POST", "/v1/orders", '{"customer":"\\ud83d\\ude00","item":"i","quantity":1}'
                     )[1]["customer"] == "😀"


def faults():
    rows = [("/fault/crash", None), ("/fault/exit?code=7", 7), ("/fault/exit", 1)]
    for path, want in rows:
        with modtest.Module(API, **FAULTS) as m:
            assert m.raw(f"POST {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == b""
            code = m.exit_code()
            assert code == want or (want is None and code != 0), (path, code)
    with modtest.Module(API, **FAULTS) as m:
        assert m.ask("POST", "/fault/exit?code=256")[0] == 400
        assert m.ask("POST", "/fault/log?lines=1000") == (200, {"lines": 1000})
        m.wait_line(r"line n=1000 of=1000")


def fault_hang():
    with modtest.Module(API, **FAULTS) as m:
        with m.connect() as hung, m.connect() as other:
            hung.sendall(b"POST /fault/hang HTTP/1.1\r\nHost: x\r\n\r\n")
            other.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            # Whichever came first, an end by SIGTERM must not come: the process is deaf.
            other.settimeout(0.3)
            try:
                other.recv(1000)
                other.recv(1000)
                raise AssertionError("it answered on")
            except TimeoutError:
                pass
        m.process.terminate()
        try:
            m.process.wait(0.3)
            raise AssertionError("it heard SIGTERM")
        except modtest.subprocess.TimeoutExpired:
            pass


def fault_oom():
    # A limit on address space stands in for the cgroup's: the module must run into it and die.
    argv = ["/bin/sh", "-c", f"ulimit -v 65536; exec {API[0]}"]
    with modtest.Module(argv, **FAULTS) as m:
        assert m.raw(b"POST /fault/oom HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        assert m.exit_code() != 0


CASES = {
    "api common": lambda: modtest.check_common(API),
    "api stop": lambda: modtest.check_stop(API),
    "api orders": orders,
    "api pages and bound": pages_and_bound,
    "api bad orders": bad_orders,
    "api faults": faults,
    "api fault hang": fault_hang,
}
if not os.environ.get("SAN"):  # the sanitizer reserves more address space than any limit
    CASES["api fault oom"] = fault_oom
modtest.run(CASES)
