/* SPDX-License-Identifier: Apache-2.0 */
/* Leadership: presence by a lease, safety by the epoch. The way to it is a chain of questions to
 * the state store, one on its way at a time; whatever fails ends it, and it is tried again. */
#include "service/scheduler/priv.h"

#include "base/clock/clock.h"
#include "base/rnd/rnd.h"

#define LOOK_MS 5000u  /* the watch tells at once when the lease ends; this is for a silent watch */
#define SPREAD_MS 200u /* not all hosts at the same moment */
#define REFUSED_MS 10000u

static char *key_of(const struct scheduler *s, const char *name)
{
    return xasprintf("%s%s", s->root, name);
}

static void on_lead_timer(uv_timer_t *t);

static void try_in(struct scheduler *s, uint64_t ms)
{
    uint32_t spread;
    rnd_bytes(&spread, sizeof spread);
    if (!s->closing)
        uv_timer_start(&s->lead_timer, on_lead_timer, ms + spread % SPREAD_MS, 0);
}

static void on_revoked(void *ctx, int64_t lease, const struct err *e)
{
    scheduler_unref(ctx);
}

static void drop_lease(struct scheduler *s)
{
    if (!s->lease)
        return;
    scheduler_ref(s);
    kv_lease_revoke(s->kv, s->lease, on_revoked, s);
    s->lease = 0;
}

void lead_lose(struct scheduler *s, const struct err *e)
{
    bool led = s->told_leads;
    s->told_leads = false;
    s->state = LEAD_NOT;
    s->stale = false;
    drop_lease(s);
    if (e)
        scheduler_trouble(s, e);
    if (led && !s->closing)
        s->handler.leads(s->ctx, false, s->epoch);
    try_in(s, e && e->code == ERR_INVALID ? REFUSED_MS : RETRY_MS);
}

/* ---- renewing */

static void on_kept(void *ctx, int64_t lease, const struct err *e)
{
    struct scheduler *s = ctx;
    s->keeping = false;
    if (!s->closing && s->lease && lease == s->lease) {
        if (!e)
            s->sure_until_ms = s->sent_ms + s->ttl_ms;
        else if (e->code == ERR_NOT_FOUND) /* it has ended: nothing to revoke */
            s->lease = 0;
        if (e && (!s->lease || clock_boot_ms() >= s->sure_until_ms))
            lead_lose(s, e);
    }
    scheduler_unref(s);
}

static void renew(struct scheduler *s)
{
    uv_timer_start(&s->lead_timer, on_lead_timer, s->ttl_ms / 3, 0);
    if (s->keeping)
        return;
    s->keeping = true;
    s->sent_ms = clock_boot_ms();
    scheduler_ref(s);
    kv_lease_keep(s->kv, s->lease, on_kept, s);
}

/* ---- the chain */

static void ask(struct scheduler *s)
{
    s->asking = true;
    scheduler_ref(s);
}

/* True: the answer is of use. Else the chain ends here. */
static bool goes_on(struct scheduler *s, const struct err *e)
{
    s->asking = false;
    if (s->closing || s->state != LEAD_ASKING)
        return false;
    if (e)
        lead_lose(s, e);
    return !e;
}

void lead_loaded(struct scheduler *s)
{
    struct err e;
    s->state = LEAD_LEADING;
    s->stale = false;
    if (step_load(s, &e) < 0) {
        lead_lose(s, &e);
        return;
    }
    scheduler_trouble(s, NULL);
    if (!s->told_leads)
        s->handler.leads(s->ctx, true, s->epoch);
    s->told_leads = true;
    scheduler_poke(s);
}

static void on_epoch_read(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct scheduler *s = ctx;
    uint64_t value = 0;
    struct err faster;
    if (goes_on(s, e)) {
        if (!n || !str_to_u64(pairs[0].value, INT64_MAX, &value) || (int64_t)value != s->epoch) {
            err_set(&faster, ERR_CONFLICT, "another control began to lead");
            lead_lose(s, &faster);
        } else {
            s->epoch_mod = pairs[0].mod_revision;
            s->state = LEAD_LOADING;
            follow_again(s, FOLLOW_PLACEMENT);
            follow_again(s, FOLLOW_DEPLOY);
        }
    }
    scheduler_unref(s);
}

