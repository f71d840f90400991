/* SPDX-License-Identifier: Apache-2.0 */
/* The whole state store to a text and back. Reading is one range at one revision of the store. Writing
 * is not one transaction, so the current revision goes last: whoever dies on the way, hosts go on
 * with what they have, and the same restore again finishes it; `state/restoring` says so
 * meanwhile. */
#include "role/control/priv.h"

#include "base/base64/base64.h"
#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/backup/backup.h"

#define PART_BYTES (256u * 1024)
#define TXN_BYTES (768u * 1024) /* etcd takes 1.5 MiB, in base64 */
#define TXN_OPS 48u
#define MARK "state/restoring"

static void fail(struct rpc_req *req, int code, const char *message, const char *fix)
{
    struct err e;
    err_set(&e, code, "%s", message);
    err_fix(&e, "%s", fix);
    rpc_reply_error(req, &e);
}

/* ---- out */

struct saving {
    struct control *c;
    struct rpc_req *req;
    char by[64];
};

static void send_parts(struct rpc_req *req, const struct str *text)
{
    for (size_t at = 0; at < text->len;) {
        size_t n = str_utf8_cut(text->buf + at, MIN(PART_BYTES, text->len - at));
        rpc_reply_more(req, json_pack("{s:s%}", "data", text->buf + at, n));
        at += n;
    }
}

static void on_read(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct saving *s = ctx;
    struct control *c = s->c;
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/", c->platform);
    if (e) {
        rpc_reply_error(s->req, e);
        free(s);
        return;
    }
    backup_begin(&text, c->platform, c->number, s->by, clock_wall_ms());
    for (size_t i = 0; i < n; i++)
        backup_add(&text, pairs[i].key + strlen(prefix), pairs[i].value);
    backup_end(&text, n);
    send_parts(s->req, &text);
    rpc_reply(s->req, json_pack("{s:s,s:I,s:I,s:I,s:I}", "platform", c->platform, "revision",
                          (json_int_t)c->number, "store_revision", (json_int_t)revision, "keys",
                          (json_int_t)n, "bytes", (json_int_t)text.len));
    free(s);
}

void control_state_backup(struct control *c, struct rpc_req *req, json_t *params)
{
    struct saving *s = xcalloc(1, sizeof *s);
    *s = (struct saving){c, req, ""};
    str_copy(s->by, sizeof s->by, json_opt_str(params, "by", "root"));
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/", c->platform);
    kv_list(c->kv, prefix, on_read, s);
}

/* ---- in */

struct restoring {
    struct control *c;
    struct backup *b;
    char *prefix;
    json_t *present; /* key -> value of epochs, true of the others */
    json_t *ops;     /* [[key, value or null], …] in the order of writing; the last one is the point */
    size_t at;
    bool confirmed;
    control_restored_fn fn;
    void *ctx;
};

static void finish(struct restoring *r, const struct err *e)
{
    char message[128];
    snprintf(message, sizeof message, "revision %lld of a backup is put back",
        (long long)r->b->revision);
    if (!e)
        control_note(r->c, "state", r->c->host, message, r->b->by);
    r->fn(r->ctx, r->b, e);
    backup_free(r->b);
    json_decref(r->present);
    json_decref(r->ops);
    free(r->prefix);
    free(r);
}

static void write_some(struct restoring *r);

static void on_written(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct restoring *r = ctx;
    struct err why;
    if (e) {
        why = *e;
        err_wrap(&why, "the restore stopped after %zu of %zu keys", r->at,
            json_array_size(r->ops));
        err_fix(&why, "the same restore again goes on");
        finish(r, &why);
    } else if (r->at == json_array_size(r->ops)) {
        finish(r, NULL);
    } else {
        write_some(r);
    }
}

/* As many as one transaction takes; the last key alone, so that nothing is current before all is
 * there. */
static void write_some(struct restoring *r)
{
    struct kv_op ops[TXN_OPS];
    size_t n = 0, bytes = 0, all = json_array_size(r->ops);
    for (; n < TXN_OPS && r->at < all; n++, r->at++) {
        const json_t *op = json_array_get(r->ops, r->at);
        const char *value = json_string_value(json_array_get(op, 1));
        size_t size = value ? strlen(value) : 0;
        if (n && (bytes + size > TXN_BYTES || r->at + 2 == all))
            break;
        bytes += size;
        ops[n] = (struct kv_op){.key = json_string_value(json_array_get(op, 0)), .value = value};
    }
    kv_txn(r->c->kv, NULL, 0, ops, n, on_written, r);
}

static void plan_op(struct restoring *r, const char *key, const char *value)
{
    json_t *op = json_pack("[s+,o]", r->prefix, key, value ? json_string(value) : json_null());
    json_array_append_new(r->ops, op);
}

static void plan_pairs(struct restoring *r)
{
    char number[24];
    for (size_t i = 0; i < r->b->n; i++) {
        const struct backup_pair *p = &r->b->pairs[i];
        if (!backup_restores(p->key) || !strcmp(p->key, "desired/current"))
            continue;
        const char *value = p->value;
        if (backup_is_epoch(p->key)) {
            const char *present = json_string_value(json_object_get(r->present, p->key));
            snprintf(number, sizeof number, "%lld", (long long)backup_epoch(p->value, present));
            value = number;
        }
        plan_op(r, p->key, value);
        json_object_del(r->present, p->key);
    }
}

