/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "net/tcp/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

/* "big" is answered with 65,535 bytes, "none" with nothing, everything else with itself. */
static size_t answer(
    void *ctx, const struct ip_addr *from, const uint8_t *msg, size_t len, uint8_t *out, size_t cap)
{
    assert_true(cap == TCP_ANSWER_MAX && from->family == 4);
    if (len == 4 && !memcmp(msg, "none", 4))
        return 0;
    if (len >= 3 && !memcmp(msg, "big", 3)) {
        memset(out, 'b', cap);
        memcpy(out, msg, len);
        return cap;
    }
    memcpy(out, msg, len);
    return len;
}

struct fixture {
    int listener;
    struct sockaddr_in addr;
    struct tcp_server *server;
};

static void start(struct fixture *f, struct tcp_options o)
{
    socklen_t len = sizeof f->addr;
    struct err e = {0};
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    f->addr =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(f->listener, (struct sockaddr *)&f->addr, sizeof f->addr), 0);
    assert_int_equal(listen(f->listener, 64), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&f->addr, &len), 0);
    o.fds = &f->listener;
    o.n_fds = 1;
    o.name = "tcp-test";
    o.answer = answer;
    assert_int_equal(tcp_server_start(&o, &f->server, &e), 0);
}

static void stop(struct fixture *f)
{
    tcp_server_stop(f->server);
    close(f->listener);
}

static int dial(struct fixture *f)
{
    struct timeval limit = {.tv_sec = 10}; /* a hang fails instead of hanging */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&f->addr, sizeof f->addr), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static void say(int fd, const char *text)
{
    uint8_t buf[256];
    size_t len = strlen(text);
    buf[0] = (uint8_t)(len >> 8);
    buf[1] = (uint8_t)len;
    memcpy(buf + 2, text, len);
    assert_int_equal(send(fd, buf, len + 2, MSG_NOSIGNAL), len + 2);
}

static bool read_all(int fd, void *buf, size_t len)
{
    return !len || recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

/* Length of the next answer, its first bytes in text; -1 when the connection has ended. */
static int hear(int fd, char text[16])
{
    static uint8_t buf[TCP_ANSWER_MAX];
    uint8_t head[2];
    if (!read_all(fd, head, 2))
        return -1;
    int len = head[0] << 8 | head[1];
    assert_true(read_all(fd, buf, (size_t)len));
    snprintf(text, 16, "%.*s", MIN(len, 15), (const char *)buf);
    return len;
}

static void expect(int fd, const char *text)
{
    char got[16];
    assert_int_equal(hear(fd, got), strlen(text));
    assert_string_equal(got, text);
}

static void test_pipelined(void **state)
{
    struct fixture f;
    start(&f, (struct tcp_options){0});
    int fd = dial(&f);
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof text, "q%d", i);
        say(fd, text);
    }
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof text, "q%d", i);
        expect(fd, text);
    }
    assert_int_equal(tcp_server_count(f.server, TCP_M_QUERIES), 100);
    close(fd);
    stop(&f);
}

static void test_byte_by_byte(void **state)
{
    struct fixture f;
    start(&f, (struct tcp_options){0});
    int fd = dial(&f);
    for (const char *p = "\0\3abc\0\2de"; p < "\0\3abc\0\2de" + 9; p++)
        assert_int_equal(send(fd, p, 1, MSG_NOSIGNAL), 1);
    expect(fd, "abc");
    expect(fd, "de");
    close(fd);
    stop(&f);
}

/* The client asks and closes its side at once: the answer still comes. */
static void test_half_closed(void **state)
{
    struct fixture f;
    char text[16];
    start(&f, (struct tcp_options){0});
    int fd = dial(&f);
    say(fd, "last");
    shutdown(fd, SHUT_WR);
    expect(fd, "last");
    assert_int_equal(hear(fd, text), -1);
    close(fd);
    stop(&f);
}

static void test_broken_framing_ends(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } rows[] = {{"\xff\xff", 2}, {"\x10\x01", 2}, {"\0\4none", 6}};
    struct fixture f;
    char text[16];
    start(&f, (struct tcp_options){0});
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int fd = dial(&f);
        assert_int_equal(send(fd, rows[i].bytes, rows[i].n, MSG_NOSIGNAL), rows[i].n);
        assert_int_equal(hear(fd, text), -1);
        close(fd);
    }
    assert_int_equal(tcp_server_count(f.server, TCP_M_BROKEN), ARRAY_SIZE(rows));
    stop(&f);
}

/* Forty answers of 64 KiB to a client that does not read: kept one at a time, the rest waits in the socket. */
static void test_slow_reader_gets_everything(void **state)
{
    struct fixture f;
    char text[16];
    start(&f, (struct tcp_options){0});
    int fd = dial(&f), other = dial(&f);
    for (int i = 0; i < 40; i++)
        say(fd, "big one");
    say(other, "meanwhile");
    expect(other, "meanwhile");
    for (int i = 0; i < 40; i++)
        assert_int_equal(hear(fd, text), TCP_ANSWER_MAX);
    say(fd, "more");
    expect(fd, "more");
    close(fd);
    close(other);
    stop(&f);
}

static void test_idle_and_unfinished_end(void **state)
{
    struct fixture f;
    char text[16];
    start(&f, (struct tcp_options){.idle_ms = 30});
    int idle = dial(&f), half = dial(&f);
    assert_int_equal(
        send(half, "\0\5ab", 4, MSG_NOSIGNAL), 4); /* never finished: does not count as activity */
    assert_int_equal(hear(idle, text), -1);
    assert_int_equal(hear(half, text), -1);
    assert_int_equal(tcp_server_count(f.server, TCP_M_TIMED_OUT), 2);
    close(idle);
    close(half);
    stop(&f);
}

static void test_a_client_has_a_share(void **state)
{
    struct fixture f;
    char text[16];
    start(&f, (struct tcp_options){.max_per_client = 3});
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(&f);
        say(fds[i], "in");
        expect(fds[i], "in");
    }
    int over = dial(&f);
    assert_int_equal(hear(over, text), -1);
    assert_int_equal(tcp_server_count(f.server, TCP_M_REFUSED), 1);
    say(fds[0], "still here");
    expect(fds[0], "still here");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    close(over);
    stop(&f);
}

static void test_the_idlest_makes_room(void **state)
{
    struct fixture f;
    char text[16];
    start(&f, (struct tcp_options){.max_connections = 3, .max_per_client = 100});
    int fds[4];
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(&f);
        say(fds[i], "in");
        expect(fds[i], "in");
    }
    say(fds[0], "active"); /* now 1 is the idlest */
    expect(fds[0], "active");
    fds[3] = dial(&f);
    say(fds[3], "new");
    expect(fds[3], "new");
    assert_int_equal(hear(fds[1], text), -1);
    assert_int_equal(tcp_server_count(f.server, TCP_M_EVICTED), 1);
    say(fds[0], "active");
    expect(fds[0], "active");
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_half_closed),
        cmocka_unit_test(test_broken_framing_ends),
        cmocka_unit_test(test_slow_reader_gets_everything),
        cmocka_unit_test(test_idle_and_unfinished_end),
        cmocka_unit_test(test_a_client_has_a_share),
        cmocka_unit_test(test_the_idlest_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
