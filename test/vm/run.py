# SPDX-License-Identifier: Apache-2.0
"""make vm: doc/guide/install.md on a real machine: Debian's kernel, systemd, control groups of version 2 alone. The
commands are the guide's own lines. usage: run.py IMAGE_DIR WORK_DIR SECONDS, where SECONDS were spent before. While the
machine boots, WORK_DIR/seed.tar is still being made; standard input says "STATUS SECONDS" when it is. Ends with
"N passed, N failed"."""
import json
import pathlib
import re
import sys
import time

from machine import Lost, Machine

GROUP = "/sys/fs/cgroup/mcp/vm.hk1/units/api-1"
CURL = "curl -sS -m 10 -k --resolve api.reindeers.com:443:203.0.113.20 https://api.reindeers.com"
GUIDE = pathlib.Path(__file__).resolve().parents[2] / "doc/guide/install.md"
STEPS = []


def step(function):
    STEPS.append(function)
    return function


def expect(truth, text):
    if not truth:
        raise Lost(text)


def unit(vm):
    """The module's one instance as `mcp status --json` has it."""
    _, out = vm.run("mcp status --json", check=False)
    try:
        units = json.loads(out)["units"]
    except (ValueError, KeyError):
        return {}
    return next((u for u in units if u.get("module") == "api" or u["name"].startswith("api-")), {})


def wait_unit(vm, good, timeout):
    deadline = time.monotonic() + timeout
    while True:
        u = unit(vm)
        if u and good(u):
            return u
        if time.monotonic() > deadline:
            raise Lost(f"the module's unit is not as wanted within {timeout} s: {u}")


def first_pid(vm):
    """The container's first process, asked of the kernel."""
    return int(vm.run(f"head -1 {GROUP}/cgroup.procs"))


@step
def the_machine_is_debian_with_systemd_and_cgroup_v2(vm, facts):
    expect(vm.run("stat -f -c %T /sys/fs/cgroup") == "cgroup2fs", "control groups are not version 2 alone")
    vm.run("test -d /run/systemd/system")


def guide(word):
    """The line of the guide's first machine that has this word."""
    block = GUIDE.read_text(encoding="utf-8").split("## The first machine")[1].split("```")[1]
    return next(line for line in block.strip().splitlines() if word in line)


@step
def the_package_is_made(vm, facts):
    status, seconds = sys.stdin.readline().split()
    expect(status == "0", "no package or no image:\n" + vm.log("seed.log")[-4000:])
    vm.run("blockdev --flushbufs /dev/vdb && mkdir -p /root/seed && tar -xf /dev/vdb -C /root/seed", 60)
    print(f"vm: package and image were there after {seconds} s")


@step
def the_package_installs(vm, facts):
    vm.run(f"cd /root/seed && {guide('apt-get install')}", 180)
    vm.run("getent passwd mcp-control mcp-dns mcp-edge mcp-mesh mcp-resolver && mcp version")
    vm.run("test -f /usr/share/mcp/country.mmdb && ! systemctl is-active mcp")


@step
def the_service_starts(vm, facts):
    vm.run(f"cd /root/seed && {guide('host init')}", 60)
    vm.run(guide("systemctl enable"), 120)
    expect(vm.run("systemctl show -p ActiveState --value mcp") == "active", "not active")


@step
def a_module_comes_up(vm, facts):
    vm.run(f"cd /root/seed && {guide('mcp apply')} && {guide('mcp status')}", 120)
    facts["unit"] = wait_unit(vm, lambda u: u["state"] == "ready", 30)
    vm.until(f"{CURL}/v1/whoami", lambda o: "api" in o, 30)


@step
def its_limits_are_the_kernels(vm, facts):
    for name, want in (("memory.max", str(64 << 20)), ("cpu.max", "50000 100000"), ("pids.max", "32"),
                       ("memory.swap.max", "0")):
        _, have = vm.run(f"cat {GROUP}/{name}", check=False)
        expect(have == want, f"{name} is {have}, not {want}")


@step
def no_shim_is_in_the_service(vm, facts):
    inside = vm.run("cat /sys/fs/cgroup/system.slice/mcp.service/cgroup.procs | xargs -I{} cat /proc/{}/comm")
    expect("mcp-shim" not in inside, f"in the service's own control group: {inside}")


