#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The edge against nginx and HAProxy as reverse proxy: one upstream, one load, keep-alive on both sides, http and https,
# rounds interleaved, medians of ROUNDS (5) times SECONDS_RUN (4). The proxy has one core, load and upstream the other.
# JSON=1: the last line is one JSON object.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=()
for p in wrk nginx:nginx-light haproxy; do command -v "${p%%:*}" >/dev/null || [ -x "/usr/sbin/${p%%:*}" ] || missing+=("${p##*:}"); done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null
fi
exec "${PYTHON:-/usr/bin/python3}" bench/edge_bench.py --rounds "${ROUNDS:-5}" --seconds "${SECONDS_RUN:-4}" "$@"
