/* SPDX-License-Identifier: Apache-2.0 */
/* Answers datagrams: one thread a socket, 16 datagrams a system call each way, a callback from
 * bytes to bytes. Knows nothing of what the bytes mean. Drops what must not be answered by anybody:
 * source port 0 (a reply would bounce) and datagrams that were cut off.
 *
 * The callback runs inside an RCU (QSBR) reader: what it dereferences stays until it returns. A
 * thread passes a quiescent state with every batch and is offline while it waits longer than
 * UDP_BUSY_WAIT_US, so that writers are held up no longer than that. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/metrics/metrics.h"

#define UDP_IN_MAX 4096  /* longer ones are dropped */
#define UDP_OUT_MAX 1280 /* more is never sent: it would be fragmented */
/* How long a thread that had traffic blocks in recvmmsg() before it goes to the idle path, which
 * costs two more system calls a batch. gdnsd found a quarter second to be right; odd, to keep out
 * of step with other timers. */
#define UDP_BUSY_WAIT_US 257123

/* HOT PATH. Returns the length of the answer in out[cap], 0 for none. */
typedef size_t (*udp_answer_fn)(void *ctx, const struct ip_addr *from, const uint8_t *msg,
    size_t len, uint8_t *out, size_t cap);

enum udp_metric {
    UDP_M_RECEIVED,
    UDP_M_SENT,
    UDP_M_DROPPED,
    UDP_M_SEND_FAILED,
    UDP_M_RECEIVE_FAILED,
    UDP_M_COUNT
};

struct udp_thread;

/* The descriptor stays the caller's and must outlive the thread; it is made blocking. cpu -1: not
 * pinned. `name` is the thread's. Counters are added to the process's metrics. */
MUST_CHECK int udp_thread_start(int fd, int cpu, const char *name, udp_answer_fn answer, void *ctx,
    struct udp_thread **ret, struct err *e);
/* Waits for it: at most one UDP_BUSY_WAIT_US. NULL is fine. */
void udp_thread_stop(struct udp_thread *t);
uint64_t udp_thread_count(const struct udp_thread *t, enum udp_metric m);
