/* SPDX-License-Identifier: Apache-2.0 */
/* S3-FIFO: new objects enter a small queue of a tenth of the bytes; who is asked for there moves to the main one,
 * who is not leaves, and is remembered for a while: if it comes again it goes to the main queue at once. The main
 * queue gives what was asked for another round. HOT PATH: a hit adds one to a number. */
#include "service/cache/priv.h"

static void queue_put(struct cache_object *o, struct queue *q)
{
    o->newer = NULL;
    o->older = q->newest;
    if (q->newest)
        q->newest->newer = o;
    else
        q->oldest = o;
    q->newest = o;
    if (!o->in_main)
        atomic_fetch_add(&o->tier->small_bytes, o->queued_bytes);
}

static void queue_remove(struct cache_object *o, struct queue *q)
{
    *(o->newer ? &o->newer->older : &q->newest) = o->older;
    *(o->older ? &o->older->newer : &q->oldest) = o->newer;
    if (!o->in_main)
        atomic_fetch_sub(&o->tier->small_bytes, o->queued_bytes);
}

static struct ghost *ghost_of(struct cache_tier *t, struct shard *s, const struct cache_object *o)
{
    return &s->ghosts[o->node.hash & (t->n_ghosts - 1)];
}

void evict_insert(struct cache_tier *t, struct shard *s, struct cache_object *o)
{
    struct ghost *g = ghost_of(t, s, o);
    o->queued_bytes = o->bytes + atomic_load(&o->body->size);
    o->frequency = 0;
    /* As many are remembered as the table of objects has. */
    o->in_main = g->print == (uint32_t)(o->node.hash >> 26) && g->print
                 && s->evicted - g->at <= s->objects.n;
    g->print = o->in_main ? 0 : g->print;
    queue_put(o, o->in_main ? &s->main : &s->small);
}

void evict_forget(struct shard *s, struct cache_object *o)
{
    queue_remove(o, o->in_main ? &s->main : &s->small);
}

/* The next one of that queue to leave, out of the index; NULL: none is there. Ends: each round moves an object to the
 * main queue or takes one off its frequency. */
static struct cache_object *evict_one(struct cache_tier *t, struct shard *s, bool small)
{
    struct queue *q = small ? &s->small : &s->main;
    struct cache_object *o;
    while ((o = q->oldest) && o->frequency > 0 && !object_dead(o, o->page)) {
        evict_forget(s, o);
        o->frequency = small ? 0 : (uint8_t)(o->frequency - 1);
        o->in_main = true;
        queue_put(o, &s->main);
    }
    if (!o)
        return NULL;
    if (small)
        *ghost_of(t, s, o) = (struct ghost){(uint32_t)(o->node.hash >> 26), s->evicted};
    s->evicted++;
    s->evictions++;
    object_remove(s, o);
    return o;
}

/* The small queues of all shards together have their tenth: a shard alone may have a handful of objects. */
static bool small_is_over(struct cache_tier *t)
{
    return atomic_load(&t->small_bytes) * 10 > atomic_load(&t->bytes);
}

/* What is being sent stays accounted until it is not: then nothing may be left to evict, and the answer is no. */
bool tier_reserve(struct cache_tier *t, uint64_t bytes)
{
    uint64_t limit = t->config.limit_bytes;
    uint64_t now = atomic_fetch_add(&t->bytes, bytes) + bytes;
    bool small = small_is_over(t);
    for (unsigned empty = 0; now > limit && empty < 2 * SHARDS;) {
        struct shard *s = &t->shards[atomic_fetch_add(&t->hand, 1) % SHARDS];
        tier_lock(s);
        struct cache_object *o = evict_one(t, s, small);
        tier_unlock(s);
        cache_object_unref(o);
        now = atomic_load(&t->bytes);
        empty = o ? 0 : empty + 1;
        small =
            o ? small_is_over(t) : small != (empty == SHARDS); /* that queue is empty everywhere */
    }
    if (now <= limit)
        return true;
    atomic_fetch_sub(&t->bytes, bytes);
    return false;
}

void tier_release(struct cache_tier *t, uint64_t bytes)
{
    atomic_fetch_sub(&t->bytes, bytes);
}
