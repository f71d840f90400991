/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/model/model.h"

/* A whole platform in few lines; `MORE` is appended. */
#define REGIONS                                                                                    \
    "platform: demo\n"                                                                             \
    "domain: Example.com\n"                                                                        \
    "regions:\n"                                                                                   \
    "  kr: {duty: dr, address: [203.0.113.40, \"2001:db8::40\"], network: 10.40.0.0/16}\n"         \
    "  hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}\n"                           \
    "  th: {network: 10.60.0.0/16}\n"
#define HOSTS                                                                                      \
    "hosts:\n"                                                                                     \
    "  hk1: {region: hk, address: 10.20.0.11, public: true}\n"                                     \
    "  kr1: {region: kr, address: 10.40.0.11, public: true}\n"                                     \
    "  th1: {region: th, address: 10.60.0.11}\n"                                                   \
    "state: {members: [hk1, kr1, th1]}\n"
#define BASE REGIONS HOSTS

static struct model *parse_ok(const char *text)
{
    struct model *m = NULL;
    struct err e = {0};
    if (model_parse(text, strlen(text), "p.yaml", &m, NULL, &e) < 0)
        fail_msg("%s: %s", e.where, e.message);
    return m;
}

static void test_model(void **state)
{
    struct model *m = parse_ok(
        BASE "routing:\n"
             "  countries: {NO: [kr], KR: kr}\n"
             "  default: [main]\n"
             "modules:\n"
             "  web: {image: \"oci:images/web\", port: 80, regions: {each: 1, kr: {standby: 2}},\n"
             "        route: {names: WWW.example.com., path: /a/, auth: none}}\n");
    assert_int_equal(m->n_regions, 3);
    assert_string_equal(m->regions[0].name, "hk");
    assert_int_equal(m->regions[0].duty, REGION_MAIN);
    assert_int_equal(model_find_region(m, "kr")->addresses.n, 2);
    assert_null(model_find_region(m, "us"));
    assert_string_equal(m->domain, "example.com");
    assert_ptr_equal(m->members[1], model_find_host(m, "kr1"));
    assert_ptr_equal(model_first_host(m, &m->regions[2])->region, &m->regions[2]);
    assert_string_equal(m->routing.countries[1].code, "NO"); /* a country, not "false" */
    assert_int_equal(m->routing.countries[1].order.n, 2);
    assert_string_equal(m->routing.countries[1].order.v[1]->name, "hk");
    assert_string_equal(m->routing.fallback.v[1]->name, "kr"); /* main, then on_failure: dr */
    assert_int_equal(m->routing.n_nameservers, 2);             /* th has no public host */
    assert_int_equal(m->routing.ttl_ms, 60000);
    const struct model_module *web = model_find_module(m, "web");
    assert_int_equal(web->n_instances, 3);
    assert_int_equal(web->instances[1].standby, 2);
    assert_int_equal(web->instances[1].active, 0);
    assert_int_equal(web->probe.kind, PROBE_TCP);
    assert_string_equal(web->routes[0].names[0], "www.example.com");
    assert_string_equal(web->routes[0].path, "/a");
    model_free(m);
}

static void test_canonical_round_trip(void **state)
{
    struct model *m = parse_ok(
        BASE "lab: {clients: {KR: 198.51.100.0/28}, wan: [{between: [hk, kr], delay: 19ms, loss: "
             "0.5%, rate: 100Mbit}]}\n");
    _cleanup_free_ char *once = json_text(m->tree);
    struct model *again = parse_ok(once);
    _cleanup_free_ char *twice = json_text(again->tree);
    assert_string_equal(once, twice);
    assert_int_equal(again->lab.wan[0].delay_us, 19000);
    assert_int_equal(again->lab.wan[0].rate_bps, 100000000);
    assert_true(again->lab.wan[0].loss > 0.00499 && again->lab.wan[0].loss < 0.00501);
    model_free(again);
    model_free(m);
}

/* The defaults, written out into a revision, must be a declaration too: here on_failure's dr, which
 * nobody has. */
static void test_round_trip_of_the_smallest(void **state)
{
    struct model *m =
        parse_ok("platform: p\ndomain: example.com\n"
                 "regions: {hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}\n"
                 "hosts: {hk1: {region: hk, address: 10.20.0.11, public: true}}\n");
    _cleanup_free_ char *once = json_text(m->tree);
    struct model *again = parse_ok(once);
    assert_int_equal(again->routing.fallback.n, 1);
    model_free(again);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_canonical_round_trip),
        cmocka_unit_test(test_round_trip_of_the_smallest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
