/* SPDX-License-Identifier: Apache-2.0 */
/* Answers messages with a length in front over TCP, as DNS does (RFC 1035 §4.2.2, 7766):
 * connections are kept, several questions may be under way in one, answers go out in order. One
 * thread serves all listening sockets. A connection ends when nothing whole came for idle_ms, when
 * its client does not take its answers for as long, when it breaks the framing; and when places run
 * out, the one that was idle longest makes room.
 *
 * The callback runs inside an RCU (QSBR) reader, as that of net/udp. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/metrics/metrics.h"

#define TCP_MESSAGE_MAX 4096 /* of a question; a longer one ends the connection */
#define TCP_ANSWER_MAX 65535

typedef size_t (*tcp_answer_fn)(void *ctx, const struct ip_addr *from, const uint8_t *msg,
    size_t len, uint8_t *out, size_t cap);

enum tcp_metric {
    TCP_M_ACCEPTED,
    TCP_M_QUERIES,
    TCP_M_TIMED_OUT,
    TCP_M_EVICTED,
    TCP_M_REFUSED,
    TCP_M_BROKEN,
    TCP_M_COUNT
};

struct tcp_options {
    const int *fds; /* listening; stay the caller's and must outlive the server */
    size_t n_fds;
    unsigned max_connections; /* 0: 256 */
    unsigned max_per_client;  /* 0: 16; an IPv6 client is its /64 */
    unsigned idle_ms;         /* 0: 10,000 */
    const char *name;         /* of the thread */
    tcp_answer_fn answer;
    void *ctx;
};

struct tcp_server;

MUST_CHECK int tcp_server_start(
    const struct tcp_options *o, struct tcp_server **ret, struct err *e);
void tcp_server_stop(struct tcp_server *s); /* ends the connections; NULL is fine */
uint64_t tcp_server_count(const struct tcp_server *s, enum tcp_metric m);
