/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/up.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "domain/model/model.h"
#include "service/enrol/records.h"
#include "service/lab/disk.h"
#include "service/lab/priv.h"
#include "service/enrol/provision.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

const char *up_phase_name(enum up_phase phase)
{
    static const char *const names[] = {
        "check", "disks", "machines", "hosts", "state", "apply", "ready"};
    ASSERT(phase < ARRAY_SIZE(names));
    return names[phase];
}

/* Hosts are worked on at once; who shows it hears of one thing at a time. */
static pthread_mutex_t telling = PTHREAD_MUTEX_INITIALIZER;

static void tell(const struct up_params *p, enum up_phase phase, const char *host, const char *text)
{
    if (!p->progress)
        return;
    pthread_mutex_lock(&telling);
    p->progress(p->ctx, phase, host, text);
    pthread_mutex_unlock(&telling);
}

/* ---- check ---- */

static int check_tool(const char *tool, const char *package, struct err *e)
{
    static const char *const dirs[] = {
        "/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", dirs[i], tool);
        if (access(path, X_OK) == 0)
            return 0;
    }
    err_set(e, ERR_NOT_FOUND, "%s is not installed", tool);
    err_fix(e, "apt-get install %s, or `make setup`", package);
    return ERR_NOT_FOUND;
}

static int check_device(const char *path, const char *fix, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return 0;
    err_errno(e, errno, "open %s", path);
    err_fix(e, "%s", fix);
    return ERR_UNAVAILABLE;
}

static int check_file_system(const char *name, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *line = xasprintf("\t%s\n", name);
    int r = file_read("/proc/filesystems", 65536, &text, e);
    if (r < 0 || strstr(str_cstr(&text), line))
        return r;
    err_set(e, ERR_UNAVAILABLE, "this kernel has no %s", name);
    err_fix(e, "modprobe %s", name);
    return ERR_UNAVAILABLE;
}

int up_check(const struct up_params *p, struct err *e)
{
    const char *root;
    char geo[PATH_MAX];
    tell(p, UP_CHECK, NULL, "rights, devices, tools");
    if (geteuid() != 0) {
        err_set(e, ERR_DENIED, "a lab makes namespaces and mounts: only root may");
        err_fix(e, "run it as root");
        return ERR_DENIED;
    }
    int r = cgroup_root(&root, e);
    if (r >= 0)
        r = check_device("/dev/net/tun",
            "mkdir -p /dev/net && mknod /dev/net/tun c 10 200; needs CONFIG_TUN", e);
    if (r >= 0)
        r = check_device("/dev/loop-control", "modprobe loop", e);
    if (r >= 0)
        r = check_file_system("ext4", e);
    if (r >= 0)
        r = check_file_system("overlay", e);
    if (r >= 0)
        r = check_tool("mkfs.ext4", "e2fsprogs", e);
    if (r >= 0)
        r = check_tool("runc", "runc", e);
    if (r >= 0 && model_has_etcd(p->model))
        r = check_tool("etcd", "etcd-server", e);
    if (r >= 0)
        r = enrol_find_geo(p->model, p->file, geo, e);
    if (r >= 0)
        tell(p, UP_CHECK, NULL, NULL);
    return r;
}

/* ---- work on every host at once ---- */

struct job {
    pthread_t thread;
    bool started;
    struct lab *lab;
    const struct up_params *params;
    const struct provision *provision;
    json_t *host;
    int (*work)(struct job *job, struct err *e);
    int result;
    struct err error;
};

static void *run_job(void *arg)
{
    struct job *job = arg;
    job->result = job->work(job, &job->error);
    return NULL;
}

static int for_each_host(struct lab *l, const struct up_params *p,
    const struct provision *provision, int (*work)(struct job *, struct err *), struct err *e)
{
    const json_t *hosts = json_object_get(l->state, "hosts");
    size_t n = json_array_size(hosts);
    _cleanup_free_ struct job *jobs = xcalloc(n, sizeof *jobs);
    for (size_t i = 0; i < n; i++) {
        jobs[i] = (struct job){.lab = l,
            .params = p,
            .provision = provision,
            .host = json_array_get(hosts, i),
            .work = work};
        jobs[i].started = pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]) == 0;
        if (!jobs[i].started)
            run_job(&jobs[i]);
    }
    int r = 0;
    for (size_t i = 0; i < n; i++) {
        if (jobs[i].started)
            pthread_join(jobs[i].thread, NULL);
        if (jobs[i].result < 0 && r >= 0) {
            r = jobs[i].result;
            *e = jobs[i].error;
            err_wrap(e, "host %s", json_opt_str(jobs[i].host, "name", "?"));
        }
    }
    return r;
}

