/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Memory of a thread's HTTP/2 sessions: blocks in powers of two, kept when they are given
 * back, so that streams come and go without the system's allocator. */
#include "net/http/priv.h"

#include <stddef.h>

#define SMALLEST_LOG2 6u         /* 64 bytes */
#define KEPT_BYTES (256u * 1024) /* of each size */

struct block {
    struct block *next;
    size_t size_class; /* H2_MEM_CLASSES: not kept */
};
#define HEAD_BYTES ((sizeof(struct block) + 15u) & ~(size_t)15)

static size_t class_of(size_t bytes)
{
    size_t class = 0;
    while (class < H2_MEM_CLASSES && ((size_t)1 << (SMALLEST_LOG2 + class)) < bytes)
        class ++;
    return class;
}

static void *take(size_t size, void *user)
{
    struct thread *t = user;
    size_t class = class_of(size + HEAD_BYTES);
    struct block *b = class < H2_MEM_CLASSES ? t->h2_free[class] : NULL;
    if (b) {
        t->h2_free[class] = b->next;
        t->h2_kept[class]--;
    } else {
        b = xmalloc(
            class < H2_MEM_CLASSES ? (size_t)1 << (SMALLEST_LOG2 + class) : size + HEAD_BYTES);
        b->size_class = class;
    }
    b->next = (struct block *)size; /* how much of it counts, while it is in use */
    return (char *)b + HEAD_BYTES;
}

static void give_back(void *p, void *user)
{
    struct thread *t = user;
    if (!p)
        return;
    struct block *b = (struct block *)((char *)p - HEAD_BYTES);
    size_t class = b->size_class;
    if (class == H2_MEM_CLASSES || t->h2_kept[class] >= KEPT_BYTES >> (SMALLEST_LOG2 + class)) {
        free(b);
        return;
    }
    b->next = t->h2_free[class];
    t->h2_free[class] = b;
    t->h2_kept[class]++;
}

static void *take_zeroed(size_t n, size_t size, void *user)
{
    ASSERT(!size || n <= SIZE_MAX / 2 / size);
    return memset(take(n * size, user), 0, n * size);
}

static void *resize(void *p, size_t size, void *user)
{
    void *fresh = take(size, user);
    if (!p)
        return fresh;
    const struct block *b = (struct block *)((char *)p - HEAD_BYTES);
    memcpy(fresh, p, MIN((size_t)b->next, size));
    give_back(p, user);
    return fresh;
}

nghttp2_mem *http_h2_mem(struct thread *t)
{
    t->h2_mem = (nghttp2_mem){t, take, give_back, take_zeroed, resize};
    return &t->h2_mem;
}

void http_h2_mem_done(struct thread *t)
{
    for (size_t i = 0; i < H2_MEM_CLASSES; i++)
        for (struct block *b = t->h2_free[i], *next; b; b = next) {
            next = b->next;
            free(b);
        }
}
