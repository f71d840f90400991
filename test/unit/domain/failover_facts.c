/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/failover/facts.h"

/* What the client library and the server say, word by word. */
static void test_what_is_said_has_a_class(void **state)
{
    static const struct {
        const char *why;
        enum failover_class class;
    } cases[] = {
        {"Too many connections", FAILOVER_FULL_OF_SESSIONS},
        {"Access denied for user 'mcp'@'localhost'", FAILOVER_AUTHENTICATION},
        {"TLS/SSL error: certificate verify failed", FAILOVER_CERTIFICATE},
        {"Unknown server host 'db.example.net' (-2)", FAILOVER_NAMES},
        {"Can't create UNIX socket (24)", FAILOVER_PROBER_ILL},
        {"Client run out of memory", FAILOVER_PROBER_ILL},
        {"Can't connect to local server through socket '/x/db.sock' (111)", FAILOVER_SLOW},
        {"no answer within 1000 ms", FAILOVER_SLOW},
        {"", FAILOVER_SLOW},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (failover_class_of(cases[i].why) != cases[i].class)
            fail_msg("%s: %s", cases[i].why,
                failover_class_name(failover_class_of(cases[i].why)));
}

static void test_a_clock_that_is_set_and_a_machine_that_sleeps(void **state)
{
    struct failover_clock k = {0};
    int64_t wall = 1700000000000;
    assert_false(failover_clock_look(&k, wall, 5000, 90000)); /* slept before it began */
    assert_false(failover_clock_look(&k, wall + 500, 5500, 90000));
    assert_false(failover_clock_look(&k, wall + 1900, 6000, 90000)); /* slewed, however quickly */
    assert_int_equal(k.stepped_ms, 0);
    assert_true(failover_clock_look(&k, wall + 10000, 6500, 90000)); /* set forward */
    assert_int_equal(k.stepped_ms, 6500);
    assert_false(failover_clock_look(&k, wall + 10500, 7000, 90000));
    assert_true(failover_clock_look(&k, wall, 7500, 90000)); /* and back */
    /* Wall and boot clock go on together in a suspended machine: only the third tells. */
    assert_true(failover_clock_look(&k, wall + 60500, 68000, 150000));
    assert_int_equal(k.stepped_ms, 68000);
    assert_false(failover_clock_look(&k, wall + 61000, 68500, 150000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_said_has_a_class),
        cmocka_unit_test(test_a_clock_that_is_set_and_a_machine_that_sleeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
