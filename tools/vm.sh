#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make vm: doc/guide/install.md on a machine of its own, QEMU with Debian's kernel and systemd, from the package that
# `make deb` builds. Package and machine are made side by side. Ends with one line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/mcp-vm.XXXXXX")
trap 'rm -rf "$work"' EXIT

timeout 300 tools/deb.sh >"$work/deb.log" 2>&1 &
building=$!
image=$(timeout 300 tools/vm_image.sh | tail -1) || { echo "vm: no machine to run on"; echo "0 passed, 1 failed"; exit 1; }
example/build-images.sh "$work/images" api >/dev/null || { echo "0 passed, 1 failed"; exit 1; }
wait "$building" || { cat "$work/deb.log"; echo "vm: no package"; echo "0 passed, 1 failed"; exit 1; }

cp test/vm/platform.yaml build-deb/mcp_*.deb "$work/"
tar -C "$work" -cf "$work/seed.tar" --exclude seed.tar platform.yaml images $(cd "$work" && echo mcp_*.deb)
truncate -s %1M "$work/seed.tar"
echo "vm: package and machine are there after $SECONDS s"
timeout 900 "${PYTHON:-/usr/bin/python3}" -B test/vm/run.py "$image" "$work/seed.tar" "$work"
