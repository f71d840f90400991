# SPDX-License-Identifier: Apache-2.0
"""A lab for a test: brought up by the real `mcp up` under a name of its own, looked at from inside its hosts, and
removed whatever the test did. Nothing waits for a fixed time: wait_until() polls with a deadline."""
import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import socket
import subprocess
import threading
import time

import dns.edns
import dns.message
import dns.rdatatype

BINARY = os.environ.get("MCP_BINARY") or str(pathlib.Path(__file__).parents[2] / "build/mcp")
RUN = pathlib.Path("/run/mcp-lab")
STATE = pathlib.Path("/var/lib/mcp-lab")
CLONE_NEWNET = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()

TWO_REGIONS = """
platform: {name}
domain: {name}.example
regions:
  ra: {{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}
  rb: {{duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}
hosts:
  a1: {{region: ra, address: 10.20.0.11, public: true}}
  a2: {{region: ra, address: 10.20.0.12}}
  b1: {{region: rb, address: 10.40.0.11, public: true}}
state: {{members: [a1, a2, b1]}}
lab:
  wan: [{{between: [ra, rb], delay: 19ms}}]
  clients: {{KR: 198.51.100.0/28, TH: 198.51.100.16/28}}
routing:
  nameservers: {{ns1: ra, ns2: rb}}
  countries: {{KR: [rb], TH: [ra]}}
  default: [ra]
"""


def unique_name(prefix="t"):
    return f"{prefix}{os.getpid()}x{next(_numbers)}"


def wait_until(check, timeout=60.0, what=None):
    """The first true value of check(); exceptions count as not yet. Fails with the last one."""
    deadline, last = time.monotonic() + timeout, None
    while True:
        try:
            value = check()
            if value:
                return value
            last = value
        except Exception as e:  # whatever is not ready says it in its own way
            last = e
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what or check} not within {timeout} s: {last!r}")
        time.sleep(0.02)


def in_thread(work):
    """Runs work() in a thread of its own, so that it may change its namespaces; returns what it returns."""
    box = {}

    def run():
        try:
            box["value"] = work()
        except BaseException as e:
            box["error"] = e

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "error" in box:
        raise box["error"]
    return box["value"]


def enter_netns(path):
    with open(path, "rb") as f:
        if libc.setns(f.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"enter {path}")