void lead_reload(struct scheduler *s)
{
    _cleanup_free_ char *key = key_of(s, "epoch/scheduler");
    s->state = LEAD_ASKING;
    ask(s);
    kv_get(s->kv, key, on_epoch_read, s);
}

static void on_epoch(void *ctx, int64_t epoch, const struct err *e)
{
    struct scheduler *s = ctx;
    if (goes_on(s, e)) {
        s->epoch = epoch;
        lead_reload(s);
    }
    scheduler_unref(s);
}

static void on_taken(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct scheduler *s = ctx;
    if (goes_on(s, e)) {
        _cleanup_free_ char *key = key_of(s, "epoch/scheduler");
        if (succeeded) {
            renew(s);
            ask(s);
            kv_epoch_raise(s->kv, key, on_epoch, s);
        } else {
            lead_lose(s, NULL); /* another was faster */
        }
    }
    scheduler_unref(s);
}

static void on_granted(void *ctx, int64_t lease, const struct err *e)
{
    struct scheduler *s = ctx;
    if (goes_on(s, e)) {
        _cleanup_free_ char *key = key_of(s, "lease/scheduler");
        _cleanup_json_ json_t *value = json_pack("{s:s}", "host", s->host);
        _cleanup_free_ char *text = json_text(value);
        struct kv_compare cmp = {key, s->lease_mod};
        s->lease = lease;
        s->sure_until_ms = s->sent_ms + s->ttl_ms;
        struct kv_op op = {key, text, lease};
        ask(s);
        kv_txn(s->kv, &cmp, 1, &op, 1, on_taken, s);
    }
    scheduler_unref(s);
}

static void on_lease_event(void *ctx, const struct kv_event *events, size_t n, const struct err *e)
{
    struct scheduler *s = ctx;
    if (e)
        s->lease_watch = NULL;
    else if (s->state == LEAD_NOT && !s->aside && n && !events[n - 1].value)
        try_in(s, 0);
}

static bool is_ours(const struct scheduler *s, const struct kv_pair *p)
{
    _cleanup_json_ json_t *value = NULL;
    return json_parse(p->value, p->len, &value, NULL) >= 0
           && str_eq(json_opt_str(value, "host", NULL), s->host);
}

static void on_lease_read(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct scheduler *s = ctx;
    if (goes_on(s, e)) {
        _cleanup_free_ char *key = key_of(s, "lease/scheduler");
        if (!s->lease_watch)
            s->lease_watch = kv_watch(s->kv, key, revision + 1, on_lease_event, s);
        /* A host has one control: a lease in our name is of one that is dead. */
        if (n && !is_ours(s, &pairs[0])) {
            s->state = LEAD_NOT;
            scheduler_trouble(s, NULL);
            try_in(s, LOOK_MS);
        } else {
            s->lease_mod = n ? pairs[0].mod_revision : 0;
            s->sent_ms = clock_boot_ms();
            ask(s);
            kv_lease_grant(s->kv, s->ttl_ms, on_granted, s);
        }
    }
    scheduler_unref(s);
}

void scheduler_stand_aside(struct scheduler *s, bool aside)
{
    if (s->aside == aside)
        return;
    s->aside = aside;
    if (aside && s->state != LEAD_NOT)
        lead_lose(s, NULL);
    else if (!aside)
        try_in(s, 0);
}

static void on_lead_timer(uv_timer_t *t)
{
    struct scheduler *s = CONTAINER_OF(t, struct scheduler, lead_timer);
    if (s->aside) {
        try_in(s, LOOK_MS);
    } else if (s->lease) {
        renew(s);
    } else if (s->asking) { /* of a chain that ended early */
        try_in(s, RETRY_MS);
    } else if (s->state == LEAD_NOT) {
        _cleanup_free_ char *key = key_of(s, "lease/scheduler");
        s->state = LEAD_ASKING;
        ask(s);
        kv_get(s->kv, key, on_lease_read, s);
    }
}

void lead_start(struct scheduler *s)
{
    uv_timer_start(&s->lead_timer, on_lead_timer, 0, 0);
}

void lead_stop(struct scheduler *s)
{
    kv_unwatch(s->kv, s->lease_watch);
    s->lease_watch = NULL;
    s->state = LEAD_NOT;
    drop_lease(s);
}
