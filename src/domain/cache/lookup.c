/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a stored response answers a request (RFC 9111 section 4). HOT PATH. */
#include "domain/cache/cache.h"

int64_t cache_age_ms(const struct cache_meta *m, int64_t now_ms)
{
    return m->initial_age_ms + MAX(0, now_ms - m->received_ms);
}

int64_t cache_ttl_ms(const struct cache_meta *m, int64_t now_ms)
{
    return (int64_t)m->lifetime_s * 1000 - cache_age_ms(m, now_ms);
}

static bool is_newer(const struct cache_meta *a, const struct cache_meta *b)
{
    return a->date_s != b->date_s ? a->date_s > b->date_s : a->received_ms > b->received_ms;
}

/* Section 4.1: the most recent one of those that the request selects. */
static const struct cache_stored *selected(
    const struct cache_request *q, const struct cache_stored *stored, size_t n)
{
    const struct cache_stored *best = NULL;
    for (size_t i = 0; i < n; i++) {
        char buf[CACHE_VARIANT_BYTES];
        struct http_out out = {.p = buf, .cap = sizeof buf};
        if (best && !is_newer(stored[i].meta, best->meta))
            continue;
        if (cache_variant_format(stored[i].vary, q->fields, &out)
            && fields_same(stored[i].variant, (struct http_text){out.p, out.len}))
            best = &stored[i];
    }
    return best;
}

static bool within(int64_t stale_ms, uint32_t limit_s)
{
    return stale_ms <= (int64_t)limit_s * 1000;
}

/* The request's own bounds: max-age and min-fresh (section 5.2.1). A max-age that is not valid is 0, a
 * min-fresh that is not valid is 0 as well and asks for nothing. */
static bool request_accepts(const struct cache_request *q, int64_t age_ms, int64_t ttl_ms)
{
    if (fields_cc_has(&q->cc, FIELDS_CC_NO_CACHE))
        return false;
    if (fields_cc_has(&q->cc, FIELDS_CC_MAX_AGE)
        && !within(age_ms, q->cc.seconds[FIELDS_CC_MAX_AGE]))
        return false;
    return !fields_cc_has(&q->cc, FIELDS_CC_MIN_FRESH)
           || ttl_ms >= (int64_t)q->cc.seconds[FIELDS_CC_MIN_FRESH] * 1000;
}

/* Stale, but somebody who may has said that it may be sent. The origin's word (stale-while-revalidate)
 * goes with s-maxage, which by itself forbids stale responses: whoever writes both means both. */
static enum cache_action stale_action(
    const struct cache_request *q, const struct cache_meta *m, int64_t stale_ms)
{
    if (m->flags & CACHE_MUST_REVALIDATE)
        return CACHE_REVALIDATE;
    if (m->stale_while_s && within(stale_ms, m->stale_while_s))
        return CACHE_HIT_REFRESH;
    uint32_t max_stale = q->cc.seconds[FIELDS_CC_MAX_STALE];
    bool any = max_stale == FIELDS_SECONDS_MAX;
    if (fields_cc_has(&q->cc, FIELDS_CC_MAX_STALE) && !(m->flags & CACHE_S_MAXAGE)
        && !(q->cc.invalid >> FIELDS_CC_MAX_STALE & 1) && (any || within(stale_ms, max_stale)))
        return CACHE_HIT;
    return CACHE_REVALIDATE;
}

