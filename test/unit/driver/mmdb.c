/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"
#include "driver/mmdb/mmdb.h"

#include <fcntl.h>

/* A writer for tiny databases. Values of a record: a node, EMPTY or a data
 * offset. */
#define EMPTY (-1)
#define DATA(offset) (-2 - (offset))

struct file {
    uint8_t buf[4096];
    size_t len;
    unsigned record_bits; /* 0: 24 */
};

static void put(struct file *f, const void *p, size_t n)
{
    memcpy(f->buf + f->len, p, n);
    f->len += n;
}

static void put_string(struct file *f, const char *s)
{
    uint8_t control = (uint8_t)(2 << 5 | strlen(s));
    put(f, &control, 1);
    put(f, s, strlen(s));
}

static void put_uint(
    struct file *f, unsigned type, unsigned v) /* 16 bits: type 5, 32 bits: type 6 */
{
    uint8_t b[3] = {(uint8_t)(type << 5 | 2), (uint8_t)(v >> 8), (uint8_t)v};
    put(f, b, 3);
}

static void put_metadata(struct file *f, unsigned nodes, unsigned ip_version)
{
    put(f, "\xab\xcd\xefMaxMind.com", 14);
    put(f, "\xe9", 1); /* map of 9 */
    put_string(f, "node_count"), put_uint(f, 6, nodes);
    put_string(f, "record_size"), put_uint(f, 5, f->record_bits ? f->record_bits : 24);
    put_string(f, "ip_version"), put_uint(f, 5, ip_version);
    put_string(f, "database_type"), put_string(f, "test-country");
    put_string(f, "languages"), put(f, "\x00\x04", 2); /* empty array */
    put_string(f, "description"), put(f, "\xe0", 1);
    put_string(f, "binary_format_major_version"), put_uint(f, 5, 2);
    put_string(f, "binary_format_minor_version"), put_uint(f, 5, 0);
    put_string(f, "build_epoch"), put(f, "\x02\x02\x12\x34", 4); /* uint64 */
}

static unsigned record_value(int v, unsigned nodes)
{
    return v == EMPTY ? nodes : v < 0 ? nodes + 16 + (unsigned)(-2 - v) : (unsigned)v;
}

static void put_tree(struct file *f, const int (*nodes)[2], unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned l = record_value(nodes[i][0], n), r = record_value(nodes[i][1], n);
        uint8_t left[4] = {(uint8_t)(l >> 24), (uint8_t)(l >> 16), (uint8_t)(l >> 8), (uint8_t)l};
        uint8_t right[4] = {(uint8_t)(r >> 24), (uint8_t)(r >> 16), (uint8_t)(r >> 8), (uint8_t)r};
        uint8_t middle = (uint8_t)(left[0] << 4 | right[0]);
        if (f->record_bits == 32) {
            put(f, left, 4);
            put(f, right, 4);
        } else {
            put(f, left + 1, 3);
            if (f->record_bits == 28)
                put(f, &middle, 1);
            put(f, right + 1, 3);
        }
    }
    put(f, (const uint8_t[16]){0}, 16);
}

static void put_flat(struct file *f, const char *code)
{
    put(f, "\xe1", 1);
    put_string(f, "country_code"), put_string(f, code);
}

static void put_geoip2(struct file *f, const char *key, const char *code)
{
    put(f, "\xe1", 1);
    put_string(f, key);
    put(f, "\xe1", 1);
    put_string(f, "iso_code"), put_string(f, code);
}

struct dir {
    char path[64], file[96];
};

static void dir_make(struct dir *d, const struct file *f)
{
    struct err e = {0};
    str_copy(d->path, sizeof d->path, "/tmp/mcp-mmdb.XXXXXX");
    assert_non_null(mkdtemp(d->path));
    snprintf(d->file, sizeof d->file, "%s/x.mmdb", d->path);
    assert_int_equal(file_write(d->file, f->buf, f->len, 0644, &e), 0);
}

static void dir_remove(struct dir *d)
{
    struct err e = {0};
    assert_int_equal(file_remove_tree(d->path, &e), 0);
}

static int collect(void *ctx, const struct ip_prefix *p, const char *country, struct err *e)
{
    char text[IP_TEXT_SIZE];
    ip_prefix_format(p, text);
    str_addf(ctx, "%s %s\n", text, country);
    return 0;
}

