/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tcp/tcp.h"

#include "base/clock/clock.h"
#include "base/rcu/rcu.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define EVENTS 64
#define ACCEPTS 16 /* of one listener at a time: the others have their turn too */
#define OUT_SIZE (2u * (TCP_ANSWER_MAX + 2u))
#define LISTENERS_MAX 64
#define TAG_STOP UINT32_MAX
#define TAG_LISTENER 0x40000000u /* below: a connection's place */

static const struct metric_def defs[TCP_M_COUNT] = {
    [TCP_M_ACCEPTED] = {"mcp_dns_tcp_accepted_total", "Connections accepted.", METRIC_COUNTER},
    [TCP_M_QUERIES] = {"mcp_dns_tcp_messages_total", "Messages received over TCP.", METRIC_COUNTER},
    [TCP_M_TIMED_OUT] = {"mcp_dns_tcp_timed_out_total", "Connections ended for being idle.",
        METRIC_COUNTER},
    [TCP_M_EVICTED] = {"mcp_dns_tcp_evicted_total", "Connections ended to make room.",
        METRIC_COUNTER},
    [TCP_M_REFUSED] = {"mcp_dns_tcp_refused_total", "Connections over a client's share.",
        METRIC_COUNTER},
    [TCP_M_BROKEN] = {"mcp_dns_tcp_broken_total",
        "Connections ended for their framing or an error.", METRIC_COUNTER},
};

struct conn {
    int fd; /* -1: free place */
    struct ip_addr client;
    uint64_t active_ms;    /* last whole message in or bytes out */
    uint32_t older, newer; /* list of the open ones by active_ms */
    bool ended;            /* by its client, which is no error */
    size_t in_len;
    uint8_t in[2 + TCP_MESSAGE_MAX];
    uint8_t *out; /* what the socket did not take, or NULL */
    size_t out_len, out_at;
};

struct tcp_server {
    pthread_t thread;
    struct tcp_options o;
    int fds[LISTENERS_MAX];
    int epoll_fd, stop_fd;
    struct metric_set *metrics;
    struct conn **conns; /* places, made when first used and kept */
    unsigned n_open, n_made;
    uint32_t oldest, newest; /* UINT32_MAX: none */
    uint64_t now_ms;
    uint8_t out[OUT_SIZE];
};

#define NONE UINT32_MAX

/* --- the list by activity --- */

static void list_remove(struct tcp_server *s, uint32_t i)
{
    struct conn *c = s->conns[i];
    *(c->older == NONE ? &s->oldest : &s->conns[c->older]->newer) = c->newer;
    *(c->newer == NONE ? &s->newest : &s->conns[c->newer]->older) = c->older;
}

static void list_append(struct tcp_server *s, uint32_t i)
{
    struct conn *c = s->conns[i];
    c->active_ms = s->now_ms;
    c->older = s->newest;
    c->newer = NONE;
    *(s->newest == NONE ? &s->oldest : &s->conns[s->newest]->newer) = i;
    s->newest = i;
}

static void touch(struct tcp_server *s, uint32_t i)
{
    list_remove(s, i);
    list_append(s, i);
}

/* --- connections --- */

static void conn_close(struct tcp_server *s, uint32_t i)
{
    struct conn *c = s->conns[i];
    close(c->fd); /* leaves the epoll set with it */
    list_remove(s, i);
    free(c->out);
    c->out = NULL;
    c->fd = -1;
    s->n_open--;
}

static bool same_client(const struct ip_addr *a, const struct ip_addr *b)
{
    return a->family == b->family && !memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 8);
}

static unsigned count_of(const struct tcp_server *s, const struct ip_addr *client)
{
    unsigned n = 0;
    for (uint32_t i = s->oldest; i != NONE; i = s->conns[i]->newer)
        n += same_client(&s->conns[i]->client, client);
    return n;
}

static uint32_t free_place(struct tcp_server *s)
{
    for (uint32_t i = 0; i < s->n_made; i++)
        if (s->conns[i]->fd < 0)
            return i;
    s->conns[s->n_made] = xcalloc(1, sizeof **s->conns);
    return s->n_made++;
}

