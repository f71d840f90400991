#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# container.sh: from asking for a container to its first answer over HTTP, ours and `podman run`, the same image, in
# turn, in one run. Median of RUNS. JSON=1: one JSON object as the last line.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v podman >/dev/null || {
  apt-get install -y --no-install-recommends podman netavark aardvark-dns >/dev/null || { echo "container: no podman to compare with" >&2; exit 1; }
}
MCP_BINARY=$PWD/${BUILD:-build}/mcp exec "${PYTHON:-/usr/bin/python3}" bench/container_bench.py "${RUNS:-5}"
