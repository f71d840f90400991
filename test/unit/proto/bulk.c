/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "proto/bulk/bulk.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_request_both_ways(void **state)
{
    struct bulk_request r = {.kind = BULK_FILE, .digest = "sha256:" HEX, .offset = 1ll << 32}, back;
    _cleanup_str_ struct str line = STR_INIT;
    struct err e = {0};
    bulk_request_format(&r, &line);
    assert_int_equal(line.buf[line.len - 1], '\n');
    assert_true(line.len < BULK_HEAD_MAX);
    assert_int_equal(bulk_request_parse(line.buf, line.len - 1, &back, &e), 0);
    assert_int_equal(back.kind, BULK_FILE);
    assert_string_equal(back.digest, r.digest);
    assert_int_equal(back.offset, r.offset);
}

static void test_answer_both_ways(void **state)
{
    struct bulk_answer back;
    struct err e = {0};
    struct bulk_answer rows[] = {{.size = 0}, {.size = BULK_BLOB_MAX},
        {.code = ERR_NOT_FOUND, .message = "no \"such\" blob\n"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_str_ struct str line = STR_INIT;
        bulk_answer_format(&rows[i], &line);
        assert_ptr_equal(memchr(line.buf, '\n', line.len), line.buf + line.len - 1);
        assert_int_equal(bulk_answer_parse(line.buf, line.len - 1, &back, &e), 0);
        assert_int_equal(back.code, rows[i].code);
        if (rows[i].code)
            assert_string_equal(back.message, rows[i].message);
        else
            assert_int_equal(back.size, rows[i].size);
    }
}

/* An overlong reason, cut in a character, is still a line that the other end reads. */
static void test_any_reason_is_a_line(void **state)
{
    struct bulk_answer a = {.code = ERR_SYSTEM}, back;
    struct err e = {0};
    memset(a.message, 0xc3, sizeof a.message - 1);
    _cleanup_str_ struct str line = STR_INIT;
    bulk_answer_format(&a, &line);
    assert_int_equal(bulk_answer_parse(line.buf, line.len - 1, &back, &e), 0);
    assert_int_equal(back.code, ERR_SYSTEM);
}

static void test_refused(void **state)
{
    static const struct {
        const char *name, *text;
        bool request;
    } rows[] = {
        {"empty", "", true},
        {"not JSON", "GET / HTTP/1.1", true},
        {"no object", "[1,1]", true},
        {"no protocol", "{\"kind\":\"image\",\"digest\":\"sha256:" HEX "\"}", true},
        {"a later protocol", "{\"protocol\":[2,9],\"size\":1}", false},
        {"an earlier protocol", "{\"protocol\":[0,0],\"size\":1}", false},
        {"kind", "{\"protocol\":[1,1],\"kind\":\"x\",\"digest\":\"sha256:" HEX "\"}", true},
        {"digest", "{\"protocol\":[1,1],\"kind\":\"image\",\"digest\":\"sha256:../x\"}", true},
        {"offset",
            "{\"protocol\":[1,1],\"kind\":\"image\",\"digest\":\"sha256:" HEX "\",\"offset\":-1}",
            true},
        {"no size", "{\"protocol\":[1,1]}", false},
        {"negative size", "{\"protocol\":[1,1],\"size\":-5}", false},
        {"a size over the limit", "{\"protocol\":[1,1],\"size\":99999999999999}", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct bulk_request r;
        struct bulk_answer a;
        struct err e = {0};
        size_t len = strlen(rows[i].text);
        int code = rows[i].request ? bulk_request_parse(rows[i].text, len, &r, &e)
                                   : bulk_answer_parse(rows[i].text, len, &a, &e);
        if (code != ERR_PROTOCOL)
            fail_msg("%s: %d", rows[i].name, code);
        assert_true(*e.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_both_ways),
        cmocka_unit_test(test_answer_both_ways),
        cmocka_unit_test(test_any_reason_is_a_line),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
