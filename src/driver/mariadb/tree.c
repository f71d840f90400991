/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/mariadb/priv.h"

#include "base/str/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 4

static int copy_bytes(int in, int out, const char *name, struct err *e)
{
    if (ioctl(out, FICLONE, in) == 0)
        return 0;
    char buf[128 * 1024]; /* copy_file_range does not cross some file systems; the data is small */
    for (ssize_t n; (n = read(in, buf, sizeof buf)) != 0;) {
        if (n < 0)
            return err_errno(e, errno, "read %s", name);
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(out, buf + done, (size_t)(n - done));
            if (w < 0)
                return err_errno(e, errno, "write %s", name);
            done += w;
        }
    }
    return 0;
}

static int copy_file(int from, int to, const char *name, mode_t mode, struct err *e)
{
    _cleanup_close_ int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0)
        return err_errno(e, errno, "open %s", name);
    _cleanup_close_ int out =
        openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0777);
    return out < 0 ? err_errno(e, errno, "create %s", name) : copy_bytes(in, out, name, e);
}

static int copy_dir(int from, int to, int depth, struct err *e);

static int copy_sub(int from, int to, const char *name, mode_t mode, int depth, struct err *e)
{
    if (depth == DEPTH_MAX)
        return err_set(e, ERR_LIMIT, "%s lies too deep", name);
    if (mkdirat(to, name, mode & 0777) < 0)
        return err_errno(e, errno, "create %s", name);
    _cleanup_close_ int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    _cleanup_close_ int out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0 || out < 0)
        return err_errno(e, errno, "open %s", name);
    return copy_dir(in, out, depth + 1, e);
}

static int copy_entry(int from, int to, const char *name, int depth, struct err *e)
{
    struct stat st;
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_errno(e, errno, "stat %s", name);
    if (S_ISDIR(st.st_mode))
        return copy_sub(from, to, name, st.st_mode, depth, e);
    if (S_ISREG(st.st_mode))
        return copy_file(from, to, name, st.st_mode, e);
    return err_set(e, ERR_INVALID, "%s is neither a folder nor a file", name);
}

static int copy_dir(int from, int to, int depth, struct err *e)
{
    int list = dup(from), r = 0;
    DIR *d = list >= 0 ? fdopendir(list) : NULL;
    if (!d)
        return err_errno(e, errno, "read a folder");
    for (struct dirent *entry; r >= 0 && (entry = readdir(d));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            r = copy_entry(from, to, entry->d_name, depth, e);
    closedir(d);
    return r;
}

int tree_copy(const char *from, const char *to, struct err *e)
{
    if (mkdir(to, 0700) < 0)
        return err_errno(e, errno, "create %s", to);
    _cleanup_close_ int in = open(from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    _cleanup_close_ int out = open(to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0 || out < 0)
        return err_errno(e, errno, "open %s", in < 0 ? from : to);
    int r = copy_dir(in, out, 0, e);
    if (r >= 0 && syncfs(out) < 0)
        r = err_errno(e, errno, "sync %s", to);
    return r < 0 ? err_wrap(e, "copy %s", from) : 0;
}
