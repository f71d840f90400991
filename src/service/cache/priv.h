/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the memory tier. Locks, outer first: shard, purge, tags. Sequence numbers: an object
 * carries the number that held when its fetch began, a purge marks what it means with the next number and then makes
 * that the current one. What carries less than a mark is dead. */
#pragma once

#include "service/cache/cache.h"

#include <pthread.h>

#define SHARDS 64u
#define VARY_LISTS 4u /* different Vary lists of one key; the newest stay */
#define CHUNK_BYTES 16384u
#define PREFIXES 1024u /* purges by prefix that are remembered one by one */
#define PASSES 1024u   /* responses that may not be stored, a shard */
#define OVERHEAD 32u   /* of an allocation and of its slot in a table, about */
#define HEAD_MAX 65536u

struct node { /* of a hash table */
    struct node *next;
    uint64_t hash;
};
struct table {
    struct node **v;
    size_t n, cap;
};
uint64_t cache_hash(const uint64_t key[2], const void *p, size_t len); /* SipHash-2-4 */
void table_put(struct table *t, struct node *n);
void table_remove(struct table *t, struct node *n);
struct node *table_first(const struct table *t, uint64_t hash); /* of that bucket; compare hashes */

struct chunk {
    struct chunk *_Atomic next;
    uint32_t cap;
    uint32_t len; /* written before body.size */
    char data[];
};
struct body {
    _Atomic unsigned refs;
    struct cache_tier *tier;
    struct chunk *_Atomic first;
    struct chunk *last;
    _Atomic uint64_t size;
    _Atomic int state; /* enum body_state */
    uint64_t expected;
    struct cache_waiter *readers; /* under the shard's lock */
    unsigned shard;
};
enum body_state { BODY_COMING, BODY_WHOLE, BODY_FAILED };

struct tag {
    struct node node;
    _Atomic uint64_t purged;
    uint64_t refs, live; /* live: of objects that no purge of this tag has met */
    uint32_t len;
    char text[];
};

struct page { /* a key: exists while it has objects or fills */
    struct node node;
    uint64_t purged;
    struct cache_fill *fills;
    struct cache_object *objects; /* by page_next */
    size_t n_objects;
    char *vary[VARY_LISTS]; /* newest first; "" is one, too */
    uint32_t key_len;
    char key[];
};

struct cache_object {
    struct node node;
    _Atomic unsigned refs;
    struct cache_tier *tier;
    struct page *page; /* while it is in the index */
    struct cache_object *page_next, **page_back;
    struct cache_object *newer, *older; /* of its queue */
    struct body *body;
    struct cache_meta meta;
    struct cache_stored stored;
    struct http_text head;
    struct tag **tags;
    size_t n_tags;
    size_t bytes; /* accounted for it, without body */
    uint64_t queued_bytes;
    uint64_t seq, checked;
    uint8_t frequency;
    bool in_main, indexed;
    char data[];
};

struct cache_fill {
    struct cache_fill *next;
    struct cache_tier *tier;
    struct page *page;
    unsigned shard;
    uint64_t id, seq;
    struct cache_waiter *waiters, **waiters_end;
    unsigned n_waiters;
    struct cache_object *object; /* since begin; a reference */
};

struct queue {
    struct cache_object *newest, *oldest;
};
struct ghost {
    uint32_t print;
    uint32_t at; /* number of the eviction */
};
struct pass {
    uint64_t hash;
    int64_t until_ms;
};
struct shard {
    pthread_mutex_t lock;
    struct table pages, objects;
    struct queue small, main;
    struct ghost *ghosts;
    uint32_t evicted;
    struct pass *passes;
    uint64_t evictions, purged, collapsed, refused;
    size_t swept; /* the bucket that comes next */
} __attribute__((aligned(64)));

struct cache_tier {
    struct cache_tier_config config;
    uint64_t key[2];
    struct shard shards[SHARDS];
    _Atomic uint64_t bytes, small_bytes, seq, purged_all, prefixed, unknown_tag;
    _Atomic uint32_t hand; /* the shard that gives next */
    size_t n_ghosts;       /* of a shard; a power of two */
    pthread_mutex_t tags_lock;
    struct table tags;
    pthread_mutex_t purge_lock;
    struct prefix {
        uint64_t seq;
        char *text;
        size_t len;
    } prefixes[PREFIXES];
    size_t n_prefixes; /* so far; the ring holds the last ones */
    uint64_t prefix_floor;
};

static inline unsigned shard_of(uint64_t hash)
{
    return (unsigned)(hash >> 58); /* SHARDS of them; buckets take the low bits */
}
void tier_lock(struct shard *s);
void tier_unlock(struct shard *s);

/* body.c */
struct body *body_new(struct cache_tier *t, unsigned shard, uint64_t expected);
bool body_append(struct body *b, const char *data, size_t len);
void body_unref(struct body *b);
void body_wake(struct body *b); /* under the shard's lock */

/* evict.c */
bool tier_reserve(
    struct cache_tier *t, uint64_t bytes); /* takes it, evicting; no shard is locked */
void tier_release(struct cache_tier *t, uint64_t bytes);
void evict_insert(struct cache_tier *t, struct shard *s, struct cache_object *o);
void evict_forget(struct shard *s, struct cache_object *o);

/* tags.c */
struct tag *tag_ref(struct cache_tier *t, struct http_text text, uint64_t seq);
void tag_unref(struct cache_tier *t, struct tag *tag, uint64_t seq);
uint64_t tag_mark(struct cache_tier *t, struct http_text text, uint64_t seq);

/* lookup.c; under the shard's lock */
struct page *page_find(struct cache_tier *t, struct shard *s, uint64_t hash, struct http_text key);
struct cache_object *object_find(struct shard *s, const struct page *p, uint64_t hash,
    struct http_text vary, struct http_text variant);
void page_drop(struct shard *s, struct page *p); /* frees it when nothing is left */
uint64_t variant_hash(const struct cache_tier *t, const struct page *p, struct http_text vary,
    struct http_text variant);

/* purge.c; under the shard's lock */
bool object_dead(struct cache_object *o, const struct page *p);
/* Out of the index; the index's reference is the caller's to drop. */
void object_remove(struct shard *s, struct cache_object *o);