static int make_disk(struct job *job, struct err *e)
{
    const char *name = json_opt_str(job->host, "name", "");
    _cleanup_free_ char *image = xasprintf("%s/%s.img", job->lab->dir, name);
    int r = disk_make(image, job->params->image_size_bytes, e);
    if (r >= 0)
        tell(job->params, UP_DISKS, name, "has its disk");
    return r;
}

static int provision_one(struct job *job, struct err *e)
{
    const char *name = json_opt_str(job->host, "name", "");
    _cleanup_free_ char *root = lab_host_path(job->host, "");
    bool changed = false;
    tell(job->params, UP_HOSTS, name, "certificates, boot record");
    int r = provision_host(
        job->provision, model_find_host(job->params->model, name), root, &changed, e);
    return r < 0 || !changed ? r : lab_machine_call(job->lab, name, "reload", NULL, e);
}

/* ---- hosts ---- */

static int start_machines(struct lab *l, struct err *e)
{
    _cleanup_json_ json_t *wan = json_pack("[O]", json_object_get(l->state, "wan"));
    _cleanup_json_ json_t *rest = json_pack("[O]", json_object_get(l->state, "client"));
    json_array_extend(rest, json_object_get(l->state, "hosts"));
    int r = lab_power_on(l, wan, true, e);
    return r < 0 ? r : lab_power_on(l, rest, false, e);
}

/* Before the machines: the client's trusts it from the start. */
static int open_ca(struct lab *l, struct pki_authority **ret, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s/ca", l->dir);
    _cleanup_free_ char *root = xasprintf("%s/ca/root.pem", l->dir);
    int r = pki_authority_open(dir, l->platform, clock_wall_ms(), ret, e);
    if (r < 0)
        return r;
    json_object_set_new(l->state, "ca", json_string(root));
    return lab_save(l, e);
}

/* Certificates that live for seconds, so that a test sees them renewed. */
static int64_t leaf_seconds(void)
{
    uint64_t s;
    const char *text = getenv("MCP_LEAF_SECONDS");
    return text && str_to_u64(text, INT32_MAX, &s) ? (int64_t)s : 0;
}

static int provision(
    struct lab *l, const struct up_params *p, const struct pki_authority *ca, struct err *e)
{
    char geo[PATH_MAX];
    struct provision shared = {
        .model = p->model, .authority = ca, .geo = geo, .leaf_s = leaf_seconds()};
    int r = enrol_find_geo(p->model, p->file, geo, e);
    if (r < 0)
        return r;
    r = for_each_host(l, p, &shared, provision_one, e);
    return r;
}

static int make_disks(
    struct lab *l, const struct up_params *p, struct pki_authority **ret_ca, struct err *e)
{
    tell(p, UP_DISKS, NULL, "ext4 images, one a host");
    if (p->port)
        door_want_port(l, p->port);
    int r = lab_lay_out(l, p->model, p->file, e);
    if (r >= 0)
        r = open_ca(l, ret_ca, e);
    if (r >= 0)
        r = for_each_host(l, p, NULL, make_disk, e);
    if (r >= 0)
        tell(p, UP_DISKS, NULL, NULL);
    return r;
}

static int start_hosts(
    struct lab *l, const struct up_params *p, const struct pki_authority *ca, struct err *e)
{
    tell(p, UP_HOSTS, NULL, "certificates, boot records");
    int r = provision(l, p, ca, e);
    if (r >= 0)
        r = door_configure(l, p->model, e);
    if (r >= 0)
        r = lab_machine_call(l, "client", "start", NULL, e);
    if (r >= 0)
        r = lab_power_on(l, json_object_get(l->state, "hosts"), true, e);
    if (r >= 0)
        tell(p, UP_HOSTS, NULL, NULL);
    return r;
}

int up_hosts(struct lab *l, const struct up_params *p, struct err *e)
{
    _cleanup_pki_authority_ struct pki_authority *ca = NULL;
    int r = make_disks(l, p, &ca, e);
    if (r < 0)
        return r;
    tell(p, UP_MACHINES, NULL, "namespaces, mounts, wires");
    r = start_machines(l, e);
    if (r < 0)
        return r;
    tell(p, UP_MACHINES, NULL, NULL);
    return start_hosts(l, p, ca, e);
}
