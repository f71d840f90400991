/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/capolicy/capolicy.h"

#include "base/arena/arena.h"

#include "test.h"

#include <string.h>

#define T0 1795392000000ll
#define HOUR 3600000ll
#define DAY (24 * HOUR)

static const char declaration[] =
    "platform: shop\n"
    "domain: shop.example\n"
    "regions:\n"
    "  ra: {duty: main, address: [203.0.113.20, 2001:db8::20], network: [10.20.0.0/16, fd00:20::/64]}\n"
    "  rb: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n"
    "hosts:\n"
    "  a1: {region: ra, address: [10.20.0.11, fd00:20::11], public: true}\n"
    "  a2: {region: ra, address: 10.20.0.12}\n"
    "  a3: {region: ra, address: 10.20.0.13}\n"
    "  b1: {region: rb, address: 10.40.0.11, public: true}\n"
    "state: {members: [a1, a2, b1]}\n"
    "routing:\n"
    "  nameservers: {ns1: ra, ns2: rb}\n"
    "  countries: {KR: [rb], TH: [ra]}\n"
    "  default: [ra]\n"
    "modules:\n"
    "  web: {image: oci:web, port: 80, route: {names: [shop.example, w.eu.shop.example], path: /, "
    "auth: none}, regions: {each: 1}}\n"
    "  api: {image: oci:api, port: 80, regions: {ra: 2}}\n"
    "data: {trade: {source: rb, replicas: [ra]}}\n";

static struct model *model;

static int load(void **state)
{
    struct err e = {0};
    return model_parse(declaration, strlen(declaration), "test", &model, NULL, &e);
}

static int unload(void **state)
{
    model_free(model);
    return 0;
}

static const struct row {
    const char *what, *host;
    enum leaf_kind kind;
    const char *module;
    const char *uri; /* NULL: none, or refused */
    size_t addresses, names;
    const char *refused; /* part of the reason */
} rows[] = {
    {"a public host", "a1", LEAF_HOST, NULL, "spiffe://shop/host/a1", 4, 0, NULL},
    {"a host", "a3", LEAF_HOST, NULL, "spiffe://shop/host/a3", 1, 0, NULL},
    {"its mesh", "a3", LEAF_MESH, NULL, "spiffe://shop/mesh/a3", 0, 0, NULL},
    {"a member", "a2", LEAF_STATE, NULL, "spiffe://shop/control/a2", 1, 0, NULL},
    {"a client of the state store", "a3", LEAF_STATE, NULL, "spiffe://shop/control/a3", 0, 0, NULL},
    {"an edge", "b1", LEAF_EDGE, NULL, NULL, 0, 3, NULL},
    {"an edge towards modules", "b1", LEAF_GATEWAY, NULL, "spiffe://shop/edge/b1", 0, 0, NULL},
    {"a module that runs there", "a1", LEAF_MODULE, "web", "spiffe://shop/module/web", 0, 0, NULL},
    {"a database's server", "a2", LEAF_DATA, NULL, "spiffe://shop/data/a2", 1, 0, NULL},
    {"another's", "b1", LEAF_DATA, NULL, "spiffe://shop/data/b1", 2, 0, NULL},
    {"a host without databases", "a3", LEAF_DATA, NULL, NULL, 0, 0, "no database has a member"},
    {"a stranger", "x9", LEAF_HOST, NULL, NULL, 0, 0, "no host x9"},
    {"a name that begins alike", "a", LEAF_HOST, NULL, NULL, 0, 0, "no host a"},
    {"an edge without public address", "a2", LEAF_EDGE, NULL, NULL, 0, 0, "not public"},
    {"the same towards modules", "a2", LEAF_GATEWAY, NULL, NULL, 0, 0, "not public"},
    {"a module of another host", "a3", LEAF_MODULE, "web", NULL, 0, 0, "no instance of module web"},
    {"a module of another region", "b1", LEAF_MODULE, "api", NULL, 0, 0, "no instance"},
    {"no such module", "a1", LEAF_MODULE, "nope", NULL, 0, 0, "no instance"},
    {"no module named", "a1", LEAF_MODULE, NULL, NULL, 0, 0, "(none)"},
};

