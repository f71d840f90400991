/* SPDX-License-Identifier: Apache-2.0 */
/* The whole gateway in one process: routes in, requests through real sockets to an upstream of the test's own. */
#include "test.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/metrics/metrics.h"
#include "certs.h"
#include "domain/route/route.h"
#include "service/edge/edge.h"
#include "service/edge/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* -- allocation counter: of threads that ask for it ------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 0
#else
#define COUNTS_ALLOCATIONS 1
/* The definitions of this executable come before the C library's. Counted: those of serving threads, by name. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
static _Atomic long allocations;
static _Thread_local int serving; /* 0: not known yet, 1: yes, 2: no */

static void count(void)
{
    if (!serving) {
        char name[16] = "";
        pthread_getname_np(pthread_self(), name, sizeof name);
        if (!strncmp(name, "unit-", 5)) /* a thread gets its own name a moment after its start */
            return;
        serving = strncmp(name, "http-", 5) ? 2 : 1;
    }
    if (serving == 1)
        allocations++;
}

void *malloc(size_t n)
{
    count();
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    count();
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    count();
    return __libc_realloc(p, n);
}
#endif

/* -- upstream: answers every request with its own name -------------------------------------------------- */

struct upstream {
    int fd;
    uint16_t port;
    const char *name;
    const char *fields; /* more lines of its answers, or NULL */
    pthread_t thread;
    int epoll;
    _Atomic bool stop;
    _Atomic unsigned asked, served;
    _Atomic bool holds; /* reads requests and lets them wait */
    struct {
        int fd;
        size_t n;
        char buf[4096];
    } conns[256];
};

static int listen_any(uint16_t *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 512), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *ret_port = ntohs(sa.sin_port);
    return fd;
}

static void answer_all(struct upstream *u, size_t i)
{
    char *end;
    u->conns[i].buf[u->conns[i].n] = '\0';
    u->asked += u->conns[i].n > 0;
    while (!u->holds && (end = strstr(u->conns[i].buf, "\r\n\r\n"))) {
        char text[256];
        int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\n\r\n%s",
            u->fields ? u->fields : "", strlen(u->name), u->name);
        assert_int_equal(send(u->conns[i].fd, text, (size_t)n, MSG_NOSIGNAL), n);
        u->served++;
        size_t used = (size_t)(end + 4 - u->conns[i].buf);
        memmove(u->conns[i].buf, end + 4, u->conns[i].n - used + 1);
        u->conns[i].n -= used;
    }
}

static void upstream_event(struct upstream *u, uint64_t which)
{
    if (which == UINT64_MAX) {
        int fd = accept4(u->fd, NULL, NULL, SOCK_CLOEXEC);
        for (size_t i = 0; fd >= 0 && i < ARRAY_SIZE(u->conns); i++)
            if (!u->conns[i].fd) {
                u->conns[i].fd = fd;
                u->conns[i].n = 0;
                struct epoll_event ev = {.events = EPOLLIN, .data.u64 = i};
                epoll_ctl(u->epoll, EPOLL_CTL_ADD, fd, &ev);
                return;
            }
        return;
    }
    size_t room = sizeof u->conns[0].buf - 1 - u->conns[which].n;
    ssize_t n =
        recv(u->conns[which].fd, u->conns[which].buf + u->conns[which].n, room, MSG_DONTWAIT);
    if (n > 0) {
        u->conns[which].n += (size_t)n;
        answer_all(u, which);
    } else {
        close(u->conns[which].fd);
        u->conns[which].fd = 0;
    }
}

static void *upstream_main(void *arg)
{
    struct upstream *u = arg;
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    epoll_ctl(u->epoll, EPOLL_CTL_ADD, u->fd, &ev);
    while (!u->stop) {
        struct epoll_event events[64];
        int n = epoll_wait(u->epoll, events, 64, 20);
        for (int i = 0; i < n; i++)
            upstream_event(u, events[i].data.u64);
        for (size_t i = 0; i < ARRAY_SIZE(u->conns); i++)
            if (u->conns[i].fd && u->conns[i].n)
                answer_all(u, i); /* what was held */
    }
    for (size_t i = 0; i < ARRAY_SIZE(u->conns); i++)
        if (u->conns[i].fd)
            close(u->conns[i].fd);
    return NULL;
}

static struct upstream *upstream_start(const char *name)
{
    struct upstream *u = xcalloc(1, sizeof *u);
    u->name = name;
    u->fd = listen_any(&u->port);
    u->epoll = epoll_create1(EPOLL_CLOEXEC);
    assert_int_equal(pthread_create(&u->thread, NULL, upstream_main, u), 0);
    return u;
}

