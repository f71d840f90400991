# SPDX-License-Identifier: Apache-2.0
"""The ends rw and ro of a database: mesh roles as processes, a real mariadbd on the Unix socket of each host. Who gets
where, who is refused with which words, and what becomes of connections when the source moves."""
import contextlib
import os
import select
import signal
import threading
import time

import pymysql
import pytest

from lablib import wait_until
from mariadb import MariaDB, connect, one
from meshlib import PLATFORM, Host, Pki, cable

WEB, API, AI = 2, 3, 4  # units of a host: the last byte of their addresses
DENIED, GONE = 1045, 1053


class Pair:
    """hk1 and hk2, each with a unit of web, api and ai and a member of database trade. api writes, ai reads, web has
    nothing to do with it. `source` is the host that is it; servers tell themselves apart by @@server_id."""

    def __init__(self, folder):
        self.pki, self.folder = Pki(folder / "pki"), folder
        self.hosts = [Host("hk1", "10.20.0.11", 127), Host("hk2", "10.20.0.12", 126)]
        self.a, self.b = self.hosts
        cable(*self.hosts)
        for i, h in enumerate(self.hosts):
            h.start()
            h.db = MariaDB(h.machine, server_id=i + 1)
            h.db.sql("create database trade; create table trade.orders(id int primary key);"
                     "create user api identified by 'p'; grant select, insert on trade.orders to api;"
                     "create user ai identified by 'p'; grant select on trade.orders to ai")
        self.epoch = 0
        self.identify()
        self.tell()

    def identify(self, mesh_of_b="mesh/hk2", api=None, pki=None):
        pki = pki or self.pki
        modules = [pki.leaf(f"module/{m}") for m in ("web", "ai")] + [api or pki.leaf("module/api")]
        self.a.identities(pki.ca, pki.leaf("mesh/hk1"), *modules)
        mesh = pki.leaf("mesh/hk2", f"spiffe://{PLATFORM}/{mesh_of_b}")
        self.b.identities(pki.ca, mesh, *modules)

    def tell_one(self, h, source=0, replicas=(1,), hold_ms=None, epoch=None, callers=None, **more):
        place = [{"host": x.name, "addresses": [x.address]} for x in self.hosts]
        nearest = sorted(replicas, key=lambda i: self.hosts[i] is not h)
        db = {"name": "trade", "epoch": epoch or self.epoch, "port": 3306, "connections": 50,
              "source": None if source is None else place[source], "replicas": [place[i] for i in nearest],
              "hold_until_ms": None if hold_ms is None else int(time.time() * 1000) + hold_ms, "socket": h.db.socket,
              "callers": {"api": {"access": "write"}, "ai": {"access": "read"}} if callers is None else callers, **more}
        h.view({m: {"port": 0} for m in ("web", "api", "ai")},
               [{"address": h.vip(1), "database": "trade", "end": "rw"},
                {"address": h.vip(2), "database": "trade", "end": "ro"}],
               {f"{h.net}.0.{i}": {"unit": f"{m}-1", "module": m} for i, m in ((WEB, "web"), (API, "api"), (AI, "ai"))},
               databases=[db])

    def tell(self, source=0, replicas=(1,), **more):
        """Another epoch in the views of both."""
        self.epoch += 1
        for h in self.hosts:
            self.tell_one(h, source, replicas, **more)

    def session(self, h, end="rw", unit=API, timeout=20, user=None):
        return connect(h.machine, f"{h.net}.0.{unit}", h.vip(1 if end == "rw" else 2),
                       user or {API: "api", AI: "ai", WEB: "api"}[unit], "p", timeout=timeout)

    def where(self, h, end="rw", unit=API):
        """The server that the unit gets to."""
        s = self.session(h, end, unit)
        with contextlib.closing(s):
            return one(s, "select @@server_id")

    def error(self, h, end="rw", unit=API):
        with pytest.raises(pymysql.err.OperationalError) as e:
            self.session(h, end, unit)
        return e.value.args

    def failed(self, h, cause):
        return h.role.metric(f'mcp_mesh_data_failed_total{{cause="{cause}"}}')

    def close(self):
        for h in self.hosts:
            h.db.close()
            h.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    p = Pair(tmp_path_factory.mktemp("data"))
    yield p
    p.close()


@pytest.fixture
def pair(both):
    both.identify()
    both.tell()
    return both


