#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
import json
import os
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "testkit"))
import modtest
from database import Database, Endpoint, wait_until

API = modtest.c_module("api")
FAULTS = {"MODULE_FAULTS": "1"}
ORDER = {"customer": "부산식품", "country": "KR", "item": "조미김 \"100\"", "quantity": 12,
         "amount_cents": 1234500}
ACCOUNT = {"user": "api", "password": "first", "database": "trade"}
DEADLINE_MS = 1500


class World:
    """Database, its two endpoints, the module."""

    def __init__(self, account=True, **env):
        self.folder = tempfile.TemporaryDirectory()
        self.secret = os.path.join(self.folder.name, "trade")
        if account:
            self.write_account()
        self.rw, self.ro = Endpoint(DATABASE), Endpoint(DATABASE)
        env = {"DB_RW": self.rw.name, "DB_RO": self.ro.name, "DB_SECRET": self.secret,
               "DB_DEADLINE_MS": str(DEADLINE_MS), "ASAN_OPTIONS": "detect_stack_use_after_return=0", **env}
        self.module = modtest.Module(API, **env)

    def write_account(self, **changes):
        with open(self.secret + ".new", "w", encoding="utf-8") as f:
            json.dump({**ACCOUNT, **changes}, f)
        os.rename(self.secret + ".new", self.secret)

    def place(self, key, order=None, **changes):
        return self.module.ask("POST", "/v1/orders", {**(order or ORDER), **changes},
                               {"Idempotency-Key": key} if key else {})

    def find(self, key, **headers):
        return self.module.ask("GET", "/v1/orders?key=" + modtest.quote(key), headers=headers)

    def __enter__(self):
        DATABASE.sql("DELETE FROM trade.orders")
        return self

    def __exit__(self, *_):
        code = self.module.end()[0] if self.module.process.poll() is None else 0
        self.module.__exit__()
        self.rw.close()
        self.ro.close()
        self.folder.cleanup()
        assert code == 0, code


def rows(where="1"):
    return DATABASE.sql(f"SELECT id, idem_key FROM trade.orders WHERE {where} ORDER BY idem_key")


def orders():
    with World() as w:
        status, made = w.place("k-1")
        assert status == 201 and {k: made[k] for k in ORDER} == ORDER, made
        assert (made["key"], made["region"]) == ("k-1", "ap-seoul"), made
        assert w.place("k-1") == (200, made), "the same key, the same order"
        assert w.find("k-1") == (200, made)
        assert w.module.ask("GET", "/v1/orders/" + made["id"]) == (200, made)
        assert rows() == [[made["id"], "k-1"]]
        assert w.place("k-1", quantity=13)[0] == 422, "the key of another order"
        assert w.find("k-2")[0] == 404 and w.module.ask("GET", "/v1/orders/1")[0] == 404
        strange = "".join(chr(c) for c in range(0x21, 0x7f))[:64]
        assert w.place(strange)[0] == 201 and w.find(strange)[1]["key"] == strange
        assert w.place("K-1")[0] == 201, "keys are bytes"


def reads_go_to_the_replica():
    with World() as w:
        assert w.place("k-1")[0] == 201
        assert (w.rw.accepted, w.ro.accepted) == (1, 0)
        assert w.find("k-1")[0] == 200
        assert (w.rw.accepted, w.ro.accepted) == (1, 1)
        w.ro.down = True
        w.ro.cut()
        assert w.find("k-1")[0] == 503
        assert w.find("k-1", **{"X-Consistency": "strong"})[0] == 200
        assert w.find("k-1", **{"X-Consistency": "weak"})[0] == 400
        assert w.module.ask("GET", "/v1/orders/export?prefix=k")[1]["orders"], "from the source"


