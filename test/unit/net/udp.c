/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/clock/clock.h"
#include "base/rcu/rcu.h"
#include "net/udp/udp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <poll.h>

/* Answers each datagram with itself and its sender's port behind; "silent" with nothing. */
static size_t echo(
    void *ctx, const struct ip_addr *from, const uint8_t *msg, size_t len, uint8_t *out, size_t cap)
{
    assert_true(len <= cap && from->family == 4);
    if (len == 6 && !memcmp(msg, "silent", 6))
        return 0;
    memcpy(out, msg, len);
    return len;
}

struct pair {
    int server, client;
    struct sockaddr_in addr;
    struct udp_thread *thread;
};

static int bound(struct sockaddr_in *addr)
{
    socklen_t len = sizeof *addr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof *addr), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    return fd;
}

static void start(struct pair *p)
{
    struct sockaddr_in ignored;
    struct err e = {0};
    p->server = bound(&p->addr);
    p->client = bound(&ignored);
    assert_int_equal(connect(p->client, (struct sockaddr *)&p->addr, sizeof p->addr), 0);
    assert_int_equal(udp_thread_start(p->server, 0, "udp-test", echo, NULL, &p->thread, &e), 0);
}

static void stop(struct pair *p)
{
    udp_thread_stop(p->thread);
    close(p->server);
    close(p->client);
}

static ssize_t receive(int fd, void *buf, size_t cap, int timeout_ms)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    return poll(&pfd, 1, timeout_ms) == 1 ? recv(fd, buf, cap, 0) : -1;
}

/* A datagram may be here before the thread has counted it. */
static void expect_count(const struct pair *p, enum udp_metric m, uint64_t expected)
{
    for (int i = 0; i < 5000 && udp_thread_count(p->thread, m) != expected; i++)
        poll(NULL, 0, 1);
    assert_int_equal(udp_thread_count(p->thread, m), expected);
}

static void test_every_datagram_is_answered(void **state)
{
    struct pair p;
    start(&p);
    for (uint32_t round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 40; i++) {
            uint32_t v = round * 40 + i;
            assert_int_equal(send(p.client, &v, sizeof v, 0), sizeof v);
        }
        for (uint32_t i = 0; i < 40; i++) {
            uint32_t v;
            assert_int_equal(receive(p.client, &v, sizeof v, 5000), sizeof v);
            assert_int_equal(v, round * 40 + i);
        }
    }
    expect_count(&p, UDP_M_RECEIVED, 2000);
    expect_count(&p, UDP_M_SENT, 2000);
    stop(&p);
}

static void test_some_are_not(void **state)
{
    static char big[UDP_IN_MAX + 1];
    char buf[16];
    struct pair p;
    start(&p);
    assert_int_equal(send(p.client, "silent", 6, 0), 6);
    assert_int_equal(send(p.client, big, sizeof big, 0), sizeof big);
    assert_int_equal(send(p.client, "loud", 4, 0), 4);
    assert_int_equal(receive(p.client, buf, sizeof buf, 5000), 4); /* the first and only answer */
    expect_count(&p, UDP_M_DROPPED, 1);
    stop(&p);
}

/* A datagram from port 0, as only a forger sends it: raw, so as root. */
static void test_port_zero_is_dropped(void **state)
{
    int raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP);
    if (raw < 0) {
        assert_int_equal(errno, EPERM);
        return;
    }
    char buf[16];
    struct pair p;
    start(&p);
    struct {
        struct udphdr header;
        char payload[4];
    } datagram = {.header = {.dest = p.addr.sin_port, .len = htons(12)}, .payload = "zero"};
    struct sockaddr_in to = p.addr;
    to.sin_port = 0;
    assert_int_equal(sendto(raw, &datagram, sizeof datagram, 0, (struct sockaddr *)&to, sizeof to),
        sizeof datagram);
    assert_int_equal(send(p.client, "x", 1, 0), 1);
    assert_int_equal(receive(p.client, buf, sizeof buf, 5000), 1);
    expect_count(&p, UDP_M_RECEIVED, 2);
    expect_count(&p, UDP_M_DROPPED, 1);
    expect_count(&p, UDP_M_SENT, 1);
    close(raw);
    stop(&p);
}

/* A client that is gone makes the kernel report an error on the next call; nothing else suffers. */
static void test_a_gone_client_harms_nobody(void **state)
{
    char buf[16];
    struct pair p;
    struct sockaddr_in ignored;
    start(&p);
    for (int i = 0; i < 20; i++) {
        int gone = bound(&ignored);
        assert_int_equal(sendto(gone, "x", 1, 0, (struct sockaddr *)&p.addr, sizeof p.addr), 1);
        close(gone);
        assert_int_equal(send(p.client, "y", 1, 0), 1);
        assert_int_equal(receive(p.client, buf, sizeof buf, 5000), 1);
    }
    stop(&p);
}

/* A writer waits for a busy thread at most as long as that waits for a datagram, for an idle one not at all. */
static void test_rcu_writers_go_on(void **state)
{
    char buf[16];
    struct pair p;
    start(&p);
    assert_int_equal(send(p.client, "x", 1, 0), 1);
    assert_int_equal(receive(p.client, buf, sizeof buf, 5000), 1);
    for (int i = 0; i < 3; i++) {
        uint64_t before = clock_boot_ms();
        rcu_writer_wait();
        uint64_t took = clock_boot_ms() - before;
        if (took > 5000)
            fail_msg("a writer waited %llu ms", (unsigned long long)took);
    }
    assert_int_equal(send(p.client, "x", 1, 0), 1); /* back from the idle path */
    assert_int_equal(receive(p.client, buf, sizeof buf, 5000), 1);
    stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_datagram_is_answered),
        cmocka_unit_test(test_some_are_not),
        cmocka_unit_test(test_port_zero_is_dropped),
        cmocka_unit_test(test_a_gone_client_harms_nobody),
        cmocka_unit_test(test_rcu_writers_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
