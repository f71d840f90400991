/* SPDX-License-Identifier: Apache-2.0 */
#include "net/splice/priv.h"

#include "base/clock/clock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define EVENTS_MAX 256
#define ACCEPTS_PER_EVENT 32
#define ACCEPT_PAUSE_MS 100u
#define DRAIN_SILENT_MS 250u
/* Who has connections to use again (an edge: for 5 s after it opened one) has done so by then. */
#define DRAIN_REUSED_MS 5500u
#define DRAIN_LOOK_MS 50u

void thread_again(struct splice_flow *f)
{
    if (f->in_again)
        return;
    f->in_again = true;
    f->again = f->t->again;
    f->t->again = f;
}

static void run_again(struct splice_thread *t)
{
    struct splice_flow *list = t->again;
    t->again = NULL;
    while (list) {
        struct splice_flow *f = list;
        list = f->again;
        f->in_again = false;
        if (f->state == FLOW_DEAD) {
            f->next = t->dead;
            t->dead = f;
        } else {
            flow_run(f);
        }
    }
}

static void reap(struct splice_thread *t)
{
    while (t->dead) {
        struct splice_flow *f = t->dead;
        t->dead = f->next;
        if (t->n_free_flows >= FLOWS_KEPT) {
            free(f);
            continue;
        }
        f->next = t->free_flows;
        t->free_flows = f;
        t->n_free_flows++;
    }
    while (t->dead_slots) {
        struct slot *s = t->dead_slots;
        t->dead_slots = s->next;
        free(s);
    }
}

/* -- listeners --------------------------------------------------------------------------------- */

static void listener_unref(struct listener *l)
{
    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    close(l->fd);
    free(l);
}

static void watch(struct splice_thread *t, struct slot *s, bool on)
{
    /* A descriptor that several threads wait on wakes one of them. */
    struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = &s->source};
    epoll_ctl(t->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->l->fd, on ? &ev : NULL);
}

static void pause_accepting(struct splice_thread *t, bool pause)
{
    if (t->accepting == !pause)
        return;
    for (struct slot *s = t->slots; s; s = s->next)
        watch(t, s, !pause);
    t->accepting = !pause;
    t->accept_again_ms = pause && !t->draining ? t->now_ms + ACCEPT_PAUSE_MS : 0;
}

/* Who comes over a Unix socket has no address. */
static bool peer_of(const struct sockaddr_storage *sa, struct ip_addr *ret)
{
    uint16_t port;
    *ret = (struct ip_addr){0};
    return sa->ss_family == AF_UNIX || ip_from_sockaddr((const struct sockaddr *)sa, ret, &port);
}