static void expect_networks(const struct file *f, const char *expected)
{
    struct dir d;
    struct mmdb *m;
    struct err e = {0};
    _cleanup_str_ struct str out = STR_INIT;
    dir_make(&d, f);
    if (mmdb_open(d.file, &m, &e) < 0)
        fail_msg("%s", e.message);
    assert_string_equal(mmdb_type(m), "test-country");
    assert_int_equal(mmdb_built(m), 0x1234);
    assert_int_equal(mmdb_each(m, collect, &out, &e), 0);
    assert_string_equal(str_cstr(&out), expected);
    mmdb_close(m);
    dir_remove(&d);
}

static void test_ipv4_flat(void **state)
{
    static const unsigned record_bits[] = {24, 28, 32};
    for (size_t i = 0; i < ARRAY_SIZE(record_bits); i++) {
        struct file f = {.record_bits = record_bits[i]};
        const int nodes[][2] = {{DATA(0), 1}, {EMPTY, DATA(17)}};
        put_tree(&f, nodes, 2);
        put_flat(&f, "KR"); /* 17 bytes */
        put_flat(&f, "CN");
        put_metadata(&f, 2, 4);
        expect_networks(&f, "0.0.0.0/1 KR\n192.0.0.0/2 CN\n");
    }
}

/* As writers make them: a pointer for a repeated map, fields of every kind in front of the one that is wanted. */
static void test_pointers_and_other_fields(void **state)
{
    struct file f = {0};
    const int nodes[][2] = {{DATA(0), DATA(57)}};
    put_tree(&f, nodes, 1);
    put(&f, "\xe5", 1); /* 0: a map of 5 */
    put_string(&f, "a"),
        put(&f, "\x02\x04\xe1\x41x\x41y\x01\x07", 9); /* array of {"x": "y"}, true */
    put_string(&f, "d"), put(&f,
                             "\x68"
                             "01234567",
                             9); /* double */
    put_string(&f, "n"), put(&f,
                             "\x04\x01"
                             "1234",
                             6); /* int32 */
    put_string(&f, "u"), put(&f,
                             "\x02\x03"
                             "12",
                             4); /* uint128 */
    assert_int_equal(f.len, 6 + 16 + 1 + 11 + 11 + 8 + 6);
    put_string(&f, "country_code"), put_string(&f, "KR"); /* 37, 50 */
    while (f.len < 6 + 16 + 57)
        put(&f, "", 1);
    put(&f, "\x20\x00", 2); /* 57: a pointer to 0 */
    put_metadata(&f, 1, 4);
    expect_networks(&f, "0.0.0.0/1 KR\n128.0.0.0/1 KR\n");
}

static void test_geoip2_layouts(void **state)
{
    struct file f = {0};
    const int nodes[][2] = {{DATA(0), 1}, {DATA(22), DATA(55)}};
    put_tree(&f, nodes, 2);
    put_geoip2(&f, "country", "JP");            /* 1 + 8 + 1 + 9 + 3 = 22 bytes */
    put_geoip2(&f, "registered_country", "TH"); /* 33 bytes */
    put_flat(&f, "thailand");                   /* not a code: as if unknown */
    put_metadata(&f, 2, 4);
    expect_networks(&f, "0.0.0.0/1 JP\n128.0.0.0/2 TH\n");
}

/* ::/96 holds IPv4, 2000::/3 a network of IPv6, 6000::/3 an alias of the IPv4 tree. */
static void make_ipv6(struct file *f)
{
    int nodes[102][2];
    for (int i = 0; i < 96; i++) {
        nodes[i][0] = i + 1;
        nodes[i][1] = EMPTY;
    }
    nodes[0][1] = EMPTY;
    nodes[1][1] = 97;       /* 01... */
    nodes[2][1] = DATA(17); /* 001 */
    nodes[97][0] = EMPTY;
    nodes[97][1] = 96; /* 011: the alias */
    nodes[96][0] = DATA(0);
    nodes[96][1] = EMPTY;
    put_tree(f, nodes, 98);
    put_flat(f, "KR");
    put_flat(f, "CN");
    put_metadata(f, 98, 6);
}

