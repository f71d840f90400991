/* SPDX-License-Identifier: Apache-2.0 */
/* Probes against a real TLS server in a thread of the test, on ephemeral loopback ports. */
#include "test.h"

#include "net/probe/probe.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/tls/tls.h"
#include "driver/pki/pki.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

enum behaviour {
    OK200,
    DEGRADED,
    APP503,
    NOT_FOUND,
    OTHER_REGION,
    SILENT,
    CLOSES,
    PLAIN_TEXT,
    HUGE_BODY
};

static struct fixture {
    char dir[64], ca[128];
    uv_loop_t loop;
    struct prober *prober;
    int listener;
    uint16_t port;
    pthread_t thread;
    _Atomic int behaviour, connections, requests, stop;
    struct probe_result result;
    bool done, reached;
} fx;

static const char *body_of(int behaviour)
{
    return behaviour == DEGRADED ? "{\"region\":\"ap-seoul\",\"ready\":true,\"degraded\":true}"
           : behaviour == OTHER_REGION ? "{\"region\":\"ap-hongkong\",\"ready\":true}"
                                       : "{\"region\":\"ap-seoul\"}";
}

static void answer(SSL *ssl, int behaviour)
{
    _cleanup_str_ struct str out = STR_INIT, body = STR_INIT;
    str_add(&body, body_of(behaviour));
    for (int i = 0; behaviour == HUGE_BODY && i < 20000; i++)
        str_add(&body, "0123456789");
    str_addf(&out, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s",
        behaviour == APP503      ? "503 No"
        : behaviour == NOT_FOUND ? "404 No"
                                 : "200 OK",
        body.len, body.buf);
    for (size_t at = 0; at < out.len;) { /* the context allows partial writes */
        int n = SSL_write(ssl, out.buf + at, (int)(out.len - at));
        if (n <= 0)
            return;
        at += (size_t)n;
    }
}

/* Waits in small steps, so that the end of the test is noticed. */
static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (!fx.stop)
        if (poll(&p, 1, 20) > 0)
            return true;
    return false;
}

static void serve(SSL_CTX *ctx, int fd)
{
    if (fx.behaviour == PLAIN_TEXT && readable(fd)) {
        (void)!write(fd, "HTTP/1.1 400 No\r\n\r\n", 19);
        return;
    }
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    char in[2048];
    if (SSL_accept(ssl) == 1)
        while ((SSL_pending(ssl) || readable(fd)) && SSL_read(ssl, in, sizeof in) > 0) {
            fx.requests++;
            if (fx.behaviour == CLOSES)
                break;
            if (fx.behaviour != SILENT)
                answer(ssl, fx.behaviour);
        }
    SSL_free(ssl);
}

struct conn {
    SSL_CTX *ctx;
    int fd;
};

static void *serve_thread(void *arg)
{
    struct conn *c = arg;
    serve(c->ctx, c->fd);
    close(c->fd);
    free(c);
    return NULL;
}

static void *run_server(void *arg)
{
    pthread_t threads[256];
    size_t n = 0;
    while (readable(fx.listener) && n < ARRAY_SIZE(threads)) {
        int fd = accept(fx.listener, NULL, NULL);
        if (fd < 0)
            continue;
        fx.connections++;
        struct conn *c = xmalloc(sizeof *c);
        *c = (struct conn){arg, fd};
        pthread_create(&threads[n++], NULL, serve_thread, c);
    }
    while (n)
        pthread_join(threads[--n], NULL);
    return NULL;
}