static void upstream_stop(struct upstream *u)
{
    u->stop = true;
    pthread_join(u->thread, NULL);
    close(u->fd);
    close(u->epoll);
    free(u);
}

/* -- fixture ------------------------------------------------------------------------------------------------ */

static struct {
    char dir[64];
    struct edge *edge;
    struct metrics *metrics;
    int http, https;
    uint16_t http_port, https_port;
} fx;

static uint64_t cache_bytes; /* of the next edge that is started */

static void edge_up_with(unsigned threads, struct http_timeouts timeouts)
{
    struct http_listen listens[] = {{fx.http, false}, {fx.https, true}};
    struct edge_config config = {.threads = threads,
        .listens = listens,
        .n_listens = 2,
        .state_dir = fx.dir,
        .metrics = fx.metrics,
        .cache_bytes = cache_bytes,
        .timeouts = timeouts};
    struct err e;
    if (edge_start(&config, &fx.edge, &e) < 0)
        fail_msg("%s", e.message);
}

static void edge_up(unsigned threads)
{
    edge_up_with(threads, (struct http_timeouts){0});
}

static int setup(void **state)
{
    snprintf(fx.dir, sizeof fx.dir, "/tmp/mcp-edge-XXXXXX");
    assert_non_null(mkdtemp(fx.dir));
    fx.metrics = metrics_new();
    fx.http = listen_any(&fx.http_port);
    fx.https = listen_any(&fx.https_port);
    edge_up(2);
    return 0;
}

static int teardown(void **state)
{
    edge_free(fx.edge);
    metrics_free(fx.metrics);
    close(fx.http);
    close(fx.https);
    struct err e;
    return file_remove_tree(fx.dir, &e);
}

static json_t *routes_doc(const char *more)
{
    _cleanup_free_ char *text = xasprintf(
        "{\"format\":1,\"revision\":3,\"platform\":\"p\",\"region\":\"ap-seoul\",\"http\":\"serve\",\"routes\":["
        "{\"name\":\"a.example\",\"path\":\"/\",\"module\":\"web\",\"auth\":\"none\"},"
        "{\"name\":\"a.example\",\"path\":\"/v1\",\"module\":\"api\",\"auth\":\"jwt\"}]%s}",
        more);
    json_t *doc;
    struct err e;
    if (json_parse(text, strlen(text), &doc, &e) < 0)
        fail_msg("%s", e.message);
    return doc;
}

static void set_routes(const char *more)
{
    _cleanup_json_ json_t *doc = routes_doc(more);
    struct err e;
    if (edge_set_routes(fx.edge, doc, &e) < 0)
        fail_msg("%s", e.message);
}

static void set_instances(const struct upstream *web, const struct upstream *api)
{
    _cleanup_json_ json_t *endpoints = json_object();
    if (web)
        route_endpoints_add(endpoints, "web", web->name, "127.0.0.1", web->port, true, 100);
    if (api)
        route_endpoints_add(endpoints, "api", api->name, "127.0.0.1", api->port, true, 100);
    _cleanup_json_ json_t *params = json_pack("{s:O}", "endpoints", endpoints);
    struct err e;
    if (edge_set_endpoints(fx.edge, params, &e) < 0)
        fail_msg("%s", e.message);
}

static int dial(uint16_t port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct timeval tv = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

/* Head and content of one answer (Content-Length framing). */
static const char *read_answer(int fd)
{
    static _Thread_local char buf[16384];
    size_t n = 0, want = sizeof buf;
    while (n < want && n < sizeof buf - 1) {
        ssize_t r = recv(fd, buf + n, want == sizeof buf ? 1 : want - n, 0);
        if (r <= 0)
            break;
        n += (size_t)r;
        buf[n] = '\0';
        const char *length = strstr(buf, "Content-Length: ");
        if (want == sizeof buf && n >= 4 && !memcmp(buf + n - 4, "\r\n\r\n", 4))
            want = n + (length ? strtoul(length + 16, NULL, 10) : 0);
    }
    buf[n] = '\0';
    return buf;
}

static const char *ask(int fd, const char *path, const char *host)
{
    char text[512];
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host);
    assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
    return read_answer(fd);
}

#define assert_has(text, part)                                                                     \
    do {                                                                                           \
        const char *text_ = (text);                                                                \
        if (!strstr(text_, (part)))                                                                \
            fail_msg("'%s' is not in '%s'", (part), text_);                                        \
    } while (0)

/* -- tests -------------------------------------------------------------------------------------------------- */

