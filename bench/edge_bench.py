#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""See edge.sh. Everything runs in a network namespace of its own and ends with it."""
import argparse
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test/lib"))
from role import Machine, Role  # noqa: E402

MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))
UPSTREAM, ADDRESS, NAME = 9000, "127.0.0.1", "bench.example"
PORTS = {"mcp": (8080, 8443), "nginx": (8081, 8444), "haproxy": (8082, 8445)}

NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile 8192; pid {dir}/{name}.pid; error_log {dir}/{name}.err;
events {{ worker_connections 4096; }}
http {{
  {http}
}}
"""
NGINX_UPSTREAM = """
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ default_type text/plain; return 200 "hello, world"; }}
           location = /16k {{ default_type text/plain; root {dir}; }} }}
"""
# As one would run it: a pool to the upstream, the request's id and the client passed on, an access log in JSON.
NGINX_PROXY = """
  log_format j escape=json '{{"time":"$time_iso8601","id":"$request_id","name":"$host","method":"$request_method","path":"$uri",'
    '"status":$status,"bytes":$body_bytes_sent,"t":$request_time,"unit":"$upstream_addr","ut":"$upstream_response_time",'
    '"client":"$remote_addr","tls":"$ssl_protocol"}}';
  access_log {dir}/nginx-access.log j buffer=64k flush=1s;
  keepalive_requests 100000000; keepalive_timeout 600s; ssl_session_cache off; ssl_protocols TLSv1.2 TLSv1.3;
  upstream u {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{http} backlog=4096; listen 127.0.0.1:{https} ssl backlog=4096;
    ssl_certificate {dir}/leaf.pem; ssl_certificate_key {dir}/leaf.key;
    location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id; }} }}
"""
# HAProxy writes no files: its log goes nowhere, which is to its advantage.
HAPROXY = """
global
  nbthread 1
  maxconn 4096
  tune.ssl.cachesize 0
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend f
  bind 127.0.0.1:{http} backlog 4096
  bind 127.0.0.1:{https} ssl crt {dir}/both.pem backlog 4096
  option forwardfor
  unique-id-format %[rand(4294967295),hex]%[rand(4294967295),hex]
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  default_backend b
backend b
  server s 127.0.0.1:{upstream} maxconn 4096 pool-max-conn 128
