#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make deb: the Debian package, into build-deb/. Built from what git knows of the tree (changes that are not committed
# included) in a copy of it, so that nothing is left behind in the tree itself.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build-deb
src=$out/src
mkdir -p "$src"
# Times are kept: what did not change is not built again.
git ls-files -z --cached --others --exclude-standard | (xargs -0 ls -d 2>/dev/null || true) >"$out/files"
rsync_list() { tar -cf - --files-from="$out/files"; }
find "$src" -mindepth 1 -maxdepth 1 ! -name build ! -name debian -exec rm -rf {} +
rm -rf "$src/debian"
rsync_list | tar -xf - -C "$src"
if [ -f geo/country.mmdb ]; then mkdir -p "$src/geo" && cp -p geo/country.mmdb "$src/geo/"; fi
rm -f "$out"/mcp_* "$out"/mcp-dbgsym_*
# dpkg-buildpackage takes the home away, and with it what ccache knows from the project's own build.
if command -v ccache >/dev/null; then
  CCACHE_DIR=$(ccache -k cache_dir)
  CCACHE_CONFIGPATH=$(ccache -s -v | sed -nE 's/^(Primary config|Config file): *//p')
  export CCACHE_DIR CCACHE_CONFIGPATH
fi
if ! (cd "$src" && DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)" dpkg-buildpackage -b -us -uc -nc) \
  >"$out/log" 2>&1; then
  tail -30 "$out/log" >&2
  echo "deb: the package does not build; the whole log is $out/log (fix: run 'make setup' first)" >&2
  exit 1
fi
ls "$out"/mcp_*.deb
