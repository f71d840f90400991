/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/base64/base64.h"
#include "base/rnd/rnd.h"

/* RFC 4648 section 10. */
static void test_known_answers(void **state)
{
    static const struct {
        const char *plain, *text;
    } rows[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}, {"\xff\xef\xbe", "/+++"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_str_ struct str text = STR_INIT, plain = STR_INIT;
        struct err e;
        base64_encode(rows[i].plain, strlen(rows[i].plain), &text);
        assert_string_equal(str_cstr(&text), rows[i].text);
        assert_int_equal(base64_decode(rows[i].text, strlen(rows[i].text), &plain, &e), 0);
        assert_string_equal(str_cstr(&plain), rows[i].plain);
    }
}

static void test_refused(void **state)
{
    static const char *const rows[] = {"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "=Zg=", "Zg==Zg==",
        "Zm 9", "Zm9v\n", "Zm9_", "Zm9-", "====", "Z==="};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_str_ struct str plain = STR_INIT;
        str_add(&plain, "kept");
        if (base64_decode(rows[i], strlen(rows[i]), &plain, NULL) != ERR_INVALID)
            fail_msg("%s", rows[i]);
        assert_string_equal(plain.buf, "kept");
    }
}

static void test_every_length(void **state)
{
    for (size_t len = 0; len < 200; len++) {
        uint8_t bytes[200], back[200];
        size_t n;
        _cleanup_str_ struct str text = STR_INIT;
        rnd_bytes(bytes, len);
        base64_encode(bytes, len, &text);
        assert_int_equal(base64_decode_into(text.buf, text.len, back, len, &n, NULL), 0);
        assert_int_equal(n, len);
        assert_memory_equal(bytes, back, len);
        if (len)
            assert_int_equal(
                base64_decode_into(text.buf, text.len, back, len - 1, &n, NULL), ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
