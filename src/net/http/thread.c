/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. The loop of a thread. */
#include "net/http/priv.h"

#include "base/clock/clock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <urcu/urcu-qsbr.h>

#define EVENTS_MAX 256
#define ACCEPTS_PER_EVENT 32
#define ACCEPT_PAUSE_MS 100u
#define SWEEP_MS 60000u

static void format_date(struct thread *t)
{
    static const char days[] = "SunMonTueWedThuFriSat",
                      months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t s = (time_t)(t->wall_ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    snprintf(t->date, sizeof t->date, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
        days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000,
        tm.tm_hour, tm.tm_min, tm.tm_sec);
    t->date_s = (int64_t)s;
}

static void read_clocks(struct thread *t)
{
    uint64_t ns = clock_boot_ns();
    t->now_us = ns / 1000;
    t->now_ms = ns / 1000000;
    t->wall_ms = clock_wall_ms();
    if (t->wall_ms / 1000 != t->date_s)
        format_date(t);
}

void http_thread_again(struct conn *c)
{
    if (c->in_again)
        return;
    c->in_again = true;
    c->again = c->t->again;
    c->t->again = c;
}

static void run_again(struct thread *t)
{
    struct conn *list = t->again;
    t->again = NULL;
    while (list) {
        struct conn *c = list;
        list = c->again;
        c->in_again = false;
        if (c->state == CONN_DEAD) {
            c->next = t->dead;
            t->dead = c;
        } else {
            http_conn_run(c);
        }
    }
}

static void reap(struct thread *t)
{
    while (t->dead) {
        struct conn *c = t->dead;
        t->dead = c->next;
        c->next = t->free_conns;
        t->free_conns = c;
    }
    while (t->dead_upstreams) {
        struct upstream *u = t->dead_upstreams;
        t->dead_upstreams = u->next;
        u->next = t->free_upstreams;
        t->free_upstreams = u;
    }
}

void http_thread_accept_pause(struct thread *t, bool pause)
{
    for (size_t i = 0; i < t->n_listeners && t->accepting == pause; i++) {
        struct listener *l = &t->listeners[i];
        /* A descriptor that several threads wait on wakes one of them. */
        struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = &l->source};
        epoll_ctl(t->epoll, pause ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, l->fd, pause ? NULL : &ev);
    }
    t->accepting = !pause;
    t->accept_again_ms = pause ? t->now_ms + ACCEPT_PAUSE_MS : 0;
}

