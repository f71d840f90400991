/* SPDX-License-Identifier: Apache-2.0 */
/* The engine end to end, in one process: a client socket and the upstream's listening sockets are both in the hands of
 * the test, so every order of events can be played. Ephemeral loopback ports; every read has a deadline. */
#include "test.h"

#include "net/http/http.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define DEADLINE_MS 10000

struct ended {
    unsigned status;
    enum http_end end;
    enum http_reject reject;
    unsigned attempts;
    uint64_t bytes;
};

static struct fixture {
    struct http_server *server;
    int plain, tls; /* listening */
    int upstreams[3];
    struct http_target targets[3];
    size_t n_targets;
    SSL_CTX *certificate;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct ended ended[256];
    size_t n_ended, n_taken;
    bool stopped;
} fx = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* -- the application -------------------------------------------------------------------------------------- */

static void *app_start(void *ctx, unsigned index)
{
    return ctx;
}

static void app_nothing(void *thread)
{
}

/* A cache that counts. Paths say what it does with a request. */
static struct {
    _Atomic unsigned begun, whole, cut, heads, parked, background;
    _Atomic uint64_t bytes;
    _Atomic bool full; /* it takes no more */
    _Atomic bool go;   /* who is parked may go on */
    struct http_tx *_Atomic waiting;
    struct thread *_Atomic loop;
} kept;

static void app_loop(void *thread)
{
    struct http_tx *tx = atomic_load(&kept.go) ? atomic_exchange(&kept.waiting, NULL) : NULL;
    if (tx)
        http_tx_resume(tx);
}

static void serve_kept(struct http_tx *tx, bool known)
{
    struct http_response *r = http_tx_response(tx);
    r->status = 200;
    r->reason = (struct http_text){"OK", 2};
    r->minor = 1;
    r->framing = known ? HTTP_BODY_LENGTH : HTTP_BODY_CHUNKED;
    r->has_length = known;
    r->content_length = known ? 4 : 0;
    tx->app = tx; /* not begun */
    http_tx_serve(tx, r);
}

static void cache_resume(void *thread, struct http_tx *tx)
{
    serve_kept(tx, false);
}

static enum http_took cache_head(
    void *thread, struct http_tx *tx, struct http_response *r, void **store)
{
    kept.heads++;
    if (r->status == 304) {
        http_tx_observe(tx, true, (struct http_text){0});
        return HTTP_TOOK_AGAIN;
    }
    if (r->status == 503) {
        serve_kept(tx, true);
        return HTTP_TOOK_SERVED;
    }
    kept.begun++;
    *store = &kept;
    return HTTP_TOOK_RELAY;
}

static bool cache_content(void *thread, void *store, struct http_text data)
{
    kept.bytes += data.len;
    return !kept.full;
}

static void cache_end(void *thread, void *store, bool whole)
{
    if (whole)
        kept.whole++;
    else
        kept.cut++;
}

static bool cache_failed(void *thread, struct http_tx *tx, unsigned status)
{
    serve_kept(tx, true);
    return true;
}

static enum http_pull cache_pull(void *thread, struct http_tx *tx, size_t max, struct http_text *ret)
{
    if (!tx->app)
        return HTTP_PULL_END;
    *ret = (struct http_text){"kept", 4};
    tx->app = NULL;
    return HTTP_PULL_SOME;
}

static const struct http_cache cache = {
    .resume = cache_resume,
    .head = cache_head,
    .content = cache_content,
    .end = cache_end,
    .failed = cache_failed,
    .pull = cache_pull,
};

/* True: that is all. */
static bool cache_request(struct http_tx *tx)
{
    if (tx->background) {
        kept.background++;
        http_tx_observe(tx, false, (struct http_text){0});
        return false;
    }
    if (http_text_is(tx->path, "/parked")) {
        http_tx_park(tx);
        kept.loop = http_tx_thread(tx);
        kept.waiting = tx;
        kept.parked++;
        return true;
    }
    if (http_text_is(tx->path, "/fetch") && http_tx_fetch(tx, &kept)) {
        serve_kept(tx, true);
        return true;
    }
    if (http_text_is(tx->path, "/asked"))
        http_tx_observe(tx, true, (struct http_text){"If-None-Match: \"1\"\r\n", 20});
    else if (http_text_is(tx->path, "/seen"))
        http_tx_observe(tx, false, (struct http_text){0});
    return false;
}

static void app_request(void *thread, struct http_tx *tx)
{
    if (cache_request(tx))
        return;
    if (http_text_is(tx->path, "/local")) {
        http_tx_reply(
            tx, &(struct http_reply){.status = 200, .type = "text/plain", .body = {"local\n", 6}});
        return;
    }
    http_tx_forward(tx, fx.targets, fx.n_targets);
}