static void on_listener(struct splice_source *source, uint32_t events)
{
    struct slot *s = CONTAINER_OF(source, struct slot, source);
    struct splice_thread *t = s->t;
    for (unsigned i = 0; s->l && i < ACCEPTS_PER_EVENT && t->accepting; i++) {
        if (t->n_flows >= t->max_flows) {
            pause_accepting(t, true); /* the others wait in the kernel's queue */
            return;
        }
        struct sockaddr_storage sa;
        socklen_t len = sizeof sa;
        struct ip_addr from;
        int fd = accept4(s->l->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && peer_of(&sa, &from))
            flow_accept(t, fd, s->l->tag, &from);
        else if (fd >= 0)
            close(fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(t, true);
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void drop_slot(struct splice_thread *t, struct slot *s)
{
    if (t->accepting)
        watch(t, s, false);
    listener_unref(s->l);
    s->l = NULL;
    s->next = t->dead_slots; /* an event of this round may still name it */
    t->dead_slots = s;
}

static bool has_slot(const struct splice_thread *t, const struct listener *l)
{
    for (const struct slot *s = t->slots; s; s = s->next)
        if (s->l == l)
            return true;
    return false;
}

static void take_up(struct splice_thread *t, struct listener *l)
{
    struct slot *s = xcalloc(1, sizeof *s);
    s->source.ready = on_listener;
    s->t = t;
    s->l = l;
    s->next = t->slots;
    t->slots = s;
    atomic_fetch_add(&l->refs, 1);
    if (t->accepting)
        watch(t, s, true);
}

void thread_sync(struct splice_thread *t)
{
    struct splice_server *server = t->server;
    unsigned generation = atomic_load(&server->listeners_generation);
    if (generation == t->listeners_seen)
        return;
    t->listeners_seen = generation;
    for (struct slot **at = &t->slots; *at;) {
        struct slot *s = *at;
        if (!atomic_load(&s->l->removed)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        drop_slot(t, s);
    }
    pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < server->n_listeners; i++)
        if (!has_slot(t, server->listeners[i]))
            take_up(t, server->listeners[i]);
    pthread_mutex_unlock(&server->lock);
}

void splice_listen(struct splice_server *s, int fd, struct splice_tag tag)
{
    struct listener *l = xcalloc(1, sizeof *l);
    l->fd = fd;
    l->tag = tag;
    atomic_init(&l->refs, 1);
    pthread_mutex_lock(&s->lock);
    *GROW(s->listeners, s->n_listeners, s->cap_listeners) = l;
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_add(&s->listeners_generation, 1);
    splice_wake(s);
}

void splice_unlisten(struct splice_server *s, struct splice_tag tag)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_listeners; i++) {
        struct listener *l = s->listeners[i];
        if (l->tag.kind != tag.kind || l->tag.key != tag.key)
            continue;
        s->listeners[i--] = s->listeners[--s->n_listeners];
        atomic_store(&l->removed, true);
        shutdown(l->fd, SHUT_RDWR); /* refused from now on, whoever still holds it */
        listener_unref(l);
    }
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_add(&s->listeners_generation, 1);
    splice_wake(s);
}

void splice_wake(struct splice_server *s)
{
    uint64_t one = 1;
    for (unsigned i = 0; i < s->n_started; i++) {
        ssize_t n = write(s->threads[i].wake, &one, sizeof one);
        (void)n; /* full: it is awake already */
    }
}

int splice_watch(struct splice_server *s, unsigned thread, int fd, struct splice_source *source)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = source};
    return epoll_ctl(s->threads[thread].epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* -- the loop ---------------------------------------------------------------------------------- */

static void on_wake(struct splice_source *source, uint32_t events)
{
    struct splice_thread *t = CONTAINER_OF(source, struct splice_thread, wake_source);
    uint64_t count;
    ssize_t n = read(t->wake, &count, sizeof count);
    (void)n; /* it only had to end the wait */
}

static int wait_ms(const struct splice_thread *t)
{
    int ms = timers_wait_ms(t), kept = kept_wait_ms(t);
    ms = kept >= 0 && (ms < 0 || kept < ms) ? kept : ms;
    uint64_t until =
        t->draining ? MIN(t->drain_until_ms, t->now_ms + DRAIN_LOOK_MS) : t->accept_again_ms;
    const struct splice_app *app = t->server->config.app;
    uint64_t due = app->due_ms ? app->due_ms(t->server->config.ctx, t->index) : 0;
    if (due)
        until = until ? MIN(until, due) : due;
    if (until) {
        int left = until > t->now_ms ? (int)MIN(until - t->now_ms, (uint64_t)60000) : 0;
        ms = ms < 0 ? left : MIN(ms, left);
    }
    return t->again ? 0 : ms;
}

static void begin_drain(struct splice_thread *t, enum drain how)
{
    t->draining = true;
    t->drain_until_ms = t->now_ms + (how == DRAIN_NOW ? 0 : t->server->config.drain_ms);
    t->drain_silent_ms = t->now_ms + DRAIN_REUSED_MS;
    pause_accepting(t, true);
}

/* Between two requests, as far as bytes can tell. */
static void end_silent(struct splice_thread *t)
{
    for (struct splice_flow *f = t->flows.next, *next; f != &t->flows; f = next) {
        next = f->next;
        if (flow_is_unused(f)
            || (t->drain_silent_ms <= t->now_ms && flow_is_silent(f, DRAIN_SILENT_MS)))
            flow_end(f);
    }
}

/* False: the thread has drained. */
static bool housekeeping(struct splice_thread *t)
{
    struct splice_flow *f;
    while ((f = timers_due(t)))
        flow_expired(f);
    if (t->accept_again_ms && t->accept_again_ms <= t->now_ms)
        pause_accepting(t, false);
    enum drain how = (enum drain)atomic_load_explicit(&t->server->draining, memory_order_relaxed);
    if (how != DRAIN_NO && !t->draining)
        begin_drain(t, how);
    if (how == DRAIN_NOW)
        t->drain_until_ms = MIN(t->drain_until_ms, t->now_ms);
    if (t->draining)
        end_silent(t);
    while (t->draining && t->drain_until_ms <= t->now_ms && t->flows.next != &t->flows)
        flow_kill(t->flows.next);
    run_again(t);
    kept_sweep(t, t->draining);
    reap(t);
    return !t->draining || t->n_flows;
}

static void loop(struct splice_thread *t)
{
    const struct splice_config *c = &t->server->config;
    struct epoll_event events[EVENTS_MAX];
    do {
        int n = epoll_wait(t->epoll, events, EVENTS_MAX, wait_ms(t));
        t->now_ms = clock_boot_ms();
        thread_sync(t);
        if (c->app->turn)
            c->app->turn(c->ctx, t->index);
        for (int i = 0; i < n; i++) {
            struct splice_source *source = events[i].data.ptr;
            source->ready(source, events[i].events);
        }
    } while (housekeeping(t));
}

static void thread_done(struct splice_thread *t)
{
    kept_sweep(t, true);
    while (t->slots) {
        struct slot *s = t->slots;
        t->slots = s->next;
        drop_slot(t, s);
    }
    reap(t);
    for (struct buf *b = t->free_bufs, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    for (struct splice_flow *f = t->free_flows, *next; f; f = next) {
        next = f->next;
        free(f);
    }
}

void *splice_thread_main(void *arg)
{
    struct splice_thread *t = arg;
    struct splice_server *s = t->server;
    char name[16];
    snprintf(name, sizeof name, "splice-%u", t->index % 100);
    pthread_setname_np(pthread_self(), name);
    t->wake_source.ready = on_wake;
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &t->wake_source};
    epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->wake, &ev);
    t->now_ms = clock_boot_ms();
    t->accepting = true;
    loop(t);
    if (s->config.app->thread_done)
        s->config.app->thread_done(s->config.ctx, t->index);
    thread_done(t);
    if (atomic_fetch_sub(&s->running, 1) == 1 && s->config.app->stopped)
        s->config.app->stopped(s->config.ctx);
    return NULL;
}
