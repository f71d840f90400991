# SPDX-License-Identifier: Apache-2.0
"""What a module has of a database, in a lab with real servers: its file with a password that the platform made, just the
grants of its needs, both ends by name, and a rotation that nobody who connects notices."""
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import threading
import time

import dns.message
import pymysql
import pytest
from canary import Watch, files_below, forms, memory_of, searched
from engines import TEMPLATE
from lablib import BINARY, RUN, STATE, Lab, enter_netns, in_thread, unique_name, wait_until
from units import Image, busybox

DENIED = 1045
SOCKET = "/var/lib/mcp/data/trade/run/db.sock"
TABLES = ["orders", "shipments", "outbox", "inbox"]
PLATFORM = """platform: @
domain: ends.example
regions:
  ra: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}
  rb: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}
hosts:
  a1: {region: ra, address: 10.20.0.11, public: true}
  b1: {region: rb, address: 10.40.0.11, public: true}
state: {members: [a1]}
lab:
  wan: [{between: [ra, rb], delay: 2ms}]
data:
  trade: {source: ra, replicas: [rb], schema: trade.sql, connections: 40, limits: {memory: 512MiB}}
events: {outbox: trade}
modules:
"""
MODULE = '  %s: {image: "oci:%s", command: [/bin/sleep, "1000000"], stop_timeout: 0s, regions: {%s}, needs: [%s]}\n'
MODULES = {
    "api": ("ra: 1, rb: 1", "{data: trade, access: write, tables: [orders]}"),
    "reader": ("rb: 1", "{data: trade, access: read, tables: [orders]}"),
    "pub": ("ra: 1", "{events: publish, key: order.created}"),
    "con": ("ra: 1", "{events: consume, queue: q}"),
    "stranger": ("rb: 1", ""),
}


class Unit:
    """A module's instance: its file, and its network."""

    def __init__(self, lab, unit, database="trade"):
        self.database, self.lab, self.name, self.pid, self.host = database, lab, unit["name"], unit["pid"], unit["host"]

    @property
    def file(self):
        return pathlib.Path(f"/proc/{self.pid}/root/run/secrets/{self.database}")

    def login(self):
        return json.loads(self.file.read_text())

    def inside(self, work):
        def run():
            enter_netns(f"/proc/{self.pid}/ns/net")
            return work()
        return in_thread(run)

    def resolve(self, name):
        lines = pathlib.Path(f"/proc/{self.pid}/root/etc/resolv.conf").read_text().splitlines()
        server = next(line.split()[1] for line in lines if line.startswith("nameserver"))

        def ask():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(5)
                s.connect((server, 53))
                s.send(dns.message.make_query(name, "A").to_wire())
                return dns.message.from_wire(s.recv(65535)).answer[0][0].address
        return self.inside(ask)

    def connect(self, end="rw", login=None):
        login = login or self.login()
        address = self.resolve(login["host_" + end])
        return self.inside(lambda: pymysql.connect(
            host=address, port=login["port"], user=login["user"], password=login["password"],
            database=login["database"], autocommit=True, connect_timeout=20, read_timeout=20))

    def query(self, text, end="rw", login=None):
        with contextlib.closing(self.connect(end, login)) as s, s.cursor() as c:
            c.execute(text)
            return c.fetchall()

    def code(self, text, end="rw", login=None):
        """Of the server's, or the mesh's, refusal; 0: there was none."""
        try:
            self.query(text, end, login)
        except pymysql.err.MySQLError as e:
            return e.args[0]
        return 0


