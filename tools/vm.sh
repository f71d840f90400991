#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make vm: doc/guide/install.md on a machine of its own, QEMU with Debian's kernel and systemd, from the package that
# `make deb` builds. Package and machine are made side by side, and the machine boots while the package is still being
# built. Ends with one line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/mcp-vm.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The second disk: package, module's image, declaration. Not compressed, an emulated processor takes long to unpack.
make_seed() {
  DPKG_DEB_COMPRESSOR_TYPE=none timeout 600 tools/deb.sh && example/build-images.sh "$work/images" api &&
    cp test/vm/platform.yaml build-deb/mcp_*.deb "$work/" || return
  (cd "$work" && tar -cf seed.new platform.yaml images mcp_*.deb && dd if=seed.new of=seed.tar conv=notrunc bs=1M)
}

on_the_machine() {
  local image
  if ! image=$(timeout 600 tools/vm_image.sh | tail -1); then
    echo "vm: no machine to run on"
    echo "0 passed, 1 failed"
    return 1
  fi
  timeout 900 "${PYTHON:-/usr/bin/python3}" -B test/vm/run.py "$image" "$work" "$SECONDS"
}

truncate -s 64M "$work/seed.tar"
{ make_seed >"$work/seed.log" 2>&1; echo "$? $SECONDS"; } | on_the_machine