static void conn_open(struct tcp_server *s, int fd, const struct ip_addr *client)
{
    if (count_of(s, client) >= s->o.max_per_client) {
        metric_add(s->metrics, TCP_M_REFUSED, 1);
        close(fd);
        return;
    }
    if (s->n_open == s->o.max_connections) {
        metric_add(s->metrics, TCP_M_EVICTED, 1);
        conn_close(s, s->oldest);
    }
    uint32_t i = free_place(s);
    struct conn *c = s->conns[i];
    c->fd = fd;
    c->client = *client;
    c->in_len = c->out_len = c->out_at = 0;
    c->ended = false;
    list_append(s, i);
    s->n_open++;
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = i};
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        conn_close(s, i);
    else
        metric_add(s->metrics, TCP_M_ACCEPTED, 1);
}

static void accept_some(struct tcp_server *s, int listener)
{
    for (unsigned n = 0; n < ACCEPTS; n++) {
        struct sockaddr_storage sa;
        socklen_t sa_len = sizeof sa;
        struct ip_addr client;
        int fd = accept4(listener, (struct sockaddr *)&sa, &sa_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && ip_from_sockaddr((struct sockaddr *)&sa, &client, NULL))
            conn_open(s, fd, &client);
        else if (fd >= 0)
            close(fd);
        else if ((errno == EMFILE || errno == ENFILE) && s->oldest != NONE)
            conn_close(s, s->oldest); /* or the listener would stay readable and the loop spin */
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void watch(struct tcp_server *s, uint32_t i, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.u32 = i};
    epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, s->conns[i]->fd, &ev);
}

/* Sends s->out[len]. What the socket does not take is kept, and nothing more is read until it has
 * gone. False: the connection broke. */
static bool send_out(struct tcp_server *s, uint32_t i, size_t len)
{
    struct conn *c = s->conns[i];
    ssize_t n = send(c->fd, s->out, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    size_t sent = n < 0 ? 0 : (size_t)n;
    if (sent == len)
        return true;
    c->out_len = len - sent;
    c->out_at = 0;
    c->out = xmalloc(c->out_len);
    memcpy(c->out, s->out + sent, c->out_len);
    watch(s, i, EPOLLOUT);
    return true;
}

/* Answers every whole message that has arrived, as long as the answers go out. */
static bool answer_all(struct tcp_server *s, uint32_t i)
{
    struct conn *c = s->conns[i];
    size_t at = 0, out_len = 0;
    bool ok = true;
    while (ok && !c->out && c->in_len - at >= 2) {
        size_t len = (size_t)c->in[at] << 8 | c->in[at + 1];
        if (len > TCP_MESSAGE_MAX)
            return false;
        if (c->in_len - at - 2 < len)
            break;
        size_t n = s->o.answer(
            s->o.ctx, &c->client, c->in + at + 2, len, s->out + out_len + 2, TCP_ANSWER_MAX);
        metric_add(s->metrics, TCP_M_QUERIES, 1);
        touch(s, i);
        at += 2 + len;
        if (!n)
            return false; /* not a question: somebody else's protocol */
        s->out[out_len] = (uint8_t)(n >> 8);
        s->out[out_len + 1] = (uint8_t)n;
        out_len += 2 + n;
        if (OUT_SIZE - out_len < TCP_ANSWER_MAX + 2u) {
            ok = send_out(s, i, out_len);
            out_len = 0;
        }
    }
    if (ok && out_len)
        ok = send_out(s, i, out_len);
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    return ok;
}

static bool readable(struct tcp_server *s, uint32_t i)
{
    struct conn *c = s->conns[i];
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
        c->ended = true;
        return false;
    }
    c->in_len += (size_t)n;
    return answer_all(s, i);
}

static bool writable(struct tcp_server *s, uint32_t i)
{
    struct conn *c = s->conns[i];
    ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    touch(s, i);
    c->out_at += (size_t)n;
    if (c->out_at < c->out_len)
        return true;
    free(c->out);
    c->out = NULL;
    watch(s, i, EPOLLIN);
    return answer_all(s, i); /* questions that waited for their turn */
}

static void handle(struct tcp_server *s, const struct epoll_event *ev)
{
    uint32_t i = ev->data.u32;
    if (i == TAG_STOP)
        return;
    if (i & TAG_LISTENER) {
        accept_some(s, s->fds[i & ~TAG_LISTENER]);
        return;
    }
    struct conn *c = s->conns[i];
    if (c->fd < 0)
        return; /* ended by an event before this one; its place may not be taken in the same round,
                   see run() */
    bool ok = c->out ? writable(s, i) : readable(s, i);
    if (!ok) {
        if (!c->ended)
            metric_add(s->metrics, TCP_M_BROKEN, 1);
        conn_close(s, i);
    }
}

