/* SPDX-License-Identifier: Apache-2.0 */
/* Tags by name; an object points to its own, so that a look-up reads marks and searches nothing. */
#include "service/cache/priv.h"

#include <string.h>

static struct tag *find(struct cache_tier *t, uint64_t hash, struct http_text text)
{
    for (struct node *n = table_first(&t->tags, hash); n; n = n->next) {
        struct tag *tag = CONTAINER_OF(n, struct tag, node);
        if (n->hash == hash && tag->len == text.len && !memcmp(tag->text, text.p, text.len))
            return tag;
    }
    return NULL;
}

/* The memory of tags is accounted with the object that has them. */
struct tag *tag_ref(struct cache_tier *t, struct http_text text, uint64_t seq)
{
    uint64_t hash = cache_hash(t->key, text.p, text.len);
    pthread_mutex_lock(&t->tags_lock);
    struct tag *tag = find(t, hash, text);
    if (!tag) {
        tag = xcalloc(1, sizeof *tag + text.len);
        tag->node.hash = hash;
        tag->len = (uint32_t)text.len;
        memcpy(tag->text, text.p, text.len);
        table_put(&t->tags, &tag->node);
    }
    tag->refs++;
    tag->live += seq >= atomic_load(&tag->purged);
    pthread_mutex_unlock(&t->tags_lock);
    return tag;
}

/* A mark that goes with its tag holds for what is on its way still. */
void tag_unref(struct cache_tier *t, struct tag *tag, uint64_t seq)
{
    pthread_mutex_lock(&t->tags_lock);
    uint64_t purged = atomic_load(&tag->purged);
    tag->live -= seq >= purged;
    if (--tag->refs == 0) {
        if (purged > atomic_load(&t->unknown_tag))
            atomic_store(&t->unknown_tag, purged);
        table_remove(&t->tags, &tag->node);
        free(tag);
    }
    pthread_mutex_unlock(&t->tags_lock);
}

uint64_t tag_mark(struct cache_tier *t, struct http_text text, uint64_t seq)
{
    uint64_t live = 0;
    pthread_mutex_lock(&t->tags_lock);
    struct tag *tag = find(t, cache_hash(t->key, text.p, text.len), text);
    if (tag) {
        live = tag->live;
        tag->live = 0;
        atomic_store(&tag->purged, seq);
    } else { /* a response that is on its way may have it */
        atomic_store(&t->unknown_tag, seq);
    }
    pthread_mutex_unlock(&t->tags_lock);
    return live;
}
