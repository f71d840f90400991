# SPDX-License-Identifier: Apache-2.0
"""The data role as a process, locked in as in production, and two of them with real MariaDB servers."""
import hashlib
import json
import os
import pathlib
import signal
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/lib"))
from engines import Authority, Server  # noqa: E402
from lablib import wait_until  # noqa: E402
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


# Whoever sees it first, the look at the server or the canary.
CLOSED = ("a replica was writable and is made read-only", "this replica took a write of an ordinary account; read_only is set again")


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
        until, last = time.monotonic() + 90, None
        while time.monotonic() < until:  # one a second at least, and those of long ago first
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

    def noted(self, *messages):
        """Until an entry of the timeline says one of them."""
        until = time.monotonic() + 90
        while time.monotonic() < until:
            m = self.role.said.pop(0) if self.role.said else self.role.hear()
            if m.get("method") == "timeline" and m["params"]["message"].startswith(messages):
                return m["params"]
        raise AssertionError(f"{messages}: not noted\n" + "\n".join(self.role.log))

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
            if answer.get("id") == self.role.calls and "more" in answer:
                continue
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
        self.authority = Authority(folder)
        self.hk = Node("hk1", "ap-hongkong", 1, HK, None, self.authority)
        self.sl = Node("sl1", "ap-seoul", 2, SL, self.hk.machine, self.authority)
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
                  "backup": {"directory": "/var/lib/mcp/backups", "keep_ms": 86400000},
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
    pair.sl.noted(*CLOSED)
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


class Writes:
    """Rows from 1000 on, one after the other, until they end."""

    def __init__(self, pair):
        self.pair, self.n, self.stop = pair, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            self.pair.insert(1000 + self.n)
            self.n += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()


def serial_of(machine, source):
    return machine.run("sh", "-c", f"{source} | openssl x509 -noout -serial").strip()


def renew(node, authority, roots):
    """Another leaf and these roots, in use when the server shows it to who asks."""
    node.identity = authority.issue(node.member["address"]) | {"ca": roots}
    node.role.notify("identity", node.identity)
    new = serial_of(node.machine, f"echo '{node.identity['cert']}'")
    shown = f"openssl s_client -starttls mysql -connect {node.member['address']}:3306 2>/dev/null </dev/null"
    wait_until(lambda: serial_of(node.machine, shown) == new, 60, "the new certificate")


def feeds(pair):
    """The source's threads that feed the replica and its host's vault."""
    return set(pair.source.server.sql("SELECT id FROM information_schema.processlist WHERE user = 'mcp_repl' "
                                      "AND command LIKE 'Binlog Dump%'").split())


def test_certificates_and_their_authority_change_under_writes(pair, tmp_path):
    """As the platform rotates them: both roots, then new leaves, then the old root goes. What is connected stays so, and
    what connects anew is let in at each step."""
    old, new = pair.authority, Authority(tmp_path)
    roots = [(a.dir / "root.pem").read_text() for a in (old, new)]
    pair.sl.until("replicating")
    with Writes(pair) as writes:
        for authority, bundle in ((old, roots[0] + roots[1]), (new, roots[0] + roots[1]), (new, roots[1])):
            for node in (pair.sl, pair.hk):
                before = feeds(pair)
                renew(node, authority, bundle)
                assert before and feeds(pair) >= before  # nobody was disconnected
                pair.sl.server.sql("STOP SLAVE IO_THREAD; START SLAVE IO_THREAD")
                wait_until(lambda b=before: feeds(pair) - b, 60, "the replica, with what is there now")
        n = writes.n
        wait_until(lambda: writes.n > n + 5, 60)
    pair.caught_up()
    for server in (pair.hk.server, pair.sl.server):
        assert server.sql("SELECT count(*) FROM trade.orders WHERE id >= 1000") == str(writes.n)
    pair.sl.report_when(lambda db: db["state"] == "replicating" and not db["io"]["errno"] and not db["sql"]["errno"])
    for authority in (new, old):  # of the one that was taken away a leaf is worth nothing
        leaf = authority.issue(SL)
        for part in ("cert", "key"):
            pair.sl.server.write(f"run/leaf-{part}.pem", leaf[part])
        login = ["mariadb", "--no-defaults", f"--host={HK}", "--user=mcp_repl", "-NBe", "SELECT 1",
                 *[f"--ssl-{part}={pair.sl.server.dir}/run/leaf-{part}.pem" for part in ("cert", "key")]]
        if authority is new:
            assert pair.sl.machine.run(*login) == "1\n"
        else:
            with pytest.raises(AssertionError, match="ERROR"):
                pair.sl.machine.run(*login)
    pair.authority = new


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