static void test_filters(void **state)
{
    struct upstream *web = upstream_start("web-1");
    int c = dial(fx.http_port);
    assert_has(ask(c, "/", "a.example"), "503 Service Unavailable");
    assert_has(ask(c, "/healthz", "a.example"), "\"missing\":[\"no snapshot of routes\"]");
    set_routes("");
    assert_has(ask(c, "/", "a.example"), "503 Service Unavailable");
    assert_has(ask(c, "/healthz", "a.example"),
        "{\"missing\":[\"no ready instance of api for /v1\",\"no ready instance of web for /\"],"
        "\"name\":\"a.example\",\"ready\":false,\"region\":\"ap-seoul\"}");
    set_instances(web, web);
    assert_has(ask(c, "/", "a.example"), "\r\n\r\nweb-1");
    assert_has(ask(c, "/", "A.Example.:80"), "\r\n\r\nweb-1");
    assert_has(ask(c, "/healthz", "a.example"), "200 OK");
    assert_has(ask(c, "/healthz", "a.example"),
        "{\"name\":\"a.example\",\"ready\":true,\"region\":\"ap-seoul\"}");
    assert_has(ask(c, "/healthz", "b.example"), "503 Service Unavailable");
    assert_has(ask(c, "/", "b.example"), "421 Misdirected Request");
    /* A route that wants a token is closed, whatever way its path is written. */
    assert_has(ask(c, "/v1/orders", "a.example"), "401 Unauthorized");
    assert_has(ask(c, "/%76%31/orders", "a.example"), "WWW-Authenticate: Bearer\r\n");
    assert_has(ask(c, "//v1//", "a.example"), "401 Unauthorized");
    assert_has(ask(c, "/x/../v1", "a.example"), "401 Unauthorized");
    assert_has(ask(c, "/v10", "a.example"), "\r\n\r\nweb-1");
    set_routes(",\"identity\":\"absent\"");
    set_instances(web, web);
    assert_has(ask(c, "/v1/orders", "a.example"), "\r\n\r\nweb-1");
    _cleanup_json_ json_t *status = edge_status(fx.edge);
    _cleanup_free_ char *text = json_text(status);
    assert_has(text, "1 routes want a token and are served without");
    close(c);
    upstream_stop(web);
}

static void test_redirect(void **state)
{
    _cleanup_json_ json_t *doc = routes_doc("");
    json_object_del(doc, "http");
    struct err e;
    assert_int_equal(edge_set_routes(fx.edge, doc, &e), 0);
    int c = dial(fx.http_port);
    const char *answer = ask(c, "/x//%79?q=/../1", "a.example:80");
    assert_has(answer, "308 Permanent Redirect");
    assert_has(answer, "Location: https://a.example/x/y?q=/../1\r\n");
    assert_has(ask(c, "/", "evil.example"), "421 ");
    assert_has(ask(c, "/healthz", "a.example"), "503 ");
    close(c);
}

static void test_bad_snapshot_changes_nothing(void **state)
{
    struct upstream *web = upstream_start("web-1");
    set_routes("");
    set_instances(web, NULL);
    struct err e = {0};
    _cleanup_json_ json_t *bad = routes_doc(
        ",\"certificates\":[{\"name\":\"c\",\"names\":[],\"cert\":\"x\",\"key\":\"y\"}]");
    assert_int_equal(edge_set_routes(fx.edge, bad, &e), ERR_INVALID);
    assert_has(e.message, "certificate 'c'");
    _cleanup_json_ json_t *worse =
        json_pack("{s:{s:[{s:s}]}}", "endpoints", "web", "unit", "web-1");
    assert_true(edge_set_endpoints(fx.edge, worse, &e) < 0);
    int c = dial(fx.http_port);
    assert_has(ask(c, "/", "a.example"), "\r\n\r\nweb-1");
    close(c);
    upstream_stop(web);
}

static void test_restart_without_control(void **state)
{
    struct upstream *web = upstream_start("web-1");
    struct err e = {0};
    set_routes("");
    set_instances(web, NULL);
    assert_int_equal(edge_store(fx.edge, &e), 0);
    edge_free(fx.edge);
    edge_up(1);
    int c = dial(fx.http_port);
    assert_has(ask(c, "/", "a.example"), "\r\n\r\nweb-1");
    close(c);
    assert_string_equal(edge_start_warning(fx.edge), "");
    edge_free(fx.edge);
    _cleanup_free_ char *path =
        xasprintf("%s/routes.json", fx.dir); /* a file that a bad disk has cut */
    assert_int_equal(truncate(path, 20), 0);
    edge_up(1);
    assert_true(strlen(edge_start_warning(fx.edge)) > 0);
    c = dial(fx.http_port);
    assert_has(ask(c, "/healthz", "a.example"), "no snapshot of routes");
    close(c);
    upstream_stop(web);
}

