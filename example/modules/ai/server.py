# SPDX-License-Identifier: Apache-2.0
"""HTTP for one Python module: a bounded number of connections, a thread each; SIGTERM drains."""
import json
import os
import re
import signal
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

CONNECTIONS_MAX = 32  # each is a thread, and a container may have few
BODY_MAX = 8192
IDLE_S = 15
DRAIN_S = 5
LENGTH = re.compile(r"[0-9]{1,15}")
STARTED = time.monotonic()


def log(level, area, text):
    name = os.environ.get("MCP_MODULE") or "ai"
    sys.stdout.write(f"{level} {name} {area} {text}\n")
    sys.stdout.flush()


def whoami(_query, _body):
    env = os.environ.get
    return 200, {"module": env("MCP_MODULE") or "ai", "region": env("MCP_REGION", ""),
                 "instance": env("MCP_INSTANCE", ""), "host": env("MCP_HOST", ""),
                 "pid": os.getpid(), "uptime_s": int(time.monotonic() - STARTED)}


def healthz(_query, _body):
    return 200, "ok\n"


COMMON = {("GET", "/healthz"): healthz, ("GET", "/whoami"): whoami, ("GET", "/v1/whoami"): whoami}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    disable_nagle_algorithm = True

    def do_GET(self):
        self.answer("GET")

    def do_HEAD(self):
        self.answer("GET")

    def do_POST(self):
        self.answer("POST")

    def answer(self, method):
        start = time.monotonic()
        path, _, query = self.path.partition("?")
        status, body = self.read_body()
        if status == 200:
            status, body = self.server.dispatch(method, path, query, body)
        else:
            self.close_connection = True  # where the next request begins is not known
        size = self.send(status, body)
        log("info", "http", f"request method={self.command} path={ascii(path[:200])[1:-1]} "
            f"status={status} bytes={size} ms={int((time.monotonic() - start) * 1000)}")

    def read_body(self):
        """(200, the body), or the status that refuses it."""
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers:
            return 411, {"error": "Length Required"}
        if len(lengths) > 1 or not all(LENGTH.fullmatch(length) for length in lengths):
            return 400, {"error": "Bad Request"}
        length = int(lengths[0]) if lengths else 0
        if length > BODY_MAX:
            return 413, {"error": "Content Too Large"}
        body = self.rfile.read(length)
        return (200, body) if len(body) == length else (400, {"error": "Bad Request"})

    def send(self, status, body):
        text = isinstance(body, str)
        data = (body if text else json.dumps(body, ensure_ascii=False) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        # Half the threads idle in kept connections is where new ones would begin to wait.
        if self.close_connection or self.server.ending or self.server.crowded():
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        return len(data)

    def log_message(self, *_):
        pass  # answer() writes the one line


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, routes):
        self.routes = {**COMMON, **routes}
        self.ending = False
        self.places = threading.Semaphore(CONNECTIONS_MAX)
        self.open = set()
        self.changed = threading.Condition()
        super().__init__(("", port), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener(port, self.request_queue_size)
        self.server_address = self.socket.getsockname()

    def crowded(self):
        return len(self.open) > CONNECTIONS_MAX // 2

    def dispatch(self, method, path, query, body):
        route = self.routes.get((method, path))
        if route:
            return route(query, body)
        if any(known == path for _, known in self.routes):
            return 405, {"error": "method not allowed"}
        return 404, {"error": "no such path"}

    def process_request(self, request, client_address):
        while not self.places.acquire(timeout=0.1):
            if self.ending:
                self.close_request(request)
                return
        with self.changed:
            self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self.changed:
            self.open.discard(request)
            self.changed.notify_all()
        self.places.release()
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        log("warn", "http", f"connection lost error={type(sys.exc_info()[1]).__name__}")

    def drain(self):
        """No more input: idle connections end at once, those in a request end with their answer."""
        with self.changed:
            for request in self.open:
                try:
                    request.shutdown(socket.SHUT_RD)
                except OSError:
                    pass  # the peer was first
            self.changed.wait_for(lambda: not self.open, DRAIN_S)


def listener(port, backlog):
    """On both families where there is IPv6, on IPv4 alone otherwise."""
    try:
        return socket.create_server(("::", port), family=socket.AF_INET6, backlog=backlog,
                                    dualstack_ipv6=True)
    except (OSError, ValueError):
        return socket.create_server(("0.0.0.0", port), backlog=backlog)


def run(port, routes):
    try:
        server = Server(port, routes)
    except OSError as error:
        log("error", "server", f"cannot listen port={port} error={error.strerror}")
        return 1

    def stop(*_):
        if not server.ending:
            server.ending = True
            threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log("info", "server", f"listening port={server.server_address[1]}")
    server.serve_forever(poll_interval=0.1)
    server.socket.close()
    server.drain()
    log("info", "server", "stopped")
    return 0