def frozen(node, number, what):
    """The finding and the evidence of that error about `what`, when both are there: reports of an earlier one may lie in
    front."""
    def it(db):
        found = [f for f in db["findings"] if f["id"] == "frozen" and f["text"].endswith(f"-{number}.json")]
        text = node.machine.run("cat", found[0]["text"].rsplit(" ", 1)[1]) if found else ""
        box[:] = [found[0], json.loads(text)] if what in text else []
        return box
    box = []
    node.report_when(it)
    return box


def test_evidence_of_rows_that_differ(pair):
    """1062 and 1032: what came, and what is here under its keys; nothing is skipped, and it ends as it was begun."""
    pair.sl.server.sql("SET sql_log_bin=0; INSERT INTO trade.orders VALUES (60, 'errant')")
    pair.insert(60, "true")
    found, kept = frozen(pair.sl, 1062, "(60, 'true')")
    failed = next(t for t in kept["transactions"] if t["failed"])
    assert failed["sql"] == ["INSERT INTO orders VALUES (60, 'true')"]
    assert failed["rows"] == ["INSERT INTO `trade`.`orders` SET `id`=60 `note`='true'"]
    here, = kept["around"]
    assert here["key"] == "PRIMARY" and here["rows"] == [{"id": "60", "note": "errant"}]
    assert "Duplicate entry" in kept["error"] and kept["positions"]["received"].startswith("1-1-")
    assert "mcp data seed trade --host sl1" in found["fix"]
    pair.sl.server.sql("SET sql_log_bin=0; DELETE FROM trade.orders WHERE id = 60")
    pair.sl.ask("data.follow", epoch=pair.epoch)
    pair.caught_up()
    pair.sl.server.sql("SET sql_log_bin=0; DELETE FROM trade.orders WHERE id = 60")
    pair.source.server.sql("UPDATE orders SET note='later' WHERE id = 60", "trade")
    _, kept = frozen(pair.sl, 1032, "later")
    failed = next(t for t in kept["transactions"] if t["failed"])
    assert "`note`='later'" in failed["rows"][0] and kept["around"][0]["rows"] == []
    pair.sl.server.sql("SET sql_log_bin=0; INSERT INTO trade.orders VALUES (60, 'true')")
    pair.sl.ask("data.follow", epoch=pair.epoch)
    pair.caught_up()
    assert pair.sl.server.sql("SELECT note FROM trade.orders WHERE id = 60") == "later"


def test_a_lost_relay_log_is_fetched_again(pair):
    """Gone with a crash: rebuilt from the GTID, unaided."""
    pair.sl.server.kill()
    pair.insert(70)
    pair.sl.machine.run("sh", "-c", f"rm {pair.sl.server.dir}/relay/*")
    pair.sl.server.start()
    pair.insert(71)
    pair.caught_up()
    assert pair.sl.server.sql("SELECT count(*) FROM trade.orders WHERE id IN (70, 71)") == "2"
    pair.sl.until("replicating")


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


# ---- copies: the role makes them, keeps them, and takes them back to any transaction

def sums(server):
    """What CHECKSUM TABLE says of every table of ours."""
    tables = server.sql("SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables WHERE "
                        "table_schema='trade' ORDER BY 1").split()
    return dict(line.split("\t") for line in server.sql(f"CHECKSUM TABLE {','.join(tables)} EXTENDED").splitlines())


def restored_sums(answer):
    return {f"{t['database']}.{t['table']}": str(t["checksum"]) for t in answer["tables"] if t["database"] == "trade"}


