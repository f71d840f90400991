/* SPDX-License-Identifier: Apache-2.0 */
#include "net/splice/priv.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#define FILES_KEPT 512u /* of the process, for everything else */

static unsigned cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : (unsigned)CPU_COUNT(&set);
}

/* Two descriptors a flow. */
static unsigned flows_of_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur < 4 * FILES_KEPT)
        return 256;
    return (unsigned)MIN((files.rlim_cur - FILES_KEPT) / 2, (rlim_t)100000);
}

static void set_defaults(struct splice_server *s)
{
    struct splice_config *c = &s->config;
    c->setup_ms = c->setup_ms ? c->setup_ms : 10000;
    c->idle_ms = c->idle_ms ? c->idle_ms : 3600000;
    c->half_ms = c->half_ms ? c->half_ms : 300000;
    c->drain_ms = c->drain_ms ? c->drain_ms : 8000;
    c->wait_ms = c->wait_ms ? c->wait_ms : 1000;
    c->keep_ms = c->keep_ms ? c->keep_ms : 15000;
    c->max_flows = c->max_flows ? c->max_flows : flows_of_limit();
    s->n_threads = MIN(c->threads ? c->threads : cores(), (unsigned)SPLICE_THREADS_MAX);
    s->timeout_ms[TIMER_SETUP] = c->setup_ms;
    s->timeout_ms[TIMER_IDLE] = c->idle_ms;
    s->timeout_ms[TIMER_HALF] = c->half_ms;
    s->timeout_ms[TIMER_UNUSED] = 4 * (uint64_t)c->keep_ms; /* who dialled gives it up first */
}

static int open_thread(struct splice_server *s, unsigned index, struct err *e)
{
    struct splice_thread *t = &s->threads[index];
    t->server = s;
    t->index = index;
    t->max_flows = MAX(s->config.max_flows / s->n_threads, 1u);
    t->flows.next = t->flows.prev = &t->flows;
    timers_init(t);
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return t->epoll < 0 || t->wake < 0 ? err_errno(e, errno, "event loop of a thread") : 0;
}

int splice_start(const struct splice_config *config, struct splice_server **ret, struct err *e)
{
    struct splice_server *s = xcalloc(1, sizeof *s);
    s->config = *config;
    set_defaults(s);
    s->threads = xcalloc(s->n_threads, sizeof *s->threads);
    pthread_mutex_init(&s->lock, NULL);
    for (unsigned i = 0; i < s->n_threads; i++)
        s->threads[i].epoll = s->threads[i].wake = -1;
    int r = 0;
    for (unsigned i = 0; i < s->n_threads && r >= 0; i++)
        r = open_thread(s, i, e);
    for (unsigned i = 0; i < s->n_threads && r >= 0; i++) {
        atomic_fetch_add(&s->running, 1);
        int error = pthread_create(&s->threads[i].id, NULL, splice_thread_main, &s->threads[i]);
        if (error) {
            atomic_fetch_sub(&s->running, 1);
            r = err_errno(e, error, "thread");
        } else {
            s->n_started++;
        }
    }
    if (r < 0) {
        splice_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

unsigned splice_threads(const struct splice_server *s)
{
    return s->n_threads;
}

uint64_t splice_stat(const struct splice_server *s, enum splice_stat stat)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < s->n_threads; i++)
        sum += atomic_load_explicit(&s->threads[i].stats[stat], memory_order_relaxed);
    return sum;
}

static void ask_to_drain(struct splice_server *s, enum drain how)
{
    atomic_store(&s->draining, how);
    splice_wake(s);
}

void splice_drain(struct splice_server *s)
{
    ask_to_drain(s, DRAIN_SOON);
}

void splice_free(struct splice_server *s)
{
    if (!s)
        return;
    ask_to_drain(s, DRAIN_NOW);
    for (unsigned i = 0; i < s->n_started; i++)
        pthread_join(s->threads[i].id, NULL);
    for (unsigned i = 0; i < s->n_threads; i++) {
        if (s->threads[i].epoll >= 0)
            close(s->threads[i].epoll);
        if (s->threads[i].wake >= 0)
            close(s->threads[i].wake);
    }
    for (size_t i = 0; i < s->n_listeners; i++) {
        close(s->listeners[i]->fd);
        free(s->listeners[i]);
    }
    free(s->listeners);
    pthread_mutex_destroy(&s->lock);
    free(s->threads);
    free(s);
}
