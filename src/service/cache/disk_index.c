/* SPDX-License-Identifier: Apache-2.0 */
/* Where records lie: by key its lists of Vary, by key, list and values the newest record. */
#include "service/cache/disk_priv.h"

#include <string.h>

static uint64_t record_hash(
    const uint64_t key[2], uint64_t of_key, struct http_text vary, struct http_text variant)
{
    uint64_t inner[2] = {cache_hash(key, vary.p, vary.len), of_key};
    return cache_hash(inner, variant.p, variant.len);
}

uint64_t index_print(const struct cache_disk *d, const struct cache_record *r)
{
    return record_hash(
        d->print_key, cache_hash(d->print_key, r->key.p, r->key.len), r->vary, r->variant);
}

static struct lists *lists_find(struct cache_disk *d, uint64_t hash)
{
    for (struct node *n = table_first(&d->lists, hash); n; n = n->next)
        if (n->hash == hash)
            return CONTAINER_OF(n, struct lists, node);
    return NULL;
}

static struct record *record_find(struct cache_disk *d, uint64_t hash, uint64_t print)
{
    for (struct node *n = table_first(&d->records, hash); n; n = n->next) {
        struct record *r = CONTAINER_OF(n, struct record, node);
        if (n->hash == hash && r->print == print)
            return r;
    }
    return NULL;
}

static void lists_unref(struct cache_disk *d, struct lists *l)
{
    if (--l->refs)
        return;
    table_remove(&d->lists, &l->node);
    for (size_t i = 0; i < VARY_LISTS; i++)
        free(l->vary[i]);
    free(l);
}

static void lists_note(struct lists *l, struct http_text vary)
{
    size_t at = 0;
    while (at < VARY_LISTS && l->vary[at] && !http_text_is(vary, l->vary[at]))
        at++;
    if (at < VARY_LISTS && l->vary[at])
        return;
    at = MIN(at, (size_t)VARY_LISTS - 1);
    free(l->vary[at]);
    memmove(&l->vary[1], &l->vary[0], at * sizeof l->vary[0]);
    l->vary[0] = xcalloc(1, vary.len + 1);
    if (vary.len)
        memcpy(l->vary[0], vary.p, vary.len);
}

void segment_unref(struct segment *s)
{
    if (--s->refs)
        return;
    close(s->fd);
    free(s);
}

void index_drop(struct cache_disk *d, struct record *r)
{
    table_remove(&d->records, &r->node);
    *r->back = r->next;
    if (r->next)
        r->next->back = r->back;
    lists_unref(d, r->lists);
    free(r);
}

void index_drop_segment(struct cache_disk *d)
{
    struct segment *s = d->oldest;
    _cleanup_free_ char *path = segment_path(d, s->id);
    while (s->records)
        index_drop(d, s->records);
    d->oldest = s->next;
    if (!s->next)
        d->youngest = NULL;
    d->bytes -= s->size;
    unlink(path);
    segment_unref(s);
}

void index_put(struct cache_disk *d, struct segment *s, uint64_t at, uint64_t number,
    const struct cache_record *r)
{
    uint64_t of_key = cache_hash(d->hash_key, r->key.p, r->key.len);
    struct lists *l = lists_find(d, of_key);
    if (!l) {
        l = xcalloc(1, sizeof *l);
        l->node.hash = of_key;
        table_put(&d->lists, &l->node);
    }
    l->refs++;
    lists_note(l, r->vary);
    uint64_t hash = record_hash(d->hash_key, of_key, r->vary, r->variant),
             print = index_print(d, r);
    struct record *old = record_find(d, hash, print);
    if (old)
        index_drop(d, old);
    struct record *x = xcalloc(1, sizeof *x);
    *x = (struct record){.node.hash = hash,
        .segment = s,
        .lists = l,
        .at = at,
        .number = number,
        .print = print,
        .next = s->records,
        .back = &s->records};
    if (s->records)
        s->records->back = &x->next;
    s->records = x;
    table_put(&d->records, &x->node);
}

struct record *index_find(
    struct cache_disk *d, struct http_text key, const struct http_fields *request)
{
    uint64_t of_key = cache_hash(d->hash_key, key.p, key.len);
    struct lists *l = lists_find(d, of_key);
    struct record *best = NULL;
    for (size_t i = 0; l && i < VARY_LISTS && l->vary[i]; i++) {
        char buf[CACHE_VARIANT_BYTES];
        struct http_out out = {.p = buf, .cap = sizeof buf};
        struct cache_record r = {.key = key, .vary = {l->vary[i], strlen(l->vary[i])}};
        if (!cache_variant_format(r.vary, request, &out))
            continue;
        r.variant = (struct http_text){out.p, out.len};
        struct record *x =
            record_find(d, record_hash(d->hash_key, of_key, r.vary, r.variant), index_print(d, &r));
        if (x && (!best || x->number > best->number))
            best = x;
    }
    return best;
}
