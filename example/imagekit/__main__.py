# SPDX-License-Identifier: Apache-2.0
import argparse
import fcntl
import os
import sys

import build
import images
import oci
import packages

EXAMPLE = os.path.dirname(build.KIT)
# Several checkouts may share downloads and layers.
CACHE = os.path.abspath(os.environ.get("IMAGE_CACHE") or os.path.join(EXAMPLE, ".cache"))


def read_arguments():
    parser = argparse.ArgumentParser(prog="build-images.sh", description=(
        "Builds one OCI image layout a module, from Debian and npm packages only."))
    parser.add_argument("--compress", choices=sorted(oci.COMPRESS), default="zstd")
    parser.add_argument("--refresh", action="store_true", help="drop downloads, take newest ones")
    parser.add_argument("--test-images", action="store_true", help="faulty and busybox instead")
    parser.add_argument("out", nargs="?", metavar="OUT_DIR",
                        default=os.path.join(EXAMPLE, "images"))
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    arguments = parser.parse_args()
    known = images.TESTS if arguments.test_images else images.MODULES
    for name in arguments.modules:
        if name not in known:
            parser.error(f"no module {name}: {', '.join(known)}")
    if arguments.out in known:
        parser.error(f"{arguments.out} is a module: OUT_DIR comes first")
    return arguments, {name: known[name] for name in arguments.modules or known}


def main():
    arguments, wanted = read_arguments()
    os.umask(0o022)
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time, so that two never write one layer
        if arguments.refresh:
            build.forget(CACHE)
        builder = build.Builder(CACHE, arguments.compress)
        builder.fetch(wanted.values())
        for name, image in wanted.items():
            size = builder.image(name, image, arguments.out)
            print(f"{name}: " + ("up to date" if size is None else f"{size / 1e6:.1f} MB built"))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except packages.Missing as missing:
        sys.exit(f"build-images.sh: {missing}")
