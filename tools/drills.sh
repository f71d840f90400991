#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The long forms of what `make integ` shows in short: one line a drill, or only those that are named.
set -uo pipefail
cd "$(dirname "$0")/.."
export MCP_DRILLS=1
drills=(
  "fleet: a hundred rollouts under load, forty leaders killed|test/integ/test_fleet.py"
  "mesh: a million requests through two meshes leak nothing|test/integ/test_mesh.py -k leak"
  "pki: certificates renewed six times and rotated under load|test/integ/test_pki.py"
)
failed=0
for drill in "${drills[@]}"; do
  name=${drill%%:*}
  [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
  echo "== ${drill%|*}"
  tools/integ.sh -s ${drill##*|} || failed=1
done
exit $failed
