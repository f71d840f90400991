# SPDX-License-Identifier: Apache-2.0
"""The gate of a database alone (`mcp data gate`), in front of a real MariaDB: what every client can say passes, what must
not pass is refused in a way that the client understands, and nothing is acknowledged after the deadline."""
import json
import os
import pathlib
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading

import pymysql
import pymysql.constants.CLIENT as CAN
import pymysql.constants.COMMAND as COMMAND
import pymysql.cursors
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/lib"))
import mariadblib

BINARY = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))
MYSQL2 = "3.24.6"
PATIENCE_S = 60
SETTINGS = """max-allowed-packet=64M
innodb-buffer-pool-size=64M
innodb-flush-log-at-trx-commit=0
sync-binlog=0
max-connections=200
plugin-load-add=auth_ed25519
local-infile=1"""
ACCOUNTS = [
    "CREATE DATABASE t",
    "CREATE USER u@'%' IDENTIFIED BY 'p'",
    "GRANT ALL ON *.* TO u@'%'",
    "CREATE USER nat@'%' IDENTIFIED BY 'np'",
    "GRANT ALL ON t.* TO nat@'%'",
    "CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('ep')",
    "GRANT ALL ON t.* TO ed@'%'",
    "CREATE TABLE t.words (id INT PRIMARY KEY AUTO_INCREMENT, word VARCHAR(40))",
    "INSERT INTO t.words (word) VALUES ('eins'), ('zwei'), ('drei')",
    "CREATE TABLE t.log (id BIGINT PRIMARY KEY)",
    "CREATE PROCEDURE t.three(IN a INT, OUT b INT) BEGIN SELECT a; SELECT word FROM words; SET b = 2 * a; END",
]
NOT_SOURCE, NOT_ALLOWED = 1290, 1227


@pytest.fixture(scope="module")
def server():
    with mariadblib.Server(1, SETTINGS) as s:
        s.query(*ACCOUNTS)
        yield s


