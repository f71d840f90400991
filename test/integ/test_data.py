# SPDX-License-Identifier: Apache-2.0
"""Databases as engines: three hosts, real etcd, real mariadbd. What runs is read-only until somebody is told otherwise,
outlives whoever started it, and comes back when it is killed."""
import json
import os
import pathlib
import re
import signal
import time

import pytest
from lablib import Lab, unique_name, wait_until

DIR = "/var/lib/mcp/data/trade"
PLATFORM = """platform: @
domain: data.example
regions:
  ra: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}
  rb: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}
hosts:
  a1: {region: ra, address: 10.20.0.11, public: true}
  a2: {region: ra, address: 10.20.0.12}
  b1: {region: rb, address: 10.40.0.11, public: true}
state: {members: [a1, a2, b1]}
lab:
  wan: [{between: [ra, rb], delay: 2ms}]
data:
"""
TRADE = "  trade: {source: ra, %(schema)sreplicas: %(replicas)s, connections: %(connections)s, " \
        "limits: {memory: %(memory)s}%(also)s}\n"


class Data(Lab):
    def __init__(self, folder):
        self.values = {"schema": "schema: trade.sql, ", "replicas": "[rb]", "connections": 200, "memory": "512MiB",
                       "also": "", "more": ""}
        pathlib.Path(folder, "trade.sql").write_text("CREATE TABLE IF NOT EXISTS orders (id BIGINT PRIMARY KEY);\n")
        super().__init__(PLATFORM + TRADE % self.values, name=unique_name("data"), folder=folder)

    def declare(self, text):
        self.file.write_text(text.replace("@", self.name))

    def apply(self, *args, check=True, keep=True, **values):
        """keep: what is given holds for the applies to come as well."""
        now = self.values | values
        if keep:
            self.values = now
        self.declare(PLATFORM + TRADE % now + now["more"])
        return self.mcp("apply", *args, check=check)

    def unit(self, host, name="db-trade"):
        return next((u for u in self.status()["units"] if u["host"] == host and u["name"] == name), None)

    def ready(self, host, but=0, timeout=60):
        def look():
            u = self.unit(host)
            return u if u and u["state"] == "ready" and u["pid"] != but else None
        return wait_until(look, timeout, f"db-trade on {host}")

    def sql(self, host, *statements):
        p = self.exec(host, "mariadb", "--no-defaults", "-NB", "-S", f"{DIR}/run/db.sock", "-e", "; ".join(statements))
        return [line.split("\t") for line in p.stdout.splitlines()]

    def snapshot(self, host):
        """What the data role of the host was told last."""
        text = self.path(host, "/var/lib/mcp/data/databases.json").read_text()
        return {d["name"]: d for d in json.loads(text)["databases"]}

    def role(self, host, name):
        roles = next(h for h in self.status()["hosts"] if h["name"] == host)["roles"]
        return next(r["pid"] for r in roles if r["name"] == name)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Data(tmp_path_factory.mktemp("data")) as lab:
        begun = time.monotonic()
        lab.up()
        print(f"up with two databases in {time.monotonic() - begun:.1f} s")
        yield lab


def first_ready_s(lab, host):
    """From the first start of the engine to its readiness, by the timeline."""
    lines = [json.loads(line) for line in lab.mcp("timeline", "--json").stdout.splitlines()]
    told = {e["message"]: e["boot_ms"] for e in reversed(lines)
            if e["kind"] == "unit" and e["subject"] == "db-trade" and e["host"] == host}
    return (told["ready"] - told["starting"]) / 1000


def test_engines_run_where_they_are_declared(lab):
    assert lab.ready("a2") and lab.ready("b1") and lab.unit("a1") is None
    source, replica = lab.snapshot("a2")["trade"], lab.snapshot("b1")["trade"]
    assert (source["duty"], replica["duty"], source["epoch"]) == ("source", "replica", 1)
    assert source["self"]["server_id"] != replica["self"]["server_id"]
    assert source["schema"][0]["name"] == "trade.sql" and source["tls_ready"]
    for host in ("a2", "b1"):
        print(f"first start to ready on {host}: {first_ready_s(lab, host):.2f} s (its template included)")


