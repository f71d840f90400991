/* SPDX-License-Identifier: Apache-2.0 */
/* Quorum lost for good: this host's member becomes the whole state store, with what it knows. The
 * others are new members afterwards, as members.c adds them. Nothing is decided here by itself: an
 * operator has typed the platform's name. Each step may be taken again; an interrupted recovery is
 * finished by the same command. */
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/backup/backup.h"
#include "service/enrol/records.h"

#define POLL_MS 500u
#define ANSWER_MS 60000u /* a member reads its log and elects itself */

enum step { FORCE, AWAIT_FORCED, CALM, AWAIT_CALM, EPOCHS };

struct recovery {
    struct control *c;
    struct rpc_req *req;
    enum step step;
    uint64_t until_ms;
    uv_timer_t timer;
    char by[64];
};

static void on_timer_closed(uv_handle_t *h)
{
    free(CONTAINER_OF(h, struct recovery, timer));
}

static void finish(struct recovery *r, const struct err *e)
{
    struct control *c = r->c;
    if (e)
        rpc_reply_error(r->req, e);
    else
        rpc_reply(r->req, json_pack("{s:s,s:I}", "member", c->host, "revision",
                              (json_int_t)c->number));
    c->recovering = false;
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

static void next(struct recovery *r, enum step step);

/* ---- the member's command line */

/* etcd of this host, alone; with the word that makes it forget the others, once. */
static json_t *units_of(const struct control *c, bool force)
{
    const struct model_host *h = model_find_host(c->model, c->host);
    const json_t *member =
        json_object_get(json_object_get(c->role->boot, "state"), "member");
    _cleanup_free_ char *url = enrol_peer_url(h);
    _cleanup_free_ char *initial = xasprintf("%s=%s", h->name, url);
    struct enrol_cluster alone = {
        .initial = initial, .existing = true, .id = json_opt_str(member, "id", NULL)};
    json_t *doc = enrol_boot_units(c->model, h, &alone);
    json_t *unit = json_array_get(json_object_get(doc, "units"), 0);
    if (force)
        json_array_append_new(json_object_get(unit, "command"), json_string("--force-new-cluster"));
    return doc;
}

static void on_records(void *ctx, const struct err *e)
{
    struct recovery *r = ctx;
    if (e) {
        finish(r, e);
        return;
    }
    r->until_ms = clock_boot_ms() + ANSWER_MS;
    next(r, r->step + 1);
}

/* ---- does it answer */

static void on_poll(uv_timer_t *t)
{
    struct recovery *r = CONTAINER_OF(t, struct recovery, timer);
    next(r, r->step);
}

static void on_members(
    void *ctx, const struct kv_member *members, size_t n, const struct err *e)
{
    struct recovery *r = ctx;
    struct err late;
    if (!e && n == 1) {
        next(r, r->step + 1);
    } else if (clock_boot_ms() >= r->until_ms) {
        err_set(&late, ERR_TIMEOUT, "the state store's member of this host does not answer: %s",
            e ? e->message : "it still knows the others");
        err_fix(&late, "`mcp logs etcd`; then the same command again");
        finish(r, &late);
    } else {
        uv_timer_start(&r->timer, on_poll, POLL_MS, 0);
    }
}

/* ---- epochs */

static void on_raised(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct recovery *r = ctx;
    if (!e)
        control_note(r->c, "state", r->c->host,
            "the state store goes on with this host's member alone; epochs have jumped", r->by);
    finish(r, e);
}

/* Whoever acted for the old quorum and has not heard of its end counts no more. */
static void on_epochs(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct recovery *r = ctx;
    struct kv_op ops[KV_TXN_MAX];
    char values[KV_TXN_MAX][24];
    size_t n_ops = 0;
    for (size_t i = 0; i < n && n_ops < KV_TXN_MAX; i++, n_ops++) {
        snprintf(values[n_ops], sizeof values[0], "%lld",
            (long long)backup_epoch(pairs[i].value, NULL));
        ops[n_ops] = (struct kv_op){.key = pairs[i].key, .value = values[n_ops]};
    }
    if (e || !n_ops)
        on_raised(r, true, 0, e);
    else
        kv_txn(r->c->kv, NULL, 0, ops, n_ops, on_raised, r);
}

/* The record says so while the member runs with that word: a control that starts in between takes
 * it back. */
static json_t *record_of(const struct control *c, bool recovering)
{
    json_t *boot = json_deep_copy(c->role->boot);
    if (recovering)
        json_object_set_new(boot, "recovering", json_true());
    else
        json_object_del(boot, "recovering");
    return boot;
}

void control_recover_calm(struct control *c)
{
    if (c->recovering || !c->model || !json_opt_bool(c->role->boot, "recovering", false))
        return;
    json_object_del(c->role->boot, "recovering");
    control_records_write(c, record_of(c, false), units_of(c, false), NULL, NULL);
}

static void next(struct recovery *r, enum step step)
{
    static const struct kv_member_op list = {.change = KV_MEMBER_LIST};
    struct control *c = r->c;
    r->step = step;
    switch (step) {
    case FORCE:
        control_note(c, "state", c->host, "the state store is recovered from this host's member",
            r->by);
        control_records_write(c, record_of(c, true), units_of(c, true), on_records, r);
        break;
    case CALM: /* else it would forget the others again at its next start */
        control_records_write(c, record_of(c, false), units_of(c, false), on_records, r);
        break;
    case AWAIT_FORCED:
    case AWAIT_CALM:
        kv_members(c->kv, &list, on_members, r);
        break;
    case EPOCHS: {
        _cleanup_free_ char *prefix = xasprintf("/mcp/%s/epoch/", c->platform);
        kv_list(c->kv, prefix, on_epochs, r);
        break;
    }
    }
}

/* ---- may it be done */

static void refuse(struct recovery *r, const char *fix, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void refuse(struct recovery *r, const char *fix, const char *fmt, ...)
{
    struct err e;
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&e, ERR_REFUSED, "%s", text);
    err_fix(&e, "%s", fix);
    finish(r, &e);
}

/* Another host that reaches the state store: the loss is ours alone. */
static const char *who_reaches_it(struct control *c)
{
    for (size_t i = 0; i < c->model->n_hosts; i++) {
        const char *host = c->model->hosts[i].name;
        const json_t *store = json_object_get(control_report_of(c, host), "state_store");
        if (strcmp(host, c->host) != 0 && peers_is_up(c->peers, host)
            && json_opt_bool(store, "connected", false))
            return host;
    }
    return NULL;
}

/* The last look: silence of the store is asked for, not assumed. */
static void on_probe(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct recovery *r = ctx;
    if (!e)
        refuse(r, "`mcp state status` shows its members", "the state store answers: nothing is lost");
    else
        next(r, FORCE);
}

void control_state_recover(struct control *c, struct rpc_req *req, json_t *params)
{
    struct recovery *r = xcalloc(1, sizeof *r);
    *r = (struct recovery){.c = c, .req = req};
    uv_timer_init(&c->role->loop, &r->timer);
    str_copy(r->by, sizeof r->by, json_opt_str(params, "by", "root"));
    const json_t *state = json_object_get(c->role->boot, "state");
    const char *other = c->model ? who_reaches_it(c) : NULL;
    bool was = c->recovering;
    if (!str_eq(json_opt_str(params, "confirm", NULL), c->platform))
        refuse(r,
            "be sure that no majority of the members lives anywhere, then --confirm with the name",
            "this makes the member of %s the whole state store of %s", c->host, c->platform);
    else if (was)
        refuse(r, "wait for it", "a recovery is under way");
    else if (!kv_has_members(c->kv) || !json_is_object(json_object_get(state, "member"))
             || !c->model || !model_find_host(c->model, c->host))
        refuse(r, "run it on a host that holds one: `mcp host list` shows which",
            "%s holds no member of the state store", c->host);
    else if (other)
        refuse(r, "look there: `mcp state status`", "%s reaches the state store", other);
    else {
        _cleanup_free_ char *key = xasprintf("/mcp/%s/desired/current", c->platform);
        c->recovering = true;
        kv_get(c->kv, key, on_probe, r);
        return;
    }
    c->recovering = was;
}