static int setup(void **state)
{
    struct err e = {0};
    struct pki_ca *ca;
    SSL_CTX *ctx;
    static const char *const names[] = {"api.reindeers.com"};
    signal(SIGPIPE, SIG_IGN);
    fx = (struct fixture){.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    str_copy(fx.dir, sizeof fx.dir, "/tmp/mcp-probe-XXXXXX");
    assert_non_null(mkdtemp(fx.dir));
    assert_int_equal(pki_ca_open(fx.dir, "reindeers", clock_wall_ms(), &ca, &e), 0);
    assert_int_equal(pki_issue_edge(ca, names, 1, 0, fx.dir, clock_wall_ms(), NULL, &e), 0);
    assert_int_equal(
        pki_issue_host(ca, "reindeers", "hk1", NULL, 0, 0, fx.dir, clock_wall_ms(), NULL, &e), 0);
    pki_ca_free(ca);
    _cleanup_free_ char *pem = xasprintf("%s/edge.pem", fx.dir),
                        *key = xasprintf("%s/edge.key", fx.dir);
    assert_int_equal(tls_ctx_server_new(pem, key, &ctx, &e), 0);
    snprintf(fx.ca, sizeof fx.ca, "%s/ca.pem", fx.dir);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    assert_int_equal(bind(fx.listener, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(fx.listener, 64), 0);
    assert_int_equal(getsockname(fx.listener, (struct sockaddr *)&sa, &len), 0);
    fx.port = ntohs(sa.sin_port);
    assert_int_equal(pthread_create(&fx.thread, NULL, run_server, ctx), 0);
    *state = ctx;
    uv_loop_init(&fx.loop);
    assert_int_equal(prober_new(&fx.loop, fx.ca, &fx.prober, &e), 0);
    return 0;
}

static int teardown(void **state)
{
    prober_free(fx.prober);
    uv_run(&fx.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fx.loop), 0);
    fx.stop = 1;
    pthread_join(fx.thread, NULL);
    close(fx.listener);
    SSL_CTX_free(*state);
    return file_remove_tree(fx.dir, NULL);
}

static void on_done(void *ctx, const struct probe_result *r)
{
    fx.result = *r;
    fx.done = true;
}

static void probe(const char *name, const char *const *addresses, size_t n, uint16_t port,
    unsigned timeout_ms, bool fresh)
{
    struct ip_addr a[4];
    for (size_t i = 0; i < n; i++)
        assert_true(ip_parse(addresses[i], &a[i]));
    const struct probe_request req = {.name = name,
        .region = "ap-seoul",
        .addresses = a,
        .n_addresses = n,
        .port = port,
        .timeout_ms = timeout_ms,
        .fresh = fresh};
    fx.done = false;
    prober_start(fx.prober, &req, on_done, NULL);
    while (!fx.done)
        uv_run(&fx.loop, UV_RUN_ONCE);
}

static void probe_here(enum behaviour b, unsigned timeout_ms)
{
    static const char *const here[] = {"127.0.0.1"};
    fx.behaviour = b;
    probe("api.reindeers.com", here, 1, fx.port, timeout_ms, true);
}

static void expect(enum probe_class c, const char *detail)
{
    if (fx.result.class != c || !strstr(fx.result.detail, detail))
        fail_msg("got %s: %s", probe_class_name(fx.result.class), fx.result.detail);
}

static void test_answers(void **state)
{
    static const struct {
        enum behaviour b;
        enum probe_class c;
        const char *detail;
    } rows[] = {
        {OK200, PROBE_OK, ""},
        {DEGRADED, PROBE_DEGRADED, ""},
        {APP503, PROBE_APP, "HTTP 503"},
        {NOT_FOUND, PROBE_PROTOCOL, "HTTP 404"},
        {OTHER_REGION, PROBE_PROTOCOL, "answers for region ap-hongkong"},
        {CLOSES, PROBE_UNREACHABLE, "127.0.0.1: "},
        {PLAIN_TEXT, PROBE_TLS, "127.0.0.1: "},
        {HUGE_BODY, PROBE_PROTOCOL, "127.0.0.1: "},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        probe_here(rows[i].b, 5000);
        expect(rows[i].c, rows[i].detail);
    }
}

static void test_silence_ends_at_the_timeout(void **state)
{
    uint64_t start = clock_boot_ms();
    probe_here(SILENT, 150);
    expect(PROBE_TIMEOUT, "");
    assert_in_range(clock_boot_ms() - start, 140, 5000);
    assert_true(fx.result.ms >= 140);
}

static void test_nobody_listens(void **state)
{
    static const char *const here[] = {"127.0.0.1"};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0); /* a port that refuses for sure */
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    probe("api.reindeers.com", here, 1, ntohs(sa.sin_port), 5000, true);
    expect(PROBE_REFUSED, "127.0.0.1");
    close(fd);
}

static void test_the_certificate_must_name_the_name(void **state)
{
    static const char *const here[] = {"127.0.0.1"};
    fx.behaviour = OK200;
    probe("www.reindeers.com", here, 1, fx.port, 5000, true);
    expect(PROBE_TLS, "");
}