def bad_orders():
    bodies = [
        (400, ""), (400, "[]"), (400, "{"), (400, '{"a":1}x'), (400, '{"a":1,"a":2}'),
        (400, '{"a":{}}'), (400, '{"a":1.5}'), (400, '{"a":01}'), (400, b'{"a":"\xff"}'),
        (400, b'{"a":"\xed\xa0\x80"}'), (400, '{"a":"\\ud800"}'), (400, '{"a":"\\u0000"}'),
        (400, '{"a":"\n"}'), (400, '{"a":"%s"}' % ("x" * 161)), (422, "{}"),
        (422, {**ORDER, "quantity": 0}), (422, {**ORDER, "quantity": "1"}),
        (422, {**ORDER, "quantity": 1000001}), (422, {**ORDER, "amount_cents": 0}),
        (422, {**ORDER, "country": "kr"}), (422, {**ORDER, "country": "KOR"}),
        (422, {**ORDER, "customer": ""}), (422, {**ORDER, "customer": "x" * 81}),
        (422, {k: v for k, v in ORDER.items() if k != "item"}),
    ]
    with World() as w:
        for want, body in bodies:
            got = w.module.ask("POST", "/v1/orders", body, {"Idempotency-Key": "k"})
            assert got[0] == want, (body, got)
        for key in (None, "", "x" * 65, "a b"):
            assert w.place(key)[0] == 400, key
        twice = b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: a\r\nidempotency-key: a\r\n\r\n"
        assert w.module.raw(twice).startswith(b"HTTP/1.1 400")
        for path in ("?key=", "?key=a%20b", "?key=%0", "?key=%00", "?limit=41", "?limit=x", "?before=1",
                     "/export", "/export?prefix=", "/export?prefix=a&after=%"):
            assert w.module.ask("GET", "/v1/orders" + path)[0] == 400, path
        assert rows() == []
        emoji = dict(ORDER, customer="😀" * 20, item="\x01" * 120)
        assert w.place("k", emoji)[1]["customer"] == "😀" * 20
        assert w.find("k")[1]["item"] == "\x01" * 120


def lists_and_exports():
    with World() as w:
        client = w.module.client()
        for n in range(50):
            client.request("POST", "/v1/orders", json.dumps(ORDER), {"Idempotency-Key": f"old-{n}"})
            assert json.loads(client.getresponse().read())["key"] == f"old-{n}"
        newest = w.module.ask("GET", "/v1/orders?limit=40")[1]["orders"]
        assert [o["key"] for o in newest] == [f"old-{n}" for n in range(49, 9, -1)], "newest first"
        page = w.module.ask("GET", f"/v1/orders?limit=2&before={newest[39]['id']}")[1]["orders"]
        assert [o["key"] for o in page] == ["old-9", "old-8"]
        want = [f"run-{n:05}" for n in range(900)]
        values = ",".join(f"(uuid(), '{key}', 'KR', 'c', 'i', 1, 1, 'r', utc_timestamp(6))"
                          for key in [*want, "runner", "ru"])
        DATABASE.sql(f"INSERT INTO trade.orders VALUES {values}")
        found, after, pages = [], "", 0
        while after is not None:
            more = f"&after={after}" if after else ""
            page = w.module.ask("GET", f"/v1/orders/export?prefix=run-{more}")[1]
            found += page["orders"]
            after = page["next"]
            pages += 1
        assert [f[::-1] for f in found] == rows("idem_key LIKE 'run-%'")
        assert pages == 3 and [f[0] for f in found] == want


def a_commit_that_nobody_heard():
    with World() as w:
        assert w.place("k-0")[0] == 201
        w.rw.mute = True
        start = time.monotonic()
        status, body = w.place("k-1")
        assert status == 504 and "nobody knows" in body["error"], (status, body)
        assert time.monotonic() - start < DEADLINE_MS / 1000 + 1
        wait_until(lambda: len(rows()) == 2)
        w.rw.mute = False
        status, again = w.place("k-1")
        assert status == 200 and rows("idem_key = 'k-1'") == [[again["id"], "k-1"]]


def a_connection_that_breaks():
    """In the middle of a commit: tried again by itself with the same key."""
    with World(DB_DEADLINE_MS="8000") as w:
        assert w.place("k-0")[0] == 201
        w.rw.mute = True
        answers = []
        waiter = threading.Thread(target=lambda: answers.append(w.place("k-1")))
        waiter.start()
        wait_until(lambda: len(rows()) == 2)
        w.rw.mute = False
        w.rw.cut()
        waiter.join()
        assert answers[0][0] == 200 and len(rows()) == 2, answers
        w.rw.cut()  # while nobody uses it
        assert w.place("k-2")[0] == 201


