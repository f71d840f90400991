#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Optional: the same code on a real MySQL 9. Debian has one in sid only, so it runs in a chroot that is made once and kept in
# /var/cache/mcp-mysql (about 0.8 GB; remove the folder to get rid of it, or to take a newer one). Says why when it cannot
# run, and fails then: it was asked for.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${MCP_MYSQL_CACHE:-/var/cache/mcp-mysql}
cannot() { echo "integ-mysql: not run: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || cannot "it needs root, for a chroot and mount namespaces"
command -v mmdebstrap >/dev/null || cannot "mmdebstrap is not installed (make setup does it)"
[ -x build/test/mysql-peer ] || cannot "build/test/mysql-peer is not built (make does it)"
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

if [ ! -x "$cache/sid/usr/sbin/mysqld" ]; then
  mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
  mirror=${mirror:-http://deb.debian.org/debian}
  echo "integ-mysql: a chroot of Debian sid with mysql-server from $mirror, once (3 minutes)"
  rm -rf "$cache/sid.new"
  # Nothing is started in it. Its Release file may be older than it says it is good for.
  mmdebstrap --quiet --mode=root --variant=minbase --include=mysql-server --dpkgopt=force-unsafe-io \
    --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --essential-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d" && chmod 755 "$1/usr/sbin/policy-rc.d"' \
    sid "$cache/sid.new" "$mirror" >"$cache/log" 2>&1 ||
    cannot "Debian sid with mysql-server cannot be installed: $(grep -E '^(E|W):' "$cache/log" | tail -1)"
  rm -rf "$cache/sid" "$cache/template.tar"
  mv "$cache/sid.new" "$cache/sid"
fi

if [ ! -f "$cache/template.tar" ]; then
  rm -rf "$cache/sid/srv/template"
  install -d -o "$(awk -F: '$1 == "mysql" { print $3 }' "$cache/sid/etc/passwd")" -m 0700 "$cache/sid/srv/template"
  unshare --mount --propagation private sh -ec "mount --rbind /dev '$cache/sid/dev'; mount -t proc proc '$cache/sid/proc'
    exec chroot '$cache/sid' mysqld --no-defaults --initialize-insecure --user=mysql --datadir=/srv/template \
      --innodb-redo-log-capacity=8M --innodb-buffer-pool-size=32M" >"$cache/log" 2>&1 ||
    cannot "MySQL does not initialize: $(tail -1 "$cache/log")"
  tar -C "$cache/sid/srv/template" -cf "$cache/template.tar" .
  rm -rf "$cache/sid/srv/template"
fi

echo "integ-mysql: $(chroot "$cache/sid" mysqld --version)"
build/test/mysql-peer "$cache"
export MCP_BINARY=$PWD/build/mcp MCP_MYSQL_CACHE=$cache PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" -m pytest -q -p no:cacheprovider test/peer
