/* SPDX-License-Identifier: Apache-2.0 */
/* From a key to what is to be done. One look-up for the key, one for each list of Vary that it has had. HOT PATH. */
#include "service/cache/priv.h"

#include <string.h>

struct page *page_find(struct cache_tier *t, struct shard *s, uint64_t hash, struct http_text key)
{
    for (struct node *n = table_first(&s->pages, hash); n; n = n->next) {
        struct page *p = CONTAINER_OF(n, struct page, node);
        if (n->hash == hash && p->key_len == key.len && !memcmp(p->key, key.p, key.len))
            return p;
    }
    return NULL;
}

static struct page *page_new(struct shard *s, uint64_t hash, struct http_text key)
{
    struct page *p = xcalloc(1, sizeof *p + key.len);
    p->node.hash = hash;
    p->key_len = (uint32_t)key.len;
    memcpy(p->key, key.p, key.len);
    table_put(&s->pages, &p->node);
    return p;
}

void page_drop(struct shard *s, struct page *p)
{
    if (p->n_objects || p->fills)
        return;
    table_remove(&s->pages, &p->node);
    for (size_t i = 0; i < VARY_LISTS; i++)
        free(p->vary[i]);
    free(p);
}

uint64_t variant_hash(const struct cache_tier *t, const struct page *p, struct http_text vary,
    struct http_text variant)
{
    uint64_t key[2] = {cache_hash(t->key, vary.p, vary.len), p->node.hash};
    return cache_hash(key, variant.p, variant.len);
}

struct cache_object *object_find(struct shard *s, const struct page *p, uint64_t hash,
    struct http_text vary, struct http_text variant)
{
    for (struct node *n = table_first(&s->objects, hash); n; n = n->next) {
        struct cache_object *o = CONTAINER_OF(n, struct cache_object, node);
        if (n->hash == hash && o->page == p && fields_same(o->stored.vary, vary)
            && fields_same(o->stored.variant, variant))
            return o;
    }
    return NULL;
}

struct search {
    struct cache_stored stored[VARY_LISTS];
    struct cache_object *objects[VARY_LISTS];
    size_t n;
    struct cache_object *dead[VARY_LISTS]; /* to be dropped outside of the lock */
    size_t n_dead;
    uint64_t id; /* of a fetch for this request: by the newest list of Vary */
};

static void search(struct cache_tier *t, struct shard *s, struct page *p,
    const struct cache_request *q, struct search *ret)
{
    struct cache_object *dead[VARY_LISTS];
    size_t n_dead = 0;
    for (size_t i = 0; i < VARY_LISTS && p->vary[i]; i++) {
        char buf[CACHE_VARIANT_BYTES];
        struct http_out out = {.p = buf, .cap = sizeof buf};
        struct http_text vary = {p->vary[i], strlen(p->vary[i])};
        if (!cache_variant_format(vary, q->fields, &out))
            continue;
        struct http_text variant = {out.p, out.len};
        uint64_t hash = variant_hash(t, p, vary, variant);
        if (i == 0)
            ret->id = hash;
        struct cache_object *o = object_find(s, p, hash, vary, variant);
        if (o && object_dead(o, p)) {
            dead[n_dead++] = o;
        } else if (o) {
            ret->objects[ret->n] = o;
            ret->stored[ret->n++] = o->stored;
        }
    }
    /* At the end: with its last object the page goes, unless somebody is about to fetch. */
    p->n_objects++;
    for (size_t i = 0; i < n_dead; i++) {
        object_remove(s, dead[i]);
        ret->dead[ret->n_dead++] = dead[i];
    }
    p->n_objects--;
}

static bool is_passed(const struct shard *s, uint64_t hash, int64_t now_ms)
{
    const struct pass *x = &s->passes[hash % PASSES];
    return x->hash == hash && x->until_ms > now_ms;
}

static struct cache_fill *fill_new(
    struct cache_tier *t, struct shard *s, struct page *p, uint64_t id)
{
    struct cache_fill *f = xcalloc(1, sizeof *f);
    f->tier = t;
    f->page = p;
    f->shard = (unsigned)(s - t->shards);
    f->id = id;
    f->seq = atomic_load(&t->seq);
    f->waiters_end = &f->waiters;
    f->next = p->fills;
    p->fills = f;
    return f;
}