static void app_done(void *thread, struct http_tx *tx)
{
    pthread_mutex_lock(&fx.lock);
    if (fx.n_ended < ARRAY_SIZE(fx.ended))
        fx.ended[fx.n_ended++] =
            (struct ended){tx->status, tx->end, tx->reject, tx->attempts, tx->bytes};
    pthread_cond_broadcast(&fx.changed);
    pthread_mutex_unlock(&fx.lock);
}

static SSL_CTX *app_certificate(void *thread, const char *server_name)
{
    return fx.certificate;
}

static void app_stopped(void *ctx)
{
    pthread_mutex_lock(&fx.lock);
    fx.stopped = true;
    pthread_cond_broadcast(&fx.changed);
    pthread_mutex_unlock(&fx.lock);
}

static const struct http_app app = {
    .thread_start = app_start,
    .thread_stop = app_nothing,
    .loop = app_loop,
    .request = app_request,
    .done = app_done,
    .certificate = app_certificate,
    .stopped = app_stopped,
    .cache = &cache,
};

/* -- sockets ---------------------------------------------------------------------------------------------- */

static int listen_any(struct http_target *target)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    if (target)
        *target = (struct http_target){
            .address = {4, {127, 0, 0, 1}}, .port = ntohs(sa.sin_port), .unit = "unit"};
    return fd;
}

static void set_deadline(int fd)
{
    struct timeval tv = {.tv_sec = DEADLINE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int client_to(int listening)
{
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    getsockname(listening, (struct sockaddr *)&sa, &len);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
    set_deadline(fd);
    return fd;
}

static int client(void)
{
    return client_to(fx.plain);
}

static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) > 0;
}

static int upstream_accept(size_t i)
{
    if (!readable(fx.upstreams[i], DEADLINE_MS))
        fail_msg("no connection came to upstream %zu", i);
    int fd = accept(fx.upstreams[i], NULL, NULL);
    assert_true(fd >= 0);
    set_deadline(fd);
    return fd;
}

static void put(int fd, const char *text)
{
    size_t len = strlen(text);
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Reads until `until` has come; the text is good until the next call. Byte by byte: what is behind it stays. */
static const char *get(int fd, const char *until)
{
    static char buf[65536];
    size_t n = 0, want = strlen(until);
    while (n < sizeof buf - 1) {
        ssize_t r = recv(fd, buf + n, 1, 0);
        if (r <= 0) {
            buf[n] = '\0';
            fail_msg("%s before '%s'; got '%s'", r ? strerror(errno) : "closed", until, buf);
        }
        buf[++n] = '\0';
        if (n >= want && !memcmp(buf + n - want, until, want))
            return buf;
    }
    fail_msg("too much before '%s'", until);
    return buf;
}

static void expect_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    if (n > 0 || (n < 0 && errno == EAGAIN))
        fail_msg("still open: %zd %s", n, n < 0 ? strerror(errno) : "");
    close(fd);
}

#define assert_has(text, part)                                                                     \
    do {                                                                                           \
        if (!strstr((text), (part)))                                                               \
            fail_msg("'%s' is not in '%s'", (part), (text));                                       \
    } while (0)

static struct ended next_ended(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_MS / 1000;
    pthread_mutex_lock(&fx.lock);
    while (fx.n_taken == fx.n_ended)
        if (pthread_cond_timedwait(&fx.changed, &fx.lock, &until))
            break;
    struct ended r =
        fx.n_taken < fx.n_ended ? fx.ended[fx.n_taken] : (struct ended){.end = HTTP_END_COUNT};
    fx.n_taken++;
    pthread_mutex_unlock(&fx.lock);
    assert_int_not_equal(r.end, HTTP_END_COUNT);
    return r;
}

static void expect_end(unsigned status, enum http_end end)
{
    struct ended e = next_ended();
    assert_string_equal(http_end_name(e.end), http_end_name(end));
    assert_int_equal(e.status, status);
}

static uint64_t stat_of(enum http_stat s)
{
    return http_server_stat(fx.server, s);
}

/* -- fixture --------------------------------------------------------------------------------------------- */

static void start_with(struct http_config config)
{
    fx.plain = listen_any(NULL);
    fx.tls = listen_any(NULL);
    for (size_t i = 0; i < ARRAY_SIZE(fx.upstreams); i++)
        fx.upstreams[i] = listen_any(&fx.targets[i]);
    fx.n_targets = 1;
    fx.n_ended = fx.n_taken = 0;
    fx.stopped = false;
    struct http_listen listens[] = {{fx.plain, false}, {fx.tls, true}};
    if (!config.threads)
        config.threads = 1;
    config.listens = listens;
    config.n_listens = 2;
    config.app = &app;
    struct err e;
    if (http_server_start(&config, &fx.server, &e) < 0)
        fail_msg("%s", e.message);
}

