/* SPDX-License-Identifier: Apache-2.0 */
/* A module's container: image, config.json, shim.json. */
#include "driver/runtime/priv.h"

#include "base/file/file.h"
#include "proto/oci/oci.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define USERS_FILE_MAX (1u * 1024 * 1024)

static int find_user(const struct image *img, struct oci_user *ret, struct err *e)
{
    _cleanup_str_ struct str passwd = STR_INIT, group = STR_INIT;
    struct err ignored = {0};
    bool has_passwd = image_read_file(img, "etc/passwd", USERS_FILE_MAX, &passwd, &ignored) >= 0;
    bool has_group = image_read_file(img, "etc/group", USERS_FILE_MAX, &group, &ignored) >= 0;
    return oci_user_resolve(
        img->config.user, has_passwd ? &passwd : NULL, has_group ? &group : NULL, ret, e);
}

static const char *const *args_of(const struct runtime_unit *u, const struct image *img)
{
    if (u->command)
        return u->command;
    size_t n = 0;
    const char **list = arena_alloc(img->arena, (2 * OCI_WORDS_MAX + 1) * sizeof *list);
    for (const char *const *w = img->config.entrypoint; w && *w; w++)
        list[n++] = *w;
    for (const char *const *w = img->config.cmd; w && *w; w++)
        list[n++] = *w;
    return list;
}

/* Nobody else of the host may say anything there. */
static int give_socket(const struct runtime_unit *u, const struct oci_user *user, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/" RUNTIME_PLATFORM_SOCKET, u->platform_dir);
    if (chmod(path, 0600) < 0 || chown(path, u->uid_base + user->uid, u->uid_base + user->gid) < 0)
        return err_errno(e, errno, "give %s to user %u", path, user->uid);
    return 0;
}

static int write_config(const struct runtime_host *h, const struct runtime_unit *u,
    const struct image *img, struct err *e)
{
    struct oci_user user;
    int r = find_user(img, &user, e);
    if (r < 0)
        return r;
    if (u->secrets_dir) {
        r = runtime_secrets_own(
            u->secrets_dir, u->uid_base + user.uid, u->uid_base + user.gid, e);
        if (r < 0)
            return r;
    }
    if (u->platform_dir && give_socket(u, &user, e) < 0)
        return e->code;
    const char *const defaults[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        arena_printf(img->arena, "HOME=%s", user.home),
        arena_printf(img->arena, "HOSTNAME=%s", u->name), NULL};
    const char *const *env = runtime_env_merge(img->arena, defaults, img->config.env);
    struct oci_runtime c = {
        .rootfs = arena_printf(img->arena, "%s/mnt/rootfs", u->run_dir),
        .sysfs = arena_printf(img->arena, "%s/mnt/sys", u->run_dir),
        .args = args_of(u, img),
        .env = runtime_env_merge(img->arena, env, u->env),
        .cwd = img->config.cwd,
        .hostname = u->name,
        .uid = user.uid,
        .gid = user.gid,
        .uid_base = u->uid_base,
        .cgroup = u->cgroup,
        .secrets = u->secrets_dir,
        .platform = u->platform_dir,
        .memory_bytes = u->limits.memory_bytes,
        .limit_swap = cgroup_counts_swap(&h->cgroups),
        .cpu_milli = u->limits.cpu_milli,
        .pids = u->limits.pids,
    };
    if (!c.args[0])
        return err_set(e, ERR_INVALID, "the image names no command, and neither does the module");
    _cleanup_json_ json_t *config = oci_runtime_format(&c);
    _cleanup_free_ char *text = json_text(config);
    _cleanup_free_ char *path = xasprintf("%s/config.json", u->run_dir);
    return file_write(path, text, strlen(text), 0600, e);
}

static json_t *shim_doc(
    const struct runtime_host *h, const struct runtime_unit *u, const struct image *img)
{
    char address[IP_TEXT_SIZE], gateway[IP_TEXT_SIZE];
    ip_format(&u->address, address);
    ip_format(&h->gateway, gateway);
    json_t *layers = json_array();
    for (size_t i = 0; i < img->n_layers; i++)
        json_array_append_new(layers, json_string(img->layers[i]));
    json_t *j = runtime_shim_doc(u, "oci");
    json_t *more = json_pack("{s:s,s:s,s:o,s:i,s:I,s:i,s:s,s:s,s:i}", "runtime", h->runtime,
        "state", h->state, "layers", layers, "stop_signal", img->config.stop_signal, "uid_base",
        (json_int_t)u->uid_base, "slot", (int)u->slot, "address", address, "gateway", gateway,
        "bits", (int)h->bridge.bits);
    ASSERT(more);
    if (u->input)
        json_object_set_new(more, "input", json_string(u->input));
    json_object_update(j, more);
    json_decref(more);
    return j;
}

static int start(
    const struct runtime_host *h, const struct runtime_unit *u, pid_t *ret_pid, struct err *e)
{
    if (!*h->runtime) {
        err_set(e, ERR_NOT_FOUND, "no OCI runtime on this host");
        err_fix(e, "apt-get install runc");
        return ERR_NOT_FOUND;
    }
    struct image *img;
    int r = image_open(h->images, u->image, &IMAGE_LIMITS_DEFAULT, &img, e);
    if (r < 0)
        return r;
    r = file_mkdirs(u->run_dir, 0711, e);
    if (r >= 0)
        r = write_config(h, u, img, e);
    if (r >= 0)
        r = runtime_spawn_shim(h, u, shim_doc(h, u, img), ret_pid, e);
    image_free(img);
    return r;
}

/* The container has its network from its shim, so the runtime does not know it: who runs something inside must enter it
 * first, or the command would stand in the host's network. */
static int exec_argv(const struct runtime_host *h, const char *run_dir, const char *name,
    const char *const *argv, char ***ret_argv, struct err *e)
{
    struct runtime_state state;
    size_t n = 0;
    while (argv[n])
        n++;
    if (!*h->runtime || n == 0)
        return err_set(e, ERR_INVALID, "nothing to run %s with", name);
    int r = runtime_read_state(run_dir, &state, e);
    if (r < 0)
        return err_wrap(e, "%s does not run", name);
    char net[64];
    snprintf(net, sizeof net, "--net=/proc/%d/ns/net", (int)state.pid);
    const char *const head[] = {"nsenter", net, "--", h->runtime, "--root", h->state, "exec", name};
    char **list = xcalloc(ARRAY_SIZE(head) + n + 1, sizeof *list);
    for (size_t i = 0; i < ARRAY_SIZE(head); i++)
        list[i] = xstrdup(head[i]);
    for (size_t i = 0; i < n; i++)
        list[ARRAY_SIZE(head) + i] = xstrdup(argv[i]);
    *ret_argv = list;
    return 0;
}

const struct runtime_ops runtime_oci = {.name = "oci", .start = start, .exec_argv = exec_argv};