"""


def make_certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    "leaf.key", "-out", "leaf.pem", "-subj", f"/CN={NAME}", "-days", "2"], cwd=folder, check=True,
                   capture_output=True)
    (folder / "both.pem").write_text((folder / "leaf.pem").read_text() + (folder / "leaf.key").read_text())


class Bench:
    def __init__(self, folder, cores):
        self.folder, self.cores = folder, cores
        self.machine = Machine([])
        self.children, self.listens, self.role = [], [], None

    def open(self):
        folder, cores = self.folder, self.cores
        make_certificate(folder)
        folder.chmod(0o755)  # nginx reads as its own user
        self.write("16k", "x" * 16384)
        self.start("upstream", cores[1], "nginx", "-p", str(folder), "-e", f"{folder}/upstream.err", "-c",
                   self.write("upstream.conf", NGINX.format(dir=folder, name="upstream", http=NGINX_UPSTREAM.format(
                       port=UPSTREAM, dir=folder))))
        nginx = NGINX_PROXY.format(dir=folder, upstream=UPSTREAM, http=PORTS["nginx"][0], https=PORTS["nginx"][1])
        haproxy = HAPROXY.format(dir=folder, upstream=UPSTREAM, http=PORTS["haproxy"][0], https=PORTS["haproxy"][1])
        self.pids = {
            "nginx": self.start("nginx", cores[0], "nginx", "-p", str(folder), "-e", f"{folder}/nginx.err", "-c",
                                self.write("nginx.conf", NGINX.format(dir=folder, name="nginx", http=nginx))),
            "haproxy": self.start("haproxy", cores[0], "haproxy", "-db", "-f", self.write("haproxy.cfg", haproxy)),
            "mcp": self.start_edge(),
        }
        for port in [UPSTREAM] + [p for pair in PORTS.values() for p in pair]:
            self.wait_port(port)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def start(self, name, core, *words):
        log = open(self.folder / f"{name}.out", "wb")
        p = subprocess.Popen(self.machine.enter("taskset", "-c", str(core), *words), stdout=log, stderr=log,
                             env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin"))
        self.children.append(p)
        return p.pid

    def start_edge(self):
        wrapper = self.folder / "mcp"
        wrapper.write_text(f"#!/bin/sh\nexec taskset -c {self.cores[0]} {MCP} \"$@\"\n")
        wrapper.chmod(0o755)
        http, https = PORTS["mcp"]
        self.listens = [("edge-https", 0, self.machine.listener(socket.SOCK_STREAM, ADDRESS, https)),
                        ("edge-http", 0, self.machine.listener(socket.SOCK_STREAM, ADDRESS, http))]
        self.role = Role(self.machine, str(wrapper), "edge", {"format": 1, "platform": "b", "host": "h", "region": "r"},
                         self.listens)
        self.role.notify("routes", {
            "format": 1, "revision": 1, "region": "r", "http": "serve",
            "certificates": [{"name": "c", "names": [NAME], "default": True, "cert": (self.folder / "leaf.pem").read_text(),
                              "key": (self.folder / "leaf.key").read_text()}],
            "routes": [{"name": n, "path": "/", "module": "m", "auth": "none"} for n in (NAME, ADDRESS)],
            "endpoints": {"m": [{"unit": "m-1", "address": "127.0.0.1", "port": UPSTREAM, "ready": True}]}})
        self.role.wait_metric("mcp_edge_revision", 1)
        return self.role.process.pid

    def wait_port(self, port):
        until = time.monotonic() + 20
        while True:
            try:
                self.machine.inside(lambda: socket.create_connection((ADDRESS, port), 5)).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def cpu_ns(self, who):
        """Of the process and its children (nginx has a master and a worker)."""
        total, todo = 0, [self.pids[who]]
        while todo:
            pid = todo.pop()
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
                todo += [int(c) for c in (task / "children").read_text().split()]
        return total

    def run(self, who, tls, seconds, path="/", connections=64):
        port = PORTS[who][tls]
        url = f"{'https' if tls else 'http'}://{ADDRESS}:{port}{path}"
        command = ["taskset", "-c", str(self.cores[1]), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
        for _ in range(5):  # on a busy machine a run may end within its handshakes
            before = self.cpu_ns(who)
            out = self.machine.run(*command)
            cpu = self.cpu_ns(who) - before
            assert "Non-2xx" not in out and "Socket errors" not in out, f"{who}: {out}"
            requests = int(re.search(r"(\d+) requests in", out)[1])
            if requests:
                break
        unit = {"us": 1, "ms": 1000, "s": 1000000}

        def percentile(p):
            value, u = re.search(rf"{p}%\s+([\d.]+)(us|ms|s)", out).groups()
            return float(value) * unit[u]
        return {"req_s": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), "cpu_us": cpu / 1000 / requests,
                "p50_us": percentile(50), "p99_us": percentile(99)}

    def close(self):
        if self.role:
            self.role.close()
        for p in self.children:
            p.terminate()
        for p in self.children:
            p.wait()
        for _, _, s in self.listens:
            s.close()
        self.machine.close()


def versions():
    def first(*words):
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin"))
        return done.stdout.splitlines()[0] if done.stdout else "?"
    return {"mcp": first(MCP, "version"), "nginx": first("nginx", "-v"), "haproxy": first("haproxy", "-v"),
            "wrk": first("wrk", "-v"), "openssl": first("openssl", "version")}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=4)
    p.add_argument("--only", choices=["mcp", "nginx", "haproxy"])
    args = p.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    cores = [cores[0], cores[-1]]
    cases = {"http": (0, "/"), "https": (1, "/"), "https_16k": (1, "/16k")}
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(pathlib.Path(folder), cores)
        try:
            bench.open()
            for n in range(args.rounds + 1):  # the first one warms up
                for case, (tls, path) in cases.items():
                    for who in [args.only] if args.only else list(PORTS):
                        r = bench.run(who, tls, args.seconds if n else 1, path)
                        if n:
                            runs.setdefault(case, {}).setdefault(who, []).append(r)
        finally:
            bench.close()
    result = {"versions": versions(), "load": f"wrk -t1 -c64, {args.rounds} x {args.seconds} s, proxy on core {cores[0]}, "
              f"load and upstream on core {cores[1]}", "loadavg": os.getloadavg()}
    for text in result["versions"].values():
        print(text)
    print(result["load"])
    for case, by in runs.items():
        result[case] = {who: {k: round(statistics.median(r[k] for r in rs), 1) for k in rs[0]} for who, rs in by.items()}
        for who, m in result[case].items():
            base = result[case].get("mcp", m)
            print(f"{case:10} {who:8} {m['req_s']:9.0f} req/s  {m['cpu_us']:6.1f} us CPU/request  p50 {m['p50_us']:7.0f} us  "
                  f"p99 {m['p99_us']:7.0f} us   mcp: {base['req_s'] / m['req_s']:.2f} x the requests, "
                  f"{base['cpu_us'] / m['cpu_us']:.2f} x the CPU")
    if os.environ.get("JSON"):
        print(json.dumps(result))


if __name__ == "__main__":
    main()
