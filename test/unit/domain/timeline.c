/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/timeline/timeline.h"

#include <string.h>

static struct timeline_entry entry(const char *host, uint64_t seq, int64_t wall_ms)
{
    struct timeline_entry t = {.seq = seq, .wall_ms = wall_ms, .boot_ms = 5};
    str_copy(t.host, sizeof t.host, host);
    str_copy(t.region, sizeof t.region, "ap-seoul");
    timeline_draft_set(&t.draft, "health", "ap-seoul/x.com", "is down", "timeout");
    return t;
}

static void test_round_trip(void **state)
{
    struct timeline_entry t = entry("hk1", 7, 1795411812345), back;
    t.draft.revision = 9;
    struct err e = {0};
    _cleanup_json_ json_t *j = timeline_entry_format(&t);
    assert_string_equal(json_opt_str(j, "time", ""), "2026-11-23T05:30:12.345Z");
    assert_int_equal(timeline_entry_parse(j, &back, &e), 0);
    assert_memory_equal(&t, &back, sizeof t);
    _cleanup_str_ struct str s = STR_INIT;
    timeline_entry_print(&t, false, &s);
    assert_string_equal(s.buf, "05:30:12.345Z hk1 health ap-seoul/x.com: is down (timeout)");
}

static void test_bad_entries_are_refused(void **state)
{
    static const char *const keys[] = {
        "seq", "time", "boot_ms", "host", "region", "kind", "subject", "message"};
    struct timeline_entry t = entry("hk1", 7, 0), back;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        struct err e = {0};
        _cleanup_json_ json_t *j = timeline_entry_format(&t);
        json_object_del(j, keys[i]);
        assert_int_equal(timeline_entry_parse(j, &back, &e), ERR_INVALID);
        assert_non_null(strstr(e.message, keys[i]));
    }
    static const char *const times[] = {
        "", "now", "2026-11-23T05:30:12Z", "2026-11-23T05:30:12.345", "2026-11-23T05:30:12.3Z"};
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        struct err e = {0};
        _cleanup_json_ json_t *j = timeline_entry_format(&t);
        json_object_set_new(j, "time", json_string(times[i]));
        assert_int_equal(timeline_entry_parse(j, &back, &e), ERR_INVALID);
    }
    struct err e = {0};
    _cleanup_json_ json_t *j = timeline_entry_format(&t);
    json_object_set_new(j, "kind", json_string("Two Words"));
    assert_int_equal(timeline_entry_parse(j, &back, &e), ERR_INVALID);
}

static void test_long_texts_are_cut_whole(void **state)
{
    _cleanup_str_ struct str text = STR_INIT;
    for (int i = 0; i < 300; i++)
        str_add(&text, "서"); /* three bytes: no cut may fall inside */
    for (size_t skip = 0; skip < 3; skip++) {
        struct timeline_draft d;
        _cleanup_free_ char *shifted = xasprintf("%.*s%s", (int)skip, "ab", text.buf);
        timeline_draft_set(&d, "unit", "x", shifted, NULL);
        assert_true(str_ends(d.message, "서…"));
        assert_true(strlen(d.message) >= sizeof d.message - 4);
        _cleanup_json_ json_t *j = timeline_draft_format(&d); /* jansson refuses broken UTF-8 */
        assert_non_null(j);
    }
}

static void test_foreign_texts_are_made_harmless(void **state)
{
    static const char *const rows[][2] = {
        {"a\nb\x1b[31mc\x7f", "a b [31mc "},
        {"\xff ok \xe2\x82", "? ok ??"},
        {"\xc0\xaf \xed\xa0\x80 \xf5\x80", "?? ??? ??"},
        {"서울 é 😀", "서울 é 😀"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct timeline_draft d;
        timeline_draft_set(&d, "unit", "x", rows[i][0], NULL);
        assert_string_equal(d.message, rows[i][1]);
        _cleanup_json_ json_t *j = timeline_draft_format(&d);
        assert_non_null(j);
    }
}

static void test_filter(void **state)
{
    struct timeline_entry t = entry("hk1", 7, 1000);
    const struct timeline_filter none = {.since_wall_ms = INT64_MIN};
    struct {
        const char *name;
        struct timeline_filter f;
        bool match;
    } rows[] = {
        {"all", none, true},
        {"after itself", {.after_seq = 7, .since_wall_ms = INT64_MIN}, false},
        {"after the one before", {.after_seq = 6, .since_wall_ms = INT64_MIN}, true},
        {"since", {.since_wall_ms = 1001}, false},
        {"kind", {.since_wall_ms = 0, .kind = "unit,health"}, true},
        {"part of a kind", {.since_wall_ms = 0, .kind = "unit,heal"}, false},
        {"subject", {.since_wall_ms = 0, .subject = "ap-seoul/x.com"}, true},
        {"subject prefix", {.since_wall_ms = 0, .subject = "ap-seoul"}, true},
        {"not a whole word", {.since_wall_ms = 0, .subject = "ap-seo"}, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (timeline_matches(&t, &rows[i].f) != rows[i].match)
            fail_msg("%s", rows[i].name);
}

static void test_merge_keeps_each_host_in_order(void **state)
{
    /* hk1's clock jumps back between 1 and 2: its entries stay in the order it saw them. */
    struct timeline_entry hk[] = {entry("hk1", 1, 500), entry("hk1", 2, 100), entry("hk1", 3, 700)};
    struct timeline_entry seoul[] = {entry("seoul1", 1, 400), entry("seoul1", 2, 600)};
    const struct timeline_entry *lists[] = {hk, seoul};
    const size_t lens[] = {3, 2};
    const struct timeline_entry **merged;
    size_t n;
    timeline_merge(lists, lens, 2, &merged, &n);
    const struct timeline_entry *expect[] = {&seoul[0], &hk[0], &hk[1], &seoul[1], &hk[2]};
    assert_int_equal(n, 5);
    assert_memory_equal(merged, expect, sizeof expect);
    free(merged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bad_entries_are_refused),
        cmocka_unit_test(test_long_texts_are_cut_whole),
        cmocka_unit_test(test_foreign_texts_are_made_harmless),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_merge_keeps_each_host_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
