/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte says which field, the rest is its value, as two lines where there is a LF. Results lie within the
 * input, and what was parsed parses again to the same. */
#include "proto/fields/fields.h"

#include <string.h>

static const char *const names[] = {
    "cache-control", "cdn-cache-control", "cache-tag", "surrogate-key"};

static void check_within(struct http_text t, const uint8_t *data, size_t size)
{
    const char *lo = (const char *)data;
    ASSERT(t.len == 0 || (t.p >= lo && t.p + t.len <= lo + size));
}

static void check_fields(const char *name, const uint8_t *data, size_t size)
{
    struct http_fields f = {0};
    const uint8_t *lf = memchr(data, '\n', size);
    size_t first = lf ? (size_t)(lf - data) : size;
    f.v[f.n++] =
        (struct http_field){.name = {name, strlen(name)}, .value = {(const char *)data, first}};
    if (lf)
        f.v[f.n++] = (struct http_field){.name = {name, strlen(name)},
            .value = {(const char *)data + first + 1, size - first - 1}};
    struct fields_cc cc;
    for (int i = 0; i < 2; i++) {
        if (i)
            (void)fields_cc_parse_targeted(&f, name, &cc);
        else
            fields_cc_parse(&f, name, &cc);
        ASSERT((cc.invalid & ~cc.has) == 0);
        for (size_t k = 0; k < ARRAY_SIZE(cc.seconds); k++)
            ASSERT(cc.seconds[k] <= FIELDS_SECONDS_MAX);
        for (size_t k = 0; k < cc.n_private; k++)
            check_within(cc.private[k], data, size);
        for (size_t k = 0; k < cc.n_no_cache; k++)
            check_within(cc.no_cache[k], data, size);
    }
    struct http_text tags[FIELDS_TAGS_MAX];
    int n = fields_tags(&f, tags);
    for (int i = 0; i < n; i++)
        check_within(tags[i], data, size);
}

static void check_date(struct http_text t)
{
    int64_t s, again;
    char out[FIELDS_DATE_SIZE];
    if (!fields_date_parse(t, 1784203200, &s))
        return;
    fields_date_format(s, out);
    ASSERT(fields_date_parse((struct http_text){out, strlen(out)}, 1784203200, &again));
    ASSERT(again == s || s == 253402300800); /* a leap second behind the last year */
}

static void check_etags(struct http_text t)
{
    struct fields_etag e, again;
    for (struct http_text rest = t; fields_etag_next(&rest, &e);)
        ASSERT(fields_etag_parse(e.opaque, &again) && fields_etag_weak(&e, &again));
}

static void check_ranges(struct http_text t)
{
    static const uint64_t sizes[] = {0, 1, 1000, 1ull << 40};
    struct fields_range r[FIELDS_RANGES_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t n;
        uint64_t total = 0;
        if (fields_ranges_parse(t, sizes[i], r, &n) != FIELDS_RANGES_SOME)
            continue;
        ASSERT(n >= 1 && n <= FIELDS_RANGES_MAX);
        for (size_t k = 0; k < n; k++) {
            ASSERT(r[k].first <= r[k].last && r[k].last < sizes[i]);
            total += r[k].last - r[k].first + 1;
        }
        ASSERT(total <= sizes[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    unsigned kind = data[0] % 8;
    struct http_text t = {(const char *)data + 1, size - 1};
    if (kind < 4)
        check_fields(names[kind], data + 1, size - 1);
    else if (kind == 4)
        check_date(t);
    else if (kind == 5)
        check_etags(t);
    else if (kind == 6)
        check_ranges(t);
    struct fields_sf_member m[FIELDS_SF_MAX];
    int n = fields_sf_dictionary(t, m);
    for (int i = 0; i < n; i++) {
        check_within(m[i].key, data, size);
        check_within(m[i].text, data, size);
    }
    return 0;
}
