# SPDX-License-Identifier: Apache-2.0
"""The lab itself, without a platform in it: machines, power, wires, and that nothing stays behind."""
import contextlib
import fcntl
import json
import os
import pathlib
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "lib"))
import lablib
from lablib import BINARY, Lab, lab_traces, network_of_this_machine, wait_until


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """One lab for the tests that leave it as they found it."""
    with Lab(folder=tmp_path_factory.mktemp("lab")) as lab:
        lab.up("--hosts-only")
        yield lab
    assert lab_traces(lab.name) == []


@pytest.fixture
def own(tmp_path):
    """A lab for a test that breaks it."""
    with Lab(folder=tmp_path) as lab:
        yield lab
    assert lab_traces(lab.name) == []


# ---- machines

def test_every_host_runs(lab):
    listing = lab.listing()
    assert {m["name"]: m["state"] for m in listing["machines"]} == {
        "wan": "on", "client": "on", "a1": "on", "a2": "on", "b1": "on"}
    for host in ("a1", "a2", "b1"):
        wait_until(lambda: lab.service_pid(host), what=f"mcp host on {host}")
        assert pathlib.Path(f"/proc/{lab.service_pid(host)}/cmdline").read_bytes() == b"mcp\0host\0"


def test_exec_passes_everything_on(lab):
    assert lab.exec("a1", "sh", "-c", "exit 7", check=False).returncode == 7
    assert lab.exec("a1", "cat", input="hello").stdout == "hello"
    assert lab.exec("a1", "hostname").stdout == "a1\n"
    assert lab.exec("a1", "no-such-command", check=False).returncode == 127
    wrong = lab.exec("a3", "true", check=False)
    assert wrong.returncode == 1 and "did you mean a" in wrong.stderr
    region = lab.exec("ra", "true", check=False)
    assert region.returncode == 2 and "region" in region.stderr


def test_a_host_sees_its_own_and_nothing_else(lab):
    show = "ls /sys/class/net; ls /var/lib/mcp-lab; ls /run; cat /etc/hosts /etc/resolv.conf; ls /sys/fs/cgroup | wc -l"
    out = lab.exec("a1", "sh", "-c", show).stdout.split()
    assert {"lo", "wan0"} <= set(out) and "eth0" not in out
    assert "mcp-lab" not in out and not any(w.endswith(".img") for w in out)
    assert "203.0.113.20" in out and "b1" in out
    assert int(out[-1]) > 0  # containers need the cgroups
    lab.exec("a1", "sh", "-c", "echo mine >/var/lib/mcp/x; echo mine >/etc/x; echo mine >/var/lib/x; echo mine >/run/x")
    for path in ("/var/lib/mcp/x", "/etc/x", "/var/lib/x", "/run/x"):
        assert not os.path.exists(path)
        assert lab.exec("a2", "cat", path, check=False).returncode == 1


def test_certificates_and_boot_record(lab):
    boot = json.loads(lab.path("b1", "/var/lib/mcp/boot.json").read_text())
    assert boot["host"] == "b1" and boot["public"] == ["203.0.113.40"] and boot["cgroup"] == f"/mcp/{lab.name}.b1"
    assert boot["state"]["member"] == {"name": "b1"} and len(boot["state"]["endpoints"]) == 3
    pki = lab.path("b1", "/var/lib/mcp/pki")
    for leaf in ("host.pem", "edge.pem"):
        subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", pki / "ca.pem", "-untrusted", pki / leaf,
                        pki / leaf], check=True, stdout=subprocess.DEVNULL)
    assert (pki / "host.key").stat().st_mode & 0o777 == 0o600
    assert not lab.path("a2", "/var/lib/mcp/pki/edge.pem").exists()  # not public
    assert (pathlib.Path(lab.state()["ca"]).read_text() == (pki / "ca.pem").read_text())
    assert (pathlib.Path(lab.state()["ca"]).parent / "root.key").stat().st_mode & 0o777 == 0o600


