# SPDX-License-Identifier: Apache-2.0
"""Servers that others run: the data role supervises them by TCP with a login that it is told, one role beside each."""

import pytest
from test_replication import HK, SL, Pair

PASSWORD = "external-canary-5d1f0c"
HASH = "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"  # of "password"


class External(Pair):
    """An administrator's servers: TLS by certificates of his own, an account for the platform."""

    def __init__(self, folder):
        super().__init__(folder)
        self.extra = {"managed": False, "dir": None, "external": {"tls": True, "login": None}, "schema": []}
        for n in (self.hk, self.sl):
            n.server.sql(f"SET sql_log_bin=0; CREATE USER platform@'%' IDENTIFIED BY '{PASSWORD}';"
                         "GRANT ALL ON *.* TO platform@'%' WITH GRANT OPTION; DROP USER mysql@localhost")

    def log_in(self, password=PASSWORD, *nodes):
        for n in nodes or (self.hk, self.sl):
            n.role.notify("logins", {"logins": {"trade": {"user": "platform", "password": password}}})


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    p = External(tmp_path_factory.mktemp("external"))
    yield p
    p.close()


def test_with_a_login_it_is_supervised(pair):
    pair.tell()
    assert pair.hk.refused("data.position")["message"] == "hk1 has no database trade"  # nothing without a login
    pair.log_in()
    pair.tell()
    pair.hk.until("writable")
    pair.sl.until("replicating")
    pair.source.server.sql("CREATE DATABASE trade; CREATE TABLE trade.orders (id BIGINT PRIMARY KEY, note VARCHAR(64))")
    pair.insert(1)
    pair.caught_up()
    assert pair.sl.server.sql("SELECT id FROM trade.orders") == "1"
    assert pair.sl.server.sql("SELECT @@read_only") == "1"
    # Nothing of ours is there but a schema and the probe, and the login is on no disk.
    users = pair.hk.server.sql("SELECT user FROM mysql.global_priv WHERE user LIKE 'mcp%'")
    assert users == "mcp_probe"
    for n in (pair.hk, pair.sl):
        assert PASSWORD not in n.machine.run("sh", "-c", "cat $(find /var/lib/mcp/data -maxdepth 1 -type f)")


def test_lag_is_known(pair):
    db = pair.sl.report_when(lambda db: db["lag_ms"] is not None and db["ship_ms"] is not None)
    assert db["io"]["running"] and db["sql"]["running"] and db["lag_ms"] < 60000


def test_accounts_of_modules_are_made_where_the_login_may(pair):
    pair.extra["accounts"] = [{"user": "api", "passwords": [HASH], "max_connections": 20,
                               "grants": [{"access": "write", "database": "trade", "table": "orders"}]}]
    pair.tell()
    for n in (pair.hk, pair.sl):
        n.report_when(lambda db: db.get("accounts") == {"api": [HASH[1:9]]})
    grants = pair.sl.server.sql("SHOW GRANTS FOR api")
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON `trade`.`orders` TO `api`@`%`" in grants


def test_its_content_is_looked_into(pair):
    facts = pair.sl.ask("data.facts")
    assert facts, facts
    assert pair.hk.ask("data.checksum", tables=["orders"])


def test_killed_it_resumes(pair):
    for node in (pair.sl, pair.hk):
        node.server.kill()
        node.server.start()
    pair.tell()
    pair.hk.ask("data.promote", epoch=1)
    pair.insert(2)
    pair.caught_up()


def test_a_login_that_is_refused_is_said(pair):
    pair.log_in("wrong", pair.sl)
    db = pair.sl.until("unreachable")
    assert "Access denied" in db["why"], db
    pair.log_in(PASSWORD, pair.sl)
    pair.tell()
    pair.sl.until("replicating")


def test_the_source_is_moved(pair):
    pair.hk.ask("data.readonly", on=True, id=1, epoch=1)
    gtid = pair.hk.ask("data.position")["gtid"]
    assert pair.sl.ask("data.wait", gtid=gtid, timeout_ms=30000)["reached"]
    pair.epoch, pair.source, pair.last_id = 2, pair.sl, 1
    pair.tell()
    pair.sl.ask("data.promote", epoch=2)
    pair.hk.ask("data.follow", epoch=2)
    pair.insert(3)
    pair.caught_up()
    assert pair.hk.server.sql("SELECT COUNT(*) FROM trade.orders") == "3"
    assert [n.server.sql("SELECT @@read_only") for n in (pair.hk, pair.sl)] == ["1", "0"]
