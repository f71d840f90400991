/* SPDX-License-Identifier: Apache-2.0 */
/* Purges: a mark first, then the number that makes it count; who looks later sees both (priv.h). */
#include "service/cache/priv.h"

#include <string.h>

static bool key_has_prefix(const struct page *p, const struct prefix *x)
{
    return p->key_len >= x->len && !memcmp(p->key, x->text, x->len);
}

static bool prefix_purged(struct cache_object *o, const struct page *p)
{
    struct cache_tier *t = o->tier;
    if (o->checked >= atomic_load(&t->prefixed))
        return false;
    pthread_mutex_lock(&t->purge_lock);
    bool dead = o->checked < t->prefix_floor && o->seq < t->prefix_floor; /* forgotten one by one */
    size_t held = MIN(t->n_prefixes, (size_t)PREFIXES);
    for (size_t i = 1; !dead && i <= held; i++) {
        const struct prefix *x = &t->prefixes[(t->n_prefixes - i) % PREFIXES];
        if (x->seq <= o->checked)
            break;
        dead = o->seq < x->seq && key_has_prefix(p, x);
    }
    pthread_mutex_unlock(&t->purge_lock);
    return dead;
}

bool object_dead(struct cache_object *o, const struct page *p)
{
    uint64_t now = atomic_load(&o->tier->seq);
    if (o->checked == now)
        return false;
    if (o->seq < atomic_load(&o->tier->purged_all) || o->seq < p->purged)
        return true;
    for (size_t i = 0; i < o->n_tags; i++)
        if (o->seq < atomic_load(&o->tags[i]->purged))
            return true;
    if (prefix_purged(o, p))
        return true;
    o->checked = now;
    return false;
}

void object_remove(struct shard *s, struct cache_object *o)
{
    ASSERT(o->indexed);
    struct page *p = o->page;
    table_remove(&s->objects, &o->node);
    evict_forget(s, o);
    *o->page_back = o->page_next;
    if (o->page_next)
        o->page_next->page_back = o->page_back;
    o->indexed = false;
    o->page = NULL;
    p->n_objects--;
    page_drop(s, p);
}

uint64_t cache_purge_key(struct cache_tier *t, struct http_text key)
{
    uint64_t hash = cache_hash(t->key, key.p, key.len), n = 0;
    struct shard *s = &t->shards[shard_of(hash)];
    tier_lock(s);
    pthread_mutex_lock(&t->purge_lock);
    struct page *p = page_find(t, s, hash, key);
    if (p) {
        p->purged = atomic_load(&t->seq) + 1;
        n = p->n_objects;
        atomic_fetch_add(&t->seq, 1);
    }
    pthread_mutex_unlock(&t->purge_lock);
    s->purged += n;
    tier_unlock(s);
    return n;
}

uint64_t cache_purge_tag(struct cache_tier *t, struct http_text tag)
{
    pthread_mutex_lock(&t->purge_lock);
    uint64_t n = tag_mark(t, tag, atomic_load(&t->seq) + 1);
    atomic_fetch_add(&t->seq, 1);
    pthread_mutex_unlock(&t->purge_lock);
    return n;
}

uint64_t cache_purge_prefix(struct cache_tier *t, struct http_text prefix)
{
    pthread_mutex_lock(&t->purge_lock);
    uint64_t seq = atomic_load(&t->seq) + 1;
    struct prefix *x = &t->prefixes[t->n_prefixes++ % PREFIXES];
    if (x->text)
        t->prefix_floor = x->seq;
    free(x->text);
    *x = (struct prefix){seq, xmalloc(prefix.len + 1), prefix.len};
    memcpy(x->text, prefix.p, prefix.len);
    atomic_store(&t->prefixed, seq);
    atomic_store(&t->seq, seq);
    pthread_mutex_unlock(&t->purge_lock);
    return 0;
}

uint64_t cache_purge_all(struct cache_tier *t)
{
    uint64_t n = 0;
    pthread_mutex_lock(&t->purge_lock);
    uint64_t seq = atomic_load(&t->seq) + 1;
    atomic_store(&t->purged_all, seq);
    atomic_store(&t->seq, seq);
    pthread_mutex_unlock(&t->purge_lock);
    for (size_t i = 0; i < SHARDS; i++) {
        tier_lock(&t->shards[i]);
        n += t->shards[i].objects.n;
        tier_unlock(&t->shards[i]);
    }
    return n;
}

/* One bucket's dead objects, in a list by page_next. */
static struct cache_object *sweep_bucket(struct shard *s)
{
    struct cache_object *dead = NULL;
    struct node *next;
    if (!s->objects.cap)
        return NULL;
    for (struct node *n = s->objects.v[s->swept++ & (s->objects.cap - 1)]; n; n = next) {
        struct cache_object *o = CONTAINER_OF(n, struct cache_object, node);
        next = n->next;
        if (!object_dead(o, o->page))
            continue;
        object_remove(s, o);
        o->page_next = dead;
        dead = o;
    }
    return dead;
}

unsigned cache_tier_sweep(struct cache_tier *t, unsigned buckets)
{
    unsigned freed = 0;
    for (unsigned i = 0; i < buckets; i++) {
        struct shard *s = &t->shards[atomic_fetch_add(&t->hand, 1) % SHARDS];
        tier_lock(s);
        struct cache_object *dead = sweep_bucket(s), *next;
        tier_unlock(s);
        for (; dead; dead = next, freed++) {
            next = dead->page_next;
            cache_object_unref(dead);
        }
    }
    return freed;
}
