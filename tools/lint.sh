#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the compiler does not see: layers, sizes, licences, file heads. `lint.sh --deep` adds clang-tidy and gcc -fanalyzer.
set -uo pipefail
cd "$(dirname "$0")/.."
tally=$(mktemp)
trap 'rm -f "$tally"' EXIT
check() { # NAME: reads complaints from standard input; a file counts, since each check is a pipe's subshell
  local out
  out=$(cat)
  if [ -z "$out" ]; then echo pass >>"$tally"; else echo fail >>"$tally"; echo "lint: $1"; echo "$out" | head -20; fi
}
sources=$(git ls-files 'src/*.c' 'src/*.h')

grep -LE 'SPDX-License-Identifier: Apache-2.0' $sources $(git ls-files 'test/*.c' 'test/*.h' 'test/*.py' 'tools/*.sh' 'src/*meson.build') |
  check "files without an SPDX line"
grep -nE '#include "\.\.?/' $sources | check "includes that are not from a layer's root"
# The layer of the file decides what it may include.
awk 'BEGIN {
    below["base"] = " base "; below["proto"] = " base proto "; below["net"] = " base proto net "
    below["domain"] = " base proto domain "; below["driver"] = " base proto driver "
    below["service"] = " base proto net domain driver service "; below["role"] = below["service"] "role "
    below["cmd"] = below["role"] "cmd " }
  match($0, /^[ \t]*#include "[a-z0-9_]+\//) {
    split(FILENAME, at, "/"); inc = $0; sub(/^[ \t]*#include "/, "", inc); sub(/\/.*/, "", inc)
    if (index(below[at[2]], " " inc " ") == 0) print FILENAME ":" FNR ": " at[2] " may not include " inc }' $sources |
  check "includes against the layers"
# priv.h serves its own folder.
for f in $sources; do
  grep -nE '#include "[a-z/_0-9]+/priv\.h"' "$f" | grep -v "\"${f#src/}" | while IFS=: read -r n line; do
    dir=$(dirname "${f#src/}")
    case $line in *"\"$dir/priv.h\""*) ;; *) echo "$f:$n: $line" ;; esac
  done
done | check "another folder's priv.h"
awk 'FNR == 1 { name = FILENAME } length($0) > 120 { print FILENAME ":" FNR ": " length($0) " columns" }' $sources |
  check "lines over 120 columns"
wc -l $sources | awk '$2 != "total" && $1 > 1000 { print $2 ": " $1 " lines" }' | check "files over 1,000 lines"
awk 'FNR == 1 { start = 0 } /^\{/ { start = FNR } /^\}/ && start { if (FNR - start > 120) print FILENAME ":" start ": " FNR - start " lines"; start = 0 }' \
  $(git ls-files 'src/*.c') | check "functions over 120 lines"
grep -nE '\b((clock_gettime|gettimeofday|getrandom|rand)\(|time\(NULL\))' $(git ls-files 'src/proto/*.[ch]' 'src/domain/*.[ch]') |
  check "clocks or randomness in proto and domain"
grep -nE '\b(socket|open|fopen|connect|pthread_create)\(' $(git ls-files 'src/proto/*.c' 'src/domain/*.c') |
  check "input and output in proto and domain"
grep -nE '\b(printf|exit|abort)\(|\bfputs\([^)]*(stdout|stderr)|log_(info|warn|error)\(' \
  $(git ls-files 'src/base/*.c' 'src/proto/*.c' 'src/net/*.c' 'src/domain/*.c' 'src/driver/*.c' 'src/service/*.c' | grep -v 'src/base/util/util.c') |
  check "printing, exits or loud logs below the roles"
# A method of the command line without an action name would be nobody's right.
sed -n '/^} methods\[\] = {/,/^};/s/^ *{"\([a-z.]*\)".*/\1/p' src/role/control/methods.c | while read -r m; do
  grep -q "\"$m\"" src/domain/operator/operator.c || echo "$m: give it a row in src/domain/operator/operator.c"
done | check "methods without an action"
grep -nE 'time\.sleep\(|\busleep\(|\bsleep\([0-9]' $(git ls-files 'test/*.c' 'test/integ/*.py') | check "sleeps in tests"
"${PYTHON:-/usr/bin/python3}" tools/lint_docs.py 2>&1 | check "documents that name what is not there"
if [ "${1:-}" = --deep ]; then
  run-clang-tidy-14 -quiet -p build "$PWD/src/.*" 2>/dev/null | grep -E 'warning:|error:' | sort -u | check clang-tidy
fi
failed=$(grep -c fail "$tally")
echo "$(grep -c pass "$tally") passed, $failed failed"
[ "$failed" = 0 ]
