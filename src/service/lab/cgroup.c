/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/process.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define POLL_MS 5
#define DEPTH_MAX 32

int cgroup_root(const char **ret, struct err *e)
{
    static const char *const places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        struct statfs fs;
        if (statfs(places[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC) {
            *ret = places[i];
            return 0;
        }
    }
    err_set(e, ERR_UNAVAILABLE, "no unified cgroup hierarchy is mounted");
    err_fix(e, "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified");
    return ERR_UNAVAILABLE;
}

int cgroup_make(const char *path, struct err *e)
{
    return file_mkdirs(path, 0755, e);
}

static int write_word(const char *dir, const char *file, const char *word, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, file);
    FILE *f = fopen(path, "we");
    if (!f)
        return errno == ENOENT ? 0 : err_errno(e, errno, "open %s", path);
    bool ok = fputs(word, f) >= 0;
    ok =
        fclose(f) == 0 && ok; /* the write happens here; a group that went away meanwhile is fine */
    return ok || errno == ENODEV ? 0 : err_errno(e, errno, "write %s", path);
}

int cgroup_kill(const char *path, struct err *e)
{
    return write_word(path, "cgroup.kill", "1", e);
}

typedef void (*visit_fn)(const char *path);

/* Children first. */
static void walk(const char *path, visit_fn visit, int depth)
{
    DIR *dir = depth < DEPTH_MAX ? opendir(path) : NULL;
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (d->d_type != DT_DIR || d->d_name[0] == '.')
            continue;
        _cleanup_free_ char *sub = xasprintf("%s/%s", path, d->d_name);
        walk(sub, visit, depth + 1);
    }
    if (dir)
        closedir(dir);
    visit(path);
}

static void remove_one(const char *path)
{
    rmdir(path);
}

static void kill_one(const char *path)
{
    struct err ignored;
    _cleanup_free_ char *file = xasprintf("%s/cgroup.procs", path);
    FILE *f = fopen(file, "re");
    for (long pid; f && fscanf(f, "%ld", &pid) == 1;)
        if (pid > 1)
            kill((pid_t)pid, SIGKILL);
    if (f)
        fclose(f);
    if (write_word(path, "freezer.state", "THAWED", &ignored) < 0)
        return; /* not the freezer's hierarchy, or gone */
}

static int remove_all(
    const char *path, visit_fn before_each_try, unsigned timeout_ms, struct err *e)
{
    uint64_t end = clock_boot_ms() + timeout_ms;
    for (;;) {
        if (before_each_try)
            walk(path, before_each_try, 0);
        walk(path, remove_one, 0);
        if (!file_exists(path))
            return 0;
        if (clock_boot_ms() >= end)
            return err_set(e, ERR_TIMEOUT, "%s still holds processes", path);
        poll(NULL, 0, POLL_MS);
    }
}

int cgroup_remove(const char *path, unsigned timeout_ms, struct err *e)
{
    return remove_all(path, NULL, timeout_ms, e);
}

int cgroup_remove_v1(const char *name, unsigned timeout_ms, struct err *e)
{
    DIR *dir = opendir("/sys/fs/cgroup");
    int r = 0;
    for (struct dirent *d; dir && r >= 0 && (d = readdir(dir));) {
        if (d->d_name[0] == '.')
            continue;
        _cleanup_free_ char *path = xasprintf("/sys/fs/cgroup/%s%s", d->d_name, name);
        if (file_exists(path))
            r = remove_all(path, kill_one, timeout_ms, e);
    }
    if (dir)
        closedir(dir);
    return r;
}

#define LIST_MAX 1024

static void list_one(
    const char *controller, const char *parent, const char *platform, char **names, size_t *n)
{
    _cleanup_free_ char *path = xasprintf("/sys/fs/cgroup/%s%s", controller, parent);
    size_t len = strlen(platform);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && *n < LIST_MAX && (d = readdir(dir));)
        if (str_starts(d->d_name, platform) && d->d_name[len] == '.')
            names[(*n)++] = xasprintf("%s/%s", parent, d->d_name);
    if (dir)
        closedir(dir);
}

char **cgroup_list_v1(const char *parent, const char *platform)
{
    char **names = xcalloc(LIST_MAX + 1, sizeof *names);
    size_t n = 0;
    DIR *dir = opendir("/sys/fs/cgroup");
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (d->d_name[0] != '.')
            list_one(d->d_name, parent, platform, names, &n);
    if (dir)
        closedir(dir);
    return names;
}
