/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "proto/uri/uri.h"

static const struct {
    const char *in;
    const char *out; /* NULL: refused with `error` */
    int error;
    unsigned flags;
} paths[] = {
    {"/", "/"},
    {"/v1/orders", "/v1/orders"},
    {"/v1/", "/v1/"},
    {"/%76%31/%6Frders", "/v1/orders"},
    {"/a%7eb%2Dc", "/a~b-c"},
    {"/a%2fb", "/a%2Fb"},
    {"/a%3bb%c3%a9", "/a%3Bb%C3%A9"},
    {"/a/./b", "/a/b"},
    {"/a/../b", "/b"},
    {"/a/b/..", "/a/"},
    {"/a/.", "/a/"},
    {"/a/%2e%2E/b", "/b"},
    {"//", "/"},
    {"///a//b///", "/a/b/"},
    {"/a//../b", "/b"},
    {"/a//../b", "/a/b", 0, URI_KEEP_SLASHES},
    {"//a", "//a", 0, URI_KEEP_SLASHES},
    {"/...", "/..."},
    {"/.hidden/..x/x..", "/.hidden/..x/x.."},
    {"/a|b^{c}", "/a|b^{c}"},
    {"/a;v=1/b", "/a;v=1/b"},
    {"", NULL, URI_NOT_ABSOLUTE},
    {"a", NULL, URI_NOT_ABSOLUTE},
    {"*", NULL, URI_NOT_ABSOLUTE},
    {"/..", NULL, URI_ABOVE_ROOT},
    {"/a/../../b", NULL, URI_ABOVE_ROOT},
    {"/%2e%2e/etc", NULL, URI_ABOVE_ROOT},
    {"/%00", NULL, URI_NUL},
    {"/a%", NULL, URI_BAD_ESCAPE},
    {"/a%4", NULL, URI_BAD_ESCAPE},
    {"/a%zz", NULL, URI_BAD_ESCAPE},
    {"/a%4g", NULL, URI_BAD_ESCAPE},
    {"/a b", NULL, URI_BAD_CHAR},
    {"/a\\..\\b", NULL, URI_BAD_CHAR},
    {"/a?b", NULL, URI_BAD_CHAR},
    {"/a#b", NULL, URI_BAD_CHAR},
    {"/caf\xc3\xa9", NULL, URI_BAD_CHAR},
    {"/public/..%2fadmin", NULL, URI_HIDDEN_DOTS},
    {"/public/%2e%2e%2fadmin", NULL, URI_HIDDEN_DOTS},
    {"/public/x%2f..", NULL, URI_HIDDEN_DOTS},
    {"/public/x%5c..%5cadmin", NULL, URI_HIDDEN_DOTS},
    {"/public/..;/admin", NULL, URI_HIDDEN_DOTS},
    {"/public/.;x/admin", NULL, URI_HIDDEN_DOTS},
};

static void test_paths(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        char out[64];
        size_t len = strlen(paths[i].in);
        int n = uri_path_normalise(paths[i].in, len, paths[i].flags, out);
        print_message("%s\n", paths[i].in);
        if (!paths[i].out) {
            assert_int_equal(n, paths[i].error);
            continue;
        }
        assert_int_equal(n, (int)strlen(paths[i].out));
        assert_memory_equal(out, paths[i].out, (size_t)n);
        memcpy(out, paths[i].in, len); /* in place is the same */
        assert_int_equal(uri_path_normalise(out, len, paths[i].flags, out), n);
        assert_memory_equal(out, paths[i].out, (size_t)n);
    }
}

static const struct {
    const char *in;
    const char *host; /* NULL: refused */
    unsigned port;
} authorities[] = {
    {"Reindeers.COM", "reindeers.com"},
    {"reindeers.com.", "reindeers.com"},
    {"reindeers.com:8443", "reindeers.com", 8443},
    {"203.0.113.20:80", "203.0.113.20", 80},
    {"[2001:db8::1]", "[2001:db8::1]"},
    {"[2001:DB8::1]:443", "[2001:db8::1]", 443},
    {"a_b.internal", "a_b.internal"},
    {"", NULL},
    {":80", NULL},
    {"a:", NULL},
    {"a:0", NULL},
    {"a:65536", NULL},
    {"a:80:80", NULL},
    {"a:+80", NULL},
    {"user@a", NULL},
    {"a b", NULL},
    {"a,b", NULL},
    {"a/b", NULL},
    {"a%41", NULL},
    {"[::1", NULL},
    {"[::1]x", NULL},
    {"[1.2.3.4]", NULL},
    {"::1", NULL},
};

static void test_authorities(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(authorities); i++) {
        struct uri_authority a;
        print_message("%s\n", authorities[i].in);
        bool ok = uri_authority_parse(authorities[i].in, strlen(authorities[i].in), &a);
        assert_int_equal(ok, authorities[i].host != NULL);
        if (!ok)
            continue;
        char out[256];
        size_t n = uri_host_normalise(&a, out);
        assert_int_equal(n, strlen(authorities[i].host));
        assert_memory_equal(out, authorities[i].host, n);
        assert_int_equal(a.port, authorities[i].port);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_authorities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
