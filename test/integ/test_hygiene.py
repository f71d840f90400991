# SPDX-License-Identifier: Apache-2.0
"""What goes wrong beside replication itself, on two real servers: each is seen, told once with what mends it, and cleared."""
import contextlib
import pathlib
import signal
import threading
import struct
import subprocess
import sys
import time

import pymysql
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from test_replication import CLOSED, HK, SL, Pair  # noqa: E402

CHECK_MS = 1000


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    p = Pair(tmp_path_factory.mktemp("ca"))
    p.extra = {"replication": {"mode": "async", "heartbeat_ms": 1000, "recovery": "auto", "read_only_check_ms": CHECK_MS}}
    p.tell()
    p.hk.until("writable")
    p.sl.until("replicating")
    yield p
    p.close()


def found(node, wanted, text=""):
    """The finding of that id, as soon as it is reported."""
    def fits(f):
        return f["id"] == wanted and text in f["text"]
    node.ask("data.position")
    node.role.said.clear()  # reports of long ago, while another node was listened to
    try:
        db = node.report_when(lambda db: any(fits(f) for f in db["findings"]))
    except AssertionError:
        print(node.server.log()[-6000:])
        raise
    return next(f for f in db["findings"] if fits(f))


def cleared(node, wanted):
    node.report_when(lambda db: all(f["id"] != wanted for f in db["findings"]))


def alarms(node, text):
    """How often the timeline was told of it until now, in what was heard."""
    return sum(m.get("method") == "timeline" and m["params"]["kind"] == "alarm" and text in m["params"]["message"]
               for m in node.role.said)


