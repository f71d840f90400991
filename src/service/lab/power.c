/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/priv.h"

#include "base/file/file.h"
#include "service/lab/disk.h"
#include "service/lab/msg.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define START_TIMEOUT_MS 20000u /* mounts of a cold disk on a loaded machine */
#define DEATH_TIMEOUT_MS 10000u
#define CALL_TIMEOUT_MS 5000u
#define UNITS_PARENT "/mcp" /* of every host's containers: enrol_boot() */

int lab_machine_call(
    const struct lab *l, const char *host, const char *op, json_t **ret, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/machine/%s.sock", l->run_dir, host);
    _cleanup_json_ json_t *request = json_pack("{s:s}", "op", op);
    int r = msg_call(path, request, -1, CALL_TIMEOUT_MS, ret, e);
    return r < 0 ? err_wrap(e, "machine %s", host) : 0;
}

/* SIGKILL to everything of the host: its own group, and its containers', which may lie elsewhere. */
static int kill_host(const struct lab *l, const char *name, struct err *e)
{
    const char *root;
    int r = cgroup_root(&root, e);
    if (r < 0)
        return r;
    _cleanup_free_ char *group = xasprintf("%s/%s", l->cgroup, name);
    _cleanup_free_ char *units = xasprintf("%s" UNITS_PARENT "/%s.%s", root, l->platform, name);
    r = cgroup_kill(group, e);
    return r < 0 ? r : cgroup_kill(units, e);
}

/* What the dead left: those groups, and its containers' below each controller. */
static int sweep(const struct lab *l, const char *name, struct err *e)
{
    _cleanup_free_ char *group = xasprintf("%s/%s", l->cgroup, name);
    _cleanup_free_ char *units = xasprintf(UNITS_PARENT "/%s.%s", l->platform, name);
    int r = kill_host(l, name, e);
    if (r >= 0)
        r = cgroup_remove_everywhere(units, DEATH_TIMEOUT_MS, e);
    return r < 0 ? r : cgroup_remove(group, DEATH_TIMEOUT_MS, e);
}

static int wait_disk(const struct lab *l, const char *name, struct err *e)
{
    _cleanup_free_ char *image = xasprintf("%s/%s.img", l->dir, name);
    return disk_wait_free(image, DEATH_TIMEOUT_MS, e);
}

int lab_power_off(struct lab *l, const json_t *hosts, struct err *e)
{
    size_t i;
    json_t *host;
    struct err ignored;
    int r = 0;
    /* All wires first, then all kills, then the waiting: a region dies in one moment, and says no
     * goodbye. */
    json_array_foreach (hosts, i, host)
        links_detach(l, json_opt_str(host, "name", ""));
    json_array_foreach (hosts, i, host) {
        if (kill_host(l, json_opt_str(host, "name", ""), &ignored) < 0)
            continue; /* sweep() tries again and reports */
    }
    json_array_foreach (hosts, i, host) {
        const char *name = json_opt_str(host, "name", "");
        if (r >= 0)
            r = sweep(l, name, e);
        if (r >= 0)
            r = wait_disk(l, name, e);
        if (r >= 0)
            json_object_set_new(host, "pid", json_integer(0));
    }
    return r < 0 ? r : lab_save(l, e);
}

static int start_service(struct lab *l, const json_t *host, struct err *e)
{
    return lab_machine_call(l, json_opt_str(host, "name", ""), "start", NULL, e);
}

/* The socket that the machine's service listens on, -1: none. */
static int service_socket(struct lab *l, const json_t *host, int *ret, struct err *e)
{
    *ret = -1;
    if (lab_host_is(host, "client"))
        return door_listen(l, ret, e);
    if (!lab_host_is(host, "wan"))
        return 0;
    _cleanup_free_ char *path = xasprintf("%s/wan.sock", l->run_dir);
    return msg_listen(path, ret, e);
}

static int spawn_one(struct lab *l, json_t *host, struct spawn *ret, struct err *e)
{
    const char *name = json_opt_str(host, "name", "");
    _cleanup_close_ int listen_fd = -1;
    int r = sweep(l, name, e); /* of a machine that died by itself */
    if (r >= 0)
        r = wait_disk(l, name, e);
    if (r >= 0)
        r = service_socket(l, host, &listen_fd, e);
    if (r >= 0)
        r = spawn_machine(l, host, listen_fd, ret, e);
    return r < 0 ? err_wrap(e, "machine %s", name) : 0;
}

static int await_all(struct spawn *spawns, size_t n, struct err *e)
{
    int r = 0;
    for (size_t i = 0; i < n; i++) {
        struct err why = {0};
        int one = spawn_wait(&spawns[i], START_TIMEOUT_MS, &why);
        if (one < 0)
            json_object_set_new(spawns[i].host, "pid", json_integer(0));
        if (one < 0 && r >= 0) {
            r = one;
            *e = why;
        }
    }
    return r;
}

