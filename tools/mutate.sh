#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Mutated inputs under AddressSanitizer and UBSan: DNS and HTTP messages a million, platform files a thousand, the
# other codecs 100,000. Prints "N passed, N failed". MUTATIONS_SEED picks other mutations.
set -uo pipefail
cd "$(dirname "$0")/.."
build=build-address
seed=${MUTATIONS_SEED:-1}
[ -f "$build/build.ninja" ] || meson setup "$build" -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized >/dev/null || exit 1
targets=$(cd test/fuzz && ls *.c | grep -v replay_main | sed 's/\.c$//')
ninja -C "$build" $(printf 'test/fuzz-%s ' $targets) >/dev/null || exit 1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
passed=0 failed=0
for t in $targets; do
  case $t in
    dns_message|http_request|http_response) n=1000000 ;;
    platform) n=1000 ;;
    *) n=100000 ;;
  esac
  if timeout 600 "$build/test/fuzz-$t" "test/fuzz/corpus/$t" "$n" "$seed" >"/tmp/mutate.$$" 2>&1; then
    passed=$((passed + 1)); echo "$t: $n mutations, no crash"
  else
    failed=$((failed + 1)); echo "$t: FAILED, seed $seed"; tail -40 "/tmp/mutate.$$"
  fi
done
rm -f "/tmp/mutate.$$"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
