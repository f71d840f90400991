# SPDX-License-Identifier: Apache-2.0
"""Copies of the source for replicas: a new one, one whose source has purged what it needs, one by hand, and whatever is
killed meanwhile. Three hosts, real etcd, real mariadbd and mariadb-backup."""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from lablib import BINARY, Lab, unique_name, wait_until

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
  trade: {source: ra, schema: trade.sql, replicas: %s, limits: {memory: 512MiB}}
"""


class Data(Lab):
    def __init__(self, folder):
        pathlib.Path(folder, "trade.sql").write_text(
            "CREATE TABLE IF NOT EXISTS orders (id BIGINT PRIMARY KEY, note VARCHAR(255));\n")
        super().__init__(PLATFORM % "[]", name=unique_name("seed"), folder=folder)

    def declare(self, text):
        self.file.write_text(text.replace("@", self.name))

    def sql(self, host, *statements):
        p = self.exec(host, "mariadb", "--no-defaults", "-NB", "-S", f"{DIR}/run/db.sock", "-e", "; ".join(statements))
        return [line.split("\t") for line in p.stdout.splitlines()]

    def data(self):
        return json.loads(self.mcp("data", "status", "trade", "--json").stdout)

    def replica(self):
        return next(iter(self.data()["replicas"]), {"state": ""})

    def until(self, state, timeout=120):
        return wait_until(lambda: (lambda r: r if r["state"] == state else None)(self.replica()), timeout, state)

    def fill(self, first, last):
        self.sql("a2", "USE trade", f"INSERT INTO orders SELECT seq, MD5(seq) FROM seq_{first}_to_{last}")

    def purge(self):
        """The source's binary logs but a new one are gone; what sends them to replicas is ended, for it keeps one."""
        self.sql("a2", "FLUSH BINARY LOGS")
        newest = self.sql("a2", "SHOW BINARY LOGS")[-1][0]  # whatever is written from now on stays
        feeds = self.sql("a2", "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
        self.sql("a2", *(f"KILL {row[0]}" for row in feeds), "DO 0")

        def gone():
            self.sql("a2", f"PURGE BINARY LOGS TO '{newest}'")
            return self.sql("a2", "SHOW BINARY LOGS")[0][0] == newest
        wait_until(gone, 60, "the end of old logs")

    def equal(self):
        ask = "SELECT COUNT(*), SUM(CRC32(CONCAT(id, note))) FROM trade.orders"
        here = self.sql("a2", ask)
        wait_until(lambda: self.sql("b1", ask) == here, 60, f"{here} at the replica")

    def role_pid(self, host, role):
        roles = next(h for h in self.status()["hosts"] if h["name"] == host)["roles"]
        return next(r["pid"] for r in roles if r["name"] == role)

    def server(self, host):
        return next(u["pid"] for u in self.status()["units"] if u["host"] == host and u["name"] == "db-trade")

    def story(self):
        return [json.loads(line) for line in self.mcp("timeline", "--json", "--lines", "10000").stdout.splitlines()]

    def seeded(self):
        return sum(e["message"] == "seeded with a copy of the source" for e in self.story())


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Data(tmp_path_factory.mktemp("seed")) as lab:
        lab.up()
        wait_until(lambda: lab.data()["state"] == "writable", 60, "a source")
        yield lab


def test_a_new_replica_gets_a_copy(lab):
    """The source's logs do not reach back to the start: what is replayed would lack what came before."""
    lab.fill(1, 5000)
    lab.purge()
    lab.declare(PLATFORM % "[rb]")
    lab.mcp("apply")
    lab.until("replicating")
    lab.equal()
    wait_until(lambda: lab.seeded() == 1, 60, "the timeline")
    lab.fill(5001, 5100)
    lab.equal()


def begin(lab, *args):
    """`mcp data seed` beside everything else."""
    return subprocess.Popen([BINARY, "data", "seed", "trade", "--host", "b1", "--yes", "--platform", lab.name, *args],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def step(lab):
    """The one that a seed is at, as its role keeps it."""
    try:
        return json.loads(lab.path("b1", f"{DIR}/spool/seed.json").read_text())["step"]
    except (FileNotFoundError, json.JSONDecodeError):
        return ""


def ended(command, code=0):
    out, err = command.communicate(timeout=240)
    assert command.returncode == code, out + err
    return out + err


def test_by_hand(lab):
    """It says what it would replace, takes no other answer than the name, and tells how far it is."""
    p = lab.mcp("data", "seed", "trade", "--host", "b1", check=False, stdin=subprocess.DEVNULL)
    assert p.returncode == 3 and "would be replaced" in p.stderr
    p = lab.mcp("data", "seed", "trade", "--host", "a2", "--yes", check=False)
    assert p.returncode == 3 and "is the source" in p.stderr
    p = lab.mcp("data", "seed", "trade", "--host", "a1", "--yes", check=False)
    assert p.returncode == 1 and "holds no copy" in p.stderr
    lab.sql("b1", "SET sql_log_bin=0", "DELETE FROM trade.orders WHERE id < 100")
    told = ended(begin(lab))
    assert "replicating" in told, told
    lab.equal()
    assert lab.path("b1", f"{DIR}/before/data/trade").is_dir()
    answer = json.loads(ended(begin(lab, "--json")))
    assert answer["seed"]["outcome"] == "done" and answer["seed"]["gtid"] and answer["state"] == "replicating"


def test_errant_transactions(lab):
    """Written at a replica, in its own domain: replication goes on as if nothing were. They are found, and shown as SQL."""
    assert "nothing that the source does not have" in lab.mcp("data", "errant", "trade").stdout
    lab.sql("b1", "USE trade", "INSERT INTO orders VALUES (900001, 'one')", "DELETE FROM orders WHERE id = 4711",
            "CREATE TABLE extra (a INT PRIMARY KEY)")
    answer = json.loads(lab.mcp("data", "errant", "trade", "--json").stdout)["replicas"][0]
    assert answer["host"] == "b1" and len(answer["transactions"]) == 3 and not answer["more"], answer
    first, second, third = answer["transactions"]
    assert first["sql"] == ["INSERT INTO orders VALUES (900001, 'one')"] and first["gtid"].startswith("2-2-")
    assert first["rows"] == ["INSERT INTO `trade`.`orders` SET `id`=900001 `note`='one'"]
    assert second["rows"][0].startswith("DELETE FROM `trade`.`orders` WHERE `id`=4711 ")
    assert "CREATE TABLE extra" in third["sql"][-1]
    wait_until(lambda: [f for f in lab.replica()["findings"] if f["id"] == "errant"], 60, "a finding")
    text = lab.mcp("data", "errant", "trade").stdout
    assert "INSERT INTO orders VALUES (900001, 'one')" in text and "mcp data seed trade --host b1" in text, text
    ended(begin(lab))
    assert "nothing that the source does not have" in lab.mcp("data", "errant", "trade").stdout
    lab.equal()


def test_mended_by_hand(lab):
    """A row that differs freezes; the finding says what to type; mended, it is tried again and nothing is missing."""
    lab.sql("b1", "SET sql_log_bin=0", "INSERT INTO trade.orders VALUES (800001, 'errant')")
    lab.sql("a2", "INSERT INTO trade.orders VALUES (800001, 'true')")
    lab.sql("a2", "INSERT INTO trade.orders VALUES (800002, 'next')")
    r = lab.until("frozen")
    found = wait_until(lambda: [f for f in lab.replica()["findings"] if f["id"] == "frozen" and "evidence/" in f["text"]],
                       60, "a finding that names its evidence")[0]
    assert "mcp data resume trade --host b1" in found["fix"], r
    lab.sql("b1", "SET sql_log_bin=0", "DELETE FROM trade.orders WHERE id = 800001")
    assert "replicates again" in lab.mcp("data", "resume", "trade", "--host", "b1").stdout
    lab.equal()


def miss(lab, first, last, before_purge, after_purge):
    """The replica's server hangs while rows are written whose logs are gone when it is back."""
    old = lab.server("b1")
    os.kill(old, signal.SIGSTOP)
    try:
        lab.fill(first, last)
        gtid = lab.sql("a2", "SELECT @@gtid_binlog_pos")[0][0]
        before_purge(int(gtid.split("1-1-")[1].split(",")[0]))
        lab.purge()
        after_purge()
    finally:
        os.kill(old, signal.SIGKILL)


def test_purged_but_in_the_vault(lab):
    """What a stopped replica still needs is gone at the source (1236), and its host's vault has it: refilled, no copy."""
    before = lab.seeded()

    def kept(last):
        def look():
            text = (lab.replica()["vault"] or {}).get("gtid") or ""
            return any(g.startswith("1-1-") and int(g.split("-")[2]) >= last for g in text.split(","))
        wait_until(look, 60, "the vault")
    miss(lab, 6001, 6500, kept, lambda: None)
    wait_until(lambda: any(e["message"] == "resumes: refill" for e in lab.story()), 120, "a refill")
    lab.until("replicating")
    lab.equal()
    assert lab.seeded() == before, lab.story()[-20:]
    assert lab.sql("b1", "SELECT @@gtid_slave_pos")[0][0].startswith("1-1-")


def test_purged_at_the_source(lab):
    """Nor has the vault: it gets a copy unaided."""
    before = lab.seeded()
    vault = lab.path("b1", f"{DIR}/vault")
    miss(lab, 6501, 7000, lambda last: None, lambda: shutil.rmtree(vault / "1"))
    wait_until(lambda: lab.seeded() > before, 120, "a copy")
    lab.until("replicating")
    lab.equal()


def test_no_room(lab):
    """Refused before it begins, with the size that it needs; the replica goes on as before."""
    big = lab.path("b1", f"{DIR}/tmp/big")
    fs = os.statvfs(big.parent)
    with open(big, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, max(fs.f_bavail * fs.f_frsize - (40 << 20), 1 << 20))
    try:
        p = lab.mcp("data", "seed", "trade", "--host", "b1", "--yes", check=False)
        assert p.returncode == 1 and "a seed needs" in p.stderr and "MiB are free" in p.stderr, p.stderr
    finally:
        big.unlink()
    lab.until("replicating")
    lab.fill(7001, 7010)
    lab.equal()


def test_whoever_is_killed_meanwhile(lab):
    """Each step, with the one killed that is at work; and a line that is cut. It goes on, and ends as one that nothing
    happened to: the copy is all there, or what was there before."""
    lab.sql("a2", "USE trade", "CREATE TABLE IF NOT EXISTS big (id INT PRIMARY KEY, noise LONGBLOB)",
            *(f"INSERT INTO big SELECT {n}, GROUP_CONCAT(SHA2(RAND(), 512) SEPARATOR '') FROM seq_1_to_7000"
              for n in range(24)))
    lab.equal()
    lab.sql("b1", "SET sql_log_bin=0", "DELETE FROM trade.orders WHERE id > 6500")
    lab.mcp("lab", "slow", "ra", "rb", "--rate", "40Mbit")
    command = begin(lab)
    struck = []

    def strike(at, whom, pid):
        victim = wait_until(pid, 30, whom)
        wait_until(lambda: step(lab) == at or command.poll() is not None, 120, at)
        assert command.poll() is None, command.communicate()
        os.kill(victim, signal.SIGKILL)
        struck.append((at, whom))
    strike("make", "data of the source", lambda: lab.role_pid("a2", "data"))
    strike("fetch", "data of the replica", lambda: lab.role_pid("b1", "data"))
    part = lab.path("b1", f"{DIR}/spool/seed.part")
    wait_until(lambda: part.exists() and part.stat().st_size > 1 << 20, 60, "some of it")
    size = part.stat().st_size
    strike("fetch", "control of the replica", lambda: lab.role_pid("b1", "control"))
    assert part.stat().st_size >= size
    lab.mcp("lab", "cut", "ra", "rb")
    lab.mcp("lab", "mend", "ra", "rb")
    strike("unpack", "the server", lambda: lab.server("b1"))
    strike("unpack", "data of the replica", lambda: lab.role_pid("b1", "data"))
    strike("swap", "the agent", lambda: lab.role_pid("b1", "agent"))
    ended(command)
    lab.until("replicating")
    lab.equal()
    assert lab.sql("b1", "CHECKSUM TABLE trade.big") == lab.sql("a2", "CHECKSUM TABLE trade.big")
    assert not part.exists() and not lab.path("b1", f"{DIR}/seed").exists()
    print(struck)
