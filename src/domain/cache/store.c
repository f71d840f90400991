/* SPDX-License-Identifier: Apache-2.0 */
/* What may be stored, and how long it is fresh (RFC 9111 sections 3 and 4.2). HOT PATH. */
#include "domain/cache/cache.h"

#include <string.h>

static bool is_one_of(unsigned status, const uint16_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == status)
            return true;
    return false;
}

/* RFC 9110 section 15.1. 206 is among them there; a part is not stored here. */
static bool is_heuristic(unsigned status)
{
    static const uint16_t list[] = {200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501};
    return is_one_of(status, list, ARRAY_SIZE(list));
}

/* Those of which we know all that RFC 9110 wants of caches: for must-understand (section 5.2.2.3). */
static bool is_understood(unsigned status)
{
    static const uint16_t list[] = {200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308, 400,
        401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 417, 421, 422, 426,
        500, 501, 502, 503, 504, 505};
    return is_one_of(status, list, ARRAY_SIZE(list));
}

/* The first line alone, if there is one only or if all say the same. */
static bool single_date(const struct http_fields *f, const char *name, int64_t now_s, int64_t *ret)
{
    const struct http_field *first = fields_find(f, name, NULL);
    if (!first || !fields_date_parse(first->value, now_s, ret))
        return false;
    for (const struct http_field *line = first; (line = fields_find(f, name, line));)
        if (!fields_same(line->value, first->value))
            return false;
    return true;
}

/* Section 5.1: the first member of a list; what is not a number is ignored. */
static int64_t age_value_s(const struct http_fields *f)
{
    const struct http_field *line = fields_find(f, "age", NULL);
    struct http_text rest, member;
    uint64_t n;
    if (!line)
        return 0;
    rest = line->value;
    return fields_list_next(&rest, &member) && fields_number(member, FIELDS_SECONDS_MAX, &n)
               ? (int64_t)n
               : 0;
}

/* Section 4.2.3. Date counts seconds, so the clock is compared in seconds, too. */
static void put_times(
    struct cache_meta *m, const struct http_fields *f, int64_t request_ms, int64_t now_ms)
{
    int64_t now_s = now_ms / 1000;
    if (!single_date(f, "date", now_s, &m->date_s))
        m->date_s = now_s;
    if (!single_date(f, "last-modified", now_s, &m->modified_s))
        m->modified_s = CACHE_NEVER;
    int64_t apparent = MAX(0, now_s - m->date_s) * 1000;
    int64_t corrected = age_value_s(f) * 1000 + MAX(0, now_ms - request_ms);
    m->received_ms = now_ms;
    m->initial_age_ms = MAX(apparent, corrected);
}

static uint32_t heuristic_s(const struct cache_meta *m, uint32_t max_s)
{
    if (m->modified_s == CACHE_NEVER || m->modified_s >= m->date_s)
        return 0;
    return (uint32_t)MIN((m->date_s - m->modified_s) / 10, (int64_t)max_s);
}

/* Section 4.2.1; *explicit: the response says how long, rightly or wrongly. With a targeted field Expires
 * does not count (RFC 9213 section 2.2). */
static uint32_t lifetime_s(
    const struct cache_storing *st, const struct http_fields *f, bool *explicit)
{
    const struct fields_cc *cc = &st->cc;
    *explicit = true;
    if (fields_cc_has(cc, FIELDS_CC_S_MAXAGE))
        return cc->seconds[FIELDS_CC_S_MAXAGE];
    if (fields_cc_has(cc, FIELDS_CC_MAX_AGE))
        return cc->seconds[FIELDS_CC_MAX_AGE];
    *explicit = !(st->meta.flags & CACHE_TARGETED) && fields_find(f, "expires", NULL);
    int64_t expires;
    if (!*explicit || !single_date(f, "expires", st->meta.received_ms / 1000, &expires))
        return 0; /* one that does not parse is in the past (section 5.3) */
    return (uint32_t)MIN(MAX(0, expires - st->meta.date_s), (int64_t)FIELDS_SECONDS_MAX);
}

static void put_flags(struct cache_storing *st)
{
    const struct fields_cc *cc = &st->cc;
    unsigned flags = st->meta.flags;
    if (cc->all_no_cache)
        flags |= CACHE_NO_CACHE;
    if (fields_cc_has(cc, FIELDS_CC_MUST_REVALIDATE)
        || fields_cc_has(cc, FIELDS_CC_PROXY_REVALIDATE))
        flags |= CACHE_MUST_REVALIDATE;
    if (fields_cc_has(cc, FIELDS_CC_S_MAXAGE))
        flags |= CACHE_S_MAXAGE;
    st->meta.flags = (uint16_t)flags;
    st->meta.stale_while_s = cc->seconds[FIELDS_CC_STALE_WHILE_REVALIDATE];
    st->meta.stale_if_error_s = cc->seconds[FIELDS_CC_STALE_IF_ERROR];
}

