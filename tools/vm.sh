#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make vm: doc/guide/install.md on a machine of its own, QEMU with Debian's kernel and systemd, from the package that
# `make deb` builds. Package and machine are made side by side. Ends with one line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
platform=vm
work=$(mktemp -d "${TMPDIR:-/tmp}/mcp-vm.XXXXXX")
trap 'build/mcp down -f "$work/platform.yaml" >/dev/null 2>&1; rm -rf "$work"' EXIT

timeout 300 tools/deb.sh >"$work/deb.log" 2>&1 &
building=$!
image=$(timeout 300 tools/vm_image.sh | tail -1) || { echo "vm: no machine to run on"; echo "0 passed, 1 failed"; exit 1; }
example/build-images.sh "$work/images" api >/dev/null || { echo "0 passed, 1 failed"; exit 1; }
wait "$building" || { cat "$work/deb.log"; echo "vm: no package"; echo "0 passed, 1 failed"; exit 1; }

# The records of the host, as the guide makes them.
cp test/vm/platform.yaml "$work/"
timeout 120 build/mcp up -f "$work/platform.yaml" --json >"$work/up.json" || { echo "vm: no records"; echo "0 passed, 1 failed"; exit 1; }
mkdir "$work/hk1"
build/mcp lab exec --platform "$platform" hk1 -- tar -C /var/lib/mcp -cf - boot.json pki images agent/boot-units.json |
  tar -C "$work/hk1" -xf -
build/mcp down -f "$work/platform.yaml" >/dev/null
"${PYTHON:-/usr/bin/python3}" - "$work/hk1/boot.json" <<'END'
import json, sys
boot = json.load(open(sys.argv[1]))
boot.pop("lab")
boot["geo"] = "/usr/share/mcp/country.mmdb"
json.dump(boot, open(sys.argv[1], "w"))
END
tar -C "$work/hk1" -cf "$work/hk1.tar" .
cp build-deb/mcp_*.deb "$work/mcp.deb"
tar -C "$work" -cf "$work/seed.tar" mcp.deb hk1.tar platform.yaml images
truncate -s %1M "$work/seed.tar"
echo "vm: package, machine and records are there after $SECONDS s"
timeout 420 "${PYTHON:-/usr/bin/python3}" -B test/vm/run.py "$image" "$work/seed.tar" "$work"