def ended(session):
    """Until the other side ends it, with or without the gate's last words; nothing else may come."""
    sock, said = session._sock, b""
    with contextlib.suppress(ConnectionResetError):
        while select.select([sock], [], [], 20)[0] and (part := sock.recv(1000)):
            said += part
    assert not said or b"no longer the source" in said, said
    return True


def begin(function):
    """Runs it aside; join() gives what came of it."""
    result = []

    def body():
        try:
            result.append(function())
        except Exception as e:  # handed to whoever joins
            result.append(e)
    t = threading.Thread(target=body)
    t.start()

    def join():
        t.join(30)
        assert result, "it still waits"
        return result[0]
    return join


def test_rw_is_the_source_and_ro_the_nearest_replica(pair):
    assert [pair.where(h, "rw") for h in pair.hosts] == [1, 1]
    assert [pair.where(h, "ro") for h in pair.hosts] == [2, 2]
    pair.tell(source=1, replicas=(0,))
    assert [pair.where(h, "rw") for h in pair.hosts] == [2, 2]
    assert [pair.where(h, "ro", AI) for h in pair.hosts] == [1, 1]
    pair.tell(source=0, replicas=())
    assert [pair.where(h, "ro", AI) for h in pair.hosts] == [1, 1]  # no replica may be read from
    assert pair.a.role.metric("mcp_mesh_data_links_total") > 0 and pair.b.role.metric("mcp_mesh_data_calls_total") > 0


def test_much_goes_both_ways(pair):
    for h in pair.hosts:
        s = pair.session(h)
        with contextlib.closing(s):
            assert one(s, "select repeat('x', 3000000)") == "x" * 3000000
            assert one(s, f"select length('{'y' * 900000}')") == 900000


def test_who_does_not_need_it_is_refused_and_told(pair):
    for end in ("rw", "ro"):
        assert pair.error(pair.a, end, WEB) == (DENIED, "module web may not reach database trade: not in its needs")
    assert pair.error(pair.a, "rw", AI) == (DENIED, "module ai may not write to database trade: its needs say read")
    said = pair.a.refusals()
    assert "web tried to reach database trade: not in its needs" in said
    assert "ai tried to write to database trade: its needs say read" in said
    with pytest.raises(pymysql.err.OperationalError):  # nobody's address: not a word
        connect(pair.a.machine, f"{pair.a.net}.0.9", pair.a.vip(1), "api", "p")
    assert pair.a.db.sql("select count(*) from information_schema.processlist where user in ('api', 'ai')") == "0"


def test_the_other_host_looks_for_itself(pair):
    """hk2 says that web may: hk1, which has the source, knows better."""
    all_of_them = {m: {"access": "write"} for m in ("web", "api", "ai")}
    pair.tell_one(pair.b, callers=all_of_them)
    assert pair.error(pair.b, "rw", WEB)[0] == GONE
    assert pair.error(pair.b, "rw", AI)[0] == GONE
    said = pair.a.refusals()
    assert any("spiffe://reindeers/module/web tried to reach database trade: not in its needs" in m for m in said)
    assert any("spiffe://reindeers/module/ai tried to write to database trade: its needs say read" in m for m in said)


@pytest.mark.parametrize("what", ["another module's", "a host's", "foreign"])
def test_a_caller_with_a_wrong_certificate_is_refused(pair, what):
    api = {"another module's": lambda: pair.pki.leaf("module/api", f"spiffe://{PLATFORM}/module/web"),
           "a host's": lambda: pair.pki.leaf("module/api", f"spiffe://{PLATFORM}/mesh/hk1"),
           "foreign": lambda: Pki(pair.folder / "foreign").leaf("module/api")}[what]()
    pair.identify(api=api)
    assert pair.error(pair.b, "rw")[0] == GONE


@pytest.mark.parametrize("who", ["module/api", "mesh/hk1", "host/hk2", "data/hk2"])
def test_a_host_that_does_not_prove_itself_is_not_spoken_to(pair, who):
    pair.tell(source=1, replicas=())
    pair.identify(mesh_of_b=who)
    before = pair.b.db.sql("show global status like 'Connections'")
    assert pair.error(pair.a, "rw")[0] == GONE
    assert any("did not prove to be mesh hk2" in m for m in pair.a.refusals())
    assert int(pair.b.db.sql("show global status like 'Connections'").split()[1]) == int(before.split()[1]) + 1  # our own


