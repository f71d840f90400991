/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"
#include "base/rpc/rpc.h"
#include "base/tls/priv.h"
#include "certs.h"

#include <signal.h>
#include <sys/socket.h>

#define HK "spiffe://reindeers/host/hk1"
#define SEL "spiffe://reindeers/host/sel1"

static char dir[] = "/tmp/mcp-tls-XXXXXX";

struct end {
    struct tls_stream *s;
    SSL_CTX *ctx;
    struct err why;
    bool is_ready, is_closed;
    size_t received, drained;
    char peer_id[300];
};

struct pair {
    uv_loop_t loop;
    struct end client, server;
};

static void on_ready(void *ctx, struct tls_stream *s)
{
    struct end *x = ctx;
    x->is_ready = true;
    str_copy(x->peer_id, sizeof x->peer_id, tls_stream_peer_id(s));
}

static void on_data(void *ctx, struct tls_stream *s, const void *p, size_t len)
{
    struct end *x = ctx;
    for (size_t i = 0; i < len; i++)
        assert_int_equal(((const uint8_t *)p)[i], (uint8_t)(x->received + i));
    x->received += len;
}

static void on_closed(void *ctx, struct tls_stream *s, const struct err *e)
{
    struct end *x = ctx;
    assert_false(x->is_closed);
    x->is_closed = true;
    x->why = *e;
    x->s = NULL;
}

static void on_drained(void *ctx, struct tls_stream *s)
{
    struct end *x = ctx;
    x->drained++;
}

static const struct tls_stream_handler handler = {
    .ready = on_ready, .data = on_data, .closed = on_closed, .drained = on_drained};

static SSL_CTX *context(const char *ca, const char *name, bool server)
{
    struct err e = {0};
    SSL_CTX *ctx = NULL;
    _cleanup_free_ char *ca_path = xasprintf("%s/%s.pem", dir, ca);
    _cleanup_free_ char *cert = xasprintf("%s/%s.pem", dir, name);
    _cleanup_free_ char *key = xasprintf("%s/%s.key", dir, name);
    if (tls_ctx_mutual_new(&(struct tls_files){ca_path, cert, key}, server, &ctx, &e) < 0)
        fail_msg("%s", e.message);
    return ctx;
}

static void open_end(
    struct pair *p, struct end *x, int fd, SSL_CTX *ctx, bool server, const char *expect)
{
    struct err e = {0};
    *x = (struct end){.ctx = ctx};
    if (tls_stream_new(&p->loop, ctx, fd, server, expect, &handler, x, &x->s, &e) < 0) {
        x->is_closed = true;
        x->why = e;
    }
}

