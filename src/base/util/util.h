/* SPDX-License-Identifier: Apache-2.0 */
/* What every file may use: cleanup attributes, assertions that stay on, array and pointer helpers.
 * ASSERT is for bugs: it prints and aborts the process, whose parent restarts it. Bad input is
 * never an assert. xmalloc and friends abort when memory is out; anything sized by a peer or a file
 * goes through a limit first. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_CHECK __attribute__((warn_unused_result))

#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            util_assert_failed(#cond, __FILE__, __LINE__, __func__);                               \
    } while (0)

_Noreturn void util_assert_failed(const char *cond, const char *file, int line, const char *func);

/* Abort on out of memory. */
void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *ptr, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((returns_nonnull));
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((returns_nonnull));

/* Grows `*arr` (elements of `size` bytes) so that one more fits behind `len`. Returns the new slot,
 * zeroed. */
void *util_grow(void **arr, size_t *len, size_t *cap, size_t size) __attribute__((returns_nonnull));
#define GROW(arr, len, cap)                                                                        \
    ((__typeof__(arr))util_grow((void **)&(arr), &(len), &(cap), sizeof(*(arr))))

#define _cleanup_(f) __attribute__((cleanup(f)))
static inline void util_free_p(void *p)
{
    free(*(void **)p);
}
static inline void util_close_p(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define _cleanup_free_ _cleanup_(util_free_p)
#define _cleanup_close_ _cleanup_(util_close_p)

static inline int util_steal_fd(int *fd)
{
    int r = *fd;
    *fd = -1;
    return r;
}
static inline void *util_steal_ptr(void *pp)
{
    void *r = *(void **)pp;
    *(void **)pp = NULL;
    return r;
}
