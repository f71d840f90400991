# SPDX-License-Identifier: Apache-2.0
"""Mesh roles as processes, locked in as in production: certificates made here, hosts that are namespaces with a cable
between them, units that are addresses on their loopbacks."""
import os
import pathlib
import socket
import subprocess

from role import Machine, Role

ROOT = pathlib.Path(__file__).resolve().parents[2]
MCP = os.environ.get("MCP_BINARY", str(ROOT / "build/mcp"))
PLATFORM = "reindeers"


class Pki:
    """A CA and leaves by SPIFFE id, through the openssl command."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
                 "-out", "ca.pem", "-subj", "/CN=test CA", "-days", "2")
        self.ca = (folder / "ca.pem").read_text()
        self.made = {}

    def run(self, *words):
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def leaf(self, name, uri=None, expired=False):
        """{"id", "cert", "key"} for "module/api" and the like."""
        uri = uri or f"spiffe://{PLATFORM}/{name}"
        if (uri, expired) not in self.made:
            base = f"leaf{len(self.made)}"
            (self.folder / "ext").write_text(f"subjectAltName=URI:{uri}\nbasicConstraints=CA:FALSE\n"
                                             "extendedKeyUsage=serverAuth,clientAuth\n")
            self.run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                     base + ".key", "-out", base + ".csr", "-subj", "/CN=x")
            days = ["-not_before", "20200101000000Z", "-not_after", "20200102000000Z"]
            if expired:
                self.run("ca", "-batch", "-config", self._ca_config(), "-in", base + ".csr", "-out", base + ".pem",
                         "-startdate", days[1], "-enddate", days[3], "-extfile", "ext", "-notext")
            else:
                self.run("x509", "-req", "-in", base + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                         "-days", "2", "-extfile", "ext", "-out", base + ".pem")
            self.made[uri, expired] = ((self.folder / (base + ".pem")).read_text(),
                                       (self.folder / (base + ".key")).read_text())
        cert, key = self.made[uri, expired]
        return {"id": name, "cert": cert, "key": key}

    def _ca_config(self):
        (self.folder / "index").write_text("")
        (self.folder / "ca.conf").write_text(
            "[ca]\ndefault_ca=x\n[x]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n"
            "certificate=ca.pem\nprivate_key=ca.key\n[p]\ncommonName=optional\n")
        return "ca.conf"


class Host:
    """A machine with a mesh role; its bridge is 100.N.0.0/16."""

    def __init__(self, name, address, n):
        self.name, self.address, self.net = name, address, f"100.{n}"
        # The upper half of the bridge is this host's own, as the agent's local route makes it.
        self.machine = Machine([f"{self.net}.0.1"] + [f"{self.net}.0.{i}" for i in range(2, 12)])
        self.machine.run("ip", "route", "add", "local", f"{self.net}.128.0/17", "dev", "lo")
        self.machine.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse")  # as on a host's and a unit's network
        self.servers, self.seq, self.links, self.role = {}, 0, [], None

    def gateway(self):
        return f"{self.net}.0.1"

    def vip(self, i):
        return f"{self.net}.128.{i}"

    def start(self):
        if not self.links:
            self.links = [("mesh", 0, self.machine.listener(socket.SOCK_STREAM, self.address, 7401)),
                          ("mesh-proxy", 0, self.machine.listener(socket.SOCK_STREAM, self.gateway(), 3128))]
        boot = {"format": 1, "platform": PLATFORM, "host": self.name, "region": "ap-hongkong"}
        self.role = Role(self.machine, MCP, "mesh", boot, self.links)

    def identities(self, ca, *leaves):
        self.role.call("identities", {"ca": ca, "identities": list(leaves)})

    def view(self, modules, listens, callers=None, egress=None, databases=()):
        self.seq += 1
        doc = {"format": 1, "seq": self.seq, "platform": PLATFORM, "host": self.name, "region": "ap-hongkong",
               "gateway": self.gateway(), "own": self.vip(250), "callers": callers or {}, "modules": modules, "listens": listens,
               "egress": egress or {}, "databases": list(databases)}
        assert self.role.call("view", doc)["seq"] == self.seq

    def connect(self, source, address, port=8080, timeout=20):
        """A connection of the unit with that address."""
        s = self.machine.inside(lambda: socket.create_connection((address, port), timeout, (source, 0)))
        s.settimeout(timeout)
        return s

    def refusals(self):
        self.role.call("status")
        return [m["params"]["message"] for m in self.role.said if m.get("method") == "timeline"]

    def close(self):
        if self.role:
            self.role.close()
            for _, _, s in self.links:
                s.close()
        for s in self.servers.values():
            s.close()
        self.machine.close()


def cable(a, b):
    """Joins two hosts."""
    subprocess.run(["ip", "link", "add", "eth0", "netns", str(a.machine.holder.pid), "type", "veth", "peer", "name", "eth0",
                    "netns", str(b.machine.holder.pid)], check=True)
    for h in (a, b):
        h.machine.run("ip", "addr", "add", h.address + "/24", "dev", "eth0")
        h.machine.run("ip", "link", "set", "eth0", "up")
