# SPDX-License-Identifier: Apache-2.0
"""One host in a mount and network namespace of its own: empty /run and /var/lib/mcp, its addresses on the loopback
interface. Waiting is by event: a log line of the process, the end of a pidfd. Everything ends with close(), and with
the test process should that die."""
import contextlib
import ctypes
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time

import processes

BINARY = os.environ.get("MCP_BINARY", os.path.join(os.path.dirname(__file__), "../../build/mcp"))
ROLES = ["control", "agent", "dns", "resolver", "edge", "mesh", "data"]
PATIENCE_S = 60  # for things that take milliseconds on an idle machine

_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)


def boot_record(**changes):
    record = {
        "format": 1, "platform": "reindeers", "host": "hk1", "region": "ap-hongkong",
        "addresses": ["10.20.0.11"], "public": ["203.0.113.20"], "bridge": "100.127.0.0/16",
        "roles": list(ROLES), "state": {"kind": "sqlite"}, "peers": [], "cgroup": f"/mcp/reindeers{os.getpid()}.hk1",
    }
    record.update(changes)
    return record


class Log:
    """Lines of a process, kept, with waiting for a pattern."""

    def __init__(self, stream):
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        for line in stream:
            with self.changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def mark(self):
        with self.changed:
            return len(self.lines)

    def wait(self, pattern, since=0, timeout=PATIENCE_S):
        """The first match of the regular expression at or after line `since`."""
        until = time.monotonic() + timeout
        with self.changed:
            at = since
            while True:
                for line in self.lines[at:]:
                    match = re.search(pattern, line)
                    if match:
                        return match
                at = len(self.lines)
                left = until - time.monotonic()
                if left <= 0 or (self.ended and at == len(self.lines)):
                    raise AssertionError(f"no line matches {pattern!r} in:\n" + "\n".join(self.lines[since:]))
                self.changed.wait(left)

    def count(self, pattern, since=0):
        with self.changed:
            return sum(1 for line in self.lines[since:] if re.search(pattern, line))


class Host:
    def __init__(self, record=None, env=None):
        self.record = record or boot_record()
        self.env = dict(os.environ, **(env or {}))
        self.process = None
        self.log = None
        os.makedirs("/var/lib/mcp", exist_ok=True)  # the mount point; removing it would unmount others'
        addresses = self.record["addresses"] + self.record["public"]
        setup = ["mount -t tmpfs none /run", "mount -t tmpfs -o mode=755 none /var/lib/mcp", "ip link set lo up"]
        setup += [f"ip addr add {a} dev lo" for a in addresses]
        script = " && ".join(setup) + " && echo set && exec cat"
        self.holder = subprocess.Popen(["unshare", "-mn", "--propagation", "private", "sh", "-c", script],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=_die_with_parent)
        if self.holder.stdout.readline() != b"set\n":
            raise AssertionError("cannot make a namespace")
        self.write_boot()

    def path(self, inside):
        """A path of the host as seen from outside."""
        return f"/proc/{self.holder.pid}/root{inside}"

    def write_boot(self, record=None):
        self.record = record or self.record
        with open(self.path("/var/lib/mcp/boot.json"), "w") as f:
            json.dump(self.record, f)

    def command(self, *argv):
        return ["nsenter", "-t", str(self.holder.pid), "-m", "-n", "--", *argv]

    def run(self, *argv, **kw):
        return subprocess.run(self.command(*argv), capture_output=True, text=True, timeout=PATIENCE_S, env=self.env,
                              **kw)

    def start(self, wait=True):
        self.process = subprocess.Popen(self.command(os.path.abspath(BINARY), "host"), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.env,
                                        preexec_fn=_die_with_parent)
        self.log = Log(self.process.stderr)
        if wait:
            self.log.wait("all roles are up")
        return self

    def send(self, number):
        self.process.send_signal(number)

    def stop(self):
        self.send(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def roles(self):
        """name -> pid of the living role processes, as the kernel says."""
        found = {}
        for pid in processes.children(self.process.pid):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
                if words[1:2] == [b"role"]:
                    found[words[2].decode()] = pid
        return found

    def kill_role(self, name, sig=signal.SIGKILL):
        """Kills it and returns the pid of its successor, ready."""
        old, mark = self.roles()[name], self.log.mark()
        os.kill(old, sig)
        new = int(self.log.wait(rf"role is up role={name} pid=(\d+)", mark)[1])
        assert new != old
        return new

    def socket(self, family, kind):
        """A socket inside the host's network."""
        result = []

        def make():
            fd = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)
            if _libc.setns(fd, 0x40000000) == 0:  # this thread only
                result.append(socket.socket(family, kind))
            os.close(fd)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return result[0]

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.holder.stdin.close()
        self.holder.wait(PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0] and self.log:
            print("\n".join(self.log.lines))
        self.close()


def wait_end(pid, timeout=PATIENCE_S):
    """Until the process has ended (a zombie has)."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], timeout)[0], f"process {pid} lives on"
    finally:
        os.close(fd)


def status(pid):
    """/proc/PID/status as a dict."""
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def sockets(pid):
    """The inodes of the process's sockets."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            if target.startswith("socket:"):
                found.add(target)
    return found


def borrow_sockets(pid):
    """Copies of the process's Unix sockets, as a debugger would take them: [(their number there, socket)]."""
    pidfd = os.pidfd_open(pid)
    found = []
    try:
        for name in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                    fd = _libc.syscall(438, pidfd, int(name), 0)  # pidfd_getfd
                    if fd < 0:
                        continue
                    s = socket.socket(fileno=fd)
                    if s.family == socket.AF_UNIX:
                        found.append((int(name), s))
                    else:
                        s.close()
    finally:
        os.close(pidfd)
    return found


def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
