#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every test of the example; the last line counts. SAN=1 runs the C modules under ASan and UBSan.
set -u
cd "$(dirname "$0")" || exit 1

if [ -n "${SAN:-}" ]; then
    make -s -C modules SAN=1 OUT=../.cache/bin-asan || exit 1
else
    make -s -C modules || exit 1
fi

passed=0
failed=0
for test in modules/*/test.py imagekit/test.py; do
    output=$("$test" 2>&1)
    printf '%s\n' "$output" | sed '$d'
    counts=$(printf '%s\n' "$output" | sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
    if [ -z "$counts" ]; then
        printf '%s\nFAILED %s ended early\n' "$output" "$test"
        counts="0 1"
    fi
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