static enum cache_action action_of(const struct cache_request *q, const struct cache_meta *m,
    int64_t now_ms, enum cache_forward *forward)
{
    int64_t age_ms = cache_age_ms(m, now_ms), ttl_ms = cache_ttl_ms(m, now_ms);
    *forward = CACHE_FORWARD_STALE;
    if (m->flags & CACHE_NO_CACHE)
        return CACHE_REVALIDATE;
    if (ttl_ms <= 0) {
        enum cache_action a = stale_action(q, m, -ttl_ms);
        /* max-stale goes beyond freshness, min-fresh asks for more than it: that is a stale one's end. */
        if (a == CACHE_REVALIDATE || fields_cc_has(&q->cc, FIELDS_CC_NO_CACHE))
            return CACHE_REVALIDATE;
        if (request_accepts(q, age_ms, ttl_ms))
            return a;
        *forward = CACHE_FORWARD_REQUEST;
        return CACHE_REVALIDATE;
    }
    *forward = CACHE_FORWARD_REQUEST;
    return request_accepts(q, age_ms, ttl_ms) ? CACHE_HIT : CACHE_REVALIDATE;
}

static void decide_upstream(
    const struct cache_request *q, const struct cache_policy *policy, struct cache_decision *ret)
{
    if (fields_cc_has(&q->cc, FIELDS_CC_ONLY_IF_CACHED)) {
        ret->action = CACHE_UNSATISFIED;
        ret->forward = CACHE_FORWARD_NONE;
        ret->stored = NULL;
        return;
    }
    bool whole = !q->range || policy->fill_ranges;
    bool validates = ret->action == CACHE_REVALIDATE;
    /* A range of what is being validated: with 304 it is cut from the whole, without one the whole comes. */
    ret->drop_conditions = validates || (q->range && whole);
    ret->coalesce = q->get && !fields_cc_has(&q->cc, FIELDS_CC_NO_STORE)
                    && (ret->drop_conditions || (whole && !q->conditional));
}

void cache_lookup_decide(const struct cache_request *q, const struct cache_stored *stored, size_t n,
    int64_t now_ms, const struct cache_policy *policy, struct cache_decision *ret)
{
    *ret = (struct cache_decision){.action = CACHE_BYPASS, .forward = CACHE_FORWARD_METHOD};
    if (!q->get && !q->head)
        return;
    ret->forward = CACHE_FORWARD_BYPASS;
    if (q->for_origin) { /* section 4.3.2: the origin alone evaluates them */
        if (fields_cc_has(&q->cc, FIELDS_CC_ONLY_IF_CACHED))
            *ret = (struct cache_decision){.action = CACHE_UNSATISFIED};
        return;
    }
    ret->stored = selected(q, stored, n);
    if (!ret->stored) {
        ret->action = CACHE_MISS;
        ret->forward = n ? CACHE_FORWARD_VARY_MISS : CACHE_FORWARD_URI_MISS;
        decide_upstream(q, policy, ret);
        return;
    }
    ret->action = action_of(q, ret->stored->meta, now_ms, &ret->forward);
    if (ret->action == CACHE_REVALIDATE)
        decide_upstream(q, policy, ret);
    else
        ret->forward = CACHE_FORWARD_NONE;
}

bool cache_stale_on_error(const struct cache_request *q, const struct cache_stored *s,
    unsigned status, int64_t now_ms, const struct cache_policy *policy)
{
    const struct cache_meta *m = s->meta;
    bool error = status == 0 || status == 500 || status == 502 || status == 503 || status == 504;
    if (!error || m->flags & CACHE_NO_CACHE || fields_cc_has(&q->cc, FIELDS_CC_NO_CACHE))
        return false;
    int64_t stale_ms = -cache_ttl_ms(m, now_ms);
    if (stale_ms < 0)
        return true; /* fresh: only the request asked for more */
    if (m->flags & CACHE_MUST_REVALIDATE)
        return false;
    if (m->stale_if_error_s && within(stale_ms, m->stale_if_error_s))
        return true;
    if (m->flags & CACHE_S_MAXAGE)
        return false;
    uint32_t asked = q->cc.seconds[FIELDS_CC_STALE_IF_ERROR];
    if (asked && within(stale_ms, asked))
        return true;
    return status == 0 && policy->stale_unreachable_s
           && within(stale_ms, policy->stale_unreachable_s);
}
