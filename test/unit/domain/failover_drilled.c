/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/failover/drilled.h"

static const struct drilled_wish dark = {.id = "drill-dark-1", .drill = "dark", .mode = "live",
    .by = "kim", .database = "trade", .region = "hk", .after = 3, .max_ms = 60000};

static json_t *begun(int64_t wall_ms)
{
    json_t *doc = NULL;
    struct err e = {0};
    assert_int_equal(drilled_begin(NULL, &dark, wall_ms, &doc, &e), 0);
    return doc;
}

static void test_one_at_a_time_and_it_ends_by_itself(void **unused)
{
    json_t *doc = begun(1000), *other = NULL;
    struct err e = {0};
    struct drilled_wish w = dark;
    w.id = "drill-power-2";
    assert_true(drilled_running(doc, 60999));
    assert_int_equal(drilled_begin(doc, &w, 31000, &other, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.message, "the drill dark of kim"));
    assert_non_null(strstr(e.fix, "30 s"));
    assert_int_equal(drilled_gate(doc, 31000, &e), ERR_CONFLICT);
    assert_false(drilled_running(doc, 61000)); /* it died without a word */
    assert_int_equal(drilled_gate(doc, 61000, &e), 0);
    assert_int_equal(drilled_begin(doc, &w, 61000, &other, &e), 0);
    assert_string_equal(json_opt_str(other, "id", ""), "drill-power-2");
    json_decref(other);
    assert_int_equal(drilled_begin(doc, &dark, 5000, &other, &e), 0); /* asked twice */
    json_decref(other);
    json_decref(doc);
}

static void test_only_its_own_ends_it(void **unused)
{
    json_t *doc = begun(1000);
    json_t *same = drilled_end(doc, "drill-power-2", true, 2000);
    assert_ptr_equal(same, doc);
    json_decref(same);
    json_t *ended = drilled_end(doc, dark.id, true, 2000);
    assert_false(drilled_running(ended, 2001));
    assert_true(json_opt_bool(ended, "passed", false));
    same = drilled_end(ended, dark.id, false, 3000); /* the guard, later */
    assert_ptr_equal(same, ended);
    json_decref(same);
    json_decref(ended);
    json_decref(doc);
    assert_null(drilled_end(NULL, "x", true, 1));
}

static void test_what_is_refused(void **unused)
{
    char *many = xcalloc(1, DRILLED_TEXT_MAX + 2);
    json_t *doc = NULL;
    struct err e = {0};
    struct drilled_wish w = dark;
    memset(many, 'x', DRILLED_TEXT_MAX + 1);
    w.max_ms = DRILLED_MAX_MS + 1;
    assert_int_equal(drilled_begin(NULL, &w, 0, &doc, &e), ERR_USAGE);
    w = dark;
    w.id = "";
    assert_int_equal(drilled_begin(NULL, &w, 0, &doc, &e), ERR_USAGE);
    w = dark;
    w.region = many;
    assert_int_equal(drilled_begin(NULL, &w, 0, &doc, &e), ERR_USAGE);
    free(many);
}

static void test_r1_excepts_the_drill_that_injected_the_fault(void **unused)
{
    static const struct {
        const char *database, *region;
        int64_t at_ms;
        bool drill, own;
    } cases[] = {
        {"trade", "hk", 2000, true, true},
        {"trade", "seoul", 2000, true, false},
        {"stock", "hk", 2000, true, false},
        {"trade", "", 2000, true, false},
        {"trade", "hk", 61000, false, false},
    };
    json_t *doc = begun(1000);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct failover_automation a = {0};
        drilled_facts(doc, cases[i].database, cases[i].region, cases[i].at_ms, &a);
        assert_int_equal(a.drill, cases[i].drill);
        assert_int_equal(a.drill_own, cases[i].own);
    }
    struct failover_automation a = {.drill = true};
    drilled_facts(NULL, "trade", "hk", 1, &a);
    assert_false(a.drill);
    json_decref(doc);
}

static json_t *last(const char *kind, const char *outcome, int id)
{
    return json_pack("{s:s,s:s,s:i}", "kind", kind, "outcome", outcome, "id", id);
}

static void test_which_failover_it_has_caused(void **unused)
{
    static const struct {
        const char *kind, *outcome, *from;
        int id;
        bool caused;
    } cases[] = {
        {"failover", "done", "hk", 4, true},
        {"failover", "done", "hk", 3, false}, /* the one before it */
        {"failover", "partial", "hk", 4, false},
        {"switchover", "done", "hk", 4, false},
        {"failover", "done", "seoul", 4, false},
    };
    json_t *doc = begun(1000);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *l = last(cases[i].kind, cases[i].outcome, cases[i].id);
        assert_int_equal(drilled_caused(doc, "trade", cases[i].from, l), cases[i].caused);
        json_decref(l);
    }
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_at_a_time_and_it_ends_by_itself),
        cmocka_unit_test(test_only_its_own_ends_it),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_r1_excepts_the_drill_that_injected_the_fault),
        cmocka_unit_test(test_which_failover_it_has_caused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
