/* SPDX-License-Identifier: Apache-2.0 */
/* Before a database's server starts, its files are made ready by `mcp engine-files`, which runs as
 * the server's own user: the agent is root and touches nothing in that user's folders. On a worker
 * thread. */
#include "service/agent/priv.h"

#include "base/file/file.h"
#include "base/sandbox/sandbox.h"
#include "base/spawn/spawn.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREPARE_MS 600000u /* the first data folder on a slow disk */
#define PEM_MAX (256u * 1024)
#define PKI "/var/lib/mcp/pki/"

/* JSON null: not there (yet). */
static json_t *pem(const char *path)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct err ignored;
    if (file_read(path, PEM_MAX, &text, &ignored) < 0)
        return json_null();
    return json_string(str_cstr(&text));
}

/* Of the user of the servers, whatever was there before. */
static int make_root(struct sandbox_user user, struct err *e)
{
    int r = file_mkdirs(UNIT_ENGINE_ROOT, 0711, e);
    if (r >= 0 && lchown(UNIT_ENGINE_ROOT, user.uid, user.gid) < 0)
        r = err_errno(e, errno, "owner of %s", UNIT_ENGINE_ROOT);
    return r;
}

/* Of that user, within a folder that stays whose it is. A server starts without as well: the role
 * that makes backups says what is in its way. */
static void make_backups(const struct unit_engine *g, struct sandbox_user user)
{
    struct err ignored;
    struct stat st;
    _cleanup_free_ char *path = xasprintf("%s/%s", g->backups, g->database);
    if (file_mkdirs(g->backups, 0755, &ignored) < 0 || (mkdir(path, 0700) < 0 && errno != EEXIST))
        return;
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0
        && lchown(path, user.uid, user.gid) < 0)
        return;
}

static json_t *request(const struct unit_engine *g)
{
    _cleanup_str_ struct str config = STR_INIT;
    unit_engine_config(g, &config);
    return json_pack("{s:o,s:s,s:s,s:o,s:o,s:o}", "dir",
        json_sprintf("%s/%s", UNIT_ENGINE_ROOT, g->database), "templates",
        UNIT_ENGINE_ROOT "/.templates", "config", str_cstr(&config), "ca", pem(PKI "ca.pem"),
        "cert", pem(PKI "data.pem"), "key", pem(PKI "data.key"));
}

static int answered(const struct str *out, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = json_parse(str_cstr(out), out->len, &answer, e);
    const json_t *error = json_object_get(answer, "error");
    if (r < 0 || !json_is_object(error))
        return r;
    json_to_err(error, e);
    return e->code;
}

int agent_engine_prepare(const struct agent *a, const struct unit_engine *g, struct err *e)
{
    struct sandbox_user user = sandbox_user_of("data");
    int r = make_root(user, e);
    if (r < 0)
        return r;
    if (g->backups)
        make_backups(g, user);
    _cleanup_json_ json_t *req = request(g);
    _cleanup_free_ char *text = json_text(req);
    _cleanup_str_ struct str out = STR_INIT;
    const char *const argv[] = {"mcp", "engine-files", NULL};
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    struct spawn_opts opts = {.path = a->cfg.host.shim,
        .env = env,
        .dir = "/",
        .set_user = true,
        .uid = user.uid,
        .gid = user.gid,
        .input = text,
        .input_len = strlen(text),
        .timeout_ms = PREPARE_MS};
    r = spawn_check(argv, &opts, &out, e);
    if (r >= 0)
        r = answered(&out, e);
    explicit_bzero(text, strlen(text));
    return r < 0 ? err_wrap(e, "files of %s", g->database) : 0;
}
