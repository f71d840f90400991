#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that `make test` promises; ends with one line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0 broken=""

# part NAME COMMAND...: runs it, shows its output, adds the figures of its last counting line.
part() {
  local name=$1 log counts p f status which
  shift
  log=$(mktemp)
  echo "== $name"
  local begun=$SECONDS
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  counts=$(grep -E '[0-9]+ (passed|failed|errors?)' "$log" | tail -1)
  p=$(grep -oE '[0-9]+ passed' <<<"$counts" | cut -d' ' -f1)
  f=$(grep -oE '[0-9]+ (failed|errors?)' <<<"$counts" | awk '{n+=$1} END{print n+0}')
  echo "== $name: $((SECONDS - begun)) s"
  which=$(grep -oE '^FAILED [^ ]+' "$log" | cut -d' ' -f2 | paste -sd' ')
  rm -f "$log"
  passed=$((passed + ${p:-0}))
  failed=$((failed + ${f:-0}))
  if [ "$status" != 0 ]; then
    broken="$broken $name${which:+: $which};"
    [ "${f:-0}" != 0 ] || failed=$((failed + 1))
  fi
}

part lint tools/lint.sh
part "unit, simulator, fuzz replay" tools/meson_test.sh build unit sim fuzz
part "100,000 failovers" build/mcp-sim --controller failover --failovers 100000
part "mutations under sanitizers" tools/mutate.sh
[ -x example/test.sh ] && part "example modules" example/test.sh
part integration tools/integ.sh
part "a machine of its own" tools/vm.sh
[ -z "$broken" ] || echo "failing:$broken"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ -z "$broken" ]
