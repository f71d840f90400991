/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/json/json.h"

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        {"{\"a\":1}", true},
        {"[1]", true},
        {"1", true},
        {"", false},
        {"{\"a\":1,\"a\":2}", false},
        {"{\"a\":1} x", false},
        {"{'a':1}", false},
        {"\"\xff\"", false},
        {"\"\\u0000\"", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *j = NULL;
        struct err e = {0};
        if ((json_parse(rows[i].text, strlen(rows[i].text), &j, &e) >= 0) != rows[i].ok)
            fail_msg("%s", rows[i].text);
        if (!rows[i].ok)
            assert_true(str_starts(e.where, "line 1, column "));
        json_decref(j);
    }
}

static void test_depth_is_bounded(void **state)
{
    static char text[100000];
    memset(text, '[', sizeof text);
    json_t *j = NULL;
    struct err e;
    assert_int_equal(json_parse(text, sizeof text, &j, &e), ERR_INVALID);
}

static void test_canonical_text(void **state)
{
    json_t *a = json_pack("{s:i,s:{s:s,s:s}}", "b", 1, "a", "y", "한", "x", "");
    json_t *b = json_pack("{s:{s:s,s:s},s:i}", "a", "x", "", "y", "한", "b", 1);
    char *x = json_text(a), *y = json_text(b);
    assert_string_equal(x, "{\"a\":{\"x\":\"\",\"y\":\"한\"},\"b\":1}");
    assert_string_equal(x, y);
    free(x);
    free(y);
    json_decref(a);
    json_decref(b);
}

static void test_getters(void **state)
{
    json_t *j = json_pack("{s:s,s:i,s:b,s:{},s:[],s:f}", "text", "t", "int", 5, "bool", 1, "obj",
        "list", "real", 0.5);
    struct err e = {0};
    const char *s;
    int64_t n;
    bool b;
    json_t *v;
    assert_int_equal(json_get_str(j, "text", &s, &e), 0);
    assert_int_equal(json_get_int(j, "int", 0, 5, &n, &e), 0);
    assert_int_equal(n, 5);
    assert_int_equal(json_get_bool(j, "bool", &b, &e), 0);
    assert_int_equal(json_get_obj(j, "obj", &v, &e), 0);
    assert_int_equal(json_get_array(j, "list", &v, &e), 0);
    assert_int_equal(json_get_int(j, "int", 0, 4, &n, &e), ERR_INVALID);
    assert_string_equal(e.message, "\"int\" is 5, allowed are 0 to 4");
    assert_int_equal(json_get_int(j, "real", 0, 4, &n, &e), ERR_INVALID);
    assert_int_equal(json_get_str(j, "int", &s, &e), ERR_INVALID);
    assert_string_equal(e.message, "\"int\" must be a string");
    assert_int_equal(json_get_str(j, "none", &s, &e), ERR_INVALID);
    assert_string_equal(e.message, "\"none\" is missing (a string)");
    assert_int_equal(json_get_bool(j, "text", &b, &e), ERR_INVALID);
    assert_int_equal(json_get_obj(j, "list", &v, &e), ERR_INVALID);
    assert_int_equal(json_get_array(j, "obj", &v, &e), ERR_INVALID);
    assert_string_equal(json_opt_str(j, "int", "d"), "d");
    assert_int_equal(json_opt_int(j, "text", 9), 9);
    assert_true(json_opt_bool(j, "none", true));
    assert_int_equal(json_get_str(NULL, "a", &s, &e), ERR_INVALID); /* of what is no object */
    json_decref(j);
}

static void test_errors(void **state)
{
    struct err e = {0}, back = {0};
    err_set(&e, ERR_REFUSED, "no");
    err_where(&e, "here");
    err_fix(&e, "do");
    json_t *j = json_from_err(&e);
    json_to_err(j, &back);
    assert_int_equal(back.code, ERR_REFUSED);
    assert_string_equal(back.message, "no");
    assert_string_equal(back.where, "here");
    assert_string_equal(back.fix, "do");
    json_decref(j);
    memcpy(e.message, "a\xff", 3);
    j = json_from_err(&e); /* what cannot be said in JSON is still an error */
    assert_string_equal(json_opt_str(j, "code", ""), "refused");
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_canonical_text),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
