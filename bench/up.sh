#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From nothing to ready: `mcp up` of the example platform (four regions, five hosts), images and packages present.
# RUNS (default 3) runs; prints each, the median, and the aim. JSON=1: the last line is one JSON object.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-/usr/bin/python3}" bench/platform_bench.py up --runs "${RUNS:-3}"