@step
def a_restart_of_the_service_leaves_it_running(vm, facts):
    pid, main = first_pid(vm), vm.run("systemctl show -p MainPID --value mcp")
    vm.run("systemctl restart mcp", 60)
    expect(vm.run("systemctl show -p MainPID --value mcp") != main, "the service was not restarted")
    wait_unit(vm, lambda u: u["state"] == "ready", 30)
    expect(first_pid(vm) == pid, "the module was restarted")
    vm.until(f"{CURL}/v1/whoami", lambda o: "api" in o, 30)


@step
def a_killed_host_is_started_by_systemd(vm, facts):
    pid, main = first_pid(vm), vm.run("systemctl show -p MainPID --value mcp")
    vm.run(f"kill -9 {main}")
    vm.until("systemctl show -p MainPID,ActiveState --value mcp | paste -sd ' '",
             lambda o: re.fullmatch(r"[1-9]\d* active", o) and o.split()[0] != main, 60)
    wait_unit(vm, lambda u: u["state"] == "ready", 30)
    expect(first_pid(vm) == pid, "the module was restarted")


@step
def out_of_memory_is_named(vm, facts):
    vm.run(f"{CURL}/fault/oom -X POST", 30, check=False)
    deadline = time.monotonic() + 60
    while "out of memory (limit 64MiB)" not in vm.run("mcp status; mcp timeline", check=False)[1]:
        expect(time.monotonic() < deadline, "neither status nor timeline say \"out of memory (limit 64MiB)\"")
    wait_unit(vm, lambda u: u["state"] == "ready", 60)


@step
def the_journal_has_its_log(vm, facts):
    vm.run("journalctl -u mcp -o cat | grep -q 'all roles are up'")
    expect("mcp.service" in vm.run("systemctl list-units --failed --plain --no-legend; echo mcp.service"), "")
    expect(not vm.run("systemctl list-units --failed --plain --no-legend"), "a unit of systemd failed")


@step
def a_reboot_brings_it_back(vm, facts):
    vm.reboot(120)
    wait_unit(vm, lambda u: u["state"] == "ready", 90)
    vm.until(f"{CURL}/v1/whoami", lambda o: "api" in o, 30)


@step
def a_new_package_leaves_it_running(vm, facts):
    pid = first_pid(vm)
    vm.run("dpkg -i /root/seed/mcp_*.deb", 180)
    wait_unit(vm, lambda u: u["state"] == "ready", 60)
    expect(first_pid(vm) == pid, "the module was restarted")


@step
def a_purge_leaves_nothing(vm, facts):
    vm.run("dpkg --purge mcp", 120)
    expect(not vm.run("ls -d /var/lib/mcp /run/mcp /etc/default/mcp 2>/dev/null; pgrep -l mcp; true"), "something is left")


def main():
    image, work, before = sys.argv[1:4]
    vm, passed, failed, facts = Machine(image, work), 0, 0, {}
    begun = time.monotonic()
    try:
        vm.start()
        vm.wait_boot(150)
        print(f"ok   the machine boots ({time.monotonic() - begun:.1f} s)", flush=True)
        passed += 1
        for function in STEPS:
            at = time.monotonic()
            function(vm, facts)
            passed += 1
            print(f"ok   {function.__name__.replace('_', ' ')} ({time.monotonic() - at:.1f} s)", flush=True)
    except Lost as error:
        failed += 1
        name = STEPS[max(passed - 1, 0)].__name__ if passed else "the machine boots"
        print(f"FAIL {name.replace('_', ' ')}: {error}")
        print("\n".join(["--- transcript"] + vm.transcript[-8:]))
        print("--- console\n" + vm.log("console.log")[-4000:])
        try:
            vm.boot_id and print("--- journal\n" + vm.run("journalctl -b -n 80 --no-pager -o short-monotonic", 30, check=False)[1])
        except (Lost, OSError) as gone:
            print(f"--- no journal: {gone}")
    finally:
        vm.end()
    under = time.monotonic() - begun
    print(f"vm: {under:.0f} s under QEMU, {under + int(before):.0f} s in all")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