int lab_power_on(struct lab *l, const json_t *hosts, bool start, struct err *e)
{
    _cleanup_free_ struct spawn *spawns = xcalloc(json_array_size(hosts), sizeof *spawns);
    size_t n = 0, i;
    json_t *host;
    int r = 0;
    json_array_foreach (hosts, i, host)
        if (r >= 0 && !lab_host_alive(host)) {
            r = spawn_one(l, host, &spawns[n], e);
            n += r >= 0;
        }
    struct err late = {0};
    int waited = await_all(spawns, n, &late);
    if (r >= 0 && waited < 0) {
        *e = late;
        r = waited;
    }
    int saved = lab_save(l, r < 0 ? &late : e); /* also after a failure: some may be up */
    if (r < 0 || saved < 0)
        return r < 0 ? r : saved;
    json_array_foreach (hosts, i, host)
        if (r >= 0 && start)
            r = start_service(l, host, e);
    return r;
}

/* ---- fresh disks ---- */

static int renew_disk(const struct lab *l, const char *name, struct err *e)
{
    struct stat st;
    _cleanup_free_ char *image = xasprintf("%s/%s.img", l->dir, name);
    if (stat(image, &st) < 0)
        return err_errno(e, errno, "disk of %s", name);
    if (unlink(image) < 0)
        return err_errno(e, errno, "remove %s", image);
    return disk_make(image, (uint64_t)st.st_size, e);
}

int lab_wipe(struct lab *l, const json_t *hosts, struct err *e)
{
    size_t i;
    json_t *host;
    json_array_foreach (hosts, i, host)
        if (!lab_host_is(host, "host")) {
            err_set(e, ERR_USAGE, "%s has no disk", json_opt_str(host, "name", "?"));
            return ERR_USAGE;
        }
    int r = lab_power_off(l, hosts, e);
    json_array_foreach (hosts, i, host)
        if (r >= 0)
            r = renew_disk(l, json_opt_str(host, "name", ""), e);
    return r < 0 ? r : lab_power_on(l, hosts, false, e);
}

/* ---- everything ---- */

/* Asks the living to end in order: their units stop, their data is whole without recovery. */
static void stop_gently(struct lab *l, const json_t *hosts)
{
    size_t i;
    json_t *host;
    struct err ignored;
    json_array_foreach (hosts, i, host)
        if (lab_host_is(host, "host")
            && lab_machine_call(l, json_opt_str(host, "name", ""), "stop", NULL, &ignored) < 0)
            continue;
    json_array_foreach (hosts, i, host) {
        struct process p = lab_host_process(host);
        _cleanup_close_ int fd = lab_host_is(host, "host") ? process_open(&p) : -1;
        if (fd >= 0)
            process_wait(fd, 2 * DEATH_TIMEOUT_MS);
    }
}

/* Groups that no lab.json tells of: it may be gone while they are not. */
static int sweep_all(const struct lab *l, struct err *e)
{
    int r = cgroup_kill(l->cgroup, e);
    if (r >= 0)
        r = cgroup_remove(l->cgroup, DEATH_TIMEOUT_MS, e);
    if (r < 0)
        return r;
    _cleanup_names_ char **units = cgroup_list_everywhere(UNITS_PARENT, l->platform);
    for (size_t i = 0; units[i] && r >= 0; i++)
        r = cgroup_remove_everywhere(units[i], DEATH_TIMEOUT_MS, e);
    cgroup_remove_empty(UNITS_PARENT);
    return r;
}

static int remove_disks(const struct lab *l, struct err *e)
{
    int r = disk_wait_all_free(l->dir, DEATH_TIMEOUT_MS, e);
    return r < 0 ? r : file_remove_tree(l->dir, e);
}

/* The lock goes last: once it is gone, the next `up` may be at work in the folder. */
static int remove_run_dir(const struct lab *l, struct err *e)
{
    DIR *dir = opendir(l->run_dir);
    if (!dir)
        return errno == ENOENT ? 0 : err_errno(e, errno, "read %s", l->run_dir);
    int r = 0;
    for (struct dirent *d; r >= 0 && (d = readdir(dir));) {
        _cleanup_free_ char *path = xasprintf("%s/%s", l->run_dir, d->d_name);
        if (d->d_name[0] != '.' && strcmp(d->d_name, "lock") != 0)
            r = file_remove_tree(path, e);
    }
    closedir(dir);
    _cleanup_free_ char *lock = xasprintf("%s/lock", l->run_dir);
    if (r >= 0)
        unlink(lock);
    rmdir(l->run_dir);
    return r;
}

int lab_down(struct lab *l, bool keep_state, struct err *e)
{
    _cleanup_json_ json_t *hosts = lab_machines(l);
    uint64_t loops = disk_loops(l->dir);
    if (keep_state)
        stop_gently(l, hosts);
    int r = lab_power_off(l, hosts, e);
    if (r >= 0)
        r = sweep_all(l, e);
    if (r >= 0)
        r = keep_state ? disk_wait_all_free(l->dir, DEATH_TIMEOUT_MS, e) : remove_disks(l, e);
    if (r >= 0)
        r = remove_run_dir(l, e);
    if (r < 0)
        return r;
    _cleanup_free_ char *cgroup_dir =
        xasprintf("%.*s", (int)(strrchr(l->cgroup, '/') - l->cgroup), l->cgroup);
    disk_remove_loops(loops);
    rmdir(cgroup_dir); /* these only when no other lab uses them */
    rmdir(LAB_RUN_DIR);
    rmdir(LAB_DIR);
    return 0;
}
