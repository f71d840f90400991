/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "proto/mesh/mesh.h"

#define LONG63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_hello(void **state)
{
    static const struct {
        const char *name, *bytes;
        size_t len;
        int expected;
        const char *module, *unit;
    } rows[] = {
        {"module and unit", "MCPM\1\2ai\4ai-1", 13, 13, "ai", "ai-1"},
        {"any unit, and what follows", "MCPM\1\2ai\0GET", 12, 9, "ai", ""},
        {"half", "MCPM\1\2a", 7, 0, NULL, NULL},
        {"nothing", "", 0, 0, NULL, NULL},
        {"another protocol", "GET ", 4, -1, NULL, NULL},
        {"half of another", "MG", 2, -1, NULL, NULL},
        {"a kind that is not known", "MCPM\3", 5, -1, NULL, NULL},
        {"no module", "MCPM\1\0\0", 7, -1, NULL, NULL},
        {"capitals", "MCPM\1\1A\0", 8, -1, NULL, NULL},
        {"a path", "MCPM\1\3a/b\0", 10, -1, NULL, NULL},
        {"too long", "MCPM\1\100", 6, -1, NULL, NULL},
        {"hyphen in front", "MCPM\1\2-a\0", 9, -1, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct mesh_hello h;
        int n = mesh_hello_parse((const uint8_t *)rows[i].bytes, rows[i].len, &h);
        if (n != rows[i].expected)
            fail_msg("%s: %d", rows[i].name, n);
        if (n <= 0)
            continue;
        assert_string_equal(h.name, rows[i].module);
        assert_string_equal(h.unit, rows[i].unit);
        uint8_t out[MESH_HELLO_MAX];
        assert_int_equal(mesh_hello_format(&h, out), n);
        assert_memory_equal(out, rows[i].bytes, n);
    }
}

static void test_hello_of_a_database(void **state)
{
    static const struct {
        const char *name, *bytes;
        size_t len;
        int expected;
        bool write;
        int64_t epoch;
    } rows[] = {
        {"rw", "MCPM\2\5tradew\0\0\0\0\0\0\1\2", 20, 20, true, 258},
        {"ro, and what follows", "MCPM\2\5trader\0\0\0\0\0\0\0\7more", 24, 20, false, 7},
        {"the last epoch", "MCPM\2\5trader\x7f\xff\xff\xff\xff\xff\xff\xff", 20, 20, false,
            INT64_MAX},
        {"no end yet", "MCPM\2\5trade", 11, 0, false, 0},
        {"half an epoch", "MCPM\2\5tradew\0\0\0", 15, 0, false, 0},
        {"another end", "MCPM\2\5tradex", 12, -1, false, 0},
        {"an epoch below zero", "MCPM\2\5tradew\x80", 13, -1, false, 0},
        {"no name", "MCPM\2\0w", 7, -1, false, 0},
        {"not a label", "MCPM\2\3a_bw", 9, -1, false, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct mesh_hello h;
        uint8_t out[MESH_HELLO_MAX];
        int n = mesh_hello_parse((const uint8_t *)rows[i].bytes, rows[i].len, &h);
        if (n != rows[i].expected)
            fail_msg("%s: %d", rows[i].name, n);
        if (n <= 0)
            continue;
        assert_int_equal(h.kind, MESH_TO_DATABASE);
        assert_string_equal(h.name, "trade");
        assert_int_equal(h.write, rows[i].write);
        assert_int_equal(h.epoch, rows[i].epoch);
        assert_int_equal(mesh_hello_format(&h, out), n);
        assert_memory_equal(out, rows[i].bytes, n);
    }
}

static void test_longest(void **state)
{
    struct mesh_hello h = {MESH_TO_MODULE, LONG63, LONG63, false, 0}, again;
    uint8_t out[MESH_HELLO_MAX];
    assert_int_equal(mesh_hello_format(&h, out), MESH_HELLO_MAX);
    assert_int_equal(mesh_hello_parse(out, sizeof out, &again), MESH_HELLO_MAX);
    assert_string_equal(again.unit, LONG63);
}

static void test_answer(void **state)
{
    enum mesh_status s;
    uint8_t out[MESH_ANSWER_SIZE];
    for (int i = 0; i < MESH_STATUSES; i++) {
        mesh_answer_format((enum mesh_status)i, out);
        assert_true(mesh_answer_parse(out, sizeof out, &s));
        assert_int_equal(s, i);
    }
    assert_false(mesh_answer_parse((const uint8_t *)"M\x7f", 2, &s));
    assert_false(mesh_answer_parse((const uint8_t *)"X\0", 2, &s));
    assert_false(mesh_answer_parse((const uint8_t *)"M", 1, &s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hello),
        cmocka_unit_test(test_hello_of_a_database), cmocka_unit_test(test_longest),
        cmocka_unit_test(test_answer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