def test_status_shows_replication_and_true_lag(lab):
    """Fed by both roles over both controls, whichever host is asked; clocks compared between controls."""
    def replicates(answer):
        r = answer["replicas"][0]
        return r if r["state"] == "replicating" and r["ship_ms"] is not None and not r["uncertain"] else None

    def ask(*args, host=None):
        return json.loads(lab.mcp("data", "status", *args, "--json").stdout)
    r = wait_until(lambda: replicates(ask("trade")), 60, "a certain lag")
    status = ask("trade")
    assert (status["source"], status["epoch"], status["state"]) == ("a2", 1, "writable")
    assert (r["host"], r["region"]) == ("b1", "rb") and r["gtid"] and 0 <= r["lag_ms"] < 5000
    assert ask()["databases"][0]["replicas"][0]["host"] == "b1"
    text = lab.mcp("data", "status").stdout
    assert "trade: source a2 (ra), epoch 1, writable" in text and "replicating" in text
    print(lab.mcp("data", "lag", "trade").stdout)
    assert lab.mcp("data", "status", "nothing", check=False).returncode != 0
    lab.sql("a2", "INSERT INTO trade.orders VALUES (1)")
    wait_until(lambda: lab.sql("b1", "SELECT id FROM trade.orders") == [["1"]], 60, "the row at the replica")


def test_backup_and_back_to_a_transaction(lab):
    """On the replica, by the command line; restored beside the backups to a transaction before an accident."""
    def ask(*args):
        return json.loads(lab.mcp(*args, "--json").stdout)
    print(lab.mcp("backup", "run", "trade").stdout)
    one, = ask("backup", "list", "trade")["backups"]
    assert one["host"] == "b1" and one["whole"] and one["path"].startswith("/var/backups/mcp/trade/trade-")
    lab.mcp("backup", "verify", one["id"])
    lab.sql("a2", "INSERT INTO trade.orders SELECT seq FROM trade.seq_1000_to_1999")
    wanted, = lab.sql("a2", "SELECT @@gtid_binlog_pos")[0]
    lab.sql("a2", "DELETE FROM trade.orders WHERE id >= 1000")
    gone, = lab.sql("a2", "SELECT @@gtid_binlog_pos")[0]
    wait_until(lambda: lab.sql("b1", f"SELECT MASTER_GTID_WAIT('{gone}', 1)") == [["0"]], 60, "the replica")
    done = ask("backup", "restore", "trade", "--to", wanted, "--into", "/var/backups/mcp/trade/there")
    print(lab.mcp("backup", "restore", "trade", "--to", wanted).stdout)
    orders, = (t for t in done["tables"] if (t["database"], t["table"]) == ("trade", "orders"))
    assert orders["rows"] == 1000 + len(lab.sql("a2", "SELECT id FROM trade.orders")), done
    assert lab.mcp("backup", "restore", "trade", "--to", "1-1-99999999", check=False).returncode == 1
    here, = (v for v in ask("data", "vault", "trade")["vaults"] if v["host"] == "b1")
    assert here["follower"]["state"] == "following" and here["follower"]["behind"] < 1000 and here["logs"] and not here["gaps"]
    print(lab.mcp("data", "vault", "trade").stdout)
    assert lab.mcp("backup", "verify", "trade-20200101T000000Z-b1", check=False).returncode == 1
    print(lab.mcp("backup", "list").stdout)


def test_what_is_found_is_an_alarm(lab):
    """A replica proves that it refuses writes; transactions of a server that is no member are told, with who they are of."""
    lab.sql("a2", "SET SESSION server_id = 99", "INSERT INTO trade.orders VALUES (99)")
    alarm = wait_until(lambda: next((a["text"] for a in lab.status()["alarms"] if "server 99" in a["text"]), None), 90,
                       "the alarm")
    assert "trade@" in alarm and "unknown-writer" in alarm
    wait_until(lambda: "proven" in lab.mcp("data", "status").stdout, 90, "the proof")
    assert "server 99" in lab.mcp("data", "status").stdout
    assert "server 99" in lab.mcp("timeline", "--kind", "alarm").stdout


