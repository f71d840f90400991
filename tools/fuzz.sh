#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh TARGET [SECONDS]: libFuzzer on one target with clang; findings stay in build-fuzz/, new corpus items too.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:?usage: make fuzz T=TARGET; targets: $(cd test/fuzz && ls *.c | sed 's/\.c$//' | grep -v replay_main | tr '\n' ' ')}
[ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dfuzzers=true -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
ninja -C build-fuzz "test/libfuzzer-$target"
mkdir -p "build-fuzz/corpus/$target"
exec "build-fuzz/test/libfuzzer-$target" -max_total_time="${2:-60}" -timeout=5 -artifact_prefix=build-fuzz/ \
  "build-fuzz/corpus/$target" "test/fuzz/corpus/$target"
