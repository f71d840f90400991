/* SPDX-License-Identifier: Apache-2.0 */
/* Memory whose lives end together: allocate many, free once. Aligned to 16 bytes, zeroed. Aborts on
 * out of memory. Not thread safe: an arena belongs to one thread at a time. */
#pragma once

#include "base/util/util.h"

struct arena;

struct arena *arena_new(size_t chunk_bytes); /* 0: a default of 16 KiB */
void arena_free(struct arena *a);            /* NULL is fine */
void *arena_alloc(struct arena *a, size_t size) __attribute__((malloc, returns_nonnull));
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t len);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
size_t arena_bytes(const struct arena *a); /* allocated from the system */
static inline void arena_free_p(struct arena **a)
{
    arena_free(*a);
}
#define _cleanup_arena_ _cleanup_(arena_free_p)
