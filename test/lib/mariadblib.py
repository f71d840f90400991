# SPDX-License-Identifier: Apache-2.0
"""Real MariaDB servers for tests, as test/lib/mariadb.h has them for C: each in a folder of its own, begun from the
template that the build made (about 0.2 s until it is ready), on a Unix socket and a port of its own. Ready is what the
server says itself. Servers are children of the test, ended by pid, and end with it should it die.

    with mariadblib.Server(1) as source, mariadblib.Server(2, "read-only=1") as replica:
        replica.follow(source)
        source.query("CREATE TABLE t.x (id INT PRIMARY KEY)")
        replica.catch_up(source)
"""
import ctypes
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile

import pymysql
import pymysql.cursors

TEMPLATE = os.environ.get("MCP_MARIADB_TEMPLATE",
                          os.path.join(os.path.dirname(__file__), "../../build/test/mariadb-template.tar"))
PATIENCE_S = 60
_libc = ctypes.CDLL(None, use_errno=True)

CONFIG = """[mariadbd]
datadir={dir}/data
socket={dir}/socket
bind-address={address}
port={port}
server-id={id}
gtid-domain-id={id}
log-error={dir}/log.err
pid-file={dir}/pid
skip-name-resolve
log-bin=bin
log-slave-updates
skip-slave-start
gtid-strict-mode=1
binlog-format=ROW
sync-binlog=1
relay-log=relay
relay-log-recovery=1
slave-net-timeout=10
performance-schema=0
innodb-buffer-pool-size=16M
innodb-log-file-size=4M
innodb-data-file-path=ibdata1:4M:autoextend
innodb-autoextend-increment=1
innodb-undo-tablespaces=0
key-buffer-size=1M
aria-pagecache-buffer-size=1M
max-connections=100
table-open-cache=200
table-open-cache-instances=1
{extra}
"""


def free_port(address):
    with socket.socket() as s:
        s.bind((address, 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, id=1, extra="", address=None, port=None, prefix=(), start=True):
        """extra: further lines of my.cnf, which win. prefix: words in front of the command (nsenter --net=… of a test that
        has its own network; then address and port are the test's to choose)."""
        self.id, self.prefix = id, list(prefix)
        pid = os.getpid()
        self.address = address or f"127.{64 + (pid >> 14) % 128}.{pid >> 6 & 255}.{1 + pid % 64}"
        self.port = port or free_port(self.address)
        self.dir = tempfile.mkdtemp(prefix="mcp-mariadb-", dir="/tmp")
        self.socket, self.process = self.dir + "/socket", None
        os.mkdir(self.dir + "/data", 0o700)
        subprocess.run(["tar", "-xf", TEMPLATE, "-C", self.dir + "/data"], check=True)
        with open(self.dir + "/my.cnf", "w", encoding="utf-8") as f:
            f.write(CONFIG.format(dir=self.dir, id=id, address=self.address, port=self.port, extra=extra))
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "mysql:", self.dir], check=True)
        if start:
            self.start()

    def _child(self):
        """Between fork and exec: the unprivileged user, and an end with the test's own."""
        if os.geteuid() == 0 and not self.prefix:
            user = pwd.getpwnam("mysql")
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        _libc.prctl(1, signal.SIGKILL)

    def start(self):
        assert self.process is None
        path = self.dir + "/notify"
        if os.path.exists(path):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            os.chmod(path, 0o777)
            user = ["--user=mysql"] if self.prefix and os.geteuid() == 0 else []
            self.process = subprocess.Popen(
                [*self.prefix, "/usr/sbin/mariadbd", f"--defaults-file={self.dir}/my.cnf", *user],
                env={"NOTIFY_SOCKET": path, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=self._child)
            self._await_ready(notify)
        return self

    def _await_ready(self, notify):
        ended = os.pidfd_open(self.process.pid)
        try:
            while True:
                readable, _, _ = select.select([notify, ended], [], [], PATIENCE_S)
                if notify in readable and b"READY=1" in notify.recv(4096):
                    return
                if ended in readable or not readable:
                    raise AssertionError(f"MariaDB {self.id} is not ready:\n{self.log()[-4000:]}")
        finally:
            os.close(ended)

    def log(self):
        with open(self.dir + "/log.err", encoding="utf-8", errors="replace") as f:
            return f.read()

    def send(self, number):
        self.process.send_signal(number)

    def kill(self):
        """As a crash. Waits, so that a restart finds nothing of it."""
        self.stop(signal.SIGKILL)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(PATIENCE_S)
        self.process = None

    def restart(self, number=signal.SIGTERM):
        self.stop(number)
        return self.start()

    def close(self):
        if self.process:
            self.kill()
        shutil.rmtree(self.dir)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # ---- talking to it

    def connect(self, user="root", password="", **kw):
        kw = {"unix_socket": self.socket, "autocommit": True, "charset": "utf8mb4", "connect_timeout": PATIENCE_S,
              "read_timeout": PATIENCE_S, **kw}
        return pymysql.connect(user=user, password=password, **kw)

    def query(self, *statements, **kw):
        """All rows of the last statement, as dictionaries."""
        rows = ()
        with self.connect(cursorclass=pymysql.cursors.DictCursor, **kw) as c, c.cursor() as cursor:
            for s in statements:
                cursor.execute(s)
                rows = cursor.fetchall()
        return list(rows)

    def value(self, statement, **kw):
        rows = self.query(statement, **kw)
        return next(iter(rows[0].values())) if rows else None

    # ---- replication

    def replica_status(self):
        rows = self.query("SHOW ALL SLAVES STATUS")
        return rows[0] if rows else None

    def follow(self, source, user="repl", password="rp", using="slave_pos", options=""):
        """Replicates from `source` by GTID, with an account that is made there (not in its binary log)."""
        source.query("SET SESSION sql_log_bin=0", f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}'",
                     f"GRANT REPLICATION SLAVE ON *.* TO '{user}'@'%'")
        self.query(f"CHANGE MASTER TO MASTER_HOST='{source.address}', MASTER_PORT={source.port}, MASTER_USER='{user}', "
                   f"MASTER_PASSWORD='{password}', MASTER_USE_GTID={using}, MASTER_HEARTBEAT_PERIOD=0.5, "
                   f"MASTER_CONNECT_RETRY=1{options}", "START SLAVE")

    def catch_up(self, source, timeout=PATIENCE_S):
        """Waits, in the server, until everything that `source` has now is here."""
        position = source.value("SELECT @@gtid_binlog_pos")
        reached = self.value(f"SELECT MASTER_GTID_WAIT('{position}', {timeout - 1})")
        assert reached == 0, f"not at {position}: {self.replica_status()}"
