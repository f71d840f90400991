/* SPDX-License-Identifier: Apache-2.0 */
/* The memory tier of the edge's cache: responses by key and variant, bounded in bytes, shared by all
 * threads. What may be done with a response is domain/cache's to say; this finds it, keeps it, lets go
 * of it, and lets many wait for one fetch.
 *
 * A look-up costs the same however many variants, objects and tags there are. Objects are counted
 * references: what is evicted, purged or replaced goes on being sent to those who are at it. A purge
 * makes what it means unreachable before it returns, also what is still on its way from upstream; the
 * memory comes back when the object is met next, or by cache_tier_sweep().
 *
 * Threads: any; each shard has a lock that is held for one look-up or one change, never while bytes are
 * sent. Eviction is S3-FIFO (Yang et al., SOSP 2023): what is asked for once leaves early. */
#pragma once

#include "domain/cache/cache.h"

#include <stdatomic.h>

struct cache_tier;
struct cache_object;
struct cache_fill;

struct cache_tier_config {
    uint64_t limit_bytes; /* of everything: contents, fields, index */
    uint64_t object_max;  /* bytes of one content; 0: an eighth of the limit */
    uint32_t waiters_max; /* for one fetch; more fetch for themselves. 0: 1,000 */
    uint32_t pass_ms; /* how long a response that may not be stored is remembered. 0: 2 minutes */
};

struct cache_tier *cache_tier_new(const struct cache_tier_config *config);
void cache_tier_free(struct cache_tier *t); /* no fill and no reference is left */

/* Who waits for a fetch or for more of a content. The caller's memory, until it was woken or cancelled. */
enum cache_wake {
    CACHE_WAKE_OBJECT, /* `object` is the answer, a reference of the waiter's: cache_object_fits() */
    CACHE_WAKE_FILL,   /* whoever fetched gave up: the waiter holds `fill` now, and fetches */
    CACHE_WAKE_PASS,   /* fetch for yourself: nothing will be stored */
    CACHE_WAKE_MORE,   /* of cache_object_wait(): read again */
};
struct cache_waiter {
    /* Called once, under a lock, from any thread: it notes the rest and wakes the waiter's own thread; it
     * must not call back. */
    void (*wake)(struct cache_waiter *w);
    enum cache_wake kind;
    struct cache_object *object;
    struct cache_fill *fill;
    struct cache_waiter *next, **back; /* private */
    struct cache_tier *tier;
    unsigned shard;
};
/* False: it has been woken, or is not waiting; then what it holds is its to give back. */
bool cache_waiter_cancel(struct cache_waiter *w);

struct cache_lookup {
    struct cache_decision decision; /* `stored` is of `object`; good as long as the reference */
    struct cache_object *object;    /* a reference: hit, refresh, or what is to be validated */
    struct cache_fill *fill;        /* whoever has it fetches, for all who wait */
    bool waiting;                   /* `waiter` will be woken */
    bool collapsed; /* the object is another request's, its content may still come */
    bool passed;    /* fetch for yourself, do not store */
};
/* What to do with a request for `key` (cache_key_format()). `waiter` may be NULL: then nobody waits and
 * `passed` comes instead. */
void cache_tier_lookup(struct cache_tier *t, struct http_text key, const struct cache_request *q,
    int64_t now_ms, const struct cache_policy *policy, struct cache_waiter *waiter,
    struct cache_lookup *ret);

/* A fetch: begins with a cache_lookup that has `fill`, ends with exactly one of done, give, pass and abort. */

/* The response's head came and may be stored. `head`: the stored field lines, any form, up to 64 KiB; copied.
 * Whoever waits gets the object and reads as it comes. The result is the fill's, take a reference to send
 * from it. False: too large, or no room. */
MUST_CHECK bool cache_fill_begin(struct cache_fill *f, const struct cache_storing *st,
    struct http_text head, uint64_t expected, struct cache_object **ret);
/* A piece of its content. False: over a limit; abort then. */
MUST_CHECK bool cache_fill_append(struct cache_fill *f, const void *data, size_t len);
/* All of it is there: from now on look-ups find it, unless it was purged meanwhile. */
void cache_fill_done(struct cache_fill *f);
/* A 304 has updated `old`: its content with another head. False: no room. On true the fill is done, and
 * *ret a reference. */
MUST_CHECK bool cache_fill_freshen(struct cache_fill *f, struct cache_object *old,
    const struct cache_storing *st, struct http_text head, struct cache_object **ret);
/* Whoever waits gets this one: a stale one that may be sent because of an error. */
void cache_fill_give(struct cache_fill *f, struct cache_object *o);
/* The response may not be stored: whoever waits fetches for himself, and so does who comes soon. */
void cache_fill_pass(struct cache_fill *f, int64_t now_ms);
/* It did not come to its end. Before begin the next one who waits fetches; after it who reads is told. */
void cache_fill_abort(struct cache_fill *f);

/* Objects. */
void cache_object_ref(struct cache_object *o);
void cache_object_unref(struct cache_object *o); /* NULL is fine */
const struct cache_stored *cache_object_stored(
    const struct cache_object *o); /* size: when it is complete */
struct http_text cache_object_head(const struct cache_object *o);
uint64_t cache_object_expected(const struct cache_object *o); /* UINT64_MAX: not known */
/* Is it selected by this request, too (section 4.1)? For what a waiter was given. */
bool cache_object_fits(const struct cache_object *o, const struct cache_request *q);
enum cache_read {
    CACHE_READ_SOME,
    CACHE_READ_END,
    CACHE_READ_WAIT,   /* nothing more yet: cache_object_wait() */
    CACHE_READ_FAILED, /* the rest will not come */
};
struct cache_cursor { /* a place in a content; zeroed: its start */
    const void *chunk;
    uint64_t at, chunk_at;
};
/* The bytes at c->at, as many as lie together. Advance by c->at += taken; going back costs a walk. */
enum cache_read cache_object_read(
    const struct cache_object *o, struct cache_cursor *c, struct http_text *ret);
/* To be woken when there is more than `have` bytes, or an end. False: there is already. */
bool cache_object_wait(struct cache_object *o, uint64_t have, struct cache_waiter *w);

/* Purges: return how many objects they are known to mean (those of a prefix are not counted: 0). */
uint64_t cache_purge_key(struct cache_tier *t, struct http_text key);
uint64_t cache_purge_tag(struct cache_tier *t, struct http_text tag);
/* Keys that begin so: cache_key_format() of a host and the beginning of a path. */
uint64_t cache_purge_prefix(struct cache_tier *t, struct http_text prefix);
uint64_t cache_purge_all(struct cache_tier *t);
/* Looks at some objects and frees what was purged. Returns how many it freed. */
unsigned cache_tier_sweep(struct cache_tier *t, unsigned buckets);

struct cache_figures {
    uint64_t bytes, objects, tags;
    uint64_t evictions, purged, collapsed, refused;
};
void cache_tier_figures(struct cache_tier *t, struct cache_figures *ret);