@contextlib.contextmanager
def session(node, *words):
    """A client that stays: statements go in line by line."""
    client = subprocess.Popen(node.machine.enter("mariadb", "--no-defaults", "--unbuffered", "--batch", "--skip-column-names",
                                                 f"--socket={node.server.dir}/run/db.sock", "--user=root", *words),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield client
    finally:
        client.stdin.close()
        client.wait()
        client.stdout.close()


def say(client, statement, answer=True):
    client.stdin.write(statement + "; SELECT 'done';\n")
    client.stdin.flush()
    while answer and client.stdout.readline() != "done\n":
        assert client.poll() is None


def test_a_replica_proves_that_it_takes_no_writes(pair):
    db = pair.sl.report_when(lambda db: db["check"] and db["check"]["read_only"] and not db["findings"])
    assert db["check"]["serving"] and db["check"]["age_ms"] < 60000
    assert "2-2-" not in db["gtid"]  # and the proof leaves no transaction


def test_figures(pair):
    """Of what the report says, in seconds and bytes; what a source has no figure of is NaN."""
    def value(node, name):
        return node.role.metric(f'mcp_data_{name}{{database="trade"}}')
    assert value(pair.hk, "writable") == 1 and value(pair.sl, "writable") == 0 and value(pair.sl, "replicating") == 1
    assert value(pair.hk, "up") == value(pair.sl, "epoch") == value(pair.sl, "lag_uncertain") == 1
    assert 0 <= value(pair.sl, "lag_seconds") < 60 and value(pair.hk, "lag_seconds") != value(pair.hk, "lag_seconds")
    assert value(pair.sl, "disk_bytes") > value(pair.sl, "disk_free_bytes") > 2 ** 20
    assert value(pair.sl, "heartbeat_seq") > 0 and value(pair.sl, "missing_transactions") < 1000
    assert value(pair.sl, "read_only_check_age_seconds") < 60


def test_a_silently_writable_replica_is_found(pair):
    """read_only is on, and an ordinary account writes all the same: no look at variables shows that."""
    sl = pair.sl
    sl.server.sql("SET sql_log_bin=0; GRANT READ_ONLY ADMIN ON *.* TO PUBLIC")
    f = found(sl, "writable")
    assert f["severity"] == "error" and "PUBLIC" in f["text"], f
    sl.server.sql("SET sql_log_bin=0; REVOKE READ_ONLY ADMIN ON *.* FROM PUBLIC")
    sl.report_when(lambda db: db["check"]["read_only"])


def test_an_opened_replica_is_closed_and_told_once(pair):
    pair.sl.server.sql("SET GLOBAL read_only=0")
    pair.sl.noted(*CLOSED)
    pair.sl.noted("cleared: writable")
    assert pair.sl.server.sql("SELECT @@read_only") == "1"


def test_tables_without_a_primary_key_are_named(pair):
    pair.hk.server.sql("CREATE TABLE bare (a INT, b VARCHAR(100)); CREATE TABLE keyed (a INT PRIMARY KEY)", "trade")
    f = found(pair.hk, "no-primary-key")
    assert "trade.bare" in f["text"] and "keyed" not in f["text"] and "ALTER TABLE" in f["fix"]
    assert pair.hk.ask("data.facts")["no_primary_key"] == ["trade.bare"]  # and so says a preflight


def test_slow_applying_names_who_holds_it_up(pair):
    pair.insert(1)
    pair.caught_up()
    with session(pair.sl, "trade") as client:
        say(client, "BEGIN")
        say(client, "SELECT * FROM orders WHERE id=1 FOR UPDATE")
        pair.hk.server.sql("UPDATE orders SET note='later' WHERE id=1", "trade")
        db = pair.sl.report_when(lambda db: any("holds it up" in f["text"] for f in db["findings"]))
        f, = (f for f in db["findings"] if f["id"] == "slow-apply")
        assert "root@localhost" in f["text"] and "KILL" in f["fix"], f
        say(client, "ROLLBACK")
    pair.caught_up()


def test_slow_applying_names_the_table_that_it_scans(pair):
    """Each changed row costs a scan: how many rows that takes to be slow is this machine's business."""
    hk, sl = pair.hk, pair.sl

    def number(gtid):
        return int(gtid.rsplit("-", 1)[1])

    def names(db):
        return [f for f in db["findings"] if f["id"] == "slow-apply" and "trade.bare" in f["text"]]
    rows, slow = 3000, []
    while not slow and rows < 100000:
        hk.server.sql(f"CREATE OR REPLACE TABLE bare (a INT, b VARCHAR(100)); INSERT INTO bare SELECT seq, REPEAT('x', 90) FROM seq_1_to_{rows}", "trade")
        pair.caught_up()
        hk.server.sql("UPDATE bare SET b='y'", "trade")
        gtid = hk.ask("data.position")["gtid"]
        slow = names(sl.report_when(lambda db: names(db) or number(db["gtid"]) >= number(gtid)))
        rows *= 2
    assert "no primary key" in slow[0]["text"] and "ALTER TABLE trade.bare" in slow[0]["fix"], slow
    hk.server.sql("DROP TABLE bare", "trade")


@contextlib.contextmanager
def stranger(node, number):
    """Registers as a replica of that number (COM_REGISTER_SLAVE), and stays."""
    socket = f"/proc/{node.machine.holder.pid}/root{node.server.dir}/run/db.sock"
    connection = pymysql.connect(user="root", unix_socket=socket)
    connection._execute_command(0x15, struct.pack("<I", number) + b"\x05bandy\0\0" + struct.pack("<HII", 3306, 0, 0))
    connection._read_ok_packet()
    yield
    connection.close()


def test_slow_applying_that_gets_on_is_given_more_threads(pair):
    """Each row takes a while at the replica, and nothing is in its way but their number."""
    pair.caught_up()
    pair.sl.server.sql("SET sql_log_bin=0; SET GLOBAL slave_run_triggers_for_rbr=1; CREATE TRIGGER slow BEFORE INSERT ON orders "
                       "FOR EACH ROW DO SLEEP(0.25)", "trade")
    before = int(pair.sl.server.sql("SELECT @@slave_parallel_threads"))
    pair.hk.server.sql(";".join(f"INSERT INTO orders VALUES ({n}, 'slow')" for n in range(700, 780)), "trade")
    note = pair.sl.noted("more threads apply what comes from the source")
    assert note["cause"] == f"{2 * before} threads", note
    assert pair.sl.server.sql("SELECT @@slave_parallel_threads") == str(2 * before)
    pair.sl.server.sql("SET sql_log_bin=0; SET lock_wait_timeout=60; DROP TRIGGER slow; SET GLOBAL slave_run_triggers_for_rbr=0", "trade")
    pair.caught_up()
    pair.sl.until("replicating")


def test_replicas_and_writers_that_nobody_declared(pair):
    """A stranger who reads the binary log, one who writes under another server's number, an account of nobody."""
    hk = pair.hk
    with stranger(hk, 77):
        assert "server 77" in found(hk, "unknown-replica")["text"]
    hk.server.sql("SET SESSION server_id=99; INSERT INTO orders VALUES (99, 'whose')", "trade")
    found(hk, "unknown-writer", "server 99")
    hk.server.sql("SET sql_log_bin=0; CREATE USER bob@localhost")
    pair.extra["accounts"] = [{"user": "api", "passwords": [], "grants": []}]
    pair.tell()
    with session(hk, "--user=bob") as client:
        say(client, "SELECT 1")
        found(hk, "unknown-writer", "bob@localhost")
    hk.server.sql("SET sql_log_bin=0; DROP USER bob@localhost")
    del pair.extra["accounts"]
    pair.tell()


def test_a_replica_of_somebody_else_comes_back(pair):
    """Somebody points it elsewhere by hand: told, and it follows its source again."""
    for _ in range(20):  # what is stopped is started again, at times between two statements
        with contextlib.suppress(AssertionError):
            pair.sl.server.sql("STOP SLAVE; CHANGE MASTER TO MASTER_HOST='10.20.0.99', MASTER_PORT=3307; START SLAVE")
            break
    found(pair.sl, "wrong-source", "10.20.0.99:3307")
    pair.insert(200)
    pair.caught_up()
    pair.sl.server.sql("CHANGE MASTER 'old' TO MASTER_HOST='10.20.0.98', MASTER_USER='x'")
    found(pair.sl, "wrong-source", "connection old")
    pair.sl.server.sql("RESET SLAVE 'old' ALL")


def test_a_replica_that_would_refuse_sessions(pair):
    pair.sl.server.sql("SET GLOBAL max_connections=90; SET GLOBAL event_scheduler=ON")
    pair.sl.role.notify("world", {"hosts": {}, "positions": {"trade": {"hk1": {"gtid": "", "max_connections": 100}}}})
    db = pair.sl.report_when(lambda db: {"max-connections", "event-scheduler"} <= {f["id"] for f in db["findings"]})
    assert "90" in next(f for f in db["findings"] if f["id"] == "max-connections")["text"]
    pair.sl.server.sql("SET GLOBAL max_connections=100; SET GLOBAL event_scheduler=OFF")


def refusals(server):
    return int(server.sql("SHOW GLOBAL STATUS LIKE 'Aborted_connects'").split("\t")[1])


def end_feeds(server):
    ids = server.sql("SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'").split()
    server.sql("; ".join(f"KILL {i}" for i in ids))


def test_refused_logins_are_no_storm(pair):
    """The source's certificate ends: new connections fail. Few are tried; another certificate is enough to go on."""
    hk, sl = pair.hk, pair.sl
    hk.role.notify("identity", pair.authority.issue(HK, days=0))
    found(hk, "certificate", "has ended")
    hk.ask("data.position")
    before = refusals(hk.server)
    end_feeds(hk.server)
    f = found(sl, "login-refused")
    assert "hk1 refuses this replica's login" in f["text"], f
    tries = sl.report_when(lambda db: db["ladder"]["tries"] >= 4)["ladder"]["tries"]
    assert refusals(hk.server) - before <= 3 * tries + 3  # the server itself tries once a second until it is stopped
    hk.role.notify("identity", hk.identity)
    hk.ask("data.position")
    sl.role.notify("identity", pair.authority.issue(SL))
    sl.until("replicating")
    pair.insert(300)
    pair.caught_up()
    cleared(sl, "login-refused")


def test_a_clock_that_jumps_makes_the_lag_uncertain(pair):
    """The source's, as its rows tell it; until the hosts have compared their clocks again."""
    def compared():
        pair.sl.role.notify("world", {"hosts": {"hk1": {
            "offset_us": 0, "error_us": 900, "boot_ms": int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)}}})
    compared()
    pair.sl.report_when(lambda db: not db["uncertain"])
    jump = "UPDATE mcp_dts.heartbeat SET seq=seq+1, ts6=ts6 + INTERVAL 5 SECOND WHERE server_id=1"
    # The next row is told in time again, so it is seen to jump back, too.
    db = pair.sl.report_when(lambda db: db["uncertain"] or pair.hk.server.sql(jump))
    found(pair.sl, "clock-uncertain", "has jumped")
    assert "uncertain" in db
    compared()
    pair.sl.report_when(lambda db: not db["uncertain"])


