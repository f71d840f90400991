/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp host init` left for the first control of a platform: the declaration, which becomes
 * revision 1, and the first token. Done once the state store has it. */
#include "role/control/priv.h"

#include "base/file/file.h"
#include "base/log/log.h"
#include "domain/backup/backup.h"
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
    _cleanup_free_ char *backup = xasprintf("%s/" ENROL_BACKUP, c->role->state_dir);
    unlink(backup);
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

static void apply(struct control *c)
{
    revisions_apply(c->revisions, json_object_get(c->first, "platform"),
        json_object_get(c->first, "files"), json_opt_str(c->first, "by", "root"), "mcp host init",
        json_opt_bool(c->first, "restore", false) ? -1 : 0, on_applied, c);
}

static void on_restored(void *ctx, const struct backup *b, const struct err *e)
{
    struct control *c = ctx;
    if (e && e->code != ERR_REFUSED) { /* refused: it was put back before */
        log_error("state", "the backup is not put back", "error=\"%s\"", e->message);
        control_note(c, "alarm", c->host, "the backup could not be put back", e->message);
        return;
    }
    apply(c); /* over it: where the hosts are now */
}

static void restore(struct control *c)
{
    struct err e;
    _cleanup_free_ char *path = xasprintf("%s/" ENROL_BACKUP, c->role->state_dir);
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read(path, BACKUP_BYTES_MAX, &text, &e) < 0)
        on_restored(c, NULL, &e);
    else
        control_restore(c, str_cstr(&text), text.len, false, on_restored, c);
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
    if (json_opt_bool(c->first, "restore", false))
        restore(c);
    else
        apply(c);
}
