#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# meson_test.sh BUILD SUITE...: runs the suites and ends with "N passed, N failed".
set -uo pipefail
build=$1; shift
suites=(); for s in "$@"; do suites+=(--suite "$s"); done
log=$build/meson-logs/$(IFS=-; echo "$*").txt
mkdir -p "$build/meson-logs"
meson test -C "$build" --no-rebuild --print-errorlogs "${suites[@]}" >"$log" 2>&1
status=$?
passed=$(awk '/^Ok:/{print $2}' "$log"); failed=$(awk '/^(Fail|Timeout|Unexpected Pass):/{n+=$NF} END{print n+0}' "$log")
# Those that failed come once more at the end: what is in front may be long.
[ $status = 0 ] || {
  cat "$log"
  sed -nE 's/.* \/ ([^ ]+) +(FAIL|TIMEOUT|ERROR|INTERRUPT) .*/FAILED \1/p' "$log" | sort -u
}
echo "${passed:-0} passed, ${failed:-0} failed"
exit $status