class Gate:
    """In front of `server`, on a Unix socket (or, with tcp, a port). With policy=True what it may do is told by say()."""

    def __init__(self, server, *options, tcp=False, policy=False, upstream=None):
        self.dir = server.dir
        self.socket = f"{server.dir}/gate-{id(self)}"
        place = "127.0.0.1:0" if tcp else f"unix:{self.socket}"
        told, self.policy = os.pipe()
        self.process = subprocess.Popen(
            [BINARY, "data", "gate", "--listen", place, "--upstream",
             upstream or f"unix:{server.socket}",
             *(["--deadline-fd", str(told)] if policy else []), *options],
            stdout=subprocess.PIPE, text=True, pass_fds=[told])
        os.close(told)
        self.place = self.line().removeprefix("listening on ").removeprefix("unix:")

    def line(self):
        assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], "the gate says nothing"
        return self.process.stdout.readline().rstrip("\n")

    def say(self, line):
        """Returns when it is in force."""
        os.write(self.policy, (line + "\n").encode())
        answer = self.line()
        assert answer == line or line == "count", answer
        return answer

    def counts(self):
        return json.loads(self.say("count"))

    def wait_for(self, **wanted):
        """Polls what it counts until it is so."""
        seen = None
        for _ in range(20000):
            seen = self.counts()
            if all(seen[k] == v for k, v in wanted.items()):
                return seen
            select.select([], [], [], 0.002)
        raise AssertionError(f"{seen}, never {wanted}")

    def connect(self, **kw):
        kw = {"user": "u", "password": "p", "database": "t", "autocommit": True, "read_timeout": PATIENCE_S, **kw}
        return pymysql.connect(unix_socket=self.place, **kw)

    def close(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0
        os.close(self.policy)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


@pytest.fixture(scope="module")
def gate(server):
    with Gate(server, "--threads", "2") as g:
        yield g


def run(connection, statement, args=None):
    with connection.cursor() as c:
        c.execute(statement, args)
        return c.fetchall()


def client(*args, place, check=True, **kw):
    r = subprocess.run(["mariadb", "--no-defaults", "-S", place, "-uu", *args], capture_output=True, text=True,
                       timeout=PATIENCE_S, **kw)
    assert not check or r.returncode == 0, r.stderr
    return r


# ---- clients


@pytest.fixture(scope="module")
def libmariadb(tmp_path_factory):
    out = tmp_path_factory.mktemp("client") / "client"
    flags = subprocess.run(["mariadb_config", "--cflags", "--libs"], capture_output=True, text=True, check=True).stdout
    subprocess.run(["gcc", "-o", out, ROOT / "test/lib/mysql_client.c", *flags.split()], check=True)
    return out


PARTS = ["simple", "multi", "prepared", "direct", "cursor", "bulk", "longdata", "big", "rows", "change_user", "refused",
         "transaction"]


def test_libmariadb(gate, libmariadb):
    r = subprocess.run([libmariadb, gate.place, "u", "p", "t", *PARTS], capture_output=True, text=True, timeout=120)
    assert r.stdout.splitlines() == [f"ok {p}" for p in PARTS]


def test_libmariadb_over_tcp(server, libmariadb):
    parts = ["simple", "cursor", "longdata", "rows"]
    with Gate(server, tcp=True) as g:
        r = subprocess.run([libmariadb, g.place, "u", "p", "t", *parts], capture_output=True, text=True, timeout=120)
        assert r.stdout.splitlines() == [f"ok {p}" for p in parts]


def test_mariadb_client(gate):
    r = client("-pp", "-N", "t", "-e", "SELECT word FROM words ORDER BY id; CALL three(2, @x); SELECT @x", place=gate.place)
    assert r.stdout.split() == ["eins", "zwei", "drei", "2", "eins", "zwei", "drei", "4"]
    # Long statements of a dump, and a script over a pipe.
    r = client("-pp", "-N", "t", place=gate.place, input="CREATE TEMPORARY TABLE x (i INT, t TEXT);\n" + "".join(
        f"INSERT INTO x VALUES ({i}, '{'d' * 20000}');\n" for i in range(50)) + "SELECT SUM(LENGTH(t)) FROM x;\n")
    assert r.stdout.split() == ["1000000"]
    r = client("-pwrong", "-e", "SELECT 1", place=gate.place, check=False)
    assert "ERROR 1045 (28000)" in r.stderr
    # How far an ALTER TABLE is, which the server tells in packets that look like errors.
    r = client("-pp", "--progress-reports", "t", "-e",
               "CREATE TABLE far AS SELECT seq FROM seq_1_to_100000; ALTER TABLE far ENGINE=Aria; DROP TABLE far",
               place=gate.place)
    assert r.returncode == 0


def test_tls_and_compression_are_not_there(gate):
    # Asked for if it is there: it is not, and the client goes on; demanded: the client itself says why not.
    assert client("-pp", "-N", "-e", "SHOW STATUS LIKE 'ssl_cipher'", "--ssl", place=gate.place).stdout.split() == ["Ssl_cipher"]
    r = client("-pp", "-e", "SELECT 1", "--ssl-verify-server-cert", place=gate.place, check=False)
    assert "SSL is required, but the server does not support it" in r.stderr
    r = client("-pp", "-N", "-e", "SHOW STATUS LIKE 'compression'", "--compress", place=gate.place)
    assert r.stdout.split() == ["Compression", "OFF"]
    with pytest.raises(pymysql.err.OperationalError):
        gate.connect(ssl={"check_hostname": False})


def test_files_are_not_read(gate, server, tmp_path):
    (tmp_path / "file").write_text("secret\n")
    r = client("-pp", "--local-infile=1", "t", "-e", f"LOAD DATA LOCAL INFILE '{tmp_path}/file' INTO TABLE words (word)",
               place=gate.place, check=False)
    assert "ERROR 1290" in r.stderr and "LOAD DATA" in r.stderr
    # Hidden from the look at a statement's beginning it still ends at the server, which was never told of files.
    with gate.connect(local_infile=True, client_flag=CAN.MULTI_STATEMENTS) as c:
        with pytest.raises(pymysql.MySQLError), c.cursor() as cursor:
            cursor.execute(f"SELECT 1; LOAD DATA LOCAL INFILE '{tmp_path}/file' INTO TABLE words (word)")
            while cursor.nextset():
                pass
    assert server.value("SELECT COUNT(*) FROM t.words WHERE word = 'secret'") == 0


NODE = """
const m = require('mysql2/promise');
const assert = require('assert');
(async () => {
  const at = {socketPath: process.argv[2], user: 'u', password: 'p', database: 't'};
  const c = await m.createConnection({...at, multipleStatements: true, compress: true});
  const [many] = await c.query('SELECT word FROM words; DO 1; SELECT 2 AS two');
  assert.equal(many[0].length, 3); assert.equal(many[2][0].two, 2);
  for (const id of [0, 1, 2]) {
    const [rows] = await c.execute('SELECT id FROM words WHERE id > ? ORDER BY id', [id]);
    assert.equal(rows.length, 3 - id);
  }
  const [big] = await c.execute('SELECT LENGTH(?) AS n', ['x'.repeat(18 << 20)]);
  assert.equal(big[0].n, 18 << 20);
  const [back] = await c.query("SELECT REPEAT('y', 18 << 20) AS t");
  assert.equal(back[0].t.length, 18 << 20);
  const e = await c.query('SELECT nope').catch(e => e);
  assert.equal(e.errno, 1054);
  const l = await c.query('LOAD DATA INFILE "x" INTO TABLE words').catch(e => e);
  assert.equal(l.errno, 1290);
  await c.beginTransaction(); await c.execute('INSERT INTO words (word) VALUES (?)', ['n']); await c.rollback();
  await c.changeUser({user: 'nat', password: 'np', database: 't'});
  await c.ping(); await c.end();
  const s = await m.createConnection({...at, ssl: {rejectUnauthorized: false}}).catch(e => e);
  assert.match(s.message, /does not support secure connection/);
  const pool = m.createPool({...at, connectionLimit: 8});
  const all = await Promise.all([...Array(200).keys()].map(i => pool.execute('SELECT ? AS i', [i])));
  all.forEach(([rows], i) => assert.equal(rows[0].i, i));
  await pool.end();
  console.log('ok');
})().catch(e => { console.log(e); process.exit(1); });
"""


@pytest.fixture(scope="module")
def mysql2():
    """Kept beside the build: fetched once."""
    where = ROOT / "build/npm"
    package = where / "node_modules/mysql2/package.json"
    if not package.exists() or json.loads(package.read_text())["version"] != MYSQL2:
        where.mkdir(parents=True, exist_ok=True)
        (where / "package.json").write_text('{"private": true}')
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", f"mysql2@{MYSQL2}"], cwd=where, check=True,
                       timeout=300)
    return where


