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
#define MOUNTS "/sys/fs/cgroup"

int cgroup_root(const char **ret, struct err *e)
{
    static const char *const places[] = {MOUNTS, MOUNTS "/unified"};
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

/* ---- groups of one name in every hierarchy ---- */

#define TOPS_MAX 64
#define LIST_MAX 1024

/* Every place that may be a hierarchy: the mount of a pure version 2, each controller of version 1. */
static size_t list_tops(char *tops[TOPS_MAX])
{
    size_t n = 0;
    tops[n++] = xstrdup(MOUNTS);
    DIR *dir = opendir(MOUNTS);
    for (struct dirent *d; dir && n < TOPS_MAX && (d = readdir(dir));)
        if (d->d_name[0] != '.' && d->d_type == DT_DIR)
            tops[n++] = xasprintf(MOUNTS "/%s", d->d_name);
    if (dir)
        closedir(dir);
    return n;
}

int cgroup_remove_everywhere(const char *name, unsigned timeout_ms, struct err *e)
{
    char *tops[TOPS_MAX];
    size_t n = list_tops(tops);
    int r = 0;
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *path = xasprintf("%s%s", tops[i], name);
        if (r >= 0 && file_exists(path))
            r = remove_all(path, kill_one, timeout_ms, e);
        free(tops[i]);
    }
    return r;
}

void cgroup_remove_empty(const char *name)
{
    char *tops[TOPS_MAX];
    size_t n = list_tops(tops);
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *path = xasprintf("%s%s", tops[i], name);
        rmdir(path);
        free(tops[i]);
    }
}

static void list_one(
    const char *top, const char *parent, const char *platform, char **names, size_t *n)
{
    _cleanup_free_ char *path = xasprintf("%s%s", top, parent);
    size_t len = strlen(platform);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && *n < LIST_MAX && (d = readdir(dir));)
        if (str_starts(d->d_name, platform) && d->d_name[len] == '.')
            names[(*n)++] = xasprintf("%s/%s", parent, d->d_name);
    if (dir)
        closedir(dir);
}

char **cgroup_list_everywhere(const char *parent, const char *platform)
{
    char *tops[TOPS_MAX], **names = xcalloc(LIST_MAX + 1, sizeof *names);
    size_t n_tops = list_tops(tops), n = 0;
    for (size_t i = 0; i < n_tops; i++) {
        list_one(tops[i], parent, platform, names, &n);
        free(tops[i]);
    }
    return names;
}
