# SPDX-License-Identifier: Apache-2.0
"""`mcp host` alone, with roles that do nothing: what dies comes back, what listens keeps listening, who should not be
root is not."""
import json
import os
import re
import signal
import socket
import stat
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import hostlib  # noqa: E402

UNPRIVILEGED = ["control", "dns", "resolver", "edge", "mesh", "data"]


@pytest.fixture
def host():
    with hostlib.Host(env={"MCP_STUB_ROLES": "1"}) as h:
        yield h.start()


def test_roles_hold_no_privilege(host):
    pids = host.roles()
    assert set(pids) == set(hostlib.ROLES)
    users = set()
    for name in UNPRIVILEGED:
        s = hostlib.status(pids[name])
        assert s["Seccomp"] == "2" and s["NoNewPrivs"] == "1", name
        for caps in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            low_ports = 1 << 10 if name == "mesh" and caps in ("CapPrm", "CapEff") else 0
            assert int(s[caps], 16) in (0, low_ports), (name, caps)
        uids, gids = set(s["Uid"].split()), set(s["Gid"].split())
        assert "0" not in uids | gids and len(uids) == 1 and not s["Groups"].strip(), name
        users |= uids
    assert len(users) == len(UNPRIVILEGED)  # none of them may touch another
    assert hostlib.status(pids["agent"])["Uid"].split()[0] == "0"


def test_folders_and_sockets_have_their_owners(host):
    pids = host.roles()
    for name in hostlib.ROLES:
        uid = int(hostlib.status(pids[name])["Uid"].split()[0])
        for root in ("/var/lib/mcp", "/run/mcp"):
            st = os.stat(host.path(f"{root}/{name}"))
            mode = 0o711 if name == "data" else 0o700  # the mesh passes through to databases' sockets
            assert st.st_uid == uid and stat.S_IMODE(st.st_mode) == mode, (root, name)
    st = os.stat(host.path("/run/mcp/mcp.sock"))
    assert st.st_uid == 0 and stat.S_IMODE(st.st_mode) == 0o600


def test_keys_are_readable_by_control_alone():
    with hostlib.Host(env={"MCP_STUB_ROLES": "1"}) as h:
        os.makedirs(h.path("/var/lib/mcp/pki"))
        for name in ("host.key", "edge.key"):
            with open(h.path(f"/var/lib/mcp/pki/{name}"), "w") as f:
                f.write("secret")
        h.start()
        control = int(hostlib.status(h.roles()["control"])["Uid"].split()[0])
        for name in ("host.key", "edge.key", "seal.key"):
            st = os.stat(h.path(f"/var/lib/mcp/pki/{name}"))
            assert st.st_uid == control and stat.S_IMODE(st.st_mode) == 0o600


@pytest.mark.parametrize("name", hostlib.ROLES)
def test_killed_role_comes_back_alone(host, name):
    before, mark = host.roles(), host.log.mark()
    listening = hostlib.sockets(before[name]) & hostlib.sockets(host.process.pid)
    new = host.kill_role(name)
    host.log.wait(rf"role ended role={name} pid={before[name]} reason=\"killed by SIGKILL\"", mark)
    # Linked anew: control with all of them, any other with control.
    for other in UNPRIVILEGED[1:] + ["agent"] if name == "control" else [name]:
        host.log.wait(rf"role linked peer={other}@hk1", mark)
        host.log.wait(rf" {other} stub linked to control", mark)
    after = host.roles()
    assert after[name] == new
    assert {n: p for n, p in after.items() if n != name} == {n: p for n, p in before.items() if n != name}
    assert listening <= hostlib.sockets(new)
    assert len(listening) >= {"control": 3, "agent": 0, "dns": 4, "resolver": 2, "edge": 2, "mesh": 1, "data": 0}[name]


def rx_queues(host, port):
    """Waiting bytes of the UDP sockets on that port: inode -> bytes."""
    table = host.run("cat", "/proc/net/udp").stdout.splitlines()[1:]
    rows = [line.split() for line in table]
    return {r[9]: int(r[4].split(":")[1], 16) for r in rows if int(r[1].split(":")[1], 16) == port}


