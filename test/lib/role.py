# SPDX-License-Identifier: Apache-2.0
"""One role process without `mcp host`: a network and mount namespace of its own, the channel that host would hold
(src/role/frame/channel.h) and the link that control would have (src/base/rpc/rpc.h). Everything ends with close()."""
import array
import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


class Machine:
    """A network namespace with addresses on its loopback, and /var/lib/mcp and /run/mcp of its own. `beside`: another
    Machine whose network this one shares."""

    def __init__(self, addresses, beside=None):
        script = ("mount --make-rprivate / && mkdir -p /var/lib/mcp /run/mcp && mount -t tmpfs mcp /var/lib/mcp && "
                  "mount -t tmpfs mcp /run/mcp && echo ready && exec cat")
        words = ["nsenter", "-t", str(beside.holder.pid), "-n", "unshare", "--mount"] if beside else [
            "unshare", "--net", "--mount"]
        self.holder = subprocess.Popen([*words, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       text=True)
        assert self.holder.stdout.readline() == "ready\n"
        self.netns = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)
        self.run("ip", "link", "set", "lo", "up")
        for a in addresses:
            self.run("ip", "addr", "add", a + ("" if "/" in a else "/32"), "dev", "lo")

    def enter(self, *words):
        """The command line that runs `words` in here."""
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", *words]

    def run(self, *words, timeout=120, **kwargs):
        done = subprocess.run(self.enter(*words), capture_output=True, text=True, timeout=timeout, **kwargs)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def inside(self, function):
        """The result of function(), called by a thread that lives in the namespace: for sockets."""
        result = []

        def body():
            assert LIBC.setns(self.netns, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                result.append(function())
            except Exception as e:  # handed to the caller's thread
                result.append(e)
        t = threading.Thread(target=body)
        t.start()
        t.join()
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    def listener(self, kind, address, port, shared=False):
        def make():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            s = socket.socket(family, kind | socket.SOCK_NONBLOCK)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind((address, port))
            if kind == socket.SOCK_STREAM:
                s.listen(64)
            return s
        return self.inside(make)

    def close(self):
        os.close(self.netns)
        self.holder.stdin.close()
        self.holder.wait()
        self.holder.stdout.close()


class Role:
    """listens: [(name, thread, socket)]; they stay open here, so that a restart loses nothing."""

    def __init__(self, machine, binary, name, boot, listens):
        self.machine, self.name, self.host = machine, name, boot["host"]
        state = f"/var/lib/mcp/{name}"
        machine.run("sh", "-c", f"mkdir -p {state} /run/mcp/{name} && chmod 777 {state} /run/mcp/{name}")
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(machine.enter(binary, "role", name), stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, close_fds=False,
                                        preexec_fn=lambda: os.dup2(theirs.fileno(), 3))
        theirs.close()
        self.log = []
        threading.Thread(target=self._read_log, daemon=True).start()
        self._send("boot", {"boot": boot, "listens": [{"name": n, "thread": t} for n, t, _ in listens]},
                   [s.fileno() for _, _, s in listens])
        self.kept = []  # sockets that it asked host to hold for its successor
        assert self._receive()["method"] == "ready"
        self.link()

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.decode().rstrip())

    def _send(self, method, params, fds):
        data = json.dumps({"method": method, "params": params}).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.channel.sendmsg([data], rights)

    def _receive(self, timeout=20):
        ready, _, _ = select.select([self.channel], [], [], timeout)
        data, fds, _, _ = socket.recv_fds(self.channel, 65536, 200) if ready else (b"", [], 0, None)
        assert data, "the role has gone:\n" + "\n".join(self.log)
        message = json.loads(data)
        if message["method"] == "keep":
            self.kept = [socket.socket(fileno=fd) for fd in fds]
        return message

    def wait_kept(self, n):
        """Until it has handed over n sockets, as it does after a change."""
        while len(self.kept) != n:
            self._receive()
        return [("kept", 0, s) for s in self.kept]

    def link(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._send("link", {"role": "control"}, [theirs.fileno()])
        theirs.close()
        self.control = ours
        self.control.settimeout(60)
        self.said = []  # notifications of the role, oldest first
        self.calls = 0
        self.say({"protocol": [1, 1], "name": "control@" + self.host})
        assert "protocol" in self.hear()

    def say(self, message, fd=-1):
        data = json.dumps(message).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
        frame = struct.pack("!I", len(data)) + data
        sent = self.control.sendmsg([frame], rights)
        self.control.sendall(frame[sent:])

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            part = self.control.recv(n - len(data))
            assert part, "the role has gone:\n" + "\n".join(self.log)
            data += part
        return data

    def hear(self):
        return json.loads(self._exactly(struct.unpack("!I", self._exactly(4))[0]))

    def notify(self, method, params, fd=-1):
        self.say({"method": method, "params": params, **({"fd": True} if fd >= 0 else {})}, fd)

    def begin(self, method, params=None):
        """A call whose answer nobody waits for: it ends up in `said`."""
        self.calls += 1
        self.say({"id": self.calls, "method": method, "params": params or {}})

    def call(self, method, params=None):
        self.begin(method, params)
        while True:
            answer = self.hear()
            if answer.get("id") == self.calls and "more" in answer:
                continue  # how far it is
            if answer.get("id") == self.calls:
                assert "error" not in answer, answer
                return answer.get("result")
            self.said.append(answer)

    def metric(self, line):
        """The value of one series, 0 when it is not there."""
        for text in self.call("metrics")["text"].splitlines():
            if text.startswith(line + " "):
                return float(text.rsplit(" ", 1)[1])
        return 0

    def wait_metric(self, line, value):
        while self.metric(line) != value:
            assert self.process.poll() is None, "\n".join(self.log)

    def kill(self):
        """SIGKILL, as a crash: the sockets stay open here."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.channel.close()
        self.control.close()

    def close(self):
        if self.process.poll() is None:
            self.kill()
        self.process.stderr.close()
