/* SPDX-License-Identifier: Apache-2.0 */
#include "priv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONN_MAX 256  /* times 88 KiB: at the very worst 22 MiB */
#define DRAIN_MS 5000 /* the longest a request in flight may hold up the end */
#define FRESH_MS 1000 /* while draining, how long a connection that asked nothing yet may take */
#define BEAT_MS 30000

struct server {
    const struct module *module;
    int listen_fd; /* -1 once draining, or for a worker without PORT */
    bool draining;
    uint64_t beat_ms, next_beat_ms, drain_end_ms;
    size_t count;
    struct conn *conns[CONN_MAX];
    struct pollfd polled[CONN_MAX + 1 + WATCH_MAX]; /* clients, the listener, the module's own */
    size_t watched;
};

static struct server server; /* large, and there is one */

bool server_draining(void)
{
    return server.draining;
}

uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void drop(struct server *s, size_t i)
{
    conn_free(s->conns[i]);
    s->conns[i] = s->conns[--s->count];
}

/* The connection that has been idle longest; CONN_MAX when none is. */
static size_t oldest_idle(const struct server *s)
{
    size_t oldest = CONN_MAX;
    for (size_t i = 0; i < s->count; i++) {
        const struct conn *c = s->conns[i];
        if (!conn_idle(c))
            continue;
        if (oldest == CONN_MAX || c->idle_since_ms < s->conns[oldest]->idle_since_ms)
            oldest = i;
    }
    return oldest;
}

static bool has_room(const struct server *s)
{
    return s->count < CONN_MAX || oldest_idle(s) < CONN_MAX;
}

static void accept_all(struct server *s, uint64_t now)
{
    while (has_room(s)) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (s->count == CONN_MAX) /* every place taken: the longest idle gives way */
            drop(s, oldest_idle(s));
        struct conn *c = conn_new(fd, now);
        if (!c) {
            close(fd);
            return;
        }
        s->conns[s->count++] = c;
    }
}

static void step_conns(struct server *s, uint64_t now)
{
    /* Backwards, since drop() moves the last one into the gap; accepted ones come after, unpolled.
     */
    for (size_t i = s->count; i-- > 0;) {
        if (s->polled[i].revents && !conn_step(s->conns[i], s->module, s->draining, now)) {
            drop(s, i);
        } else if (s->conns[i]->deadline_ms <= now) {
            conn_expire(s->conns[i]);
            s->conns[i] = s->conns[--s->count];
        }
    }
}

static void begin_drain(struct server *s, uint64_t now)
{
    s->draining = true;
    s->drain_end_ms = now + DRAIN_MS;
    if (s->listen_fd >= 0) {
        accept_all(s, now); /* whoever stands in the queue was promised an answer */
        close(s->listen_fd);
        s->listen_fd = -1;
    }
    for (size_t i = s->count; i-- > 0;) {
        struct conn *c = s->conns[i];
        if (c->promise)
            continue;
        /* One last look: a request may have arrived since the poll. */
        if (!conn_step(c, s->module, true, now) || (c->served && conn_idle(c)))
            drop(s, i);
        else if (conn_idle(c))
            c->deadline_ms = now + FRESH_MS;
    }
    log_line("info", "server", "draining connections=%zu", s->count);
}

static void beat_if_due(struct server *s, uint64_t now)
{
    if (!s->module->beat || now < s->next_beat_ms)
        return;
    s->module->beat();
    s->next_beat_ms = now + s->beat_ms;
}

static int wait_ms(const struct server *s, uint64_t now, uint64_t until)
{
    if (s->module->beat && s->next_beat_ms < until)
        until = s->next_beat_ms;
    if (s->draining && s->drain_end_ms < until)
        until = s->drain_end_ms;
    for (size_t i = 0; i < s->count; i++)
        if (s->conns[i]->deadline_ms < until)
            until = s->conns[i]->deadline_ms;
    return until > now ? (int)(until - now) : 0;
}

/* Signals are blocked but inside this wait, so none falls between the check of `stop` and the
 * sleep. */
static int wait_events(struct server *s, uint64_t now)
{
    sigset_t none;
    uint64_t until = now + 60000;
    for (size_t i = 0; i < s->count; i++)
        s->polled[i] = (struct pollfd){s->conns[i]->fd, conn_events(s->conns[i]), 0};
    /* poll skips -1; a full house is not told about guests, or it would spin */
    int listen_fd = has_room(s) ? s->listen_fd : -1;
    s->polled[s->count] = (struct pollfd){listen_fd, POLLIN, 0};
    s->watched = s->module->watch ? s->module->watch->want(s->polled + s->count + 1, &until) : 0;
    int ms = wait_ms(s, now, until);
    struct timespec timeout = {ms / 1000, (long)(ms % 1000) * 1000000};
    sigemptyset(&none);
    return ppoll(s->polled, s->count + 1 + s->watched, &timeout, &none);
}

void server_run(const struct module *module, int listen_fd, const volatile sig_atomic_t *stop)
{
    struct server *s = &server;
    const char *beat = getenv("MODULE_HEARTBEAT_MS");
    long long beat_ms = beat ? strtoll(beat, NULL, 10) : BEAT_MS;
    *s = (struct server){.module = module, .listen_fd = listen_fd};
    s->beat_ms = beat_ms > 0 ? (uint64_t)beat_ms : BEAT_MS;
    for (;;) {
        uint64_t now = now_ms();
        if (*stop && !s->draining)
            begin_drain(s, now);
        if (s->draining && (s->count == 0 || now >= s->drain_end_ms))
            break;
        beat_if_due(s, now);
        size_t clients = s->count;
        if (wait_events(s, now) < 0)
            continue; /* EINTR: a signal */
        bool incoming = s->polled[clients].revents != 0;
        now = now_ms();
        step_conns(s, now);
        if (incoming)
            accept_all(s, now);
        if (module->watch)
            module->watch->step(s->polled + clients + 1, s->watched, now);
    }
    while (s->count > 0)
        drop(s, s->count - 1);
}
