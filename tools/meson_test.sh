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
[ $status = 0 ] || cat "$log"
echo "${passed:-0} passed, ${failed:-0} failed"
exit $status
