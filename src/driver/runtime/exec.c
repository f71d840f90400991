/* SPDX-License-Identifier: Apache-2.0 */
/* A plain process of the host in its own control group, under its own user: engines that Debian packages. */
#include "driver/runtime/priv.h"

#include "base/file/file.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>

/* "etcd", "etcd:etcd", "997:997" */
static int find_user(const char *text, uid_t *uid, gid_t *gid, struct err *e)
{
    uint64_t n, m;
    char name[64], buf[4096];
    const char *colon = strchr(text, ':');
    snprintf(
        name, sizeof name, "%.*s", (int)(colon ? colon - text : (ptrdiff_t)strlen(text)), text);
    if (str_to_u64(name, UINT32_MAX - 1, &n)) {
        *uid = *gid = (uid_t)n;
    } else {
        struct passwd pw, *found = NULL;
        if (getpwnam_r(name, &pw, buf, sizeof buf, &found) != 0 || !found)
            return err_set(e, ERR_NOT_FOUND, "this host has no user \"%s\"", name);
        *uid = pw.pw_uid;
        *gid = pw.pw_gid;
    }
    if (!colon)
        return 0;
    struct group gr, *found = NULL;
    if (str_to_u64(colon + 1, UINT32_MAX - 1, &m))
        *gid = (gid_t)m;
    else if (getgrnam_r(colon + 1, &gr, buf, sizeof buf, &found) != 0 || !found)
        return err_set(e, ERR_NOT_FOUND, "this host has no group \"%s\"", colon + 1);
    else
        *gid = gr.gr_gid;
    return 0;
}

static int start(
    const struct runtime_host *h, const struct runtime_unit *u, pid_t *ret_pid, struct err *e)
{
    uid_t uid = 0;
    gid_t gid = 0;
    if (!u->command || !u->command[0])
        return err_set(e, ERR_INVALID, "no command");
    if (access(u->command[0], X_OK) < 0)
        return err_errno(e, errno, "%s", u->command[0]);
    int r = u->user ? find_user(u->user, &uid, &gid, e) : 0;
    if (r >= 0)
        r = file_mkdirs(u->run_dir, 0711, e);
    if (r < 0)
        return r;
    static const char *const defaults[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    struct arena *a = arena_new(0);
    const char *const *env = runtime_env_merge(a, defaults, u->env);
    json_t *j = runtime_shim_doc(u, "exec");
    json_t *more = json_pack("{s:o,s:o,s:I,s:I,s:s,s:i}", "argv", runtime_words(u->command), "env",
        runtime_words(env), "uid", (json_int_t)uid, "gid", (json_int_t)gid, "cwd",
        u->cwd ? u->cwd : "/", "stop_signal", SIGTERM);
    ASSERT(more);
    json_object_update(j, more);
    json_decref(more);
    r = runtime_spawn_shim(h, u, j, ret_pid, e);
    arena_free(a);
    return r;
}

static int exec_argv(const struct runtime_host *h, const char *run_dir, const char *name,
    const char *const *argv, char ***ret_argv, struct err *e)
{
    size_t n = 0;
    while (argv[n])
        n++;
    if (n == 0)
        return err_set(e, ERR_INVALID, "nothing to run beside %s", name);
    char **list = xcalloc(n + 1, sizeof *list);
    for (size_t i = 0; i < n; i++)
        list[i] = xstrdup(argv[i]);
    *ret_argv = list;
    return 0;
}

const struct runtime_ops runtime_exec = {.name = "exec", .start = start, .exec_argv = exec_argv};