@pytest.mark.parametrize("host", ["a2", "b1"])
def test_what_keeps_data_safe_is_set(lab, host):
    names = ["sync_binlog", "innodb_flush_log_at_trx_commit", "gtid_strict_mode", "log_slave_updates",
             "relay_log_recovery", "binlog_format", "slave_net_timeout", "require_secure_transport", "local_infile",
             "event_scheduler", "performance_schema", "binlog_expire_logs_seconds", "have_ssl", "slave_parallel_mode",
             "rpl_semi_sync_master_wait_point", "character_set_server"]
    values = lab.sql(host, "SELECT " + ", ".join(f"@@{n}" for n in names))[0]
    assert dict(zip(names, values)) == {
        "sync_binlog": "1", "innodb_flush_log_at_trx_commit": "1", "gtid_strict_mode": "1",
        "log_slave_updates": "1", "relay_log_recovery": "1", "binlog_format": "ROW", "slave_net_timeout": "10",
        "require_secure_transport": "1", "local_infile": "0", "event_scheduler": "OFF", "performance_schema": "0",
        "binlog_expire_logs_seconds": "1209600", "have_ssl": "YES", "slave_parallel_mode": "optimistic",
        "rpl_semi_sync_master_wait_point": "AFTER_SYNC", "character_set_server": "utf8mb4"}
    assert "\nread_only = ON\n" in lab.path(host, f"{DIR}/my.cnf").read_text()
    # Nobody but the platform comes in, and only by the socket.
    users = lab.sql(host, "SELECT user, host FROM mysql.global_priv WHERE user NOT LIKE 'mcp%' AND user != 'mariadb.sys'")
    assert sorted(u for u in users) == [["mysql", "localhost"], ["root", "localhost"]]
    pid = lab.unit(host)["pid"]
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"^Uid:\t(?!0\b)", status, re.M) and re.search(r"^CapEff:\t0+$", status, re.M)


def test_servers_know_each_other_by_certificate(lab):
    """The leaf `data` opens the other's server; no other certificate of this host does, and none does not."""
    lab.sql("a2", "SET sql_log_bin = 0",
            "CREATE OR REPLACE USER probe@'%' REQUIRE SUBJECT '/O=MCP/CN=mcp-data'")
    tls = f"--ssl-ca={DIR}/tls/ca.pem"

    def login(*args):
        p = lab.exec("b1", "mariadb", "--no-defaults", "-h", "10.20.0.12", "-u", "probe", *args, "-e", "SELECT 1",
                     check=False)
        return p.returncode == 0, p.stderr

    assert login(tls, "--ssl-verify-server-cert", f"--ssl-cert={DIR}/tls/cert.pem", f"--ssl-key={DIR}/tls/key.pem")[0]
    for other in ([tls, "--ssl-cert=/var/lib/mcp/pki/host.pem", "--ssl-key=/var/lib/mcp/pki/host.key"], [tls],
                  ["--skip-ssl"]):
        ok, said = login(*other)
        assert not ok and ("Access denied" in said or "insecure transport" in said), said
    lab.sql("a2", "SET sql_log_bin = 0", "DROP USER probe@'%'")


def test_it_outlives_agent_and_host(lab):
    pid = lab.ready("a2")["pid"]
    agent = lab.role("a2", "agent")
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: lab.role("a2", "agent") not in (agent, 0), 60, "another agent")
    assert lab.ready("a2")["pid"] == pid
    host = lab.service_pid("a2")
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: lab.service_pid("a2") not in (host, 0), 60, "another host process")
    u = lab.ready("a2")
    assert u["pid"] == pid and u["restarts"] == 0
    assert lab.sql("a2", "SELECT 1") == [["1"]]


def test_killed_it_comes_back(lab):
    """Read-only, whatever it was before, and nothing that the dead one left stands in the way."""
    for host in ("b1", "a2"):
        pid = lab.ready(host)["pid"]
        lab.sql(host, "SET GLOBAL read_only = 0")
        begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        u = lab.ready(host, but=pid)
        print(f"killed to ready on {host}: {time.monotonic() - begun:.2f} s")
        assert u["restarts"] == 1
    assert lab.sql("b1", "SELECT @@read_only")[0][0] == "1"


def test_slow_is_not_dead(lab):
    """A server that does not answer for longer than any probe waits is shown as such, and left alone."""
    pid = lab.ready("b1")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        u = wait_until(lambda: (lambda u: u if u["state"] == "unhealthy" else None)(lab.unit("b1")), 60, "unhealthy")
        assert u["pid"] == pid
    finally:
        os.kill(pid, signal.SIGCONT)
    u = lab.ready("b1")
    assert u["pid"] == pid and u["restarts"] == 1


