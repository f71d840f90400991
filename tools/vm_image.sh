#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vm_image.sh: prints the folder of the test machine's kernel, initramfs and disk (vmlinuz, initrd, root.ext4), made
# once and kept by the content of what makes it. Debian's own: debootstrap and the cloud kernel, nothing of ours but
# the agent that runs the test's commands. About a minute where it is not there yet.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${MCP_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mcp-vm}
mirror=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
mirror=${mirror:-http://deb.debian.org/debian}
packages=systemd,systemd-sysv,usr-is-merged,dbus,kmod,udev,iproute2,runc,crun,ca-certificates,curl,procps
# What our own package depends on is on the disk before: the machine needs no network.
packages=$packages,libssl3,libuv1,libjansson4,libyaml-0-2,libseccomp2,libcurl4,liburcu8,libsqlite3-0,libarchive13
packages=$packages,libnghttp2-14,libmariadb3,libzstd1
kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/{print $2; exit}')
[ -n "$kernel" ] || { echo "vm_image: apt knows no linux-image-cloud-amd64 (fix: apt-get update)" >&2; exit 1; }

key=$({ echo "$packages $kernel"; cat "$0" test/vm/guest/*; } | sha256sum | cut -c1-16)
dir=$cache/$key
mkdir -p "$cache"
exec 9>"$cache/lock"
flock -w 600 9
if [ -f "$dir/root.ext4" ]; then echo "$dir"; exit 0; fi

tmp=$(mktemp -d "$cache/.make.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
root=$tmp/root
step() { echo "vm_image: $* (${SECONDS} s)" >&2; }

step "root file system"
(cd "$tmp" && apt-get download -q "$kernel" >kernel.log 2>&1 && dpkg -x "$kernel"_*.deb kernel) &
fetching=$!
mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" --dpkgopt=force-unsafe-io \
  --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --skip=cleanup/apt --aptopt='Acquire::Languages "none"' \
  --dpkgopt=path-exclude=/usr/share/doc/'*' --dpkgopt=path-exclude=/usr/share/locale/'*' \
  --dpkgopt=path-exclude=/usr/share/man/'*' bookworm "$root" "$mirror" >"$tmp/log" 2>&1 ||
  { tail -5 "$tmp/log" >&2; exit 1; }
wait "$fetching" || { tail -5 "$tmp/kernel.log" >&2; exit 1; }

step "kernel and initramfs"
release=$(basename "$tmp"/kernel/lib/modules/*)
modules=$tmp/kernel/lib/modules/$release
mkdir -p "$tmp/new" "$tmp/initrd/bin" "$tmp/initrd/modules" "$root/lib/modules"
cp "$tmp/kernel/boot/vmlinuz-$release" "$tmp/new/vmlinuz"
cp /bin/busybox "$tmp/initrd/bin/"
cp test/vm/guest/init "$tmp/initrd/init"
chmod 755 "$tmp/initrd/init"
for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
  cp "$(find "$modules" -name "$m.ko")" "$tmp/initrd/modules/"
  echo "$m.ko" >>"$tmp/initrd/modules/order"
done
(cd "$tmp/initrd" && find . | cpio -o -H newc --quiet) | gzip -1 >"$tmp/new/initrd"
rm -rf "$modules/kernel/drivers/gpu" "$modules/kernel/sound" "$modules/build" "$modules/source"
cp -a "$modules" "$root/lib/modules/"
chroot "$root" depmod "$release"

step "disk"
install -m 755 test/vm/guest/vm-agent "$root/usr/local/sbin/"
install -m 644 test/vm/guest/vm-agent.service "$root/etc/systemd/system/"
install -m 644 test/vm/guest/10-lan.net* "$root/etc/systemd/network/"
echo vm >"$root/etc/hostname"
: >"$root/etc/machine-id"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/systemd/system-generators"
chroot "$root" systemctl -q enable vm-agent.service systemd-networkd.service
# An emulated processor is slow: what a machine with one disk, no console and no user never misses is not started, and
# no generator runs again whenever systemd reads its units.
chroot "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
  fstrim.timer systemd-tmpfiles-clean.timer systemd-networkd-wait-online.service e2scrub_reap.service \
  getty@tty1.service serial-getty@ttyS0.service systemd-logind.service systemd-user-sessions.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-network-generator.service \
  systemd-modules-load.service systemd-random-seed.service systemd-sysusers.service systemd-pstore.service \
  systemd-journal-flush.service systemd-tmpfiles-setup-dev.service kmod-static-nodes.service \
  systemd-ask-password-console.path systemd-ask-password-wall.path proc-sys-fs-binfmt_misc.automount \
  dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
  sys-fs-fuse-connections.mount modprobe@{configfs,dm_mod,drm,efi_pstore,fuse,loop}.service
for generator in "$root"/usr/lib/systemd/system-generators/*; do
  ln -s /dev/null "$root/etc/systemd/system-generators/${generator##*/}"
done
# What the packages left out to be quick they need not leave out of ours.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}/*
mke2fs -q -t ext4 -d "$root" "$tmp/new/root.ext4" 2G >/dev/null
rm -rf "${dir:?}"
mv "$tmp/new" "$dir"
# Older ones are of no use any more.
find "$cache" -mindepth 1 -maxdepth 1 -type d ! -name "$key" ! -name '.make.*' -exec rm -rf {} +
step "made"
echo "$dir"
