/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Connections to instances, kept per thread. An instance that refuses a connection is
 * left out for a while, which doubles (passive ejection), but never when nothing else is left: an
 * ejected instance is better than no answer. */
#include "net/http/priv.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EJECT_FIRST_MS 1000u
#define EJECT_MAX_MS 30000u
#define PEER_FORGOTTEN_MS 300000u
#define UPSTREAM_AGE_MS 5000u /* under what a mesh that is replaced waits before it ends connections */

static uint32_t peer_hash(const struct http_target *target)
{
    uint32_t h = 2166136261u ^ target->port;
    size_t n = target->address.family == 4 ? 4 : 16;
    for (size_t i = 0; i < n; i++)
        h = (h ^ target->address.bytes[i]) * 16777619u;
    return (h ^ h >> 16) % PEER_BUCKETS;
}

static struct peer *peer_of(struct thread *t, const struct http_target *target)
{
    struct peer **chain = &t->peers[peer_hash(target)];
    for (struct peer *p = *chain; p; p = p->next)
        if (p->port == target->port && ip_eq(&p->address, &target->address))
            return p;
    struct peer *p = xcalloc(1, sizeof *p); /* once per instance, not per request */
    p->address = target->address;
    p->port = target->port;
    p->used_ms = t->now_ms;
    p->next = *chain;
    *chain = p;
    return p;
}

void http_peers_sweep(struct thread *t)
{
    for (size_t i = 0; i < PEER_BUCKETS; i++)
        for (struct peer **at = &t->peers[i]; *at;) {
            struct peer *p = *at;
            if (p->n_idle || p->n_busy || p->used_ms + PEER_FORGOTTEN_MS > t->now_ms) {
                at = &p->next;
                continue;
            }
            *at = p->next;
            free(p);
        }
}

void http_peers_free(struct thread *t)
{
    for (size_t i = 0; i < PEER_BUCKETS; i++)
        for (struct peer *p = t->peers[i], *next; p; p = next) {
            next = p->next;
            free(p);
        }
}

static bool was_tried(const struct tx *tx, const struct http_target *target)
{
    for (size_t i = 0; i < TARGETS_TRIED_MAX; i++)
        if (tx->tried[i] == target)
            return true;
    return false;
}

unsigned http_server_busy(
    const struct http_server *s, unsigned thread, const struct http_target *target)
{
    for (struct peer *p = s->threads[thread].peers[peer_hash(target)]; p; p = p->next)
        if (p->port == target->port && ip_eq(&p->address, &target->address))
            return p->n_busy;
    return 0;
}

/* By weight: the multiples of the golden ratio fall evenly into any division of the interval, so
 * that shares hold over a handful of requests, not only over thousands. NULL: the one whose turn it
 * is cannot take it, any other may. */
static const struct http_target *pick_by_weight(struct tx *tx)
{
    struct thread *t = tx->conn->t;
    uint64_t total = tx->targets[tx->n_targets - 1].weight_sum;
    uint64_t at = (t->next_target++ * 2654435769u) * total >> 32;
    for (size_t i = 0; i < tx->n_targets; i++) {
        const struct http_target *target = &tx->targets[i];
        if (at < target->weight_sum)
            return !was_tried(tx, target) && peer_of(t, target)->ejected_until_ms <= t->now_ms
                       ? target
                       : NULL;
    }
    return NULL;
}

const struct http_target *http_upstream_pick(struct tx *tx)
{
    struct thread *t = tx->conn->t;
    if (tx->targets[tx->n_targets - 1].weight_sum) {
        const struct http_target *target = pick_by_weight(tx);
        if (target)
            return target;
    }
    const struct http_target *best = NULL;
    uint64_t best_score = UINT64_MAX;
    size_t start = t->next_target++;
    for (size_t i = 0; i < tx->n_targets; i++) {
        const struct http_target *target = &tx->targets[(start + i) % tx->n_targets];
        if (was_tried(tx, target))
            continue;
        const struct peer *p = peer_of(t, target);
        /* Ejected ones rank behind all others, the one whose time ends first in front. */
        uint64_t left = p->ejected_until_ms > t->now_ms ? p->ejected_until_ms - t->now_ms : 0;
        uint64_t score = left << 32 | p->n_busy;
        if (score < best_score) {
            best = target;
            best_score = score;
        }
        if (score == 0)
            break;
    }
    return best;
}

static void unlink_idle(struct upstream *u)
{
    if (u->prev)
        u->prev->next = u->next;
    else
        u->peer->idle = u->next;
    if (u->next)
        u->next->prev = u->prev;
    u->prev = u->next = NULL;
    u->peer->n_idle--;
    http_timer_unset(&u->timer);
}

static void on_pool_timeout(struct timer *timer, enum timer_kind kind)
{
    struct upstream *u = CONTAINER_OF(timer, struct upstream, timer);
    unlink_idle(u);
    u->peer->n_busy++; /* http_upstream_drop() takes it off */
    http_upstream_drop(u);
}