def test_a_query_outlives_the_role_that_should_answer_it(host):
    query = bytes.fromhex("000101000001000000000000" "00" "0001" "0001")
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(query, ("203.0.113.20", 53))
        waiting = {inode for inode, size in rx_queues(host, 53).items() if size}
        assert len(waiting) == 1
        new = host.kill_role("dns")
        assert waiting == {inode for inode, size in rx_queues(host, 53).items() if size}
        assert f"socket:[{waiting.pop()}]" in hostlib.sockets(new)


def test_a_connection_is_taken_while_the_role_is_dead(host):
    os.kill(host.roles()["edge"], signal.SIGSTOP)
    with host.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.settimeout(hostlib.PATIENCE_S)
        s.connect(("203.0.113.20", 443))
        host.kill_role("edge")
        s.sendall(b"still there")


def test_roles_die_with_their_host_and_the_next_starts_afresh(host):
    pids = host.roles()
    # Even one that hangs: it would keep its sockets.
    os.kill(pids["dns"], signal.SIGSTOP)
    host.send(signal.SIGKILL)
    host.process.wait(hostlib.PATIENCE_S)
    for pid in pids.values():
        hostlib.wait_end(pid)
    host.start()
    assert not set(host.roles().values()) & set(pids.values())
    assert host.log.count("sockets are missing") == 0


def test_second_host_is_refused(host):
    r = host.run(os.path.abspath(hostlib.BINARY), "host")
    assert r.returncode == 3
    assert f"a host already runs here, process {host.process.pid}" in r.stderr
    assert len(host.roles()) == len(hostlib.ROLES)


def test_stop_is_clean(host):
    pids = host.roles()
    assert host.stop() == 0
    for name, pid in pids.items():
        hostlib.wait_end(pid)
        host.log.wait(rf"role stopped role={name} pid={pid} reason=\"exit status 0\"")


def test_sighup_takes_the_new_record(host):
    before, mark = host.roles(), host.log.mark()
    kept = hostlib.sockets(before["dns"]) & hostlib.sockets(host.process.pid)
    roles = [r for r in hostlib.ROLES if r != "edge"]
    host.write_boot(hostlib.boot_record(roles=roles, addresses=["10.20.0.11", "10.20.0.99"]))
    host.send(signal.SIGHUP)
    host.log.wait(rf"role stopped role=edge pid={before['edge']}", mark)
    new = int(host.log.wait(r"role started role=dns pid=(\d+)", mark)[1])
    host.log.wait(r"role linked peer=dns@hk1", mark)
    assert set(host.roles()) == set(roles)
    now = hostlib.sockets(new) & hostlib.sockets(host.process.pid)
    assert kept < now  # the new address's sockets came to the old ones
    listening = host.run("ss", "-lntH").stdout
    assert "203.0.113.20:443" not in listening and "10.20.0.99:7400" in listening
    # And back.
    mark = host.log.mark()
    host.write_boot(hostlib.boot_record())
    host.send(signal.SIGHUP)
    host.log.wait(r"role linked peer=edge@hk1", mark)


def test_sighup_without_a_change_disturbs_nobody(host):
    before, mark = host.roles(), host.log.mark()
    host.send(signal.SIGHUP)
    host.log.wait("boot record read", mark)
    host.kill_role("agent")  # has host's full attention afterwards
    after = host.roles()
    assert all(after[name] == before[name] for name in UNPRIVILEGED)


@pytest.mark.parametrize("text", ["", "{", '{"format":1}', '{"format":7}'])
def test_a_bad_record_changes_nothing(host, text):
    before, mark = host.roles(), host.log.mark()
    with open(host.path("/var/lib/mcp/boot.json"), "w") as f:
        f.write(text)
    host.send(signal.SIGHUP)
    host.log.wait("boot record not taken, the old one stays", mark)
    assert host.roles() == before


def test_no_record_is_said_with_the_fix():
    with hostlib.Host() as h:
        os.unlink(h.path("/var/lib/mcp/boot.json"))
        r = h.run(os.path.abspath(hostlib.BINARY), "host")
        assert r.returncode == 1 and "boot.json" in r.stderr and "fix:" in r.stderr