struct load {
    _Atomic bool stop;
    _Atomic unsigned good, bad;
    pthread_t thread;
};

static void *load_main(void *arg)
{
    struct load *l = arg;
    int c = dial(fx.http_port);
    while (!l->stop) {
        const char *answer = ask(c, "/", "a.example");
        bool good = strstr(answer, "200 OK") && strstr(answer, "\r\n\r\nweb-");
        if (!good)
            fprintf(stderr, "bad: %s\n", answer);
        (*(good ? &l->good : &l->bad))++;
        if (!good)
            break;
    }
    close(c);
    return NULL;
}

static void test_swaps_lose_nothing(void **state)
{
    struct upstream *u[2] = {upstream_start("web-1"), upstream_start("web-2")};
    set_routes("");
    set_instances(u[0], NULL);
    struct load loads[8] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(loads); i++)
        pthread_create(&loads[i].thread, NULL, load_main, &loads[i]);
    for (int i = 1; i < 200; i++) {
        unsigned before = u[i % 2]->served;
        if (i % 50 == 0)
            set_routes(
                ",\"identity\":\"absent\""); /* without instances for a moment would be 503: both at once */
        set_instances(u[i % 2], NULL);
        while (u[i % 2]->served == before)
            sched_yield();
        if (i % 50 == 49) {
            _cleanup_json_ json_t *doc = routes_doc("");
            json_t *endpoints = json_object();
            route_endpoints_add(endpoints, "web", "web-1", "127.0.0.1", u[0]->port, true, 100);
            json_object_set_new(doc, "endpoints", endpoints);
            struct err e;
            assert_int_equal(edge_set_routes(fx.edge, doc, &e), 0);
            i++;
        }
    }
    unsigned good = 0;
    for (size_t i = 0; i < ARRAY_SIZE(loads); i++)
        loads[i].stop = true;
    for (size_t i = 0; i < ARRAY_SIZE(loads); i++) {
        pthread_join(loads[i].thread, NULL);
        good += loads[i].good;
        assert_int_equal(loads[i].bad, 0);
    }
    assert_true(good > 200);
    upstream_stop(u[0]);
    upstream_stop(u[1]);
}

/* -- leaving, weights -- */

static bool quiet_within_ms(unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        if (edge_quiet(fx.edge))
            return true;
        poll(NULL, 0, 1);
    }
    return false;
}

/* A question that is asked at the very moment of the last answer is heard, too, though nobody else wakes the threads. */
static void test_every_question_is_answered(void **state)
{
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t until = clock_boot_ms() + 5000;
        while (!edge_quiet(fx.edge))
            assert_true(clock_boot_ms() < until);
    }
}

static const char plain_get[] = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/* A request that u holds; u has one connection. */
static int ask_and_wait(struct upstream *u)
{
    int fd = dial(fx.http_port);
    u->holds = true;
    assert_int_equal(send(fd, plain_get, sizeof plain_get - 1, 0), sizeof plain_get - 1);
    while (!u->asked)
        sched_yield();
    return fd;
}

static void test_who_left_is_free_when_its_requests_are_over(void **state)
{
    struct upstream *u[2] = {upstream_start("web-1"), upstream_start("web-2")};
    set_routes("");
    set_instances(u[0], NULL);
    assert_true(quiet_within_ms(5000));
    int slow = ask_and_wait(u[0]), other = dial(fx.http_port);
    set_instances(u[1], NULL);
    assert_false(quiet_within_ms(50));
    assert_has(ask(other, "/", "a.example"), "web-2");
    assert_false(quiet_within_ms(20));
    u[0]->holds = false;
    assert_has(read_answer(slow), "web-1");
    assert_true(quiet_within_ms(5000));
    close(slow);
    close(other);
    upstream_stop(u[0]);
    upstream_stop(u[1]);
}

static void test_who_comes_back_is_no_leaver(void **state)
{
    struct upstream *u[2] = {upstream_start("web-1"), upstream_start("web-2")};
    set_routes("");
    set_instances(u[0], NULL);
    assert_true(quiet_within_ms(5000));
    int slow = ask_and_wait(u[0]);
    set_instances(u[1], NULL);
    assert_false(quiet_within_ms(20));
    set_instances(u[0], NULL);
    assert_true(quiet_within_ms(5000));
    close(slow);
    upstream_stop(u[0]);
    upstream_stop(u[1]);
}

