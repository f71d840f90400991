/* SPDX-License-Identifier: Apache-2.0 */
#include "service/forwarder/sniff.h"

#include <openssl/ssl.h>

#include "test.h"

#include <string.h>

/* A ClientHello as OpenSSL makes it. */
static size_t client_hello(const char *name, uint8_t *out, size_t cap)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *wire = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, wire);
    if (name)
        assert_int_equal(SSL_set_tlsext_host_name(ssl, name), 1);
    SSL_set_connect_state(ssl);
    SSL_do_handshake(ssl);
    int n = BIO_read(wire, out, (int)cap);
    assert_true(n > 0);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return (size_t)n;
}

static void test_tls(void **state)
{
    static const struct {
        const char *name, *want;
    } rows[] = {
        {"reindeers.com", "reindeers.com"}, {"API.Reindeers.com", "api.reindeers.com"}, {NULL, ""}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t hello[4096];
        size_t len = client_hello(rows[i].name, hello, sizeof hello);
        struct sniffed s;
        assert_int_equal(sniff(hello, len, &s), SNIFF_TLS);
        assert_string_equal(s.name, rows[i].want);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(sniff(hello, cut, &s), SNIFF_MORE);
    }
}

static void test_tls_in_small_records(void **state)
{
    uint8_t hello[4096], cut[16384];
    size_t len = client_hello("reindeers.com", hello, sizeof hello), n = 0;
    for (size_t at = 5; at < len; at += 10) {
        size_t part = MIN(len - at, (size_t)10);
        const uint8_t header[] = {22, 3, 1, 0, (uint8_t)part};
        memcpy(cut + n, header, 5);
        memcpy(cut + n + 5, hello + at, part);
        n += 5 + part;
    }
    struct sniffed s;
    assert_int_equal(sniff(cut, n, &s), SNIFF_TLS);
    assert_string_equal(s.name, "reindeers.com");
    assert_int_equal(sniff(cut, n - 1, &s), SNIFF_MORE);
}

static void test_http(void **state)
{
    static const struct {
        const char *text, *name;
        enum sniff kind;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: Reindeers.com:8443\r\n\r\n", "reindeers.com", SNIFF_HTTP},
        {"GET / HTTP/1.1\r\nAccept: */*\r\nhost:127.0.0.1:43210\r\n\r\nbody", "127.0.0.1",
            SNIFF_HTTP},
        {"GET / HTTP/1.1\nHost: a.localhost.\n\n", "a.localhost", SNIFF_HTTP},
        {"GET / HTTP/1.0\r\n\r\n", "", SNIFF_HTTP},
        {"GET / HTTP/1.1\r\nHost: a\r\n", "a", SNIFF_MORE},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", NULL, SNIFF_BAD},
        {"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", NULL, SNIFF_BAD},
        {"\r\n\r\n", NULL, SNIFF_BAD},
        {"SSH-2.0-x", "", SNIFF_MORE},
        {"", "", SNIFF_MORE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sniffed s;
        enum sniff got = sniff((const uint8_t *)rows[i].text, strlen(rows[i].text), &s);
        if (got != rows[i].kind || (rows[i].name && strcmp(rows[i].name, s.name) != 0))
            fail_msg("'%s': %d '%s'", rows[i].text, (int)got, s.name);
    }
}

static void test_too_long(void **state)
{
    static uint8_t text[SNIFF_MAX + 1];
    struct sniffed s;
    memset(text, 'A', sizeof text);
    assert_int_equal(sniff(text, SNIFF_MAX - 1, &s), SNIFF_MORE);
    assert_int_equal(sniff(text, SNIFF_MAX, &s), SNIFF_BAD);
    assert_int_equal(sniff(text, SNIFF_MAX + 1, &s), SNIFF_BAD);
}

static void test_rewrite(void **state)
{
    static const struct {
        const char *head, *want;
    } rows[] = {
        {"GET /a HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAccept: x\r\nConnection: keep-alive\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: r.com\r\nAccept: x\r\nConnection: close\r\n\r\n"},
        {"GET /a HTTP/1.1\r\nHost: a\r\nhost: b\r\nUpgrade: websocket\r\nConnection: "
         "Upgrade\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: r.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct str out = STR_INIT;
        sniff_rewrite(rows[i].head, strlen(rows[i].head), "r.com", &out);
        assert_string_equal(out.buf, rows[i].want);
        str_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_in_small_records),
        cmocka_unit_test(test_http),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_rewrite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
