#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [NAME]: runs every bench, or one. JSON=1 makes a bench's last line one JSON object. Timings are never asserted.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
  [ -x "bench/$1.sh" ] || { echo "no bench $1; there are: $(cd bench && ls *.sh | sed 's/\.sh$//' | grep -vx run | tr '\n' ' ')" >&2; exit 2; }
  exec "bench/$1.sh"
fi
status=0
for b in bench/*.sh; do
  [ "$b" = bench/run.sh ] && continue
  echo "== $(basename "$b" .sh)"
  "$b" || status=1
done
exit $status
