/* SPDX-License-Identifier: Apache-2.0 */
/* Contents: a list of chunks that one thread appends to while others read what is there, without a lock. HOT PATH. */
#include "service/cache/priv.h"

#include <string.h>

struct body *body_new(struct cache_tier *t, unsigned shard, uint64_t expected)
{
    if (!tier_reserve(t, sizeof(struct body) + OVERHEAD))
        return NULL;
    struct body *b = xcalloc(1, sizeof *b);
    b->tier = t;
    b->shard = shard;
    b->expected = expected;
    atomic_init(&b->refs, 1);
    return b;
}

/* As large as what is known to come, at most CHUNK_BYTES. */
static struct chunk *add_chunk(struct body *b, uint64_t have, size_t len)
{
    uint64_t want =
        b->expected == UINT64_MAX || b->expected < have ? MAX(len, 1024u) : b->expected - have;
    uint32_t cap = (uint32_t)MIN(MAX(want, 1u), (uint64_t)CHUNK_BYTES);
    if (!tier_reserve(b->tier, sizeof(struct chunk) + cap + OVERHEAD))
        return NULL;
    struct chunk *c = xmalloc(sizeof *c + cap);
    atomic_init(&c->next, NULL);
    c->cap = cap;
    c->len = 0;
    if (b->last)
        atomic_store_explicit(&b->last->next, c, memory_order_release);
    else
        atomic_store_explicit(&b->first, c, memory_order_release);
    b->last = c;
    return c;
}

bool body_append(struct body *b, const char *data, size_t len)
{
    uint64_t size = atomic_load_explicit(&b->size, memory_order_relaxed);
    if (len > b->tier->config.object_max || size > b->tier->config.object_max - len)
        return false;
    if (b->expected != UINT64_MAX && len > b->expected - size)
        return false;
    while (len) {
        struct chunk *c = b->last;
        if ((!c || c->len == c->cap) && !(c = add_chunk(b, size, len)))
            return false;
        uint32_t n = (uint32_t)MIN(len, (size_t)(c->cap - c->len));
        memcpy(c->data + c->len, data, n);
        c->len += n;
        data += n;
        len -= n;
        size += n;
    }
    atomic_store_explicit(&b->size, size, memory_order_release);
    return true;
}

void body_unref(struct body *b)
{
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    uint64_t bytes = sizeof *b + OVERHEAD;
    for (struct chunk *c = b->first, *next; c; c = next) {
        next = c->next;
        bytes += sizeof *c + c->cap + OVERHEAD;
        free(c);
    }
    tier_release(b->tier, bytes);
    free(b);
}

void body_wake(struct body *b)
{
    for (struct cache_waiter *w; (w = b->readers);) {
        b->readers = w->next;
        if (w->next)
            w->next->back = &b->readers;
        w->back = NULL;
        w->kind = CACHE_WAKE_MORE;
        w->wake(w);
    }
}

/* Of the last chunk c->len may grow while we look: `size` says what is there, chunks in front are full. */
enum cache_read cache_object_read(
    const struct cache_object *o, struct cache_cursor *c, struct http_text *ret)
{
    struct body *b = o->body;
    int state = atomic_load_explicit(
        &b->state, memory_order_acquire); /* before size: whole means all of it */
    uint64_t size = atomic_load_explicit(&b->size, memory_order_acquire);
    *ret = (struct http_text){0};
    if (c->at >= size)
        return state == BODY_WHOLE    ? CACHE_READ_END
               : state == BODY_FAILED ? CACHE_READ_FAILED
                                      : CACHE_READ_WAIT;
    const struct chunk *chunk = c->chunk;
    if (!chunk || c->at < c->chunk_at) {
        chunk = atomic_load_explicit(&b->first, memory_order_acquire);
        c->chunk_at = 0;
    }
    while (c->at - c->chunk_at >= chunk->cap) {
        c->chunk_at += chunk->cap;
        chunk = atomic_load_explicit(&chunk->next, memory_order_acquire);
    }
    c->chunk = chunk;
    uint64_t from = c->at - c->chunk_at;
    uint64_t to = MIN((uint64_t)chunk->cap, size - c->chunk_at);
    *ret = (struct http_text){chunk->data + from, (size_t)(to - from)};
    return CACHE_READ_SOME;
}

bool cache_object_wait(struct cache_object *o, uint64_t have, struct cache_waiter *w)
{
    struct body *b = o->body;
    struct shard *s = &b->tier->shards[b->shard];
    tier_lock(s);
    bool wait = atomic_load(&b->state) == BODY_COMING && atomic_load(&b->size) <= have;
    if (wait) {
        w->tier = b->tier;
        w->shard = b->shard;
        w->next = b->readers;
        w->back = &b->readers;
        if (w->next)
            w->next->back = &w->next;
        b->readers = w;
    }
    tier_unlock(s);
    return wait;
}
