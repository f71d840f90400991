#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The dns role against gdnsd and Knot with its geoip module: the same geo question with a client subnet, UDP, the server
# on one core and dnsperf on the other, rounds interleaved, medians of ROUNDS (5) times SECONDS_RUN (3).
# JSON=1: the last line is one JSON object.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=()
for p in gdnsd knot knot-module-geoip dnsperf python3-dnspython; do
  dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null
fi
tools/fetch_geo.sh >&2
MCP_BINARY=$PWD/${BUILD:-build}/mcp exec "${PYTHON:-/usr/bin/python3}" bench/dns_bench.py --rounds "${ROUNDS:-5}" \
  --seconds "${SECONDS_RUN:-3}" "$@"
