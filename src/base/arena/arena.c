/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena/arena.h"

#include <stdarg.h>

#define ALIGN 16u
#define DEFAULT_CHUNK (16u * 1024)

struct chunk {
    struct chunk *next;
    size_t size;
    _Alignas(ALIGN) unsigned char data[];
};

struct arena {
    struct chunk *head; /* the chunk being filled */
    size_t used;        /* of head */
    size_t chunk_bytes;
    size_t total;
};

struct arena *arena_new(size_t chunk_bytes)
{
    struct arena *a = xcalloc(1, sizeof *a);
    a->chunk_bytes = chunk_bytes ? chunk_bytes : DEFAULT_CHUNK;
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    for (struct chunk *c = a->head, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(a);
}

static struct chunk *add_chunk(struct arena *a, size_t size)
{
    struct chunk *c = xcalloc(1, sizeof *c + size);
    c->size = size;
    a->total += sizeof *c + size;
    return c;
}

void *arena_alloc(struct arena *a, size_t size)
{
    ASSERT(size < SIZE_MAX / 2);
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (a->head && size <= a->head->size - a->used) {
        void *p = a->head->data + a->used;
        a->used += size;
        return p;
    }
    if (a->head && size > a->chunk_bytes / 4) { /* large: own chunk behind the one being filled */
        struct chunk *c = add_chunk(a, size);
        c->next = a->head->next;
        a->head->next = c;
        return c->data;
    }
    struct chunk *c = add_chunk(a, MAX(size, a->chunk_bytes));
    c->next = a->head;
    a->head = c;
    a->used = size;
    return c->data;
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
    char *p = arena_alloc(a, len + 1);
    memcpy(p, s, len);
    return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

size_t arena_bytes(const struct arena *a)
{
    return a->total;
}