def test_mysql2(gate, mysql2):
    script = mysql2 / "gate.js"
    script.write_text(NODE)
    r = subprocess.run(["node", script, gate.place], cwd=mysql2, capture_output=True, text=True, timeout=120)
    assert r.stdout == "ok\n", r.stdout + r.stderr


def test_pymysql(gate):
    with gate.connect(client_flag=CAN.MULTI_STATEMENTS, autocommit=False) as c, c.cursor() as cursor:
        cursor.execute("SELECT 1; DO 1; SELECT word FROM words ORDER BY id")
        assert cursor.fetchall() == ((1,),) and cursor.nextset() and cursor.nextset()
        assert cursor.fetchall()[2] == ("drei",)
        cursor.callproc("three", (4, 0))
        while cursor.nextset():
            pass
        cursor.execute("SELECT @_three_1")
        assert cursor.fetchall() == ((8,),)
        cursor.execute("INSERT INTO words (word) VALUES ('py')")
        c.rollback()
        cursor.execute("SELECT LENGTH(%s), COUNT(*) FROM words", ("z" * (20 << 20),))
        assert cursor.fetchall() == ((20 << 20, 3),)
        with pytest.raises(pymysql.err.ProgrammingError):
            cursor.execute("SELECT nonsense FROM nowhere")
        c.ping(reconnect=False)
        c.select_db("t")
    with gate.connect(cursorclass=pymysql.cursors.SSCursor) as c, c.cursor() as cursor:
        cursor.execute("SELECT seq, REPEAT('s', 100) FROM seq_1_to_50000")
        assert sum(row[0] for row in cursor) == 50000 * 50001 // 2


