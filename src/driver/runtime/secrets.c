/* SPDX-License-Identifier: Apache-2.0 */
/* A unit's secrets as files: a small file system in memory of its own, outside of the unit's run
 * folder, so that cleaning up after a process leaves it. */
#include "driver/runtime/runtime.h"

#include "base/file/file.h"
#include "base/secret/secret.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static bool is_mounted(const char *dir)
{
    struct stat own, above;
    _cleanup_free_ char *parent = xasprintf("%s/..", dir);
    return stat(dir, &own) == 0 && stat(parent, &above) == 0 && own.st_dev != above.st_dev;
}

/* ramfs is never swapped out; nobody but the agent writes to it, so it needs no limit. */
int runtime_secrets_open(const char *dir, struct err *e)
{
    int r = file_mkdirs(dir, 0711, e);
    if (r < 0 || is_mounted(dir))
        return r;
    if (mount("ramfs", dir, "ramfs", FLAGS, "mode=0550") < 0
        && mount("tmpfs", dir, "tmpfs", FLAGS, "mode=0550,size=8m") < 0)
        return err_errno(e, errno, "mount memory at %s", dir);
    return 0;
}

static bool same_content(const char *path, unsigned mode, const void *data, size_t len)
{
    struct stat st;
    _cleanup_secret_str_ struct str text = STR_INIT;
    str_reserve(&text, len + 16384); /* so that it does not move and leave a copy */
    return stat(path, &st) == 0 && (st.st_mode & 0777) == mode && (size_t)st.st_size == len
           && file_read(path, len, &text, NULL) >= 0 && text.len == len
           && !memcmp(text.buf, data, len);
}

static int write_new(const char *temp, unsigned mode, const struct stat *owner, const void *data,
    size_t len, struct err *e)
{
    _cleanup_close_ int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    if (fd < 0)
        return err_errno(e, errno, "create %s", temp);
    int r = file_write_fd(fd, data, len, e);
    if (r >= 0 && (fchown(fd, owner->st_uid, owner->st_gid) < 0 || fchmod(fd, mode) < 0))
        r = err_errno(e, errno, "%s", temp);
    return r;
}

int runtime_secrets_put(const char *dir, const char *file, unsigned mode, const void *data,
    size_t len, bool *ret_changed, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, file);
    _cleanup_free_ char *temp = xasprintf("%s/..%s.new", dir, file);
    struct stat owner;
    *ret_changed = !same_content(path, mode, data, len);
    if (!*ret_changed)
        return 0;
    if (stat(dir, &owner) < 0)
        return err_errno(e, errno, "stat %s", dir);
    unlink(temp);
    int r = write_new(temp, mode, &owner, data, len, e);
    if (r >= 0 && rename(temp, path) < 0)
        r = err_errno(e, errno, "rename to %s", path);
    if (r < 0)
        unlink(temp);
    return r;
}

bool runtime_secrets_has(const char *dir, const char *file)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, file);
    return is_mounted(dir) && file_exists(path);
}

void runtime_secrets_keep(const char *dir, const char *const *files, size_t n)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));) {
        bool kept = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
        for (size_t i = 0; i < n && !kept; i++)
            kept = !strcmp(entry->d_name, files[i]);
        if (!kept)
            unlinkat(dirfd(d), entry->d_name, 0);
    }
    closedir(d);
}

int runtime_secrets_own(const char *dir, uint32_t uid, uint32_t gid, struct err *e)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_errno(e, errno, "read %s", dir);
    int r = 0;
    for (struct dirent *entry; r >= 0 && (entry = readdir(d));)
        if (strcmp(entry->d_name, "..") != 0
            && fchownat(dirfd(d), entry->d_name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
            r = err_errno(e, errno, "chown %s/%s", dir, entry->d_name);
    closedir(d);
    return r;
}

void runtime_secrets_close(const char *dir)
{
    while (is_mounted(dir) && umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        ;
    rmdir(dir);
}