static void test_ipv6_with_ipv4_and_alias(void **state)
{
    struct file f = {0};
    make_ipv6(&f);
    expect_networks(&f, "0.0.0.0/1 KR\n2000::/3 CN\n");
}

static void test_lookup_by_descriptor(void **state)
{
    static const struct {
        const char *addr, *country, *network; /* NULL: unknown */
    } rows[] = {{"1.2.3.4", "KR", "0.0.0.0/1"}, {"200.1.1.1", NULL, NULL},
        {"2001:db8::1", "CN", "2000::/3"}, {"fe80::1", NULL, NULL}};
    struct file f = {0};
    struct dir d;
    struct mmdb *m;
    struct err e = {0};
    make_ipv6(&f);
    dir_make(&d, &f);
    int fd = open(d.file, O_RDONLY | O_CLOEXEC);
    assert_int_equal(mmdb_open_fd(fd, &m, &e), 0);
    close(fd);
    dir_remove(&d);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ip_addr a;
        struct ip_prefix network;
        char country[3], text[IP_TEXT_SIZE];
        assert_true(ip_parse(rows[i].addr, &a));
        bool found = mmdb_country(m, &a, country, &network);
        assert_int_equal(mmdb_country(m, &a, country, NULL), found);
        assert_int_equal(found, rows[i].country != NULL);
        if (!found)
            continue;
        ip_prefix_format(&network, text);
        assert_string_equal(country, rows[i].country);
        assert_string_equal(text, rows[i].network);
    }
    mmdb_close(m);
}

static void test_no_data_says_what_to_do(void **state)
{
    struct mmdb *m;
    struct err e = {0};
    assert_int_equal(mmdb_open("/nonexistent/country.mmdb", &m, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.message, "/nonexistent/country.mmdb"));
    assert_non_null(strstr(e.fix, "make setup"));
    assert_non_null(strstr(e.fix, "routing.geo.database"));
}

/* A file cut off anywhere is refused or read to its end, never read past it. */
static void test_damaged(void **state)
{
    struct file f = {0};
    make_ipv6(&f);
    for (size_t len = 0; len < f.len; len += 7) {
        struct file cut = {.len = len};
        struct dir d;
        struct mmdb *m;
        struct err e = {0};
        _cleanup_str_ struct str out = STR_INIT;
        memcpy(cut.buf, f.buf, len);
        dir_make(&d, &cut);
        int r = mmdb_open(d.file, &m, &e);
        dir_remove(&d);
        if (r < 0) {
            assert_int_equal(r, ERR_INVALID);
            continue;
        }
        r = mmdb_each(m, collect, &out, &e);
        assert_true(r == 0 || r == ERR_INVALID);
        mmdb_close(m);
    }
}

static void expect_damaged(const int (*nodes)[2], unsigned n)
{
    struct file f = {0};
    struct dir d;
    struct mmdb *m;
    struct err e = {0};
    _cleanup_str_ struct str out = STR_INIT;
    put_tree(&f, nodes, n);
    put_flat(&f, "KR");
    put_metadata(&f, n, 6);
    dir_make(&d, &f);
    assert_int_equal(mmdb_open(d.file, &m, &e), 0);
    assert_int_equal(mmdb_each(m, collect, &out, &e), ERR_INVALID);
    mmdb_close(m);
    dir_remove(&d);
}

static void test_trees_that_are_none(void **state)
{
    const int circle[][2] = {{EMPTY, 0}}, outside[][2] = {{DATA(4000), EMPTY}};
    int ladder[100][2]; /* both sides to the next: 2^100 ways down */
    for (int i = 0; i < 100; i++)
        ladder[i][0] = ladder[i][1] = i < 99 ? i + 1 : DATA(0);
    expect_damaged(circle, 1);
    expect_damaged(outside, 1);
    expect_damaged(ladder, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ipv4_flat),
        cmocka_unit_test(test_pointers_and_other_fields),
        cmocka_unit_test(test_geoip2_layouts),
        cmocka_unit_test(test_ipv6_with_ipv4_and_alias),
        cmocka_unit_test(test_lookup_by_descriptor),
        cmocka_unit_test(test_no_data_says_what_to_do),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_trees_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
