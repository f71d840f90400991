/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/runtime/priv.h"

#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define DOCUMENT_MAX (1u * 1024 * 1024)

json_t *runtime_words(const char *const *list)
{
    json_t *j = json_array();
    for (; list && *list; list++)
        json_array_append_new(j, json_string(*list));
    return j;
}

json_t *runtime_shim_doc(const struct runtime_unit *u, const char *kind)
{
    const struct runtime_log *l = &u->log;
    json_t *j = json_pack("{s:s,s:s,s:I,s:s,s:{s:s,s:I,s:i,s:i,s:i},s:{s:I,s:i,s:i}}", "kind", kind,
        "unit", u->name, "incarnation", (json_int_t)u->incarnation, "cgroup", u->cgroup, "log",
        "dir", l->dir, "file_bytes", (json_int_t)l->file_bytes, "files", (int)l->files, "rate",
        (int)l->rate, "burst", (int)l->burst, "limits", "memory_bytes",
        (json_int_t)u->limits.memory_bytes, "cpu_milli", (int)u->limits.cpu_milli, "pids",
        (int)u->limits.pids);
    ASSERT(j);
    return j;
}

static bool same_name(const char *a, const char *b)
{
    size_t len = strcspn(a, "=");
    return len == strcspn(b, "=") && !memcmp(a, b, len);
}

const char *const *runtime_env_merge(
    struct arena *a, const char *const *under, const char *const *over)
{
    size_t n = 0, m = 0;
    while (under && under[n])
        n++;
    while (over && over[m])
        m++;
    const char **list = arena_alloc(a, (n + m + 1) * sizeof *list);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        bool hidden = false;
        for (size_t j = 0; j < m && !hidden; j++)
            hidden = same_name(under[i], over[j]);
        if (!hidden)
            list[k++] = under[i];
    }
    for (size_t j = 0; j < m; j++)
        list[k++] = over[j];
    return list;
}

static int open_log(const char *run_dir, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/shim.log", run_dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : err_errno(e, errno, "open %s", path);
}

/* posix_spawn: this may be a worker thread, where fork would copy locks that nobody unlocks. */
static int spawn(
    const struct runtime_host *h, const struct runtime_unit *u, int log, pid_t *ret, struct err *e)
{
    char *const argv[] = {(char[]){"mcp"}, (char[]){"shim"}, (char *)u->run_dir, NULL};
    char *const env[] = {(char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, log, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, log, STDERR_FILENO);
    posix_spawnattr_setflags(
        &attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    int error = posix_spawn(ret, h->shim, &files, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return error ? err_errno(e, error, "start the shim %s", h->shim) : 0;
}

static void remove_record(const char *run_dir, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", run_dir, name);
    unlink(path);
}

int runtime_spawn_shim(const struct runtime_host *h, const struct runtime_unit *u, json_t *doc,
    pid_t *ret_pid, struct err *e)
{
    _cleanup_json_ json_t *owned = doc;
    _cleanup_free_ char *text = json_text(owned);
    _cleanup_free_ char *path = xasprintf("%s/shim.json", u->run_dir);
    pid_t holder = runtime_shim_pid(u->run_dir);
    if (holder)
        return err_set(
            e, ERR_CONFLICT, "a shim of %s lives already (pid %d)", u->name, (int)holder);
    static const char *const records[] = {"state.json", "exit.json", "pid", "runtime.log"};
    for (size_t i = 0; i < ARRAY_SIZE(records); i++)
        remove_record(u->run_dir, records[i]);
    int r = file_write(path, text, strlen(text), 0600, e);
    if (r < 0)
        return r;
    _cleanup_close_ int log = open_log(u->run_dir, e);
    return log < 0 ? log : spawn(h, u, log, ret_pid, e);
}

/* --- what the shim says --- */

pid_t runtime_shim_pid(const char *run_dir)
{
    _cleanup_free_ char *path = xasprintf("%s/lock", run_dir);
    /* Read-only asks as well; closing it drops no lock, since a shim's lock is another process's. */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd < 0 || fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
        return 0;
    return lock.l_pid;
}

static int read_record(const char *run_dir, const char *name, json_t **ret, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", run_dir, name);
    return json_read_file(path, DOCUMENT_MAX, ret, e);
}

int runtime_read_state(const char *run_dir, struct runtime_state *ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    int r = read_record(run_dir, "state.json", &j, e);
    if (r < 0)
        return r;
    *ret = (struct runtime_state){
        .incarnation = (uint64_t)json_opt_int(j, "incarnation", 0),
        .pid = (pid_t)json_opt_int(j, "pid", 0),
        .started_ms = json_opt_int(j, "started_ms", 0),
    };
    return 0;
}

int runtime_read_exit(const char *run_dir, struct runtime_exit *ret, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    int r = read_record(run_dir, "exit.json", &j, e);
    if (r < 0)
        return r;
    *ret = (struct runtime_exit){
        .incarnation = (uint64_t)json_opt_int(j, "incarnation", 0),
        .code = (int)json_opt_int(j, "code", 0),
        .signal = (int)json_opt_int(j, "signal", 0),
        .oom = json_opt_bool(j, "oom", false),
        .permanent = json_opt_bool(j, "permanent", false),
        .started_ms = json_opt_int(j, "started_ms", 0),
        .ended_ms = json_opt_int(j, "ended_ms", 0),
    };
    str_copy(ret->error, sizeof ret->error, json_opt_str(j, "error", ""));
    return 0;
}

int runtime_signal(int shim_pidfd, bool kill_all, struct err *e)
{
    int sig = kill_all ? SIGUSR1 : SIGTERM;
    if (syscall(SYS_pidfd_send_signal, shim_pidfd, sig, NULL, 0) < 0 && errno != ESRCH)
        return err_errno(e, errno, "signal the shim");
    return 0;
}

int runtime_clean(const struct runtime_host *h, const char *name, const char *cgroup, struct err *e)
{
    _cleanup_free_ char *state = xasprintf("%s/%s", h->state, name);
    int r = cgroup_kill_all(&h->cgroups, cgroup, 10000, e);
    if (r >= 0)
        r = file_remove_tree(state, e);
    return r < 0 ? r : cgroup_delete(&h->cgroups, cgroup, e);
}

/* --- the host --- */

static bool find_program(const char *name, char *out, size_t size)
{
    static const char *const dirs[] = {
        "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        snprintf(out, size, "%s/%s", dirs[i], name);
        if (access(out, X_OK) == 0)
            return true;
    }
    *out = '\0';
    return false;
}

int runtime_host_probe(struct runtime_host *h, struct err *e)
{
    int r = cgroup_detect(&h->cgroups, e);
    if (r < 0)
        return r;
    /* crun starts in a third of the time, but refuses version 1 and 2 side by side (seen with Debian's 1.8.1). */
    if (!h->cgroups.hybrid && find_program("crun", h->runtime, sizeof h->runtime))
        return 0;
    if (find_program("runc", h->runtime, sizeof h->runtime))
        return 0;
    err_set(e, ERR_NOT_FOUND, "no OCI runtime on this host%s",
        h->cgroups.hybrid ? " (crun does not run beside version 1 control groups)" : "");
    err_fix(e, "apt-get install runc");
    return ERR_NOT_FOUND;
}

void runtime_argv_free(char **argv)
{
    for (char **p = argv; p && *p; p++)
        free(*p);
    free(argv);
}
