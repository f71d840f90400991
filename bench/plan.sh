#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# plan.sh: time of `mcp plan` for 1,000 modules in 4 regions, every one with an image of its own. Median of RUNS
# whole command lines, output included: what people wait for.
set -euo pipefail
cd "$(dirname "$0")/.."
mcp=$PWD/${BUILD:-build}/mcp modules=${MODULES:-1000} runs=${RUNS:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-/usr/bin/python3}" bench/plan_generate.py "$work" "$modules"
"${PYTHON:-/usr/bin/python3}" - "$mcp" "$work/platform.yaml" "$modules" "$runs" "${JSON:-}" <<'EOF'
import json, os, platform, statistics, subprocess, sys, time
mcp, path, modules, runs, as_json = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
times = []
for _ in range(runs + 1):  # the first fills the page cache
    start = time.perf_counter()
    out = subprocess.run([mcp, "plan", "--json", "-f", path], check=True, stdout=subprocess.PIPE).stdout
    times.append((time.perf_counter() - start) * 1000)
actions = len(json.loads(out)["actions"])
assert actions >= modules * 4, actions
result = {"plan_ms": round(statistics.median(times[1:]), 1), "min_ms": round(min(times[1:]), 1), "modules": modules,
          "regions": 4, "actions": actions, "runs": runs, "bytes": os.path.getsize(path)}
if as_json:
    print(json.dumps(result))
else:
    version = subprocess.run([mcp, "version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    print(f"{version}; {platform.machine()}, {os.cpu_count()} cores")
    print(f"mcp plan, {modules} modules x 4 regions ({result['bytes']} bytes, {actions} actions): "
          f"median {result['plan_ms']} ms, best {result['min_ms']} ms of {runs} (aim < 200 ms)")
EOF
