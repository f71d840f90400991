# SPDX-License-Identifier: Apache-2.0
"""Starts one module on a port of its own choosing, asks it over HTTP, stops it, counts what passed.

A module is ready when it says `listening port=N`: no sleeping, no guessed port. Only our own child
is ended.
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from urllib.parse import quote  # noqa: F401, for the tests

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = os.path.join(HERE, "..", "modules")
BIN = os.path.join(HERE, "..", ".cache", "bin-asan" if os.environ.get("SAN") else "bin")
WAIT_S = 10
IDENTITY = {"MCP_MODULE": "tested", "MCP_REGION": "ap-seoul", "MCP_INSTANCE": "tested-1",
            "MCP_HOST": "seoul1"}


def c_module(name):
    return [os.path.join(BIN, name)]


class Module:
    """A running module; use it in a `with`."""

    def __init__(self, argv, port="0", **env):
        clean = {"PATH": os.environ["PATH"], **IDENTITY, **env}
        if port is not None:
            clean["PORT"] = port
        self.lines, self.heard = [], threading.Condition()
        self.process = subprocess.Popen(argv, env=clean, stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.port = None
        if port is not None:
            self.port = int(self.wait_line(r"listening port=(\d+)").group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()

    def _read(self):
        for line in self.process.stdout:
            with self.heard:
                self.lines.append(line.rstrip("\n"))
                self.heard.notify_all()
        with self.heard:
            self.heard.notify_all()

    def wait_line(self, pattern, count=1):
        """The count-th line that matches; fails when it does not come or the module ends."""
        def found():
            hits = [m for m in (re.search(pattern, line) for line in self.lines) if m]
            return hits[count - 1] if len(hits) >= count else None
        with self.heard:
            if not self.heard.wait_for(found, WAIT_S):
                raise AssertionError(f"no line {pattern!r} in {self.lines[-5:]}")
            return found()

    def connect(self, host="127.0.0.1"):
        return socket.create_connection((host, self.port), WAIT_S)

    def client(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)

    def ask(self, method, path, body=None, headers=None):
        """(status, body): parsed when it is JSON, text otherwise."""
        client = self.client()
        try:
            if body is not None and not isinstance(body, (str, bytes)):
                body = json.dumps(body)
            client.request(method, path, body, headers or {})
            reply = client.getresponse()
            text = reply.read().decode()
            is_json = reply.getheader("Content-Type", "").startswith("application/json")
            return reply.status, json.loads(text) if is_json and text else text
        finally:
            client.close()

    def raw(self, data):
        """What the module answers to these bytes until it closes."""
        with self.connect() as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: s.recv(65536), b""))

    def end(self, sig=signal.SIGTERM):
        """Signals it; (exit code, seconds it took)."""
        start = time.monotonic()
        self.process.send_signal(sig)
        return self.process.wait(WAIT_S), time.monotonic() - start

    def exit_code(self):
        return self.process.wait(WAIT_S)


def check_common(argv):
    """What every module owes the platform."""
    with Module(argv) as m:
        assert m.ask("GET", "/healthz") == (200, "ok\n")
        for path in ("/whoami", "/v1/whoami"):
            status, me = m.ask("GET", path)
            assert status == 200, status
            assert (me["module"], me["region"]) == ("tested", "ap-seoul"), me
            assert (me["instance"], me["host"]) == ("tested-1", "seoul1"), me
            assert me["pid"] == m.process.pid and me["uptime_s"] >= 0, me
        assert m.ask("GET", "/nowhere")[0] == 404
        assert m.ask("POST", "/healthz")[0] == 405
        assert m.ask("POST", "/fault/crash")[0] == 404, "faults must be off by default"
        m.wait_line(r"request method=GET path=/healthz status=200")
        if socket.has_ipv6:
            m.connect("::1").close()


def check_stop(argv):
    """SIGTERM: a connection kept alive does not hold up the end, and the module exits 0."""
    with Module(argv) as m:
        client = m.client()
        client.request("GET", "/healthz")
        reply = client.getresponse()
        reply.read()
        assert not reply.will_close
        code, took = m.end()
        client.close()
        assert code == 0, code
        assert took < 3, took


def run(cases):
    """Runs {name: function}; the last line counts."""
    failed = 0
    for name, case in cases.items():
        start = time.monotonic()
        try:
            case()
            took = time.monotonic() - start
            print(f"ok     {name}" + (f" ({took:.1f} s)" if took > 1 else ""))
        except Exception:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}")
    print(f"{len(cases) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)
