/* SPDX-License-Identifier: Apache-2.0 */
/* What a request says to caches. HOT PATH. */
#include "domain/cache/cache.h"

const struct cache_policy cache_policy_default = {
    .obey_requests = true,
    .heuristic_max_s = 86400, /* a day: section 4.2.2 suggests a tenth of the age, and no bound */
    .targeted = "cdn-cache-control",
};

static bool is_safe(struct http_text method)
{
    static const char *const safe[] = {
        "GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH"};
    for (size_t i = 0; i < ARRAY_SIZE(safe); i++)
        if (http_text_is(method, safe[i]))
            return true;
    return false;
}

void cache_request_read(
    const struct http_request *r, const struct cache_policy *policy, struct cache_request *ret)
{
    const struct http_fields *f = &r->fields;
    *ret = (struct cache_request){
        .fields = f,
        .get = http_text_is(r->method, "GET"),
        .head = r->is_head,
        .safe = is_safe(r->method),
        .authorization = fields_find(f, "authorization", NULL),
        .range = fields_find(f, "range", NULL),
        .conditional =
            fields_find(f, "if-none-match", NULL) || fields_find(f, "if-modified-since", NULL),
        .for_origin =
            fields_find(f, "if-match", NULL) || fields_find(f, "if-unmodified-since", NULL),
    };
    if (!policy->obey_requests)
        return;
    fields_cc_parse(f, "cache-control", &ret->cc);
    /* Pragma is of HTTP/1.0: it means something only where there is no Cache-Control (section 5.4). */
    if (!ret->cc.present && fields_list_has(f, "pragma", (struct http_text){"no-cache", 8})) {
        ret->cc.has |= 1u << FIELDS_CC_NO_CACHE;
        ret->cc.all_no_cache = true;
    }
}
