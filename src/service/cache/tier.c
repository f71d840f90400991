/* SPDX-License-Identifier: Apache-2.0 */
/* The tier as a whole: its beginning, its end, its figures. */
#include "service/cache/priv.h"

#include "base/rnd/rnd.h"

#include <string.h>

#define WAITERS_MAX 1000u
#define PASS_MS                                                                                    \
    120000u /* as long as Varnish remembers them: long enough to help, short enough to forget */

void tier_lock(struct shard *s)
{
    pthread_mutex_lock(&s->lock);
}

void tier_unlock(struct shard *s)
{
    pthread_mutex_unlock(&s->lock);
}

struct cache_tier *cache_tier_new(const struct cache_tier_config *config)
{
    struct cache_tier *t = aligned_alloc(64, (sizeof *t + 63) & ~63ul);
    ASSERT(t);
    memset(t, 0, sizeof *t);
    t->config = *config;
    if (!t->config.object_max)
        t->config.object_max = config->limit_bytes / 8;
    if (!t->config.waiters_max)
        t->config.waiters_max = WAITERS_MAX;
    if (!t->config.pass_ms)
        t->config.pass_ms = PASS_MS;
    rnd_bytes(t->key, sizeof t->key);
    atomic_init(&t->seq, 1);
    /* As many ghosts as objects of 16 KiB fit, 8 bytes each. */
    for (t->n_ghosts = 64;
         t->n_ghosts < 65536 && t->n_ghosts * SHARDS * 16384 < config->limit_bytes;)
        t->n_ghosts *= 2;
    pthread_mutex_init(&t->tags_lock, NULL);
    pthread_mutex_init(&t->purge_lock, NULL);
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &t->shards[i];
        pthread_mutex_init(&s->lock, NULL);
        s->ghosts = xcalloc(t->n_ghosts, sizeof *s->ghosts);
        s->passes = xcalloc(PASSES, sizeof *s->passes);
    }
    return t;
}

static void shard_free(struct shard *s)
{
    while (s->small.oldest || s->main.oldest) {
        struct cache_object *o = s->small.oldest ? s->small.oldest : s->main.oldest;
        object_remove(s, o);
        cache_object_unref(o);
    }
    ASSERT(s->pages.n == 0 && s->objects.n == 0);
    free(s->pages.v);
    free(s->objects.v);
    free(s->ghosts);
    free(s->passes);
    pthread_mutex_destroy(&s->lock);
}

void cache_tier_free(struct cache_tier *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < SHARDS; i++)
        shard_free(&t->shards[i]);
    for (size_t i = 0; i < PREFIXES; i++)
        free(t->prefixes[i].text);
    ASSERT(t->tags.n == 0 && atomic_load(&t->bytes) == 0);
    free(t->tags.v);
    pthread_mutex_destroy(&t->tags_lock);
    pthread_mutex_destroy(&t->purge_lock);
    free(t);
}

void cache_tier_figures(struct cache_tier *t, struct cache_figures *ret)
{
    *ret = (struct cache_figures){.bytes = atomic_load(&t->bytes)};
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &t->shards[i];
        tier_lock(s);
        ret->objects += s->objects.n;
        ret->evictions += s->evictions;
        ret->purged += s->purged;
        ret->collapsed += s->collapsed;
        ret->refused += s->refused;
        tier_unlock(s);
    }
    pthread_mutex_lock(&t->tags_lock);
    ret->tags = t->tags.n;
    pthread_mutex_unlock(&t->tags_lock);
}
