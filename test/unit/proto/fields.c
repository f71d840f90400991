/* SPDX-License-Identifier: Apache-2.0 */
/* What caches read in fields, one row a spelling: what counts, and what must not. */
#include "test.h"

#include "proto/fields/fields.h"

#include <string.h>

static struct http_text T(const char *s) {
    return (struct http_text){s, strlen(s)};
}

static void
add(struct http_fields *f, const char *name, const char *value)
{
    f->v[f->n++] = (struct http_field){.name = T(name), .value = T(value)};
}

#define NOW 1784203200 /* in July 2026 */

static void dates(void **state)
{
    static const struct {
        const char *text;
        int64_t s; /* -1: not valid */
    } rows[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Sun Nov 16 08:49:37 1994", 784975777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Tue, 29 Feb 2000 00:00:00 GMT", 951782400},
        {"Thu, 18 Aug 2050 02:01:18 GMT", 2544400878},
        {"Thursday, 18-Aug-50 02:01:18 GMT", 2544400878},
        /* 51 years ahead: of the century before (section 5.6.7) */
        {"Thursday, 18-Aug-77 02:01:18 GMT", 240717678},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},
        {"Mon, 06 Nov 1994 08:49:37 GMT", 784111777}, /* another weekday */
        {"Sun, 29 Feb 1900 00:00:00 GMT", -1},
        {"Sun, 31 Apr 2020 00:00:00 GMT", -1},
        {"Sun, 00 Apr 2020 00:00:00 GMT", -1},
        {"Sun, 06 Nov 1994 24:00:00 GMT", -1},
        {"Sun, 06 Nov 1994 08:60:00 GMT", -1},
        {"Sun, 06 Nov 1994 08:49:61 GMT", -1},
        {"Sun, 06 Nov 1994 08:49:37 UTC", -1},
        {"Sun, 06 Nov 1994 08:49:37 AEST", -1},
        {"Sun, 06 Nov 1994 08:49:37", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMT ", -1},
        {"Sun, 6 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nov 94 08:49:37 GMT", -1},
        {"Sun, 06-Nov-1994 08:49:37 GMT", -1},
        {"Sun 06 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06  Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 nov 1994 08:49:37 GMT", -1},
        {"sun, 06 Nov 1994 08:49:37 GMT", -1},
        {"0", -1},
        {"-1", -1},
        {"", -1},
        {"Sun Nov 6 08:49:37 1994", -1},
        {"Sun, 06 Nov 1994 08.49.37 GMT", -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int64_t s = -1;
        bool ok = fields_date_parse(T(rows[i].text), NOW, &s);
        if (ok != (rows[i].s >= 0) || (ok && s != rows[i].s))
            fail_msg("%s: %d %lld", rows[i].text, ok, (long long)s);
    }
    for (int64_t s = -62167219200; s < 253402300799; s += 86400 * 97 + 12345) {
        char out[FIELDS_DATE_SIZE];
        int64_t again = 0;
        fields_date_format(s, out);
        assert_true(fields_date_parse(T(out), NOW, &again));
        assert_true(again == s);
    }
    char out[FIELDS_DATE_SIZE];
    fields_date_format(784111777, out);
    assert_string_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT");
    fields_date_format(INT64_MAX, out);
    assert_string_equal(out, "Fri, 31 Dec 9999 23:59:59 GMT");
}

