/* SPDX-License-Identifier: Apache-2.0 */
/* Fetches: one for many. Whoever holds the fill acts; who waits is woken under the shard's lock. */
#include "service/cache/priv.h"

#include <string.h>

static struct shard *shard(const struct cache_fill *f)
{
    return &f->tier->shards[f->shard];
}

static struct http_text put(char **at, struct http_text t)
{
    struct http_text r = {*at, t.len};
    if (t.len)
        memcpy(*at, t.p, t.len);
    *at += t.len;
    return r;
}

/* Takes over the reference to `body`, also when there is no room. */
static struct cache_object *object_new(
    struct cache_fill *f, const struct cache_storing *st, struct http_text head, struct body *body)
{
    struct http_text vary = {st->vary, st->vary_len}, variant = {st->variant, st->variant_len};
    size_t texts = head.len + st->etag.len + st->modified.len + vary.len + variant.len;
    size_t bytes = sizeof(struct cache_object) + texts + OVERHEAD;
    bytes += sizeof(struct page) + f->page->key_len + vary.len + OVERHEAD;
    for (size_t i = 0; i < st->n_tags; i++)
        bytes += sizeof(struct tag *) + sizeof(struct tag) + st->tags[i].len + OVERHEAD;
    if (!tier_reserve(f->tier, bytes)) {
        body_unref(body);
        return NULL;
    }
    struct cache_object *o = xcalloc(1, sizeof *o + texts);
    char *at = o->data;
    atomic_init(&o->refs, 1);
    o->tier = f->tier;
    o->bytes = bytes;
    o->body = body;
    o->meta = st->meta;
    o->seq = o->checked = f->seq;
    o->head = put(&at, head);
    o->stored = (struct cache_stored){.meta = &o->meta,
        .etag = put(&at, st->etag),
        .modified = put(&at, st->modified),
        .vary = put(&at, vary),
        .variant = put(&at, variant),
        .size = body->expected == UINT64_MAX ? 0 : body->expected};
    o->node.hash = variant_hash(f->tier, f->page, o->stored.vary, o->stored.variant);
    o->tags = st->n_tags ? xcalloc(st->n_tags, sizeof(struct tag *)) : NULL;
    for (; o->n_tags < st->n_tags; o->n_tags++)
        o->tags[o->n_tags] = tag_ref(f->tier, st->tags[o->n_tags], o->seq);
    return o;
}

static void object_free(struct cache_object *o)
{
    struct cache_tier *t = o->tier;
    for (size_t i = 0; i < o->n_tags; i++)
        tag_unref(t, o->tags[i], o->seq);
    free(o->tags);
    body_unref(o->body);
    tier_release(t, o->bytes);
    free(o);
}

void cache_object_ref(struct cache_object *o)
{
    atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
}

void cache_object_unref(struct cache_object *o)
{
    if (o && atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1)
        object_free(o);
}

/* The list of Vary comes first in the page's; the one that was not used for longest leaves. */
static void page_note_vary(struct page *p, struct http_text vary)
{
    size_t at = 0;
    while (at < VARY_LISTS - 1 && p->vary[at]
           && (strlen(p->vary[at]) != vary.len || memcmp(p->vary[at], vary.p, vary.len) != 0))
        at++;
    char *text = p->vary[at];
    if (!text || strlen(text) != vary.len || memcmp(text, vary.p, vary.len) != 0) {
        free(text);
        text = xcalloc(1, vary.len + 1);
        if (vary.len)
            memcpy(text, vary.p, vary.len);
    }
    memmove(&p->vary[1], &p->vary[0], at * sizeof p->vary[0]);
    p->vary[0] = text;
}

static struct cache_waiter *pop(struct cache_fill *f)
{
    struct cache_waiter *w = f->waiters;
    if (!w)
        return NULL;
    f->waiters = w->next;
    if (w->next)
        w->next->back = &f->waiters;
    else
        f->waiters_end = &f->waiters;
    f->n_waiters--;
    w->back = NULL;
    w->fill = NULL;
    return w;
}

static void wake_all(struct cache_fill *f, enum cache_wake kind, struct cache_object *o)
{
    for (struct cache_waiter *w; (w = pop(f));) {
        w->kind = kind;
        w->object = o;
        if (o)
            cache_object_ref(o);
        w->wake(w);
    }
}

bool cache_waiter_cancel(struct cache_waiter *w)
{
    if (!w->tier)
        return false;
    struct shard *s = &w->tier->shards[w->shard];
    tier_lock(s);
    bool waits = w->back;
    if (waits) {
        *w->back = w->next;
        if (w->next)
            w->next->back = w->back;
        else if (w->fill)
            w->fill->waiters_end = w->back;
        if (w->fill)
            w->fill->n_waiters--;
        w->back = NULL;
        w->fill = NULL;
    }
    tier_unlock(s);
    return waits;
}

bool cache_fill_begin(struct cache_fill *f, const struct cache_storing *st, struct http_text head,
    uint64_t expected, struct cache_object **ret)
{
    ASSERT(!f->object);
    if (head.len > HEAD_MAX || (expected != UINT64_MAX && expected > f->tier->config.object_max))
        return false;
    struct body *body = body_new(f->tier, f->shard, expected);
    struct cache_object *o = body ? object_new(f, st, head, body) : NULL;
    if (!o)
        return false;
    tier_lock(shard(f));
    f->object = o;
    f->id = o->node.hash; /* that is what who comes now looks for */
    page_note_vary(f->page, o->stored.vary);
    struct pass *pass = &shard(f)->passes[f->page->node.hash % PASSES];
    if (pass->hash == f->page->node.hash)
        pass->until_ms = 0;
    wake_all(f, CACHE_WAKE_OBJECT, o);
    tier_unlock(shard(f));
    *ret = o;
    return true;
}

