/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/netns/netns.h"

#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>

/* Runs fn in a child in a network namespace of its own; its asserts become the exit status. */
static void in_new_netns(int (*fn)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(unshare(CLONE_NEWNET) < 0 ? 99 : fn());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #cond, e.message);                      \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

static int can_bind(const char *text)
{
    struct ip_addr a;
    struct sockaddr_storage sa;
    socklen_t len;
    if (!ip_parse(text, &a))
        return -1;
    ip_to_sockaddr(&a, 0, &sa, &len);
    _cleanup_close_ int fd =
        socket(a.family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return bind(fd, (struct sockaddr *)&sa, len);
}

static int machine_network(void)
{
    struct err e = {0};
    _cleanup_netns_ struct netns *n = NULL;
    EXPECT(netns_open(&n, &e) == 0);
    _cleanup_close_ int tun = -1;
    EXPECT(netns_tun_open("wan0", &tun, &e) == 0);
    EXPECT(netns_link_up(n, "lo", 0, &e) == 0);
    EXPECT(netns_link_up(n, "wan0", 1500, &e) == 0);
    struct ip_addr v4, v6;
    struct ip_prefix range;
    ip_parse("10.20.0.11", &v4);
    ip_parse("fd00:20::11", &v6);
    ip_prefix_parse("198.51.100.16/28", &range);
    for (int again = 0; again < 2; again++) { /* the second time everything is there already */
        EXPECT(netns_addr_add(n, "wan0", &v4, &e) == 0);
        EXPECT(netns_addr_add(n, "wan0", &v6, &e) == 0);
        EXPECT(netns_route_default(n, "wan0", 4, &v4, &e) == 0);
        EXPECT(netns_route_default(n, "wan0", 6, NULL, &e) == 0);
        EXPECT(netns_route_local(n, &range, &e) == 0);
    }
    EXPECT(can_bind("10.20.0.11") == 0);
    EXPECT(can_bind("fd00:20::11") == 0);
    EXPECT(can_bind("198.51.100.16") == 0);
    EXPECT(can_bind("198.51.100.31") == 0);
    EXPECT(can_bind("198.51.100.32") < 0 && errno == EADDRNOTAVAIL);

    /* What is sent to anybody else comes out of the descriptor as one bare IP packet. */
    _cleanup_close_ int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(7), .sin_addr.s_addr = inet_addr("10.40.0.11")};
    EXPECT(sendto(udp, "hello", 5, 0, (struct sockaddr *)&to, sizeof to) == 5);
    uint8_t packet[2048];
    ssize_t len;
    do { /* IPv6 may announce itself first */
        len = read(tun, packet, sizeof packet);
        EXPECT(len > 0);
    } while (packet[0] >> 4 != 4);
    EXPECT(len == 20 + 8 + 5 && memcmp(packet + 12, v4.bytes, 4) == 0);
    return 0;
}

static int errors(void)
{
    struct err e = {0};
    _cleanup_netns_ struct netns *n = NULL;
    EXPECT(netns_open(&n, &e) == 0);
    EXPECT(netns_link_up(n, "nope0", 0, &e) < 0);
    EXPECT(strstr(e.message, "nope0"));
    EXPECT(netns_sysctl("net/ipv4/no_such_knob", "1", &e) == ERR_NOT_FOUND);
    EXPECT(netns_sysctl("net/ipv4/ip_unprivileged_port_start", "0", &e) == 0);
    return 0;
}

static void test_machine_network(void **state)
{
    in_new_netns(machine_network);
}

static void test_errors(void **state)
{
    in_new_netns(errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machine_network),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
