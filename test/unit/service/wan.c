/* SPDX-License-Identifier: Apache-2.0 */
#include "service/wan/wan.h"

#include "base/ip/ip.h"
#include "base/rnd/rnd.h"

#include "test.h"

#include <string.h>

#define MS 1000000ull
#define LOG_MAX 20000

static struct {
    unsigned to[LOG_MAX];
    uint8_t mark[LOG_MAX];
    size_t n;
} got;

static void out(void *ctx, unsigned endpoint, const void *packet, size_t len)
{
    assert_true(got.n < LOG_MAX);
    got.to[got.n] = endpoint;
    got.mark[got.n++] = ((const uint8_t *)packet)[len - 1];
}

static const char *const base_config =
    "{\"format\":1,\"endpoints\":["
    "{\"name\":\"hk1\",\"region\":\"hk\",\"addresses\":[\"10.20.0.11\",\"fd00:20::11\"],\"public\":"
    "[\"203.0.113.20\"]},"
    "{\"name\":\"hk2\",\"region\":\"hk\",\"addresses\":[\"10.20.0.12\"],\"public\":[\"203.0.113."
    "20\"]},"
    "{\"name\":\"se1\",\"region\":\"se\",\"addresses\":[\"10.40.0.11\",\"fd00:40::11\"],\"public\":"
    "[\"203.0.113.40\"]},"
    "{\"name\":\"client\",\"region\":\"client\",\"prefixes\":[\"198.51.100.0/28\"]}],"
    "\"links\":[{\"from\":\"hk\",\"to\":\"se\",\"delay_us\":19000},{\"from\":\"se\",\"to\":\"hk\","
    "\"delay_us\":19000}],"
    "\"rules\":[%s]}";

static int configure(struct wan *w, const char *rules, struct err *e)
{
    char text[4096];
    snprintf(text, sizeof text, base_config, rules);
    json_t *j = NULL;
    assert_int_equal(json_parse(text, strlen(text), &j, e), 0);
    int r = wan_configure(w, j, e);
    json_decref(j);
    return r;
}

static struct wan *start(const char *rules)
{
    struct err e = {0};
    struct wan *w = wan_new(out, NULL);
    got.n = 0;
    if (configure(w, rules, &e) < 0)
        fail_msg("%s", e.message);
    for (unsigned i = 0; i < 4; i++)
        wan_attach(w, i, true);
    return w;
}

static size_t make(uint8_t *p, const char *src, const char *dst, size_t len, uint8_t mark)
{
    struct ip_addr s, d;
    assert_true(ip_parse(src, &s) && ip_parse(dst, &d));
    memset(p, 0, len);
    p[0] = s.family == 4 ? 0x45 : 0x60;
    memcpy(p + (s.family == 4 ? 12 : 8), s.bytes, s.family == 4 ? 4 : 16);
    memcpy(p + (s.family == 4 ? 16 : 24), d.bytes, s.family == 4 ? 4 : 16);
    p[len - 1] = mark;
    return len;
}

static void put(
    struct wan *w, const char *from, const char *src, const char *dst, uint8_t mark, uint64_t now)
{
    uint8_t p[100];
    wan_input(w, (unsigned)wan_endpoint(w, from), p, make(p, src, dst, sizeof p, mark), now);
}

static int64_t dropped(struct wan *w, const char *endpoint, const char *why)
{
    json_t *j = wan_status(w), *item;
    int64_t n = -1;
    size_t i;
    json_array_foreach (json_object_get(j, "endpoints"), i, item)
        if (!strcmp(json_opt_str(item, "name", ""), endpoint))
            n = json_opt_int(json_object_get(item, "dropped"), why, 0);
    json_decref(j);
    return n;
}

