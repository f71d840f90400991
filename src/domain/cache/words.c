/* SPDX-License-Identifier: Apache-2.0 */
/* What the cache says of itself: Cache-Status (RFC 9211), names for metrics and explanations. */
#include "domain/cache/cache.h"

static const struct {
    const char *name, *text;
} stores[CACHE_STORE_COUNT] = {
#define X(id, name, text) [CACHE_STORE_##id] = {name, text},
    CACHE_STORES(X)
#undef X
};

const char *cache_store_name(enum cache_store s)
{
    ASSERT(s < CACHE_STORE_COUNT);
    return stores[s].name;
}

const char *cache_store_text(enum cache_store s)
{
    ASSERT(s < CACHE_STORE_COUNT);
    return stores[s].text;
}

const char *cache_action_name(enum cache_action a)
{
    static const char *const names[] = {
        "hit", "refresh", "revalidate", "miss", "bypass", "unsatisfied"};
    ASSERT(a < ARRAY_SIZE(names));
    return names[a];
}

static void put_seconds(struct http_out *out, int64_t s)
{
    if (s < 0)
        http_out_str(out, "-");
    http_out_u64(out, s < 0 ? (uint64_t)-s : (uint64_t)s);
}

void cache_status_format(const struct cache_report *r, struct http_out *out)
{
    static const char *const forwards[] = {
        NULL, "bypass", "method", "uri-miss", "vary-miss", "request", "stale"};
    http_out_text(out, r->name);
    if (r->action == CACHE_HIT || r->action == CACHE_HIT_REFRESH)
        http_out_str(out, "; hit");
    if (forwards[r->forward]) {
        http_out_str(out, "; fwd=");
        http_out_str(out, forwards[r->forward]);
    }
    if (r->forward_status) {
        http_out_str(out, "; fwd-status=");
        http_out_u64(out, r->forward_status);
    }
    if (r->has_ttl) {
        http_out_str(out, "; ttl=");
        put_seconds(out, r->ttl_s);
    }
    http_out_str(out, r->stored ? "; stored" : "");
    http_out_str(out, r->collapsed ? "; collapsed" : "");
    if (r->detail) {
        http_out_str(out, "; detail=");
        http_out_str(out, r->detail);
    }
}
