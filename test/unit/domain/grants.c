/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/grants/grants.h"

#define HEAD                                                                                       \
    "platform: demo\n"                                                                             \
    "domain: example.com\n"                                                                        \
    "regions:\n"                                                                                   \
    "  hk: {duty: main, network: 10.20.0.0/16}\n"                                                  \
    "hosts:\n"                                                                                     \
    "  hk1: {region: hk, address: 10.20.0.11}\n"                                                   \
    "data:\n"                                                                                      \
    "  trade: {source: hk, connections: 101}\n"                                                    \
    "  stock: {source: hk, port: 3307}\n"                                                          \
    "events: {outbox: trade}\n"                                                                    \
    "modules:\n"
#define MODULE(name, needs) "  " name ": {image: \"oci:x\", regions: {hk: 1}, needs: [" needs "]}\n"

static struct model *model_of(const char *modules)
{
    struct model *m = NULL;
    struct err e = {0};
    _cleanup_free_ char *text = xasprintf("%s%s", HEAD, modules);
    if (model_parse(text, strlen(text), "p.yaml", &m, NULL, &e) < 0)
        fail_msg("%s: %s", e.where, e.message);
    return m;
}

static void expect(const struct model *m, const char *database, const char *expected)
{
    json_t *j = grants_accounts(m, model_find_database(m, database));
    char *text = json_text(j);
    for (char *c = text; *c; c++)
        *c = *c == '"' ? '\'' : *c;
    assert_string_equal(text, expected);
    free(text);
    json_decref(j);
}

#define ROW(access, table) "{'access':'" access "','database':'trade','table':'" table "'}"

static void test_each_need(void **state)
{
    static const struct {
        const char *needs, *grants;
        bool write;
    } rows[] = {
        {"{data: trade, tables: [orders]}", ROW("read", "orders"), false},
        {"{data: trade, access: write, tables: [orders]}", ROW("write", "orders"), true},
        {"{data: trade, tables: [b, a]}, {data: trade, access: write, tables: [b]}",
            ROW("read", "a") "," ROW("write", "b"), true},
        {"{data: trade, tables: [\"*\"]}", ROW("read", "*"), false},
        {"{events: publish, key: a.b}", ROW("insert", "outbox"), true},
        {"{events: consume, queue: q}", ROW("insert", "inbox") "," ROW("read", "inbox"), true},
        {"{data: trade, tables: [outbox]}, {events: publish, key: a.b}",
            ROW("read", "outbox") "," ROW("insert", "outbox"), true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_free_ char *modules = xasprintf(MODULE("api", "%s"), rows[i].needs),
                            *expected =
                                xasprintf("[{'grants':[%s],'max_connections':109,'user':'api'}]", rows[i].grants);
        struct model *m = model_of(modules);
        expect(m, "trade", expected);
        expect(m, "stock", "[]");
        assert_int_equal(
            grants_write(model_grant(model_find_module(m, "api"), model_find_database(m, "trade"))),
            rows[i].write);
        model_free(m);
    }
}

static void test_each_module_has_its_own(void **state)
{
    struct model *m = model_of(MODULE("web", "") MODULE("api", "{data: trade, tables: [a]}")
            MODULE("ai", "{data: stock, tables: [s]}") MODULE("pay", "{events: publish, key: k}"));
    expect(m, "trade",
        "[{'grants':[" ROW("read", "a") "],'max_connections':59,'user':'api'},"
        "{'grants':[" ROW("insert", "outbox") "],'max_connections':59,'user':'pay'}]");
    expect(m, "stock",
        "[{'grants':[{'access':'read','database':'stock','table':'s'}],'max_connections':208,"
        "'user':'ai'}]");
    assert_int_equal(grants_share(m, model_find_database(m, "trade")), 51);
    assert_int_equal(grants_share(m, model_find_database(m, "stock")), 200);
    model_free(m);
}

static void test_words(void **state)
{
    assert_int_equal(grants_of_access("read"), GRANT_SELECT);
    assert_int_equal(grants_of_access("insert"), GRANT_INSERT);
    assert_int_equal(grants_of_access("write"), 15);
    assert_int_equal(grants_of_access("all"), 0);
    assert_int_equal(grants_of_access(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_need),
        cmocka_unit_test(test_each_module_has_its_own), cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