def test_a_moved_source_ends_old_connections_at_both_ends(pair):
    here, there = pair.session(pair.a), pair.session(pair.b)
    reads = pair.session(pair.a, "ro", AI)
    assert one(there, "select @@server_id") == one(here, "select @@server_id") == 1
    pair.tell(source=1, replicas=(0,))
    assert ended(here) and ended(there)
    assert ended(reads)  # its server is the source from now on
    wait_until(lambda: pair.a.db.sql("select count(*) from information_schema.processlist where user in ('api', 'ai')") == "0")
    assert [pair.where(h, "rw") for h in pair.hosts] == [2, 2]


def test_the_callers_host_ends_them_by_itself(pair):
    """The old source's host hears nothing of it."""
    closed = pair.b.role.metric("mcp_mesh_data_closed_total")
    writes, reads = pair.session(pair.b), pair.session(pair.b, "ro", AI)
    assert one(writes, "select @@server_id") == 1
    pair.tell_one(pair.b, source=1, replicas=(), epoch=pair.epoch + 1)
    pair.epoch += 1
    assert ended(writes) and ended(reads)  # hk2's readers too: it is the source now
    assert pair.b.role.metric("mcp_mesh_data_closed_total") == closed + 1


def test_what_does_not_move_stays(pair):
    old = pair.session(pair.b)
    far = pair.session(pair.a, "ro", AI)
    for h in pair.hosts:  # another view, the same epoch
        pair.tell_one(h, callers={"api": {"access": "write"}, "ai": {"access": "read"}, "web": {"access": "read"}})
    assert one(old, "select 1") == 1 and one(far, "select 1") == 1
    assert pair.where(pair.a, "ro", WEB) == 2


def test_while_it_is_held_connections_wait_for_the_new_source(pair):
    for h in pair.hosts:
        pair.tell_one(h, hold_ms=30000)
    held = [h.role.metric("mcp_mesh_data_held_total") for h in pair.hosts]
    waiting = [begin(lambda h=h: pair.where(h, "rw")) for h in pair.hosts]
    for h, n in zip(pair.hosts, held):
        h.role.wait_metric("mcp_mesh_data_held_total", n + 1)
    assert pair.where(pair.a, "ro", AI) == 2  # who reads need not wait
    pair.tell(source=1, replicas=(0,))
    assert [w() for w in waiting] == [2, 2]


def test_a_hold_that_ends_by_itself_is_over(pair):
    for h in pair.hosts:
        pair.tell_one(h, hold_ms=300)
    assert [pair.where(h, "rw") for h in pair.hosts] == [1, 1]


def test_who_lost_his_needs_while_he_waited_is_refused(pair):
    pair.tell_one(pair.a, hold_ms=30000)
    held = pair.a.role.metric("mcp_mesh_data_held_total")
    waiting = begin(lambda: pair.error(pair.a, "rw"))
    pair.a.role.wait_metric("mcp_mesh_data_held_total", held + 1)
    pair.tell_one(pair.a, callers={})
    assert waiting() == (DENIED, "module api may not reach database trade: not in its needs")


def test_views_that_differ_for_a_while(pair):
    """hk2 has heard of the move and hk1, the new source, has not; and the other way round."""
    pair.tell(source=1, replicas=())
    pair.epoch += 1
    pair.tell_one(pair.b, source=0, replicas=())
    moved = pair.failed(pair.b, "moved")
    waiting = begin(lambda: pair.where(pair.b, "rw"))
    wait_until(lambda: pair.failed(pair.b, "moved") > moved)
    pair.tell_one(pair.a, source=0, replicas=())
    assert waiting() == 1
    pair.epoch += 1
    pair.tell_one(pair.a, source=1, replicas=())
    moved = pair.failed(pair.b, "moved")
    waiting = begin(lambda: pair.where(pair.b, "rw"))
    wait_until(lambda: pair.failed(pair.b, "moved") > moved)
    pair.tell_one(pair.b, source=1, replicas=())
    assert waiting() == 2


def test_no_source_is_said_when_none_comes(pair):
    pair.tell(source=None, replicas=(1,))
    begun = time.monotonic()
    assert pair.error(pair.a, "rw") == (GONE, "database trade has no source now; nothing was done, connect again")
    assert 4 < time.monotonic() - begun < 45
    assert pair.where(pair.a, "ro", AI) == 2


