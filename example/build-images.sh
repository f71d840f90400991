#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build-images.sh [--compress zstd|gzip|none] [--refresh] [OUT_DIR] [MODULE...]
# build-images.sh --test-images OUT_DIR
# One OCI image layout a module under OUT_DIR (example/images), from Debian and npm packages only.
# Debian's own python: the first one in PATH may be another.
set -eu
exec /usr/bin/python3 -B "$(dirname "$0")/imagekit" "$@"