def test_a_delayed_replica_is_late_by_declaration(pair):
    pair.sl.member["delay_ms"] = 5000
    pair.tell()
    pair.sl.report_when(lambda db: db["state"] == "replicating" and (db["lag_ms"] or 0) >= 5000)
    pair.insert(400)
    db = pair.sl.report_when(lambda db: 5000 <= db["lag_ms"] < 5000 + 3000)
    assert db["late_ms"] == db["lag_ms"] - 5000 and not [f for f in db["findings"] if f["id"] == "slow-apply"]
    pair.sl.member["delay_ms"] = 0
    pair.tell()
    pair.caught_up()


def test_semi_sync_that_is_not_is_told(pair):
    """Settings as my.cnf of a semi-sync database has them. While the replica hangs, commits wait for nobody."""
    pair.hk.server.sql("SET GLOBAL rpl_semi_sync_master_timeout=300; SET GLOBAL rpl_semi_sync_master_enabled=1")
    pair.sl.server.sql("SET GLOBAL rpl_semi_sync_slave_enabled=1; STOP SLAVE IO_THREAD; START SLAVE IO_THREAD")
    pair.extra["replication"]["mode"] = "semi-sync"
    pair.tell()
    pair.insert(500)
    pair.caught_up()
    pair.sl.server.signal(signal.SIGSTOP)
    pair.insert(501)
    found(pair.hk, "semi-sync-degraded", "asynchronous now")
    pair.sl.server.signal(signal.SIGCONT)
    pair.caught_up()
    cleared(pair.hk, "semi-sync-degraded")