class Ends(Lab):
    def __init__(self, folder):
        self.image = Image(busybox(), User="app").layout(folder / "image")
        tables = "".join(f"CREATE TABLE IF NOT EXISTS {t} (id BIGINT PRIMARY KEY AUTO_INCREMENT, a TEXT);\n"
                         for t in TABLES)
        pathlib.Path(folder, "trade.sql").write_text(tables)
        super().__init__(PLATFORM, name=unique_name("ends"), folder=folder)

    def declare(self, text, **changed):
        text += "".join(MODULE % (name, self.image, regions, needs) for name, (regions, needs) in
                        (MODULES | changed).items())
        self.file.write_text(text.replace("@", self.name))

    def unit(self, module, host=None, **kw):
        u = next(u for u in self.status()["units"] if u["module"] == module and u["host"] == (host or u["host"]))
        assert u["state"] == "ready", u
        return Unit(self, u, **kw)

    def secret(self, name):
        return next((s for s in json.loads(self.mcp("secret", "list", "--json").stdout) if s["name"] == name), None)

    def sql(self, host, text):
        p = self.exec(host, "mariadb", "--no-defaults", "-NB", "-S", SOCKET, "-e", text)
        return [line.split("\t") for line in p.stdout.splitlines()]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Watch(pattern=rb"(?<![0-9a-f])[0-9a-f]{48}(?![0-9a-f])") as watch, Ends(tmp_path_factory.mktemp("ends")) as lab:
        lab.watch, lab.passwords = watch, []
        begun = time.monotonic()
        lab.up()
        print(f"up with passwords made in {time.monotonic() - begun:.1f} s")
        wait_until(lambda: len(lab.sql("b1", "SELECT user FROM mcp_dts.accounts")) == 4, 60, "accounts at the replica")
        yield lab


def test_who_needs_it_has_a_file_with_its_login(lab):
    for module in ("api", "reader", "pub", "con"):
        login = lab.unit(module).login()
        assert len(login.pop("password")) == 48
        assert login == {"user": module, "database": "trade", "host_rw": "trade.rw.mcp.internal",
                         "host_ro": "trade.ro.mcp.internal", "port": 3306}
    assert not lab.unit("stranger").file.exists()
    s = lab.secret("data.trade.api")
    assert (s["grants"], s["phase"], s["version"]) == (["api"], "steady", 1)
    assert lab.unit("api", "a1").login() == lab.unit("api", "b1").login()
    assert lab.unit("api").login()["password"] != lab.unit("reader").login()["password"]


def test_grants_are_what_needs_say(lab):
    api, reader, pub, con = (lab.unit(m) for m in ("api", "reader", "pub", "con"))
    api.query("INSERT INTO orders (a) VALUES ('x')")
    api.query("UPDATE orders SET a = 'y'")
    assert api.query("SELECT a FROM orders") == (("y",),)
    wait_until(lambda: reader.query("SELECT a FROM orders", "ro") == (("y",),), 60)
    for text in ("SELECT a FROM shipments", "INSERT INTO outbox (a) VALUES ('x')", "DROP TABLE orders",
                 "CREATE TABLE more (a INT)", "SELECT password FROM mcp_dts.probe"):
        assert api.code(text) in (1142, 1044, 1370), text
    assert reader.code("SELECT 1", "rw") == DENIED
    assert reader.code("INSERT INTO orders (a) VALUES ('x')", "ro") in (1142, 1290)
    pub.query("INSERT INTO outbox (a) VALUES ('x')")
    assert pub.code("SELECT a FROM outbox") == pub.code("INSERT INTO orders (a) VALUES ('x')") == 1142
    con.query("INSERT INTO inbox (a) VALUES ('x')")
    assert con.query("SELECT a FROM inbox") == (("x",),)
    assert con.code("INSERT INTO outbox (a) VALUES ('x')") == con.code("DELETE FROM inbox") == 1142


def test_a_module_without_needs_does_not_get_in(lab):
    """Not even with the password of another."""
    stranger, login = lab.unit("stranger"), lab.unit("api").login()
    for end in ("rw", "ro"):
        assert stranger.code("SELECT 1", end, login) == DENIED
    story = wait_until(lambda: [r for r in lab.mcp("audit").stdout.splitlines() if "stranger" in r], 60)
    assert "may not reach" in story[0] or "tried to reach database trade" in story[0], story


# --- rotation


