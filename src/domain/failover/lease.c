/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/failover/lease.h"

#include "base/str/str.h"

#define FENCE_PARTS 5u
#define FENCE_MAX_MS 3000u
#define KILL_PARTS 10u
#define KILL_MAX_MS 1500u

/* ---- the record */

int lease_record_parse(const json_t *json, struct lease_record *ret, struct err *e)
{
    struct lease_record r = {0};
    int64_t format, lease_ms;
    const char *holder;
    if (json_get_int(json, "format", 1, INT32_MAX, &format, e) < 0)
        return e->code;
    if (format != LEASE_FORMAT) {
        err_set(e, ERR_REFUSED, "format %lld of the lease", (long long)format);
        err_fix(e, "upgrade this host: a newer version wrote it");
        return e->code;
    }
    if (json_get_int(json, "epoch", 1, INT64_MAX, &r.epoch, e) < 0
        || json_get_int(json, "seq", 1, INT64_MAX - 1, &r.seq, e) < 0
        || json_get_str(json, "holder", &holder, e) < 0
        || json_get_int(json, "lease_ms", 1, INT32_MAX, &lease_ms, e) < 0)
        return e->code;
    if (!str_copy(r.holder, sizeof r.holder, holder))
        return err_set(e, ERR_INVALID, "\"holder\": longer than %u", LEASE_HOST_SIZE);
    /* Of use only where it is whole. */
    if (!str_copy(r.gtid, sizeof r.gtid, json_opt_str(json, "gtid", "")))
        r.gtid[0] = '\0';
    r.lease_ms = (uint64_t)lease_ms;
    r.revoked = json_opt_bool(json, "revoked", false);
    r.released = json_opt_bool(json, "released", false);
    r.sent_wall_ms = json_opt_int(json, "sent_wall_ms", 0);
    *ret = r;
    return 0;
}

json_t *lease_record_put(const json_t *old, const struct lease_record *r)
{
    json_t *j = old ? json_deep_copy(old) : json_object();
    json_t *set = json_pack("{s:i,s:I,s:I,s:s,s:s,s:I,s:b,s:b,s:I}", "format", LEASE_FORMAT, "epoch",
        (json_int_t)r->epoch, "seq", (json_int_t)r->seq, "holder", r->holder, "gtid", r->gtid,
        "lease_ms", (json_int_t)r->lease_ms, "revoked", (int)r->revoked, "released",
        (int)r->released, "sent_wall_ms", (json_int_t)r->sent_wall_ms);
    ASSERT(set);
    json_object_update(j, set);
    json_decref(set);
    return j;
}

json_t *lease_record_revoke(const json_t *old, bool revoked)
{
    json_t *j = json_deep_copy(old);
    json_object_set_new(j, "revoked", json_boolean(revoked));
    return j;
}

/* ---- the deadline */

static uint64_t before(uint64_t until_ms, uint64_t ms)
{
    return until_ms > ms ? until_ms - ms : 0;
}

uint64_t lease_fence_ms(uint64_t until_ms, uint64_t lease_ms)
{
    return before(until_ms, MIN(lease_ms / FENCE_PARTS, (uint64_t)FENCE_MAX_MS));
}

uint64_t lease_kill_ms(uint64_t until_ms, uint64_t lease_ms)
{
    return before(until_ms, MIN(lease_ms / KILL_PARTS, (uint64_t)KILL_MAX_MS));
}

enum lease_rule lease_rule(
    uint64_t until_ms, uint64_t lease_ms, uint64_t now_ms, unsigned guards_off)
{
    if (guards_off & LEASE_OFF_SELF_FENCE)
        return LEASE_WRITE;
    if (until_ms && now_ms >= lease_kill_ms(until_ms, lease_ms))
        return LEASE_KILL;
    return now_ms >= lease_fence_ms(until_ms, lease_ms) ? LEASE_FENCE : LEASE_WRITE;
}

bool lease_acknowledges(uint64_t until_ms, int64_t lease_epoch, int64_t epoch, uint64_t now_ms,
    unsigned guards_off)
{
    bool in_time = now_ms < until_ms || (guards_off & LEASE_OFF_ACK_GATE);
    return in_time && (lease_epoch == epoch || (guards_off & LEASE_OFF_EPOCH));
}

/* ---- the challenger */

void lease_watch_see(struct lease_watch *w, const struct lease_record *r, uint64_t now_ms)
{
    if (!r) {
        *w = (struct lease_watch){0};
        return;
    }
    bool same = w->seen && w->record.epoch == r->epoch && w->record.seq == r->seq
                && w->record.lease_ms == r->lease_ms && !strcmp(w->record.holder, r->holder);
    /* Given back: its holder has a whole lease from now on to renew it. */
    bool restored = same && w->record.revoked && !r->revoked;
    if (!same || restored)
        w->read_ms = now_ms;
    w->record = *r;
    w->seen = true;
}

uint64_t lease_watch_safe_ms(const struct lease_watch *w, int64_t epoch, unsigned guards_off)
{
    if (!w->seen || (w->record.epoch >= epoch && !(guards_off & LEASE_OFF_EPOCH)))
        return UINT64_MAX;
    if (w->record.released)
        return w->read_ms;
    return w->read_ms + w->record.lease_ms + (guards_off & LEASE_OFF_MARGIN ? 0 : LEASE_MARGIN_MS);
}

/* ---- a promise */

int lease_promise_give(struct lease_promise *p, int64_t epoch, uint64_t lease_ms, int64_t doc_epoch,
    bool promoting, uint64_t now_ms, struct err *e)
{
    if (promoting)
        return err_set(e, ERR_REFUSED, "a failover has begun here");
    if (doc_epoch > epoch || p->epoch > epoch)
        return err_set(e, ERR_REFUSED, "epoch %lld is over", (long long)epoch);
    if (!lease_ms || lease_ms > INT32_MAX)
        return err_set(e, ERR_INVALID, "\"for_ms\": no time at all, or too long");
    p->epoch = epoch;
    p->until_ms = MAX(p->until_ms, now_ms + lease_ms + LEASE_MARGIN_MS);
    return 0;
}

uint64_t lease_promise_left_ms(const struct lease_promise *p, int64_t epoch, uint64_t now_ms)
{
    return epoch > p->epoch && now_ms < p->until_ms ? p->until_ms - now_ms : 0;
}
