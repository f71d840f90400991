#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Integration tests: the real binary, real etcd, runc and containers, in namespaces of their own.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ -x example/build-images.sh ]; then
  example/build-images.sh || exit 1
  example/build-images.sh --test-images example/images || exit 1
fi
# All of them: two files at once, each in labs of its own. They wait more than they work.
[ $# -gt 0 ] || set -- -n "${MCP_WORKERS:-2}" --dist loadfile test/integ
export MCP_BINARY=$PWD/build/mcp PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-/usr/bin/python3}" -m pytest -q -p no:cacheprovider --durations=8 "$@"