/* The restrictions: method, status, no-store, private, Authorization. */
static enum cache_store restricted(
    const struct cache_request *q, unsigned status, const struct fields_cc *cc)
{
    if (!q->get)
        return CACHE_STORE_METHOD;
    if (status < 200 || status == 206 || status == 304)
        return CACHE_STORE_STATUS;
    if (fields_cc_has(&q->cc, FIELDS_CC_NO_STORE))
        return CACHE_STORE_REQUEST_NO_STORE;
    bool must_understand = fields_cc_has(cc, FIELDS_CC_MUST_UNDERSTAND);
    if (must_understand && !is_understood(status))
        return CACHE_STORE_STATUS;
    if (fields_cc_has(cc, FIELDS_CC_NO_STORE) && !must_understand)
        return CACHE_STORE_NO_STORE;
    if (cc->all_private)
        return CACHE_STORE_PRIVATE;
    bool shared = fields_cc_has(cc, FIELDS_CC_PUBLIC) || fields_cc_has(cc, FIELDS_CC_S_MAXAGE)
                  || fields_cc_has(cc, FIELDS_CC_MUST_REVALIDATE);
    return q->authorization && !shared ? CACHE_STORE_AUTHORIZATION : CACHE_STORE_OK;
}

static enum cache_store put_vary(
    struct cache_storing *st, const struct cache_request *q, const struct http_fields *response)
{
    struct http_out vary = {.p = st->vary, .cap = sizeof st->vary};
    struct http_out variant = {.p = st->variant, .cap = sizeof st->variant};
    bool any;
    if (!cache_vary_format(response, &vary, &any))
        return any ? CACHE_STORE_VARY_ANY : CACHE_STORE_VARY_LIMIT;
    if (!cache_variant_format((struct http_text){vary.p, vary.len}, q->fields, &variant))
        return CACHE_STORE_VARY_LIMIT;
    st->vary_len = vary.len;
    st->variant_len = variant.len;
    return CACHE_STORE_OK;
}

static struct http_text first_value(const struct http_fields *f, const char *name)
{
    const struct http_field *line = fields_find(f, name, NULL);
    return line ? line->value : (struct http_text){0};
}

static enum cache_store put_lifetime(
    struct cache_storing *st, const struct http_fields *response, const struct cache_policy *policy)
{
    bool explicit;
    struct cache_meta *m = &st->meta;
    m->lifetime_s = lifetime_s(st, response, &explicit);
    if (!explicit) {
        if (!is_heuristic(m->status) && !fields_cc_has(&st->cc, FIELDS_CC_PUBLIC))
            return CACHE_STORE_NOT_CACHEABLE;
        if (fields_find(response, "set-cookie", NULL))
            return CACHE_STORE_SET_COOKIE;
        m->lifetime_s = heuristic_s(m, policy->heuristic_max_s);
        m->flags |= CACHE_HEURISTIC;
    }
    bool validator = st->etag.len || m->modified_s != CACHE_NEVER;
    bool usable = m->lifetime_s || m->stale_while_s || m->stale_if_error_s;
    return validator || (usable && !(m->flags & CACHE_NO_CACHE)) ? CACHE_STORE_OK
                                                                 : CACHE_STORE_USELESS;
}

enum cache_store cache_store_decide(const struct cache_request *q, unsigned status,
    const struct http_fields *response, int64_t request_ms, int64_t now_ms,
    const struct cache_policy *policy, struct cache_storing *ret)
{
    ret->meta = (struct cache_meta){.status = (uint16_t)status};
    ret->n_tags = ret->vary_len = ret->variant_len = 0;
    if (policy->targeted && fields_cc_parse_targeted(response, policy->targeted, &ret->cc))
        ret->meta.flags |= CACHE_TARGETED;
    else
        fields_cc_parse(response, "cache-control", &ret->cc);
    enum cache_store verdict = restricted(q, status, &ret->cc);
    if (verdict != CACHE_STORE_OK)
        return verdict;
    put_times(&ret->meta, response, request_ms, now_ms);
    put_flags(ret);
    ret->etag = first_value(response, "etag");
    ret->modified = ret->meta.modified_s == CACHE_NEVER ? (struct http_text){0}
                                                        : first_value(response, "last-modified");
    if ((verdict = put_lifetime(ret, response, policy)) != CACHE_STORE_OK)
        return verdict;
    if ((verdict = put_vary(ret, q, response)) != CACHE_STORE_OK)
        return verdict;
    int tags = fields_tags(response, ret->tags);
    if (tags < 0)
        return CACHE_STORE_TAGS;
    ret->n_tags = (size_t)tags;
    return CACHE_STORE_OK;
}

static bool is_named(const struct http_field *f, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (http_text_is_nocase(f->name, list[i]))
            return true;
    return false;
}

bool cache_field_stored(const struct http_field *f, const struct fields_cc *cc)
{
    /* Section 3.1, and what is written anew whenever the response is sent. */
    static const char *const not [] = {"age", "connection", "content-length", "keep-alive",
        "proxy-authenticate", "proxy-authentication-info", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "x-request-id"};
    if (f->hop || is_named(f, not, ARRAY_SIZE(not )))
        return false;
    return !fields_names_have(cc->no_cache, cc->n_no_cache, f->name)
           && !fields_names_have(cc->private, cc->n_private, f->name);
}

bool cache_field_updates(const struct http_field *f, const struct fields_cc *cc)
{
    /* Content-Range is of a part, which a stored whole is not. */
    return cache_field_stored(f, cc) && !http_text_is_nocase(f->name, "content-range");
}
