/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file/file.h"

#include "base/rnd/rnd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

int file_read_fd(int fd, const char *path, size_t max_bytes, struct str *out, struct err *e)
{
    size_t start = out->len;
    for (;;) {
        str_reserve(out, 8192);
        ssize_t n = read(fd, out->buf + out->len, out->cap - out->len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, errno, "read %s", path);
        if (n == 0)
            break;
        out->len += (size_t)n;
        out->buf[out->len] = '\0';
        if (out->len - start > max_bytes)
            return err_set(e, ERR_LIMIT, "%s is larger than %zu bytes", path, max_bytes);
    }
    return 0;
}

int file_read(const char *path, size_t max_bytes, struct str *out, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    return file_read_fd(fd, path, max_bytes, out, e);
}

int file_write_fd(int fd, const void *data, size_t len, struct err *e)
{
    const char *p = data;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, errno, "write");
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int file_fsync_dir(const char *path, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    if (fsync(fd) < 0)
        return err_errno(e, errno, "fsync %s", path);
    return 0;
}

static int fsync_parent(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return file_fsync_dir(".", e);
    _cleanup_free_ char *dir = xasprintf("%.*s", (int)MAX(slash - path, 1), path);
    return file_fsync_dir(dir, e);
}

static int write_temp(
    const char *temp, const void *data, size_t len, mode_t mode, bool durable, struct err *e)
{
    _cleanup_close_ int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_errno(e, errno, "create %s", temp);
    if (fchmod(fd, mode) < 0)
        return err_errno(e, errno, "chmod %s", temp);
    int r = file_write_fd(fd, data, len, e);
    if (r < 0)
        return err_wrap(e, "%s", temp);
    if (durable && fsync(fd) < 0)
        return err_errno(e, errno, "fsync %s", temp);
    return 0;
}

static int replace(
    const char *path, const void *data, size_t len, mode_t mode, bool durable, struct err *e)
{
    uint64_t tag;
    rnd_bytes(&tag, sizeof tag);
    _cleanup_free_ char *temp = xasprintf("%s.%016llx.tmp", path, (unsigned long long)tag);
    int r = write_temp(temp, data, len, mode, durable, e);
    if (r < 0) {
        unlink(temp);
        return r;
    }
    if (rename(temp, path) < 0) {
        r = err_errno(e, errno, "rename to %s", path);
        unlink(temp);
        return r;
    }
    return durable ? fsync_parent(path, e) : 0;
}

int file_write_durable(const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
    return replace(path, data, len, mode, true, e);
}

int file_write(const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
    return replace(path, data, len, mode, false, e);
}

int file_mkdirs(const char *path, mode_t mode, struct err *e)
{
    struct stat st;
    if (!*path)
        return err_set(e, ERR_INVALID, "a folder needs a name");
    _cleanup_free_ char *copy = xstrdup(path);
    for (char *p = copy + 1;; p++) {
        if (*p && *p != '/')
            continue;
        char kept = *p;
        *p = '\0';
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return err_errno(e, errno, "mkdir %s", copy);
        *p = kept;
        if (!kept)
            break;
    }
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) /* EEXIST says nothing of what exists */
        return err_errno(e, ENOTDIR, "mkdir %s", path);
    return 0;
}

static int remove_entries(int dirfd, dev_t dev, const char *path, struct err *e);

static int remove_one(int dirfd, const char *name, dev_t dev, const char *path, struct err *e)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_errno(e, errno, "stat %s/%s", path, name);
    if (!S_ISDIR(st.st_mode)) {
        if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
            return err_errno(e, errno, "remove %s/%s", path, name);
        return 0;
    }
    if (st.st_dev != dev)
        return err_set(
            e, ERR_REFUSED, "%s/%s is another file system; unmount it first", path, name);
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s/%s", path, name);
    _cleanup_free_ char *sub = xasprintf("%s/%s", path, name);
    int r = remove_entries(fd, dev, sub, e); /* closes fd */
    if (r < 0)
        return r;
    if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return err_errno(e, errno, "remove %s", sub);
    return 0;
}

static int remove_entries(int dirfd, dev_t dev, const char *path, struct err *e)
{
    DIR *dir = fdopendir(dirfd);
    if (!dir) {
        int r = err_errno(e, errno, "read %s", path);
        close(dirfd);
        return r;
    }
    int r = 0;
    for (struct dirent *d; r >= 0 && (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            r = remove_one(dirfd, d->d_name, dev, path, e);
    closedir(dir);
    return r;
}

int file_remove_tree(const char *path, struct err *e)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_errno(e, errno, "stat %s", path);
    if (!S_ISDIR(st.st_mode))
        return unlink(path) < 0 ? err_errno(e, errno, "remove %s", path) : 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    int r = remove_entries(fd, st.st_dev, path, e);
    if (r < 0)
        return r;
    return rmdir(path) < 0 && errno != ENOENT ? err_errno(e, errno, "remove %s", path) : 0;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
