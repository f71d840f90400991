#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The example platform, up on this machine: images built if they are not, country data fetched if it is not, hosts
# started if they do not run. A second run converges. Ends with the URL and what to try.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "demo: run as root: a lab makes namespaces and mounts" >&2; exit 1; }
file=${MCP_FILE:-example/platform.yaml}
[ -f geo/country.mmdb ] || tools/fetch_geo.sh
example/build-images.sh
build/mcp up -f "$file"
echo "  example/tour.sh         geography, a region's death and a crash, measured live"