def stopped_and_ready(lab, host):
    """When its server stopped last, and was ready again after it."""
    lines = [json.loads(line) for line in lab.mcp("timeline", "--json").stdout.splitlines()]
    told = {e["message"]: e["time"] for e in lines
            if e["kind"] == "unit" and e["subject"] == "db-trade" and e["host"] == host}
    return told["stopping"], told["ready"]


def test_a_changed_setting_restarts_it_orderly(lab):
    """Replicas first, the source when they replicate again: never two at a time."""
    before = {host: lab.ready(host)["pid"] for host in ("a2", "b1")}
    plan = lab.apply("--dry-run", connections=230).stdout
    assert "connections: 200 → 230" in plan and "restarts its engines" in plan
    lab.apply("--wait")
    for host, pid in before.items():
        assert lab.ready(host, but=pid)
        assert lab.sql(host, "SELECT @@max_connections")[0][0] == str(230 + 24)
    times = {host: stopped_and_ready(lab, host) for host in ("a2", "b1")}
    assert times["b1"][1] <= times["a2"][0], times
    log = lab.mcp("logs", "db-trade", "--lines", "400").stdout
    assert "Shutdown complete" in log


def test_over_its_memory_it_is_killed_and_named(lab):
    """Its own limit ends it, nobody else's process."""
    lab.apply("--wait", memory="192MiB")
    pid = lab.ready("b1")["pid"]
    big = "USE mysql; SET SESSION max_heap_table_size = 1 << 30; CREATE TEMPORARY TABLE big ENGINE = MEMORY AS " \
          "SELECT seq, REPEAT('x', 255) AS a FROM seq_1_to_4000000"
    p = lab.exec("b1", "mariadb", "--no-defaults", "-S", f"{DIR}/run/db.sock", "-e", big, check=False)
    assert p.returncode != 0, p.stdout
    assert lab.ready("b1", but=pid)
    story = lab.mcp("timeline", "--host", "b1", check=False).stdout or lab.mcp("timeline").stdout
    assert "out of memory (limit 192MiB)" in story
    lab.apply("--wait", memory="512MiB")


def test_what_no_apply_does_to_data(lab):
    external = ', managed: false, secret: s, external: {ra: "a.b:1", rb: "c.d:1"}'
    for values, why in (({"also": ", hosts: {ra: a1}"}, "ra is its source, and would move from host a2 to a1"),
                        ({"also": external, "schema": ""}, "engine: mariadb → external mariadb")):
        before = lab.status()["revision"]
        p = lab.apply(check=False, keep=False, **values)
        assert p.returncode == 3 and why in p.stderr, p.stderr
        assert lab.status()["revision"] == before


def test_a_member_leaves_and_its_data_stays(lab):
    lab.sql("b1", "SET sql_log_bin = 0", "CREATE DATABASE IF NOT EXISTS kept")
    p = lab.apply("--wait", replicas="[]")
    assert "stops its engine, the data on b1 stays there" in p.stdout
    wait_until(lambda: lab.unit("b1") is None, 60, "its end")
    assert lab.path("b1", f"{DIR}/data/kept").is_dir()
    assert "b1 leaves" in lab.mcp("timeline").stdout
    wait_until(lambda: lab.snapshot("b1") == {}, 60, "its data role told")
    assert lab.ready("a2")
    # Back under a number of its own: what it wrote before is told apart from what it writes now.
    lab.apply("--wait", replicas="[rb]")
    assert lab.ready("b1") and lab.snapshot("b1")["trade"]["self"]["server_id"] == 3


def test_external_servers_are_handed_on(lab):
    lab.apply("--wait", more='  crm: {engine: mysql, managed: false, source: rb, secret: crm_admin, '
                             'external: {rb: "10.9.0.5:3310"}}\n')
    crm = wait_until(lambda: lab.snapshot("b1").get("crm"), 60, "the snapshot")
    assert crm["engine"] == "mysql" and crm["dir"] is None and not crm["managed"]
    assert (crm["self"]["address"], crm["self"]["port"]) == ("10.9.0.5", 3310)
    assert crm["external"] == {"tls": True, "login": None}
    assert lab.unit("b1", "db-crm") is None
    lab.apply("--wait", more="")
