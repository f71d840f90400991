/* SPDX-License-Identifier: Apache-2.0 */
/* Which folders exist at all for a process. Numbers are the kernel's (Documentation/userspace-api/
 * landlock.rst): Debian 12's headers know fewer than its later kernels. */
#include "base/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

#define VERSION_FLAG 1u
#define RULE_PATH_BENEATH 1

#define FS_EXECUTE (1u << 0)
#define FS_WRITE_FILE (1u << 1)
#define FS_READ_FILE (1u << 2)
#define FS_READ_DIR (1u << 3)
#define FS_ALL_V1 ((1u << 13) - 1)
#define FS_REFER (1u << 13)    /* version 2 */
#define FS_TRUNCATE (1u << 14) /* version 3 */
#define FS_READ (FS_READ_FILE | FS_READ_DIR)
/* All that a rule may give on something that is no folder. */
#define FS_OF_FILES (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE)

struct ruleset_attr {
    uint64_t handled_access_fs;
};

struct path_beneath_attr {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));

/* A path that is not there needs no permission. */
static int add_path(int ruleset, const char *path, uint64_t access, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return errno == ENOENT || errno == EACCES ? 0 : err_errno(e, errno, "open %s", path);
    if (fstat(fd, &st) < 0)
        return err_errno(e, errno, "stat %s", path);
    struct path_beneath_attr rule = {
        .allowed_access = S_ISDIR(st.st_mode) ? access : access & FS_OF_FILES, .parent_fd = fd};
    if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0)
        return err_errno(e, errno, "landlock rule for %s", path);
    return 0;
}

static int add_paths(
    int ruleset, const char *const *paths, size_t n, uint64_t access, struct err *e)
{
    int r = 0;
    for (size_t i = 0; i < n && r >= 0; i++)
        r = paths[i] ? add_path(ruleset, paths[i], access, e) : 0;
    return r;
}

int sandbox_confine(const char *const *readable, size_t n_readable, const char *const *writable,
    size_t n_writable, struct err *e)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, VERSION_FLAG);
    if (version < 1)
        return 0; /* a kernel without it: users and permissions remain */
    struct ruleset_attr attr = {.handled_access_fs = FS_ALL_V1 | (version >= 2 ? FS_REFER : 0)
                                                     | (version >= 3 ? FS_TRUNCATE : 0)};
    _cleanup_close_ int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0)
        return err_errno(e, errno, "landlock");
    int r = add_paths(ruleset, readable, n_readable, FS_READ, e);
    if (r >= 0)
        r = add_paths(
            ruleset, writable, n_writable, attr.handled_access_fs & ~(uint64_t)FS_EXECUTE, e);
    if (r < 0)
        return r;
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return err_errno(e, errno, "landlock");
    return 1;
}