def test_a_dead_source_and_a_slow_one_are_told_apart(pair):
    for far in pair.hosts:
        near = pair.a
        slow, down = pair.failed(far, "slow"), pair.failed(far, "down")
        near.db.signal(signal.SIGSTOP)
        try:
            code, text = pair.error(far, "rw")
            assert code == GONE and "source on hk1 is slow or frozen" in text
        finally:
            near.db.signal(signal.SIGCONT)
        assert (pair.failed(far, "slow"), pair.failed(far, "down")) == (slow + 1, down)
        near.db.kill()
        try:
            code, text = pair.error(far, "rw")
            assert code == GONE and "source on hk1 is down" in text
        finally:
            near.db.start()
        assert (pair.failed(far, "slow"), pair.failed(far, "down")) == (slow + 1, down + 1)
        assert pair.where(far, "rw") == 1


def test_a_host_that_cannot_be_reached_is_neither(pair):
    before = pair.failed(pair.b, "unreachable")
    pair.a.machine.run("ip", "link", "set", "eth0", "down")
    try:
        code, text = pair.error(pair.b, "rw")
        assert code == GONE and "source on hk1 cannot be reached" in text
    finally:
        pair.a.machine.run("ip", "link", "set", "eth0", "up")
    assert pair.failed(pair.b, "unreachable") == before + 1


def test_who_reads_gets_the_next_when_one_is_down(pair):
    pair.b.db.kill()
    try:
        assert [pair.where(h, "ro", AI) for h in pair.hosts] == [1, 1]
    finally:
        pair.b.db.start()


# --- the gate of the source's host


def ask_hold(pair, host, for_ms=30000, timeout_ms=20000, epoch=None, **more):
    host.role.begin("database.hold", {"database": "trade", "epoch": epoch or pair.epoch, "id": 1, "for_ms": for_ms,
                                      "timeout_ms": timeout_ms, **more})
    asked = host.role.calls
    return lambda: answer(host, asked)


def answer(host, number):
    """Of the call of that number."""
    while True:
        for said in host.role.said:
            if said.get("id") == number:
                return said
        host.role.said.append(host.role.hear())


def release(pair, host, epoch=None):
    host.role.call("database.release", {"database": "trade", "epoch": epoch or pair.epoch, "id": 1})


def gate(host, end="rw"):
    return host.role.call("status")["databases"]["trade"][end]


def sessions(host):
    return gate(host)["sessions"]


def wait_waiting(host, n):
    wait_until(lambda: (g := gate(host))["waiting"] == n and g["busy"] == 0)


def test_a_hold_lets_transactions_end_and_statements_wait(pair):
    for h in pair.hosts:
        busy, idle = pair.session(h), pair.session(h)
        with busy.cursor() as c:
            c.execute("begin")
            c.execute(f"insert into trade.orders values ({100 + pair.hosts.index(h)})")
        held = ask_hold(pair, pair.a)
        pair.a.role.call("status")  # it holds from here on
        waiting = begin(lambda: one(idle, "select @@server_id"))
        joining = begin(lambda h=h: pair.where(h, "rw"))  # who connects waits too, on its own host or behind a link
        with busy.cursor() as c:
            c.execute("select count(*) from trade.orders")
            c.execute("commit")
        assert held()["result"] == {"busy": 0}
        wait_waiting(pair.a, 2)
        release(pair, pair.a)
        assert waiting() == 1 and joining() == 1


def test_what_is_held_when_the_source_moves_is_sent_away(pair):
    held = [pair.session(h) for h in pair.hosts]
    assert ask_hold(pair, pair.a)()["result"] == {"busy": 0}
    waiting = [begin(lambda s=s: one(s, "select 1")) for s in held]
    wait_waiting(pair.a, 2)
    pair.tell(source=1, replicas=(0,))
    release(pair, pair.a)
    said = [w() for w in waiting]
    assert all(isinstance(e, pymysql.err.Error) for e in said), said
    assert said[0].args[0] in (1290, 2013), said  # words where they can be said; its host may have been first to end it
    assert [pair.where(h, "rw") for h in pair.hosts] == [2, 2]


def test_a_release_of_a_later_epoch_lets_nothing_through(pair):
    """The document has moved on, and this host's view has not."""
    s = pair.session(pair.a)
    assert "result" in ask_hold(pair, pair.a)()
    waiting = begin(lambda: one(s, "select 1"))
    release(pair, pair.a, pair.epoch + 1)
    assert isinstance(waiting(), pymysql.err.Error)
    assert pair.error(pair.a, "rw")[0] == 1290
    pair.tell(source=0, replicas=(1,))
    assert pair.where(pair.a, "rw") == 1