class Lab:
    def __init__(self, text=TWO_REGIONS, file=None, name=None, folder=None):
        """text: a declaration with {name} for the platform's name, written into `folder` (a tmp_path). Or a `file` that
        is there already, whose platform is `name`."""
        self.name = name or unique_name()
        self.file = pathlib.Path(file) if file else pathlib.Path(folder) / f"{self.name}.yaml"
        if not file:
            self.declare(text)

    def declare(self, text):
        self.file.write_text(text.format(name=self.name))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.down()

    # ---- commands

    def mcp(self, *args, check=True, **kw):
        """`mcp ARGS` about this lab; the words "lab kill" and such are given as separate arguments."""
        args = [str(a) for a in args]
        groups = ("lab", "explain", "host", "state", "operator", "ca", "secret", "image", "data", "backup",
                  "steer", "functions", "alarms")
        split = 2 if args[0] in groups else 1
        split = 2 if args[:2] == ["deploy", "status"] else split
        which = ["-f", str(self.file)] if args[0] in ("up", "apply", "plan", "deploy") else ["--platform", self.name]
        kw.setdefault("timeout", 400)
        p = subprocess.run([BINARY, *args[:split], *which, *args[split:]], capture_output=True, text=True, **kw)
        if check and p.returncode != 0:
            raise AssertionError(f"mcp {' '.join(args)}: {p.returncode}\n{p.stdout}{p.stderr}{self.logs()}")
        return p

    def up(self, *args):
        return self.mcp("up", *args)

    def down(self, *args):
        return self.mcp("down", *args)

    def status(self, **kw):
        return json.loads(self.mcp("status", "--json", **kw).stdout)

    def listing(self):
        return json.loads(self.mcp("lab", "list", "--json").stdout)["labs"][0]

    def logs(self, lines=15):
        out = []
        for log in sorted((STATE / self.name / "log").glob("*.log")):
            out += [f"--- {log.name}"] + log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([""] + out)

    # ---- inside

    def state(self):
        return json.loads((RUN / self.name / "lab.json").read_text())

    def machine(self, host):
        """Its entry of lab.json."""
        state = self.state()
        for m in [*state["hosts"], state["client"], state["wan"]]:
            if m["name"] == host:
                return m
        raise KeyError(host)

    def pid(self, host):
        return self.machine(host)["pid"]

    def path(self, host, path):
        """A host's file as this process can open it."""
        return pathlib.Path(f"/proc/{self.pid(host)}/root{path}")

    def exec(self, host, *cmd, **kw):
        return self.mcp("lab", "exec", host, "--", *cmd, **kw)

    def service_pid(self, host):
        """Of what the machine keeps running: `mcp host`, the WAN, the forwarder."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with sock:
            sock.connect(str(RUN / self.name / "machine" / f"{host}.sock"))
            sock.send(b'{"op":"status"}')
            return json.loads(sock.recv(65536))["service_pid"]

    def processes(self, host=None):
        """Pids in the host's cgroup, or the lab's."""
        pids = []
        for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
            top = pathlib.Path(root, "mcp-lab", self.name, host or "")
            for procs in top.glob("**/cgroup.procs"):
                pids += [int(p) for p in procs.read_text().split()]
        return pids

    # ---- network

    def socket(self, host, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        """A socket that lives in the host's network."""

        def make():
            enter_netns(f"/proc/{self.pid(host)}/ns/net")
            return socket.socket(family, kind)

        return in_thread(make)

    def rtt(self, host, address, tries=5):
        """Milliseconds there and back, the fastest of some: what the kernel over there says to a port that is shut."""
        times = []
        for _ in range(tries):
            with self.socket(host) as s:
                s.settimeout(5)
                start = time.monotonic()
                with contextlib.suppress(ConnectionRefusedError):
                    s.connect((address, 9))
                times.append((time.monotonic() - start) * 1000)
        return min(times)

    def datagrams(self, source, target, address, n, gap=0.0):
        """How many of n datagrams arrive."""
        with self.socket(target, kind=socket.SOCK_DGRAM) as rx, self.socket(source, kind=socket.SOCK_DGRAM) as tx:
            rx.bind((address, 0))
            rx.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            for i in range(n):
                tx.sendto(b"%d" % i, rx.getsockname())
                if gap:
                    time.sleep(gap)
            rx.settimeout(0.5)  # since the last one
            got = 0
            with contextlib.suppress(socket.timeout):
                while got < n:
                    rx.recv(100)
                    got += 1
            return got

    def dig(self, name, rdtype="A", server="203.0.113.20", host="client", source=None, ecs=None, timeout=2.0):
        """The answer as dnspython has it, asked over UDP from inside `host`."""
        options = [dns.edns.ECSOption.from_text(ecs)] if ecs else []
        query = dns.message.make_query(name, rdtype, use_edns=0 if ecs else None, options=options)
        query.flags &= ~dns.flags.RD
        with self.socket(host, kind=socket.SOCK_DGRAM) as s:
            if source:
                s.bind((source, 0))
            s.settimeout(timeout)
            s.connect((server, 53))
            s.send(query.to_wire())
            return dns.message.from_wire(s.recv(65535))

    def addresses(self, name, **kw):
        """Just the addresses of a dig()."""
        want = (dns.rdatatype.A, dns.rdatatype.AAAA)
        return sorted(r.address for rrset in self.dig(name, **kw).answer if rrset.rdtype in want for r in rrset)


# ---- traces

def lab_traces(name):
    """Everything of the lab that is left on this computer."""
    found = []
    for top in (RUN / name, STATE / name):
        if top.exists():
            found.append(str(top))
    for path, folders, _ in os.walk("/sys/fs/cgroup"):  # others' groups come and go meanwhile
        parent = os.path.basename(path)
        found += [f"{path}/{f}" for f in folders if parent == "mcp-lab" and f == name
                  or parent == "mcp" and f.startswith(f"{name}.")]
    for f in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            text = f.read_text()
            if f"/{name}/" in text:
                found.append(f"{f.parts[3]}: {text.strip()}")
    if f"/{name}/" in pathlib.Path("/proc/mounts").read_text():
        found.append("/proc/mounts")
    return found


def network_of_this_machine():
    """What a lab must never touch: addresses, routes, rules, firewall, the knobs that labs turn inside."""
    shown = {}
    for cmd in ("ip -j addr", "ip -j route show table all", "ip -j -6 route show table all", "ip rule", "ip -6 rule",
                "nft list ruleset", "ip netns list"):
        shown[cmd] = subprocess.run(cmd.split(), capture_output=True, text=True).stdout
    for knob in ("ipv4/ip_forward", "ipv4/ip_unprivileged_port_start", "ipv4/conf/all/rp_filter",
                 "ipv4/tcp_congestion_control", "ipv6/conf/all/forwarding"):
        f = pathlib.Path("/proc/sys/net") / knob
        shown[knob] = f.read_text() if f.exists() else None
    # lifetimes count down by themselves
    shown["ip -j addr"] = json.dumps([
        {k: v for k, v in link.items() if k not in ("addr_info",)}
        | {"addr_info": [{k: v for k, v in a.items() if "life_time" not in k} for a in link["addr_info"]]}
        for link in json.loads(shown["ip -j addr"] or "[]")])
    return shown