def no_database():
    with World() as w:
        assert w.place("k-0")[0] == 201
        w.rw.down = True
        w.rw.cut()
        client = w.module.client()
        client.request("POST", "/v1/orders", json.dumps(ORDER), {"Idempotency-Key": "k-1"})
        reply = client.getresponse()
        assert (reply.status, reply.getheader("Retry-After")) == (503, "1"), reply.status
        client.close()
        assert w.module.ask("GET", "/healthz") == (200, "ok\n"), "health is a local fact"
        w.module.wait_line(r"warn .* rw lost")
        w.rw.down = False
        assert w.place("k-1")[0] == 201
        w.module.wait_line(r"info .* rw is back")
    with World(DB_RW="nowhere.invalid:3306") as w:
        assert w.place("k-1")[0] == 503
    with World() as w:
        w.rw.close()  # refused by the kernel
        assert w.place("k-1")[0] == 503


def many_fail_at_once():
    """Ten connections that end together, as when the source moves, are one failure: the next try comes at once."""
    with World(DB_DEADLINE_MS="8000") as w:
        w.rw.hold()
        answers = []
        clients = [threading.Thread(target=lambda i=i: answers.append(w.place(f"k-{i}"))) for i in range(10)]
        for c in clients:
            c.start()
        wait_until(lambda: w.rw.accepted >= 10)
        w.rw.cut()
        w.rw.release()
        for c in clients:
            c.join()
        assert [a[0] for a in answers] == [201] * 10, answers
        assert int(w.module.wait_line(r"info .* rw is back .*tries=(\d+)")[1]) < 5


def read_only_source():
    """What the source says while it is no source: not taken, and taken as soon as it is one again."""
    with World(DB_DEADLINE_MS="8000") as w:
        assert w.place("k-0")[0] == 201
        DATABASE.sql("SET GLOBAL read_only = 1")
        answers = []
        waiter = threading.Thread(target=lambda: answers.append(w.place("k-1")))
        waiter.start()
        tries = w.rw.accepted
        wait_until(lambda: w.rw.accepted >= tries + 3)
        assert len(rows()) == 1
        DATABASE.sql("SET GLOBAL read_only = 0")
        waiter.join()
        assert answers[0][0] == 201, answers
        assert w.rw.accepted - tries < 100, "it does not hammer"


def database_killed():
    with World(DB_DEADLINE_MS="9000") as w:
        stop, answers = threading.Event(), {}

        def client(name):
            n = 0
            while not stop.is_set():
                key = f"{name}-{n}"
                answers[key] = w.place(key)
                if answers[key][0] in (200, 201):
                    n += 1
        threads = [threading.Thread(target=client, args=(f"c{i}",)) for i in range(4)]
        for t in threads:
            t.start()
        for _ in range(2):
            before = len(answers)
            wait_until(lambda: len(answers) > before + 20)
            DATABASE.stop()
            DATABASE.start()
        stop.set()
        for t in threads:
            t.join()
        acked = {key: a[1]["id"] for key, a in answers.items() if a[0] in (200, 201)}
        assert len(acked) > 20
        kept = {key: row_id for row_id, key in rows()}
        assert {k: kept.get(k) for k in acked} == acked


def rotated_password():
    with World() as w:
        assert w.place("k-0")[0] == 201
        try:
            DATABASE.sql("ALTER USER api@localhost IDENTIFIED BY 'second'")
            w.rw.cut()
            assert w.place("k-1")[0] == 503
            w.write_account(password="second")
            assert w.place("k-1")[0] == 201
            # Read again when the file changes, before the old one is refused.
            w.write_account(password="second", user="api2")
            DATABASE.sql("CREATE USER api2@localhost IDENTIFIED BY 'second';"
                         "GRANT SELECT, INSERT ON trade.orders TO api2@localhost")
            w.module.wait_line("account read again", 2)
            assert w.place("k-2")[0] == 201
            assert DATABASE.sql("SELECT count(*) FROM information_schema.processlist"
                                " WHERE user = 'api2'") == [["1"]]
        finally:
            DATABASE.sql("ALTER USER api@localhost IDENTIFIED BY 'first'; DROP USER IF EXISTS api2@localhost")


def no_account_yet():
    with World(account=False) as w:
        start = time.monotonic()
        assert w.place("k-1")[0] == 503
        assert time.monotonic() - start < 1, "nobody waits for what is not declared"
        w.write_account()
        wait_until(lambda: w.place("k-1")[0] == 201)