/* The head came before the change, the content after it: it goes where it can still go. */
static void test_a_slow_request_goes_to_who_is_there_when_it_is_whole(void **state)
{
    struct upstream *u[2] = {upstream_start("web-1"), upstream_start("web-2")};
    static const char head[] = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n";
    set_routes("");
    set_instances(u[0], NULL);
    int fd = dial(fx.http_port);
    assert_has(ask(fd, "/", "a.example"), "web-1");
    assert_int_equal(send(fd, head, sizeof head - 1, 0), sizeof head - 1);
    poll(NULL, 0, 50); /* the edge has read it: nothing tells when, and either way must work */
    set_instances(u[1], NULL);
    assert_true(quiet_within_ms(5000));
    upstream_stop(u[0]);
    assert_int_equal(send(fd, "body", 4, 0), 4);
    assert_has(read_answer(fd), "web-2");
    close(fd);
    upstream_stop(u[1]);
}

static void test_weights_are_shares(void **state)
{
    struct upstream *u[3] = {
        upstream_start("web-1"), upstream_start("web-2"), upstream_start("web-3")};
    static const unsigned weights[] = {90, 10, 0};
    set_routes("");
    _cleanup_json_ json_t *endpoints = json_object();
    for (size_t i = 0; i < 3; i++)
        route_endpoints_add(
            endpoints, "web", u[i]->name, "127.0.0.1", u[i]->port, true, weights[i]);
    _cleanup_json_ json_t *params = json_pack("{s:O}", "endpoints", endpoints);
    struct err e;
    assert_int_equal(edge_set_endpoints(fx.edge, params, &e), 0);
    assert_true(quiet_within_ms(5000));
    int fd = dial(fx.http_port);
    for (int i = 0; i < 200; i++)
        assert_has(ask(fd, "/", "a.example"), "web-");
    assert_in_range(u[0]->served, 176, 184);
    assert_in_range(u[1]->served, 16, 24);
    assert_int_equal(u[2]->served, 0);
    close(fd);
    for (size_t i = 0; i < 3; i++)
        upstream_stop(u[i]);
}

/* -- TLS ------------------------------------------------------------------------------------------------------ */

static char *file_text(const char *name, const char *suffix)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.%s", fx.dir, name, suffix);
    struct str s = STR_INIT;
    struct err e;
    assert_int_equal(file_read(path, 1 << 16, &s, &e), 0);
    return str_steal(&s);
}

static json_t *certificate(const struct test_ca *ca, const char *name, bool is_default)
{
    certs_leaf(fx.dir, name, ca, (struct test_leaf){.from_s = -60, .to_s = 600});
    _cleanup_free_ char *cert = file_text(name, "pem"), *key = file_text(name, "key");
    return json_pack("{s:s, s:[s], s:b, s:s, s:s}", "name", name, "names", name, "default",
        is_default, "cert", cert, "key", key);
}

static SSL *tls_dial(SSL_CTX *ctx, const char *name, SSL_SESSION *session, const char *alpn)
{
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, dial(fx.https_port));
    if (name)
        SSL_set_tlsext_host_name(ssl, name);
    if (session)
        SSL_set_session(ssl, session);
    if (alpn)
        SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    if (SSL_connect(ssl) == 1)
        return ssl;
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
    return NULL;
}