static int start(void **state)
{
    start_with((struct http_config){0});
    return 0;
}

static int stop(void **state)
{
    http_server_free(fx.server);
    close(fx.plain);
    close(fx.tls);
    for (size_t i = 0; i < ARRAY_SIZE(fx.upstreams); i++)
        close(fx.upstreams[i]);
    return 0;
}

static void restart_with(struct http_config config)
{
    stop(NULL);
    start_with(config);
}

#define GET "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"
#define POST5 "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* -- tests ------------------------------------------------------------------------------------------------- */

static void test_keep_alive(void **state)
{
    int c = client(), u = -1;
    for (int i = 0; i < 3; i++) {
        put(c, "GET /%76/../x?q HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n");
        if (u < 0)
            u = upstream_accept(0);
        const char *head = get(u, "\r\n\r\n");
        assert_has(head,
            "GET /x?q HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nX-Forwarded-For: 127.0.0.1\r\n"
            "X-Forwarded-Proto: http\r\nX-Request-Id: ");
        put(u, OK2);
        const char *answer = get(c, "ok");
        assert_has(answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: ");
        assert_null(strstr(answer, "Connection:"));
        expect_end(200, HTTP_END_OK);
    }
    assert_int_equal(stat_of(HTTP_STAT_UPSTREAM_OPENED), 1);
    assert_int_equal(stat_of(HTTP_STAT_UPSTREAM_REUSED), 2);
    assert_int_equal(stat_of(HTTP_STAT_ACCEPTED), 1);
    close(c);
    close(u);
}

static void test_pipelining(void **state)
{
    int c = client();
    put(c, GET
        "POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /local HTTP/1.1\r\nHost: a\r\n\r\n");
    int u = upstream_accept(0);
    assert_has(get(u, "\r\n\r\n"), "GET /x ");
    assert_false(readable(u, 20)); /* one after the other */
    put(u, OK2);
    assert_has(get(u, "hello"), "POST /y ");
    put(u, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    get(c, "ok");
    assert_has(get(c, "\r\n\r\n"), "201 Created");
    assert_has(get(c, "local\n"), "200 OK");
    close(c);
    close(u);
}

static void test_local_reply(void **state)
{
    int c = client();
    put(c, "HEAD /local HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_has(get(c, "\r\n\r\n"), "Content-Length: 6\r\n");
    put(c,
        "POST /local HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /local HTTP/1.1\r\nHost: a\r\n\r\n");
    get(c, "local\n");
    get(c, "local\n");
    /* Content that has not come is not waited for. */
    put(c, "POST /local HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nabc");
    assert_has(get(c, "local\n"), "Connection: close\r\n");
    expect_closed(c);
    c = client();
    put(c, "GET /local HTTP/1.0\r\n\r\n");
    assert_has(get(c, "local\n"), "Connection: close\r\n");
    expect_closed(c);
}

static void test_chunked_both_ways(void **state)
{
    int c = client();
    put(c, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhel");
    int u = upstream_accept(0);
    assert_has(get(u, "\r\n\r\n"), "Transfer-Encoding: chunked\r\n");
    get(u, "3\r\nhel\r\n");
    put(c, "lo\r\n6\r\n world\r\n");
    get(u, "2\r\nlo\r\n6\r\n world\r\n");
    put(c, "0\r\nX-Sum: 1\r\n\r\n");
    get(u, "0\r\n\r\n");
    put(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n");
    assert_has(get(c, "4\r\nWiki\r\n"), "Transfer-Encoding: chunked\r\n");
    put(u, "5;x\r\npedia\r\n0\r\nX-T: 1\r\n\r\n");
    get(c, "5\r\npedia\r\n0\r\n\r\n");
    expect_end(200, HTTP_END_OK);
    put(c, GET);
    get(u, "\r\n\r\n"); /* both connections live on */
    put(u, OK2);
    get(c, "ok");
    close(c);
    close(u);
}

static const char *const smuggled[] = {
    "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" GET,
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" GET,
    "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" GET,
    "GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n" GET,
    "GET /%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n" GET,
    "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n" GET,
    "GET https://a/x HTTP/1.1\r\nHost: a\r\n\r\n" GET,
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n" GET,
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n" GET,
};

static void test_ambiguous_is_refused(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(smuggled); i++) {
        print_message("%zu\n", i);
        int c = client();
        put(c, smuggled[i]);
        const char *answer = get(c, "}\n");
        assert_has(answer, "HTTP/1.1 400 Bad Request\r\n");
        assert_has(answer, "Connection: close\r\n");
        expect_closed(c);
        expect_end(400, HTTP_END_REFUSED);
    }
    /* Chunks are refused as they come: a connection may have been opened, but nothing was sent on it. */
    while (readable(fx.upstreams[0], 0)) {
        int u = accept(fx.upstreams[0], NULL, NULL);
        char byte;
        set_deadline(u);
        assert_true(recv(u, &byte, 1, 0) <= 0);
        close(u);
    }
    assert_int_equal(stat_of(HTTP_STAT_REQUESTS), ARRAY_SIZE(smuggled));
}

static void test_bad_chunk_later(void **state)
{
    int c = client();
    put(c, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    int u = upstream_accept(0);
    get(u, "3\r\nabc\r\n");
    put(c, "zz\r\n");
    assert_has(get(c, "}\n"), "HTTP/1.1 400 ");
    expect_closed(c);
    expect_closed(u); /* without a last chunk */
}

static void test_retry_elsewhere(void **state)
{
    fx.n_targets = 2;
    int c = client();
    put(c, GET);
    size_t first = 0;
    while (!readable(fx.upstreams[first], 1))
        first ^= 1;
    int u = upstream_accept(first);
    get(u, "\r\n\r\n");
    close(u);
    u = upstream_accept(first ^ 1);
    get(u, "\r\n\r\n");
    put(u, OK2);
    get(c, "ok");
    struct ended e = next_ended();
    assert_int_equal(e.attempts, 2);
    assert_int_equal(e.end, HTTP_END_OK);
    close(c);
    close(u);
}

static void test_post_is_not_sent_twice(void **state)
{
    fx.n_targets = 2;
    int c = client();
    put(c, POST5);
    size_t first = 0;
    while (!readable(fx.upstreams[first], 1))
        first ^= 1;
    int u = upstream_accept(first);
    get(u, "hello");
    close(u);
    assert_has(get(c, "}\n"), "HTTP/1.1 502 Bad Gateway\r\n");
    expect_end(502, HTTP_END_UPSTREAM_LOST);
    assert_false(readable(fx.upstreams[first ^ 1], 20));
    put(c, "GET /local HTTP/1.1\r\nHost: a\r\n\r\n"); /* the client's connection lives on */
    get(c, "local\n");
    close(c);
}

static void test_refused_connection(void **state)
{
    fx.n_targets = 2;
    close(fx.upstreams[0]);
    fx.upstreams[0] = -1;
    int c = client(), u = -1;
    for (int i = 0; i < 4; i++) { /* the second time on, the dead one is not even tried */
        put(c, POST5);
        if (u < 0)
            u = upstream_accept(1);
        get(u, "hello");
        put(u, OK2);
        get(c, "ok");
        expect_end(200, HTTP_END_OK);
    }
    assert_int_equal(stat_of(HTTP_STAT_CONNECT_FAILURES), 1);
    close(u);
    fx.n_targets = 1; /* ejected, but the only one: tried all the same */
    put(c, GET);
    assert_has(get(c, "}\n"), "HTTP/1.1 502 ");
    expect_end(502, HTTP_END_NO_INSTANCE);
    close(c);
}

static void test_stale_connection(void **state)
{
    int c = client();
    for (int i = 0; i < 2; i++) {
        put(c, GET);
        int u = upstream_accept(0);
        get(u, "\r\n\r\n");
        put(u, OK2);
        get(c, "ok");
        expect_end(200, HTTP_END_OK);
        close(u); /* while it is kept */
    }
    put(c, POST5);
    int u = upstream_accept(0);
    get(u, "hello");
    put(u, OK2);
    get(c, "ok");
    expect_end(200, HTTP_END_OK);
    /* The instance dies with the request on a kept connection, before any answer: GET goes to a new one. */
    put(c, GET);
    get(u, "\r\n\r\n");
    close(u);
    u = upstream_accept(0);
    get(u, "\r\n\r\n");
    put(u, OK2);
    get(c, "ok");
    struct ended e = next_ended();
    assert_int_equal(e.attempts, 2);
    close(c);
    close(u);
}

static void test_death_within_the_answer(void **state)
{
    static const struct {
        const char *head, *piece;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "half"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nhalf\r\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int c = client();
        put(c, GET);
        int u = upstream_accept(0);
        get(u, "\r\n\r\n");
        put(u, rows[i].head);
        put(u, rows[i].piece);
        get(c, rows[i].piece);
        close(u);
        expect_closed(c);
        expect_end(200, HTTP_END_TRUNCATED);
    }
    /* Nothing of it was sent yet: still time to say so. */
    int c = client();
    put(c, GET);
    int u = upstream_accept(0);
    get(u, "\r\n\r\n");
    put(u, "HTTP/1.1 200 OK\r\nContent-Le");
    close(u);
    assert_has(get(c, "}\n"), "HTTP/1.1 502 ");
    expect_end(502, HTTP_END_UPSTREAM_LOST);
    close(c);
}

static void test_bodiless_answers(void **state)
{
    static const struct {
        const char *request, *answer, *has;
    } rows[] = {
        {"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
            "Content-Length: 500\r\n"},
        {"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 OK"},
        {GET, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204 No Content"},
        {GET, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n",
            "Content-Length: 7\r\n"},
        {GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "Content-Length: 0\r\n"},
    };
    int c = client(), u = -1;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        put(c, rows[i].request);
        if (u < 0)
            u = upstream_accept(0);
        get(u, "\r\n\r\n");
        put(u, rows[i].answer);
        const char *head = get(c, "\r\n\r\n");
        assert_has(head, rows[i].has);
        assert_null(strstr(head, "Transfer-Encoding"));
        assert_true(!strstr(head, " 204 ") || !strstr(head, "Content-Length"));
        expect_end(i < 2 || i == 4 ? 200 : i == 2 ? 204 : 304, HTTP_END_OK);
    }
    assert_int_equal(stat_of(HTTP_STAT_UPSTREAM_OPENED), 1);
    close(c);
    close(u);
}

static void test_until_close(void **state)
{
    int c = client();
    put(c, GET);
    int u = upstream_accept(0);
    get(u, "\r\n\r\n");
    put(u, "HTTP/1.0 200 OK\r\n\r\nall of it");
    assert_has(get(c, "9\r\nall of it\r\n"), "Transfer-Encoding: chunked\r\n");
    close(u);
    get(c, "0\r\n\r\n");
    expect_end(200, HTTP_END_OK);
    close(c);
    c = client(); /* HTTP/1.0 knows no chunks */
    put(c, "GET /x HTTP/1.0\r\nHost: a\r\n\r\n");
    u = upstream_accept(0);
    assert_has(get(u, "\r\n\r\n"), "Via: 1.0 mcp\r\n");
    put(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n");
    const char *answer = get(c, "xyz"); /* no hex digits: an id could hold them */
    assert_null(strstr(answer, "chunked"));
    assert_has(answer, "Connection: close\r\n");
    expect_closed(c);
    close(u);
}

static void test_truncated_until_close_is_reset(void **state)
{
    int c = client();
    put(c, "GET /x HTTP/1.0\r\nHost: a\r\n\r\n");
    int u = upstream_accept(0);
    get(u, "\r\n\r\n");
    put(u, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n");
    get(c, "xyz");
    close(u);
    char byte;
    assert_int_equal(recv(c, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(c);
}

static void test_expect_continue(void **state)
{
    const char *head =
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    int c = client();
    put(c, head);
    int u = upstream_accept(0);
    assert_has(get(u, "\r\n\r\n"), "Expect: 100-continue\r\n");
    put(u, "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n");
    assert_string_equal(get(c, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    put(c, "hello");
    get(u, "hello");
    put(u,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n" OK2); /* one 100 is enough */
    assert_string_equal(get(c, "\r\n\r\n"), "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n");
    assert_has(get(c, "ok"), "HTTP/1.1 200 OK\r\n");
    expect_end(200, HTTP_END_OK);
    put(c, head); /* an upstream that does not know it: we say so ourselves after a moment */
    get(u, "\r\n\r\n");
    assert_string_equal(get(c, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    put(c, "hello");
    get(u, "hello");
    put(u, OK2);
    get(c, "ok");
    expect_end(200, HTTP_END_OK);
    put(c, head); /* refused before it was sent */
    get(u, "\r\n\r\n");
    put(u, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    assert_has(get(c, "\r\n\r\n"), "Connection: close\r\n");
    expect_closed(c);
    expect_closed(u);
}

static void test_early_answer(void **state)
{
    int c = client();
    put(c, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome");
    int u = upstream_accept(0);
    get(u, "some");
    put(u, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    assert_has(get(c, "no"), "HTTP/1.1 403 Forbidden\r\n");
    expect_closed(c);
    expect_end(403, HTTP_END_OK);
    expect_closed(u);
}

static void test_bad_answers(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        "220 smtp.example ESMTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n",
    };
    int c = client();
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        put(c, GET);
        int u = upstream_accept(0);
        get(u, "\r\n\r\n");
        put(u, answers[i]);
        assert_has(get(c, "}\n"), "HTTP/1.1 502 ");
        expect_end(502, HTTP_END_UPSTREAM_BAD);
        expect_closed(u);
    }
    close(c);
}

static void test_bytes_behind_an_answer(void **state)
{
    int c = client();
    put(c, GET);
    int u = upstream_accept(0);
    get(u, "\r\n\r\n");
    put(u, OK2 "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
    get(c, "ok");
    expect_end(200, HTTP_END_OK);
    expect_closed(u);
    put(c, GET); /* the next request gets its own answer */
    u = upstream_accept(0);
    get(u, "\r\n\r\n");
    put(u, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nreal");
    get(c, "real");
    close(u);
    close(c);
}

static void test_client_leaves(void **state)
{
    int c = client();
    put(c, GET);
    int u = upstream_accept(0);
    get(u, "\r\n\r\n");
    struct linger now = {.l_onoff = 1};
    setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c);
    expect_closed(u);
    expect_end(0, HTTP_END_CLIENT_GONE);
    c = client(); /* one that only stops sending gets its answer */
    put(c, GET);
    shutdown(c, SHUT_WR);
    u = upstream_accept(0);
    get(u, "\r\n\r\n");
    put(u, OK2);
    get(c, "ok");
    expect_closed(c);
    close(u);
}

/* 64 MiB through a reader that stops now and then: memory stays at some buffers. */
static void test_large_content_is_streamed(void **state)
{
    enum { TOTAL = 64 << 20, PIECE = 1 << 16 };
    static char piece[PIECE];
    for (int down = 0; down < 2; down++) {
        int c = client();
        put(c, down ? GET : "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n");
        int u = upstream_accept(0);
        get(u, "\r\n\r\n");
        if (down) {
            put(u, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
            get(c, "\r\n\r\n");
        }
        int from = down ? u : c, to = down ? c : u;
        size_t sent = 0, got = 0;
        while (got < TOTAL) {
            ssize_t n = sent < TOTAL ? send(from, piece, MIN((size_t)PIECE, TOTAL - sent),
                            MSG_DONTWAIT | MSG_NOSIGNAL)
                                     : -1;
            if (n > 0) {
                sent += (size_t)n;
                continue;
            }
            n = recv(to, piece, PIECE, 0); /* only when the way is full */
            assert_true(n > 0);
            got += (size_t)n;
        }
        if (!down) {
            put(u, OK2);
            get(c, "ok");
        }
        expect_end(200, HTTP_END_OK);
        close(c);
        close(u);
    }
    assert_true(stat_of(HTTP_STAT_BUFFERS) <= 8);
}

static void test_timeouts(void **state)
{
    /* One at a time: a machine that is busy lets the others pass as well. */
    restart_with((struct http_config){.timeouts = {.head = 50}});
    int c = client();
    put(c, "GET / HTTP/1.1\r\nHo");
    expect_closed(c); /* head */
    restart_with((struct http_config){.timeouts = {.idle = 50}});
    c = client();
    put(c, "GET /local HTTP/1.1\r\nHost: a\r\n\r\n");
    get(c, "local\n");
    expect_end(200, HTTP_END_OK);
    expect_closed(c); /* idle */
    restart_with((struct http_config){.timeouts = {.body = 50}});
    c = client();
    put(c, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    assert_has(get(c, "}\n"), "HTTP/1.1 408 ");
    expect_end(408, HTTP_END_CLIENT_SLOW);
    expect_closed(c);
    assert_false(readable(fx.upstreams[0], 0)); /* was not bothered with it */
    c = client();
    put(c, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n");
    int u = upstream_accept(0);
    assert_has(get(c, "}\n"), "HTTP/1.1 408 ");
    expect_end(408, HTTP_END_CLIENT_SLOW);
    expect_closed(c);
    close(u);
    restart_with((struct http_config){.timeouts = {.answer = 50}});
    c = client();
    put(c, GET);
    u = upstream_accept(0);
    assert_has(get(c, "}\n"), "HTTP/1.1 504 ");
    expect_end(504, HTTP_END_UPSTREAM_SLOW);
    close(u);
    put(c, "GET /local HTTP/1.1\r\nHost: a\r\n\r\n"); /* kept: only the answer failed */
    get(c, "local\n");
    expect_end(200, HTTP_END_OK);
    close(c);
    restart_with((struct http_config){.timeouts = {.answer = 500}});
    c = client();
    put(c, GET);
    u = upstream_accept(0);
    put(u, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    get(c, "he");
    expect_closed(c);
    expect_end(200, HTTP_END_TRUNCATED);
    close(u);
}

static void test_client_that_takes_nothing(void **state)
{
    restart_with((struct http_config){.timeouts = {.send = 100}});
    int c = client();
    put(c, GET);
    int u = upstream_accept(0);
    get(u, "\r\n\r\n");
    put(u, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
    static char piece[65536];
    while (send(u, piece, sizeof piece, MSG_NOSIGNAL) > 0)
        ;
    expect_end(200, HTTP_END_CLIENT_GONE);
    close(u);
    close(c);
}

static void wait_stopped(void)
{
    pthread_mutex_lock(&fx.lock);
    while (!fx.stopped)
        pthread_cond_wait(&fx.changed, &fx.lock);
    pthread_mutex_unlock(&fx.lock);
}

static void test_drain(void **state)
{
    int idle = client(), busy = client();
    put(idle, "GET /local HTTP/1.1\r\nHost: a\r\n\r\n");
    get(idle, "local\n");
    put(busy, GET);
    int u = upstream_accept(0);
    get(u, "\r\n\r\n");
    http_server_drain(fx.server);
    expect_closed(idle);
    int late = client(); /* waits in the listening socket, which is not ours to close */
    put(u, OK2);
    assert_has(get(busy, "ok"), "Connection: close\r\n");
    expect_closed(busy);
    wait_stopped();
    close(u);
    close(late);
}

static void test_drain_deadline(void **state)
{
    restart_with((struct http_config){.timeouts = {.drain = 50}});
    int c = client();
    put(c, GET);
    int u = upstream_accept(0);
    get(u, "\r\n\r\n");
    http_server_drain(fx.server);
    expect_closed(c);
    expect_end(0, HTTP_END_STOPPED);
    wait_stopped();
    close(u);
}

static void test_connection_limit(void **state)
{
    restart_with((struct http_config){.max_connections = 2});
    int a = client(), b = client();
    put(a, "GET /local HTTP/1.1\r\nHost: a\r\n\r\n");
    get(a, "local\n");
    put(b, GET);
    int u = upstream_accept(0);
    get(u, "\r\n\r\n");
    int c = client(); /* the idle one makes room */
    put(c, GET);
    int v = upstream_accept(0);
    expect_closed(a);
    int d = client(); /* all are busy: it waits, and is served in the end */
    assert_int_equal(stat_of(HTTP_STAT_EVICTED), 1);
    put(d, "GET /local HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_false(readable(d, 20));
    put(u, OK2);
    get(b, "ok");
    get(d, "local\n");
    expect_closed(b);
    close(c);
    close(d);
    close(u);
    close(v);
}

static void test_byte_by_byte(void **state)
{
    int c = client();
    const char *request =
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (const char *p = request; *p; p++)
        assert_int_equal(send(c, p, 1, 0), 1);
    int u = upstream_accept(0);
    get(u, "0\r\n\r\n");
    const char *answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n";
    for (const char *p = answer; *p; p++)
        assert_int_equal(send(u, p, 1, 0), 1);
    get(c, "0\r\n\r\n");
    expect_end(200, HTTP_END_OK);
    close(c);
    close(u);
}

/* -- an application that keeps answers ------------------------------------------------------------------- */

#define get_of(path) "GET " path " HTTP/1.1\r\nHost: a.example\r\n"

static void kept_reset(void)
{
    memset(&kept, 0, sizeof kept);
}

#define expect_soon(what)                                                                          \
    do {                                                                                           \
        for (int ms_ = 0; !(what) && ms_ < DEADLINE_MS; ms_++)                                     \
            poll(NULL, 0, 1);                                                                      \
        assert_true(what);                                                                         \
    } while (0)

static void test_cache_sees_answers(void **state)
{
    static const struct {
        const char *answer, *last;
        unsigned bytes;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 5},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            "0\r\n\r\n", 5},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "\r\n\r\n", 0},
        {"HTTP/1.1 204 No Content\r\n\r\n", "\r\n\r\n", 0},
    };
    int c = client(), u = -1;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        kept_reset();
        put(c, get_of("/seen") "\r\n");
        if (u < 0)
            u = upstream_accept(0);
        get(u, "\r\n\r\n");
        put(u, rows[i].answer);
        get(c, rows[i].last);
        assert_int_equal(next_ended().end, HTTP_END_OK);
        assert_int_equal(kept.begun, 1);
        assert_int_equal(kept.whole, 1);
        assert_int_equal(kept.cut, 0);
        assert_int_equal(kept.bytes, rows[i].bytes);
    }
    close(c);
    close(u);
}

static void test_cache_is_told_of_a_cut(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        kept_reset();
        int c = client();
        put(c, get_of("/seen") "\r\n");
        int u = upstream_accept(0);
        get(u, "\r\n\r\n");
        put(u, answers[i]);
        close(u);
        next_ended();
        assert_int_equal(kept.cut, 1);
        assert_int_equal(kept.whole, 0);
        close(c);
    }
}

static int left_within_an_answer(void)
{
    kept_reset();
    int c = client();
    put(c, get_of("/seen") "\r\n");
    int u = upstream_accept(0);
    get(u, "\r\n\r\n");
    put(u, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    get(c, "hello");
    struct linger now = {.l_onoff = 1};
    setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c);
    expect_end(200, HTTP_END_CLIENT_GONE);
    assert_int_equal(kept.cut, 0);
    return u;
}

static void test_cache_gets_what_its_client_left(void **state)
{
    int u = left_within_an_answer();
    put(u, "world");
    expect_soon(kept.whole == 1);
    assert_int_equal(kept.bytes, 10);
    int c = client(); /* the connection is whole, too */
    put(c, get_of("/seen") "\r\n");
    get(u, "\r\n\r\n");
    put(u, OK2);
    get(c, "ok");
    expect_end(200, HTTP_END_OK);
    close(c);
    close(u);
    u = left_within_an_answer();
    close(u); /* the upstream leaves as well */
    expect_soon(kept.cut == 1);
    u = left_within_an_answer();
    kept.full = true;
    put(u, "wor"); /* not stored: nobody wants the rest */
    expect_closed(u);
    assert_int_equal(kept.cut + kept.whole, 0);
    u = left_within_an_answer();
    stop(NULL);
    assert_int_equal(kept.cut, 1);
    close(u);
    start(NULL);
}

static void test_cache_lets_requests_wait(void **state)
{
    kept_reset();
    int c = client();
    put(c, get_of("/parked") "\r\n");
    expect_soon(kept.parked == 1);
    kept.go = true;
    http_thread_wake(kept.loop);
    assert_has(get(c, "0\r\n\r\n"), "Transfer-Encoding: chunked\r\n");
    expect_end(200, HTTP_END_OK);
    kept_reset();
    put(c, get_of("/parked") "\r\n");
    expect_soon(kept.parked == 1);
    kept.waiting = NULL; /* it may end at any moment now */
    struct linger now = {.l_onoff = 1};
    setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c);
    expect_end(0, HTTP_END_CLIENT_GONE);
}

static void test_cache_asks_otherwise(void **state)
{
    kept_reset();
    int c = client();
    put(c, get_of("/asked") "If-None-Match: \"7\"\r\nRange: bytes=0-1\r\n\r\n");
    int u = upstream_accept(0);
    const char *head = get(u, "\r\n\r\n");
    assert_has(head, "If-None-Match: \"1\"\r\n");
    assert_null(strstr(head, "\"7\""));
    assert_null(strstr(head, "Range"));
    put(u, "HTTP/1.1 304 Not Modified\r\n\r\n");
    assert_null(strstr(get(u, "\r\n\r\n"), "If-None-Match")); /* on the same connection */
    put(u, OK2);
    get(c, "ok");
    expect_end(200, HTTP_END_OK);
    assert_int_equal(kept.heads, 2);
    put(c, get_of("/asked") "\r\n");
    get(u, "\r\n\r\n");
    put(u, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n\r\nlong");
    assert_has(get(c, "kept"), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n");
    expect_end(200, HTTP_END_OK);
    expect_closed(u); /* what was left of it is not waited for */
    put(c, get_of("/asked") "\r\n");
    u = upstream_accept(0);
    get(u, "\r\n\r\n");
    for (size_t i = 0; i < ARRAY_SIZE(fx.upstreams); i++)
        shutdown(fx.upstreams[i], SHUT_RDWR);
    close(u);
    get(c, "kept");
    expect_end(200, HTTP_END_OK);
    close(c);
}

static void test_cache_fetches_without_a_client(void **state)
{
    kept_reset();
    int c = client();
    put(c, get_of("/fetch?q") "Cookie: a=b\r\nVia: 1.1 other\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n");
    get(c, "kept");
    expect_end(200, HTTP_END_OK);
    close(c);
    int u = upstream_accept(0);
    const char *head = get(u, "\r\n\r\n");
    assert_has(head, "GET /fetch?q HTTP/1.1\r\nHost: a.example\r\nCookie: a=b\r\nVia: 1.1 other\r\n"
                     "X-Forwarded-For: 127.0.0.1\r\n");
    assert_has(head, "\r\nVia: 1.1 mcp\r\n\r\n");
    put(u, OK2);
    expect_end(200, HTTP_END_OK);
    assert_int_equal(kept.background, 1);
    close(u);
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_keep_alive),
        T(test_pipelining),
        T(test_local_reply),
        T(test_chunked_both_ways),
        T(test_ambiguous_is_refused),
        T(test_bad_chunk_later),
        T(test_retry_elsewhere),
        T(test_post_is_not_sent_twice),
        T(test_refused_connection),
        T(test_stale_connection),
        T(test_death_within_the_answer),
        T(test_bodiless_answers),
        T(test_until_close),
        T(test_truncated_until_close_is_reset),
        T(test_expect_continue),
        T(test_early_answer),
        T(test_bad_answers),
        T(test_bytes_behind_an_answer),
        T(test_client_leaves),
        T(test_large_content_is_streamed),
        T(test_timeouts),
        T(test_client_that_takes_nothing),
        T(test_drain),
        T(test_drain_deadline),
        T(test_connection_limit),
        T(test_byte_by_byte),
        T(test_cache_sees_answers),
        T(test_cache_is_told_of_a_cut),
        T(test_cache_gets_what_its_client_left),
        T(test_cache_lets_requests_wait),
        T(test_cache_asks_otherwise),
        T(test_cache_fetches_without_a_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
