#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the gate of a database costs: sysbench oltp_read_write through it against direct, over a Unix socket and over TCP as
# modules come, prepared and not, with the gate on the server's core and beside it; and a long result. The server has the
# platform's safe values (each commit synced, binary log synced). Medians of ROUNDS (5) times SECONDS_RUN (3), rounds
# interleaved. JSON=1: the last line is one JSON object.
set -euo pipefail
cd "$(dirname "$0")/.."
exec /usr/bin/python3 bench/gate_bench.py --rounds "${ROUNDS:-5}" --seconds "${SECONDS_RUN:-3}" "$@"
