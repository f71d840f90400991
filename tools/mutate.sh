#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Mutated inputs under AddressSanitizer and UBSan: DNS and HTTP messages a million, platform files a thousand, the
# other codecs 100,000. Prints "N passed, N failed". MUTATIONS_SEED picks other mutations.
set -uo pipefail
cd "$(dirname "$0")/.."
build=build-address
seed=${MUTATIONS_SEED:-1}
# As tools/sanitize.sh has it: -O1 and lines alone for the debugger halve what the compiler does.
[ -f "$build/build.ninja" ] || meson setup "$build" -Db_sanitize=address,undefined -Db_lundef=false \
  -Doptimization=1 -Ddebug=true -Dc_args=-g1 >/dev/null || exit 1
targets=$(cd test/fuzz && ls *.c | grep -v replay_main | sed 's/\.c$//')
ninja -C "$build" $(printf 'test/fuzz-%s ' $targets) >/dev/null || exit 1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 build seed
logs=$(mktemp -d "${TMPDIR:-/tmp}/mcp-mutate.XXXXXX")
trap 'rm -rf "$logs"' EXIT

# One target a processor; each leaves what it says in a file, and another one when it passed.
run() {
  local t=$1 n
  case $t in
    dns_message|http_request|http_response) n=1000000 ;;
    platform) n=1000 ;;
    *) n=100000 ;;
  esac
  if timeout 600 "$build/test/fuzz-$t" "test/fuzz/corpus/$t" "$n" "$seed" >"$logs/$t" 2>&1; then
    touch "$logs/$t.passed"
    echo "$t: $n mutations, no crash"
  else
    echo "$t: FAILED, seed $seed"$'\n'"$(tail -40 "$logs/$t")"
  fi
}
export -f run
export logs
printf '%s\n' $targets | xargs -P "$(nproc)" -I{} bash -c 'run {}'

passed=$(find "$logs" -name '*.passed' | wc -l)
failed=$(($(wc -w <<<"$targets") - passed))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
