#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a host costs at rest: PSS of `mcp host` and its roles with the country database loaded, and their CPU over
# SECONDS_IDLE (default 30), while every region probes every other. JSON=1: the last line is one JSON object.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-/usr/bin/python3}" bench/platform_bench.py idle --seconds "${SECONDS_IDLE:-30}"