/* Is it really still open and silent? An event may be an old one, from before the last answer was
 * taken. */
static bool is_alive(const struct upstream *u)
{
    char byte;
    ssize_t n;
    do
        n = recv(u->s.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 && errno == EAGAIN;
}

static void on_upstream(struct source *source, uint32_t events)
{
    struct upstream *u = CONTAINER_OF(source, struct upstream, s.source);
    if (u->dead)
        return;
    if (u->tx) {
        http_stream_events(&u->s, events);
        http_conn_run(u->tx->conn);
        return;
    }
    if (!(events & ~(uint32_t)EPOLLOUT) || is_alive(u))
        return;
    unlink_idle(u);
    u->peer->n_busy++;
    http_upstream_drop(u);
}

static struct upstream *take_idle(struct tx *tx, struct peer *p)
{
    struct upstream *u;
    while ((u = p->idle)) {
        unlink_idle(u);
        p->n_busy++;
        /* A request that must not be sent twice gets a connection that is known to be open just
         * now. */
        if (u->t->now_ms < u->until_ms && (tx->request.is_idempotent || is_alive(u)))
            return u;
        http_upstream_drop(u);
    }
    return NULL;
}

static int start_connect(const struct peer *p)
{
    struct sockaddr_storage sa;
    socklen_t len;
    ip_to_sockaddr(&p->address, p->port, &sa, &len);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static struct upstream *open_new(struct thread *t, struct peer *p)
{
    int fd = start_connect(p);
    if (fd < 0)
        return NULL;
    struct upstream *u = t->free_upstreams;
    if (u)
        t->free_upstreams = u->next;
    else
        u = xmalloc(sizeof *u);
    *u = (struct upstream){
        .t = t, .peer = p, .connecting = true, .until_ms = t->now_ms + UPSTREAM_AGE_MS};
    u->s.source.ready = on_upstream;
    u->timer.fire = on_pool_timeout;
    p->n_busy++;
    http_stat_add(t, HTTP_STAT_UPSTREAM_OPEN, 1);
    http_stat_add(t, HTTP_STAT_UPSTREAM_OPENED, 1);
    if (http_stream_open(t, &u->s, fd) < 0) {
        http_upstream_drop(u);
        return NULL;
    }
    return u;
}

struct upstream *http_upstream_get(struct tx *tx, const struct http_target *target)
{
    struct thread *t = tx->conn->t;
    struct peer *p = peer_of(t, target);
    p->used_ms = t->now_ms;
    struct upstream *u = take_idle(tx, p);
    if (u) {
        u->reused = true;
        http_stat_add(t, HTTP_STAT_UPSTREAM_REUSED, 1);
    } else {
        u = open_new(t, p);
    }
    if (u) {
        u->tx = tx;
        u->scanned = 0;
    }
    return u;
}

void http_upstream_connected(struct upstream *u)
{
    u->connecting = false;
    u->peer->failures = 0;
    u->peer->ejected_until_ms = 0;
}

void http_upstream_refused(struct upstream *u)
{
    struct peer *p = u->peer;
    uint64_t ms = MIN(EJECT_MAX_MS, EJECT_FIRST_MS << MIN(p->failures, 10u));
    p->failures++;
    p->ejected_until_ms = u->t->now_ms + ms;
    http_stat_add(u->t, HTTP_STAT_CONNECT_FAILURES, 1);
    http_stat_add(u->t, HTTP_STAT_EJECTIONS, 1);
}

void http_upstream_keep(struct upstream *u)
{
    struct thread *t = u->t;
    struct peer *p = u->peer;
    u->tx = NULL;
    if (p->n_idle >= POOL_PER_PEER_MAX || t->draining) {
        http_upstream_drop(u);
        return;
    }
    http_buf_put(t, &u->s.in);
    u->prev = NULL;
    u->next = p->idle;
    if (p->idle)
        p->idle->prev = u;
    p->idle = u;
    p->n_idle++;
    p->n_busy--;
    http_timer_set(t, &u->timer, TIMER_POOL);
}

void http_upstream_drop(struct upstream *u)
{
    struct thread *t = u->t;
    u->peer->n_busy--;
    u->tx = NULL;
    u->dead = true;
    u->s.out = NULL; /* the transaction's */
    http_timer_unset(&u->timer);
    http_stream_close(t, &u->s);
    http_stat_add(t, HTTP_STAT_UPSTREAM_OPEN, (uint64_t)-1);
    u->next = t->dead_upstreams; /* an event of this round may still name it */
    t->dead_upstreams = u;
}

void http_upstream_drop_idle(struct thread *t)
{
    for (size_t i = 0; i < PEER_BUCKETS; i++)
        for (struct peer *p = t->peers[i]; p; p = p->next)
            while (p->idle) {
                struct upstream *u = p->idle;
                unlink_idle(u);
                p->n_busy++;
                http_upstream_drop(u);
            }
}
