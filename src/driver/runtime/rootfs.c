/* SPDX-License-Identifier: Apache-2.0 */
/* The unit's root file system, in a mount namespace of its shim that dies with it:
 *
 *   <run_dir>/mnt        tmpfs, private
 *     skel/              the top layer: mount points, and the files that the platform writes (resolv.conf, hosts)
 *     rootfs/            overlay, read-only: skel over the image's layers, each mapped to the unit's user ids
 *     sys/               sysfs of the unit's network namespace
 *
 * Layers are mapped by the mount (mount_setattr, MOUNT_ATTR_IDMAP), never chowned: all units share them. */
#include "driver/runtime/shim.h"

#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SLOT_UIDS 65536u

static int write_map(pid_t pid, const char *file, uint32_t base, struct err *e)
{
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    int n = snprintf(text, sizeof text, "0 %u %u\n", base, SLOT_UIDS);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, (size_t)n) != n)
        return err_errno(e, errno, "write %s", path);
    return 0;
}

static int open_namespace(pid_t pid, uint32_t base, struct err *e)
{
    char path[64];
    int r = write_map(pid, "uid_map", base, e);
    if (r >= 0)
        r = write_map(pid, "gid_map", base, e);
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : err_errno(e, errno, "open %s", path);
}

/* A user namespace lives as long as a descriptor of it; a child makes it and is gone again. */
static int user_namespace(uint32_t base, struct err *e)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0)
        return err_errno(e, errno, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        char ok = unshare(CLONE_NEWUSER) == 0 ? 1 : 0;
        if (write(ready[1], &ok, 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    char ok = 0;
    int r;
    if (pid < 0)
        r = err_errno(e, errno, "fork");
    else if (read(ready[0], &ok, 1) != 1 || !ok)
        r = err_set(e, ERR_SYSTEM, "cannot make a user namespace");
    else
        r = open_namespace(pid, base, e);
    close(ready[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return r;
}

static int mount_layer(const char *layer, const char *at, int userns, struct err *e)
{
    _cleanup_close_ int fd = open_tree(AT_FDCWD, layer, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open layer %s", layer);
    struct mount_attr attr = {
        .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        .userns_fd = (uint64_t)userns,
    };
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
        return err_errno(e, errno, "map the user ids of layer %s", layer);
    if (mkdir(at, 0711) < 0 || move_mount(fd, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_errno(e, errno, "mount layer %s", layer);
    return 0;
}

static int own_dir(const char *path, mode_t mode, uint32_t uid, struct err *e)
{
    if (mkdir(path, mode) < 0 || chown(path, uid, uid) < 0 || chmod(path, mode) < 0)
        return err_errno(e, errno, "mkdir %s", path);
    return 0;
}

static int own_file(const char *path, const char *text, uint32_t uid, struct err *e)
{
    int r = file_write(path, text, strlen(text), 0644, e);
    if (r >= 0 && chown(path, uid, uid) < 0)
        return err_errno(e, errno, "chown %s", path);
    return r;
}

static int make_skeleton(const struct shim_spec *s, struct err *e)
{
    static const struct {
        const char *path;
        mode_t mode;
    } dirs[] = {{"skel", 0755}, {"skel/etc", 0755}, {"skel/proc", 0555}, {"skel/sys", 0555},
        {"skel/dev", 0755}, {"skel/tmp", 01777}, {"skel/run", 0755}};
    char address[IP_TEXT_SIZE], gateway[IP_TEXT_SIZE], text[512];
    int r = 0;
    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(dirs); i++)
        r = own_dir(dirs[i].path, dirs[i].mode, s->uid_base, e);
    ip_format(&s->address, address);
    ip_format(&s->gateway, gateway);
    snprintf(text, sizeof text,
        "nameserver %s\nsearch mcp.internal\noptions timeout:2 attempts:3\n", gateway);
    if (r >= 0)
        r = own_file("skel/etc/resolv.conf", text, s->uid_base, e);
    snprintf(text, sizeof text, "127.0.0.1\tlocalhost\n::1\tlocalhost\n%s\t%s\n", address, s->unit);
    if (r >= 0)
        r = own_file("skel/etc/hosts", text, s->uid_base, e);
    snprintf(text, sizeof text, "%s\n", s->unit);
    return r < 0 ? r : own_file("skel/etc/hostname", text, s->uid_base, e);
}

/* In <run_dir>/mnt: short relative names keep 127 layers within mount(2)'s one page of options. */
static int mount_overlay(const struct shim_spec *s, int userns, struct err *e)
{
    _cleanup_str_ struct str options = STR_INIT;
    char name[16];
    str_add(&options, "lowerdir=skel");
    for (size_t i = s->n_layers; i-- > 0;) {
        snprintf(name, sizeof name, "%zu", i);
        int r = mount_layer(s->layers[i], name, userns, e);
        if (r < 0)
            return r;
        str_addf(&options, ":%s", name);
    }
    if (mkdir("rootfs", 0755) < 0
        || mount("overlay", "rootfs", "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, options.buf) < 0)
        return err_errno(e, errno, "mount the overlay of %zu layers", s->n_layers);
    /* The overlay holds its own copies. */
    for (size_t i = 0; i < s->n_layers; i++) {
        snprintf(name, sizeof name, "%zu", i);
        umount2(name, MNT_DETACH);
    }
    return 0;
}

int shim_rootfs_make(const struct shim_spec *s, struct err *e)
{
    _cleanup_free_ char *mnt = xasprintf("%s/mnt", s->run_dir);
    /* runc exec goes to the root file system's path first, from outside: an empty folder does. */
    _cleanup_free_ char *outside = xasprintf("%s/rootfs", mnt);
    int r = file_mkdirs(outside, 0711, e);
    if (r < 0)
        return r;
    /* Slave, so that a mount undone on the host is undone here; nothing goes the other way. */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return err_errno(e, errno, "new mount namespace");
    if (mount("tmpfs", mnt, "tmpfs", MS_NOSUID | MS_NODEV, "mode=711,size=1m") < 0
        || chdir(mnt) < 0)
        return err_errno(e, errno, "mount %s", mnt);
    _cleanup_close_ int userns = user_namespace(s->uid_base, e);
    if (userns < 0)
        return userns;
    r = make_skeleton(s, e);
    if (r >= 0)
        r = mount_overlay(s, userns, e);
    if (r < 0)
        return r;
    if (mkdir("sys", 0755) < 0
        || mount("sysfs", "sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return err_errno(e, errno, "mount sysfs");
    return chdir("/") < 0 ? err_errno(e, errno, "chdir /") : 0;
}
