/* SPDX-License-Identifier: Apache-2.0 */
/* The way to control. A lab host has its own mount namespace, so its socket is reached through its
 * first process: /proc/PID/root/run/mcp/mcp.sock, with /proc/PID held open, so that a pid that is
 * used again is never taken for it. */
#include "cmd/cli/priv.h"

#include "base/rpc/rpc.h"
#include "cmd/cli/profile.h"

#include <dirent.h>
#include <errno.h>

#define LABS "/run/mcp-lab"
#define SOCKET "/run/mcp/mcp.sock"
#define LAB_JSON_MAX (1024u * 1024)
#define LAB_HOSTS_MAX 256
#define HOST_TIMEOUT_MS 1000 /* a frozen host holds nobody up: the next one is asked */
#define NAME_SIZE 64

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* Somebody said which file; else the folder's own platform.yaml is meant, if there is one. */
static const char *named_file(const struct cmd_ctx *ctx)
{
    const char *file = cmd_opt(ctx, "file");
    return file ? file : env("MCP_FILE");
}

const char *cmd_platform_file(const struct cmd_ctx *ctx)
{
    const char *file = named_file(ctx);
    return file ? file : "platform.yaml";
}

/* "" when nothing names a platform. */
static int named_platform(const struct cmd_ctx *ctx, char *ret, struct err *e)
{
    const char *name = cmd_opt(ctx, "platform");
    *ret = '\0';
    if (name)
        return str_copy(ret, NAME_SIZE, name) ? 0 : err_set(e, ERR_USAGE, "--platform is too long");
    int r = cmd_scan_platform(cmd_platform_file(ctx), ret, NAME_SIZE, e);
    if (r == ERR_NOT_FOUND && !named_file(ctx))
        return 0;
    if (r >= 0 && !*ret)
        return err_set(e, ERR_INVALID, "%s names no platform", cmd_platform_file(ctx));
    return r;
}

/* Names of the labs on this machine. Returns how many; ret holds the first, all of them are in
 * *list. */
static size_t list_labs(char ret[NAME_SIZE], struct str *list)
{
    size_t n = 0;
    DIR *dir = opendir(LABS);
    for (struct dirent *d = dir ? readdir(dir) : NULL; d; d = readdir(dir)) {
        char path[sizeof LABS + sizeof d->d_name + sizeof "//lab.json"];
        snprintf(path, sizeof path, LABS "/%s/lab.json", d->d_name);
        if (d->d_name[0] == '.' || access(path, F_OK) != 0)
            continue;
        if (n == 0)
            str_copy(ret, NAME_SIZE, d->d_name);
        str_addf(list, "%s%s", n++ ? ", " : "", d->d_name);
    }
    if (dir)
        closedir(dir);
    return n;
}

static int connect_host(const struct cmd_lab_host *h, struct rpc_client **ret, struct err *e)
{
    _cleanup_close_ int proc = -1;
    int r = cmd_open_process(h, &proc, e);
    if (r < 0)
        return r;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d/root" SOCKET, proc);
    return rpc_client_connect_within(path, h->name, HOST_TIMEOUT_MS, ret, e);
}

static int connect_lab_hosts(
    const json_t *hosts, const char *only, struct rpc_client **ret, struct str *tried)
{
    size_t i;
    json_t *row;
    json_array_foreach (hosts, i, row) {
        struct cmd_lab_host h = {.pid = (pid_t)json_opt_int(row, "pid", 0),
            .start_time = (uint64_t)json_opt_int(row, "start_time", 0)};
        str_copy(h.name, sizeof h.name, json_opt_str(row, "name", "?"));
        struct err why;
        if (i >= LAB_HOSTS_MAX || (only && strcmp(only, h.name) != 0))
            continue;
        if (connect_host(&h, ret, &why) >= 0)
            return 0;
        str_addf(tried, "%s%s", tried->len ? "; " : "", why.message);
    }
    return ERR_UNAVAILABLE;
}

/* ERR_NOT_FOUND: no such lab. */
static int connect_lab(
    const char *platform, const char *host, struct rpc_client **ret, struct err *e)
{
    _cleanup_free_ char *path = xasprintf(LABS "/%s/lab.json", platform);
    _cleanup_json_ json_t *lab = NULL;
    _cleanup_str_ struct str tried = STR_INIT;
    if (strchr(platform, '/') || platform[0] == '.')
        return err_set(e, ERR_NOT_FOUND, "'%s' is no platform's name", platform);
    int r = json_read_file(path, LAB_JSON_MAX, &lab, e);
    if (r < 0)
        return r;
    r = connect_lab_hosts(json_object_get(lab, "hosts"), host, ret, &tried);
    if (r >= 0)
        return 0;
    if (host && !tried.len)
        return err_set(e, ERR_USAGE, "the lab %s has no host %s", platform, host);
    err_set(
        e, r, "no host of the lab %s answers: %s", platform, tried.len ? tried.buf : "it has none");
    err_fix(e, "`mcp lab heal HOST` starts a dead one; `mcp down` and `mcp up` start afresh");
    return r;
}