def test_a_role_that_cannot_start_backs_off_and_harms_nobody():
    with hostlib.Host(hostlib.boot_record(roles=["control", "nosuch", "dns"]), {"MCP_STUB_ROLES": "1"}) as h:
        h.start(wait=False)
        for _ in range(4):
            h.log.wait("role ended role=nosuch .*exit status 2", 0)
        h.log.wait("role linked peer=dns@hk1")
        pids = h.roles()
        assert "dns" in pids and "control" in pids
        assert h.log.count("role ended role=nosuch") < 20
        assert h.stop() == 0


def test_a_taken_port_is_named_and_waited_for():
    with hostlib.Host(env={"MCP_STUB_ROLES": "1"}) as h:
        with h.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
            s.bind(("10.20.0.11", 7400))
            s.listen(1)
            h.start()
            h.log.wait("sockets are missing count=1 .*peer: bind 10.20.0.11 port 7400.*fix=.*ss -lnp")
            assert set(h.roles()) == set(hostlib.ROLES)  # the others serve
            before, mark = h.roles(), h.log.mark()
        h.log.wait("role started role=control", mark)  # with the socket that was missing
        assert h.roles()["dns"] == before["dns"]
        assert "10.20.0.11:7400" in h.run("ss", "-lntH").stdout


def test_control_hears_of_every_process(host):
    new = host.kill_role("dns")
    text = host.log.wait(rf"host says method=roles params=(.*\"pid\":{new}.*\"state\":\"up\".*)")[1]
    told = {r["name"]: r for r in json.loads(text)["roles"]}
    assert set(told) == set(hostlib.ROLES) | {"host"}
    assert told["dns"]["restarts"] == 1 and told["dns"]["reason"] == "killed by SIGKILL"
    assert told["edge"]["restarts"] == 0
    assert told["host"]["pid"] == host.process.pid
    assert all(r["pss_bytes"] > 0 for r in told.values())


def test_a_broken_link_is_renewed_without_a_restart(host):
    before, mark = host.roles(), host.log.mark()
    links = [s for _, s in hostlib.borrow_sockets(before["dns"]) if s.type == socket.SOCK_STREAM]
    assert len(links) == 1
    links[0].shutdown(socket.SHUT_RDWR)
    host.log.wait("role unlinked peer=dns@hk1", mark)
    host.log.wait("role linked peer=dns@hk1", mark)
    assert host.roles() == before
    links[0].close()


@pytest.mark.parametrize("packets", [[b"nonsense"], [b"{}"], [b"x" * 5000], [b'{"method":"pong","params":{}}'] * 300],
                         ids=["nonsense", "no method", "too long", "a flood"])
def test_a_role_that_abuses_its_channel_is_killed(host, packets):
    mark, old = host.log.mark(), host.roles()["dns"]
    channel = next(s for number, s in hostlib.borrow_sockets(old) if number == 3)
    with channel:
        for packet in packets:
            try:
                channel.send(packet)
            except OSError:  # host has hung up already
                break
    host.log.wait(rf"role ended role=dns pid={old} reason=\"killed by SIGKILL\"", mark)
    host.log.wait("role is up role=dns", mark)


def test_a_forbidden_call_kills_and_is_named(host):
    mark = host.log.mark()
    for _, channel in hostlib.borrow_sockets(host.process.pid):
        with channel:
            if channel.type == socket.SOCK_SEQPACKET:
                channel.send(b'{"method":"exec","params":{}}')  # the stub of dns obeys
    reason = host.log.wait(r"role ended role=dns .*reason=\"(.*)\"", mark)[1]
    assert re.fullmatch(r"killed by SIGSYS: forbidden system call (execve|\(dmesg may name it\))", reason)
    host.log.wait("role is up role=dns", mark)


def test_processes_are_small(host):
    """Host itself must stay tiny: it holds nothing but sockets and pids."""
    sizes = {name: hostlib.pss_kib(pid) for name, pid in host.roles().items()}
    sizes["host"] = hostlib.pss_kib(host.process.pid)
    print("PSS in KiB:", sizes)
    with open(hostlib.BINARY, "rb") as f:
        sanitized = b"__asan_init" in f.read()
    # Most of it is the shared libraries' own; how much counts as ours depends on who else maps them.
    assert sizes["host"] < (30000 if sanitized else 6000)


def test_a_role_by_hand_is_refused(host):
    r = host.run(os.path.abspath(hostlib.BINARY), "role", "dns")
    assert r.returncode != 0 and "started by `mcp host`" in r.stderr
