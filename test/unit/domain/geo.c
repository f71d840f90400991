/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/rnd/rnd.h"
#include "domain/geo/geo.h"

static const struct geo_countries *countries(void)
{
    static struct geo_countries c;
    c.list[geo_country_index("KR")] = 1;
    c.list[geo_country_index("JP")] = 1;
    c.list[geo_country_index("CN")] = 2;
    return &c;
}

static void add(
    struct geo_builder *b, enum geo_source source, const char *prefix, const char *country)
{
    struct ip_prefix p;
    struct err e = {0};
    assert_true(ip_prefix_parse(prefix, &p));
    assert_int_equal(geo_builder_add(b, source, &p, country, &e), 0);
}

static struct geo *finish(struct geo_builder *b)
{
    struct geo *g;
    struct err e = {0};
    assert_int_equal(geo_builder_finish(b, &g, &e), 0);
    geo_builder_free(b);
    return g;
}

static void expect(const struct geo *g, const char *addr, uint16_t list, uint8_t scope)
{
    struct ip_addr a;
    uint8_t got_scope;
    assert_true(ip_parse(addr, &a));
    uint16_t got = geo_lookup(g, &a, &got_scope);
    if (got != list || got_scope != scope)
        fail_msg("%s: list %u scope %u, expected %u and %u", addr, got, got_scope, list, scope);
}

static void test_rows(void **state)
{
    struct geo_builder *b = geo_builder_new(countries());
    add(b, GEO_DATABASE, "1.0.0.0/9", "KR");
    add(b, GEO_DATABASE, "1.128.0.0/9", "JP"); /* same list as KR: one /8 */
    add(b, GEO_DATABASE, "2.0.0.0/8", "US");   /* no list of its own: as if it were not there */
    add(b, GEO_DATABASE, "3.4.5.0/24", "CN");
    add(b, GEO_DATABASE, "2001:db8::/32", "CN");
    add(b, GEO_OVERRIDE, "3.4.0.0/16", "KR"); /* covers the database's longer prefix */
    add(b, GEO_OVERRIDE, "3.4.5.6/32", "CN");
    add(b, GEO_OVERRIDE, "9.9.9.9/32", "??");
    struct geo *g = finish(b);
    expect(g, "1.2.3.4", 1, 8);
    expect(g, "1.200.0.1", 1, 8);
    expect(g, "::ffff:1.2.3.4", 1, 104);
    expect(g, "2.1.1.1", 0, 8);
    expect(g, "3.4.5.1", 1, 30);
    expect(g, "3.4.5.6", 2, 32);
    expect(g, "200.0.0.1", 0, 1);
    expect(g, "2001:db8::1", 2, 32);
    expect(g, "2001:db9::1", 0, 32);
    expect(g, "8000::", 0, 1);
    uint8_t scope = 1;
    assert_int_equal(geo_lookup(g, &(struct ip_addr){0}, &scope), 0);
    assert_int_equal(scope, 0);
    geo_free(g);
}

static void test_empty(void **state)
{
    struct geo *g = finish(geo_builder_new(countries()));
    assert_int_equal(geo_nodes(g), 0);
    expect(g, "1.2.3.4", 0, 0);
    expect(g, "2001:db8::1", 0, 0);
    geo_free(g);
}

static void test_whole_space_and_host_routes(void **state)
{
    struct geo_builder *b = geo_builder_new(countries());
    add(b, GEO_DATABASE, "::/0", "CN");
    add(b, GEO_DATABASE, "0.0.0.0/0", "KR");
    add(b, GEO_DATABASE, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "KR");
    add(b, GEO_DATABASE, "::ffff:1.2.3.4/128", "CN"); /* mapped: IPv4 */
    struct geo *g = finish(b);
    expect(g, "::", 2, 1);
    expect(g, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1, 128);
    expect(g, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 2, 128);
    expect(g, "1.2.3.4", 2, 32);
    expect(g, "1.2.3.5", 1, 32);
    expect(g, "255.0.0.0", 1, 1);
    geo_free(g);
}