static void test_only_the_platforms_ca_counts(void **state)
{
    struct err e = {0};
    struct pki_ca *ca;
    char dir[] = "/tmp/mcp-probe-XXXXXX";
    assert_non_null(mkdtemp(dir));
    assert_int_equal(pki_ca_open(dir, "other", clock_wall_ms(), &ca, &e), 0);
    assert_int_equal(pki_issue_host(ca, "other", "x", NULL, 0, 0, dir, clock_wall_ms(), NULL, &e), 0);
    pki_ca_free(ca);
    _cleanup_free_ char *bundle = xasprintf("%s/ca.pem", dir);
    struct prober *right = fx.prober;
    assert_int_equal(prober_new(&fx.loop, bundle, &fx.prober, &e), 0);
    probe_here(OK200, 5000);
    expect(PROBE_TLS, "");
    prober_free(fx.prober);
    fx.prober = right;
    assert_int_equal(file_remove_tree(dir, &e), 0);
    assert_int_equal(prober_new(&fx.loop, bundle, &right, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.message, bundle));
}

static void test_connections_are_reused_and_renewed(void **state)
{
    static const char *const here[] = {"127.0.0.1"};
    fx.behaviour = OK200;
    int before = fx.connections, requests = fx.requests;
    for (unsigned i = 0; i < 2 * PROBE_FRESH_EVERY; i++) {
        probe("api.reindeers.com", here, 1, fx.port, 5000, false);
        expect(PROBE_OK, "");
    }
    assert_int_equal(fx.requests - requests, 2 * PROBE_FRESH_EVERY);
    assert_in_range(fx.connections - before, 2, 4); /* one kept, one own for each sixth */
}

static void test_half_of_the_addresses_is_enough(void **state)
{
    static const char *const both[] = {
        "127.0.0.1", "127.0.0.2"}; /* the server listens on the first only */
    static const char *const most_dead[] = {"127.0.0.2", "127.0.0.1", "127.0.0.3"};
    static const char *const no_route[] = {"2001:db8::1", "127.0.0.1"};
    fx.behaviour = OK200;
    probe("api.reindeers.com", both, 2, fx.port, 5000, true);
    expect(PROBE_OK, "");
    probe("api.reindeers.com", most_dead, 3, fx.port, 5000, true);
    expect(PROBE_REFUSED, "127.0.0.");
    probe("api.reindeers.com", no_route, 2, fx.port, 1000, true);
    expect(PROBE_OK, "");
}

static void on_reached(void *ctx, bool reached)
{
    fx.reached = reached;
    fx.done = true;
}

static bool reach(const char *endpoint, unsigned timeout_ms)
{
    fx.done = false;
    prober_reach(fx.prober, endpoint, timeout_ms, on_reached, NULL);
    assert_false(fx.done); /* never from inside the call */
    while (!fx.done)
        uv_run(&fx.loop, UV_RUN_ONCE);
    return fx.reached;
}

static void test_references(void **state)
{
    char good[64], named[64];
    fx.behaviour = OK200;
    snprintf(good, sizeof good, "127.0.0.1:%u", fx.port);
    snprintf(named, sizeof named, "localhost:%u", fx.port);
    assert_true(reach(good, 5000));
    assert_true(reach(named, 5000));
    assert_false(reach("127.0.0.1:1", 5000));
    static const char *const bad[] = {"", ":", "x", "x:", ":1", "[::1", "[]:1", "127.0.0.1:http"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(reach(bad[i], 2000));
}

static void test_freeing_drops_what_is_in_flight(void **state)
{
    struct err e = {0};
    struct ip_addr a;
    struct prober *p;
    char endpoint[64];
    fx.behaviour = SILENT;
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%u", fx.port);
    assert_true(ip_parse("127.0.0.1", &a));
    assert_int_equal(prober_new(&fx.loop, fx.ca, &p, &e), 0);
    const struct probe_request req = {.name = "api.reindeers.com",
        .addresses = &a,
        .n_addresses = 1,
        .port = fx.port,
        .timeout_ms = 60000};
    fx.done = false;
    prober_start(p, &req, on_done, NULL);
    prober_reach(p, endpoint, 60000, on_reached, NULL);
    uv_run(&fx.loop, UV_RUN_NOWAIT);
    prober_free(p);
    uv_run(&fx.loop, UV_RUN_NOWAIT);
    assert_false(fx.done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_silence_ends_at_the_timeout),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_the_certificate_must_name_the_name),
        cmocka_unit_test(test_only_the_platforms_ca_counts),
        cmocka_unit_test(test_connections_are_reused_and_renewed),
        cmocka_unit_test(test_half_of_the_addresses_is_enough),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_freeing_drops_what_is_in_flight),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
