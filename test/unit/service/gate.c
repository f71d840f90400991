/* SPDX-License-Identifier: Apache-2.0 */
/* The gate on real sockets, between a client and a server that the test plays: what passes when, by
 * the policy. Nothing here waits for time but the rows about time, and those poll. */
#include "test.h"

#include "base/clock/clock.h"
#include "service/gate/gate.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PATIENCE_MS 10000
#define FAR_MS UINT64_C(1000000000)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 0
#else
#define COUNTS_ALLOCATIONS 1
/* The definition of this executable comes before the C library's: counts those of the gate's thread. */
extern void *__libc_malloc(size_t);
static _Atomic long allocations;

void *malloc(size_t n)
{
    char name[16] = "";
    if (!pthread_getname_np(pthread_self(), name, sizeof name) && !strncmp(name, "splice-", 7))
        allocations++;
    return __libc_malloc(n);
}
#endif

struct world {
    struct gate_serve *serve;
    struct gate *gate;
    struct gate_place place; /* of the gate */
    int server;              /* listening */
};

static void policy(struct world *w, enum gate_mode mode, uint64_t epoch)
{
    uint64_t far = clock_boot_ms() + FAR_MS;
    gate_serve_set_policy(w->serve, &(struct gate_policy){.mode = mode,
                                        .epoch = epoch,
                                        .deadline_ms = far,
                                        .hold_until_ms = mode == GATE_HOLD ? far : 0});
}

/* The deadline is past, nothing else has changed. */
static void lapse(struct world *w, uint64_t epoch)
{
    gate_serve_set_policy(w->serve,
        &(struct gate_policy){.mode = GATE_RW, .epoch = epoch, .deadline_ms = clock_boot_ms()});
}

static void start_with(struct world *w, struct gate_limits limits)
{
    struct err e = {0};
    struct gate_serve_config c = {.threads = 1, .limits = limits};
    *w = (struct world){0};
    assert_int_equal(gate_place_parse("127.0.0.1:0", &c.upstream, &e), 0);
    assert_int_equal(gate_place_parse("127.0.0.1:0", &w->place, &e), 0);
    w->server = gate_place_listen(&c.upstream, &e);
    c.listener = gate_place_listen(&w->place, &e);
    assert_true(w->server >= 0 && c.listener >= 0);
    assert_int_equal(gate_serve_new(&c, &w->serve, &e), 0);
    w->gate = gate_serve_gate(w->serve);
}

static void start(struct world *w)
{
    start_with(w, (struct gate_limits){0});
    policy(w, GATE_RW, 1);
}

static void stop(struct world *w)
{
    gate_serve_free(w->serve);
    close(w->server);
}

/* -- the two sides ----------------------------------------------------------------------------- */

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, PATIENCE_MS) == 1;
}

static int dial(struct world *w)
{
    struct sockaddr_storage sa;
    socklen_t len;
    ip_to_sockaddr(&w->place.address, w->place.port, &sa, &len);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
    return fd;
}

static int take(struct world *w)
{
    assert_true(readable(w->server));
    int fd = accept(w->server, NULL, NULL);
    assert_true(fd >= 0);
    return fd;
}

