# SPDX-License-Identifier: Apache-2.0
"""The gate in front of a real MySQL 9, for `make integ-mysql`: its own client with query attributes, logins by
caching_sha2_password without TLS, cursors and results without the packets that MariaDB sends."""
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import pymysql
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test/lib"), str(ROOT / "test/integ")]
import mariadblib
from test_gate import Gate, libmariadb, mysql2, run  # noqa: F401 - fixtures

CACHE = pathlib.Path(os.environ.get("MCP_MYSQL_CACHE", "/var/cache/mcp-mysql"))
PATIENCE_S = 60
CONFIG = """[mysqld]
datadir=/srv/data
socket=/srv/socket
bind-address={address}
port={port}
mysqlx=0
server-id=1
log-error=/srv/log.err
pid-file=/srv/pid
skip-name-resolve
innodb-redo-log-capacity=8M
innodb-buffer-pool-size=32M
max-allowed-packet=64M
local-infile=1
"""
MOUNTS = """mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"; mount --bind "$2" "$1/srv"; root=$1; shift 2
exec chroot --userspec=mysql "$root" "$@" """


class Server(mariadblib.Server):
    """Begins as mariadblib's do, in the chroot."""

    def __init__(self):
        self.id, self.process, self.prefix = 1, None, []
        pid = os.getpid()
        self.address = f"127.{64 + (pid >> 14) % 128}.{pid >> 6 & 255}.{1 + pid % 64}"
        self.port = mariadblib.free_port(self.address)
        self.dir = tempfile.mkdtemp(prefix="mcp-mysql-", dir="/tmp")
        self.socket, root = self.dir + "/socket", CACHE / "sid"
        os.mkdir(self.dir + "/data")
        subprocess.run(["tar", "-xf", CACHE / "template.tar", "-C", self.dir + "/data"], check=True)
        pathlib.Path(self.dir, "my.cnf").write_text(CONFIG.format(address=self.address, port=self.port))
        owner = next(line.split(":")[2:4] for line in (root / "etc/passwd").read_text().splitlines()
                     if line.startswith("mysql:"))
        subprocess.run(["chown", "-R", ":".join(owner), self.dir], check=True)
        os.chmod(self.dir, 0o755)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(self.dir + "/notify")
            os.chmod(self.dir + "/notify", 0o777)
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-ec", MOUNTS, "sh", root, self.dir,
                 "/usr/sbin/mysqld", "--defaults-file=/srv/my.cnf"],
                env={"NOTIFY_SOCKET": "/srv/notify", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, stdin=subprocess.DEVNULL,
                preexec_fn=lambda: mariadblib._libc.prctl(1, 9))
            self._await_ready(notify)


@pytest.fixture(scope="module")
def server():
    with Server() as s:
        s.query("CREATE DATABASE t", "CREATE USER u@'%' IDENTIFIED BY 'p'", "GRANT ALL ON *.* TO u@'%'",
                "CREATE USER nat@'%' IDENTIFIED BY 'np'", "GRANT ALL ON t.* TO nat@'%'",
                "CREATE TABLE t.words (id INT PRIMARY KEY AUTO_INCREMENT, word VARCHAR(40))",
                "INSERT INTO t.words (word) VALUES ('eins'), ('zwei'), ('drei')",
                "CREATE PROCEDURE t.three(IN a INT, OUT b INT) BEGIN SELECT a; SELECT word FROM words; SET b = 2 * a; END")
        yield s


@pytest.fixture(scope="module")
def gate(server):
    with Gate(server, tcp=True, upstream=f"{server.address}:{server.port}") as g:
        yield g


def own_client(gate, *args, check=True):
    host, _, port = gate.place.rpartition(":")
    r = subprocess.run(["chroot", CACHE / "sid", "mysql", "--no-defaults", "-h", host, "-P", port, "-uu", "-pp",
                        "--default-character-set=utf8mb4", *args], capture_output=True, text=True, timeout=PATIENCE_S)
    assert not check or r.returncode == 0, r.stderr
    return r


def test_its_own_client(gate, server):
    """The first login of an account needs the whole exchange by RSA, the later ones a proof only."""
    server.query("FLUSH PRIVILEGES")
    for _ in range(2):
        r = own_client(gate, "--ssl-mode=DISABLED", "--get-server-public-key", "-N", "t", "-e",
                       "SELECT word FROM words ORDER BY id; CALL three(3, @x); SELECT @x; SHOW STATUS LIKE 'Ssl_cipher'")
        assert r.stdout.split() == ["eins", "zwei", "drei", "3", "eins", "zwei", "drei", "6", "Ssl_cipher"]
    r = own_client(gate, "--ssl-mode=REQUIRED", "-e", "SELECT 1", check=False)
    assert "SSL connection error: SSL is required but the server doesn't support it" in r.stderr
    r = own_client(gate, "--ssl-mode=DISABLED", "--get-server-public-key", "--compression-algorithms=zstd,uncompressed",
                   "-N", "-e", "SHOW STATUS LIKE 'Compression'")
    assert r.stdout.split() == ["Compression", "OFF"]
    r = own_client(gate, "--ssl-mode=DISABLED", "--get-server-public-key", "--commands=ON", "-N", "t", "-e",
                   "query_attributes a 1\nSELECT 5;")
    assert r.stdout.split() == ["5"]


def test_mysql2(gate, server, mysql2):  # noqa: F811
    server.query("FLUSH PRIVILEGES")
    host, _, port = gate.place.rpartition(":")
    script = mysql2 / "mysql9.js"
    script.write_text("""
const m = require('mysql2/promise');
(async () => {
  const c = await m.createConnection({host: process.argv[2], port: +process.argv[3], user: 'u', password: 'p', database: 't'});
  for (const id of [0, 1, 2]) {
    const [rows] = await c.execute('SELECT id FROM words WHERE id > ? ORDER BY id', [id]);
    if (rows.length !== 3 - id) throw new Error(rows.length);
  }
  const [big] = await c.query("SELECT REPEAT('y', 18 << 20) AS t");
  if (big[0].t.length !== 18 << 20) throw new Error('length');
  await c.changeUser({user: 'nat', password: 'np', database: 't'});
  await c.end();
  console.log('ok');
})().catch(e => { console.log(e); process.exit(1); });
""")
    r = subprocess.run(["node", script, host, port], cwd=mysql2, capture_output=True, text=True, timeout=PATIENCE_S)
    assert r.stdout == "ok\n", r.stdout + r.stderr


def test_libmariadb(gate, server, libmariadb):  # noqa: F811
    server.query("FLUSH PRIVILEGES")
    parts = ["multi", "prepared", "longdata", "big", "refused", "transaction"]
    r = subprocess.run([libmariadb, gate.place, "u", "p", "t", *parts], capture_output=True, text=True, timeout=120)
    assert r.stdout.splitlines() == [f"ok {p}" for p in parts]


def test_pymysql(gate):
    host, _, port = gate.place.rpartition(":")
    with pymysql.connect(host=host, port=int(port), user="u", password="p", database="t") as c:
        assert run(c, "SELECT COUNT(*) FROM words") == ((3,),)
