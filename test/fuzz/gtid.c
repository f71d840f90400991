/* SPDX-License-Identifier: Apache-2.0 */
/* 'm' or 'y' (which kind), then two sets with ';' between: what parses has one text, and the
 * operations agree with each other. */
#include "proto/gtid/gtid.h"

static struct str text_of(const struct gtid_set *s)
{
    struct str out = STR_INIT;
    gtid_set_format(s, &out);
    return out;
}

static void check_one(const struct gtid_set *s)
{
    _cleanup_str_ struct str text = text_of(s);
    _cleanup_gtid_ struct gtid_set again = {0}, empty = {0};
    gtid_set_init(&empty, s->flavour);
    ASSERT(gtid_set_parse(s->flavour, str_cstr(&text), text.len, &again, NULL) == 0);
    _cleanup_str_ struct str twice = text_of(&again);
    ASSERT(!strcmp(str_cstr(&text), str_cstr(&twice)));
    ASSERT(gtid_set_equal(s, &again) && gtid_set_contains(s, &empty));
    ASSERT(gtid_set_empty(s) == (text.len == 0));
    enum gtid_flavour guess;
    if (text.len)
        ASSERT(gtid_flavour_guess(str_cstr(&text), text.len, &guess) && guess == s->flavour);
}

static void check_two(const struct gtid_set *a, const struct gtid_set *b)
{
    _cleanup_gtid_ struct gtid_set both = {0};
    _cleanup_gtid_ranges_ struct gtid_ranges more = {0};
    gtid_set_subtract(a, b, &more);
    ASSERT((more.n == 0) == gtid_set_contains(b, a));
    ASSERT((more.n == 0) == (gtid_ranges_count(&more) == 0));
    for (size_t i = 0; i < more.n; i++)
        ASSERT(more.v[i].from <= more.v[i].to);
    bool positions = gtid_set_is_position(a) && gtid_set_is_position(b);
    bool may_be_one = positions && gtid_set_compare(a, b) != GTID_DIVERGED;
    if (gtid_set_union(a, b, &both, NULL) == 0 && may_be_one)
        ASSERT(gtid_set_contains(&both, a) && gtid_set_contains(&both, b));
    if (a->flavour == GTID_MYSQL) {
        uint64_t behind = gtid_set_count(a) - gtid_ranges_count(&more);
        _cleanup_gtid_ranges_ struct gtid_ranges less = {0};
        gtid_set_subtract(b, a, &less);
        ASSERT(behind == gtid_set_count(b) - gtid_ranges_count(&less)); /* what both have */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    enum gtid_flavour flavour = data[0] == 'y' ? GTID_MYSQL : GTID_MARIADB;
    const char *text = (const char *)data + 1;
    size_t len = size - 1;
    const char *semicolon = memchr(text, ';', len);
    size_t first = semicolon ? (size_t)(semicolon - text) : len;
    struct err e = {0};
    _cleanup_gtid_ struct gtid_set a = {0}, b = {0};
    if (gtid_set_parse(flavour, text, first, &a, &e) < 0) {
        ASSERT(e.code && e.message[0]);
        return 0;
    }
    check_one(&a);
    if (semicolon && gtid_set_parse(flavour, semicolon + 1, len - first - 1, &b, &e) == 0) {
        check_two(&a, &b);
        check_two(&b, &a);
    }
    return 0;
}
