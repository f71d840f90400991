# SPDX-License-Identifier: Apache-2.0
"""Processes as the kernel lists them. /proc/PID/task/TID/children is not asked: it leaves living children out while
another one is being reaped (proc(5))."""
import contextlib
import os
import pathlib


def children(pid):
    """Its children's pids, zombies among them, in the order of their numbers."""
    found = []
    for entry in sorted((int(name) for name in os.listdir("/proc") if name.isdigit())):
        with contextlib.suppress(OSError):
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(entry)
    return found
