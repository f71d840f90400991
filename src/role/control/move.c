/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp state move etcd`: a platform of one host is about to have more. A member of etcd begins on
 * this host, everything that SQLite holds is copied while nobody writes, what arrived is compared,
 * and the boot record names the new store: control alone starts again, with it. Until then SQLite
 * is the truth, so an interrupted move leaves it as it was and is begun anew, with an empty member
 * of its own. */
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "driver/pki/authority.h"
#include "service/enrol/records.h"

#define POLL_MS 300u
#define START_MS 60000u
#define TXN_BYTES (768u * 1024)
#define TXN_OPS 48u

struct moving {
    struct control *c;
    struct rpc_req *req;
    const struct model_host *host;
    struct kv *etcd;
    char id[20]; /* of the member's folder */
    char *prefix;
    json_t *pairs; /* [[key, value], …] of SQLite, in order */
    size_t at;
    uint64_t until_ms;
    uv_timer_t timer;
    bool units_written;
};

static void on_timer_closed(uv_handle_t *h)
{
    struct moving *m = CONTAINER_OF(h, struct moving, timer);
    json_decref(m->pairs);
    free(m->prefix);
    free(m);
}

static void finish(struct moving *m, const struct err *e)
{
    struct control *c = m->c;
    if (e) {
        rpc_reply_error(m->req, e);
        if (!c->done)
            kv_local_freeze(c->kv, false);
        if (!c->done && m->units_written)
            control_records_write(
                c, NULL, json_pack("{s:i,s:[]}", "revision", 0, "units"), NULL, NULL);
    } else {
        rpc_reply(m->req, json_pack("{s:s,s:I}", "kind", "etcd", "keys",
                              (json_int_t)json_array_size(m->pairs)));
    }
    kv_close(m->etcd);
    c->recovering = false;
    uv_close((uv_handle_t *)&m->timer, on_timer_closed);
}

static void fail(struct moving *m, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void fail(struct moving *m, int code, const char *fmt, ...)
{
    struct err e;
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&e, code, "%s", text);
    err_fix(&e, "SQLite is the state store as before; `mcp logs etcd` may say why");
    finish(m, &e);
}

/* ---- the last step: the boot record */

static void on_switched(void *ctx, const struct err *e)
{
    struct moving *m = ctx;
    if (!e)
        control_note(m->c, "state", m->c->host, "the state store is etcd from now on",
            "moved from SQLite");
    finish(m, e);
}

static void switch_over(struct moving *m)
{
    json_t *boot = json_deep_copy(m->c->role->boot);
    _cleanup_free_ char *url = enrol_client_url(m->host);
    json_object_set_new(boot, "state",
        json_pack("{s:s,s:[s],s:{s:s,s:s}}", "kind", "etcd", "endpoints", url, "member", "name",
            m->c->host, "id", m->id));
    control_records_write(m->c, boot, NULL, on_switched, m);
}

/* ---- the copy, and whether it is one */

static bool same(const struct moving *m, const struct kv_pair *pairs, size_t n)
{
    if (n != json_array_size(m->pairs))
        return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(m->pairs, i);
        if (strcmp(pairs[i].key, json_string_value(json_array_get(row, 0))) != 0
            || strcmp(pairs[i].value, json_string_value(json_array_get(row, 1))) != 0)
            return false;
    }
    return true;
}

static void on_compared(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct moving *m = ctx;
    if (e)
        fail(m, e->code, "%s", e->message);
    else if (!same(m, pairs, n))
        fail(m, ERR_FAILED, "etcd holds something else than SQLite: %zu keys of %zu", n,
            json_array_size(m->pairs));
    else
        switch_over(m);
}

static void copy_some(struct moving *m);

static void on_copied(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct moving *m = ctx;
    if (e)
        fail(m, e->code, "%s", e->message);
    else if (m->at < json_array_size(m->pairs))
        copy_some(m);
    else
        kv_list(m->etcd, m->prefix, on_compared, m);
}

static void copy_some(struct moving *m)
{
    struct kv_op ops[TXN_OPS];
    size_t n = 0, bytes = 0, all = json_array_size(m->pairs);
    for (; n < TXN_OPS && m->at < all; n++, m->at++) {
        const json_t *row = json_array_get(m->pairs, m->at);
        const char *value = json_string_value(json_array_get(row, 1));
        if (n && bytes + strlen(value) > TXN_BYTES)
            break;
        bytes += strlen(value);
        ops[n] = (struct kv_op){.key = json_string_value(json_array_get(row, 0)), .value = value};
    }
    kv_txn(m->etcd, NULL, 0, ops, n, on_copied, m);
}

/* Leases are of the store that gave them. */
static void on_read(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct moving *m = ctx;
    if (e) {
        fail(m, e->code, "%s", e->message);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (!str_starts(pairs[i].key + strlen(m->prefix), "lease/"))
            json_array_append_new(m->pairs, json_pack("[s,s]", pairs[i].key, pairs[i].value));
    if (json_array_size(m->pairs))
        copy_some(m);
    else
        fail(m, ERR_FAILED, "there is nothing to move");
}

/* ---- the member */

static void on_poll(uv_timer_t *t);

static void on_answer(void *ctx, const struct kv_status *s, const struct err *e)
{
    struct moving *m = ctx;
    if (!e && s->has_leader) {
        kv_local_freeze(m->c->kv, true);
        kv_list(m->c->kv, m->prefix, on_read, m);
    } else if (clock_boot_ms() >= m->until_ms) {
        fail(m, ERR_TIMEOUT, "etcd does not answer: %s", e ? e->message : "it has no leader");
    } else {
        uv_timer_start(&m->timer, on_poll, POLL_MS, 0);
    }
}

static void on_poll(uv_timer_t *t)
{
    struct moving *m = CONTAINER_OF(t, struct moving, timer);
    kv_status(m->etcd, on_answer, m);
}

static void on_started(void *ctx, const struct err *e)
{
    struct moving *m = ctx;
    struct err why;
    _cleanup_free_ char *url = enrol_client_url(m->host);
    const char *endpoints[] = {url};
    struct kv_etcd_config config = {.endpoints = endpoints,
        .n_endpoints = 1,
        .ca = CONTROL_PKI "state-ca.pem",
        .cert = CONTROL_PKI "state.pem",
        .key = CONTROL_PKI "state.key"};
    if (e) {
        finish(m, e);
        return;
    }
    m->units_written = true;
    if (kv_etcd_open(&m->c->role->loop, &config, &m->etcd, &why) < 0) {
        finish(m, &why);
        return;
    }
    m->until_ms = clock_boot_ms() + START_MS;
    kv_status(m->etcd, on_answer, m);
}

/* This host holds the issuing keys: its own certificate for the store it makes itself. */
static int certify(struct control *c, struct err *e)
{
    const struct pki_authority *a = control_authority(c);
    _cleanup_free_ char *csr = NULL, *root = NULL;
    _cleanup_json_ json_t *issued = NULL;
    const char *chain;
    if (!a)
        return err_set(e, ERR_REFUSED, "%s holds no issuing keys", c->host);
    root = pki_ca_root_pem(pki_authority_ca(a, PKI_STATE));
    int r = pki_csr_make(CONTROL_PKI "state.key", c->host, &csr, e);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *request = json_pack("{s:s,s:s}", "kind", "state", "csr", csr);
    r = control_issue_leaf(c, c->host, request, &issued, e);
    if (r >= 0)
        r = json_get_str(issued, "chain", &chain, e);
    if (r >= 0)
        r = file_write_durable(CONTROL_PKI "state.pem", chain, strlen(chain), 0644, e);
    return r < 0 ? r
                 : file_write_durable(CONTROL_PKI "state-ca.pem", root, strlen(root), 0644, e);
}

static int check(struct control *c, const json_t *params, struct err *e)
{
    const struct model_host *h = c->model ? model_find_host(c->model, c->host) : NULL;
    bool member = false;
    for (size_t i = 0; h && i < c->model->n_members; i++)
        member |= c->model->members[i] == h;
    if (!str_eq(json_opt_str(params, "to", NULL), "etcd"))
        return err_set(e, ERR_USAGE, "a state store can be moved to etcd");
    if (kv_has_members(c->kv))
        return err_set(e, ERR_REFUSED, "the state store is etcd already");
    if (c->recovering)
        return err_set(e, ERR_REFUSED, "a move is under way");
    if (!member || !model_has_etcd(c->model)) {
        err_set(e, ERR_REFUSED, "the declaration has %s",
            member ? "one host: SQLite serves it" : "other state.members than this host");
        err_fix(e, "declare the hosts to come, with %s among state.members, and `mcp apply`",
            c->host);
        return ERR_REFUSED;
    }
    return 0;
}

void control_state_move(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    if (check(c, params, &e) < 0 || certify(c, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct moving *m = xcalloc(1, sizeof *m);
    *m = (struct moving){.c = c,
        .req = req,
        .host = model_find_host(c->model, c->host),
        .prefix = xasprintf("/mcp/%s/", c->platform),
        .pairs = json_array()};
    snprintf(m->id, sizeof m->id, "m%llx", (unsigned long long)clock_wall_ms());
    uv_timer_init(&c->role->loop, &m->timer);
    c->recovering = true;
    _cleanup_free_ char *url = enrol_peer_url(m->host);
    _cleanup_free_ char *initial = xasprintf("%s=%s", c->host, url);
    struct enrol_cluster alone = {.initial = initial, .id = m->id};
    control_records_write(c, NULL, enrol_boot_units(c->model, m->host, &alone), on_started, m);
}

/* A member that an interrupted move has left goes: nobody counts on it. */
void control_move_tidy(struct control *c)
{
    size_t i;
    json_t *u;
    if (c->recovering || c->tidied || kv_has_members(c->kv))
        return;
    json_array_foreach (c->units, i, u)
        if (str_eq(json_opt_str(u, "module", NULL), "etcd")) {
            c->tidied = true;
            log_info("state", "what an interrupted move left is taken away", "%s", "");
            control_records_write(
                c, NULL, json_pack("{s:i,s:[]}", "revision", 0, "units"), NULL, NULL);
            return;
        }
}