def test_the_service_comes_back(lab):
    before = wait_until(lambda: lab.service_pid("a2"))
    os.kill(before, signal.SIGKILL)
    after = wait_until(lambda: (p := lab.service_pid("a2")) and p != before and p)
    wait_until(lambda: pathlib.Path(f"/proc/{after}/cmdline").read_bytes() == b"mcp\0host\0")  # forked, then it is


# ---- wires

def test_delay(lab):
    assert 38 <= lab.rtt("a1", "10.40.0.11") < 60
    assert lab.rtt("a1", "10.20.0.12") < 15
    assert lab.rtt("client", "203.0.113.40") < 15


def test_any_address_of_a_buyers_range(lab):
    for source in ("198.51.100.0", "198.51.100.15", "198.51.100.31"):
        with lab.socket("client") as s:
            s.bind((source, 0))
            s.settimeout(5)
            with pytest.raises(ConnectionRefusedError):
                s.connect(("203.0.113.40", 9))
    with lab.socket("client") as s, pytest.raises(OSError):
        s.bind(("198.51.100.32", 0))


def test_cut_one_way(lab):
    lab.mcp("lab", "cut", "ra", "rb", "--one-way")
    assert lab.datagrams("a1", "b1", "10.40.0.11", 5) == 0
    assert lab.datagrams("b1", "a1", "10.20.0.11", 5) == 5
    assert lab.datagrams("a2", "a1", "10.20.0.11", 5) == 5
    lab.mcp("lab", "mend", "ra", "rb")
    assert lab.datagrams("a1", "b1", "10.40.0.11", 5) == 5


def test_cut_of_one_host(lab):
    lab.mcp("lab", "cut", "a1", "rb")
    assert lab.datagrams("a1", "b1", "10.40.0.11", 3) == 0
    assert lab.datagrams("b1", "a1", "10.20.0.11", 3) == 0
    assert lab.datagrams("a2", "b1", "10.40.0.11", 3) == 3
    lab.mcp("lab", "mend", "a1", "rb")
    assert lab.datagrams("a1", "b1", "10.40.0.11", 3) == 3


def test_slow_and_loss(lab):
    lab.mcp("lab", "slow", "client", "b1", "--delay", "50ms")
    assert 100 <= lab.rtt("client", "203.0.113.40") < 130
    lab.mcp("lab", "slow", "client", "b1", "--delay", "0", "--loss", "40%")
    assert 200 < lab.datagrams("client", "b1", "203.0.113.40", 400) < 280
    lab.mcp("lab", "mend", "client", "b1")
    assert lab.datagrams("client", "b1", "203.0.113.40", 400) == 400


def test_rate(lab):
    lab.mcp("lab", "slow", "a1", "a2", "--rate", "1Mbit", "--one-way")
    start = time.monotonic()
    with lab.socket("a2", kind=socket.SOCK_DGRAM) as rx, lab.socket("a1", kind=socket.SOCK_DGRAM) as tx:
        rx.bind(("10.20.0.12", 0))
        rx.settimeout(5)
        for _ in range(16):
            tx.sendto(b"x" * 1222, rx.getsockname())  # 1250 bytes on the wire: 10 ms each
        for _ in range(16):
            rx.recv(2000)
    assert 0.15 < time.monotonic() - start < 3
    lab.mcp("lab", "mend", "a1", "a2", "--one-way")


def test_wrong_words(lab):
    p = lab.mcp("lab", "cut", "ra", "nowhere", check=False)
    assert p.returncode == 1 and "nowhere" in p.stderr
    assert lab.datagrams("a1", "b1", "10.40.0.11", 3) == 3
    assert lab.mcp("lab", "slow", "ra", "rb", check=False).returncode == 2
    assert lab.mcp("lab", "slow", "ra", "rb", "--loss", "140%", check=False).returncode == 2
    assert "nothing to mend" in lab.mcp("lab", "mend", "ra", "rb").stdout


def test_wan_killed(lab):
    lab.mcp("lab", "cut", "ra", "rb", "--one-way")
    before = lab.service_pid("wan")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: lab.datagrams("a2", "a1", "10.20.0.11", 1) == 1, what="wires after the WAN's death")
    assert lab.service_pid("wan") != before
    assert lab.datagrams("a1", "b1", "10.40.0.11", 3) == 0  # still cut
    lab.mcp("lab", "mend", "ra", "rb")


