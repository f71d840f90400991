/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/disk.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/spawn/spawn.h"
#include "base/str/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define ATTACH_TRIES 64 /* others take free loop devices at the same time */
#define POLL_MS 5

static int make_sparse(const char *path, uint64_t size_bytes, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, errno, "create %s", path);
    return ftruncate(fd, (off_t)size_bytes) < 0 ? err_errno(e, errno, "size of %s", path) : 0;
}

int disk_make(const char *image, uint64_t size_bytes, struct err *e)
{
    if (file_exists(image))
        return 0;
    _cleanup_free_ char *temp = xasprintf("%s.new", image);
    int r = make_sparse(temp, size_bytes, e);
    if (r < 0)
        return r;
    /* A fresh sparse file reads as zeros, so nothing needs to be zeroed, now or later. */
    const char *const argv[] = {"mkfs.ext4", "-q", "-F", "-m", "0", "-E",
        "lazy_itable_init=1,lazy_journal_init=1,nodiscard", temp, NULL};
    r = spawn_check(argv, NULL, NULL, e);
    if (r >= 0 && rename(temp, image) < 0)
        r = err_errno(e, errno, "rename to %s", image);
    if (r < 0) {
        unlink(temp);
        err_fix(e, "apt-get install e2fsprogs, and see that %s has room", image);
    }
    return r;
}

/* Opens the loop device and binds the image. Returns the open device; it frees itself when nothing
 * uses it. */
static int attach_to(
    int index, int image_fd, const char *image, char ret_device[DISK_DEVICE_SIZE], struct err *e)
{
    snprintf(ret_device, DISK_DEVICE_SIZE, "/dev/loop%d", index);
    _cleanup_close_ int dev = open(ret_device, O_RDWR | O_CLOEXEC);
    if (dev < 0) { /* ENOENT: another lab's `down` just removed it */
        int gone = errno == ENOENT || errno == ENXIO;
        err_errno(e, errno, "open %s", ret_device);
        return gone ? ERR_CONFLICT : ERR_SYSTEM;
    }
    struct loop_config c = {.fd = (uint32_t)image_fd, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
    str_copy((char *)c.info.lo_file_name, sizeof c.info.lo_file_name, image);
    if (ioctl(dev, LOOP_CONFIGURE, &c) < 0) {
        int r = errno == EBUSY ? ERR_CONFLICT : ERR_SYSTEM;
        err_errno(e, errno, "bind %s to %s", image, ret_device);
        return r;
    }
    return util_steal_fd(&dev);
}

int disk_attach(const char *image, char ret_device[DISK_DEVICE_SIZE], struct err *e)
{
    int r = disk_wait_free(image, 0, e);
    if (r < 0)
        return r;
    _cleanup_close_ int image_fd = open(image, O_RDWR | O_CLOEXEC);
    if (image_fd < 0)
        return err_errno(e, errno, "open %s", image);
    _cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return err_errno(e, errno, "open /dev/loop-control");
    r = ERR_CONFLICT;
    for (int i = 0; i < ATTACH_TRIES && r == ERR_CONFLICT; i++) {
        int index = ioctl(control, LOOP_CTL_GET_FREE);
        if (index < 0)
            return err_errno(e, errno, "find a free loop device");
        r = attach_to(index, image_fd, image, ret_device, e);
    }
    return r;
}

int disk_mount(const char *device, const char *target, struct err *e)
{
    int r = file_mkdirs(target, 0755, e);
    if (r < 0)
        return r;
    /* barrier=0: a lab's power loss ends processes, never the page cache, so flushing to the medium
     * protects nothing here and costs most of an fsync. noinit_itable: see disk_make(). */
    if (mount(device, target, "ext4", MS_NOATIME | MS_NODEV, "barrier=0,noinit_itable") < 0)
        return err_errno(e, errno, "mount %s on %s", device, target);
    return 0;
}

/* Does the loop device /sys/block/<name> hold the file, or with `folder` one below it? */
static bool holds(const char *name, const char *path, bool folder)
{
    _cleanup_free_ char *file = xasprintf("/sys/block/%s/loop/backing_file", name);
    _cleanup_str_ struct str text = STR_INIT;
    struct err ignored;
    if (!str_starts(name, "loop") || file_read(file, 4096, &text, &ignored) < 0)
        return false;
    const char *rest = str_starts(str_cstr(&text), path) ? text.buf + strlen(path) : NULL;
    return rest && *rest == (folder ? '/' : '\n');
}

static bool is_bound(const char *path, bool folder)
{
    DIR *dir = opendir("/sys/block");
    bool found = false;
    for (struct dirent *d; dir && !found && (d = readdir(dir));)
        found = holds(d->d_name, path, folder);
    if (dir)
        closedir(dir);
    return found;
}

static int wait_free(const char *path, bool folder, unsigned timeout_ms, struct err *e)
{
    uint64_t end = clock_boot_ms() + timeout_ms;
    while (is_bound(path, folder)) {
        if (clock_boot_ms() >= end) {
            err_set(e, ERR_CONFLICT, "%s is still mounted", path);
            err_fix(
                e, "`losetup -a` names the device; a process of the dead host may still hold it");
            return ERR_CONFLICT;
        }
        poll(NULL, 0, POLL_MS);
    }
    return 0;
}

int disk_wait_free(const char *image, unsigned timeout_ms, struct err *e)
{
    return wait_free(image, false, timeout_ms, e);
}

int disk_wait_all_free(const char *folder, unsigned timeout_ms, struct err *e)
{
    return wait_free(folder, true, timeout_ms, e);
}

uint64_t disk_loops(const char *folder)
{
    uint64_t loops = 0, number;
    DIR *dir = opendir("/sys/block");
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (holds(d->d_name, folder, true) && str_to_u64(d->d_name + 4, 63, &number))
            loops |= 1ull << number;
    if (dir)
        closedir(dir);
    return loops;
}

void disk_remove_loops(uint64_t loops)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct err ignored;
    uint64_t first = 8;
    if (file_read("/sys/module/loop/parameters/max_loop", 32, &text, &ignored) >= 0 && text.len) {
        text.buf[text.len - 1] = '\0';
        if (!str_to_u64(text.buf, 64, &first))
            return;
    }
    _cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    for (uint64_t i = first; i < 64 && control >= 0; i++)
        if (loops & (1ull << i))
            ioctl(control, LOOP_CTL_REMOVE, (int)i); /* in use again: it stays */
}
