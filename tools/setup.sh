#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building, running and testing need on Debian 12, and fetches the country database. Idempotent: a
# second run only checks. Run as root.
set -euo pipefail
cd "$(dirname "$0")/.."

build="gcc clang clang-tidy clang-format ccache meson ninja-build pkg-config libuv1-dev libssl-dev libnghttp2-dev
  node-llhttp liburcu-dev libcurl4-openssl-dev libjansson-dev libyaml-dev libsqlite3-dev
  libarchive-dev libseccomp-dev libmariadb-dev libzstd-dev zlib1g-dev libcmocka-dev libclang-rt-14-dev"
run="runc etcd-server etcd-client mariadb-server mariadb-client mariadb-backup zstd iproute2 nftables e2fsprogs mount util-linux procps ca-certificates curl"
# npm brings the country database and Node for the web module's image; dpkg and apt bring the rest of the images.
images="npm nodejs xz-utils python3"
test="python3-pytest python3-pytest-xdist python3-yaml python3-dnspython bind9-dnsutils skopeo docker-registry umoci busybox-static dnsperf openssl
  groff-base man-db wrk sysbench python3-pymysql nghttp2-client python3-h2"
# The package, and the machine on which it is tried: QEMU, Debian's own kernel is fetched when the machine is made.
package="debhelper dpkg-dev fakeroot qemu-system-x86 mmdebstrap cpio"

# node and npm may stand on the machine from another source than Debian's packages.
command -v node >/dev/null && command -v npm >/dev/null && images=${images/npm nodejs/}

missing=()
for p in $build $run $images $test $package; do
  dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
done
if ((${#missing[@]})); then
  [ "$(id -u)" = 0 ] || { echo "setup: run as root: it installs ${missing[*]}" >&2; exit 1; }
  echo "setup: installing ${#missing[@]} packages"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >/dev/null
  apt-get install -y -q --no-install-recommends "${missing[@]}" >/tmp/mcp-setup.log 2>&1 ||
    { tail -20 /tmp/mcp-setup.log >&2; exit 1; }
fi
if [ -x tools/fetch_geo.sh ]; then tools/fetch_geo.sh; fi
