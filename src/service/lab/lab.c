/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/priv.h"

#include "base/file/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define STATE_MAX (1024u * 1024)
#define NAMES_MAX 1024

static struct lab *new_lab(const char *platform)
{
    const char *cgroups = "/sys/fs/cgroup";
    struct err ignored;
    struct lab *l = xcalloc(1, sizeof *l);
    if (cgroup_root(&cgroups, &ignored) < 0)
        cgroups = "/sys/fs/cgroup"; /* nothing of ours can be there; up says so */
    l->platform = xstrdup(platform);
    l->dir = xasprintf("%s/%s", LAB_DIR, platform);
    l->run_dir = xasprintf("%s/%s", LAB_RUN_DIR, platform);
    l->cgroup = xasprintf("%s/mcp-lab/%s", cgroups, platform);
    l->lock = -1;
    return l;
}

void lab_free(struct lab *l)
{
    if (!l)
        return;
    if (l->lock >= 0)
        close(l->lock);
    json_decref(l->state);
    free(l->platform);
    free(l->dir);
    free(l->run_dir);
    free(l->cgroup);
    free(l);
}

static bool has_trace(const struct lab *l)
{
    return file_exists(l->run_dir) || file_exists(l->dir) || file_exists(l->cgroup);
}

static int not_found(const char *platform, struct err *e)
{
    _cleanup_names_ char **names = lab_names();
    err_set(e, ERR_NOT_FOUND, "no lab of platform %s on this machine", platform);
    if (names[0])
        err_fix(e, "`mcp lab list` shows those there are, `mcp up -f FILE` starts one");
    else
        err_fix(e, "`mcp up -f FILE` starts one");
    return ERR_NOT_FOUND;
}

/* The lock file is removed with the lab, so the one that was locked may not be the one at the path
 * any more. */
static int take_lock(struct lab *l, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/lock", l->run_dir);
    for (;;) {
        int r = file_mkdirs(l->run_dir, 0700, e);
        if (r < 0)
            return r;
        _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 && errno == ENOENT)
            continue; /* removed since */
        if (fd < 0)
            return err_errno(e, errno, "open %s", path);
        while (flock(fd, LOCK_EX) < 0)
            if (errno != EINTR)
                return err_errno(e, errno, "lock %s", path);
        struct stat ours, there;
        if (fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino) {
            l->lock = util_steal_fd(&fd);
            return 0;
        }
    }
}

static json_t *no_state(const struct lab *l)
{
    return json_pack("{s:i,s:s,s:[]}", "format", 1, "platform", l->platform, "hosts");
}

static int load_state(struct lab *l, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/lab.json", l->run_dir);
    int r = json_read_file(path, STATE_MAX, &l->state, e);
    if (r >= 0 && json_is_object(l->state))
        return 0;
    json_decref(l->state);
    l->state = NULL;
    return r < 0 ? r : err_set(e, ERR_INVALID, "%s is no lab", path);
}

int lab_open(const char *platform, bool create, struct lab **ret, struct err *e)
{
    _cleanup_lab_ struct lab *l = new_lab(platform);
    if (!create && !has_trace(l))
        return not_found(platform, e);
    struct err why;
    int r = take_lock(l, e);
    if (r < 0)
        return r;
    r = load_state(l, &why);
    if (r == ERR_NOT_FOUND
        || r == ERR_INVALID) /* damaged: `up` and `down` find the rest by cgroups */
        l->state = no_state(l);
    else if (r < 0)
        return *e = why, r;
    *ret = util_steal_ptr(&l);
    return 0;
}

int lab_read(const char *platform, struct lab **ret, struct err *e)
{
    _cleanup_lab_ struct lab *l = new_lab(platform);
    _cleanup_free_ char *path = xasprintf("%s/lab.json", l->run_dir);
    if (!file_exists(path))
        return not_found(platform, e);
    int r = load_state(l, e);
    if (r < 0)
        return r;
    *ret = util_steal_ptr(&l);
    return 0;
}