def refused_statements():
    with World() as w:
        DATABASE.sql("RENAME TABLE trade.orders TO trade.elsewhere")
        assert w.place("k-1")[0] == 503
        DATABASE.sql("RENAME TABLE trade.elsewhere TO trade.orders")
        assert w.place("k-1")[0] == 201
        assert w.rw.accepted == 1, "the connection is kept"


def few_connections():
    with World(DB_CONNECTIONS="3") as w:
        def many(name):
            client = w.module.client()
            for n in range(30):
                client.request("POST", "/v1/orders", json.dumps(ORDER), {"Idempotency-Key": f"{name}-{n}"})
                reply = client.getresponse()
                assert reply.read() and reply.status == 201
                done.append(1)
            client.close()
        done = []
        threads = [threading.Thread(target=many, args=(i,)) for i in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(done) == 360 == len(rows())
        assert w.rw.accepted <= 3, w.rw.accepted


def clients_that_go():
    with World(DB_CONNECTIONS="1") as w:
        assert w.place("k-0")[0] == 201
        body = json.dumps(ORDER).encode()
        head = b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: %d\r\nContent-Length: %d\r\n\r\n"
        for n in range(3):
            w.rw.hold()
            with w.module.connect() as s:
                s.sendall(head % (n, len(body)) + body)
                wait_until(lambda: rows(f"idem_key = '{n}'"))
            w.rw.release()
            assert w.place(f"then-{n}")[0] == 201
        # Pipelined: each is answered in its turn.
        with w.module.connect() as s:
            s.sendall(b"".join(head % (n, len(body)) + body for n in range(10, 30)))
            answer = b""
            while answer.count(b"HTTP/1.1 201") < 20:
                answer += s.recv(65536)
        keys = [part.split(b'"')[0] for part in answer.split(b'"key":"')[1:]]
        assert keys == [b"%d" % n for n in range(10, 30)], keys


def drain_finishes_an_order():
    with World(DB_DEADLINE_MS="4000") as w:
        assert w.place("k-0")[0] == 201
        DATABASE.sql("SET GLOBAL read_only = 1")
        answers = []
        tries = w.rw.accepted
        waiter = threading.Thread(target=lambda: answers.append(w.place("k-1")))
        waiter.start()
        wait_until(lambda: w.rw.accepted > tries)
        w.module.process.terminate()
        w.module.wait_line("draining connections=1")
        DATABASE.sql("SET GLOBAL read_only = 0")
        waiter.join()
        assert answers[0][0] == 201 and w.module.exit_code() == 0, answers


def bad_environment():
    for name, value in (("DB_RW", "x"), ("DB_RO", "x:0"), ("DB_RW", ":1"), ("DB_CONNECTIONS", "0"),
                        ("DB_CONNECTIONS", "25")):
        done = modtest.subprocess.run(API, env={"PORT": "0", name: value}, capture_output=True, timeout=10,
                                      check=False)
        assert done.returncode == 1 and name.encode() in done.stdout, (name, value, done)


def faults():
    table = [("/fault/crash", None), ("/fault/exit?code=7", 7), ("/fault/exit", 1)]
    for path, want in table:
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
    "api reads go to the replica": reads_go_to_the_replica,
    "api bad orders": bad_orders,
    "api lists and exports": lists_and_exports,
    "api a commit that nobody heard": a_commit_that_nobody_heard,
    "api a connection that breaks": a_connection_that_breaks,
    "api no database": no_database,
    "api many fail at once": many_fail_at_once,
    "api read-only source": read_only_source,
    "api database killed": database_killed,
    "api rotated password": rotated_password,
    "api no account yet": no_account_yet,
    "api refused statements": refused_statements,
    "api few connections": few_connections,
    "api clients that go": clients_that_go,
    "api drain finishes an order": drain_finishes_an_order,
    "api bad environment": bad_environment,
    "api faults": faults,
    "api fault hang": fault_hang,
}
if not os.environ.get("SAN"):  # the sanitizer reserves more address space than any limit
    CASES["api fault oom"] = fault_oom
with Database() as DATABASE:
    modtest.run(CASES)