#define SPACE_BITS 11
#define SPACE (1u << SPACE_BITS)

struct oracle { /* what each value of the top bits gets, and how specific the entry was */
    uint16_t list[SPACE];
    unsigned rank[SPACE];
};

static void oracle_add(
    struct oracle *o, unsigned start, unsigned bits, unsigned rank, uint16_t list)
{
    unsigned first = start & ~((SPACE - 1) >> bits) & (SPACE - 1);
    for (unsigned i = 0; i < SPACE >> bits; i++)
        if (rank >= o->rank[first + i]) {
            o->rank[first + i] = rank;
            o->list[first + i] = list;
        }
}

/* The shortest prefix around `at` that has one list. */
static unsigned oracle_scope(const struct oracle *o, unsigned at)
{
    for (unsigned bits = 0;; bits++) {
        unsigned size = SPACE >> bits, first = at / size * size, i = 0;
        while (i < size && o->list[first + i] == o->list[at])
            i++;
        if (i == size)
            return bits;
    }
}

static struct ip_addr space_addr(uint8_t family, unsigned at)
{
    struct ip_addr a = {.family = family};
    a.bytes[0] = (uint8_t)(at >> (SPACE_BITS - 8));
    a.bytes[1] = (uint8_t)(at << (16 - SPACE_BITS));
    return a;
}

/* Random overlapping entries of both sources in random order against a longest-match table, each
 * address of the space with its exact scope. */
static void test_against_oracle(void **state)
{
    static const char *const codes[] = {"KR", "JP", "CN", "US", "zz"};
    struct rnd rnd;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        uint8_t family = seed % 2 ? 4 : 6;
        struct oracle o = {0};
        struct geo_builder *b = geo_builder_new(countries());
        rnd_seed(&rnd, seed);
        for (uint64_t n = rnd_below(&rnd, 200); n; n--) {
            unsigned bits = (unsigned)rnd_below(&rnd, SPACE_BITS + 1);
            unsigned at = (unsigned)rnd_below(&rnd, SPACE) & ~((SPACE - 1) >> bits);
            bool override = rnd_below(&rnd, 4) == 0;
            const char *code = codes[rnd_below(&rnd, ARRAY_SIZE(codes))];
            struct ip_prefix p = {.addr = space_addr(family, at), .bits = (uint8_t)bits};
            struct err e = {0};
            enum geo_source source = override ? GEO_OVERRIDE : GEO_DATABASE;
            assert_int_equal(geo_builder_add(b, source, &p, code, &e), 0);
            int index = geo_country_index(code);
            oracle_add(&o, at, bits, bits + (override ? 1000 : 0),
                index < 0 ? 0 : countries()->list[index]);
        }
        struct geo *g = finish(b);
        for (unsigned at = 0; at < SPACE; at++) {
            struct ip_addr a = space_addr(family, at);
            uint8_t scope;
            uint16_t list = geo_lookup(g, &a, &scope);
            if (list != o.list[at] || scope != oracle_scope(&o, at))
                fail_msg("seed %llu at %u: list %u scope %u, expected %u and %u",
                    (unsigned long long)seed, at, list, scope, o.list[at], oracle_scope(&o, at));
        }
        geo_free(g);
    }
}

static void test_country_index(void **state)
{
    assert_int_equal(geo_country_index("AA"), 0);
    assert_int_equal(geo_country_index("ZZ"), GEO_COUNTRIES - 1);
    static const char *const bad[] = {"", "K", "kr", "KRX", "K1", "\xff\xff"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(geo_country_index(bad[i]), -1);
    assert_int_equal(geo_country_index(NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_whole_space_and_host_routes),
        cmocka_unit_test(test_against_oracle),
        cmocka_unit_test(test_country_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