int lab_save(struct lab *l, struct err *e)
{
    ASSERT(l->lock >= 0);
    _cleanup_free_ char *path = xasprintf("%s/lab.json", l->run_dir);
    _cleanup_free_ char *text = json_text_pretty(l->state);
    return file_write(path, text, strlen(text), 0600, e);
}

static void add_names(const char *folder, char **names, size_t *n)
{
    DIR *dir = opendir(folder);
    for (struct dirent *d; dir && *n < NAMES_MAX && (d = readdir(dir));) {
        bool known = d->d_name[0] == '.';
        for (size_t i = 0; i < *n && !known; i++)
            known = !strcmp(names[i], d->d_name);
        if (!known)
            names[(*n)++] = xstrdup(d->d_name);
    }
    if (dir)
        closedir(dir);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **lab_names(void)
{
    char **names = xcalloc(NAMES_MAX + 1, sizeof *names);
    size_t n = 0;
    add_names(LAB_RUN_DIR, names, &n);
    add_names(LAB_DIR, names, &n);
    qsort(names, n, sizeof *names, compare_names);
    return names;
}

void lab_names_free(char **names)
{
    for (size_t i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
}

json_t *lab_machines(const struct lab *l)
{
    static const char *const others[] = {"wan", "client"};
    json_t *all = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        if (json_object_get(l->state, others[i]))
            json_array_append(all, json_object_get(l->state, others[i]));
    json_array_extend(all, json_object_get(l->state, "hosts"));
    return all;
}

json_t *lab_host(const struct lab *l, const char *name)
{
    _cleanup_json_ json_t *all = lab_machines(l);
    size_t i;
    json_t *host;
    json_array_foreach (all, i, host)
        if (!strcmp(json_opt_str(host, "name", ""), name))
            return host; /* lab.json holds it */
    return NULL;
}

struct process lab_host_process(const json_t *host)
{
    return (struct process){
        (pid_t)json_opt_int(host, "pid", 0), (uint64_t)json_opt_int(host, "start_time", 0)};
}

bool lab_host_alive(const json_t *host)
{
    struct process p = lab_host_process(host);
    return process_alive(&p);
}

bool lab_host_is(const json_t *host, const char *kind)
{
    return !strcmp(json_opt_str(host, "kind", ""), kind);
}

static int unknown_host(const struct lab *l, const char *name, struct err *e)
{
    _cleanup_json_ json_t *all = lab_machines(l);
    const char *names[1024];
    size_t n = 0, i;
    json_t *host;
    json_array_foreach (all, i, host) {
        if (lab_host_is(host, "wan") || n + 2 > ARRAY_SIZE(names))
            continue;
        names[n++] = json_opt_str(host, "name", "");
        names[n++] = json_opt_str(host, "region", "");
    }
    err_set(e, ERR_NOT_FOUND, "lab %s has no host or region %s", l->platform, name);
    const char *near = str_nearest(name, names, n);
    if (near)
        err_fix(e, "did you mean %s?", near);
    else
        err_fix(e, "`mcp lab list` shows them");
    return ERR_NOT_FOUND;
}

int lab_select(const struct lab *l, const char *name, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *found = json_array(), *all = lab_machines(l);
    size_t i;
    json_t *host;
    json_array_foreach (all, i, host)
        if (!lab_host_is(host, "wan")
            && (!strcmp(json_opt_str(host, "name", ""), name)
                || !strcmp(json_opt_str(host, "region", ""), name)))
            json_array_append(found, host);
    if (!json_array_size(found))
        return unknown_host(l, name, e);
    *ret = util_steal_ptr(&found);
    return 0;
}

char *lab_host_path(const json_t *host, const char *path)
{
    return xasprintf("/proc/%d/root%s", (int)json_opt_int(host, "pid", 0), path);
}
