/* SPDX-License-Identifier: Apache-2.0 */
/* A request's head, then a response's: what is stored must be found by the same request, and is never sent where a
 * restriction forbids it. */
#include "domain/cache/cache.h"

#include <string.h>

#define NOW_MS 1784203200000ll

static void check_lookup(const struct cache_request *q, const struct cache_stored *s)
{
    static const int64_t after_ms[] = {0, 1000, 60000, 86400000, 1ll << 45};
    for (size_t i = 0; i < ARRAY_SIZE(after_ms); i++) {
        struct cache_decision d;
        int64_t now_ms = NOW_MS + after_ms[i];
        cache_lookup_decide(q, s, 1, now_ms, &cache_policy_default, &d);
        bool hit = d.action == CACHE_HIT || d.action == CACHE_HIT_REFRESH;
        ASSERT(d.forward != CACHE_FORWARD_VARY_MISS);
        ASSERT(!hit || (d.stored == s && !(s->meta->flags & CACHE_NO_CACHE)));
        if (hit && cache_ttl_ms(s->meta, now_ms) <= 0)
            ASSERT(!(s->meta->flags & CACHE_MUST_REVALIDATE)
                   && (s->meta->stale_while_s || fields_cc_has(&q->cc, FIELDS_CC_MAX_STALE)));
        struct cache_ranges r;
        if (cache_serve_decide(q, s, now_ms, &r) == CACHE_SERVE_RANGES)
            for (size_t k = 0; k < r.n; k++)
                ASSERT(r.v[k].first <= r.v[k].last && r.v[k].last < s->size);
        (void)cache_stale_on_error(q, s, 503, now_ms, &cache_policy_default);
    }
}

static void check_location(const struct http_request *r, const struct http_fields *response)
{
    const struct http_field *location = fields_find(response, "location", NULL);
    char key[CACHE_KEY_MAX];
    struct http_out out = {.p = key, .cap = sizeof key};
    struct cache_target t = {.host = {"a.example", 9},
        .path = {"/a/b", 4},
        .query = r->query,
        .has_query = r->has_query};
    if (location && cache_location_key(&t, location->value, &out))
        ASSERT(out.len > 10 && !memcmp(key, "a.example\0/", 11) && !out.full);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_request r;
    static struct http_response a;
    static struct cache_storing st;
    struct cache_request q;
    size_t scanned = 0;
    int n = http_request_parse((const char *)data, size, &scanned, &r);
    if (n <= 0)
        return 0;
    scanned = 0;
    if (http_response_parse((const char *)data + n, size - (size_t)n, &scanned, r.is_head, &a) <= 0)
        return 0;
    cache_request_read(&r, &cache_policy_default, &q);
    check_location(&r, &a.fields);
    enum cache_store verdict = cache_store_decide(
        &q, a.status, &a.fields, NOW_MS - 10, NOW_MS, &cache_policy_default, &st);
    if (verdict != CACHE_STORE_OK)
        return 0;
    struct cache_stored s = {.meta = &st.meta,
        .etag = st.etag,
        .modified = st.modified,
        .vary = {st.vary, st.vary_len},
        .variant = {st.variant, st.variant_len},
        .size = data[size - 1]};
    ASSERT(!q.head && a.status >= 200 && st.meta.initial_age_ms >= 10);
    ASSERT(!fields_cc_has(&q.cc, FIELDS_CC_NO_STORE) && !st.cc.all_private);
    check_lookup(&q, &s);
    return 0;
}