/* Client `c` (certificate name) to server `s`; the client expects the id `expect`. */
static void pair_open(struct pair *p, const char *c, const char *s, const char *expect)
{
    int fds[2];
    assert_int_equal(uv_loop_init(&p->loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    open_end(p, &p->client, fds[0], context("ca", c, false), false, expect);
    open_end(p, &p->server, fds[1], context("ca", s, true), true, NULL);
}

static void pair_close(struct pair *p)
{
    if (p->client.s)
        tls_stream_close(p->client.s);
    if (p->server.s)
        tls_stream_close(p->server.s);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0);
    SSL_CTX_free(p->client.ctx);
    SSL_CTX_free(p->server.ctx);
}

#define RUN_UNTIL(p, cond)                                                                         \
    do {                                                                                           \
        for (int turns_ = 0; !(cond); turns_++) {                                                  \
            assert_true(turns_ < 100000);                                                          \
            uv_run(&(p)->loop, UV_RUN_ONCE);                                                       \
        }                                                                                          \
    } while (0)

static void test_both_know_each_other(void **state)
{
    struct pair p;
    pair_open(&p, "hk", "sel", SEL);
    RUN_UNTIL(&p, p.client.is_ready && p.server.is_ready);
    assert_string_equal(p.client.peer_id, SEL);
    assert_string_equal(p.server.peer_id, HK);
    pair_close(&p);
    assert_int_equal(p.client.why.code, ERR_CANCELED);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *client, *server, *expect;
        const char *why; /* at the end that refuses */
        bool at_server;
    } rows[] = {
        {"hk", "sel", HK, "the other end is " SEL ", expected was " HK, false},
        {"hk", "other-ca", NULL, "unable to get local issuer certificate", false},
        {"other-ca", "sel", NULL, "unable to get local issuer certificate", true},
        {"hk", "expired", NULL, "certificate has expired", false},
        {"expired", "sel", NULL, "certificate has expired", true},
        {"hk", "early", NULL, "certificate is not yet valid", false},
        {"hk", "no-uri", NULL, "own certificate: the certificate has no URI name", true},
        {"hk", "two-uris", NULL, "own certificate: the certificate has more than one URI name",
            true},
        {"other-platform", "sel", NULL,
            SEL " is of another platform than spiffe://another/host/hk1", false},
        {"hk", "not-spiffe", NULL, "own certificate: the certificate's URI name is no SPIFFE id",
            true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct pair p;
        pair_open(&p, rows[i].client, rows[i].server, rows[i].expect);
        RUN_UNTIL(&p, p.client.is_closed && p.server.is_closed);
        const struct end *x = rows[i].at_server ? &p.server : &p.client;
        if (!strstr(x->why.message, rows[i].why) || p.server.received + p.client.received)
            fail_msg("%s to %s: %s (other: %s)", rows[i].client, rows[i].server, x->why.message,
                (rows[i].at_server ? &p.client : &p.server)->why.message);
        pair_close(&p);
    }
}

/* The id of a peer certificate that could never be one of ours, checked alone. */
static void test_id_of_a_certificate(void **state)
{
    static const struct {
        const char *name;
        int code;
    } rows[] = {{"hk", 0}, {"no-uri", ERR_DENIED}, {"two-uris", ERR_DENIED},
        {"not-spiffe", ERR_DENIED}, {"long-uri", ERR_DENIED}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e;
        char id[TLS_ID_MAX + 1];
        _cleanup_free_ char *path = xasprintf("%s/%s.pem", dir, rows[i].name);
        FILE *f = fopen(path, "re");
        X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
        fclose(f);
        assert_int_equal(tls_spiffe_id(cert, id, &e), rows[i].code);
        X509_free(cert);
    }
    assert_true(tls_same_domain(HK, SEL));
    assert_false(tls_same_domain(HK, "spiffe://reindeersx/host/hk1"));
    assert_false(tls_same_domain("spiffe:///host", "spiffe:///host"));
    assert_false(tls_same_domain(HK, ""));
}

static void test_client_without_certificate_is_refused(void **state)
{
    struct pair p;
    int fds[2];
    assert_int_equal(uv_loop_init(&p.loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    SSL_CTX *bare = SSL_CTX_new(TLS_client_method());
    open_end(&p, &p.client, fds[0], bare, false, NULL);
    open_end(&p, &p.server, fds[1], context("ca", "sel", true), true, NULL);
    RUN_UNTIL(&p, p.client.is_closed && p.server.is_closed);
    assert_false(p.server.is_ready);
    assert_non_null(strstr(p.server.why.message, "peer did not return a certificate"));
    pair_close(&p);
}

static void test_silent_peer(void **state)
{
    struct pair p;
    pair_open(&p, "hk", "sel", NULL);
    int fds[2];
    struct end lone;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    open_end(&p, &lone, fds[0], p.server.ctx, true, NULL);
    tls_stream_handshake_timeout(lone.s, 20);
    RUN_UNTIL(&p, lone.is_closed);
    assert_int_equal(lone.why.code, ERR_TIMEOUT);
    close(fds[1]);
    pair_close(&p);
}

static void test_garbage(void **state)
{
    struct pair p;
    pair_open(&p, "hk", "sel", NULL);
    int fds[2];
    struct end lone;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    open_end(&p, &lone, fds[0], p.server.ctx, true, NULL);
    assert_int_equal(write(fds[1], "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27), 27);
    RUN_UNTIL(&p, lone.is_closed);
    assert_int_equal(lone.why.code, ERR_DENIED);
    close(fds[1]);
    pair_close(&p);
}

static void test_bulk_both_ways(void **state)
{
    enum { BYTES = 3 * 1024 * 1024 + 7 };
    struct pair p;
    uint8_t *data = xmalloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (uint8_t)i;
    pair_open(&p, "hk", "sel", SEL);
    tls_stream_write(p.client.s, data, BYTES); /* before the handshake */
    RUN_UNTIL(&p, p.server.is_ready);
    tls_stream_write(p.server.s, data, BYTES / 2);
    tls_stream_write(p.server.s, data + BYTES / 2, BYTES - BYTES / 2);
    assert_int_equal(tls_stream_backlog(p.server.s), BYTES);
    free(data);
    RUN_UNTIL(&p, p.server.received == BYTES && p.client.received == BYTES);
    RUN_UNTIL(&p, p.client.drained && p.server.drained);
    assert_int_equal(tls_stream_backlog(p.client.s) + tls_stream_backlog(p.server.s), 0);
    pair_close(&p);
}

/* What was written before the goodbye arrives, and the goodbye is one. */
static void test_close_says_goodbye(void **state)
{
    struct pair p;
    pair_open(&p, "hk", "sel", NULL);
    RUN_UNTIL(&p, p.client.is_ready && p.server.is_ready);
    tls_stream_write(p.client.s, "\0\1\2", 3);
    tls_stream_close(p.client.s);
    RUN_UNTIL(&p, p.server.is_closed);
    assert_int_equal(p.server.received, 3);
    assert_string_equal(p.server.why.message, "the other end hung up");
    pair_close(&p);
}

static void test_bad_files(void **state)
{
    struct err e = {0};
    SSL_CTX *ctx;
    _cleanup_free_ char *ca = xasprintf("%s/ca.pem", dir), *cert = xasprintf("%s/hk.pem", dir),
                        *key = xasprintf("%s/sel.key", dir);
    assert_int_equal(
        tls_ctx_mutual_new(&(struct tls_files){ca, cert, key}, true, &ctx, &e), ERR_INVALID);
    assert_non_null(strstr(e.message, "sel.key"));
    assert_int_equal(
        tls_ctx_mutual_new(&(struct tls_files){ca, "/nonexistent", key}, true, &ctx, &e),
        ERR_NOT_FOUND);
    assert_non_null(strstr(e.message, "/nonexistent: No such file"));
    assert_int_equal(tls_ctx_server_new(ca, key, &ctx, &e), ERR_INVALID);
}

/* --- rpc over it --- */

struct rpc_end {
    struct rpc_conn *c;
    bool is_closed;
    int64_t value;
    unsigned finals;
    int code;
};

static void rpc_on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    assert_int_equal(fd, -1);
    rpc_reply(req, json_pack("{s:I}", "value", (json_int_t)(json_opt_int(params, "value", 0) + 1)));
}

static void rpc_on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    struct rpc_end *x = ctx;
    x->is_closed = true;
    x->code = e->code;
}

static void rpc_on_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct rpc_end *x = ctx;
    x->finals++;
    x->value = error ? error->code : json_opt_int(result, "value", 0);
}

static void test_rpc_over_tls(void **state)
{
    static const struct rpc_handler h = {.call = rpc_on_call, .closed = rpc_on_closed};
    struct pair p;
    struct err e;
    struct rpc_end a = {0}, b = {0};
    pair_open(&p, "hk", "sel", SEL);
    assert_int_equal(rpc_conn_new_tls(p.client.s, "control@hk1", &h, &a, &a.c, &e), 0);
    assert_int_equal(rpc_conn_new_tls(p.server.s, "control@sel1", &h, &b, &b.c, &e), 0);
    rpc_call(a.c, "next", json_pack("{s:i}", "value", 41), 5000, rpc_on_answer, &a);
    rpc_call(b.c, "next", json_pack("{s:i}", "value", 1), 5000, rpc_on_answer, &b);
    RUN_UNTIL(&p, a.finals && b.finals);
    assert_int_equal(a.value, 42);
    assert_int_equal(b.value, 2);
    assert_string_equal(rpc_conn_peer_name(a.c), "control@sel1");
    rpc_call(a.c, "never", NULL, 0, rpc_on_answer, &a);
    rpc_conn_close(b.c);
    RUN_UNTIL(&p, a.is_closed && b.is_closed);
    assert_int_equal(a.finals, 2);
    p.client.s = p.server.s = NULL;
    pair_close(&p);
}

static int make_certs(void **state)
{
    assert_non_null(mkdtemp(dir));
    struct test_ca ca = certs_ca("reindeers"), other = certs_ca("somebody");
    char uri[TLS_ID_MAX + 40];
    snprintf(uri, sizeof uri, HK "%0*d", (int)TLS_ID_MAX, 1);
    certs_write(dir, "ca", ca.cert, NULL);
    certs_leaf(dir, "hk", &ca, (struct test_leaf){{HK}, -60, 3600});
    certs_leaf(dir, "sel", &ca, (struct test_leaf){{SEL}, -60, 3600});
    certs_leaf(dir, "other-ca", &other, (struct test_leaf){{SEL}, -60, 3600});
    certs_leaf(dir, "expired", &ca, (struct test_leaf){{SEL}, -7200, -3600});
    certs_leaf(dir, "early", &ca, (struct test_leaf){{SEL}, 3600, 7200});
    certs_leaf(dir, "no-uri", &ca, (struct test_leaf){{NULL}, -60, 3600});
    certs_leaf(dir, "two-uris", &ca, (struct test_leaf){{SEL, HK}, -60, 3600});
    certs_leaf(
        dir, "other-platform", &ca, (struct test_leaf){{"spiffe://another/host/hk1"}, -60, 3600});
    certs_leaf(dir, "not-spiffe", &ca, (struct test_leaf){{"https://reindeers.com/"}, -60, 3600});
    certs_leaf(dir, "long-uri", &ca, (struct test_leaf){{uri}, -60, 3600});
    certs_ca_free(&ca);
    certs_ca_free(&other);
    return 0;
}

static int remove_certs(void **state)
{
    struct err e;
    return file_remove_tree(dir, &e);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_know_each_other),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_id_of_a_certificate),
        cmocka_unit_test(test_client_without_certificate_is_refused),
        cmocka_unit_test(test_silent_peer),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_bulk_both_ways),
        cmocka_unit_test(test_close_says_goodbye),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_rpc_over_tls),
    };
    return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
