/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/err/err.h"
#include "base/json/json.h"

#include <errno.h>

static void test_set_and_wrap(void **state)
{
    struct err e = {0};
    assert_int_equal(err_set(&e, ERR_INVALID, "bad %s", "thing"), ERR_INVALID);
    err_where(&e, "f:%d", 3);
    err_fix(&e, "do %s", "that");
    assert_int_equal(err_wrap(&e, "read %s", "f"), ERR_INVALID);
    assert_string_equal(e.message, "read f: bad thing");
    assert_string_equal(e.where, "f:3");
    assert_string_equal(e.fix, "do that");
    err_set(&e, ERR_FAILED, "new"); /* a new error has no old place */
    assert_string_equal(e.where, "");
    assert_string_equal(e.fix, "");
    assert_int_equal(err_set(NULL, ERR_LIMIT, "nobody asks"), ERR_LIMIT);
    assert_int_equal(err_wrap(NULL, "x"), ERR_FAILED);
    assert_int_equal(err_errno(NULL, EIO, "x"), ERR_SYSTEM);
}

static void test_errno(void **state)
{
    struct err e = {0};
    assert_int_equal(err_errno(&e, ENOENT, "open %s", "f"), ERR_NOT_FOUND);
    assert_string_equal(e.message, "open f: No such file or directory");
    assert_int_equal(err_errno(&e, EEXIST, "x"), ERR_EXISTS);
    assert_int_equal(err_errno(&e, EACCES, "x"), ERR_SYSTEM);
}

static void test_codes(void **state)
{
    for (int code = ERR_CANCELED; code < 0; code++)
        assert_int_equal(err_code_parse(err_code_name(code)), code);
    assert_int_equal(err_code_parse("from a later version"), ERR_FAILED);
    assert_string_equal(err_code_name(-999), "failed");
    assert_int_equal(err_exit_status(ERR_USAGE), 2);
    assert_int_equal(err_exit_status(ERR_REFUSED), 3);
    assert_int_equal(err_exit_status(ERR_INVALID), 1);
}

/* A message that is too long is cut at a character, or its JSON form would be lost. */
static void test_cut(void **state)
{
    struct err e = {0};
    struct str text = STR_INIT;
    for (int i = 0; i < 400; i++)
        str_add(&text, "한");
    for (int shift = 0; shift < 3; shift++) {
        err_set(&e, ERR_FAILED, "%.*s%s", shift, "xx", text.buf);
        err_where(&e, "%.*s%s", shift, "xx", text.buf);
        err_fix(&e, "%.*s%s", shift, "xx", text.buf);
        err_wrap(&e, "%.*s", shift, "yy");
        assert_true(strlen(e.message) < sizeof e.message);
        json_t *j = json_from_err(&e);
        assert_string_equal(json_opt_str(j, "message", ""), e.message);
        json_decref(j);
    }
    str_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_wrap),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
