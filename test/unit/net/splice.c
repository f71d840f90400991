/* SPDX-License-Identifier: Apache-2.0 */
/* The engine on real sockets of the loopback, with an application that the row describes: a server of
 * the test's own stands behind it. */
#include "test.h"

#include "net/splice/splice.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PATIENCE_MS 10000

enum what {
    ECHOES,
    REFUSES,
    TRIES_TWICE,
    REPLIES,
    TAKES_A_HEAD,
    WAITS,
    FINDS_NOBODY,
    DIALS_LATER,
    WAITS_FOR_A_WORD,
    FILTERS,
};

struct world {
    struct splice_server *server;
    int listener, behind; /* listening */
    uint16_t port, behind_port, closed_port;
    enum what what;
    char path[64]; /* of a Unix socket; "": none */
    _Atomic int closed, joined, end, dials;
    struct splice_failure failure; /* of the attempt before the last; after `dials` */
};

struct state {
    unsigned tries, waits;
    bool opened; /* by the filter, when the server has spoken */
};

static int listening(uint16_t *ret_port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(fd, 16) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *ret_port = ntohs(sa.sin_port);
    return fd;
}

static int connected(uint16_t port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

/* -- the application --------------------------------------------------------------------------- */

static struct splice_look pass(size_t n)
{
    return (struct splice_look){.pass = n, .then = SPLICE_THEN_AGAIN};
}

/* Byte by byte: 'd' is dropped, 'r' becomes 'R', 'w' waits until the server has said something, 'a'
 * is answered, 'l' are the last words, 'b' breaks it, "2x" goes only as a whole; others pass, dots
 * together. */
static struct splice_look look(void *ctx, const struct splice_bytes *b)
{
    struct splice_flow *f = ctx;
    struct state *s = splice_app_of(f);
    s->opened |= b->back && b->len;
    if (!b->len || b->back)
        return b->len ? pass(b->len) : (struct splice_look){.then = SPLICE_THEN_MORE};
    switch (b->p[0]) {
    case 'd':
        return (struct splice_look){.drop = 1, .then = SPLICE_THEN_AGAIN};
    case 'r':
        b->p[0] = 'R';
        return pass(1);
    case 'w':
        return s->opened ? pass(1) : (struct splice_look){.then = SPLICE_THEN_WAIT};
    case 'a':
        assert_true(splice_reply(f, "said", 4));
        return (struct splice_look){.drop = 1, .then = SPLICE_THEN_AGAIN};
    case 'l':
        assert_true(splice_reply(f, "last", 4));
        return (struct splice_look){.then = SPLICE_THEN_LAST};
    case 'b':
        return (struct splice_look){.then = SPLICE_THEN_BREAK};
    case '2':
        return b->len < 2 ? (struct splice_look){.then = SPLICE_THEN_MORE} : pass(2);
    case '.':
        for (size_t n = 1;; n++)
            if (n == b->len || b->p[n] != '.')
                return pass(n);
    default:
        return pass(1);
    }
}

static const struct splice_filter filter = {.look = look};

static enum splice_verdict accepted(
    void *ctx, struct splice_flow *f, struct splice_tag tag, const struct ip_addr *from, SSL **ssl)
{
    struct world *w = ctx;
    assert_int_equal(tag.key, 7);
    assert_int_equal(from->family, 4);
    switch (w->what) {
    case REFUSES:
        return SPLICE_REFUSE;
    case REPLIES:
        splice_reply(f, "no", 2);
        return SPLICE_REPLY;
    case TAKES_A_HEAD:
        return SPLICE_HEAD;
    case WAITS:
        return SPLICE_WAIT;
    case FILTERS:
        splice_set_filter(f, &filter, f);
        return SPLICE_DIAL;
    default:
        return SPLICE_DIAL;
    }
}

/* "<anything>!" is the head; the server gets it in brackets. */
static enum splice_verdict head(
    void *ctx, struct splice_flow *f, const char *p, size_t len, size_t *used)
{
    const char *end = memchr(p, '!', len);
    if (!end)
        return SPLICE_HEAD;
    *used = (size_t)(end - p) + 1;
    assert_true(
        splice_forward(f, "[", 1) && splice_forward(f, p, *used) && splice_forward(f, "]", 1));
    return SPLICE_DIAL;
}

static enum splice_verdict waited(void *ctx, struct splice_flow *f)
{
    struct state *s = splice_app_of(f);
    return ++s->waits == 2 || ((struct world *)ctx)->what == DIALS_LATER ? SPLICE_DIAL : SPLICE_WAIT;
}

static void end_it(void *ctx, struct splice_flow *f)
{
    splice_end(f);
}

static void turn(void *ctx, unsigned thread)
{
    struct world *w = ctx;
    if (atomic_load(&w->end))
        splice_each(w->server, thread, end_it, w);
}

static enum splice_verdict dial(void *ctx, struct splice_flow *f, struct splice_dial *d)
{
    struct world *w = ctx;
    struct state *s = splice_app_of(f);
    bool wrong = w->what == FINDS_NOBODY || (w->what == TRIES_TWICE && s->tries == 0);
    if (w->what == DIALS_LATER && s->tries == 0 && !s->waits) {
        splice_wait_for(f, 10);
        return SPLICE_WAIT;
    }
    w->failure = *splice_failure_of(f);
    atomic_fetch_add(&w->dials, 1);
    d->path = *w->path ? w->path : NULL;
    d->wait_first = w->what == WAITS_FOR_A_WORD;
    assert_true(ip_parse("127.0.0.1", &d->address));
    d->port = wrong ? w->closed_port : w->behind_port;
    d->timeout_ms = d->wait_first && s->tries == 0 ? 50 : PATIENCE_MS;
    return s->tries++ < 2 ? SPLICE_DIAL : SPLICE_REFUSE;
}

static void joined(void *ctx, struct splice_flow *f)
{
    struct world *w = ctx;
    atomic_fetch_add(&w->joined, 1);
}

static void failed(void *ctx, struct splice_flow *f)
{
    splice_reply(f, "nobody", 6);
}

static void closed(void *ctx, struct splice_flow *f)
{
    struct world *w = ctx;
    atomic_fetch_add(&w->closed, 1);
}

static const struct splice_app app = {.turn = turn,
    .accepted = accepted,
    .head = head,
    .waited = waited,
    .dial = dial,
    .joined = joined,
    .failed = failed,
    .closed = closed,
    .flow_size = sizeof(struct state)};

static void start(struct world *w, enum what what, unsigned idle_ms)
{
    struct err e = {0};
    *w = (struct world){.what = what};
    w->behind = listening(&w->behind_port);
    int nobody = listening(&w->closed_port);
    close(nobody);
    w->listener = listening(&w->port);
    assert_int_equal(fcntl(w->listener, F_SETFL, O_NONBLOCK), 0);
    struct splice_config c = {
        .threads = 2, .app = &app, .ctx = w, .idle_ms = idle_ms, .wait_ms = 20, .drain_ms = 5000};
    assert_int_equal(splice_start(&c, &w->server, &e), 0);
    splice_listen(w->server, w->listener, (struct splice_tag){1, 7});
}

static void stop(struct world *w, int expected_closed)
{
    splice_free(w->server);
    close(w->behind);
    assert_int_equal(atomic_load(&w->closed), expected_closed);
}

static void expect(int fd, const char *text)
{
    char got[64];
    size_t n = 0, len = strlen(text);
    while (n < len) {
        ssize_t k = recv(fd, got + n, len - n, 0);
        assert_true(k > 0);
        n += (size_t)k;
    }
    assert_memory_equal(got, text, len);
}

static void expect_end(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* -- tests ------------------------------------------------------------------------------------- */

static void test_bytes_and_ends(void **state)
{
    struct world w;
    start(&w, ECHOES, 0);
    int a = connected(w.port), b = accept(w.behind, NULL, NULL);
    assert_int_equal(send(a, "ping", 4, 0), 4);
    expect(b, "ping");
    shutdown(a, SHUT_WR); /* one direction ends, the other goes on */
    expect_end(b);
    assert_int_equal(send(b, "late", 4, 0), 4);
    expect(a, "late");
    close(b);
    expect_end(a);
    close(a);
    stop(&w, 1);
}

static void test_a_break_is_passed_on(void **state)
{
    struct world w;
    start(&w, ECHOES, 0);
    int a = connected(w.port), b = accept(w.behind, NULL, NULL);
    assert_int_equal(send(a, "ping", 4, 0), 4);
    expect(b, "ping"); /* before that a break is a refusal, and another instance is tried */
    struct linger at_once = {.l_onoff = 1};
    setsockopt(b, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(b);
    char byte;
    assert_int_equal(recv(a, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(a);
    stop(&w, 1);
}

static void test_refused(void **state)
{
    struct world w;
    start(&w, REFUSES, 0);
    int a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(w.port)};
    char byte;
    bool refused = connect(a, (struct sockaddr *)&sa, sizeof sa) < 0 || recv(a, &byte, 1, 0) < 0;
    assert_true(refused && errno == ECONNRESET);
    close(a);
    assert_int_equal(splice_stat(w.server, SPLICE_STAT_REFUSED), 1);
    stop(&w, 1);
}

static void test_the_next_is_tried(void **state)
{
    struct world w;
    start(&w, TRIES_TWICE, 0);
    int a = connected(w.port), b = accept(w.behind, NULL, NULL);
    assert_int_equal(send(b, "second", 6, 0), 6);
    expect(a, "second");
    assert_int_equal(splice_stat(w.server, SPLICE_STAT_DIAL_FAILURES), 1);
    close(a);
    close(b);
    stop(&w, 1);
}

static void test_words_of_its_own(void **state)
{
    static const struct {
        enum what what;
        const char *expected;
    } rows[] = {{REPLIES, "no"}, {FINDS_NOBODY, "nobody"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct world w;
        start(&w, rows[i].what, 0);
        int a = connected(w.port);
        assert_int_equal(send(a, "who reads this?", 15, 0), 15);
        expect(a, rows[i].expected);
        expect_end(a);
        close(a);
        stop(&w, 1);
    }
}

static void test_a_head_is_rewritten(void **state)
{
    struct world w;
    start(&w, TAKES_A_HEAD, 0);
    int a = connected(w.port);
    assert_int_equal(send(a, "he", 2, 0), 2);
    assert_int_equal(send(a, "ad!rest", 7, 0), 7);
    int b = accept(w.behind, NULL, NULL);
    expect(b, "[head!]rest");
    close(a);
    close(b);
    stop(&w, 1);
}

static void test_waiting_and_silence(void **state)
{
    struct world w;
    start(&w, WAITS, 50);
    int a = connected(w.port), b = accept(w.behind, NULL, NULL);
    char byte;
    assert_true(b >= 0);
    assert_int_equal(recv(a, &byte, 1, 0), -1); /* nothing moved for idle_ms */
    assert_int_equal(splice_stat(w.server, SPLICE_STAT_IDLE), 1);
    close(a);
    close(b);
    stop(&w, 1);
}

static void test_it_is_dialled_later(void **state)
{
    struct world w;
    start(&w, DIALS_LATER, 0);
    int a = connected(w.port), b = accept(w.behind, NULL, NULL);
    assert_int_equal(send(b, "late", 4, 0), 4);
    expect(a, "late");
    close(a);
    close(b);
    stop(&w, 1);
}

/* Who takes a connection and says nothing is left for the next; what he says at last is not lost. */
static void test_joined_by_the_first_word(void **state)
{
    struct world w;
    start(&w, WAITS_FOR_A_WORD, 0);
    int a = connected(w.port), silent = accept(w.behind, NULL, NULL);
    int b = accept(w.behind, NULL, NULL);
    assert_int_equal(atomic_load(&w.joined), 0);
    assert_int_equal(atomic_load(&w.dials), 2);
    assert_true(w.failure.timed_out && w.failure.at == SPLICE_AT_ANSWER);
    assert_int_equal(send(b, "hello", 5, 0), 5);
    expect(a, "hello");
    assert_int_equal(atomic_load(&w.joined), 1);
    close(a);
    close(b);
    close(silent);
    stop(&w, 1);
}

static void test_who_hangs_up_before_a_word_was_nobody(void **state)
{
    struct world w;
    start(&w, WAITS_FOR_A_WORD, 0);
    int a = connected(w.port), b = accept(w.behind, NULL, NULL);
    close(b);
    b = accept(w.behind, NULL, NULL);
    assert_int_equal(atomic_load(&w.dials), 2);
    assert_false(w.failure.timed_out);
    close(b);
    expect(a, "nobody");
    close(a);
    stop(&w, 1);
}

static void test_a_unix_socket(void **state)
{
    struct world w;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    start(&w, ECHOES, 0);
    snprintf(w.path, sizeof w.path, "/tmp/mcp-splice-%d.sock", (int)getpid());
    memcpy(sa.sun_path, w.path, sizeof w.path);
    int a = connected(w.port); /* nobody there */
    expect(a, "nobody");
    assert_int_equal(atomic_load(&w.dials), 3);
    assert_int_equal(w.failure.error, ENOENT);
    assert_int_equal(w.failure.at, SPLICE_AT_CONNECT);
    close(a);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(bind(listener, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(listener, 4) == 0);
    a = connected(w.port);
    int b = accept(listener, NULL, NULL);
    assert_int_equal(send(a, "ping", 4, 0), 4);
    expect(b, "ping");
    close(a);
    close(b);
    close(listener);
    unlink(w.path);
    stop(&w, 2);
}

static void test_ended_by_a_word(void **state)
{
    struct world w;
    start(&w, ECHOES, 0);
    int a = connected(w.port), b = accept(w.behind, NULL, NULL);
    assert_int_equal(send(b, "said before", 11, 0), 11);
    expect(a, "said before");
    atomic_store(&w.end, 1);
    splice_wake(w.server);
    expect_end(a);
    expect_end(b);
    close(a);
    close(b);
    stop(&w, 1);
}

static void test_much_both_ways(void **state)
{
    enum { TOTAL = 8 << 20 };
    static char out[65536], in[65536];
    struct world w;
    start(&w, ECHOES, 0);
    int a = connected(w.port), b = accept(w.behind, NULL, NULL);
    size_t sent[2] = {0}, got[2] = {0};
    int fds[2] = {a, b};
    while (got[0] < TOTAL || got[1] < TOTAL) {
        struct pollfd p[2];
        for (int i = 0; i < 2; i++)
            p[i] = (struct pollfd){
                .fd = fds[i], .events = (short)(POLLIN | (sent[i] < TOTAL ? POLLOUT : 0))};
        assert_true(poll(p, 2, PATIENCE_MS) > 0);
        for (int i = 0; i < 2; i++) {
            if (p[i].revents & POLLOUT) {
                ssize_t n = send(fds[i], out, MIN(sizeof out, TOTAL - sent[i]), MSG_DONTWAIT);
                sent[i] += n > 0 ? (size_t)n : 0;
            }
            if (p[i].revents & POLLIN) {
                ssize_t n = recv(fds[i], in, sizeof in, MSG_DONTWAIT);
                got[i] += n > 0 ? (size_t)n : 0;
            }
        }
    }
    assert_int_equal(got[0], TOTAL);
    assert_int_equal(got[1], TOTAL);
    close(a);
    close(b);
    stop(&w, 1);
}

static void test_filter(void **state)
{
    struct world w;
    char byte;
    start(&w, FILTERS, 0);
    int a = connected(w.port), b = accept(w.behind, NULL, NULL);
    assert_int_equal(send(a, "ddordd2", 7, 0), 7);
    expect(b, "oR");
    assert_int_equal(send(a, "xdowo", 5, 0), 5);
    expect(b, "2xo");
    assert_int_equal(recv(b, &byte, 1, MSG_DONTWAIT), -1); /* it waits */
    assert_int_equal(send(b, "go", 2, 0), 2);
    expect(a, "go");
    expect(b, "wo");
    assert_int_equal(send(a, "aoa", 3, 0), 3);
    expect(a, "saidsaid");
    expect(b, "o");
    assert_int_equal(send(a, "2", 1, 0), 1); /* half of it: goes nowhere */
    shutdown(a, SHUT_WR);
    expect_end(b);
    close(b);
    expect_end(a);
    close(a);

    a = connected(w.port), b = accept(w.behind, NULL, NULL);
    assert_int_equal(send(a, "olo", 3, 0), 3);
    expect(a, "last");
    expect_end(a);
    expect(b, "o");
    expect_end(b);
    close(a);
    close(b);

    a = connected(w.port), b = accept(w.behind, NULL, NULL);
    assert_int_equal(send(a, "ob", 2, 0), 2);
    assert_int_equal(recv(a, &byte, 1, 0), -1);
    close(a);
    close(b);
    stop(&w, 3);
}

/* Through a Unix socket whose reader stops now and then, with a filter. */
static void test_much_to_a_slow_reader(void **state)
{
    enum { TOTAL = 4 << 20 };
    static char out[65536], in[16384];
    struct world w;
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    start(&w, FILTERS, 0);
    snprintf(sun.sun_path, sizeof sun.sun_path, "/tmp/mcp-unit-splice-%d", (int)getpid());
    unlink(sun.sun_path);
    int behind = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(behind, (struct sockaddr *)&sun, sizeof sun), 0);
    assert_int_equal(listen(behind, 1), 0);
    memcpy(w.path, sun.sun_path, sizeof w.path);
    int a = connected(w.port), b = accept(behind, NULL, NULL);
    memset(out, '.', sizeof out);
    size_t sent = 0, got = 0;
    while (got < TOTAL) {
        for (ssize_t n = 1; n > 0 && sent<TOTAL; sent += n> 0 ? (size_t)n : 0)
            n = send(a, out, MIN(sizeof out, TOTAL - sent), MSG_DONTWAIT); /* until nothing fits */
        struct pollfd p = {.fd = b, .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        ssize_t n = recv(b, in, sizeof in, 0);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(got, TOTAL);
    close(a);
    expect_end(b);
    close(b);
    close(behind);
    unlink(sun.sun_path);
    stop(&w, 1);
}

static void test_unlistened(void **state)
{
    struct world w;
    start(&w, ECHOES, 0);
    splice_unlisten(w.server, (struct splice_tag){1, 7});
    struct sockaddr_in sa = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(w.port)};
    int a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(a, (struct sockaddr *)&sa, sizeof sa), -1);
    close(a);
    stop(&w, 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes_and_ends),
        cmocka_unit_test(test_a_break_is_passed_on), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_the_next_is_tried), cmocka_unit_test(test_words_of_its_own),
        cmocka_unit_test(test_a_head_is_rewritten), cmocka_unit_test(test_waiting_and_silence),
        cmocka_unit_test(test_it_is_dialled_later), cmocka_unit_test(test_joined_by_the_first_word),
        cmocka_unit_test(test_who_hangs_up_before_a_word_was_nobody),
        cmocka_unit_test(test_a_unix_socket), cmocka_unit_test(test_ended_by_a_word),
        cmocka_unit_test(test_much_both_ways), cmocka_unit_test(test_filter),
        cmocka_unit_test(test_much_to_a_slow_reader), cmocka_unit_test(test_unlistened)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
