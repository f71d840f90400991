# SPDX-License-Identifier: Apache-2.0
"""Where a value that must not be seen could be seen: arguments, environments, files, raw disks, memory."""
import base64
import contextlib
import os
import re
import stat
import threading


def forms(text):
    """The value as it is, and as base64 has it at each offset."""
    raw = text.encode()
    found = [raw]
    for offset in range(3):
        middle = base64.b64encode(b"\0" * offset + raw)[4 if offset else 0:]
        found.append(middle[:-4])
    return found


def data_of(path):
    """What of a file is not a hole: a lab's disks are sparse."""
    with open(path, "rb") as f:
        end, at = f.seek(0, os.SEEK_END), 0
        while at < end:
            try:
                at = f.seek(at, os.SEEK_DATA)
            except OSError:
                return
            hole = f.seek(at, os.SEEK_HOLE)
            while at < hole:
                f.seek(at)
                part = f.read(min(hole - at + 256, 16 << 20))
                if not part:
                    return
                yield part
                at += max(len(part) - 256, 1) if at + len(part) < hole else len(part)


def searched(paths, words):
    """Which of the files hold a word, and how many bytes were looked at."""
    found, total = [], 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            for part in data_of(path):
                total += len(part)
                found += [(str(path), w) for w in words if w in part]
    return found, total


def files_below(*tops, but=()):
    for top in tops:
        for folder, names, files in os.walk(top):
            names[:] = [n for n in names if os.path.join(folder, n) not in but]
            for name in files:
                path = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    yield path


class Watch:
    """Looks at the arguments and the environment of every process while something is done."""

    def __init__(self, words=(), pattern=None):
        """pattern: of values that are not known yet; what matches is kept in `seen`."""
        self.words, self.found, self.rounds, self.stop = words, [], 0, threading.Event()
        self.pattern, self.seen = pattern and re.compile(pattern), set()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as f:
                        text = f.read()
                        self.found += [(pid, name, w) for w in self.words if w in text]
                        self.seen |= set(self.pattern.findall(text)) if self.pattern else set()
            self.rounds += 1
            self.stop.wait(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()


def memory_of(lab, host, role):
    """Everything that the process could write into a core file, were it to write one."""
    pid = next(r["pid"] for h in lab.status()["hosts"] if h["name"] == host for r in h["roles"] if r["name"] == role)
    # its number in the host is its number here: a lab has no process namespace of its own
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            span, rights = line.split()[:2]
            start, end = (int(n, 16) for n in span.split("-"))
            if rights.startswith("rw") and not line.rstrip().endswith(("[vvar]", "[vsyscall]")):
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    mem.seek(start)
                    yield mem.read(end - start)