@pytest.mark.parametrize("mode", ["auto", "disable"])
def test_sysbench(server, gate, mode):
    args = ["sysbench", "oltp_read_write", "--db-driver=mysql", "--mysql-user=u", "--mysql-password=p", "--mysql-db=t",
            f"--mysql-socket={gate.place}", "--tables=2", "--table-size=1000", f"--db-ps-mode={mode}", "--threads=8",
            "--events=400", "--time=0"]
    try:
        subprocess.run([*args, "prepare"], check=True, capture_output=True, timeout=PATIENCE_S)
        out = subprocess.run([*args, "run"], check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout
        assert "transactions:                        400" in out and "reconnects:                          0" in out, out
    finally:
        subprocess.run([*args, "cleanup"], check=True, capture_output=True, timeout=PATIENCE_S)


# ---- packets that no client of these makes


def packet(payload, seq=0):
    return struct.pack("<I", len(payload))[:3] + bytes([seq]) + payload


def read_packet(sock):
    def exactly(n):
        data = b""
        while len(data) < n:
            more = sock.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data
    head = exactly(4)
    return head[3], exactly(int.from_bytes(head[:3], "little"))


def error_of(p):
    assert p[0] == 0xff, p
    return int.from_bytes(p[1:3], "little")


def test_commands_without_waiting_and_refused_ones_between(server, gate):
    with gate.connect() as c:
        s = c._sock
        dump = b"\x12" + struct.pack("<IHI", 4, 0, 99) + b"bin.000001"
        s.sendall(packet(b"\x03DO 1") + packet(dump) + packet(b"\x0e") + packet(b"\x15" + b"x" * 20) + packet(b"\x1e") +
                  packet(b"\x0c" + struct.pack("<I", c.thread_id())) + packet(b"\x08") + packet(b"\x0e") +
                  packet(b"\x03LOAD DATA INFILE 'x' INTO TABLE words") + packet(b"\x09"))
        codes = []
        for _ in range(10):
            seq, p = read_packet(s)
            assert seq == 1
            codes.append(error_of(p) if p[0] == 0xff else "ok" if p[0] == 0 else p[:6])
        assert codes == ["ok", NOT_ALLOWED, "ok", NOT_ALLOWED, NOT_ALLOWED, NOT_ALLOWED, NOT_ALLOWED, "ok", NOT_SOURCE,
                         b"Uptime"]


def test_more_commands_ahead_than_are_remembered(gate):
    with gate.connect() as c:
        n = 1000
        c._sock.sendall(packet(b"\x0e") * n)
        assert all(read_packet(c._sock)[1][0] == 0 for _ in range(n))


def test_statement_before_the_login_ended(gate, server):
    """Sent along with a login whose password is wrong: the server would never have seen it."""
    before = server.value("SHOW GLOBAL STATUS LIKE 'Com_insert'")
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(PATIENCE_S)
        s.connect(gate.place)
        read_packet(s)
        can = CAN.PROTOCOL_41 | CAN.SECURE_CONNECTION | CAN.PLUGIN_AUTH
        reply = struct.pack("<IIB23x", can, 1 << 24, 45) + b"u\0" + b"\x14" + b"x" * 20 + b"mysql_native_password\0"
        s.sendall(packet(reply, 1) + packet(b"\x03INSERT INTO t.words (word) VALUES ('early')"))
        assert error_of(read_packet(s)[1]) == 1045
        with pytest.raises((EOFError, ConnectionResetError)):
            read_packet(s)
    assert server.value("SELECT COUNT(*) FROM t.words WHERE word = 'early'") == 0


def test_garbage(server, gate):
    """Conversations of other clients with bytes changed here and there: nothing is written, and the gate lives."""
    seed = random.Random(4)
    files = sorted((ROOT / "test/fuzz/corpus/mysql").iterdir())
    before = server.value("SELECT COUNT(*) FROM t.words")
    for i in range(150):
        data, said = files[i % len(files)].read_bytes(), b""
        while data:
            n = int.from_bytes(data[1:5], "little")
            said += data[5:5 + n] if data[:1] == b"C" else b""
            data = data[5 + n:]
        said = bytearray(said)
        for _ in range(seed.randrange(4)):
            said[seed.randrange(len(said))] = seed.randrange(256)
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE_S)
            s.connect(gate.place)
            try:
                if i % 3:
                    read_packet(s)
                s.sendall(said)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except (EOFError, OSError):
                pass
    with gate.connect() as c:
        assert run(c, "SELECT COUNT(*) FROM words") == ((before,),)


