#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mariadb_template.sh OUT.tar: an empty MariaDB data directory as mariadb-install-db makes it, for tests to begin from:
# making one takes seconds, unpacking one a fraction. Owned by mysql when root makes it. root@localhost has no password.
set -euo pipefail
out=${1:?usage: mariadb_template.sh OUT.tar}
dir=$(mktemp -d /tmp/mcp-mariadb-XXXXXX)
trap 'rm -rf "$dir"' EXIT
user=()
[ "$(id -u)" = 0 ] && { user=(--user=mysql); chown mysql: "$dir"; }
cat >"$dir/my.cnf" <<END
[mariadbd]
datadir=$dir/data
tmpdir=$dir
innodb_log_file_size=4M
innodb_data_file_path=ibdata1:4M:autoextend
innodb_undo_tablespaces=0
innodb_autoextend_increment=1
aria_log_file_size=8M
END
mkdir "$dir/data"
[ "$(id -u)" = 0 ] && chown mysql: "$dir/data"
mariadb-install-db --defaults-file="$dir/my.cnf" "${user[@]}" --auth-root-authentication-method=normal --skip-test-db \
  >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
tar -C "$dir/data" -cf "$out.tmp" .
mv "$out.tmp" "$out"
