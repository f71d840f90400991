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

static bool query_find(struct span query, const char *name, struct span *ret)
{
    size_t name_n = strlen(name);
    while (query.n > 0) {
        const char *end = memchr(query.p, '&', query.n);
        size_t n = end ? (size_t)(end - query.p) : query.n;
        if (n > name_n && query.p[name_n] == '=' && memcmp(query.p, name, name_n) == 0) {
            *ret = (struct span){query.p + name_n + 1, n - name_n - 1};
            return true;
        }
        size_t step = end ? n + 1 : n;
        query = (struct span){query.p + step, query.n - step};
    }
    return false;
}

long long query_int(struct span query, const char *name, long long max, long long fallback)
{
    struct span value;
    return query_find(query, name, &value) ? span_int(value, max) : fallback;
}

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int query_text(struct span query, const char *name, char *ret, size_t size)
{
    struct span value;
    size_t n = 0;
    if (!query_find(query, name, &value))
        return 0;
    for (size_t i = 0; i < value.n; i++) {
        int c = (unsigned char)value.p[i];
        if (c == '%') {
            int high = i + 2 < value.n ? hex_digit(value.p[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(value.p[i + 2]) : -1;
            c = high * 16 + low;
            if (low < 0 || c == 0)
                return -1;
            i += 2;
        }
        if (n + 1 >= size)
            return -1;
        ret[n++] = (char)c;
    }
    ret[n] = 0;
    return 1;
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