static void put(int fd, const void *p, size_t len)
{
    assert_int_equal(send(fd, p, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void say(int fd, uint8_t seq, const void *payload, size_t len)
{
    uint8_t out[1024] = {(uint8_t)len, (uint8_t)(len >> 8), 0, seq};
    memcpy(out + 4, payload, len);
    put(fd, out, 4 + len);
}

/* One packet's payload; -1: it broke, or ended. */
static int hear(int fd, uint8_t *ret_seq, uint8_t *payload, size_t cap)
{
    uint8_t head[4];
    size_t at = 0, len = 4;
    bool body = false;
    for (;;) {
        assert_true(readable(fd));
        ssize_t n = recv(fd, body ? payload + at : head + at, len - at, 0);
        if (n <= 0)
            return -1;
        at += (size_t)n;
        if (at < len)
            continue;
        if (body)
            return (int)len;
        len = (size_t)head[0] | (size_t)head[1] << 8;
        assert_true(head[2] == 0 && len > 0 && len <= cap);
        *ret_seq = head[3];
        body = true;
        at = 0;
    }
}

static void expect(int fd, uint8_t seq, const void *payload, size_t len)
{
    uint8_t got[1024], got_seq;
    assert_int_equal(hear(fd, &got_seq, got, sizeof got), len);
    assert_int_equal(got_seq, seq);
    assert_memory_equal(got, payload, len);
}

static void expect_error(int fd, uint8_t seq, unsigned code)
{
    uint8_t got[1024], got_seq;
    assert_true(hear(fd, &got_seq, got, sizeof got) > 9);
    assert_int_equal(got[0], 0xff);
    assert_int_equal(got[1] | got[2] << 8, code);
    assert_int_equal(got_seq, seq);
}

static void expect_gone(int fd)
{
    uint8_t got[1024], got_seq;
    assert_int_equal(hear(fd, &got_seq, got, sizeof got), -1);
}

/* Not one byte has come. What might have is sent before what the caller has already seen. */
static void expect_silence(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
}

static const uint8_t ok[] = {0, 0, 0, 2, 0, 0, 0}, ok_in_transaction[] = {0, 0, 0, 1, 0, 0, 0},
                     query[] = "\3insert into t values (1)", ping[] = {0x0e};
#define QUERY sizeof query - 1

static size_t greeting(uint8_t *p)
{
    static const char version[] = "10.11.19-MariaDB";
    memset(p, 0, 128);
    p[0] = 10;
    memcpy(p + 1, version, sizeof version);
    size_t at = 1 + sizeof version + 4 + 8 + 1;
    p[at + 1] = 2; /* CLIENT_PROTOCOL_41 */
    return at + 18 + 13 + 1;
}

static void log_in(struct world *w, int *client, int *server)
{
    uint8_t hello[128], reply[37] = {0, 2}, got[256], seq;
    memcpy(reply + 32, "api", 3);
    *client = dial(w);
    *server = take(w);
    say(*server, 0, hello, greeting(hello));
    assert_true(hear(*client, &seq, got, sizeof got) > 0 && seq == 0);
    say(*client, 1, reply, sizeof reply);
    expect(*server, 1, reply, sizeof reply);
    say(*server, 2, ok, sizeof ok);
    expect(*client, 2, ok, sizeof ok);
}

static void done(struct world *w, int client, int server)
{
    close(client);
    close(server);
    stop(w);
}

static void wait_for_counts(struct world *w, bool (*is)(const struct gate_counts *n))
{
    for (uint64_t until = clock_boot_ms() + PATIENCE_MS; clock_boot_ms() < until;) {
        struct gate_counts n = gate_counts(w->gate);
        if (is(&n))
            return;
        poll(NULL, 0, 1);
    }
    fail_msg("the counts never became so");
}

static void note_login(void *ctx, struct splice_flow *f, const char *user, bool older)
{
    *(int *)ctx += strcmp(user, "api") == 0 && !older;
}

/* -- the deadline ------------------------------------------------------------------------------ */

static void test_open_it_passes(void **state)
{
    struct world w;
    int client, server;
    int logins = 0;
    start(&w);
    gate_on_login(w.gate, note_login, &logins);
    log_in(&w, &client, &server);
    assert_int_equal(logins, 1);
    for (int i = 0; i < 3; i++) {
        say(client, 0, query, QUERY);
        expect(server, 0, query, QUERY);
        say(server, 1, ok, sizeof ok);
        expect(client, 1, ok, sizeof ok);
    }
    struct gate_counts n = gate_counts(w.gate);
    assert_true(n.sessions == 1 && n.statements == 3 && n.late == 0 && n.busy == 0);
    done(&w, client, server);
}

static void test_no_allocation_per_statement(void **state)
{
#if COUNTS_ALLOCATIONS
    static const uint8_t row[300] = {0xfc, 41, 1}, eof[] = {0xfe, 0, 0, 2, 0};
    struct world w;
    int client, server;
    long before = 0;
    start(&w);
    log_in(&w, &client, &server);
    for (int i = 0; i < 500; i++) {
        if (i == 10) /* buffers are there now */
            before = allocations;
        say(client, 0, query, QUERY);
        expect(server, 0, query, QUERY);
        say(server, 1, "\1", 1);
        say(server, 2, row, 30); /* what describes the column */
        say(server, 3, eof, sizeof eof);
        say(server, 4, row, sizeof row);
        say(server, 5, eof, sizeof eof);
        expect(client, 1, "\1", 1);
        expect(client, 2, row, 30);
        expect(client, 3, eof, sizeof eof);
        expect(client, 4, row, sizeof row);
        expect(client, 5, eof, sizeof eof);
    }
    assert_true(before > 0); /* it does count */
    assert_int_equal(allocations - before, 0);
    done(&w, client, server);
#endif
}

static void test_no_ok_after_the_deadline(void **state)
{
    struct world w;
    int client, server;
    start(&w);
    log_in(&w, &client, &server);
    say(client, 0, query, QUERY);
    expect(server, 0, query, QUERY);
    lapse(&w, 1);
    say(server, 1, ok, sizeof ok);
    expect_gone(client);
    assert_int_equal(gate_counts(w.gate).late, 1);
    done(&w, client, server);
}

static void test_nothing_is_forwarded_after_the_deadline(void **state)
{
    struct world w;
    int client, server;
    start(&w);
    log_in(&w, &client, &server);
    lapse(&w, 1);
    say(client, 0, query, QUERY);
    expect_error(client, 1, 1290);
    expect_gone(client);
    expect_gone(server); /* and it saw nothing before */
    done(&w, client, server);
}

/* Of two statements in a row, the first is with the server: no word that could be taken for its answer. */
static void test_pipelined_behind_the_deadline(void **state)
{
    struct world w;
    int client, server;
    start(&w);
    log_in(&w, &client, &server);
    say(client, 0, query, QUERY);
    expect(server, 0, query, QUERY);
    lapse(&w, 1);
    say(client, 0, query, QUERY);
    expect_gone(client);
    expect_gone(server);
    done(&w, client, server);
}

static void test_renewed_in_time_it_goes_on(void **state)
{
    struct world w;
    int client, server;
    start(&w);
    log_in(&w, &client, &server);
    lapse(&w, 1);
    policy(&w, GATE_RW, 1);
    say(client, 0, query, QUERY);
    expect(server, 0, query, QUERY);
    say(server, 1, ok, sizeof ok);
    expect(client, 1, ok, sizeof ok);
    done(&w, client, server);
}

static void test_another_epoch_ends_it(void **state)
{
    struct world w;
    int client, server, next, behind;
    start(&w);
    log_in(&w, &client, &server);
    policy(&w, GATE_RW, 2);
    expect_error(client, 1, 1290); /* though it was idle */
    expect_gone(client);
    expect_gone(server);
    log_in(&w, &next, &behind);
    close(next);
    close(behind);
    done(&w, client, server);
}

static void test_another_epoch_breaks_what_is_under_way(void **state)
{
    struct world w;
    int client, server;
    start(&w);
    log_in(&w, &client, &server);
    say(client, 0, query, QUERY);
    expect(server, 0, query, QUERY);
    policy(&w, GATE_RW, 2);
    expect_gone(client);
    expect_gone(server);
    done(&w, client, server);
}

static void test_closed_nobody_comes_in(void **state)
{
    struct world w;
    start_with(&w, (struct gate_limits){0});
    int client = dial(&w);
    expect_error(client, 0, 1290);
    expect_gone(client);
    expect_silence(w.server);
    close(client);
    stop(&w);
}

/* `ro` has no deadline; who was let in to read does not become a writer, nor the other way round. */
static void test_ro(void **state)
{
    struct world w;
    int client, server;
    start_with(&w, (struct gate_limits){0});
    gate_serve_set_policy(w.serve, &(struct gate_policy){.mode = GATE_RO, .epoch = 1});
    log_in(&w, &client, &server);
    say(client, 0, ping, 1);
    expect(server, 0, ping, 1);
    say(server, 1, ok, sizeof ok);
    expect(client, 1, ok, sizeof ok);
    policy(&w, GATE_RW, 1);
    expect_error(client, 1, 1290);
    expect_gone(server);
    done(&w, client, server);
}

/* -- hold -------------------------------------------------------------------------------------- */

static bool one_waits(const struct gate_counts *n)
{
    return n->waiting == 1;
}

static bool two_wait(const struct gate_counts *n)
{
    return n->waiting == 2;
}

static void test_hold_and_release(void **state)
{
    struct world w;
    int client, server, other, behind;
    uint8_t hello[128], got[256], seq;
    start(&w);
    log_in(&w, &client, &server);
    policy(&w, GATE_HOLD, 1);
    say(client, 0, query, QUERY);
    wait_for_counts(&w, one_waits);
    other = dial(&w);
    wait_for_counts(&w, two_wait);
    expect_silence(server);
    expect_silence(w.server);
    policy(&w, GATE_RW, 1);
    expect(server, 0, query, QUERY);
    say(server, 1, ok, sizeof ok);
    expect(client, 1, ok, sizeof ok);
    behind = take(&w);
    say(behind, 0, hello, greeting(hello));
    assert_true(hear(other, &seq, got, sizeof got) > 0);
    assert_int_equal(gate_counts(w.gate).waiting, 0);
    close(other);
    close(behind);
    done(&w, client, server);
}

static void test_hold_lets_transactions_end(void **state)
{
    struct world w;
    int client, server;
    start(&w);
    log_in(&w, &client, &server);
    say(client, 0, query, QUERY);
    expect(server, 0, query, QUERY);
    policy(&w, GATE_HOLD, 1);
    say(client, 0, query, QUERY); /* waits: what the first one leads to is not known yet */
    say(server, 1, ok_in_transaction, 7);
    expect(client, 1, ok_in_transaction, 7);
    expect(server, 0, query, QUERY);
    assert_int_equal(gate_counts(w.gate).busy, 1);
    say(server, 1, ok, 7); /* the commit */
    expect(client, 1, ok, 7);
    say(client, 0, query, QUERY);
    wait_for_counts(&w, one_waits);
    expect_silence(server);
    assert_int_equal(gate_counts(w.gate).busy, 0);
    done(&w, client, server);
}

static void test_hold_that_ends_elsewhere(void **state)
{
    struct world w;
    int client, server, other;
    start(&w);
    log_in(&w, &client, &server);
    policy(&w, GATE_HOLD, 1);
    say(client, 0, query, QUERY);
    wait_for_counts(&w, one_waits);
    other = dial(&w);
    wait_for_counts(&w, two_wait);
    policy(&w, GATE_CLOSED, 2);
    expect_error(client, 1, 1290);
    expect_gone(client);
    expect_error(other, 0, 1290);
    expect_gone(server);
    expect_silence(w.server);
    close(other);
    done(&w, client, server);
}

static void test_hold_is_over_some_time(void **state)
{
    struct world w;
    int client, server;
    start(&w);
    log_in(&w, &client, &server);
    gate_serve_set_policy(w.serve, &(struct gate_policy){.mode = GATE_HOLD,
                                       .epoch = 1,
                                       .deadline_ms = clock_boot_ms() + FAR_MS,
                                       .hold_until_ms = clock_boot_ms() + 50});
    say(client, 0, query, QUERY);
    expect_error(client, 1, 1290);
    expect_gone(server);
    done(&w, client, server);
}

/* Who gave up in the meantime may have asked somebody else. */
static void test_hold_forgets_who_left(void **state)
{
    struct world w;
    int client, server;
    start(&w);
    log_in(&w, &client, &server);
    policy(&w, GATE_HOLD, 1);
    say(client, 0, query, QUERY);
    wait_for_counts(&w, one_waits);
    close(client);
    policy(&w, GATE_RW, 1);
    expect_gone(server);
    close(server);
    stop(&w);
}

/* -- limits ------------------------------------------------------------------------------------ */

static void test_limits(void **state)
{
    static const struct {
        struct gate_limits limits;
        unsigned code;
    } rows[] = {
        {{.connections = 1}, 1040}, {{.per_caller = 1}, 1040},
        {{.logins_per_s = 1}, 1226}, /* two at once: the third */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct world w;
        int client, server, second = -1, behind = -1;
        start_with(&w, rows[i].limits);
        policy(&w, GATE_RW, 1);
        log_in(&w, &client, &server);
        if (rows[i].limits.logins_per_s)
            log_in(&w, &second, &behind);
        int refused = dial(&w);
        expect_error(refused, 0, rows[i].code);
        expect_gone(refused);
        close(refused);
        close(second);
        close(behind);
        done(&w, client, server);
    }
}

static bool nobody(const struct gate_counts *n)
{
    return n->sessions == 0;
}

static void test_a_place_is_given_back(void **state)
{
    struct world w;
    int client, server;
    start_with(&w, (struct gate_limits){.connections = 1, .per_caller = 1});
    policy(&w, GATE_RW, 1);
    for (int i = 0; i < 3; i++) {
        log_in(&w, &client, &server);
        close(client);
        expect_gone(server);
        close(server);
        wait_for_counts(&w, nobody);
    }
    stop(&w);
}

static void test_logins_and_idle_ones_end(void **state)
{
    struct world w;
    int client, server;
    uint8_t hello[128], got[256], seq;
    start_with(&w, (struct gate_limits){.handshake_ms = 50, .idle_ms = 50});
    policy(&w, GATE_RW, 1);
    client = dial(&w);
    server = take(&w);
    say(server, 0, hello, greeting(hello));
    assert_true(hear(client, &seq, got, sizeof got) > 0);
    expect_error(client, 1, 1159); /* it never replied */
    expect_gone(server);
    close(client);
    close(server);
    log_in(&w, &client, &server);
    expect_error(client, 1, 4031);
    expect_gone(server);
    done(&w, client, server);
}

/* -- the server -------------------------------------------------------------------------------- */

static void test_server_breaks_in_an_answer(void **state)
{
    struct world w;
    int client, server;
    start(&w);
    log_in(&w, &client, &server);
    say(client, 0, query, QUERY);
    expect(server, 0, query, QUERY);
    put(server, "\1\0\0\1\1", 5); /* one column, and no more */
    close(server);
    uint8_t got[16], seq;
    assert_int_equal(hear(client, &seq, got, sizeof got), 1);
    expect_gone(client);
    close(client);
    stop(&w);
}

static void test_server_is_gone(void **state)
{
    struct world w;
    start(&w);
    close(w.server);
    int client = dial(&w);
    expect_error(client, 0, 1053);
    expect_gone(client);
    assert_int_equal(gate_health(w.gate, clock_boot_ms()), GATE_DEAD);
    close(client);
    w.server = -1;
    stop(&w);
}

static bool one_came(const struct gate_counts *n)
{
    return n->sessions == 1;
}

/* A Unix socket refuses at once where TCP would wait: the gate does. */
static void test_servers_queue_is_full(void **state)
{
    struct gate_serve_config c = {.threads = 1};
    struct world w = {0};
    struct err e = {0};
    uint8_t hello[128], got[256], seq;
    int fill[64], n = 0, last;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(c.upstream.path, sizeof c.upstream.path, "/tmp/mcp-unit-gate-%d", (int)getpid());
    memcpy(un.sun_path, c.upstream.path, sizeof un.sun_path);
    unlink(un.sun_path);
    w.server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w.server, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(listen(w.server, 1), 0);
    do { /* as many as it takes */
        last = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        fill[n++] = last;
    } while (connect(last, (struct sockaddr *)&un, sizeof un) == 0 && n < 64);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(gate_place_parse("127.0.0.1:0", &w.place, &e), 0);
    c.listener = gate_place_listen(&w.place, &e);
    assert_int_equal(gate_serve_new(&c, &w.serve, &e), 0);
    w.gate = gate_serve_gate(w.serve);
    policy(&w, GATE_RW, 1);
    int client = dial(&w), server = -1;
    wait_for_counts(&w, one_came);
    for (int i = 0; i < n - 1; i++) /* those before it */
        close(take(&w));
    server = take(&w);
    say(server, 0, hello, greeting(hello));
    assert_true(hear(client, &seq, got, sizeof got) > 0 && got[0] == 10);
    for (int i = 0; i < n; i++)
        close(fill[i]);
    done(&w, client, server);
    unlink(un.sun_path);
}

static bool one_is_slow(const struct gate_counts *n)
{
    return n->slow == 1;
}

static void test_slow_and_silent_are_not_dead(void **state)
{
    struct world w;
    int client, server, other, behind;
    start_with(&w, (struct gate_limits){.slow_ms = 10, .silent_ms = 60000});
    policy(&w, GATE_RW, 1);
    log_in(&w, &client, &server);
    log_in(&w, &other, &behind);
    assert_int_equal(gate_health(w.gate, clock_boot_ms()), GATE_WELL);
    say(client, 0, query, QUERY);
    expect(server, 0, query, QUERY);
    wait_for_counts(&w, one_is_slow);
    uint64_t now_ms = clock_boot_ms();
    assert_int_equal(gate_health(w.gate, now_ms), GATE_SLOW);
    assert_int_equal(gate_health(w.gate, now_ms + 60000), GATE_SILENT);
    say(server, 1, ok, sizeof ok);
    expect(client, 1, ok, sizeof ok);
    assert_int_equal(gate_health(w.gate, clock_boot_ms()), GATE_WELL);
    close(other);
    close(behind);
    done(&w, client, server);
}

static void test_refused_command_goes_no_further(void **state)
{
    static const uint8_t dump[] = "\x12\4\0\0\0\0\0\1\0\0\0mysql-bin.000001";
    struct world w;
    int client, server;
    start(&w);
    log_in(&w, &client, &server);
    say(client, 0, dump, sizeof dump - 1);
    expect_error(client, 1, 1227);
    say(client, 0, query, QUERY);
    expect(server, 0, query, QUERY); /* the next thing that it sees */
    done(&w, client, server);
}

/* -- words ------------------------------------------------------------------------------------- */

static void test_policy_lines(void **state)
{
    static const struct {
        const char *line;
        int mode; /* -1: refused */
        uint64_t epoch, deadline_ms, hold_ms;
    } rows[] = {
        {"rw 3 500", GATE_RW, 3, 1500, 0},
        {"hold 3 500 200", GATE_HOLD, 3, 1500, 1200},
        {"ro 4", GATE_RO, 4, 1000, 0},
        {"close", GATE_CLOSED, 0, 1000, 0},
        {"rw 3", -1},
        {"rw 3 500 1", -1},
        {"rw x 500", -1},
        {"rw 3 500 ", -1},
        {"close 1", -1},
        {"hold 1 2 3 4", -1},
        {"", -1},
        {"open", -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct gate_policy p;
        struct err e = {0};
        int r = gate_policy_parse(rows[i].line, 1000, &p, &e);
        if ((r < 0) != (rows[i].mode < 0))
            fail_msg("%s: %d", rows[i].line, r);
        if (r < 0)
            continue;
        assert_int_equal(p.mode, rows[i].mode);
        assert_int_equal(p.epoch, rows[i].epoch);
        assert_int_equal(p.deadline_ms, rows[i].deadline_ms);
        assert_int_equal(p.hold_until_ms, rows[i].hold_ms);
    }
}

static void test_places(void **state)
{
    struct gate_place p;
    struct err e = {0};
    assert_int_equal(gate_place_parse("unix:/run/x.sock", &p, &e), 0);
    assert_string_equal(p.path, "/run/x.sock");
    assert_int_equal(gate_place_parse("127.0.0.1:3306", &p, &e), 0);
    assert_true(!*p.path && p.port == 3306 && p.address.family == 4);
    assert_true(gate_place_parse("unix:relative", &p, &e) < 0);
    assert_true(gate_place_parse("127.0.0.1", &p, &e) < 0);
    assert_true(gate_place_parse("127.0.0.1:99999", &p, &e) < 0);
    assert_true(gate_place_parse("localhost:1", &p, &e) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_it_passes),
        cmocka_unit_test(test_no_allocation_per_statement),
        cmocka_unit_test(test_no_ok_after_the_deadline),
        cmocka_unit_test(test_nothing_is_forwarded_after_the_deadline),
        cmocka_unit_test(test_pipelined_behind_the_deadline),
        cmocka_unit_test(test_renewed_in_time_it_goes_on),
        cmocka_unit_test(test_another_epoch_ends_it),
        cmocka_unit_test(test_another_epoch_breaks_what_is_under_way),
        cmocka_unit_test(test_closed_nobody_comes_in),
        cmocka_unit_test(test_ro),
        cmocka_unit_test(test_hold_and_release),
        cmocka_unit_test(test_hold_lets_transactions_end),
        cmocka_unit_test(test_hold_that_ends_elsewhere),
        cmocka_unit_test(test_hold_is_over_some_time),
        cmocka_unit_test(test_hold_forgets_who_left),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_a_place_is_given_back),
        cmocka_unit_test(test_logins_and_idle_ones_end),
        cmocka_unit_test(test_server_breaks_in_an_answer),
        cmocka_unit_test(test_server_is_gone),
        cmocka_unit_test(test_servers_queue_is_full),
        cmocka_unit_test(test_slow_and_silent_are_not_dead),
        cmocka_unit_test(test_refused_command_goes_no_further),
        cmocka_unit_test(test_policy_lines),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
