# SPDX-License-Identifier: Apache-2.0
"""Replicas with transactions of their own: two real servers, two roles, as in test_replication.py, and what is left of them
is diverged in the end."""
import base64
import json

import pytest
from test_replication import Pair, frozen


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    p = Pair(tmp_path_factory.mktemp("ca"))
    p.tell()
    p.hk.until("writable")
    p.sl.until("replicating")
    p.insert(1)
    p.caught_up()
    yield p
    p.close()


def test_an_errant_write_in_the_sources_domain(pair):
    """1950: it stops loudly; what is in the way is shown as SQL."""
    last = int(pair.source.ask("data.position")["gtid"].split("1-1-")[1].split(",")[0])
    pair.sl.server.sql("SET gtid_domain_id=1; SET gtid_seq_no=%d; "
                       "INSERT INTO trade.orders VALUES (80, 'errant')" % (last + 50))
    pair.insert(81)
    found, kept = frozen(pair.sl, 1950, "errant")
    assert kept["in_the_way"][0]["rows"] == ["INSERT INTO `trade`.`orders` SET `id`=80 `note`='errant'"], kept
    assert "mcp data errant trade" in found["fix"]
    assert pair.sl.server.sql("SELECT count(*) FROM trade.orders WHERE id = 81") == "0"
    pair.sl.server.sql("SET sql_log_bin=0; DELETE FROM trade.orders WHERE id = 80; STOP SLAVE; RESET MASTER")
    pair.sl.ask("data.follow", epoch=pair.epoch)
    pair.caught_up()


def lose(pair, numbers):
    """The source writes these, nobody gets them, and it dies; its replica is the source from now on."""
    old, new = pair.source, pair.replica()
    new.server.kill()
    for n in numbers:
        pair.insert(n, f"never ''arrived'' {n}")
    old.server.sql("UPDATE trade.orders SET note='changed' WHERE id = 1")
    old.role.kill()
    old.server.kill()
    new.server.start()
    pair.epoch, pair.source = pair.epoch + 1, new
    pair.tell(new)
    new.ask("data.promote", epoch=pair.epoch)
    new.until("writable")
    return old, new


def test_what_an_old_source_alone_has_is_saved_then_undone(pair):
    """It has what nobody else has (1236): evidence, files of each table, then every row is as its successor's."""
    pair.insert(2)
    pair.caught_up()
    old, new = lose(pair, (90, 91))
    pair.insert(92)
    old.server.start()
    old.start()
    pair.tell(old)
    found, kept = frozen(old, 1236, "not in the master")
    assert "not in the master's binlog" in kept["error"], kept
    old.until("replicating")
    pair.caught_up()
    rows = "SELECT id, note FROM trade.orders ORDER BY id"
    assert old.server.sql(rows) == new.server.sql(rows)
    assert "never" not in old.server.sql(rows) and "changed" not in old.server.sql(rows)
    saved, = old.ask("data.rescue")["rescues"]
    assert (saved["epoch"], saved["transactions"], saved["undoable"]) == (pair.epoch, 3, True), saved
    assert saved["tables"] == [{"table": "trade.orders", "rows": 3, "readable": "trade.orders.jsonl",
                                "replay": "trade.orders.sql"}]
    piece = old.ask("data.rescue", epoch=saved["epoch"], file="trade.orders.jsonl", offset=0)
    lines = [json.loads(line) for line in base64.b64decode(piece["data"]).decode().splitlines()]
    assert [line["row"].split(" SET ")[0] for line in lines][:2] == ["INSERT INTO `trade`.`orders`"] * 2
    assert all("`id`=" in line["row"] for line in lines) and piece["next"] is None
    # Whoever wants them back runs the other file at the source: new transactions, which the replica gets.
    again = base64.b64decode(old.ask("data.rescue", epoch=saved["epoch"], file="trade.orders.sql", offset=0)["data"])
    new.server.sql(again.decode())
    assert new.server.sql("SELECT note FROM trade.orders WHERE id IN (1, 90) ORDER BY id") == "changed\nnever 'arrived' 90"
    pair.caught_up()
    assert old.server.sql(rows) == new.server.sql(rows)


def test_what_cannot_be_undone_is_saved_and_replaced(pair):
    """A change of a table's form among them: they are saved, and the old source is seeded anew."""
    pair.caught_up()
    old = pair.source
    pair.replica().server.kill()
    old.server.sql("CREATE TABLE trade.lost (id INT PRIMARY KEY); INSERT INTO trade.lost VALUES (7)")
    old, new = lose(pair, (95,))
    # What lies there under that epoch is of something else: nothing is undone or replaced for its sake.
    folder = f"{old.server.dir}/rescue/{pair.epoch}"
    old.machine.run("sh", "-c", f"mkdir -p {folder} && echo '{{\"undoable\": true, \"ranges\": []}}' > {folder}/rescue.json && "
                    f"chown -R mysql {old.server.dir}/rescue")
    old.server.start()
    old.start()
    pair.tell(old)
    old.report_when(lambda db: db["state"] == "broken" and any("is not what was saved" in line for line in old.role.log))
    assert old.server.sql("SELECT id FROM trade.lost") == "7"
    old.machine.run("rm", "-r", folder)
    db = old.report_when(lambda db: db["state"] in ("broken", "seeding") and "seed" in db["why"] or db.get("seed"))
    saved = old.ask("data.rescue")["rescues"][0]
    assert saved["epoch"] == pair.epoch and not saved["undoable"], (saved, db)
    assert {t["table"]: t["rows"] for t in saved["tables"]} == {"trade.orders": 1, "trade.lost": 1}
    with pytest.raises(AssertionError, match="no such file"):
        old.ask("data.rescue", epoch=saved["epoch"], file="../../my.cnf")
