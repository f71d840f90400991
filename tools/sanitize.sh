#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# sanitize.sh address,undefined|thread: builds with the sanitizer in a folder of its own and runs unit, sim and fuzz replay.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=$1
build=build-${kind%%,*}
[ -f "$build/build.ninja" ] || meson setup "$build" -Db_sanitize="$kind" -Db_lundef=false \
  -Doptimization=1 -Ddebug=true -Dc_args=-g1 >/dev/null
ninja -C "$build" >/dev/null
export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
exec tools/meson_test.sh "$build" unit sim fuzz
