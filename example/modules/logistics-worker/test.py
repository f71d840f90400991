#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "testkit"))
import modtest

WORKER = modtest.c_module("logistics-worker")


def beats_without_port():
    with modtest.Module(WORKER, port=None, MODULE_HEARTBEAT_MS="20") as m:
        m.wait_line(r"worker heartbeat queue=logistics_worker broker=none", count=3)
        assert not any("listening" in line for line in m.lines), m.lines
        assert m.end()[0] == 0


modtest.run({
    "logistics-worker common": lambda: modtest.check_common(WORKER),
    "logistics-worker stop": lambda: modtest.check_stop(WORKER),
    "logistics-worker beats without port": beats_without_port,
})
