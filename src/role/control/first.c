/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp host init` left for the first control of a platform: the declaration, which becomes
 * revision 1, and the first token. Done once the state store has it. */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "service/enrol/init.h"

#include <errno.h>

#define FIRST_MAX (16u * 1024 * 1024)

static char *path_of(const struct control *c)
{
    return xasprintf("%s/" ENROL_FIRST, c->role->state_dir);
}

static void finish(struct control *c)
{
    _cleanup_free_ char *path = path_of(c);
    if (unlink(path) < 0)
        log_warn("state", "first.json stays", "error=\"%s\"", strerror(errno));
    json_decref(c->first);
    c->first = NULL;
}

static void on_token(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct control *c = ctx;
    if (e)
        log_warn("state", "the first token is not kept", "error=%s", e->message);
    else
        finish(c);
}

static void on_applied(void *ctx, int64_t number, bool unchanged, const struct err *e)
{
    struct control *c = ctx;
    const json_t *token = json_object_get(c->first, "token");
    if (e && e->code != ERR_CONFLICT) {
        log_error("state", "the first revision is not written", "error=%s", e->message);
        return; /* again when the state store answers again */
    }
    _cleanup_free_ char *key =
        xasprintf("/mcp/%s/token/%s", c->platform, json_opt_str(token, "id", "none"));
    _cleanup_free_ char *text = json_text(json_object_get(token, "doc"));
    struct kv_compare cmp = {key, 0};
    struct kv_op op = {.key = key, .value = text};
    kv_txn(c->kv, &cmp, 1, &op, 1, on_token, c);
}

/* The state store answers. */
void control_first(struct control *c)
{
    struct err e;
    _cleanup_free_ char *path = path_of(c);
    if (!c->first && json_read_file(path, FIRST_MAX, &c->first, &e) < 0) {
        c->first = NULL;
        return;
    }
    revisions_apply(c->revisions, json_object_get(c->first, "platform"),
        json_object_get(c->first, "files"), json_opt_str(c->first, "by", "root"), "mcp host init",
        0, on_applied, c);
}
