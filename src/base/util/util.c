/* SPDX-License-Identifier: Apache-2.0 */
#include "base/util/util.h"

#include <stdarg.h>

_Noreturn void util_assert_failed(const char *cond, const char *file, int line, const char *func)
{
    fprintf(stderr, "assertion failed: %s at %s:%d in %s\n", cond, file, line, func);
    abort();
}

static _Noreturn void out_of_memory(void)
{
    fputs("out of memory\n", stderr);
    abort();
}

void *xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *xrealloc(void *ptr, size_t size)
{
    void *p = realloc(ptr, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

char *xstrdup(const char *s)
{
    char *p = strdup(s);
    if (!p)
        out_of_memory();
    return p;
}

char *xasprintf(const char *fmt, ...)
{
    char *p;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&p, fmt, ap) < 0)
        out_of_memory();
    va_end(ap);
    return p;
}

void *util_grow(void **arr, size_t *len, size_t *cap, size_t size)
{
    if (*len == *cap) {
        size_t want = *cap ? *cap * 2 : 8;
        ASSERT(want < SIZE_MAX / size);
        *arr = xrealloc(*arr, want * size);
        *cap = want;
    }
    void *slot = (char *)*arr + *len * size;
    memset(slot, 0, size);
    (*len)++;
    return slot;
}
