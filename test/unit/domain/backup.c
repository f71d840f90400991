/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/backup/backup.h"

#include <string.h>

static void make(struct str *out)
{
    backup_begin(out, "shop", 7, "ann", 1800000000000);
    backup_add(out, "desired/7", "{\"a\": \"\\n\"}");
    backup_add(out, "desired/current", "7");
    backup_add(out, "epoch/scheduler", "41");
    backup_end(out, 3);
}

static void test_round_trip(void **state)
{
    struct err e = {0};
    struct backup *b;
    _cleanup_str_ struct str text = STR_INIT;
    make(&text);
    if (backup_parse(text.buf, text.len, &b, &e) < 0)
        fail_msg("%s", e.message);
    assert_string_equal(b->platform, "shop");
    assert_int_equal(b->revision, 7);
    assert_int_equal(b->n, 3);
    assert_string_equal(b->pairs[0].value, "{\"a\": \"\\n\"}");
    backup_free(b);
}

/* Whatever single byte is changed or lost, the file is refused. */
static void test_damage(void **state)
{
    struct backup *b;
    _cleanup_str_ struct str text = STR_INIT;
    make(&text);
    for (size_t i = 0; i < text.len; i++) {
        struct err e = {0};
        text.buf[i] ^= 1;
        if (backup_parse(text.buf, text.len, &b, &e) >= 0)
            fail_msg("byte %zu changed and accepted", i);
        text.buf[i] ^= 1;
        if (backup_parse(text.buf, i, &b, &e) >= 0)
            fail_msg("cut at %zu and accepted", i);
        assert_true(*e.message);
    }
}

static void refused(const char *body, size_t keys, const char *why)
{
    struct err e = {0};
    struct backup *b;
    _cleanup_str_ struct str text = STR_INIT;
    str_add(&text, body);
    backup_end(&text, keys);
    if (backup_parse(text.buf, text.len, &b, &e) >= 0 || !strstr(e.message, why))
        fail_msg("%s: %s", body, e.message);
}

#define HEAD "{\"format\":\"mcp-state\",\"version\":1,\"platform\":\"x\",\"revision\":1}\n"

static void test_refused(void **state)
{
    refused("", 0, "no backup");
    refused("{\"format\":\"other\",\"version\":1,\"platform\":\"x\",\"revision\":1}\n", 0, "no backup");
    refused("{\"format\":\"mcp-state\",\"version\":2,\"platform\":\"x\",\"revision\":1}\n", 0, "format 2");
    refused(HEAD "{\"k\":\"b\",\"v\":\"1\"}\n{\"k\":\"a\",\"v\":\"1\"}\n", 2, "not in order");
    refused(HEAD "{\"k\":\"a\",\"v\":\"1\"}\n{\"k\":\"a\",\"v\":\"1\"}\n", 2, "not in order");
    refused(HEAD "{\"k\":\"../a\",\"v\":1}\n", 1, "v");
    refused(HEAD "{\"k\":\"/a\",\"v\":\"1\"}\n", 1, "no key");
    refused(HEAD "{\"k\":\"a b\",\"v\":\"1\"}\n", 1, "no key");
    refused(HEAD, 1, "counts 1");
    refused(HEAD "[]\n", 0, "no object");
}

static void test_what_comes_back(void **state)
{
    static const struct {
        const char *key;
        bool back;
    } rows[] = {{"desired/3", true}, {"deploy/api", true}, {"placement/ra", true},
        {"secret/psp/3", true}, {"epoch/scheduler", true}, {"lease/scheduler", false},
        {"token/aa", false}, {"host/hk1", false}, {"denied/hk1", false}, {"ca/bundle", false},
        {"state/moving", false}, {"audit/e/1", false}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (backup_restores(rows[i].key) != rows[i].back)
            fail_msg("%s", rows[i].key);
    assert_true(backup_is_epoch("epoch/scheduler"));
    assert_int_equal(backup_epoch("41", NULL), 41 + BACKUP_EPOCH_STEP);
    assert_int_equal(backup_epoch("41", "90"), 90 + BACKUP_EPOCH_STEP);
    assert_int_equal(backup_epoch("x", "-"), BACKUP_EPOCH_STEP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_what_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
