# SPDX-License-Identifier: Apache-2.0
"""The forwarder alone, in a network of its own where a name server and two web servers play the platform: whose eyes it
sees through, what it passes on untouched, what it does when nobody answers."""
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading

import dns.message
import dns.rcode
import dns.rrset
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "lib"))
from lablib import BINARY, CLONE_NEWNET, in_thread, libc, wait_until

FD_CONFIG, FD_LISTEN = 3, 5
NAMESERVER, EDGE = "127.0.53.1", "127.0.80.1"
BUYERS = {"KR": "127.0.1.1", "TH": "127.0.2.1"}


def openssl(*args, **kw):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, **kw)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """ca.pem signs edge.pem for shop.test; other.pem is somebody else's."""
    d = tmp_path_factory.mktemp("pki")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for ca in ("ca", "other"):
        openssl("req", "-x509", *key, "-keyout", d / f"{ca}.key", "-out", d / f"{ca}.pem", "-subj", f"/CN={ca}", "-days",
                "2")
    openssl("req", *key, "-keyout", d / "edge.key", "-out", d / "edge.csr", "-subj", "/CN=edge")
    (d / "ext").write_text("subjectAltName=DNS:shop.test,DNS:*.shop.test\n")
    openssl("x509", "-req", "-in", d / "edge.csr", "-CA", d / "ca.pem", "-CAkey", d / "ca.key", "-days", "2", "-extfile",
            d / "ext", "-out", d / "edge.pem")
    return d


class Platform:
    """Name server and edge in a new network namespace, and the forwarder in it."""

    def __init__(self, certificates):
        self.pki = certificates
        self.questions = []  # (name, from)
        self.connections = []  # (from, server name, request)
        self.answers = {"shop.test.": EDGE, "api.shop.test.": EDGE}
        self.silent = False
        self.forwarder = None
        self.listener = socket.create_server(("127.0.0.1", 0))  # of this computer
        self.port = self.listener.getsockname()[1]
        in_thread(self._build)

    def _build(self):
        """In a thread of its own, which stays in the new namespace: what it makes lives there."""
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError("unshare")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        self.dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.dns.bind((NAMESERVER, 53))
        self.web = {port: socket.create_server((EDGE, port)) for port in (80, 443)}
        self.netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        threading.Thread(target=self._serve_dns, daemon=True).start()
        for port in self.web:
            threading.Thread(target=self._accept, args=(port,), daemon=True).start()

    def start(self, **config):
        config = {"nameservers": [NAMESERVER], "buyers": BUYERS, "as": "KR", "domain": "shop.test",
                  "ca": (self.pki / "ca.pem").read_text()} | config
        fd = os.memfd_create("config", 0)
        os.write(fd, json.dumps(config).encode())
        os.lseek(fd, 0, 0)

        def setup():
            if libc.setns(self.netns, CLONE_NEWNET) != 0:
                os._exit(99)
            for source, target in ((os.dup(fd), FD_CONFIG), (os.dup(self.listener.fileno()), FD_LISTEN)):
                os.dup2(source, target)

        self.forwarder = subprocess.Popen([BINARY, "lab-role", "forwarder"], preexec_fn=setup, close_fds=False)
        os.close(fd)

    def close(self):
        if self.forwarder:
            self.forwarder.kill()
            self.forwarder.wait()
        for s in (self.dns, self.listener, *self.web.values()):
            s.close()
        os.close(self.netns)

    def _serve_dns(self):
        while True:
            try:
                wire, peer = self.dns.recvfrom(2048)
            except OSError:
                return
            query = dns.message.from_wire(wire)
            name = query.question[0].name.to_text()
            self.questions.append((name, peer[0]))
            if self.silent:
                continue
            answer = dns.message.make_response(query)
            if name in self.answers:
                answer.answer.append(dns.rrset.from_text(name, 5, "IN", "A", self.answers[name]))
            else:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self.dns.sendto(answer.to_wire(), peer)

    def _accept(self, port):
        while True:
            try:
                conn, peer = self.web[port].accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(conn, peer[0], port), daemon=True).start()

    def _serve(self, conn, peer, port):
        seen = {}
        if port == 443:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.pki / "edge.pem", self.pki / "edge.key")
            context.sni_callback = lambda _, name, __: seen.update(name=name)
            try:
                conn = context.wrap_socket(conn, server_side=True)
            except (ssl.SSLError, OSError):
                return
        with conn:
            request = b""
            while b"\r\n\r\n" not in request:
                more = conn.recv(65536)
                if not more:
                    return
                request += more
            head, body = request.split(b"\r\n\r\n", 1)
            length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(
                b"content-length:")), 0)
            while len(body) < length:
                body += conn.recv(65536)
            self.connections.append((peer, seen.get("name"), head.decode(), len(body)))
            text = b"x" * (3 << 20) if head.startswith(b"GET /large") else b"hello\n"
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(text) + text)


@pytest.fixture
def platform(certificates):
    p = Platform(certificates)
    yield p
    p.close()


