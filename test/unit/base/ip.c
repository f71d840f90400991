/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/ip/ip.h"

static void test_addresses(void **state)
{
    static const struct {
        const char *text, *shown; /* NULL: refused */
    } rows[] = {
        {"203.0.113.20", "203.0.113.20"},
        {"2001:DB8:0::1", "2001:db8::1"},
        {"::", "::"},
        {"1.2.3", NULL},
        {"1.2.3.4.5", NULL},
        {"256.1.1.1", NULL},
        {"01.2.3.4", NULL},
        {"", NULL},
        {"1.2.3.4 ", NULL},
        {"::g", NULL},
        {"fe80::1%eth0", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ip_addr a;
        char text[IP_TEXT_SIZE];
        bool ok = ip_parse(rows[i].text, &a);
        if (ok)
            ip_format(&a, text);
        if (ok != (rows[i].shown != NULL) || (ok && strcmp(text, rows[i].shown) != 0))
            fail_msg("%s", rows[i].text);
    }
    char text[IP_TEXT_SIZE];
    ip_format(&(struct ip_addr){0}, text);
    assert_string_equal(text, "-");
}

static void test_prefixes(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        {"10.0.0.0/8", true},
        {"0.0.0.0/0", true},
        {"1.2.3.4/32", true},
        {"2001:db8::/32", true},
        {"::/0", true},
        {"::1/128", true},
        {"10.0.0.1/8", false},
        {"10.0.0.0/33", false},
        {"10.0.0.0", false},
        {"10.0.0.0/", false},
        {"10.0.0.0/-1", false},
        {"::1/127", false},
        {"2001:db8::/129", false},
        {"/8", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ip_prefix p;
        char text[IP_TEXT_SIZE];
        if (ip_prefix_parse(rows[i].text, &p) != rows[i].ok)
            fail_msg("%s", rows[i].text);
        if (!rows[i].ok)
            continue;
        ip_prefix_format(&p, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void test_containment(void **state)
{
    static const struct {
        const char *a, *b;
        bool contains, overlaps;
    } rows[] = {
        {"10.0.0.0/8", "10.255.255.255/32", true, true},
        {"10.0.0.0/8", "11.0.0.0/32", false, false},
        {"10.0.0.0/9", "10.128.0.0/32", false, false},
        {"0.0.0.0/0", "1.2.3.4/32", true, true},
        {"10.1.0.0/16", "10.0.0.0/8", false, true},
        {"::/0", "1.2.3.4/32", false, false},
        {"2001:db8::/33", "2001:db8:8000::/128", false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ip_prefix a, b;
        assert_true(ip_prefix_parse(rows[i].a, &a) && ip_prefix_parse(rows[i].b, &b));
        if (ip_prefix_contains(&a, &b.addr) != rows[i].contains
            || ip_prefix_overlaps(&a, &b) != rows[i].overlaps
            || ip_prefix_overlaps(&b, &a) != rows[i].overlaps)
            fail_msg("%s and %s", rows[i].a, rows[i].b);
    }
}

static void test_nth(void **state)
{
    static const struct {
        const char *prefix;
        uint64_t n;
        const char *addr; /* NULL: outside */
    } rows[] = {
        {"10.0.0.0/8", 0, "10.0.0.0"},
        {"10.0.0.0/8", 0x010203, "10.1.2.3"},
        {"10.0.0.0/30", 3, "10.0.0.3"},
        {"10.0.0.0/30", 4, NULL},
        {"1.2.3.4/32", 1, NULL},
        {"2001:db8::/64", UINT64_MAX, "2001:db8::ffff:ffff:ffff:ffff"},
        {"0.0.0.0/0", 1ull << 32, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ip_prefix p;
        struct ip_addr a;
        char text[IP_TEXT_SIZE];
        assert_true(ip_prefix_parse(rows[i].prefix, &p));
        bool ok = ip_prefix_nth(&p, rows[i].n, &a);
        if (ok)
            ip_format(&a, text);
        if (ok != (rows[i].addr != NULL) || (ok && strcmp(text, rows[i].addr) != 0))
            fail_msg("%s, %llu", rows[i].prefix, (unsigned long long)rows[i].n);
    }
}

static void test_sockaddr(void **state)
{
    static const struct {
        const char *text, *back;
    } rows[] = {{"192.0.2.1", "192.0.2.1"}, {"2001:db8::1", "2001:db8::1"},
        {"::ffff:192.0.2.1", "192.0.2.1"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ip_addr a, b;
        struct sockaddr_storage sa;
        socklen_t len;
        uint16_t port = 0;
        char text[IP_TEXT_SIZE];
        assert_true(ip_parse(rows[i].text, &a));
        ip_to_sockaddr(&a, 853, &sa, &len);
        assert_true(ip_from_sockaddr((struct sockaddr *)&sa, &b, &port));
        ip_format(&b, text);
        assert_string_equal(text, rows[i].back);
        assert_int_equal(port, 853);
    }
    struct sockaddr_storage unix_socket = {.ss_family = AF_UNIX};
    assert_false(ip_from_sockaddr((struct sockaddr *)&unix_socket, &(struct ip_addr){0}, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_containment),
        cmocka_unit_test(test_nth),
        cmocka_unit_test(test_sockaddr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