static void etags(void **state)
{
    static const struct {
        const char *text;
        bool valid, weak;
    } rows[] = {
        {"\"a\"", true, false},
        {"W/\"a\"", true, true},
        {"\"\"", true, false},
        {"abc", true, false}, /* without quotes: itself */
        {"w/\"a\"", false},
        {"\"a", false},
        {"\"a\"b", false},
        {"\"a b\"", false},
        {"", false},
        {"a,b", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fields_etag e;
        if (fields_etag_parse(T(rows[i].text), &e) != rows[i].valid
            || (rows[i].valid && e.weak != rows[i].weak))
            fail_msg("%s", rows[i].text);
    }
    struct fields_etag strong, weak, bare;
    assert_true(fields_etag_parse(T("\"1\""), &strong) && fields_etag_parse(T("W/\"1\""), &weak));
    assert_true(fields_etag_parse(T("1"), &bare));
    assert_true(fields_etag_strong(&strong, &strong) && !fields_etag_strong(&weak, &weak));
    assert_true(!fields_etag_strong(&weak, &strong) && fields_etag_weak(&weak, &strong));
    assert_false(fields_etag_weak(&strong, &bare));
    struct http_text list = T(" , \"a,b\" ,W/\"c\",, d");
    struct fields_etag e;
    assert_true(fields_etag_next(&list, &e) && fields_same(e.opaque, T("\"a,b\"")));
    assert_true(fields_etag_next(&list, &e) && fields_same(e.opaque, T("\"c\"")) && e.weak);
    assert_true(fields_etag_next(&list, &e) && fields_same(e.opaque, T("d")) && !e.weak);
    assert_false(fields_etag_next(&list, &e));
}

static void ranges(void **state)
{
    static const struct {
        const char *text;
        uint64_t size;
        const char *expect; /* "-": the whole; "416" */
    } rows[] = {
        {"bytes=0-499", 1000, "0-499"},
        {"bytes=500-", 1000, "500-999"},
        {"bytes=-500", 1000, "500-999"},
        {"bytes=-2000", 1000, "0-999"},
        {"bytes=0-0", 1000, "0-0"},
        {"bytes=999-5000", 1000, "999-999"},
        {"bytes=1000-", 1000, "416"},
        {"bytes=-0", 1000, "416"},
        {"bytes=0-", 0, "416"},
        {"bytes=-5", 0, "416"},
        {"bytes=0-0,-1", 1000, "0-0 999-999"},
        {"bytes= 0-0 , 2-3", 1000, "0-0 2-3"},
        {"bytes=0-0,5000-", 1000, "0-0"},
        {"BYTES=0-0", 1000, "0-0"},
        {"bytes=0-18446744073709551615", 10, "0-9"},
        {"bytes=0-99999999999999999999999", 10, "0-9"},
        {"bytes=5-4", 1000, "-"},
        {"bytes=a-b", 1000, "-"},
        {"bytes=", 1000, "-"},
        {"bytes=-", 1000, "-"},
        {"bytes=1", 1000, "-"},
        {"bytes 0-1", 1000, "-"},
        {"lines=0-1", 1000, "-"},
        {"bytes=0-0,1", 1000, "-"},
        {"bytes=0-999,0-999", 1000, "-"},        /* twice the whole (CVE-2011-3192) */
        {"bytes=0-9,5-14,8-20,9-30", 1000, "-"}, /* more than two overlap */
        {"bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,10-10,11-11,12-12,13-13,14-14,15-15,16-16",
            1000, "-"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fields_range r[FIELDS_RANGES_MAX];
        size_t n;
        char got[512] = "-";
        enum fields_ranges_verdict v = fields_ranges_parse(T(rows[i].text), rows[i].size, r, &n);
        if (v == FIELDS_RANGES_UNSATISFIED)
            snprintf(got, sizeof got, "416");
        for (size_t k = 0, at = 0; v == FIELDS_RANGES_SOME && k < n; k++)
            at += (size_t)snprintf(got + at, sizeof got - at, "%s%llu-%llu", k ? " " : "",
                (unsigned long long)r[k].first, (unsigned long long)r[k].last);
        if (strcmp(got, rows[i].expect) != 0)
            fail_msg("%s of %llu: %s", rows[i].text, (unsigned long long)rows[i].size, got);
    }
}

/* RFC 9111 sections 4.2.1, 5.2: -1 absent, -2 not valid. */
static void seconds(void **state)
{
    static const struct {
        const char *text;
        int64_t max_age;
    } rows[] = {
        {"max-age=3600", 3600},
        {"MaX-aGe=3600", 3600},
        {"max-age=\"3600\"", 3600},
        {"max-age=003600", 3600},
        {" , max-age=3600,", 3600},
        {"public,max-age=3600,foo", 3600},
        {"max-age=0", 0},
        {"max-age=2147483648", 2147483648},
        {"max-age=2147483649", 2147483648},
        {"max-age=99999999999999999999999", 2147483648},
        {"max-age=60, max-age=3600", 60}, /* the first one */
        {"max-age=3600, max-age=60", 3600},
        {"max-age", -2},
        {"max-age=", -2},
        {"max-age=\"\"", -2},
        {"max-age=-1", -2},
        {"max-age=+1", -2},
        {"max-age=1.0", -2},
        {"max-age='3600'", -2},
        {"max-age=3600s", -2},
        {"max-age=a3600", -2},
        {"max-age=36 00", -2},
        {"max-age= 3600", -2},
        {"max-age =3600", -2},
        {"max-age=3600;foo=1", -2},
        {"max-age=\"3600\"x", -2},
        {"max-age=\"3600", -2},
        {"foo=\"max-age=3600\"", -1},
        {"foo=\", max-age=3600\"", -1},
        {"foo=\"a\\\", max-age=3600\"", -1},
        {"foo=\"a, max-age=3600", -1}, /* not closed: all of it is the string */
        {"xmax-age=3600", -1},
        {"max-age2=3600", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_fields f = {0};
        struct fields_cc cc;
        add(&f, "Cache-Control", rows[i].text);
        fields_cc_parse(&f, "cache-control", &cc);
        int64_t got = !fields_cc_has(&cc, FIELDS_CC_MAX_AGE) ? -1
                      : cc.invalid >> FIELDS_CC_MAX_AGE & 1  ? -2
                                                             : (int64_t)cc.seconds[FIELDS_CC_MAX_AGE];
        if (got != rows[i].max_age)
            fail_msg("%s: %lld", rows[i].text, (long long)got);
    }
}

static void directives(void **state)
{
    struct http_fields f = {0};
    struct fields_cc cc;
    add(&f, "cache-control", "No-Store=1, private=\"set-cookie, X-A\", no-cache=x-b");
    add(&f, "X", "public");
    add(&f, "Cache-Control",
        "must-understand=1, public x, max-stale, MUST-REVALIDATE junk, immutable");
    fields_cc_parse(&f, "cache-control", &cc);
    assert_true(fields_cc_has(&cc, FIELDS_CC_NO_STORE) && fields_cc_has(&cc, FIELDS_CC_PRIVATE));
    assert_true(
        fields_cc_has(&cc, FIELDS_CC_MUST_REVALIDATE) && fields_cc_has(&cc, FIELDS_CC_IMMUTABLE));
    /* a permission that is not well formed is none */
    assert_false(
        fields_cc_has(&cc, FIELDS_CC_MUST_UNDERSTAND) || fields_cc_has(&cc, FIELDS_CC_PUBLIC));
    assert_int_equal(cc.seconds[FIELDS_CC_MAX_STALE], FIELDS_SECONDS_MAX);
    assert_false(cc.all_private || cc.all_no_cache);
    assert_true(fields_names_have(cc.private, cc.n_private, T("Set-Cookie")));
    assert_true(fields_names_have(cc.private, cc.n_private, T("x-a")));
    assert_false(fields_names_have(cc.private, cc.n_private, T("x-b")));
    assert_true(fields_names_have(cc.no_cache, cc.n_no_cache, T("X-B")));
    add(&f, "cache-control", "private, no-cache=\"\"");
    fields_cc_parse(&f, "cache-control", &cc);
    assert_true(cc.all_private && cc.all_no_cache);
}

/* RFC 8941, and what RFC 9213 makes of it. */
static void targeted(void **state)
{
    static const struct {
        const char *text;
        int n;           /* members */
        int64_t max_age; /* -1: none */
    } rows[] = {
        {"max-age=3600", 1, 3600},
        {"  max-age=3600  ", 1, 3600},
        {"max-age=1, max-age=2", 1, 2}, /* the last one: section 3.2 */
        {"max-age=3600;a;b=\"c\"", 1, 3600},
        {"max-age=100000000000000", 1, 2147483648},
        {"a=(1 \"x\";p tok),\tmax-age=60", 2, 60},
        {"max-age=\"3600\"", 1, -1}, /* another type */
        {"max-age=3600.0", 1, -1},
        {"max-age=-1", 1, -1},
        {"max-age", 1, -1},
        {"max-age=1000000000000000", -1, -1}, /* 16 digits */
        {"MAX-AGE=3600", -1, -1},
        {"max-age=3600,", -1, -1},
        {"max-age=3600, &&&", -1, -1},
        {"max-age= 3600", -1, -1},
        {"max-age=3600 no-store", -1, -1},
        {"a=:YQ==:, b=?0, c=*x/y", 3, -1},
        {"a=:YQ==", -1, -1},
        {"a=?2", -1, -1},
        {"a=\"\\x\"", -1, -1},
        {"a=\"x", -1, -1},
        {"a=1.", -1, -1},
        {"a=1.2345", -1, -1},
        {"a=(1 2", -1, -1},
        {"a=(1,2)", -1, -1},
        {"a=--1", -1, -1},
        {"", 0, -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fields_sf_member m[FIELDS_SF_MAX];
        struct http_fields f = {0};
        struct fields_cc cc;
        int n = fields_sf_dictionary(T(rows[i].text), m);
        add(&f, "CDN-Cache-Control", rows[i].text);
        bool used = fields_cc_parse_targeted(&f, "cdn-cache-control", &cc);
        int64_t got = fields_cc_has(&cc, FIELDS_CC_MAX_AGE) ? (int64_t)cc.seconds[FIELDS_CC_MAX_AGE] : -1;
        if (n != rows[i].n || used != (n > 0) || got != rows[i].max_age)
            fail_msg("%s: %d %lld", rows[i].text, n, (long long)got);
    }
    struct http_fields f = {0};
    struct fields_cc cc;
    assert_false(fields_cc_parse_targeted(&f, "cdn-cache-control", &cc));
    add(&f, "CDN-Cache-Control", "no-store=?0, public, no-cache=\"x-a\"");
    assert_true(fields_cc_parse_targeted(&f, "cdn-cache-control", &cc));
    assert_true(fields_cc_has(&cc, FIELDS_CC_PUBLIC) && !fields_cc_has(&cc, FIELDS_CC_NO_STORE));
    assert_true(cc.n_no_cache == 1 && !cc.all_no_cache);
    add(&f, "CDN-Cache-Control", "no-store=5, private=\"x-b\"");
    assert_true(fields_cc_parse_targeted(&f, "cdn-cache-control", &cc));
    assert_true(fields_cc_has(&cc, FIELDS_CC_NO_STORE) && cc.all_private && cc.all_no_cache);
    assert_true(fields_cc_has(&cc, FIELDS_CC_PUBLIC)); /* both lines are one dictionary */
}

static void lists(void **state)
{
    struct http_text rest = T(" a ,, \"b,\\\"c\" d,\te\t"), m;
    assert_true(fields_list_next(&rest, &m) && fields_same(m, T("a")));
    assert_true(fields_list_next(&rest, &m) && fields_same(m, T("\"b,\\\"c\" d")));
    assert_true(fields_list_next(&rest, &m) && fields_same(m, T("e")));
    assert_false(fields_list_next(&rest, &m));
    uint64_t n;
    assert_true(fields_number(T("18446744073709551615"), UINT64_MAX, &n) && n == UINT64_MAX);
    assert_true(fields_number(T("18446744073709551616"), UINT64_MAX, &n) && n == UINT64_MAX);
    assert_true(fields_number(T("255"), 255, &n) && n == 255);
    assert_true(fields_number(T("256"), 255, &n) && n == 255);
    assert_true(fields_number(T("7"), 3, &n) && n == 3);
    assert_false(fields_number(T(""), 1, &n) || fields_number(T("1 "), 1, &n));
}

static void tags(void **state)
{
    struct http_text v[FIELDS_TAGS_MAX];
    struct http_fields f = {0};
    assert_int_equal(fields_tags(&f, v), 0);
    add(&f, "Cache-Tag", " shop , product-1,,shop");
    add(&f, "Surrogate-Key", "a  b\tproduct-1");
    assert_int_equal(fields_tags(&f, v), 4);
    assert_true(fields_same(v[0], T("shop")) && fields_same(v[1], T("product-1")));
    assert_true(fields_same(v[2], T("a")) && fields_same(v[3], T("b")));
    add(&f, "Cache-Tag", "two words");
    assert_int_equal(fields_tags(&f, v), -1);

    char longest[FIELDS_TAG_MAX + 2], many[FIELDS_TAGS_MAX * 6 + 16];
    memset(longest, 'x', sizeof longest);
    longest[FIELDS_TAG_MAX] = 0;
    f.n = 0;
    add(&f, "Cache-Tag", longest);
    assert_int_equal(fields_tags(&f, v), 1);
    longest[FIELDS_TAG_MAX] = 'x';
    longest[FIELDS_TAG_MAX + 1] = 0;
    f.n = 0;
    add(&f, "Cache-Tag", longest);
    assert_int_equal(fields_tags(&f, v), -1);
    for (unsigned n = FIELDS_TAGS_MAX; n <= FIELDS_TAGS_MAX + 1; n++) {
        size_t at = 0;
        for (unsigned i = 0; i < n; i++)
            at += (size_t)snprintf(many + at, sizeof many - at, "t%u ", i);
        f.n = 0;
        add(&f, "Surrogate-Key", many);
        assert_int_equal(fields_tags(&f, v), n > FIELDS_TAGS_MAX ? -1 : (int)n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates),
        cmocka_unit_test(etags),
        cmocka_unit_test(ranges),
        cmocka_unit_test(seconds),
        cmocka_unit_test(directives),
        cmocka_unit_test(targeted),
        cmocka_unit_test(lists),
        cmocka_unit_test(tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
