# SPDX-License-Identifier: Apache-2.0
"""A real mariadbd in a namespace of a test's (role.Machine), on a Unix socket where the engine of a host has it. It begins
from the template that the build made."""
import os
import pathlib
import signal
import subprocess

import pymysql
from role import Machine

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = pathlib.Path(os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))).resolve().parent / "test/mariadb-template.tar"

CONF = """[mariadbd]
datadir={dir}/data
socket={dir}/run/db.sock
pid-file={dir}/run/db.pid
skip-networking
skip-name-resolve
server_id={server_id}
log_bin={dir}/binlog/log
gtid_strict_mode=1
innodb_buffer_pool_size=16M
innodb_log_file_size=4M
innodb_data_file_path=ibdata1:4M:autoextend
innodb_undo_tablespaces=0
innodb_flush_log_at_trx_commit=1
performance_schema=off
key_buffer_size=1M
"""


class MariaDB:
    """One server of one machine: /var/lib/mcp/data/NAME/run/db.sock, root by the socket."""

    def __init__(self, machine: Machine, name="trade", server_id=1, **settings):
        self.machine, self.dir, self.process = machine, f"/var/lib/mcp/data/{name}", None
        machine.run("sh", "-c", f"chmod 755 /var/lib/mcp && mkdir -p {self.dir}/data {self.dir}/run {self.dir}/binlog && "
                    f"tar -xf {TEMPLATE} -C {self.dir}/data && chown -R mysql: {self.dir} && chmod 755 {self.dir}/run")
        conf = CONF.format(dir=self.dir, server_id=server_id) + "".join(f"{k}={v}\n" for k, v in settings.items())
        machine.run("sh", "-c", f"cat > {self.dir}/my.cnf", input=conf)
        self.start()

    @property
    def socket(self):
        return f"{self.dir}/run/db.sock"

    def start(self):
        self.process = subprocess.Popen(
            self.machine.enter("mariadbd", f"--defaults-file={self.dir}/my.cnf", "--user=mysql"),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "ready for connections" in line:
                return
        raise AssertionError("mariadbd has not started")

    def sql(self, text):
        """What root gets, as lines of tab-separated texts."""
        return self.machine.run("mariadb", "-N", "-B", "-S", self.socket, "-e", text).strip()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        """As a crash: nothing is tidied up."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process.stderr.close()

    def close(self):
        if self.process.poll() is None:
            self.kill()


def connect(machine, source, address, user, password, port=3306, timeout=20, **more):
    """A session from that address of the machine."""
    return machine.inside(lambda: pymysql.connect(host=address, port=port, user=user, password=password,
                                                  bind_address=source, connect_timeout=timeout, read_timeout=timeout,
                                                  autocommit=True, **more))


def one(session, text):
    """The first column of the first row."""
    with session.cursor() as c:
        c.execute(text)
        return c.fetchone()[0]