def test_a_backup_is_made_verified_and_restored(pair):
    """By the role as it is locked in, of a replica: archive, manifest, and a data folder that is equal again."""
    node = pair.replica()
    node.machine.run("sh", "-c", "mkdir -p /var/lib/mcp/backups/trade && chown mysql: /var/lib/mcp/backups/trade")
    pair.caught_up()
    made = node.ask("data.backup.run")
    assert made["id"].startswith("trade-2") and made["id"].endswith(f"-{node.member['host']}") and made["gtid"]
    listed, = node.ask("data.backup.list")["backups"]
    assert listed["whole"] and listed["id"] == made["id"] and listed["digest"] == made["digest"]
    assert node.ask("data.backup.verify", id=made["id"])["id"] == made["id"]
    pair.insert(65, "after the backup")
    pair.caught_up()
    wanted, at = sums(node.server), node.ask("data.position")["gtid"]
    pair.source.server.sql("DELETE FROM trade.orders")
    pair.caught_up()
    done = node.ask("data.backup.restore", id=made["id"], gtid=at, into="/var/lib/mcp/backups/trade/there")
    assert restored_sums(done) == wanted and done["gtid"]
    assert node.machine.run("ls", "/var/lib/mcp/backups/trade/there/data/ibdata1")
    later = ",".join("1-1-99999999" if g.startswith("1-1-") else g for g in made["gtid"].split(","))
    refused = node.refused("data.backup.restore", id=made["id"], gtid=later)
    assert refused["code"] == "not_found" and "mcp data vault" in refused["fix"], refused
    pair.source.server.sql("INSERT INTO trade.orders SELECT seq, 'x' FROM trade.seq_1_to_100")


def reaches(position, wanted):
    """Is everything of `wanted` in this GTID position?"""
    here = {p.split("-")[0]: int(p.split("-")[2]) for p in position.split(",") if p}
    return all(here.get(p.split("-")[0], 0) >= int(p.split("-")[2]) for p in wanted.split(",") if p)


def test_the_vault_keeps_what_the_source_writes(pair):
    """Over TLS with the host's certificate, on over the role's death; with the backup it leads to a transaction that the
    replica's own logs do not have any more."""
    source, replica = pair.source, pair.replica()
    backup = replica.ask("data.backup.list")["backups"][0]["id"]
    for n in range(3):
        pair.insert(200 + n, "for the vault")
        source.server.sql("FLUSH BINARY LOGS")
        at = source.ask("data.position")["gtid"]
        replica.report_when(lambda db: reaches(db.get("vault", {}).get("gtid", ""), at))
        replica.role.kill()
        replica.start()
        pair.tell(replica)
    replica.report_when(lambda db: db.get("vault", {}).get("state") == "following")
    vault = replica.ask("data.vault")
    assert {log["server"] for log in vault["logs"]} == {source.member["server_id"]} and vault["gaps"] == []
    assert sum(log["packed"] for log in vault["logs"]) >= 3 and not any(log["why"] for log in vault["logs"])
    pair.caught_up()
    at, wanted = source.ask("data.position")["gtid"], sums(replica.server)
    replica.report_when(lambda db: reaches(db["vault"]["gtid"], at))
    replica.server.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS")
    last = replica.server.sql("SHOW BINARY LOGS").splitlines()[-1].split("\t")[0]
    replica.server.sql(f"PURGE BINARY LOGS TO '{last}'")
    done = replica.ask("data.backup.restore", id=backup, gtid=at, into="/var/lib/mcp/backups/trade/by-vault")
    assert restored_sums(done) == wanted and done["logs"] >= 3


def test_binary_logs_go_when_nobody_needs_them(pair):
    """Past the retention, and taken by every replica and every vault; what is not known of a holder counts as nothing."""
    source, replica = pair.source, pair.replica()
    pair.extra = {"replication": {"mode": "async", "heartbeat_ms": 1000, "recovery": "auto", "binlog_retention_ms": 1000}}
    pair.insert(300)
    source.server.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS")
    before = len(source.server.sql("SHOW BINARY LOGS").splitlines())
    assert before >= 3
    pair.tell(source)
    held = source.report_when(lambda db: db.get("binlog", {}).get("held_by") == replica.member["host"])
    assert held["binlog"]["files"] == before, held["binlog"]
    pair.caught_up()
    at = source.ask("data.position")["gtid"]

    def tell(**position):
        source.role.notify("world", {"hosts": {}, "positions": {"trade": {replica.member["host"]: position}}})
    tell(gtid=at, vault_gtid="")  # the vault may have nothing
    db = source.report_when(lambda db: db.get("binlog", {}).get("held_by_vault"))
    assert db["binlog"]["files"] == before
    source.report_when(lambda db: any(f["id"] == "binlog-held" for f in db["findings"]))
    tell(gtid=at, vault_gtid=at)
    db = source.report_when(lambda db: db.get("binlog", {}).get("purged", 0) >= before - 1)
    assert len(source.server.sql("SHOW BINARY LOGS").splitlines()) < before and db["binlog"]["held_by"] == ""
    pair.extra = {}
    pair.tell()


