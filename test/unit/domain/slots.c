/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/unit/slots.h"

static void test_kept_and_reused_last(void **state)
{
    struct ip_prefix p;
    struct slots s = {0};
    assert_true(ip_prefix_parse("100.127.0.0/29", &p)); /* .2 to .6 */
    assert_int_equal(slots_take(&s, "a-1", &p), 1);
    assert_int_equal(slots_take(&s, "b-1", &p), 2);
    assert_int_equal(slots_take(&s, "a-1", &p), 1);
    slots_free(&s, "a-1");
    assert_int_equal(slots_take(&s, "c-1", &p), 3); /* not the freed one at once */
    assert_int_equal(slots_take(&s, "d-1", &p), 4);
    assert_int_equal(slots_take(&s, "e-1", &p), 5);
    assert_int_equal(slots_take(&s, "f-1", &p), 1);
    assert_int_equal(slots_take(&s, "g-1", &p), 0); /* full */
    struct ip_addr a;
    char text[IP_TEXT_SIZE];
    assert_true(slot_address(1, &p, &a));
    ip_format(&a, text);
    assert_string_equal(text, "100.127.0.2");
    assert_false(slot_address(6, &p, &a)); /* the broadcast address */
    slots_done(&s);
}

static void test_round_trip(void **state)
{
    struct ip_prefix p;
    struct slots s = {0}, t = {0};
    assert_true(ip_prefix_parse("100.127.0.0/16", &p));
    slots_take(&s, "a-1", &p);
    slots_take(&s, "b-1", &p);
    slots_free(&s, "a-1");
    json_t *j = slots_format(&s);
    slots_parse(&t, j);
    assert_int_equal(slots_find(&t, "b-1"), 2);
    assert_int_equal(slots_find(&t, "a-1"), 0);
    assert_int_equal(slots_take(&t, "c-1", &p), 3);
    json_decref(j);
    j = json_pack("{s:i,s:{s:i,s:s,s:i,s:i}}", "next", -5, "slots", "x", 99999999, "y", "no", "z",
        0, "ok", 7);
    slots_done(&t);
    slots_parse(&t, j);
    assert_int_equal(slots_find(&t, "ok"), 7);
    assert_int_equal(slots_find(&t, "x"), 0);
    json_decref(j);
    slots_done(&s);
    slots_done(&t);
}

static void test_halves(void **state)
{
    static const char *const rows[][3] = {
        {"100.127.0.0/16", "100.127.0.0/17", "100.127.128.0/17"},
        {"100.127.4.0/23", "100.127.4.0/24", "100.127.5.0/24"},
        {"10.9.8.0/24", "10.9.8.0/25", "10.9.8.128/25"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (int upper = 0; upper < 2; upper++) {
            struct ip_prefix p;
            char text[IP_TEXT_SIZE];
            assert_true(ip_prefix_parse(rows[i][0], &p));
            p = slots_half(&p, upper);
            ip_prefix_format(&p, text);
            assert_string_equal(text, rows[i][1 + upper]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_and_reused_last), cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_halves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
