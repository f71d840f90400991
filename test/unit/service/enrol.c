/* SPDX-License-Identifier: Apache-2.0 */
#include "service/enrol/records.h"

#include "domain/model/model.h"
#include "domain/spec/boot.h"
#include "domain/spec/spec.h"

#include "test.h"

#include <string.h>

static const char declaration[] =
    "platform: joinx\n"
    "domain: joinx.example\n"
    "regions:\n"
    "  ra: {duty: main, address: [203.0.113.20, 2001:db8::20], network: [10.20.0.0/16, fd00:20::/64]}\n"
    "  rb: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n"
    "hosts:\n"
    "  a1: {region: ra, address: [10.20.0.11, fd00:20::11], public: true}\n"
    "  a2: {region: ra, address: 10.20.0.12}\n"
    "  b1: {region: rb, address: 10.40.0.11, public: true}\n"
    "state: {members: [a1, a2, b1]}\n"
    "routing:\n"
    "  nameservers: {ns1: ra, ns2: rb}\n"
    "  countries: {KR: [rb], TH: [ra]}\n"
    "  default: [ra]\n";

static struct model *load(const char *text)
{
    struct err e = {0};
    struct model *m = NULL;
    if (model_parse(text, strlen(text), "test", &m, NULL, &e) < 0)
        fail_msg("%s", e.message);
    return m;
}

static void test_boot_record(void **state)
{
    struct err e = {0};
    struct model *m = load(declaration);
    struct boot *b = NULL;
    json_t *j = enrol_boot(m, model_find_host(m, "a1"), "/geo.mmdb", true);
    assert_int_equal(boot_parse(j, &b, &e), 0);
    assert_int_equal(b->state, BOOT_ETCD);
    assert_int_equal(b->n_endpoints, 3);
    assert_string_equal(b->endpoints[0], "https://10.20.0.11:2379");
    assert_string_equal(b->member, "a1");
    assert_string_equal(b->cgroup, "/mcp/joinx.a1");
    assert_int_equal(b->n_peers, 2);
    assert_int_equal(b->public.n, 2);
    assert_true(boot_has_role(b, "edge"));
    boot_free(b);
    json_decref(j);
    j = enrol_boot(m, model_find_host(m, "a2"), "/geo.mmdb", false);
    assert_int_equal(boot_parse(j, &b, &e), 0);
    assert_false(boot_has_role(b, "edge") || boot_has_role(b, "dns"));
    boot_free(b);
    json_decref(j);
    model_free(m);
}

static bool has_word(const char *const *argv, const char *word)
{
    for (; *argv; argv++)
        if (!strcmp(*argv, word))
            return true;
    return false;
}

static void test_boot_units(void **state)
{
    struct err e = {0};
    struct model *m = load(declaration);
    struct unit_specs *units = NULL;
    json_t *j = enrol_boot_units(m, model_find_host(m, "b1"), NULL);
    assert_int_equal(unit_specs_parse(j, &units, &e), 0);
    assert_int_equal(units->n, 1);
    const struct unit_spec *etcd = &units->v[0];
    assert_int_equal(etcd->kind, UNIT_ENGINE);
    assert_int_equal(etcd->runtime, UNIT_EXEC);
    static const char *const words[] = {"--client-cert-auth", "--peer-client-cert-auth",
        "https://10.40.0.11:2380",
        "a1=https://10.20.0.11:2380,a2=https://10.20.0.12:2380,b1=https://10.40.0.11:2380"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (!has_word(etcd->command, words[i]))
            fail_msg("etcd is not told %s", words[i]);
    unit_specs_free(units);
    json_decref(j);
    model_free(m);
}

static void test_own_cluster(void **state)
{
    struct err e = {0};
    struct model *m = load(declaration);
    struct unit_specs *units = NULL;
    const struct enrol_cluster c = {"a1=https://10.20.0.11:2380,b1=https://10.40.0.11:2380", true};
    json_t *j = enrol_boot_units(m, model_find_host(m, "b1"), &c);
    assert_int_equal(unit_specs_parse(j, &units, &e), 0);
    assert_true(has_word(units->v[0].command, c.initial));
    assert_true(has_word(units->v[0].command, "existing"));
    unit_specs_free(units);
    json_decref(j);
    char *url = enrol_peer_url(model_find_host(m, "a1"));
    assert_string_equal(url, "https://10.20.0.11:2380");
    free(url);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boot_record),
        cmocka_unit_test(test_boot_units),
        cmocka_unit_test(test_own_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