static const char *value_of(const struct backup *b, const char *key)
{
    for (size_t i = 0; i < b->n; i++)
        if (!strcmp(b->pairs[i].key, key))
            return b->pairs[i].value;
    return NULL;
}

/* What is there and not in the backup goes, but never an epoch. */
static void plan_rest(struct restoring *r)
{
    const char *key;
    json_t *value;
    char number[24];
    json_object_foreach (r->present, key, value) {
        if (backup_is_epoch(key)) {
            snprintf(number, sizeof number, "%lld",
                (long long)backup_epoch(NULL, json_string_value(value)));
            plan_op(r, key, number);
        } else if (backup_restores(key) && strcmp(key, "desired/current") != 0) {
            plan_op(r, key, NULL);
        }
    }
    plan_op(r, MARK, NULL);
    plan_op(r, "desired/current", value_of(r->b, "desired/current"));
}

static bool has_state(const json_t *present)
{
    return json_object_get(present, "desired/current") && !json_object_get(present, MARK);
}

static void on_present(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct restoring *r = ctx;
    struct err why;
    if (e) {
        finish(r, e);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const char *key = pairs[i].key + strlen(r->prefix);
        json_object_set_new(r->present, key,
            backup_is_epoch(key) ? json_string(pairs[i].value) : json_true());
    }
    if (has_state(r->present) && !r->confirmed) {
        err_set(&why, ERR_REFUSED, "the state store holds revision %lld: it would be replaced",
            (long long)r->c->number);
        err_fix(&why, "if that is meant: --confirm %s", r->c->platform);
        finish(r, &why);
        return;
    }
    plan_op(r, MARK, "1");
    plan_pairs(r);
    plan_rest(r);
    write_some(r);
}

void control_restore(struct control *c, const char *text, size_t len, bool confirmed,
    control_restored_fn fn, void *ctx)
{
    struct err e;
    struct backup *b;
    int k = backup_parse(text, len, &b, &e);
    if (k < 0) {
        fn(ctx, NULL, &e);
        return;
    }
    if (strcmp(b->platform, c->platform) != 0) {
        err_set(&e, ERR_REFUSED, "a backup of the platform %s, this is %s", b->platform,
            c->platform);
        fn(ctx, b, &e);
        backup_free(b);
        return;
    }
    struct restoring *r = xcalloc(1, sizeof *r);
    *r = (struct restoring){.c = c,
        .b = b,
        .prefix = xasprintf("/mcp/%s/", c->platform),
        .present = json_object(),
        .ops = json_array(),
        .confirmed = confirmed,
        .fn = fn,
        .ctx = ctx};
    kv_list(c->kv, r->prefix, on_present, r);
}

/* ---- `mcp state restore`: the text comes in parts */

struct upload {
    struct control *c;
    struct rpc_req *req;
    char *confirm;
    struct str text;
    bool failed;
};

static void upload_free(struct upload *u)
{
    str_done(&u->text);
    free(u->confirm);
    free(u);
}

static void on_restored(void *ctx, const struct backup *b, const struct err *e)
{
    struct upload *u = ctx;
    if (e)
        rpc_reply_error(u->req, e);
    else
        rpc_reply(u->req, json_pack("{s:I,s:I,s:I}", "revision", (json_int_t)b->revision, "keys",
                              (json_int_t)b->n, "created_ms", (json_int_t)b->created_ms));
    upload_free(u);
}

static void on_part(void *ctx, json_t *input)
{
    struct upload *u = ctx;
    const char *data = json_opt_str(input, "data", NULL);
    struct err e;
    if (u->failed)
        return;
    bool fits = !data || u->text.len + strlen(data) <= BACKUP_BYTES_MAX;
    if (!fits || (data && base64_decode(data, strlen(data), &u->text, &e) < 0)) {
        u->failed = true;
        fail(u->req, ERR_LIMIT, fits ? "what came is no base64" : "the backup is too large", "");
        upload_free(u);
    } else if (data) {
        return;
    } else if (json_opt_bool(input, "eof", false)) {
        u->failed = true; /* nothing more is taken */
        control_restore(u->c, str_cstr(&u->text), u->text.len,
            u->confirm && !strcmp(u->confirm, u->c->platform), on_restored, u);
    }
}

static void on_gone(void *ctx)
{
    struct upload *u = ctx;
    if (u->failed)
        return; /* it is being written: it goes on */
    fail(u->req, ERR_CANCELED, "the restore was given up", "");
    upload_free(u);
}

void control_state_restore(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *confirm = json_opt_str(params, "confirm", NULL);
    struct upload *u = xcalloc(1, sizeof *u);
    *u = (struct upload){.c = c, .req = req, .confirm = confirm ? xstrdup(confirm) : NULL};
    rpc_req_watch(req, on_part, on_gone, u);
}
