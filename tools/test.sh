#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that `make test` promises; ends with one line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0 broken=""

# part NAME COMMAND...: runs it, shows its output, adds the figures of its last counting line.
part() {
  local name=$1 log p f status
  shift
  log=$(mktemp)
  echo "== $name"
  local begun=$SECONDS
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  p=$(grep -oE '[0-9]+ passed' "$log" | tail -1 | cut -d' ' -f1)
  f=$(grep -oE '[0-9]+ (failed|errors?)' "$log" | tail -2 | awk '{n+=$1} END{print n+0}')
  echo "== $name: $((SECONDS - begun)) s"
  rm -f "$log"
  passed=$((passed + ${p:-0}))
  failed=$((failed + ${f:-0}))
  if [ "$status" != 0 ]; then
    broken="$broken $name"
    [ "${f:-0}" != 0 ] || failed=$((failed + 1))
  fi
}

part lint tools/lint.sh
part "unit, simulator, fuzz replay" tools/meson_test.sh build unit sim fuzz
part "mutations under sanitizers" tools/mutate.sh
[ -x example/test.sh ] && part "example modules" example/test.sh
part integration tools/integ.sh
part "a machine of its own" tools/vm.sh
[ -z "$broken" ] || echo "failing parts:$broken"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ -z "$broken" ]
