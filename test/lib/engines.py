# SPDX-License-Identifier: Apache-2.0
"""Real MariaDB servers in the namespaces of role.Machine, laid out as a host's agent lays out an engine. They begin from the
template that the build made (tools/mariadb_template.sh); ready is what the server says. Ended by pid, with close()."""
import os
import pathlib
import signal
import socket
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))).resolve().parent
TEMPLATE = BUILD / "test/mariadb-template.tar"
CONFIG = """[mariadbd]
user=mysql
datadir={dir}/data
socket={dir}/run/db.sock
pid-file={dir}/run/db.pid
tmpdir={dir}/run
bind-address={address}
port={port}
server-id={id}
gtid-domain-id={id}
log-bin={dir}/binlog/bin
relay-log={dir}/relay/relay
report-host={address}
read-only=1
skip-slave-start
skip-name-resolve
log-slave-updates
gtid-strict-mode=1
binlog-format=ROW
sync-binlog=1
relay-log-recovery=1
slave-net-timeout=10
slave-parallel-threads=2
ssl-ca={dir}/tls/ca.pem
ssl-cert={dir}/tls/cert.pem
ssl-key={dir}/tls/key.pem
performance-schema=0
innodb-buffer-pool-size=16M
innodb-log-file-size=4M
innodb-data-file-path=ibdata1:4M:autoextend
innodb-autoextend-increment=1
innodb-undo-tablespaces=0
key-buffer-size=1M
aria-pagecache-buffer-size=1M
max-connections=100
open-files-limit=4096
"""
# What mariadb-install-db of an engine leaves: the system user mysql, by the socket, and no anonymous account.
ACCOUNTS = """SET sql_log_bin=0;
CREATE USER mysql@localhost IDENTIFIED VIA unix_socket;
GRANT ALL ON *.* TO mysql@localhost WITH GRANT OPTION;
DELETE FROM mysql.global_priv WHERE user='';
FLUSH PRIVILEGES;
"""


class Authority:
    """A CA that makes the certificates that servers and replicas show each other."""

    def __init__(self, folder):
        self.dir = pathlib.Path(folder)
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                      "-subj", "/CN=test root", "-keyout", "root.key", "-out", "root.pem")

    def _openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.dir, check=True, capture_output=True)

    def issue(self, address, subject="/O=MCP/CN=mcp-data", days=1):
        """{"ca", "cert", "key"}, as the role is told. days 0: it has ended."""
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject,
                      "-keyout", "leaf.key", "-out", "leaf.csr")
        (self.dir / "leaf.ext").write_text(f"subjectAltName=IP:{address}\n")
        self._openssl("x509", "-req", "-in", "leaf.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
                      "-days", str(days), "-extfile", "leaf.ext", "-out", "leaf.pem")
        return {"ca": (self.dir / "root.pem").read_text(), "cert": (self.dir / "leaf.pem").read_text(),
                "key": (self.dir / "leaf.key").read_text()}


class Server:
    def __init__(self, machine, name, number, address, identity, port=3306, extra=""):
        self.machine, self.number, self.address, self.port = machine, number, address, port
        self.dir = f"/var/lib/mcp/data/{name}"
        folders = " ".join(f"{self.dir}/{d}" for d in ("data", "run", "binlog", "relay", "tls", "vault", "spool",
                                                       "evidence"))
        machine.run("sh", "-c", f"chmod 755 /var/lib/mcp && mkdir -p {folders} && tar -xf {TEMPLATE} -C {self.dir}/data")
        for part, text in identity.items():
            self.write(f"tls/{part}.pem", text)
        self.write("my.cnf", CONFIG.format(dir=self.dir, id=number, address=address, port=port) + extra)
        machine.run("sh", "-c", f"chown -R mysql: {self.dir} && chmod 700 {self.dir}/data && chmod 755 {self.dir}/run")
        self.process = None
        self.start()
        self.sql(ACCOUNTS)

    def write(self, path, text):
        self.machine.run("sh", "-c", f"cat > {self.dir}/{path}", input=text)

    def start(self):
        """Until the server itself says that it is ready."""
        path = f"/proc/{self.machine.holder.pid}/root{self.dir}/run/notify"
        if os.path.exists(path):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(path)
            os.chmod(path, 0o777)
            ready.settimeout(60)
            self.process = subprocess.Popen(
                self.machine.enter("env", f"NOTIFY_SOCKET={self.dir}/run/notify", "mariadbd",
                                   f"--defaults-file={self.dir}/my.cnf", f"--log-error={self.dir}/run/log.err"),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while b"READY=1" not in ready.recv(4096):
                assert self.process.poll() is None, self.log()

    def log(self):
        return self.machine.run("cat", f"{self.dir}/run/log.err")

    def sql(self, text, database=None):
        """As root; rows of tab-separated columns, without a head."""
        words = ["mariadb", "--no-defaults", f"--socket={self.dir}/run/db.sock", "--user=root", "--batch", "--silent",
                 "--raw", "--skip-column-names"]
        return self.machine.run(*words, *([database] if database else []), input=text).rstrip("\n")

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """As a crash."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
