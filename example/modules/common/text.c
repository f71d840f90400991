/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct span span_of(const char *text)
{
    return (struct span){text, strlen(text)};
}

bool span_equal(struct span a, const char *text)
{
    return a.n == strlen(text) && memcmp(a.p, text, a.n) == 0;
}

bool span_equal_nocase(struct span a, const char *text)
{
    return a.n == strlen(text) && strncasecmp(a.p, text, a.n) == 0;
}

bool span_starts(struct span a, struct span prefix)
{
    return a.n >= prefix.n && memcmp(a.p, prefix.p, prefix.n) == 0;
}

long long span_int(struct span text, long long max)
{
    long long value = 0;
    /* 15 digits keep the sum far from overflow. */
    if (text.n == 0 || text.n > 15)
        return -1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -1;
        value = value * 10 + (text.p[i] - '0');
    }
    return value <= max ? value : -1;
}

long long query_int(struct span query, const char *name, long long max, long long fallback)
{
    size_t name_n = strlen(name);
    while (query.n > 0) {
        const char *end = memchr(query.p, '&', query.n);
        size_t n = end ? (size_t)(end - query.p) : query.n;
        if (n > name_n && query.p[name_n] == '=' && memcmp(query.p, name, name_n) == 0)
            return span_int((struct span){query.p + name_n + 1, n - name_n - 1}, max);
        size_t step = end ? n + 1 : n;
        query = (struct span){query.p + step, query.n - step};
    }
    return fallback;
}

void buf_add(struct buf *b, struct span text)
{
    if (b->full || text.n > b->cap - b->n) {
        b->full = true;
        return;
    }
    memcpy(b->p + b->n, text.p, text.n);
    b->n += text.n;
}

void buf_printf(struct buf *b, const char *format, ...)
{
    if (b->full)
        return;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(b->p + b->n, b->cap - b->n, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= b->cap - b->n)
        b->full = true;
    else
        b->n += (size_t)n;
}
