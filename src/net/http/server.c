/* SPDX-License-Identifier: Apache-2.0 */
/* Start, stop and figures of the threads. */
#include "net/http/priv.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#define CONNECTIONS_MAX 65536u
#define OTHER_FILES 256u /* of this process, not for connections */

static unsigned cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        return 1;
    return (unsigned)MIN(CPU_COUNT(&set), HTTP_THREADS_MAX);
}

/* Each client connection may need one to an upstream. */
static unsigned connections_by_rlimit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur <= OTHER_FILES + 2)
        return 16;
    return (unsigned)MIN((limit.rlim_cur - OTHER_FILES) / 2, CONNECTIONS_MAX);
}

static size_t count_kind(const struct http_config *config, bool tls)
{
    size_t n = 0;
    for (size_t i = 0; i < config->n_listens; i++)
        n += config->listens[i].tls == tls;
    return n;
}

static void deal_listeners(struct thread *t, const struct http_config *config)
{
    size_t seen[2] = {0};
    t->listeners = xcalloc(config->n_listens + 1, sizeof *t->listeners);
    for (size_t i = 0; i < config->n_listens; i++) {
        const struct http_listen *l = &config->listens[i];
        size_t nth = seen[l->tls]++;
        bool shared = count_kind(config, l->tls) < config->threads;
        if (shared || nth % config->threads == t->index)
            t->listeners[t->n_listeners++] = (struct listener){.t = t, .fd = l->fd, .tls = l->tls};
    }
}

static int thread_init(struct http_server *s, struct thread *t, unsigned index,
    const struct http_config *config, struct err *e)
{
    t->server = s;
    t->index = index;
    t->calls = config->app;
    t->conns.prev = t->conns.next = &t->conns;
    t->max_conns = MAX(config->max_connections / config->threads, 1u);
    http_timers_init(t, &s->timeouts);
    uint64_t seed;
    rnd_bytes(&seed, sizeof seed);
    rnd_seed(&t->rnd, seed);
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->epoll < 0 || t->wake < 0)
        return err_errno(e, errno, "epoll of an HTTP thread");
    deal_listeners(t, config);
    return 0;
}

static void free_all(struct http_server *s)
{
    for (unsigned i = 0; i < s->n_threads; i++) {
        struct thread *t = &s->threads[i];
        free(t->listeners);
        if (t->epoll > 0)
            close(t->epoll);
        if (t->wake > 0)
            close(t->wake);
    }
    SSL_CTX_free(s->front);
    http_tickets_done(&s->tickets);
    free(s->threads);
    free(s);
}

static int start_threads(struct http_server *s, struct err *e)
{
    for (unsigned i = 0; i < s->n_threads; i++) {
        atomic_fetch_add(&s->running, 1);
        int r = pthread_create(&s->threads[i].id, NULL, http_thread_main, &s->threads[i]);
        if (r == 0)
            continue;
        atomic_fetch_sub(&s->running, 1);
        http_server_drain(s);
        for (unsigned k = 0; k < i; k++)
            pthread_join(s->threads[k].id, NULL);
        return err_errno(e, r, "start an HTTP thread");
    }
    return 0;
}

int http_server_start(const struct http_config *given, struct http_server **ret, struct err *e)
{
    struct http_config config = *given;
    if (!config.threads)
        config.threads = cores();
    config.threads = MIN(config.threads, HTTP_THREADS_MAX);
    if (!config.max_connections)
        config.max_connections = connections_by_rlimit();
    struct http_server *s = xcalloc(1, sizeof *s);
    s->app = config.app;
    s->ctx = config.ctx;
    s->timeouts = config.timeouts;
    http_timeouts_default(&s->timeouts);
    http_tickets_init(&s->tickets);
    s->n_threads = config.threads;
    s->threads = xcalloc(s->n_threads, sizeof *s->threads);
    int r = http_front_ctx_new(&s->front, e);
    for (unsigned i = 0; r >= 0 && i < s->n_threads; i++)
        r = thread_init(s, &s->threads[i], i, &config, e);
    if (r >= 0)
        r = start_threads(s, e);
    if (r < 0) {
        free_all(s);
        return r;
    }
    *ret = s;
    return 0;
}

void http_server_drain(struct http_server *s)
{
    int no = DRAIN_NO;
    atomic_compare_exchange_strong(&s->draining, &no, DRAIN_GENTLY);
    http_server_wake(s);
}

void http_server_wake(struct http_server *s)
{
    for (unsigned i = 0; i < s->n_threads; i++)
        http_thread_wake(&s->threads[i]);
}

void http_thread_wake(struct thread *t)
{
    uint64_t one = 1;
    ssize_t n = write(t->wake, &one, sizeof one);
    (void)n; /* full means that it is awake */
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    int no = DRAIN_NO;
    atomic_compare_exchange_strong(&s->draining, &no, DRAIN_NOW);
    http_server_wake(s);
    for (unsigned i = 0; i < s->n_threads; i++)
        pthread_join(s->threads[i].id, NULL);
    free_all(s);
}

uint64_t http_server_stat(const struct http_server *s, enum http_stat stat)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < s->n_threads; i++)
        sum += atomic_load_explicit(&s->threads[i].stats[stat], memory_order_relaxed);
    return sum;
}