static void test_routes(void **state)
{
    static const struct {
        const char *name, *from, *src, *dst;
        int to; /* -1: dropped */
        const char *why;
    } rows[] = {
        {"within a region", "hk1", "10.20.0.11", "10.20.0.12", 1, NULL},
        {"public address", "client", "198.51.100.3", "203.0.113.40", 2, NULL},
        {"back to any of the client's", "se1", "203.0.113.40", "198.51.100.15", 3, NULL},
        {"IPv6", "hk1", "fd00:20::11", "fd00:40::11", 2, NULL},
        {"nobody's", "hk1", "10.20.0.11", "10.99.0.1", -1, "no-route"},
        {"just past the client's", "hk1", "10.20.0.11", "198.51.100.16", -1, "no-route"},
        {"somebody else's source", "hk1", "10.40.0.11", "10.20.0.12", -1, "spoofed"},
        {"a container's source", "hk1", "100.127.0.5", "10.20.0.12", -1, "spoofed"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct wan *w = start("");
        put(w, rows[i].from, rows[i].src, rows[i].dst, 7, 0);
        wan_run(w, 1000 * MS);
        if (got.n != (rows[i].to >= 0) || (got.n && (int)got.to[0] != rows[i].to))
            fail_msg(
                "%s: %zu packets out, to %d", rows[i].name, got.n, got.n ? (int)got.to[0] : -1);
        if (rows[i].why)
            assert_int_equal(dropped(w, rows[i].from, rows[i].why), 1);
        wan_free(w);
    }
}

static void test_garbage(void **state)
{
    struct wan *w = start("");
    uint8_t p[WAN_MTU + 1] = {0x45};
    for (size_t len = 0; len < 20; len++)
        wan_input(w, 0, p, len, 0);
    p[0] = 0x60;
    wan_input(w, 0, p, 39, 0);
    p[0] = 0xf0;
    wan_input(w, 0, p, 100, 0);
    make(p, "10.20.0.11", "10.20.0.12", sizeof p, 0);
    wan_input(w, 0, p, sizeof p, 0); /* over the MTU */
    assert_int_equal(got.n, 0);
    assert_int_equal(dropped(w, "hk1", "no-route"), 23);
    wan_free(w);
}

static void test_delay_keeps_order(void **state)
{
    struct wan *w = start("");
    assert_int_equal(wan_run(w, 0), WAN_NEVER);
    for (uint8_t i = 0; i < 200; i++)
        put(w, "hk1", "10.20.0.11", "10.40.0.11", i, i / 10); /* ten of each moment */
    assert_int_equal(wan_run(w, 0), 19 * MS);
    assert_int_equal(wan_run(w, 19 * MS - 1), 19 * MS);
    assert_int_equal(got.n, 0);
    assert_int_equal(wan_run(w, 19 * MS), 19 * MS + 1);
    assert_int_equal(got.n, 10);
    assert_int_equal(wan_run(w, 20 * MS), WAN_NEVER);
    assert_int_equal(got.n, 200);
    for (uint8_t i = 0; i < 200; i++)
        assert_int_equal(got.mark[i], i);
    wan_free(w);
}

static void test_cut_one_way(void **state)
{
    struct wan *w = start("{\"from\":\"hk\",\"to\":\"se\",\"cut\":true}");
    put(w, "hk1", "10.20.0.11", "10.40.0.11", 1, 0);
    put(w, "hk2", "203.0.113.20", "203.0.113.40", 2, 0);
    put(w, "se1", "10.40.0.11", "10.20.0.11", 3, 0);
    put(w, "hk1", "10.20.0.11", "198.51.100.1", 4, 0);
    wan_run(w, 100 * MS);
    assert_int_equal(got.n, 2);
    assert_int_equal(got.mark[0], 4);
    assert_int_equal(got.mark[1], 3);
    assert_int_equal(dropped(w, "hk1", "cut"), 1);
    struct err e = {0};
    assert_int_equal(configure(w, "", &e), 0); /* mended */
    put(w, "hk1", "10.20.0.11", "10.40.0.11", 5, 100 * MS);
    wan_run(w, 200 * MS);
    assert_int_equal(got.mark[2], 5);
    wan_free(w);
}

static void test_narrow_beats_wide(void **state)
{
    /* Whatever their order: the host's rule holds for it, the region's for the other. */
    static const char *const rules[] = {
        "{\"from\":\"hk1\",\"to\":\"se\",\"delay_us\":50000},{\"from\":\"hk\",\"to\":\"se\","
        "\"delay_us\":5000}",
        "{\"from\":\"hk\",\"to\":\"se\",\"delay_us\":5000},{\"from\":\"hk1\",\"to\":\"se\",\"delay_"
        "us\":50000}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        struct wan *w = start(rules[i]);
        put(w, "hk1", "10.20.0.11", "10.40.0.11", 1, 0);
        assert_int_equal(wan_run(w, 0), 50 * MS);
        put(w, "hk2", "10.20.0.12", "10.40.0.11", 2, 0);
        assert_int_equal(wan_run(w, 0), 5 * MS);
        wan_free(w);
    }
}

static void test_loss_is_seeded(void **state)
{
    size_t first = 0;
    for (int again = 0; again < 2; again++) {
        struct wan *w = start("{\"from\":\"hk\",\"to\":\"hk\",\"loss\":0.3}");
        for (int i = 0; i < 10000; i++)
            put(w, "hk1", "10.20.0.11", "10.20.0.12", 1, 0);
        assert_in_range(got.n, 6800, 7200);
        if (again)
            assert_int_equal(got.n, first);
        first = got.n;
        wan_free(w);
    }
}

static void test_rate(void **state)
{
    /* 8 Mbit/s: 100 bytes take 100 us. Two hosts of the region share the line. */
    struct wan *w = start("{\"from\":\"hk\",\"to\":\"se\",\"delay_us\":0,\"rate_bps\":8000000}");
    for (int i = 0; i < 10; i++) {
        put(w, "hk1", "10.20.0.11", "10.40.0.11", 1, 0);
        put(w, "hk2", "10.20.0.12", "10.40.0.11", 2, 0);
    }
    wan_run(w, 1 * MS);
    assert_int_equal(got.n, 10);
    assert_int_equal(wan_run(w, 2 * MS), WAN_NEVER);
    assert_int_equal(got.n, 20);
    for (int i = 0; i < 10000; i++) /* a second's worth: the buffer holds 200 ms of it */
        put(w, "hk1", "10.20.0.11", "10.40.0.11", 1, 2 * MS);
    wan_run(w, 2000 * MS);
    assert_in_range(got.n, 2000, 2040);
    wan_free(w);
}

static void test_queue_is_bounded(void **state)
{
    struct wan *w = start("");
    for (unsigned i = 0; i < WAN_QUEUE_MAX + 100; i++)
        put(w, "hk1", "10.20.0.11", "10.40.0.11", 1, 0);
    assert_int_equal(dropped(w, "hk1", "queue"), 100);
    for (int round = 0; round < 3;
         round++) { /* slots come back, also after their pages were given up */
        wan_run(w, 1000 * MS);
        got.n = 0;
        for (int i = 0; i < 5000; i++)
            put(w, "hk1", "10.20.0.11", "10.40.0.11", (uint8_t)i, 1000 * MS);
        wan_run(w, 2000 * MS);
        assert_int_equal(got.n, 5000);
        for (int i = 0; i < 5000; i++)
            assert_int_equal(got.mark[i], (uint8_t)i);
    }
    wan_free(w);
}

static void test_shared_address(void **state)
{
    struct wan *w = start("");
    unsigned seen = 0;
    for (int i = 0; i < 16; i++) {
        char src[32];
        snprintf(src, sizeof src, "198.51.100.%d", i);
        put(w, "client", src, "203.0.113.20", 1, 0);
        put(w, "client", src, "203.0.113.20", 1, 0);
        assert_int_equal(got.to[got.n - 1], got.to[got.n - 2]); /* a flow stays where it is */
        seen |= 1u << got.to[got.n - 1];
    }
    assert_int_equal(seen, 3); /* both hosts of the region */
    wan_attach(w, 0, false);
    got.n = 0;
    put(w, "client", "198.51.100.1", "203.0.113.20", 1, 0);
    assert_int_equal(got.to[0], 1);
    wan_attach(w, 1, false);
    put(w, "client", "198.51.100.1", "203.0.113.20", 1, 0);
    assert_int_equal(got.n, 1);
    assert_int_equal(dropped(w, "client", "off"), 1);
    wan_free(w);
}

static void test_power_loss(void **state)
{
    struct wan *w = start("");
    put(w, "hk1", "10.20.0.11", "10.40.0.11", 1, 0);
    wan_attach(w, 2, false); /* under way to a host that goes off */
    wan_run(w, 100 * MS);
    wan_attach(w, 0, false);
    put(w, "hk1", "10.20.0.11", "10.20.0.12", 1, 0); /* what it says dying is not heard */
    assert_int_equal(got.n, 0);
    wan_free(w);
}

static void test_reconfigured(void **state)
{
    struct wan *w = start("");
    struct err e = {0};
    assert_int_equal(
        configure(w, "{\"from\":\"nope\",\"to\":\"hk\",\"cut\":true}", &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.message, "nope"));
    put(w, "hk1", "10.20.0.11", "10.20.0.12", 1, 0); /* the old one still holds */
    assert_int_equal(got.n, 1);
    static const char text[] =
        "{\"endpoints\":[{\"name\":\"new\",\"region\":\"x\",\"addresses\":[\"10.1.0.1\"]},"
        "{\"name\":\"hk1\",\"region\":\"hk\",\"addresses\":[\"10.20.0.11\"]}]}";
    json_t *j = NULL;
    put(w, "hk1", "10.20.0.11", "10.40.0.11", 1, 0);
    assert_int_equal(json_parse(text, strlen(text), &j, &e), 0);
    assert_int_equal(wan_configure(w, j, &e), 0);
    json_decref(j);
    assert_int_equal(wan_endpoint(w, "hk1"), 1);
    assert_int_equal(wan_run(w, 100 * MS), WAN_NEVER);
    put(w, "hk1", "10.20.0.11", "10.1.0.1", 1, 0); /* still attached; the new one is not */
    assert_int_equal(dropped(w, "hk1", "off"), 1);
    wan_free(w);
}

static void test_bad_config(void **state)
{
    static const struct {
        const char *rules, *message;
    } rows[] = {
        {"{\"from\":\"hk\"}", "\"to\""},
        {"{\"from\":\"hk\",\"to\":\"se\",\"loss\":1.5}", "loss"},
        {"{\"from\":\"hk\",\"to\":\"se\",\"loss\":\"1\"}", "loss"},
        {"{\"from\":\"hk\",\"to\":\"se\",\"delay_us\":-1}", "delay_us"},
        {"{\"from\":\"hk\",\"to\":\"se\",\"rate_bps\":10}", "rate"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = {0};
        struct wan *w = wan_new(out, NULL);
        assert_true(configure(w, rows[i].rules, &e) < 0);
        if (!strstr(e.message, rows[i].message))
            fail_msg("'%s' does not say '%s'", e.message, rows[i].message);
        wan_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_delay_keeps_order),
        cmocka_unit_test(test_cut_one_way),
        cmocka_unit_test(test_narrow_beats_wide),
        cmocka_unit_test(test_loss_is_seeded),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_shared_address),
        cmocka_unit_test(test_power_loss),
        cmocka_unit_test(test_reconfigured),
        cmocka_unit_test(test_bad_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
