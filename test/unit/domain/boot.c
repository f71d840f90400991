/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/spec/boot.h"

static const char record[] =
    "{\"format\":1,\"platform\":\"reindeers\",\"host\":\"hk1\",\"region\":\"ap-hongkong\","
    "\"addresses\":[\"10.20.0.11\"],\"public\":[\"203.0.113.20\",\"2001:db8::20\"],"
    "\"bridge\":\"100.127.0.0/16\",\"roles\":[\"control\",\"agent\",\"dns\"],"
    "\"state\":{\"kind\":\"etcd\",\"endpoints\":[\"https://10.20.0.11:2379\"],"
    "\"member\":{\"name\":\"hk1\"}},\"peers\":[{\"host\":\"sel1\",\"region\":\"ap-seoul\","
    "\"addresses\":[\"10.20.0.12\"]}],\"cgroup\":\"/mcp/reindeers.hk1\","
    "\"geo\":\"/geo/country.mmdb\"}";

static int parse(const char *text, struct boot **ret, struct err *e)
{
    _cleanup_json_ json_t *tree = NULL;
    assert_int_equal(json_parse(text, strlen(text), &tree, e), 0);
    return boot_parse(tree, ret, e);
}

static void test_whole_record(void **state)
{
    struct err e = {0};
    struct boot *b;
    char text[IP_TEXT_SIZE];
    assert_int_equal(parse(record, &b, &e), 0);
    assert_string_equal(b->platform, "reindeers");
    assert_int_equal(b->addresses.n, 1);
    assert_int_equal(b->public.n, 2);
    ip_format(&b->gateway, text);
    assert_string_equal(text, "100.127.0.1");
    assert_int_equal(b->state, BOOT_ETCD);
    assert_string_equal(b->member, "hk1");
    assert_string_equal(b->peers[0].region, "ap-seoul");
    assert_true(boot_has_role(b, "dns") && !boot_has_role(b, "edge"));
    /* Written and read again: the same. */
    _cleanup_json_ json_t *again = boot_to_json(b);
    assert_true(json_equal(again, b->tree));
    boot_free(b);
}

/* The record with the first `from` replaced by `to`. */
static char *edited(const char *from, const char *to)
{
    const char *at = strstr(record, from);
    assert_non_null(at);
    return xasprintf("%.*s%s%s", (int)(at - record), record, to, at + strlen(from));
}

static void test_refusals(void **state)
{
    static const struct {
        const char *from, *to, *message;
    } rows[] = {
        {"\"format\":1", "\"format\":2", "\"format\" is 2"},
        {"\"hk1\"", "\"../x\"", "\"host\" is no name"},
        {"\"hk1\"", "\"\"", "\"host\" is no name"},
        {"[\"10.20.0.11\"]", "[]", "\"addresses\" is empty"},
        {"[\"10.20.0.11\"]", "[\"10.20.0\"]", "\"addresses\"[0] is no address"},
        {"[\"10.20.0.11\"]", "[1]", "\"addresses\"[0] is no address"},
        {"[\"10.20.0.11\"]", "\"10.20.0.11\"", "\"addresses\" must be an array"},
        {"100.127.0.0/16", "10.20.0.0/16", "contains the host's own address 10.20.0.11"},
        {"100.127.0.0/16", "100.127.0.0/32", "no network with room"},
        {"100.127.0.0/16", "somewhere", "no network with room"},
        {"\"dns\"]", "\"control\"]", "names control twice"},
        {"\"dns\"]", "\"../dns\"]", "no role's name"},
        {"\"kind\":\"etcd\"", "\"kind\":\"consul\"", "kind is sqlite or etcd"},
        {"[\"https://10.20.0.11:2379\"]", "[]", "etcd without endpoints"},
        {"\"sel1\"", "7", "\"peers\"[0]: \"host\" must be a string"},
        {"/mcp/reindeers.hk1", "/mcp/../..", "\"cgroup\" is no absolute path"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = {0};
        struct boot *b;
        _cleanup_free_ char *text = edited(rows[i].from, rows[i].to);
        if (parse(text, &b, &e) >= 0 || !strstr(e.message, rows[i].message))
            fail_msg("row %zu: %s", i, e.message);
    }
}

static void test_unknown_members_survive(void **state)
{
    struct err e = {0};
    struct boot *b;
    _cleanup_free_ char *text = edited("\"format\":1", "\"format\":1,\"later\":{\"a\":1}");
    assert_int_equal(parse(text, &b, &e), 0);
    assert_non_null(json_object_get(b->tree, "later"));
    boot_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_record),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_unknown_members_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
