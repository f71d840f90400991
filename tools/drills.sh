#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The long forms of what `make integ` shows in short: one line a drill, or only those that are named. A line is
# NAME: TEXT|a test file and its options, or |!COMMAND. What they report is kept under bench/results/.
set -uo pipefail
cd "$(dirname "$0")/.."
export MCP_DRILLS=1
drills=(
  "fleet: a hundred rollouts under load, forty leaders killed|test/integ/test_fleet.py"
  "mesh: a million requests through two meshes leak nothing|test/integ/test_mesh.py -k leak"
  "data: five switchovers, thirty that something breaks, lag at a thousand orders a second, fifty kills|test/integ/test_switchover.py"
  "drill: every fault of the catalogue, its reports under bench/results/|test/integ/test_drill.py"
  "accept: the whole example, five runs of dark, power, freeze, source-crash, source-freeze, measured|!tools/accept.py"
  "standby: a module that fails alone is taken over, mends, and is given back|test/integ/test_standby.py"
  "lease: a source that is cut off, dies, is frozen, or whose keepers stand still|test/integ/test_lease.py"
  "external: a source that others run, fenced by its own host, from afar, or not at all|test/integ/test_external_failover.py"
  "pki: certificates renewed six times and rotated under load|test/integ/test_pki.py"
)
failed=0
mkdir -p bench/results
for drill in "${drills[@]}"; do
  name=${drill%%:*}
  [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
  echo "== ${drill%|*}"
  read -ra run <<<"${drill##*|}"
  [ "${run[0]#!}" != "${run[0]}" ] && run[0]=${run[0]#!} || run=(tools/integ.sh -s "${run[@]}")
  "${run[@]}" 2>&1 | tee "bench/results/$name.log" || failed=1
done
exit $failed