class Load:
    """One module's instance at one end, as an application is: its file is read once a second, a connection is made for
    each request, and one connection stays open all the time."""

    def __init__(self, unit, end, text):
        self.unit, self.end, self.text, self.done, self.errors = unit, end, text, 0, []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def connect(self):
        return pymysql.connect(host=self.address, port=3306, user=self.login["user"], database="trade", autocommit=True,
                               password=self.login["password"], connect_timeout=30, read_timeout=30)

    def ask(self, s):
        with s.cursor() as c:
            c.execute(self.text)
        self.done += 1

    def run(self):
        self.login, read = self.unit.login(), time.monotonic()
        self.address = self.unit.resolve(self.login["host_" + self.end])
        enter_netns(f"/proc/{self.unit.pid}/ns/net")
        kept = self.connect()
        while not self.stop.wait(0.01):
            if time.monotonic() - read > 1:
                self.login, read = self.unit.login(), time.monotonic()
            try:
                with contextlib.closing(self.connect()) as s:
                    self.ask(s)
                self.ask(kept)
            except Exception as e:  # counted: there may be none
                self.errors.append(repr(e))
        kept.close()

    def end_it(self):
        self.stop.set()
        self.thread.join()


@contextlib.contextmanager
def locked(lab, host):
    """Its server applies nothing meanwhile."""
    p = subprocess.Popen([BINARY, "lab", "exec", "--platform", lab.name, host, "--", "mariadb", "--no-defaults", "-NB",
                          "--unbuffered", "-S", SOCKET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        p.stdin.write("FLUSH TABLES WITH READ LOCK; SELECT 'held';\n")
        p.stdin.flush()
        assert p.stdout.readline() == "held\n"
        yield
    finally:
        p.stdin.close()
        p.wait()
        p.stdout.close()


def test_a_rotation_under_load_refuses_nobody(lab):
    old = lab.unit("api").login()
    loads = [Load(lab.unit("api", host), end, text) for host in ("a1", "b1")
             for end, text in (("rw", "INSERT INTO orders (a) VALUES ('load')"), ("ro", "SELECT COUNT(*) FROM orders"))]
    files = [lab.unit("api", host) for host in ("a1", "b1")]
    try:
        wait_until(lambda: all(x.done > 10 for x in loads), 60)
        with locked(lab, "b1"):
            begun = time.monotonic()
            answer = json.loads(lab.mcp("secret", "rotate", "data.trade.api", "--overlap", "3s", "--json").stdout)
            assert (answer["version"], answer["phase"]) == (2, "placing")
            wait_until(lambda: " OR " in lab.sql("a1", "SHOW CREATE USER api")[0][0], 60, "the source to take both")
            before = [x.done for x in loads]
            wait_until(lambda: all(x.done > n + 5 for x, n in zip(loads, before)), 60)
            assert lab.secret("data.trade.api")["phase"] == "placing"  # a replica does not take it yet
            assert [u.login() for u in files] == [old, old]
            again = lab.mcp("secret", "rotate", "data.trade.api", check=False)
            assert again.returncode == 1 and "not taken by all of the database's servers yet" in again.stderr
        wait_until(lambda: all(u.login() != old for u in files), 60, "both files")
        print(f"passwords: two hosts had the new one {time.monotonic() - begun:.2f} s after the command began")
        wait_until(lambda: lab.secret("data.trade.api")["phase"] == "steady", 60)
        before = [x.done for x in loads]
        wait_until(lambda: all(x.done > n + 10 for x, n in zip(loads, before)), 60)
    finally:
        for x in loads:
            x.end_it()
    assert [e for x in loads for e in x.errors] == []
    print(f"passwords: {sum(x.done for x in loads)} requests during a rotation, none refused")
    for host in ("a1", "b1"):
        unit = lab.unit("api", host)
        wait_until(lambda: unit.code("SELECT 1", "rw", old) == DENIED, 60, "the end of the older one")
        assert unit.query("SELECT 1") == ((1,),)
    wait_until(lambda: " OR " not in lab.sql("b1", "SHOW CREATE USER api")[0][0], 60)
    lab.passwords += [old["password"], lab.unit("api").login()["password"]]
    told = [row["what"] for row in json.loads(lab.mcp("secret", "history", "data.trade.api", "--json").stdout)]
    assert told[0] == "version 1 set" and "version 2: the older one is no longer valid" == told[-1], told


def test_what_the_platform_makes_nobody_sets(lab):
    for args in (("set",), ("grant", "stranger"), ("rm",)):
        p = lab.mcp("secret", args[0], "data.trade.api", *args[1:], check=False, input="x")
        assert p.returncode == 3 and "the platform makes" in p.stderr, p.stderr


def test_passwords_are_nowhere_but_with_their_holders(lab):
    """Those before and after the rotation: of api, of all others as they are now."""
    words = [w for m in ("reader", "pub", "con") for w in forms(lab.unit(m).login()["password"])]
    words += [w for p in lab.passwords for w in forms(p)]
    lab.watch.stop.set()
    assert lab.watch.rounds > 10 and not lab.watch.seen & set(words)
    for args in (("status",), ("timeline",), ("secret", "list"), ("secret", "history", "data.trade.api"), ("audit",),
                 ("data", "status"), ("revisions",), ("host", "list")):
        shown = lab.mcp(*args, "--json")
        assert shown.stdout and not [w for w in words if w.decode() in shown.stdout + shown.stderr], args
    logs = lab.mcp("logs", "db-trade", "--lines", "2000").stdout
    assert not [w for w in words if w.decode() in logs]
    for host in ("a1", "b1"):
        for role in ("control", "data", "mesh"):
            assert sum(part.count(w) for part in memory_of(lab, host, role) for w in words) == 0, (host, role)
    assert any(words[0] in part for part in memory_of(lab, "b1", "agent"))  # it is looked for in the right way
    os.sync()
    found, total = searched(files_below(STATE / lab.name, RUN / lab.name), words)
    assert found == [] and total > 10 << 20
    for host in ("a1", "b1"):
        top = str(lab.path(host, "/run/mcp"))
        assert searched(files_below(top, but=(f"{top}/secrets",)), words)[0] == []


def test_who_no_longer_needs_it_loses_it(lab):
    reader = lab.unit("reader")
    login = reader.login()
    lab.declare(PLATFORM, reader=("rb: 1", ""))
    lab.mcp("apply", "--wait", "--timeout", "120s")
    wait_until(lambda: lab.sql("b1", "SELECT COUNT(*) FROM mysql.global_priv WHERE user = 'reader'") == [["0"]], 60)
    wait_until(lambda: not lab.unit("reader").file.exists(), 60)
    assert lab.unit("reader").code("SELECT 1", "ro", login) == DENIED


# --- servers that others run

CRM = """  crm: {managed: false, source: ra, replicas: [rb], secret: crm_admin, tls: false,
        external: {ra: "10.20.0.11:3310", rb: "10.40.0.11:3310"}}
"""
ADMIN = f"canary-{os.getpid()}-admin"


class Foreign:
    """A server on a lab's host that the platform does not run."""

    def __init__(self, lab, host, address, number):
        self.lab, self.host, self.dir = lab, host, "/var/lib/mcp/foreign"
        top = lab.path(host, self.dir)
        (top / "data").mkdir(parents=True)
        subprocess.run(["tar", "-xf", TEMPLATE, "-C", top / "data"], check=True)
        lab.exec(host, "chown", "-R", "mysql:", self.dir)
        self.process = subprocess.Popen(
            [BINARY, "lab", "exec", "--platform", lab.name, host, "--", "mariadbd", "--no-defaults", "--user=mysql",
             f"--datadir={self.dir}/data", f"--socket={self.dir}/db.sock", f"--bind-address={address}", "--port=3310",
             f"--server-id={number}", f"--gtid-domain-id={number}", "--log-bin=bin", "--log-slave-updates",
             "--gtid-strict-mode=1", "--binlog-format=ROW", "--skip-name-resolve", "--skip-slave-start",
             "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M", "--performance-schema=0",
             "--innodb-data-file-path=ibdata1:4M:autoextend", "--innodb-undo-tablespaces=0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.sql("SELECT 1") == "1", 60, "a server of others")
        self.sql(f"SET sql_log_bin=0; CREATE USER platform@'%' IDENTIFIED BY '{ADMIN}';"
                 "GRANT ALL ON *.* TO platform@'%' WITH GRANT OPTION")

    def sql(self, text):
        return self.lab.exec(self.host, "mariadb", "--no-defaults", "-NB", "-S", f"{self.dir}/db.sock",
                             input=text).stdout.strip()

    def close(self):
        self.sql("SHUTDOWN")
        self.process.wait(60)


def crm_is(lab, state):
    status = json.loads(lab.mcp("data", "status", "crm", "--json").stdout)
    return status if (status["state"], status["replicas"][0]["state"]) == ("writable", state) else None


def test_servers_of_others_are_supervised_and_reached(lab):
    servers = {"a1": Foreign(lab, "a1", "10.20.0.11", 71), "b1": Foreign(lab, "b1", "10.40.0.11", 72)}
    servers["a1"].sql("CREATE DATABASE crm; CREATE TABLE crm.customers (id BIGINT PRIMARY KEY AUTO_INCREMENT, a TEXT)")
    lab.declare(PLATFORM.replace("events:", CRM + "events:"), reader=("rb: 1", ""),
                ext=("rb: 1", "{data: crm, access: write, tables: [customers]}"))
    lab.mcp("apply")
    wait_until(lambda: "secret crm_admin is not set" in lab.mcp("timeline").stdout, 60, "that nobody can log in")
    lab.mcp("secret", "set", "crm_admin", input=json.dumps({"user": "platform", "password": ADMIN}))
    wait_until(lambda: crm_is(lab, "replicating"), 90)
    wait_until(lambda: lab.status()["ready"], 60)
    ext = lab.unit("ext", database="crm")
    wait_until(lambda: ext.query("SELECT 1") == ((1,),), 60, "its account")
    ext.query("INSERT INTO customers (a) VALUES ('x')")
    assert ext.code("CREATE TABLE more (a INT)") == 1142
    wait_until(lambda: ext.query("SELECT a FROM customers", "ro") == (("x",),), 60)
    assert lab.mcp("data", "checksum", "crm").returncode == 0
    facts = lab.mcp("data", "preflight", "crm", "--all", check=False)
    assert facts.returncode in (0, 3) and "sync_binlog" in facts.stdout, facts.stdout + facts.stderr
    wait_until(lambda: crm_is(lab, "replicating")["replicas"][0]["lag_ms"] is not None, 60, "its lag")
    # It took writes until the platform saw it, which stands in its way for a while.
    wait_until(lambda: all(f["id"] != "writable" for f in crm_is(lab, "replicating")["replicas"][0]["findings"]), 60, "the end of that")
    lab.mcp("data", "switchover", "crm", "--to", "rb")
    status = wait_until(lambda: crm_is(lab, "replicating"), 90)
    assert (status["source"], status["epoch"]) == ("b1", 2)
    wait_until(lambda: ext.code("INSERT INTO customers (a) VALUES ('y')") == 0, 60)
    wait_until(lambda: servers["a1"].sql("SELECT a FROM crm.customers") == "x\ny", 60, "the row at the old source")
    assert [s.sql("SELECT @@read_only") for s in servers.values()] == ["1", "0"]
    for host in servers:
        text = lab.path(host, "/var/lib/mcp/data/databases.json").read_text()
        assert '"crm"' in text and ADMIN not in text
        assert sum(part.count(ADMIN.encode()) for part in memory_of(lab, host, "mesh")) == 0
    for s in servers.values():
        s.close()