def test_a_commit_is_acknowledged_by_the_replica_or_not_at_all(pair):
    """`sync`: the document promises that the replica has it. Commits wait as long as that stands, and go on when it has ended."""
    pair.extra["replication"]["mode"] = "semi-sync"
    pair.extra["sync"] = True
    pair.sl.server.sql("SET GLOBAL rpl_semi_sync_slave_enabled=1; STOP SLAVE IO_THREAD; START SLAVE IO_THREAD")
    pair.tell()
    pair.hk.report_when(lambda db: db.get("sync", {}).get("firm") and db["sync"]["clients"] == 1)
    pair.insert(510)
    pair.sl.server.signal(signal.SIGSTOP)
    waiting = threading.Thread(target=pair.insert, args=(511,))
    waiting.start()
    pair.hk.report_when(lambda db: db.get("sync", {}).get("stalled_ms", 0) >= 2000)
    assert waiting.is_alive()
    pair.extra["sync"] = False
    pair.tell()
    waiting.join(60)
    assert not waiting.is_alive() and pair.hk.server.sql("SELECT count(*) FROM trade.orders WHERE id = 511") == "1"
    pair.hk.report_when(lambda db: not db["sync"]["firm"])
    pair.sl.server.signal(signal.SIGCONT)
    pair.caught_up()


def test_an_old_source_waits_for_nobody(pair):
    """Its commits waited for a replica when the source moved: what it applies from then on waits for none."""
    pair.extra["replication"]["mode"] = "semi-sync"
    pair.extra["sync"] = True
    pair.tell()
    pair.hk.report_when(lambda db: db.get("sync", {}).get("firm") and db["sync"]["clients"] == 1)
    frozen = pair.hk.ask("data.readonly", on=True, epoch=pair.epoch, id=20)
    assert pair.sl.ask("data.wait", gtid=frozen["gtid"], timeout_ms=30000)["reached"]
    pair.epoch, pair.source, pair.extra["sync"] = pair.epoch + 1, pair.sl, False
    pair.tell(pair.sl)
    pair.sl.ask("data.promote", epoch=pair.epoch)
    pair.last_id = 20
    pair.tell(pair.hk)
    pair.hk.ask("data.follow", epoch=pair.epoch)
    pair.insert(520)
    pair.caught_up()
    assert pair.hk.server.sql("SELECT @@rpl_semi_sync_master_enabled") == "0"
