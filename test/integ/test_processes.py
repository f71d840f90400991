# SPDX-License-Identifier: Apache-2.0
"""The tests' own look at processes."""
import os
import subprocess

import processes

LIVING, ENDING = 20, 200


def test_living_children_are_seen_while_others_end():
    living = [subprocess.Popen(["cat"], stdin=subprocess.PIPE) for _ in range(LIVING)]
    try:
        pids = {p.pid for p in living}
        for _ in range(ENDING):
            ending = subprocess.Popen(["true"])
            assert pids <= set(processes.children(os.getpid()))
            ending.wait()
    finally:
        for p in living:
            p.communicate()
