/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH: nothing is allocated, locked, logged or timed for a datagram. */
#include "net/udp/udp.h"

#include "base/rcu/rcu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/time.h>

/* Bursts are absorbed and the system calls' cost is spread; more adds latency, for the batch is
 * answered in one go. */
#define WIDTH 16

static const struct metric_def defs[UDP_M_COUNT] = {
    [UDP_M_RECEIVED] = {"mcp_udp_received_total", "Datagrams received.", METRIC_COUNTER},
    [UDP_M_SENT] = {"mcp_udp_sent_total", "Datagrams sent.", METRIC_COUNTER},
    [UDP_M_DROPPED] = {"mcp_udp_dropped_total", "Datagrams cut off or from port 0.",
        METRIC_COUNTER},
    [UDP_M_SEND_FAILED] = {"mcp_udp_send_failed_total", "Datagrams that the kernel did not take.",
        METRIC_COUNTER},
    [UDP_M_RECEIVE_FAILED] = {"mcp_udp_receive_failed_total", "Errors of the receiving call.",
        METRIC_COUNTER},
};

struct udp_thread {
    pthread_t thread;
    int fd, stop_fd, cpu;
    udp_answer_fn answer;
    void *ctx;
    struct metric_set *metrics;
    atomic_bool stop;
};

struct batch {
    struct mmsghdr in[WIDTH], out[WIDTH];
    struct iovec in_iov[WIDTH], out_iov[WIDTH];
    struct sockaddr_in6 from[WIDTH]; /* room for both families */
    uint8_t in_buf[WIDTH][UDP_IN_MAX];
    uint8_t out_buf[WIDTH][UDP_OUT_MAX];
};

static void batch_init(struct batch *b)
{
    for (unsigned i = 0; i < WIDTH; i++) {
        b->in_iov[i] = (struct iovec){b->in_buf[i], UDP_IN_MAX};
        b->out_iov[i] = (struct iovec){b->out_buf[i], 0};
        b->in[i].msg_hdr =
            (struct msghdr){.msg_name = &b->from[i], .msg_iov = &b->in_iov[i], .msg_iovlen = 1};
    }
}

static int receive(struct udp_thread *t, struct batch *b)
{
    for (unsigned i = 0; i < WIDTH; i++) {
        b->in[i].msg_hdr.msg_namelen = sizeof b->from[i];
        b->in[i].msg_hdr.msg_flags = 0;
    }
    return recvmmsg(t->fd, b->in, WIDTH, MSG_WAITFORONE, NULL);
}

/* Answers of a batch, packed to the front of b->out. */
static unsigned answer(struct udp_thread *t, struct batch *b, unsigned n)
{
    unsigned n_out = 0;
    for (unsigned i = 0; i < n; i++) {
        struct msghdr *in = &b->in[i].msg_hdr;
        struct ip_addr from;
        uint16_t port = 0;
        if (in->msg_flags & MSG_TRUNC || !ip_from_sockaddr(in->msg_name, &from, &port) || !port) {
            metric_add(t->metrics, UDP_M_DROPPED, 1);
            continue;
        }
        size_t len = t->answer(
            t->ctx, &from, b->in_buf[i], b->in[i].msg_len, b->out_buf[n_out], UDP_OUT_MAX);
        if (!len)
            continue;
        b->out_iov[n_out].iov_len = len;
        b->out[n_out].msg_hdr = (struct msghdr){.msg_name = in->msg_name,
            .msg_namelen = in->msg_namelen,
            .msg_iov = &b->out_iov[n_out],
            .msg_iovlen = 1};
        n_out++;
    }
    return n_out;
}

/* An error is the first datagram's (no route to that client, say): the rest goes out all the same.
 */
static void send_all(struct udp_thread *t, struct batch *b, unsigned n)
{
    unsigned done = 0;
    while (done < n) {
        int sent = sendmmsg(t->fd, b->out + done, n - done, 0);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0) {
            metric_add(t->metrics, UDP_M_SEND_FAILED, 1);
            done++;
            continue;
        }
        metric_add(t->metrics, UDP_M_SENT, (uint64_t)sent);
        done += (unsigned)sent;
    }
}

static void wait_idle(struct udp_thread *t)
{
    struct pollfd fds[2] = {{.fd = t->fd, .events = POLLIN}, {.fd = t->stop_fd, .events = POLLIN}};
    rcu_reader_pause();
    poll(fds, 2, -1);
    rcu_reader_resume();
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set); /* not allowed: runs anywhere */
}

static void *run(void *arg)
{
    struct udp_thread *t = arg;
    struct batch *b = xcalloc(1, sizeof *b);
    batch_init(b);
    if (t->cpu >= 0)
        pin(t->cpu);
    rcu_reader_begin();
    while (!atomic_load_explicit(&t->stop, memory_order_relaxed)) {
        rcu_reader_quiet();
        int n = receive(t, b);
        if (n > 0) {
            metric_add(t->metrics, UDP_M_RECEIVED, (uint64_t)n);
            send_all(t, b, answer(t, b, (unsigned)n));
        } else if (errno == EAGAIN) {
            wait_idle(t);
        } else if (errno != EINTR) {
            /* An ICMP error that the socket remembered; it is gone now that it was read. */
            metric_add(t->metrics, UDP_M_RECEIVE_FAILED, 1);
        }
    }
    rcu_reader_end();
    free(b);
    return NULL;
}

static int prepare_socket(int fd, struct err *e)
{
    struct timeval wait = {.tv_usec = UDP_BUSY_WAIT_US};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0
        || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) < 0)
        return err_errno(e, errno, "cannot prepare a UDP socket");
    /* Path MTU messages are not believed: a forged one would make answers fragment (RFC 9715 §3).
     * Fails harmlessly for the family that the socket is not of. */
    int omit = IP_PMTUDISC_OMIT;
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &omit, sizeof omit);
    setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &omit, sizeof omit);
    return 0;
}

int udp_thread_start(int fd, int cpu, const char *name, udp_answer_fn answer_fn, void *ctx,
    struct udp_thread **ret, struct err *e)
{
    int r = prepare_socket(fd, e);
    if (r < 0)
        return r;
    int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_fd < 0)
        return err_errno(e, errno, "eventfd");
    struct udp_thread *t = xcalloc(1, sizeof *t);
    *t = (struct udp_thread){
        .fd = fd, .stop_fd = stop_fd, .cpu = cpu, .answer = answer_fn, .ctx = ctx};
    t->metrics = metrics_set_new(metrics_process(), defs, UDP_M_COUNT, NULL, 0);
    sigset_t all, old;
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&t->thread, NULL, run, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0) {
        metrics_set_free(t->metrics);
        close(stop_fd);
        free(t);
        return err_errno(e, r, "cannot start a thread");
    }
    pthread_setname_np(t->thread, name);
    *ret = t;
    return 0;
}

void udp_thread_stop(struct udp_thread *t)
{
    if (!t)
        return;
    atomic_store(&t->stop, true);
    eventfd_write(t->stop_fd, 1);
    pthread_join(t->thread, NULL);
    close(t->stop_fd);
    metrics_set_free(t->metrics);
    free(t);
}

uint64_t udp_thread_count(const struct udp_thread *t, enum udp_metric m)
{
    return metric_get(t->metrics, m);
}