# ---- the deadline


def failed_with(e):
    return e.value.args[0]


LOST = (2006, 2013)


def test_closed_until_told(server):
    with Gate(server, policy=True) as g:
        with pytest.raises(pymysql.MySQLError) as e:
            g.connect()
        assert failed_with(e) == NOT_SOURCE and "reconnect" in e.value.args[1]
        g.say("rw 1 600000")
        with g.connect() as c:
            assert run(c, "SELECT 5") == ((5,),)


def test_deadline_in_a_transaction(server):
    with Gate(server, policy=True) as g:
        g.say("rw 1 600000")
        c = g.connect()
        run(c, "BEGIN")
        run(c, "INSERT INTO log VALUES (1)")
        g.say("rw 1 0")
        with pytest.raises(pymysql.MySQLError) as e:
            run(c, "COMMIT")
        assert failed_with(e) == NOT_SOURCE
        with pytest.raises(pymysql.MySQLError) as e:
            run(c, "SELECT 1")
        assert failed_with(e) in LOST + (0,)
        assert server.value("SELECT COUNT(*) FROM t.log WHERE id = 1") == 0
        g.say("rw 1 600000")
        with g.connect() as c:
            run(c, "INSERT INTO log VALUES (2)")


def test_answer_after_the_deadline_does_not_pass(server):
    with Gate(server, policy=True) as g:
        g.say("rw 1 600000")
        c = g.connect()
        with server.connect() as blocker:
            run(blocker, "LOCK TABLES t.log WRITE")
            c._execute_command(COMMAND.COM_QUERY, "INSERT INTO log VALUES (3)")
            g.wait_for(busy=1, statements=c_statements(g, 1))
            g.say("rw 1 0")
            run(blocker, "UNLOCK TABLES")
        with pytest.raises(pymysql.MySQLError) as e:
            c._read_query_result()
        assert failed_with(e) in LOST
        assert g.wait_for(late=1, sessions=0)
        # Written it is: not acknowledged is all that was promised.
        assert server.value("SELECT COUNT(*) FROM t.log WHERE id = 3") == 1


def c_statements(g, more):
    """What the count will be; logging in is no statement, but setting autocommit is."""
    n = g.counts()["statements"]
    return n if n else more


class Writer(threading.Thread):
    """Inserts as fast as it may, and keeps what was acknowledged."""

    def __init__(self, gate, first):
        super().__init__()
        self.gate, self.id, self.acked, self.last, self.stopped, self.errors = gate, first, [], None, False, set()

    def run(self):
        while not self.stopped:
            try:
                with self.gate.connect() as c:
                    while not self.stopped:
                        self.id += 1
                        self.last = self.id
                        run(c, "INSERT INTO log VALUES (%s)", (self.id,))
                        self.acked.append(self.id)
            except pymysql.MySQLError as e:
                self.errors.add(e.args[0])
            except ConnectionError:
                pass


def test_writers_over_many_epochs(server):
    """Nothing goes in once the gate is shut; all that was acknowledged is there."""
    with Gate(server, policy=True) as g:
        writers = [Writer(g, (i + 1) * 1000000) for i in range(6)]
        shut = []
        try:
            g.say("rw 1 600000")
            for w in writers:
                w.start()
            for epoch in range(2, 12):
                seen = g.counts()["statements"]
                for _ in range(20000):
                    if g.counts()["statements"] > seen + 100:
                        break
                    select.select([], [], [], 0.002)
                g.say(f"rw {epoch - 1} 0" if epoch % 2 else "close")
                seen = g.counts()["statements"]
                shut.append(g.wait_for(busy=0)["statements"] - seen)
                g.say(f"rw {epoch} 600000")
        finally:
            for w in writers:
                w.stopped = True
            g.say("rw 99 600000")
            for w in writers:
                w.join(PATIENCE_S)
        assert shut == [0] * 10
        acked = {i for w in writers for i in w.acked}
        rows = {r["id"] for r in server.query("SELECT id FROM t.log WHERE id >= 1000000")}
        assert len(acked) > 500 and acked <= rows
        # What was written and not acknowledged is at most one of each writer an epoch.
        assert len(rows - acked) <= len(writers) * 11
        assert NOT_SOURCE in set().union(*(w.errors for w in writers))