static void on_listener(struct source *source, uint32_t events)
{
    struct listener *l = CONTAINER_OF(source, struct listener, source);
    struct thread *t = l->t;
    for (unsigned i = 0; i < ACCEPTS_PER_EVENT && t->accepting; i++) {
        if (t->n_conns >= t->max_conns && !http_conn_evict_idle(t)) {
            http_thread_accept_pause(t, true); /* the others wait in the kernel's queue */
            return;
        }
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        int fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            http_conn_accept(t, fd, (struct sockaddr *)&from, l->tls);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            http_thread_accept_pause(t, true);
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

/* It only had to end the wait, and is never read: a read would swallow who woke us after the turn began. */
static void on_wake(struct source *source, uint32_t events)
{
}

static void begin_drain(struct thread *t, enum drain how)
{
    t->draining = true;
    t->drain_until_ms = t->now_ms + (how == DRAIN_NOW ? 0 : t->server->timeouts.drain);
    if (how != DRAIN_NOW && t->server->timeouts.drain_idle)
        t->drain_idle_ms = t->now_ms + t->server->timeouts.drain_idle;
    http_thread_accept_pause(t, true);
    t->accept_again_ms = 0;
    for (struct conn *c = t->conns.next, *next; c != &t->conns; c = next) {
        next = c->next;
        http_conn_drain(c);
    }
    http_upstream_drop_idle(t);
}

static void end_drain_idle(struct thread *t)
{
    t->drain_idle_ms = 0;
    for (struct conn *c = t->conns.next, *next; c != &t->conns; c = next) {
        next = c->next;
        http_conn_drain_idle(c);
    }
}

static void end_drain(struct thread *t)
{
    for (struct conn *c = t->conns.next, *next; c != &t->conns; c = next) {
        next = c->next;
        if (c->state == CONN_BUSY) {
            http_tx_abort(c->tx, HTTP_END_STOPPED);
            http_conn_run(c);
        } else {
            http_conn_close(c, false);
        }
    }
}

static int wait_ms(const struct thread *t)
{
    int ms = http_timers_wait_ms(t);
    uint64_t until = !t->draining      ? t->accept_again_ms
                     : t->drain_idle_ms ? MIN(t->drain_idle_ms, t->drain_until_ms)
                                        : t->drain_until_ms;
    if (until) {
        int left = until > t->now_ms ? (int)MIN(until - t->now_ms, (uint64_t)60000) : 0;
        ms = ms < 0 ? left : MIN(ms, left);
    }
    return t->again ? 0 : ms;
}

/* False: the thread has drained. */
static bool housekeeping(struct thread *t)
{
    if (t->accept_again_ms && t->accept_again_ms <= t->now_ms)
        http_thread_accept_pause(t, false);
    if (t->sweep_ms <= t->now_ms) {
        http_peers_sweep(t);
        t->sweep_ms = t->now_ms + SWEEP_MS;
    }
    enum drain how = (enum drain)atomic_load_explicit(&t->server->draining, memory_order_relaxed);
    if (how != DRAIN_NO && !t->draining)
        begin_drain(t, how);
    if (t->drain_idle_ms && t->drain_idle_ms <= t->now_ms)
        end_drain_idle(t);
    if (t->draining && t->drain_until_ms <= t->now_ms)
        end_drain(t);
    reap(t);
    return !t->draining || t->n_conns;
}

static void loop(struct thread *t)
{
    struct epoll_event events[EVENTS_MAX];
    do {
        urcu_qsbr_thread_offline();
        int n = epoll_wait(t->epoll, events, EVENTS_MAX, wait_ms(t));
        urcu_qsbr_thread_online();
        read_clocks(t);
        http_stat_add(t, HTTP_STAT_ITERATIONS, 1);
        t->calls->loop(t->app);
        for (int i = 0; i < n; i++) {
            struct source *source = events[i].data.ptr;
            source->ready(source, events[i].events);
        }
        run_again(t);
        run_again(t); /* streams first, then the connection that carries what they wrote */
        http_timers_fire(t);
    } while (housekeeping(t));
}

static void thread_done(struct thread *t)
{
    run_again(t); /* those of a last round, dead by now */
    http_upstream_drop_idle(t);
    reap(t);
    http_peers_free(t);
    for (struct buf *b = t->free_bufs, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    http_h2_mem_done(t);
    for (struct conn *c = t->free_conns, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    for (struct tx *tx = t->free_txs, *next; tx; tx = next) {
        next = tx->next;
        free(tx);
    }
    for (struct upstream *u = t->free_upstreams, *next; u; u = next) {
        next = u->next;
        free(u);
    }
}

void *http_thread_main(void *arg)
{
    struct thread *t = arg;
    struct http_server *s = t->server;
    char name[16];
    snprintf(name, sizeof name, "http-%u", t->index % 100);
    pthread_setname_np(pthread_self(), name);
    urcu_qsbr_register_thread();
    for (size_t i = 0; i < t->n_listeners; i++)
        t->listeners[i].source.ready = on_listener;
    t->wake_source.ready = on_wake;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = &t->wake_source};
    epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->wake, &ev); /* each write is an edge */
    read_clocks(t);
    http_thread_accept_pause(t, false);
    t->app = t->calls->thread_start(s->ctx, t->index);
    loop(t);
    t->calls->thread_stop(t->app);
    thread_done(t);
    urcu_qsbr_unregister_thread();
    if (atomic_fetch_sub(&s->running, 1) == 1 && s->app->stopped)
        s->app->stopped(s->ctx);
    return NULL;
}