bool cache_fill_append(struct cache_fill *f, const void *data, size_t len)
{
    struct body *b = f->object->body;
    bool ok = body_append(b, data, len);
    tier_lock(shard(f));
    if (b->readers)
        body_wake(b);
    tier_unlock(shard(f));
    return ok;
}

static void fill_free(struct cache_fill *f) /* under the shard's lock */
{
    struct cache_fill **at = &f->page->fills;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    page_drop(shard(f), f->page);
    free(f);
}

/* Into the index, in the place of the one with the same variant, which is returned. A purge since the fetch began,
 * of what it is or of a tag that nobody had, keeps it out. Takes a reference for the index. */
static struct cache_object *insert(struct cache_fill *f, struct cache_object *o)
{
    struct shard *s = shard(f);
    struct page *p = f->page;
    struct cache_object *old = object_find(s, p, o->node.hash, o->stored.vary, o->stored.variant);
    if (old)
        object_remove(s, old);
    if (object_dead(o, p) || o->seq < atomic_load(&f->tier->unknown_tag))
        return old;
    cache_object_ref(o);
    o->page = p;
    o->indexed = true;
    o->page_next = p->objects;
    o->page_back = &p->objects;
    if (p->objects)
        p->objects->page_back = &o->page_next;
    p->objects = o;
    p->n_objects++;
    table_put(&s->objects, &o->node);
    evict_insert(f->tier, s, o);
    return old;
}

void cache_fill_done(struct cache_fill *f)
{
    struct cache_object *o = f->object, *old;
    struct body *b = o->body;
    uint64_t size = atomic_load(&b->size);
    if (b->expected != UINT64_MAX && size != b->expected) {
        cache_fill_abort(f); /* less or more than was announced is not the whole */
        return;
    }
    struct shard *s = shard(f);
    tier_lock(s);
    if (b->expected == UINT64_MAX)
        o->stored.size = size;
    atomic_store_explicit(&b->state, BODY_WHOLE, memory_order_release);
    old = insert(f, o);
    body_wake(b);
    fill_free(f);
    tier_unlock(s);
    cache_object_unref(old);
    cache_object_unref(o);
}

bool cache_fill_freshen(struct cache_fill *f, struct cache_object *old,
    const struct cache_storing *st, struct http_text head, struct cache_object **ret)
{
    struct shard *s = shard(f);
    if (head.len > HEAD_MAX)
        return false;
    atomic_fetch_add(&old->body->refs, 1);
    struct cache_object *o = object_new(f, st, head, old->body), *replaced;
    if (!o)
        return false;
    o->stored.size = atomic_load(&old->body->size);
    tier_lock(s);
    page_note_vary(f->page, o->stored.vary);
    replaced = insert(f, o);
    wake_all(f, CACHE_WAKE_OBJECT, o);
    fill_free(f);
    tier_unlock(s);
    cache_object_unref(replaced);
    *ret = o;
    return true;
}

void cache_fill_give(struct cache_fill *f, struct cache_object *o)
{
    struct shard *s = shard(f);
    tier_lock(s);
    wake_all(f, CACHE_WAKE_OBJECT, o);
    fill_free(f);
    tier_unlock(s);
}

void cache_fill_pass(struct cache_fill *f, int64_t now_ms)
{
    struct shard *s = shard(f);
    uint64_t hash = f->page->node.hash;
    if (f->object) {
        cache_fill_abort(f);
        return;
    }
    tier_lock(s);
    s->passes[hash % PASSES] = (struct pass){hash, now_ms + f->tier->config.pass_ms};
    wake_all(f, CACHE_WAKE_PASS, NULL);
    fill_free(f);
    tier_unlock(s);
}

void cache_fill_abort(struct cache_fill *f)
{
    struct shard *s = shard(f);
    struct cache_object *o = f->object;
    tier_lock(s);
    struct cache_waiter *w = o ? NULL : pop(f);
    if (w) {
        f->seq = atomic_load(&f->tier->seq); /* the fetch begins anew */
        w->kind = CACHE_WAKE_FILL;
        w->fill = f;
        w->wake(w);
    } else {
        if (o) {
            atomic_store_explicit(&o->body->state, BODY_FAILED, memory_order_release);
            body_wake(o->body);
        }
        fill_free(f);
    }
    tier_unlock(s);
    cache_object_unref(o);
}

const struct cache_stored *cache_object_stored(const struct cache_object *o)
{
    return &o->stored;
}

struct http_text cache_object_head(const struct cache_object *o)
{
    return o->head;
}

uint64_t cache_object_expected(const struct cache_object *o)
{
    return atomic_load_explicit(&o->body->state, memory_order_acquire) == BODY_WHOLE
               ? atomic_load(&o->body->size)
               : o->body->expected;
}

bool cache_object_fits(const struct cache_object *o, const struct cache_request *q)
{
    char buf[CACHE_VARIANT_BYTES];
    struct http_out out = {.p = buf, .cap = sizeof buf};
    return cache_variant_format(o->stored.vary, q->fields, &out)
           && fields_same(o->stored.variant, (struct http_text){out.p, out.len});
}