/* One that began after the last purge: what came from upstream before may be what was purged. */
static struct cache_fill *fill_find(const struct cache_tier *t, const struct page *p, uint64_t id)
{
    for (struct cache_fill *f = p->fills; f; f = f->next)
        if (id && f->id == id && f->seq == atomic_load(&t->seq))
            return f;
    return NULL;
}

static void wait_for(struct cache_fill *f, struct cache_waiter *w)
{
    w->tier = f->tier;
    w->shard = f->shard;
    w->fill = f;
    w->object = NULL;
    w->next = NULL;
    w->back = f->waiters_end;
    *f->waiters_end = w;
    f->waiters_end = &w->next;
    f->n_waiters++;
}

/* Somebody fetches the same: his object, if its head is there, else to wait for it. */
static void join(struct shard *s, struct cache_fill *f, const struct cache_request *q,
    struct cache_waiter *waiter, struct cache_lookup *ret)
{
    if (f->object && cache_object_fits(f->object, q)) {
        cache_object_unref(ret->object); /* never the last: the index has it */
        cache_object_ref(f->object);
        ret->object = f->object;
        ret->decision.action = CACHE_HIT;
        ret->collapsed = true;
        s->collapsed++;
    } else if (!f->object && waiter && f->n_waiters < f->tier->config.waiters_max) {
        wait_for(f, waiter);
        ret->waiting = true;
        s->collapsed++;
    } else {
        ret->passed = true;
        s->refused++;
    }
}

/* For the actions that need upstream. A fetch that nobody may join has the id 0. */
static void begin(struct cache_tier *t, struct shard *s, struct page *p,
    const struct cache_request *q, uint64_t id, int64_t now_ms, struct cache_waiter *waiter,
    struct cache_lookup *ret)
{
    bool refresh = ret->decision.action == CACHE_HIT_REFRESH;
    ret->passed = !q->get || fields_cc_has(&q->cc, FIELDS_CC_NO_STORE);
    if (ret->passed)
        return;
    bool alone = !refresh
                 && (!ret->decision.coalesce || fields_cc_has(&q->cc, FIELDS_CC_NO_CACHE)
                     || is_passed(s, p->node.hash, now_ms));
    struct cache_fill *f = alone ? NULL : fill_find(t, p, id);
    if (!f)
        ret->fill = fill_new(t, s, p, alone ? 0 : id);
    else if (!refresh)
        join(s, f, q, waiter, ret);
}

static bool needs_upstream(enum cache_action a)
{
    return a == CACHE_HIT_REFRESH || a == CACHE_REVALIDATE || a == CACHE_MISS;
}

void cache_tier_lookup(struct cache_tier *t, struct http_text key, const struct cache_request *q,
    int64_t now_ms, const struct cache_policy *policy, struct cache_waiter *waiter,
    struct cache_lookup *ret)
{
    uint64_t hash = cache_hash(t->key, key.p, key.len);
    struct shard *s = &t->shards[shard_of(hash)];
    struct search found = {.id = hash | 1}; /* of a key without responses; never 0 */
    *ret = (struct cache_lookup){0};
    tier_lock(s);
    struct page *p = page_find(t, s, hash, key);
    if (p)
        search(t, s, p, q, &found);
    cache_lookup_decide(q, found.stored, found.n, now_ms, policy, &ret->decision);
    if (ret->decision.forward == CACHE_FORWARD_URI_MISS && p && p->n_objects)
        ret->decision.forward = CACHE_FORWARD_VARY_MISS;
    if (ret->decision.stored) {
        ret->object = found.objects[ret->decision.stored - found.stored];
        ret->object->frequency = (uint8_t)MIN(ret->object->frequency + 1, 3);
        cache_object_ref(ret->object);
    }
    if (needs_upstream(ret->decision.action)) {
        if (!p)
            p = page_new(s, hash, key);
        begin(t, s, p, q, found.id, now_ms, waiter, ret);
    }
    if (p)
        page_drop(s, p);
    tier_unlock(s);
    if (ret->decision.stored || ret->object)
        ret->decision.stored = &ret->object->stored;
    for (size_t i = 0; i < found.n_dead; i++)
        cache_object_unref(found.dead[i]);
}
