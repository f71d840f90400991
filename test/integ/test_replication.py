# SPDX-License-Identifier: Apache-2.0
"""The data role as a process, locked in as in production, and two of them with real MariaDB servers."""
import hashlib
import os
import pathlib
import signal
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/lib"))
from engines import Authority, Server  # noqa: E402
from role import Machine, Role  # noqa: E402

MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))
IDLE_BYTES_MAX = 256 * 1024  # over a role that does nothing at all


def boot(host):
    return {"format": 1, "platform": "reindeers", "host": host, "region": "ap-hongkong", "addresses": ["10.20.0.11"],
            "public": [], "bridge": "100.127.0.0/16", "roles": ["data"], "state": {"kind": "sqlite"}, "peers": [],
            "cgroup": f"/mcp/reindeers.{host}"}


def own_bytes(machine):
    """What a data role without databases alone makes the host hold (pages of the binary are shared with the other
    roles), and that it is locked in and starts no threads."""
    role = Role(machine, MCP, "data", boot("hk1"), [])
    role.call("ping")
    proc = f"/proc/{role.process.pid}"
    status = dict(line.split(":\t", 1) for line in open(f"{proc}/status").read().splitlines() if ":\t" in line)
    assert status["Threads"] == "1" and status["CapEff"] == "0" * 16 and status["Uid"].split()[0] != "0"
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    rollup = open(f"{proc}/smaps_rollup").read().splitlines()
    role.close()
    return sum(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Private_Dirty:"))


def test_idle_role_costs_little(monkeypatch):
    machine = Machine(["10.20.0.11"])
    idle = own_bytes(machine)
    monkeypatch.setenv("MCP_STUB_ROLES", "1")
    nothing = own_bytes(machine)
    machine.close()
    print(f"data idle: {idle} bytes of its own, a role that does nothing: {nothing}")
    assert idle < nothing + IDLE_BYTES_MAX


# ---- two servers, two roles, and control's words by hand

HK, SL = "10.20.0.11", "10.20.0.21"
SCHEMA = ("DELIMITER //\nCREATE TABLE IF NOT EXISTS orders (id BIGINT PRIMARY KEY, note VARCHAR(64))//\nDELIMITER ;\n"
          "CREATE TABLE IF NOT EXISTS other (id INT PRIMARY KEY);\n")
DIGEST = "sha256:" + hashlib.sha256(SCHEMA.encode()).hexdigest()


class Node:
    def __init__(self, host, region, number, address, beside, authority):
        self.machine = Machine([address], beside)
        self.member = {"host": host, "region": region, "address": address, "port": 3306, "server_id": number,
                       "domain_id": number, "delay_ms": 0}
        identity = authority.issue(address)
        self.server = Server(self.machine, "trade", number, address, identity)
        self.role = None
        self.start(identity)

    def start(self, identity=None):
        self.identity = identity or self.identity
        self.role = Role(self.machine, MCP, "data", boot(self.member["host"]), [])
        self.role.notify("identity", self.identity)

    def report_when(self, check):
        """The first report of which check(database) is true; what is asked for meanwhile is answered."""
        for _ in range(90):  # one a second at least
            message = self.role.said.pop(0) if self.role.said else self.role.hear()
            if message.get("method") == "data.file":
                fd = os.memfd_create("schema")
                os.pwrite(fd, SCHEMA.encode(), 0)
                self.role.say({"id": message["id"], "result": {}, "fd": True}, fd)
                os.close(fd)
            if message.get("method") != "data":
                continue
            for db in message["params"]["databases"]:
                last = db
                if db["name"] == "trade" and check(db):
                    return db
        raise AssertionError(f"{last}\n" + "\n".join(self.role.log))

    def noted(self, message):
        """Until an entry of the timeline says so."""
        while True:
            m = self.role.said.pop(0) if self.role.said else self.role.hear()
            if m.get("method") == "timeline" and m["params"]["message"] == message:
                return m["params"]

    def until(self, state):
        return self.report_when(lambda db: db["state"] == state)

    def ask(self, method, **params):
        """A call and its answer; reports meanwhile are kept."""
        return self.role.call(method, {"database": "trade", **params})

    def refused(self, method, **params):
        """The error of a call that is not carried out."""
        self.role.begin(method, {"database": "trade", **params})
        while True:
            answer = self.role.hear()
            if answer.get("id") == self.role.calls and "method" not in answer:
                return answer["error"]
            self.role.said.append(answer)

    def close(self):
        self.role.close()
        self.server.close()
        self.machine.close()


class Pair:
    """hk1, the source to begin with, and sl1."""

    def __init__(self, folder):
        authority = Authority(folder)
        self.hk = Node("hk1", "ap-hongkong", 1, HK, None, authority)
        self.sl = Node("sl1", "ap-seoul", 2, SL, self.hk.machine, authority)
        self.epoch, self.source, self.last_id, self.seq = 1, self.hk, 0, 0
        self.extra = {}

    def tell(self, *nodes, fresh=True):
        self.seq += 1
        for n in nodes or (self.hk, self.sl):
            db = {"name": "trade", "engine": "mariadb", "epoch": self.epoch, "hold": False, "last_id": self.last_id,
                  "duty": "source" if n is self.source else "replica", "self": n.member,
                  "source": self.source.member, "members": [self.hk.member, self.sl.member], "dir": n.server.dir, "managed": True,
                  "replication": {"mode": "async", "heartbeat_ms": 1000, "recovery": "auto"}, "connections": 100,
                  "schema": [{"name": "trade.sql", "digest": DIGEST}], "accounts": None, "tls_ready": True,
                  **self.extra}
            n.role.notify("databases", {"seq": self.seq, "fresh": fresh, "databases": [db]})

    def replica(self):
        return self.sl if self.source is self.hk else self.hk

    def insert(self, number, note="x"):
        self.source.server.sql(f"INSERT INTO orders VALUES ({number}, '{note}')", "trade")

    def caught_up(self):
        """Everything that the source has is applied at the replica."""
        gtid = self.source.ask("data.position")["gtid"]
        answer = self.replica().ask("data.wait", gtid=gtid, timeout_ms=30000)
        assert answer["reached"], answer
        return gtid

    def close(self):
        self.sl.close()
        self.hk.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    p = Pair(tmp_path_factory.mktemp("ca"))
    yield p
    p.close()


def test_forms_by_a_fresh_snapshot_only(pair):
    pair.tell(fresh=False)
    db = pair.hk.report_when(lambda db: db["why"] and db["state"] == "read-only")
    assert "state store" in db["why"]
    pair.tell()
    pair.hk.until("writable")
    pair.sl.until("replicating")
    pair.insert(1)
    pair.caught_up()
    assert pair.sl.server.sql("SELECT id FROM trade.orders") == "1"
    assert pair.sl.server.sql("SELECT @@read_only") == "1"
    assert pair.sl.server.sql("SELECT count(*) FROM trade.other") == "0"
    assert pair.sl.server.sql("SELECT epoch, server_id FROM mcp_dts.epoch") == "1\t1"


def test_freeze_wait_promote_follow(pair):
    """What a switchover asks, in its order, and the way back."""
    pair.insert(10)
    for change in (1, 2):
        old, new = pair.source, pair.replica()
        frozen = old.ask("data.readonly", on=True, epoch=pair.epoch, id=change)
        assert frozen["read_only"] and old.server.sql("SELECT @@read_only") == "1"
        pair.tell()  # fresh, and it names the frozen one still: it stays frozen
        assert new.ask("data.wait", gtid=frozen["gtid"], timeout_ms=10000)["reached"]
        old.until("read-only")
        assert old.ask("data.position")["gtid"] == frozen["gtid"]
        pair.epoch, pair.source = pair.epoch + 1, new
        pair.tell(new)
        new.ask("data.promote", epoch=pair.epoch)
        new.server.sql(f"INSERT INTO orders VALUES ({100 + change}, 'new source')", "trade")
        pair.last_id = change
        pair.tell(old)
        old.ask("data.follow", epoch=pair.epoch)
        pair.caught_up()
        assert old.server.sql(f"SELECT note FROM trade.orders WHERE id = {100 + change}") == "new source"
        refused = old.refused("data.readonly", on=True, epoch=pair.epoch - 1, id=change)
        assert refused["code"] == "refused", refused
    assert pair.hk.server.sql("SELECT epoch, server_id FROM mcp_dts.epoch") == "1\t1\n2\t2\n3\t1"


def test_a_freeze_outlives_role_and_server(pair):
    """Undone in the end: the change is over, and the document names the same source."""
    frozen = pair.hk.ask("data.readonly", on=True, epoch=pair.epoch, id=9)
    pair.hk.role.kill()
    pair.hk.server.kill()
    pair.hk.server.start()
    pair.hk.start()
    pair.tell(pair.hk)
    pair.hk.until("read-only")
    assert pair.hk.ask("data.position")["gtid"] == frozen["gtid"]
    pair.last_id = 9
    pair.tell()
    pair.hk.until("writable")
    pair.insert(11)
    pair.caught_up()


def test_content_is_looked_into_beside_everything_else(pair):
    """Facts of both, and sums that the replica repeats, down to the row that differs; by the role as it is locked in."""
    source, replica = pair.source, pair.replica()
    assert source.ask("data.facts")["vendor"] == "mariadb"
    assert replica.ask("data.facts")["variables"]["read_only"] == "ON"
    assert source.ask("data.shapes") == replica.ask("data.shapes")
    pair.caught_up()
    replica.server.sql("SET SESSION sql_log_bin=0; UPDATE orders SET note='other' WHERE id=10", "trade")
    summed = source.ask("data.checksum", run=7, tables=["orders"])
    assert [t["table"] for t in summed["tables"]] == ["orders"]
    assert replica.ask("data.wait", gtid=summed["gtid"], timeout_ms=30000)["reached"]
    chunk, = replica.ask("data.differences", run=7)
    assert chunk["rows"] == chunk["source_rows"]
    where = {k: chunk[k] for k in ("table", "lower", "upper")}
    here, there = source.ask("data.rows", **where), replica.ask("data.rows", **where)
    assert {key for key in here if here[key] != there[key]} == {'["10"]'}
    replica.server.sql("SET SESSION sql_log_bin=0; UPDATE orders SET note='x' WHERE id=10", "trade")
    source.ask("data.checksum", run=8, tables=["orders"])
    pair.caught_up()
    assert replica.ask("data.differences", run=8) == []


def test_a_writable_replica_is_closed(pair):
    pair.sl.server.sql("SET GLOBAL read_only=0")
    pair.sl.noted("a replica was writable and is made read-only")
    pair.sl.ask("data.follow", epoch=pair.epoch)
    assert pair.sl.server.sql("SELECT @@read_only") == "1"


def test_killed_servers_resume_by_gtid(pair):
    for n in range(3):
        pair.insert(20 + 2 * n)
        pair.source.server.kill()
        pair.source.server.start()
        pair.tell()
        pair.hk.ask("data.promote", epoch=pair.epoch)
        pair.insert(21 + 2 * n)
        pair.sl.server.kill()
        pair.sl.server.start()
        pair.caught_up()
    assert pair.sl.server.sql("SELECT count(*) FROM trade.orders WHERE id BETWEEN 20 AND 25") == "6"


def test_half_open_connection_is_restarted(pair):
    """The source hangs: the server says for a minute that all is well. Two periods are enough here."""
    pair.sl.ask("data.follow", epoch=pair.epoch)
    pair.hk.server.signal(signal.SIGSTOP)
    pair.sl.report_when(lambda db: db["ladder"]["step"] == "restart-io")
    pair.hk.server.signal(signal.SIGCONT)
    pair.insert(30)
    pair.sl.report_when(lambda db: db["state"] == "replicating" and db["ladder"]["step"] == "none")
    pair.caught_up()


def test_data_that_differ_freeze_and_nothing_is_skipped(pair):
    pair.sl.server.sql("SET sql_log_bin=0; INSERT INTO trade.orders VALUES (40, 'errant')")
    pair.insert(40, "true")
    pair.insert(41)
    db = pair.sl.until("frozen")
    assert db["sql"]["errno"] == 1062
    pair.sl.ask("data.position")
    assert pair.sl.server.sql("SELECT count(*) FROM trade.orders WHERE id = 41") == "0"
    pair.sl.server.sql("SET sql_log_bin=0; DELETE FROM trade.orders WHERE id = 40")
    pair.sl.ask("data.follow", epoch=pair.epoch)
    pair.caught_up()
    assert pair.sl.server.sql("SELECT note FROM trade.orders WHERE id IN (40, 41)") == "true\nx"


def test_lag_is_true_and_split(pair):
    """A row is written each second; it shows soon, and where its time went is told. Not measured offsets are said."""
    pair.sl.ask("data.follow", epoch=pair.epoch)
    db = pair.sl.report_when(lambda db: db["lag_ms"] is not None and db["ship_ms"] is not None)
    assert db["uncertain"] and db["lag_ms"] < 1500 and db["ship_ms"] + db["apply_ms"] <= db["lag_max_ms"] + 1
    pair.sl.role.notify("world", {"hosts": {"hk1": {"offset_us": 0, "error_us": 900,
                                                    "boot_ms": int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)}}})
    db = pair.sl.report_when(lambda db: not db["uncertain"])
    pair.hk.server.signal(signal.SIGSTOP)
    db = pair.sl.report_when(lambda db: db["lag_ms"] > 2500)
    pair.hk.server.signal(signal.SIGCONT)
    pair.sl.report_when(lambda db: db["state"] == "replicating" and db["lag_ms"] < 1500)