static void tls_close(SSL *ssl)
{
    SSL_shutdown(ssl);
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

static const char *tls_ask(SSL *ssl, const char *path)
{
    static char buf[4096];
    int n = snprintf(buf, sizeof buf, "GET %s HTTP/1.1\r\nHost: a.example\r\n\r\n", path);
    assert_int_equal(SSL_write(ssl, buf, n), n);
    size_t len = 0;
    do {
        n = SSL_read(ssl, buf + len, (int)(sizeof buf - 1 - len));
        if (n <= 0)
            break;
        len += (size_t)n;
        buf[len] = '\0';
    } while (!strstr(buf, "web-1") && !strstr(buf, "}\n"));
    buf[len] = '\0';
    return buf;
}

static const char *peer_name(SSL *ssl)
{
    static char cn[64];
    X509 *x = SSL_get1_peer_certificate(ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof cn);
    X509_free(x);
    return cn;
}

static void test_tls(void **state)
{
    struct test_ca ca = certs_ca("test");
    struct upstream *web = upstream_start("web-1");
    _cleanup_json_ json_t *doc = routes_doc("");
    json_object_set_new(doc, "certificates",
        json_pack("[o, o]", certificate(&ca, "a.example", false),
            certificate(&ca, "default.example", true)));
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_null(
        tls_dial(ctx, "a.example", NULL, NULL)); /* no certificate yet: refused, not served */
    struct err e;
    assert_int_equal(edge_set_routes(fx.edge, doc, &e), 0);
    set_instances(web, NULL);

    SSL *ssl = tls_dial(ctx, "a.example", NULL, "\x08http/1.1\x02h2");
    assert_non_null(ssl);
    const unsigned char *alpn;
    unsigned alpn_len;
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
    assert_int_equal(alpn_len, 2); /* the choice is ours */
    assert_memory_equal(alpn, "h2", 2);
    tls_close(ssl);
    ssl = tls_dial(ctx, "a.example", NULL, "\x02h3\x08http/1.1");
    assert_non_null(ssl);
    assert_string_equal(peer_name(ssl), "a.example");
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
    assert_int_equal(alpn_len, 8);
    assert_memory_equal(alpn, "http/1.1", 8);
    for (int i = 0; i < 3; i++)
        assert_has(tls_ask(ssl, "/"), "\r\n\r\nweb-1");
    SSL_SESSION *session = SSL_get1_session(ssl);
    tls_close(ssl);
    for (int i = 0; i < 4; i++) { /* on whichever thread it lands, and after a swap */
        set_instances(web, NULL);
        ssl = tls_dial(ctx, "a.example", session, NULL);
        assert_true(SSL_session_reused(ssl));
        assert_has(tls_ask(ssl, "/"), "\r\n\r\nweb-1");
        SSL_SESSION_free(session);
        session = SSL_get1_session(ssl);
        tls_close(ssl);
    }
    SSL_SESSION_free(session);
    ssl = tls_dial(ctx, "other.example", NULL, NULL);
    assert_string_equal(peer_name(ssl), "default.example");
    assert_has(tls_ask(ssl, "/%2e%2e"), "400 Bad Request");
    tls_close(ssl);
    assert_null(tls_dial(ctx, "a.example", NULL, "\x02h3"));
    SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
    assert_null(tls_dial(ctx, "a.example", NULL, NULL));
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    ssl = tls_dial(ctx, "a.example", NULL, NULL);
    assert_has(tls_ask(ssl, "/"), "\r\n\r\nweb-1");
    tls_close(ssl);
    SSL_CTX_free(ctx);
    certs_ca_free(&ca);
    upstream_stop(web);
}

static bool resumes(SSL_CTX *ctx, SSL_SESSION *session)
{
    SSL *ssl = tls_dial(ctx, "a.example", session, NULL);
    assert_non_null(ssl);
    bool resumed = SSL_session_reused(ssl);
    tls_ask(ssl, "/healthz"); /* the new ticket has been made when this is answered */
    tls_close(ssl);
    return resumed;
}

static void test_ticket_keys_change(void **state)
{
    struct test_ca ca = certs_ca("test");
    edge_free(fx.edge);
    edge_up_with(1, (struct http_timeouts){.ticket = 1});
    _cleanup_json_ json_t *doc = routes_doc("");
    json_object_set_new(doc, "certificates", json_pack("[o]", certificate(&ca, "a.example", true)));
    struct err e;
    assert_int_equal(edge_set_routes(fx.edge, doc, &e), 0);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION); /* TLS 1.3 tickets are for one use */
    SSL *ssl = tls_dial(ctx, "a.example", NULL, NULL);
    tls_ask(ssl, "/healthz");
    SSL_SESSION *session = SSL_get1_session(ssl);
    tls_close(ssl);
    /* Each handshake that makes a ticket is later than the millisecond of its key: one key on, still opened; two on,
     * not any more. Handshakes within one millisecond share a key, so the end is waited for. */
    int times = 0;
    while (resumes(ctx, session))
        assert_true(++times < 1000);
    assert_true(times >= 1);
    SSL_SESSION_free(session);
    SSL_CTX_free(ctx);
    certs_ca_free(&ca);
}

/* -- what it leaves behind ----------------------------------------------------------------------------------- */