static void check(const struct capolicy_facts *f, const struct row *row)
{
    struct err e = {0};
    struct arena *a = arena_new(0);
    struct capolicy_leaf leaf;
    int r = capolicy_leaf(f, row->host, row->kind, row->module, a, &leaf, &e);
    if (row->refused) {
        if (r != ERR_REFUSED || !strstr(e.message, row->refused))
            fail_msg("%s: %d %s", row->what, r, e.message);
    } else if (r < 0) {
        fail_msg("%s: %s", row->what, e.message);
    } else {
        if (leaf.n_addresses != row->addresses || leaf.n_names != row->names)
            fail_msg("%s: %zu addresses, %zu names", row->what, leaf.n_addresses, leaf.n_names);
        if (row->uri ? !leaf.uri || strcmp(leaf.uri, row->uri) != 0 : leaf.uri != NULL)
            fail_msg("%s: uri %s", row->what, leaf.uri ? leaf.uri : "(none)");
        assert_int_equal(leaf.is_client, row->kind != LEAF_EDGE);
    }
    arena_free(a);
}

static void test_policy(void **state)
{
    struct capolicy_facts f = {.platform = "shop", .model = model};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check(&f, &rows[i]);
}

static void test_placement_decides(void **state)
{
    json_t *placements = json_pack("{s:{s:[{s:s,s:s},{s:s,s:s}]}}", "ra", "instances", "module",
        "api", "host", "a3", "module", "gone", "host", "a2");
    struct capolicy_facts f = {.platform = "shop", .model = model, .placements = placements};
    static const struct row placed[] = {
        {"placed", "a3", LEAF_MODULE, "api", "spiffe://shop/module/api", 0, 0, NULL},
        {"an instance that still drains", "a2", LEAF_MODULE, "gone", "spiffe://shop/module/gone", 0,
            0, NULL},
        {"not placed there", "a1", LEAF_MODULE, "api", NULL, 0, 0, "no instance"},
        {"not placed at all", "a1", LEAF_MODULE, "web", NULL, 0, 0, "no instance"},
        {"a region without placement", "b1", LEAF_MODULE, "web", "spiffe://shop/module/web", 0, 0,
            NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(placed); i++)
        check(&f, &placed[i]);
    json_decref(placements);
}

static void test_before_the_first_revision(void **state)
{
    struct capolicy_facts f = {
        .platform = "shop", .self = model_find_host(model, "a1"), .self_is_member = true};
    static const struct row early[] = {
        {"itself", "a1", LEAF_HOST, NULL, "spiffe://shop/host/a1", 4, 0, NULL},
        {"itself as member", "a1", LEAF_STATE, NULL, "spiffe://shop/control/a1", 4, 0, NULL},
        {"another", "a2", LEAF_HOST, NULL, NULL, 0, 0, "no host a2"},
        {"its edge", "a1", LEAF_EDGE, NULL, NULL, 0, 0, "nothing is applied"},
        {"a module", "a1", LEAF_MODULE, "web", NULL, 0, 0, "nothing is applied"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(early); i++)
        check(&f, &early[i]);
}

/* a3 is not declared any more and still votes: its state leaf keeps a member's name and addresses. */
static void test_who_leaves_the_state_store_serves_it_until_it_has_left(void **state)
{
    static const struct row leaving = {
        "leaving", "a3", LEAF_STATE, NULL, "spiffe://shop/control/a3", 1, 0, NULL};
    static const struct row left = {
        "left", "a3", LEAF_STATE, NULL, "spiffe://shop/control/a3", 0, 0, NULL};
    _cleanup_json_ json_t *with = json_pack("[{s:s},{s:s},{s:n}]", "host", "a1", "host", "a3",
                              "host"),
                          *without = json_pack("[{s:s}]", "host", "a1");
    struct capolicy_facts f = {.platform = "shop",
        .model = model,
        .self = model_find_host(model, "a3"),
        .self_is_member = true,
        .members = with};
    check(&f, &leaving);
    f.members = without;
    check(&f, &left);
    f.members = NULL; /* not known yet: what the boot record says */
    check(&f, &leaving);
}

static void test_names_and_holders(void **state)
{
    struct arena *a = arena_new(0);
    size_t n;
    const char *const *names = capolicy_edge_names(model, a, &n);
    assert_int_equal(n, 3); /* each once */
    assert_string_equal(names[0], "shop.example");
    assert_string_equal(names[1], "*.shop.example");
    assert_string_equal(names[2], "w.eu.shop.example");
    arena_free(a);
    assert_true(capolicy_holds(model, "a1"));
    assert_true(capolicy_holds(model, "b1"));
    assert_false(capolicy_holds(model, "a3"));
    assert_false(capolicy_holds(model, "x9"));
}

static void test_renewal(void **state)
{
    const struct capolicy_life l = {T0, T0 - 300000, T0 + 12 * HOUR};
    assert_int_equal(capolicy_renew_at(&l, 0.5), T0 + 6 * HOUR);
    for (double j = 0; j < 1; j += 0.01) {
        int64_t at = capolicy_renew_at(&l, j);
        assert_in_range(at - T0, 12 * HOUR * 2 / 5, 12 * HOUR * 3 / 5);
    }
    static const struct {
        int64_t after, now;
        enum capolicy_state state;
    } times[] = {
        {0, T0, LIFE_FRESH},
        {0, T0 - 200000, LIFE_FRESH}, /* a clock behind by less than the backdating */
        {0, T0 - 400000, LIFE_EARLY}, /* and by more, also after a jump back */
        {0, T0 + 6 * HOUR - 1, LIFE_FRESH},
        {0, T0 + 6 * HOUR, LIFE_DUE},
        {T0 + 1, T0 + HOUR, LIFE_DUE}, /* all leaves are to be made anew */
        {T0 - 1, T0 + HOUR, LIFE_FRESH},
        {0, T0 + 9 * HOUR + 1, LIFE_LATE},
        {0, T0 + 12 * HOUR, LIFE_EXPIRED}, /* a jump ahead */
        {0, T0 + 400 * DAY, LIFE_EXPIRED},
    };
    for (size_t i = 0; i < ARRAY_SIZE(times); i++)
        assert_int_equal(capolicy_state(&l, 0.5, times[i].after, times[i].now), times[i].state);
    /* Wall time jumps: nobody sleeps for longer than a minute over it, or not at all. */
    assert_int_equal(capolicy_look_ms(&l, 0.5, T0), 60000);
    assert_int_equal(capolicy_look_ms(&l, 0.5, T0 + 6 * HOUR - 1000), 1000);
    assert_int_equal(capolicy_look_ms(&l, 0.5, T0 + 20 * HOUR), 50);
}

static void test_retry(void **state)
{
    uint64_t last = 0;
    for (unsigned n = 1; n < 40; n++) {
        uint64_t wait = capolicy_retry_ms(n, 12 * HOUR, 0.5);
        assert_true(wait >= last && wait <= 300000);
        last = wait;
    }
    assert_int_equal(last, 300000);
    assert_int_equal(capolicy_retry_ms(1, 12 * HOUR, 0.5), 500);
    assert_true(capolicy_retry_ms(40, 20000, 1) <= 1250); /* a short life: many tries in it */
    assert_true(capolicy_retry_ms(3, 0, 0.5) == 500);     /* never had one */
}

static void test_gate_and_alarm(void **state)
{
    char text[256];
    struct err e = {0};
    assert_false(capolicy_alarm("the root", "rotate", T0 + 15 * DAY, T0, text));
    assert_true(capolicy_alarm("the root", "rotate", T0 + 13 * DAY + 1, T0, text));
    assert_string_equal(text, "the root ends in 13 days; rotate");
    assert_true(capolicy_alarm("the root", "rotate", T0, T0, text));
    assert_non_null(strstr(text, "has ended"));
    assert_int_equal(capolicy_gate("the root", "rotate", T0 + 4 * DAY, T0, &e), 0);
    assert_int_equal(capolicy_gate("the root", "rotate", T0 + 2 * DAY, T0, &e), ERR_REFUSED);
    assert_string_equal(e.message, "the root ends in 48 hours");
    assert_int_equal(capolicy_gate("the root", "rotate", T0 - 1, T0, &e), ERR_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_placement_decides),
        cmocka_unit_test(test_before_the_first_revision),
        cmocka_unit_test(test_who_leaves_the_state_store_serves_it_until_it_has_left),
        cmocka_unit_test(test_names_and_holders),
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_gate_and_alarm),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
