# SPDX-License-Identifier: Apache-2.0
"""A virtual machine under QEMU: a copy-on-write disk, a seed archive as second disk, commands over a virtio port. The
processor is emulated, so that it runs where virtual machines cannot be nested; what makes that slow is left out:
features that cost the emulator more than they save, and addresses that differ from process to process (it would
translate every library again)."""
import base64
import os
import shlex
import socket
import subprocess
import time


KERNEL = ("root=/dev/vda console=ttyS0 quiet systemd.show_status=0 panic=5 mitigations=off norandmaps audit=0 "
          # An emulator that is short of time is no broken timer.
          "no_timer_check tsc=reliable cryptomgr.notests random.trust_cpu=on "
          "modprobe.blacklist=kvm_amd,kvm_intel,powernow_k8")


class Lost(Exception):
    """The machine did not answer in time, or said no."""


class Machine:
    """Every wait has a limit; what was said and the console are kept for a transcript."""

    def __init__(self, image, work, memory_mib=1024):
        self.image, self.work, self.memory = image, work, memory_mib
        self.console = os.path.join(work, "console.log")
        self.transcript, self.buffer, self.count, self.boot_id = [], b"", 0, None
        self.process = self.port = None

    def start(self):
        path = os.path.join(self.work, "port")
        disk = f"{self.image}/root.ext4"
        argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi",
                "-cpu", "qemu64,+rdrand,+rdseed", "-smp", "2", "-m", str(self.memory), "-nodefaults",
                "-display", "none",
                "-kernel", f"{self.image}/vmlinuz", "-initrd", f"{self.image}/initrd", "-append", KERNEL,
                "-drive", f"file={disk},format=raw,if=virtio,snapshot=on,cache=unsafe",
                "-drive", f"file={self.work}/seed.tar,format=raw,if=virtio,readonly=on",
                "-device", "virtio-serial", "-chardev", f"socket,id=vm,path={path},server=on,wait=off",
                "-device", "virtserialport,chardev=vm,name=vm", "-device", "virtio-rng-pci",
                "-serial", f"file:{self.console}", "-monitor", "none"]
        with open(os.path.join(self.work, "qemu.log"), "w", encoding="utf-8") as log:
            # The disk's changes go to TMPDIR and are gone with the process.
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, "TMPDIR": self.work})
        deadline = time.monotonic() + 20
        self.port = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        while True:
            try:
                self.port.connect(path)
                return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Lost(f"QEMU does not start: {self.log('qemu.log')}") from error
                time.sleep(0.05)

    def log(self, name):
        if not os.path.exists(os.path.join(self.work, name)):
            return ""
        with open(os.path.join(self.work, name), encoding="utf-8", errors="replace") as f:
            return f.read()

    def _line(self, deadline):
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Lost("no answer in time")
            self.port.settimeout(left)
            try:
                data = self.port.recv(65536)
            except TimeoutError as error:
                raise Lost("no answer in time") from error
            if not data:
                raise Lost("QEMU ended")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode(errors="replace").split()

    def wait_boot(self, timeout):
        """Until the agent of a boot that was not seen before says that it is there."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                words = self._line(min(deadline, time.monotonic() + 2))
            except Lost:
                if "Kernel panic" in self.log("console.log"):
                    raise Lost("the kernel panics") from None
                if time.monotonic() >= deadline:
                    raise
                continue
            if words[:1] == ["READY"] and len(words) == 2 and words[1] != self.boot_id:
                self.boot_id = words[1]
                return

    def run(self, command, timeout=30, check=True):
        """The command's output; its status too if it need not be 0. One that hangs is ended inside the machine (status
        124): the agent runs one at a time and would answer nothing any more."""
        self.count += 1
        number = str(self.count)
        inside = f"timeout -k 2 {timeout} bash -c {shlex.quote(command)}"
        line = f"{number} {base64.b64encode(inside.encode()).decode()}\n".encode()
        self.port.sendall(line)
        deadline, words = time.monotonic() + timeout + 15, []
        try:
            while words[:1] != [number]:
                words = self._line(deadline)
                if words[:1] == ["READY"]:  # The agent was started anew and has not read it.
                    self.port.sendall(line)
        except Lost as error:
            self.transcript.append(f"$ {command}\n{error} ({timeout} s)")
            raise Lost(f"{command}: {error} ({timeout} s)") from error
        status, out = int(words[1]), base64.b64decode(words[2]).decode(errors="replace").rstrip("\n")
        self.transcript.append(f"$ {command}\n{out}" + (f"\n[status {status}]" if status else ""))
        if check and status:
            raise Lost(f"{command}: status {status}: {out[-2000:]}")
        return out if check else (status, out)

    def until(self, command, good, timeout):
        """Runs the command until its output is as wanted; the first one that is."""
        deadline = time.monotonic() + timeout
        while True:
            _, out = self.run(command, 30, check=False)
            if good(out):
                return out
            if time.monotonic() > deadline:
                raise Lost(f"{command}: not within {timeout} s; last: {out[-2000:]}")
            time.sleep(0.3)

    def reboot(self, timeout):
        self.port.sendall(b"0 " + base64.b64encode(b"systemctl --no-block reboot") + b"\n")
        self.wait_boot(timeout)

    def end(self):
        if self.port:
            self.port.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