def http(port, head, body=b"", host="127.0.0.1"):
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(head.replace("\n", "\r\n").encode() + body)
        answer = b""
        while more := s.recv(65536):
            answer += more
    return answer


def curl(platform, url, *args):
    return subprocess.run(["curl", "-s", "-S", "-m", "10", "--noproxy", "*", "--cacert", platform.pki / "ca.pem",
                           "--connect-to", f"::127.0.0.1:{platform.port}", *args, url], capture_output=True, text=True)


def test_tls_is_passed_on(platform):
    platform.start()
    p = curl(platform, "https://shop.test/")
    assert (p.returncode, p.stdout) == (0, "hello\n"), p.stderr
    assert platform.questions == [("shop.test.", BUYERS["KR"])]
    peer, name, head, _ = platform.connections[0]
    assert (peer, name) == (BUYERS["KR"], "shop.test")
    assert "Connection: close" not in head  # the browser's own words
    assert curl(platform, "https://other.example/").returncode != 0  # nobody's name: the connection ends


def test_another_buyer(platform):
    platform.start(**{"as": "TH"})
    assert curl(platform, "https://api.shop.test/").stdout == "hello\n"
    assert platform.questions == [("api.shop.test.", BUYERS["TH"])]
    assert platform.connections[0][0] == BUYERS["TH"]


def test_plain_url(platform):
    platform.start()
    answer = http(platform.port, "GET /a HTTP/1.1\nHost: 127.0.0.1:1\nConnection: keep-alive\n\n")
    assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b"hello\n")
    _, name, head, _ = platform.connections[0]
    assert name == "shop.test"
    assert head.split("\r\n") == ["GET /a HTTP/1.1", "Host: shop.test", "Connection: close"]
    http(platform.port, "GET /b HTTP/1.1\nHost: api.shop.test.localhost\n\n")
    assert platform.connections[1][1] == "api.shop.test"


def test_plain_http_for_a_name(platform):
    platform.start()
    assert http(platform.port, "GET / HTTP/1.1\nHost: shop.test\n\n").endswith(b"hello\n")
    assert platform.connections[0][1:3] == (None, "GET / HTTP/1.1\r\nHost: shop.test")


def test_large_bodies_both_ways(platform):
    platform.start()
    body = os.urandom(2 << 20)
    for host in ("127.0.0.1", "shop.test"):
        answer = http(platform.port, f"GET /large HTTP/1.1\nHost: {host}\nContent-Length: {len(body)}\n\n", body)
        assert len(answer.split(b"\r\n\r\n", 1)[1]) == 3 << 20
        assert platform.connections[-1][3] == len(body)
    p = curl(platform, "https://shop.test/large", "-o", "/dev/null", "-w", "%{size_download}")
    assert p.stdout == str(3 << 20)


def test_what_a_person_is_told(platform):
    platform.start()
    answer = http(platform.port, "GET / HTTP/1.1\nHost: nobody.test.localhost\n\n")
    assert b"502" in answer and b"nobody.test: the platform's DNS says NXDOMAIN" in answer
    platform.answers["shop.test."] = "127.0.80.9"  # nobody listens there
    assert b"refused" in http(platform.port, "GET / HTTP/1.1\nHost: 127.0.0.1\n\n")
    platform.silent = True
    assert b"no name server answers" in http(platform.port, "GET / HTTP/1.1\nHost: 127.0.0.1\n\n")
    assert len([q for q in platform.questions if q[0] == "shop.test."]) == 3  # asked twice before giving up


def test_a_certificate_of_somebody_else(platform):
    platform.start(ca=(platform.pki / "other.pem").read_text())
    answer = http(platform.port, "GET / HTTP/1.1\nHost: 127.0.0.1\n\n")
    assert b"502" in answer and b"certificate" in answer
    assert platform.connections == []


def test_noise_ends_the_connection(platform):
    platform.start()
    for noise in (b"\x00\x01\x02", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", platform.port), 10) as s:
            s.sendall(noise)
            assert s.recv(100) == b""
    assert http(platform.port, "GET / HTTP/1.1\nHost: 127.0.0.1\n\n").endswith(b"hello\n")


def test_nobody_inside_and_hangs_up_cleanly(platform):
    platform.start()
    http(platform.port, "GET / HTTP/1.1\nHost: 127.0.0.1\n\n")
    fields = dict(line.split(":\t", 1) for line in pathlib.Path(
        f"/proc/{platform.forwarder.pid}/status").read_text().splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] != "0" and int(fields["CapEff"], 16) == 0 and fields["Seccomp"] == "2"
    before = len(os.listdir(f"/proc/{platform.forwarder.pid}/fd"))
    for _ in range(20):  # browsers open connections that they never use
        socket.create_connection(("127.0.0.1", platform.port)).close()
    wait_until(lambda: len(os.listdir(f"/proc/{platform.forwarder.pid}/fd")) <= before, what="descriptors given back")
    platform.forwarder.send_signal(signal.SIGTERM)
    assert platform.forwarder.wait(5) == -signal.SIGTERM