static void end_idle(struct tcp_server *s)
{
    while (s->oldest != NONE && s->now_ms - s->conns[s->oldest]->active_ms >= s->o.idle_ms) {
        metric_add(s->metrics, TCP_M_TIMED_OUT, 1);
        conn_close(s, s->oldest);
    }
}

static int wait_ms(const struct tcp_server *s)
{
    if (s->oldest == NONE)
        return -1;
    uint64_t idle = s->now_ms - s->conns[s->oldest]->active_ms;
    return idle >= s->o.idle_ms ? 0 : (int)(s->o.idle_ms - idle);
}

static void *run(void *arg)
{
    struct tcp_server *s = arg;
    bool stop = false;
    rcu_reader_begin();
    while (!stop) {
        struct epoll_event events[EVENTS];
        rcu_reader_pause();
        int n = epoll_wait(s->epoll_fd, events, EVENTS, wait_ms(s));
        rcu_reader_resume();
        s->now_ms = clock_boot_ms();
        /* Connections first: a place freed by them is then taken by a listener, and no event of
         * this round can be meant for its former owner. */
        for (int i = 0; i < n; i++)
            if (!(events[i].data.u32 & TAG_LISTENER))
                handle(s, &events[i]);
        for (int i = 0; i < n; i++) {
            stop |= events[i].data.u32 == TAG_STOP;
            if (events[i].data.u32 & TAG_LISTENER && events[i].data.u32 != TAG_STOP)
                handle(s, &events[i]);
        }
        end_idle(s);
    }
    while (s->oldest != NONE)
        conn_close(s, s->oldest);
    rcu_reader_end();
    return NULL;
}

static int add_fd(struct tcp_server *s, int fd, uint32_t tag, struct err *e)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = tag};
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? err_errno(e, errno, "epoll_ctl")
                                                              : 0;
}

static int prepare(struct tcp_server *s, struct err *e)
{
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->epoll_fd < 0 || s->stop_fd < 0)
        return err_errno(e, errno, "cannot make an epoll set");
    int r = add_fd(s, s->stop_fd, TAG_STOP, e);
    for (size_t i = 0; i < s->o.n_fds && r >= 0; i++) {
        int flags = fcntl(s->o.fds[i], F_GETFL);
        if (flags < 0 || fcntl(s->o.fds[i], F_SETFL, flags | O_NONBLOCK) < 0)
            return err_errno(e, errno, "cannot prepare a TCP socket");
        s->fds[i] = s->o.fds[i];
        r = add_fd(s, s->fds[i], TAG_LISTENER | (uint32_t)i, e);
    }
    return r;
}

static void server_free(struct tcp_server *s)
{
    if (s->epoll_fd >= 0)
        close(s->epoll_fd);
    if (s->stop_fd >= 0)
        close(s->stop_fd);
    for (unsigned i = 0; i < s->n_made; i++)
        free(s->conns[i]);
    free(s->conns);
    metrics_set_free(s->metrics);
    free(s);
}

int tcp_server_start(const struct tcp_options *o, struct tcp_server **ret, struct err *e)
{
    if (o->n_fds > LISTENERS_MAX)
        return err_set(e, ERR_LIMIT, "more than %d listening sockets", LISTENERS_MAX);
    struct tcp_server *s = xcalloc(1, sizeof *s);
    s->o = *o;
    s->o.max_connections = o->max_connections ? o->max_connections : 256;
    s->o.max_per_client = o->max_per_client ? o->max_per_client : 16;
    s->o.idle_ms = o->idle_ms ? o->idle_ms : 10000;
    s->oldest = s->newest = NONE;
    s->epoll_fd = s->stop_fd = -1;
    s->now_ms = clock_boot_ms();
    s->conns = xcalloc(s->o.max_connections, sizeof *s->conns);
    s->metrics = metrics_set_new(metrics_process(), defs, TCP_M_COUNT, NULL, 0);
    int r = prepare(s, e);
    if (r < 0) {
        server_free(s);
        return r;
    }
    sigset_t all, old;
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0) {
        server_free(s);
        return err_errno(e, r, "cannot start a thread");
    }
    pthread_setname_np(s->thread, o->name);
    *ret = s;
    return 0;
}

void tcp_server_stop(struct tcp_server *s)
{
    if (!s)
        return;
    eventfd_write(s->stop_fd, 1);
    pthread_join(s->thread, NULL);
    server_free(s);
}

uint64_t tcp_server_count(const struct tcp_server *s, enum tcp_metric m)
{
    return metric_get(s->metrics, m);
}