def test_a_due_backup_and_a_full_disk(pair):
    """The replica makes what is due, the source does not; a disk that fills leaves nothing half, and what is there stays."""
    node, folder = pair.replica(), "/var/lib/mcp/small"
    node.machine.run("sh", "-c", f"mkdir -p {folder} && mount -t tmpfs -o size=200k small {folder} && mkdir {folder}/trade && "
                     f"chown mysql: {folder}/trade")
    pair.extra = {"backup": {"directory": folder, "keep_ms": 86400000, "schedule": "hourly"}}
    pair.tell(node)
    db = node.report_when(lambda db: any(f["id"] == "backup" for f in db["findings"]))
    assert db["backup"]["newest"] == "" and "no space" in db["backup"]["error"].lower(), db["backup"]
    assert node.machine.run("ls", f"{folder}/trade") == ""
    node.machine.run("mount", "-o", "remount,size=1200k", folder)
    made = node.ask("data.backup.run")["id"]
    node.report_when(lambda db: db["backup"]["newest"] == made and db["backup"]["error"] == "")
    refused = node.refused("data.backup.run")
    assert refused["code"] == "limit" and "has room for" in refused["message"], refused
    listed, = node.ask("data.backup.list")["backups"]
    assert listed["id"] == made and node.ask("data.backup.verify", id=made)
    node.machine.run("sh", "-c", f"printf x | dd of={listed['path']} bs=1 seek=9000 conv=notrunc 2>/dev/null")
    assert made in node.refused("data.backup.verify", id=made)["message"]
    pair.extra = {}
    pair.tell()


def test_a_disk_that_fills(pair):
    """80 % is told with a forecast when there is one; over 90 % logs go before their time, but what a replica may still
    need only when the declaration gives that replica up."""
    source, replica = pair.source, pair.replica()
    replication = {"mode": "async", "heartbeat_ms": 1000, "recovery": "auto", "binlog_retention_ms": 60000}

    def fill(percent):
        """The disk becomes smaller rather than fuller."""
        used = int(source.machine.run("df", "--output=used", "-B1", source.server.dir).split()[-1])
        source.machine.run("mount", "-o", f"remount,size={used * 100 // percent}", "/var/lib/mcp")

    def found(*wanted):
        ids = set()

        def fits(db):
            ids.clear()
            ids.update(f["id"] for f in db["findings"])
            return ids.issuperset(wanted)
        return source.report_when(fits)
    pair.caught_up()
    pair.extra = {"replication": replication}
    source.server.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS")
    pair.tell(source)
    at = source.ask("data.position")["gtid"]  # the vault has all, of the replica nothing is known
    source.role.notify("world", {"hosts": {}, "positions": {"trade": {replica.member["host"]: {"vault_gtid": at}}}})
    fill(85)
    found("disk-low")
    fill(93)
    found("disk-full")
    held = source.report_when(lambda db: db["binlog"]["held_by"] == replica.member["host"])
    assert held["binlog"]["files"] >= 3 and not held["binlog"]["held_by_vault"]
    full = next(f for f in held["findings"] if f["id"] == "disk-full")
    assert replica.member["host"] in full["text"] and "sacrifice" in full["fix"]
    pair.extra = {"replication": {**replication, "disk_full": "sacrifice:" + replica.member["region"]}}
    pair.tell(source)
    db = found("binlog-sacrificed")
    assert db["binlog"]["purged"] >= 2 and len(source.server.sql("SHOW BINARY LOGS").splitlines()) < held["binlog"]["files"]
    fill(40)
    source.report_when(lambda db: not any(f["id"].startswith("disk-") for f in db["findings"]))
    pair.extra = {}
    pair.tell()
