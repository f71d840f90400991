#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a call through the mesh costs against a direct connection: to an instance of the same host, and over TLS to one of
# another; on kept connections and with a new one for each request. Two hosts as network namespaces with a cable.
# Medians of ROUNDS (3) times SECONDS_RUN (2), rounds interleaved. JSON=1: the last line is one JSON object.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=()
for p in wrk nginx:nginx-light; do command -v "${p%%:*}" >/dev/null || [ -x "/usr/sbin/${p%%:*}" ] || missing+=("${p##*:}"); done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null
fi
exec "${PYTHON:-/usr/bin/python3}" bench/mesh_bench.py --rounds "${ROUNDS:-3}" --seconds "${SECONDS_RUN:-2}" "$@"