def test_wan_is_nobody(lab):
    status = pathlib.Path(f"/proc/{lab.service_pid('wan')}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] != "0"
    assert int(fields["CapEff"], 16) == 0 and int(fields["CapBnd"], 16) == 0
    assert fields["Seccomp"] == "2" and fields["NoNewPrivs"] == "1"


# ---- power

def test_power_loss_and_back(own):
    own.up("--hosts-only")
    own.exec("b1", "sh", "-c", "echo kept >/var/lib/mcp/x; echo lost >/run/x")
    with own.socket("b1") as listener, own.socket("a1") as s:
        listener.bind(("10.40.0.11", 0))
        listener.listen()
        s.connect(listener.getsockname())
        s.settimeout(0.3)
        held = subprocess.Popen([BINARY, "lab", "exec", "--platform", own.name, "b1", "--", "sleep", "1000"])
        wait_until(lambda: held.pid in own.processes("b1"), what="the command to be inside")
        killed = json.loads(own.mcp("lab", "kill", "rb", "--json").stdout)
        assert killed["hosts"] == ["b1"] and killed["took_ms"] < 5000
        assert held.wait(5) == -signal.SIGKILL  # what was run in it died with it
        with pytest.raises(socket.timeout):
            s.recv(1)  # no goodbye
    assert own.processes("b1") == []
    refused = own.exec("b1", "true", check=False)
    assert refused.returncode == 1 and "mcp lab heal b1" in refused.stderr
    assert "nothing" not in own.mcp("lab", "kill", "rb").stdout  # again: fine
    own.mcp("lab", "heal", "rb")
    assert own.exec("b1", "cat", "/var/lib/mcp/x").stdout == "kept\n"
    assert own.exec("b1", "cat", "/run/x", check=False).returncode == 1
    wait_until(lambda: own.service_pid("b1"))
    assert 38 <= own.rtt("a1", "10.40.0.11") < 60
    assert "on: b1" in own.mcp("lab", "heal", "rb").stdout  # again: fine


def test_a_machine_that_died_by_itself(own):
    own.up("--hosts-only")
    os.kill(own.pid("a2"), signal.SIGKILL)
    wait_until(lambda: {m["name"]: m["state"] for m in own.listing()["machines"]}["a2"] == "off")
    survivors = {h: own.pid(h) for h in ("wan", "client", "a1", "b1")}
    own.up("--hosts-only")
    assert own.exec("a2", "hostname").stdout == "a2\n"
    assert {h: own.pid(h) for h in survivors} == survivors


def test_up_is_idempotent_and_follows_the_declaration(own):
    own.up("--hosts-only")
    before = {m["name"]: m["pid"] for m in own.listing()["machines"]}
    own.up("--hosts-only")
    assert {m["name"]: m["pid"] for m in own.listing()["machines"]} == before
    own.declare(lablib.TWO_REGIONS.replace("  a2: {{region: ra, address: 10.20.0.12}}\n",
                                           "  a3: {{region: ra, address: 10.20.0.13}}\n")
                .replace("[a1, a2, b1]", "[a1, a3, b1]"))
    own.up("--hosts-only")
    after = {m["name"]: m["pid"] for m in own.listing()["machines"]}
    assert set(after) == {"wan", "client", "a1", "a3", "b1"}
    assert after["wan"] == before["wan"]
    assert not (lablib.STATE / own.name / "a2.img").exists()
    assert own.rtt("a3", "10.20.0.11") < 15
    own.declare(lablib.TWO_REGIONS.replace("10.20.0.12", "10.20.0.99").replace("19ms", "5ms"))
    own.up("--hosts-only")
    assert 10 <= own.rtt("a2", "10.40.0.11") < 30


def test_state_kept_over_down(own):
    own.up("--hosts-only")
    own.exec("a1", "sh", "-c", "echo kept >/var/lib/mcp/x")
    root = pathlib.Path(own.state()["ca"]).read_text()
    own.down("--keep-state")
    assert own.processes() == []
    own.up("--hosts-only")
    assert own.exec("a1", "cat", "/var/lib/mcp/x").stdout == "kept\n"
    assert pathlib.Path(own.state()["ca"]).read_text() == root


# ---- nothing stays, nobody else is touched

def test_down_twice_and_after_wreckage(own):
    own.up("--hosts-only")
    os.kill(own.pid("wan"), signal.SIGKILL)
    os.kill(own.pid("a1"), signal.SIGKILL)
    subprocess.Popen([BINARY, "lab", "exec", "--platform", own.name, "b1", "--", "sh", "-c",
                      "trap '' TERM; sleep 1000 & wait"])
    (lablib.RUN / own.name / "lab.json").write_text("{ cut off")
    own.down()
    assert lab_traces(own.name) == []
    assert "is not there" in own.down().stdout


def test_down_without_lab_json(own):
    own.up("--hosts-only")
    (lablib.RUN / own.name / "lab.json").unlink()
    own.down()
    assert lab_traces(own.name) == []


@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2])
def test_up_interrupted(own, after):
    p = subprocess.Popen([BINARY, "up", "-f", own.file, "--hosts-only"], stdout=subprocess.DEVNULL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        p.wait(after)
    p.kill()
    p.wait()
    if after in (0.03, 0.1):  # goes on from wherever it was
        own.up("--hosts-only")
        assert own.rtt("a1", "10.20.0.12") < 15
    own.down()
    assert lab_traces(own.name) == []


def test_two_labs_side_by_side(tmp_path):
    before = network_of_this_machine()
    with Lab(folder=tmp_path) as one, Lab(folder=tmp_path) as two:
        one.up("--hosts-only")
        two.up("--hosts-only")
        assert network_of_this_machine() == before
        one.exec("a1", "sh", "-c", "echo one >/var/lib/mcp/x")
        two.exec("a1", "sh", "-c", "echo two >/var/lib/mcp/x")
        assert one.exec("a1", "cat", "/var/lib/mcp/x").stdout == "one\n"
        one.mcp("lab", "cut", "ra", "rb")
        assert two.datagrams("a1", "b1", "10.40.0.11", 3) == 3
        one.down()
        # The other's disk is still mounted: removing a mount point elsewhere unmounts it everywhere.
        assert two.exec("a1", "cat", "/var/lib/mcp/x").stdout == "two\n"
        assert "loop" in two.exec("a1", "df", "/var/lib/mcp").stdout
        assert two.datagrams("a1", "b1", "10.40.0.11", 3) == 3
    assert network_of_this_machine() == before
    assert lab_traces(one.name) + lab_traces(two.name) == []


def on_terminal(rows, *cmd):
    """What the command writes to a terminal of that height."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
    p = subprocess.Popen(cmd, stdout=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    out = b""
    with contextlib.suppress(OSError):  # EIO: the last writer is gone
        while more := os.read(ours, 65536):
            out += more
    os.close(ours)
    assert p.wait(60) == 0
    return out.decode()


def test_up_on_a_terminal(own):
    tall = on_terminal(40, BINARY, "up", "-f", own.file, "--hosts-only")
    for row in ("  a1           ra             has its disk", "  b1           rb             certificates, boot record"):
        assert row in tall
    assert "\x1b[3A" in tall  # drawn over itself: a line and three hosts
    assert tall.rstrip().splitlines()[-1].startswith(f"{own.name}: 3 hosts are on")
    low = on_terminal(5, BINARY, "up", "-f", own.file, "--hosts-only")
    assert "hosts " in low and "  a1  " not in low


def test_what_a_lab_cannot_build(tmp_path):
    with Lab(text=lablib.TWO_REGIONS.replace("a2", "client"), folder=tmp_path) as lab:
        p = lab.mcp("up", "--hosts-only", check=False)
        assert p.returncode != 0 and "client" in p.stderr
    p = subprocess.run([BINARY, "up", "-f", tmp_path / "nope.yaml"], capture_output=True, text=True)
    assert p.returncode == 1 and "nope.yaml" in p.stderr
    p = subprocess.run([BINARY, "up", "-f", lab.file, "--image-size", "1KiB"], capture_output=True, text=True)
    assert p.returncode == 2