def test_a_hold_that_does_not_become_quiet_says_so(pair):
    s = pair.session(pair.b)
    with s.cursor() as c:
        c.execute("begin")
        said = ask_hold(pair, pair.a, timeout_ms=300)()
        assert "1 sessions of database trade have a statement or a transaction under way" in said["error"]["message"]
        c.execute("commit")
    release(pair, pair.a)
    assert one(s, "select 1") == 1
    assert "epoch" in ask_hold(pair, pair.a, epoch=pair.epoch - 1)()["error"]["message"]
    assert "not the source" in ask_hold(pair, pair.b)()["error"]["message"]


def test_what_does_not_end_in_time_is_broken_off(pair):
    """The transaction is undone by the server, and whoever ran it sees a broken connection."""
    far, near, idle = pair.session(pair.b), pair.session(pair.a), pair.session(pair.a)
    with far.cursor() as c:
        c.execute("begin")
        c.execute("insert into trade.orders values (900)")
    assert one(idle, "select get_lock('taken', 0)") == 1
    slow = begin(lambda: one(near, "select get_lock('taken', 60)"))
    wait_until(lambda: gate(pair.a)["busy"] == 2)
    assert ask_hold(pair, pair.a, grace_ms=200)()["result"] == {"busy": 0}
    assert isinstance(slow(), pymysql.err.OperationalError)
    assert ended(far)
    release(pair, pair.a)
    assert one(idle, "select count(*) from trade.orders where id = 900") == 0


def test_a_hold_that_nobody_ends_is_over_by_itself(pair):
    s = pair.session(pair.b)
    assert "result" in ask_hold(pair, pair.a, for_ms=400)()
    assert one(s, "select 1") == 1  # waited, and went on


def test_a_source_that_is_not_writable_yet_lets_them_wait(pair):
    for h in pair.hosts:
        pair.tell_one(h, writable=h is not pair.a)
    waiting = [begin(lambda h=h: pair.where(h, "rw")) for h in pair.hosts]
    wait_waiting(pair.a, 2)
    assert pair.where(pair.b, "ro", AI) == 2
    pair.tell_one(pair.a)
    assert [w() for w in waiting] == [1, 1]


def test_connections_are_limited_by_caller_and_in_all(pair):
    wait_until(lambda: not sessions(pair.a))  # of the epoch before
    for h in pair.hosts:
        pair.tell_one(h, connections=4, share=3, replicas=())
    open_ones = [pair.session(h) for h in (pair.a, pair.b, pair.b)]
    for h in pair.hosts:
        code, text = pair.error(h, "rw")
        assert code == 1040 and "too many connections of this module" in text
    open_ones.append(pair.session(pair.a, "ro", AI))  # another end, another gate; and another module
    open_ones.pop(0).close()
    wait_until(lambda: sessions(pair.a) == 2)
    open_ones.append(pair.session(pair.b))
    for h in pair.hosts:
        pair.tell_one(h, connections=2, share=2, replicas=())
    assert pair.error(pair.b, "rw")[0] == 1040
    for s in open_ones:
        assert one(s, "select 1") == 1
        s.close()
    wait_until(lambda: not sessions(pair.a))


def test_its_successor_goes_on(pair):
    """A mesh that starts anew serves databases by the view on its disk."""
    kept = pair.a.role.wait_kept(2)
    told = "/var/lib/mcp/mesh/view.json"
    wait_until(lambda: f'"seq":{pair.a.seq}' in pair.a.machine.run("sh", "-c", f"cat {told} || true"))
    pair.a.role.kill()
    pair.a.role.close()
    links, pair.a.links = pair.a.links, pair.a.links + kept
    pair.a.start()
    pair.a.links = links
    assert pair.where(pair.a, "rw") == pair.where(pair.b, "rw") == 1


def test_connections_leak_nothing(pair):
    def figures():
        """Without the connections that wait between the two for the next call."""
        a, b = (h.role for h in pair.hosts)
        wait_until(lambda: (a.metric("mcp_mesh_flows"), b.metric("mcp_mesh_flows"))
                   == (b.metric("mcp_mesh_kept"), a.metric("mcp_mesh_kept")))
        kept = a.metric("mcp_mesh_kept") + b.metric("mcp_mesh_kept")
        return [len(os.listdir(f"/proc/{h.role.process.pid}/fd")) - kept for h in pair.hosts]

    def hammer(n):
        for _ in range(n):
            for h in pair.hosts:
                assert pair.where(h, "rw") == 1
    hammer(5)
    before = figures()
    hammer(100)
    assert figures() == before
