/* SPDX-License-Identifier: Apache-2.0 */
/* Range: bytes=... (RFC 9110 section 14.1.2 and 14.2). HOT PATH. A server "MAY ignore or reject"
 * ranges that overlap or are many and small (section 14.2): more than FIELDS_RANGES_MAX of them, more
 * than two that overlap, or together more than the whole, and the whole is sent. */
#include "proto/fields/fields.h"

/* One range-spec; *ok: it is within the whole. False: it is not valid. */
static bool parse_spec(struct http_text t, uint64_t size, struct fields_range *ret, bool *ok)
{
    size_t dash = 0;
    while (dash < t.len && t.p[dash] != '-')
        dash++;
    if (dash == t.len)
        return false;
    struct http_text from = {t.p, dash}, to = {t.p + dash + 1, t.len - dash - 1};
    uint64_t a = 0, b = UINT64_MAX;
    if (!from.len) { /* the last b bytes */
        if (!fields_number(to, UINT64_MAX, &b))
            return false;
        *ok = b > 0 && size > 0;
        *ret = (struct fields_range){b < size ? size - b : 0, size - 1};
        return true;
    }
    if (!fields_number(from, UINT64_MAX, &a) || (to.len && !fields_number(to, UINT64_MAX, &b))
        || b < a)
        return false;
    *ok = a < size;
    *ret = (struct fields_range){a, b < size ? b : size - 1};
    return true;
}

static bool too_much(const struct fields_range *r, size_t n, uint64_t size)
{
    uint64_t total = 0;
    size_t overlaps = 0;
    for (size_t i = 0; i < n; i++) {
        total += r[i].last - r[i].first
                 + 1; /* at most FIELDS_RANGES_MAX times a length in memory or on disk */
        for (size_t k = 0; k < i; k++)
            overlaps += r[i].first <= r[k].last && r[k].first <= r[i].last;
    }
    return overlaps > 1 || (n > 1 && total > size);
}

enum fields_ranges_verdict fields_ranges_parse(
    struct http_text t, uint64_t size, struct fields_range ret[FIELDS_RANGES_MAX], size_t *ret_n)
{
    *ret_n = 0;
    if (t.len < 6
        || !fields_same_nocase((struct http_text){t.p, 6}, (struct http_text){"bytes=", 6}))
        return FIELDS_RANGES_NONE;
    struct http_text rest = {t.p + 6, t.len - 6}, member;
    size_t seen = 0;
    while (fields_list_next(&rest, &member)) {
        bool ok;
        struct fields_range r;
        if (++seen > FIELDS_RANGES_MAX || !parse_spec(member, size, &r, &ok))
            return FIELDS_RANGES_NONE;
        if (ok)
            ret[(*ret_n)++] = r;
    }
    if (!seen || too_much(ret, *ret_n, size))
        return FIELDS_RANGES_NONE;
    return *ret_n ? FIELDS_RANGES_SOME : FIELDS_RANGES_UNSATISFIED;
}
