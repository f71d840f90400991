# SPDX-License-Identifier: Apache-2.0
"""A real mariadbd that listens on nothing but a Unix socket, and endpoints in front of it: TCP ports on
127.0.0.1 that pass bytes on, and can be told to be slow, silent or gone. Both end with the test."""
import contextlib
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

WAIT_S = 20
SCHEMA = pathlib.Path(__file__).parents[1] / "schema/trade.sql"


class Database:
    """Starts with the tables of the schema and the account api / first."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="example-db-")
        shutil.chown(self.folder, "mysql")
        self.socket = f"{self.folder}/s"
        self.process = None
        common = ["--no-defaults", f"--datadir={self.folder}/data", "--user=mysql"]
        self.argv = ["mariadbd", *common, f"--socket={self.socket}", f"--pid-file={self.folder}/pid",
                     "--skip-networking", "--performance-schema=off", "--innodb-buffer-pool-size=16M",
                     "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=2"]  # outlives the process
        subprocess.run(["mariadb-install-db", *common, "--skip-test-db",
                        "--auth-root-authentication-method=normal"], check=True, capture_output=True)
        self.start()
        self.sql("CREATE DATABASE trade; CREATE USER api@localhost IDENTIFIED BY 'first';"
                 "GRANT SELECT, INSERT, UPDATE, DELETE ON trade.* TO api@localhost")
        self.apply_schema()

    def apply_schema(self):
        self.sql("USE trade;\n" + SCHEMA.read_text(encoding="utf-8"))

    def start(self):
        self.process = subprocess.Popen(self.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + WAIT_S
        while True:
            try:
                return self.sql("SELECT 1")
            except AssertionError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def sql(self, text):
        """Rows as lists of text."""
        done = subprocess.run(["mariadb", "--no-defaults", "-uroot", "-S", self.socket, "-N", "-B"],
                              input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Endpoint:
    """Passes connections on to the database. `mute`: what the database says goes nowhere. `hold()`: it
    waits for `release()`. `down`: new connections are closed at once."""

    def __init__(self, database):
        self.database = database
        self.mute = self.down = False
        self.accepted = 0
        self.flowing = threading.Event()
        self.flowing.set()
        self.hold, self.release = self.flowing.clear, self.flowing.set
        self.pairs = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.name = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                if self.down:
                    raise ConnectionError
                server.connect(self.database.socket)
            except OSError:
                client.close()
                server.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.accepted += 1
                self.pairs.append((client, server))
            for a, b, muted in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=(a, b, muted), daemon=True).start()

    def _pass(self, source, target, can_mute):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if can_mute:
                    self.flowing.wait()
                if not (can_mute and self.mute):
                    target.sendall(data)
        self._end(source, target)

    def _end(self, *sockets):
        for s in sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        with self.lock:
            self.pairs = [p for p in self.pairs if sockets[0] not in p]

    def open(self):
        with self.lock:
            return len(self.pairs)

    def cut(self):
        """Ends every connection."""
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            self._end(*pair)

    def close(self):
        self.release()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # or a waiting accept() would keep it
        self.listener.close()
        self.cut()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def wait_until(check):
    until = time.monotonic() + WAIT_S
    while not (value := check()):
        assert time.monotonic() < until, check
        time.sleep(0.01)
    return value