# ---- switchover


def in_thread(f, *args):
    result = []

    def body():
        try:
            result.append(f(*args))
        except BaseException as e:  # noqa: BLE001 - the test looks at it
            result.append(e)
    t = threading.Thread(target=body)
    t.start()

    def join():
        t.join(PATIENCE_S)
        assert result, "it still waits"
        return result[0]
    return join


def test_hold_and_release(server):
    with Gate(server, policy=True) as g:
        g.say("rw 1 600000")
        idle, busy = g.connect(), g.connect()
        run(busy, "BEGIN")
        run(busy, "INSERT INTO log VALUES (100)")
        g.say("hold 1 600000 600000")
        waits = in_thread(run, idle, "SELECT 6")
        comes = in_thread(g.connect)
        g.wait_for(waiting=2, busy=1)
        run(busy, "INSERT INTO log VALUES (101)")
        run(busy, "COMMIT")
        assert g.wait_for(busy=0)["waiting"] == 2
        ends = in_thread(run, busy, "SELECT 7")
        g.wait_for(waiting=3)
        g.say("rw 1 600000")
        assert waits() == ((6,),) and ends() == ((7,),)
        assert run(comes(), "SELECT 8") == ((8,),)


def test_hold_that_moves_away(server):
    with Gate(server, policy=True) as g:
        g.say("rw 1 600000")
        idle = g.connect()
        g.say("hold 1 600000 600000")
        waits = in_thread(run, idle, "INSERT INTO log VALUES (102)")
        g.wait_for(waiting=1)
        g.say("close")
        e = waits()
        assert isinstance(e, pymysql.MySQLError) and e.args[0] == NOT_SOURCE
        assert server.value("SELECT COUNT(*) FROM t.log WHERE id = 102") == 0


# ---- the server


def test_server_is_killed_in_an_answer(server):
    with Gate(server, policy=True) as g:
        g.say("rw 1 600000")
        c = g.connect()
        c._sock.sendall(packet(b"\x03SELECT seq, REPEAT('k', 1000) FROM seq_1_to_10000000"))
        while read_packet(c._sock)[1][0] != 0xfe:
            pass  # the columns; rows follow
        server.kill()
        with pytest.raises((EOFError, ConnectionResetError)):
            while True:
                assert read_packet(c._sock)[1][0] not in (0xfe, 0xff), "that looked like an end"
        with pytest.raises(pymysql.MySQLError) as e:
            g.connect()
        assert failed_with(e) == 1053
        assert g.counts()["health"] == "dead"
        server.start()
        with g.connect() as c:
            assert run(c, "SELECT 9") == ((9,),)
        assert g.counts()["health"] == "well"


def freeze(server):
    """Returns when every thread of it has stopped: the signal alone does not wait for that."""
    server.send(signal.SIGSTOP)
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task")
    while any((task / "stat").read_text().rpartition(")")[2].split()[0] != "T" for task in tasks.iterdir()):
        select.select([], [], [], 0.002)


def test_slow_is_not_dead(server):
    with Gate(server, "--slow", "20ms", policy=True) as g:
        g.say("rw 1 600000")
        one, other = g.connect(), g.connect()
        waits, seen = in_thread(run, one, "SELECT SLEEP(1)"), set()
        while "slow" not in seen and run(other, "SELECT 1"):  # it speaks, if not to everybody
            seen.add(g.counts()["health"])
        assert waits() == ((0,),)
        freeze(server)
        try:
            waits = in_thread(run, one, "SELECT 10")
            g.wait_for(health="silent")
        finally:
            server.send(signal.SIGCONT)
        assert waits() == ((10,),)
        g.wait_for(health="well", slow=0)


def test_connections_are_limited(server):
    with Gate(server, "--connections", "2", policy=True) as g:
        g.say("rw 1 600000")
        one, two = g.connect(), g.connect()
        with pytest.raises(pymysql.MySQLError) as e:
            g.connect()
        assert failed_with(e) == 1040
        one.close()
        g.wait_for(sessions=1)
        run(g.connect(), "SELECT 1")
        run(two, "SELECT 1")