static void test_log_and_metrics(void **state)
{
    struct upstream *web = upstream_start("web-1");
    set_routes("");
    set_instances(web, NULL);
    int c = dial(fx.http_port);
    ask(c, "/x?secret=1", "a.example");
    ask(c, "/healthz", "a.example"); /* api is missing: 503, worth a line */
    ask(c, "/v1", "a.example");
    assert_int_equal(send(c, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    read_answer(c);
    close(c);
    _cleanup_str_ struct str text = STR_INIT;
    for (int i = 0; i < 5000; i++) { /* a request is counted once its answer is on its way */
        str_clear(&text);
        edge_metrics_collect(fx.edge);
        metrics_format(fx.metrics, &text);
        if (strstr(text.buf, "mcp_edge_requests_total{code=\"4xx\",name=\"\"} 1\n"))
            break;
        poll(NULL, 0, 1);
    }
    assert_has(text.buf, "mcp_edge_requests_total{code=\"2xx\",name=\"a.example\"} 1\n");
    assert_has(text.buf, "mcp_edge_requests_total{code=\"4xx\",name=\"a.example\"} 1\n");
    assert_has(text.buf, "mcp_edge_requests_total{code=\"4xx\",name=\"\"} 1\n");
    assert_has(text.buf, "mcp_edge_failures_total{why=\"refused\",name=\"\"} 1\n");
    assert_has(text.buf, "mcp_edge_connections_total 1\n");
    assert_has(text.buf, "mcp_edge_request_seconds_count{name=\"a.example\"} 3\n");
    edge_free(fx.edge); /* writes what is left of the log */
    edge_up(1);
    _cleanup_free_ char *log = file_text("access", "log");
    char *rest, *line = strtok_r(log, "\n", &rest);
    struct err e;
    for (int i = 0; i < 4; i++, line = strtok_r(NULL, "\n", &rest)) {
        assert_non_null(line);
        _cleanup_json_ json_t *j = NULL;
        assert_int_equal(json_parse(line, strlen(line), &j, &e), 0);
        static const int statuses[] = {200, 503, 401, 400};
        assert_int_equal(json_integer_value(json_object_get(j, "status")), statuses[i]);
        assert_int_equal(strlen(json_string_value(json_object_get(j, "id"))), HTTP_REQUEST_ID_LEN);
        assert_string_equal(json_string_value(json_object_get(j, "client")), "127.0.0.1");
        if (i == 0) {
            assert_string_equal(json_string_value(json_object_get(j, "path")), "/x");
            assert_string_equal(json_string_value(json_object_get(j, "name")), "a.example");
            assert_string_equal(json_string_value(json_object_get(j, "unit")), "web-1");
            assert_string_equal(json_string_value(json_object_get(j, "method")), "GET");
            assert_int_equal(json_integer_value(json_object_get(j, "bytes")), 5);
        }
        if (i == 3)
            assert_string_equal(json_string_value(json_object_get(j, "reject")), "HOST_MISSING");
    }
    assert_null(line);
    upstream_stop(web);
}

static void test_log_rotation(void **state)
{
    struct access_log *log;
    struct err e;
    _cleanup_free_ char *path = xasprintf("%s/small.log", fx.dir);
    assert_int_equal(access_log_open(path, 1, 4096, &log, &e), 0);
    struct http_request request = {.method = {"GET", 3}};
    struct http_tx tx = {.request = &request,
        .path = {"/\"\\\x01", 4},
        .tls_version = "TLSv1.3",
        .client = {"::1", 3}};
    memset(tx.id, 'f', sizeof tx.id);
    for (unsigned i = 1; i <= 200; i++) {
        access_log_add(log, 0, &tx);
        while (i % 10 == 0 && access_log_written(log) < i)
            sched_yield(); /* small batches, so that files stay small */
    }
    access_log_close(log);
    for (int i = 0; i < 6; i++) {
        _cleanup_free_ char *name = i ? xasprintf("%s.%d", path, i) : xstrdup(path);
        assert_int_equal(file_exists(name), i < ACCESS_LOG_FILES);
        _cleanup_str_ struct str text = STR_INIT;
        if (i >= ACCESS_LOG_FILES)
            continue;
        assert_int_equal(file_read(name, 4096, &text, &e), 0);
        assert_has(text.buf, "\"path\":\"/\\u0022\\u005c\\u0001\"");
    }
}

static void test_log_never_waits(void **state)
{
    struct access_log *log;
    struct err e;
    assert_true(access_log_open("/nonexistent/access.log", 1, 0, &log, &e) < 0);
    _cleanup_free_ char *path = xasprintf("%s/full.log", fx.dir);
    assert_int_equal(symlink("/dev/full", path), 0); /* every write fails: disk full */
    assert_int_equal(access_log_open(path, 1, 0, &log, &e), 0);
    struct http_request request = {.method = {"GET", 3}};
    char target[1024];
    memset(target, 'x', sizeof target);
    struct http_tx tx = {.request = &request, .path = {target, sizeof target}, .tls_version = ""};
    for (unsigned i = 0; i < 5000; i++)
        access_log_add(log, 0, &tx);
    while (access_log_dropped(log) < 5000)
        sched_yield();
    assert_int_equal(access_log_written(log), 0);
    access_log_close(log);
}

static void test_no_allocation_per_request(void **state)
{
#if COUNTS_ALLOCATIONS
    struct upstream *web = upstream_start("web-1");
    set_routes("");
    set_instances(web, NULL);
    assert_true(quiet_within_ms(5000)); /* every thread has taken them over, the idle one too */
    int c[4];
    for (size_t i = 0; i < 4; i++)
        c[i] = dial(fx.http_port);
    long before = 0;
    for (int round = 0; round < 1000; round++) {
        if (round == 20) /* connections and buffers are there now */
            before = allocations;
        assert_has(ask(c[round % 4], "/some/path?query", "a.example"), "web-1");
    }
    assert_true(before > 0); /* it does count */
    assert_int_equal(allocations - before, 0);
    for (size_t i = 0; i < 4; i++)
        close(c[i]);
    upstream_stop(web);
#else
    skip();
#endif
}

static void cache_up(void)
{
    edge_free(fx.edge);
    cache_bytes = 1 << 20;
    edge_up(2);
    cache_bytes = 0;
}

static void expect_metric(const char *line)
{
    _cleanup_str_ struct str text = STR_INIT;
    for (int i = 0; i < 60000; i++) { /* a request is counted once its answer is on its way */
        str_clear(&text);
        edge_metrics_collect(fx.edge);
        metrics_format(fx.metrics, &text);
        if (strstr(text.buf, line))
            return;
        poll(NULL, 0, 1);
    }
    assert_has(text.buf, line);
}

static void test_hits_do_not_allocate(void **state)
{
    struct upstream *web = upstream_start("web-1");
    web->fields = "Cache-Control: max-age=3600\r\nETag: \"1\"\r\n";
    cache_up();
    set_routes("");
    set_instances(web, NULL);
    assert_true(quiet_within_ms(5000));
    int c[4];
    for (size_t i = 0; i < 4; i++)
        c[i] = dial(fx.http_port);
    const char *first = ask(c[0], "/x", "a.example");
    assert_has(first, "Cache-Status: mcp; fwd=uri-miss; stored\r\n");
    expect_metric("mcp_edge_cache_objects 1\n");
#if COUNTS_ALLOCATIONS
    long before = 0;
#endif
    for (int round = 0; round < 1000; round++) {
#if COUNTS_ALLOCATIONS
        if (round == 20)
            before = allocations;
#endif
        const char *hit = ask(c[round % 4], "/x", "a.example");
        assert_has(hit, "web-1");
        assert_has(hit, "Cache-Status: mcp; hit; ttl=3");
    }
#if COUNTS_ALLOCATIONS
    assert_int_equal(allocations - before, 0);
#endif
    assert_int_equal(web->served, 1);
    expect_metric("mcp_edge_cache_requests_total{result=\"hit\"} 1000\n");
    expect_metric("mcp_edge_cache_requests_total{result=\"miss\"} 1\n");
    expect_metric("mcp_edge_cache_stores_total 1\n");
    for (size_t i = 0; i < 4; i++)
        close(c[i]);
    upstream_stop(web);
}

/* What is stale may serve while nobody is there to ask. */
static void test_stale_without_instances(void **state)
{
    struct upstream *web = upstream_start("web-1");
    web->fields = "Cache-Control: max-age=1, stale-if-error=3600\r\nAge: 5\r\nETag: \"1\"\r\n";
    cache_up();
    set_routes("");
    set_instances(web, NULL);
    assert_true(quiet_within_ms(5000));
    int c = dial(fx.http_port);
    ask(c, "/x", "a.example");
    expect_metric("mcp_edge_cache_objects 1\n");
    set_instances(NULL, NULL);
    assert_true(quiet_within_ms(5000));
    const char *stale = ask(c, "/x", "a.example");
    assert_has(stale, "HTTP/1.1 200 ");
    assert_has(stale, "Cache-Status: mcp; fwd=stale; ttl=-");
    assert_has(ask(c, "/y", "a.example"), "HTTP/1.1 503 ");
    expect_metric("mcp_edge_cache_requests_total{result=\"stale\"} 1\n");
    close(c);
    upstream_stop(web);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        T(test_filters),
        T(test_redirect),
        T(test_bad_snapshot_changes_nothing),
        T(test_restart_without_control),
        T(test_swaps_lose_nothing),
        T(test_who_left_is_free_when_its_requests_are_over),
        T(test_who_comes_back_is_no_leaver),
        T(test_a_slow_request_goes_to_who_is_there_when_it_is_whole),
        T(test_every_question_is_answered),
        T(test_weights_are_shares),
        T(test_tls),
        T(test_ticket_keys_change),
        T(test_log_and_metrics),
        T(test_log_rotation),
        T(test_log_never_waits),
        T(test_no_allocation_per_request),
        T(test_hits_do_not_allocate),
        T(test_stale_without_instances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