static int connect_only_lab(const char *host, struct rpc_client **ret, struct err *e)
{
    char name[NAME_SIZE];
    _cleanup_str_ struct str list = STR_INIT;
    size_t n = list_labs(name, &list);
    if (n == 1)
        return connect_lab(name, host, ret, e);
    if (n > 1) {
        err_set(e, ERR_USAGE, "several labs run on this machine: %s", list.buf);
        err_fix(e, "say which: --platform NAME, or -f FILE");
        return ERR_USAGE;
    }
    err_set(e, ERR_UNAVAILABLE, "no platform runs on this machine: no lab, no " SOCKET);
    err_fix(e, "`mcp up -f FILE` starts a lab here; `systemctl start mcp` starts this host");
    return ERR_UNAVAILABLE;
}

/* A file or --platform says which lab, and that lab is not here. */
static int not_running(const struct cmd_ctx *ctx, const char *platform, struct err *e)
{
    char name[NAME_SIZE];
    _cleanup_str_ struct str list = STR_INIT;
    bool others = list_labs(name, &list) > 0;
    err_set(e, ERR_UNAVAILABLE, "%s does not run on this machine%s%s", platform,
        others ? "; labs here: " : "", str_cstr(&list));
    if (cmd_opt(ctx, "platform"))
        err_fix(e, "`mcp up -f FILE` starts it as a lab; --platform NAME or -f FILE names another");
    else
        err_fix(e, "`mcp up -f %s` starts it as a lab; --platform NAME names another",
            cmd_platform_file(ctx));
    return ERR_UNAVAILABLE;
}

static int as_root(int r, struct err *e)
{
    if (r < 0 && geteuid() != 0 && !*e->fix)
        err_fix(e, "run the command as root: the sockets of a platform are root's");
    return r;
}

/* $MCP_SOCKET and this host's own. ERR_NOT_FOUND: there is no socket. */
static int connect_socket(const char *path, struct rpc_client **ret, struct err *e)
{
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return err_set(e, ERR_NOT_FOUND, "there is no %s", path);
    return rpc_client_connect(path, ret, e);
}

/* ERR_NOT_FOUND: no login from here. */
static int connect_login(const char *platform, struct rpc_client **ret, struct err *e)
{
    _cleanup_profile_ struct profile p = {0};
    int r = profile_load(platform, &p, e);
    return r < 0 ? r : remote_connect(&p.peer, ret, NULL, e);
}

/* Nothing of the platform is on this machine: perhaps somebody logged in to it from here. */
static int connect_afar(const char *platform, struct rpc_client **ret, struct err *e)
{
    char only[NAME_SIZE];
    if (*platform)
        return connect_login(platform, ret, e);
    return profile_only(only, sizeof only) ? connect_login(only, ret, e) : ERR_NOT_FOUND;
}

static int find_and_connect(
    const struct cmd_ctx *ctx, const char *host, struct rpc_client **ret, struct err *e)
{
    const char *path = env("MCP_SOCKET"), *afar = env("MCP_REMOTE");
    char platform[NAME_SIZE];
    if (path)
        return connect_socket(path, ret, e);
    if (afar)
        return connect_login(afar, ret, e);
    int r = named_platform(ctx, platform, e);
    if (r < 0)
        return r;
    r = *platform ? connect_lab(platform, host, ret, e) : ERR_NOT_FOUND;
    if (r != ERR_NOT_FOUND)
        return r;
    r = connect_socket(SOCKET, ret, e);
    if (r == ERR_NOT_FOUND)
        r = connect_afar(platform, ret, e);
    if (r != ERR_NOT_FOUND)
        return r;
    return *platform ? not_running(ctx, platform, e) : connect_only_lab(host, ret, e);
}

int cmd_connect(const struct cmd_ctx *ctx, const char *host, struct rpc_client **ret, struct err *e)
{
    return as_root(find_and_connect(ctx, host, ret, e), e);
}

int cmd_call(const struct cmd_ctx *ctx, const char *method, json_t *params, uint64_t timeout_ms,
    json_t **ret, struct err *e)
{
    struct rpc_client *c;
    int r = cmd_connect(ctx, NULL, &c, e);
    if (r < 0) {
        json_decref(params);
        return r;
    }
    r = rpc_client_call(c, method, params, timeout_ms, NULL, NULL, ret, e);
    rpc_client_free(c);
    return r;
}
