/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-2-4 (Aumasson, Bernstein 2012) with a key of this process: keys, variants and tags are a peer's to choose.
 * And chained tables of it. HOT PATH. */
#include "service/cache/priv.h"

#include <string.h>

static uint64_t rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static void mix(uint64_t v[4], unsigned rounds)
{
    while (rounds--) {
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
    }
}

uint64_t cache_hash(const uint64_t key[2], const void *p, size_t len)
{
    const char *in = p;
    uint64_t word, v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                       key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    size_t left = len;
    for (; left >= 8; left -= 8, in += 8) {
        memcpy(&word, in, 8);
        v[3] ^= word;
        mix(v, 2);
        v[0] ^= word;
    }
    word = 0;
    if (left)
        memcpy(&word, in, left);
    word |= (uint64_t)len << 56;
    v[3] ^= word;
    mix(v, 2);
    v[0] ^= word;
    v[2] ^= 0xff;
    mix(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void grow(struct table *t)
{
    size_t cap = t->cap ? t->cap * 2 : 64;
    struct node **v = xcalloc(cap, sizeof(struct node *)), *next;
    for (size_t i = 0; i < t->cap; i++)
        for (struct node *n = t->v[i]; n; n = next) {
            next = n->next;
            n->next = v[n->hash & (cap - 1)];
            v[n->hash & (cap - 1)] = n;
        }
    free(t->v);
    t->v = v;
    t->cap = cap;
}

void table_put(struct table *t, struct node *n)
{
    if (t->n >= t->cap)
        grow(t);
    struct node **at = &t->v[n->hash & (t->cap - 1)];
    n->next = *at;
    *at = n;
    t->n++;
}

void table_remove(struct table *t, struct node *n)
{
    struct node **at = &t->v[n->hash & (t->cap - 1)];
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    t->n--;
}

struct node *table_first(const struct table *t, uint64_t hash)
{
    return t->cap ? t->v[hash & (t->cap - 1)] : NULL;
}
