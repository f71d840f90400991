/* SPDX-License-Identifier: Apache-2.0 */
/* Text without terminators (struct span) and text of bounded size being written (struct buf).
 * A buf never grows and never overflows: what does not fit sets `full`, and the caller answers 500.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct span {
    const char *p;
    size_t n;
};

struct buf {
    char *p;
    size_t n, cap;
    bool full;
};

#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})

struct span span_of(const char *text);
bool span_equal(struct span a, const char *text);
bool span_equal_nocase(struct span a, const char *text);
bool span_starts(struct span a, struct span prefix);

int hex_digit(char c); /* its value, or -1 */

/* The decimal integer, or -1 when malformed or over `max`. */
long long span_int(struct span text, long long max);

/* The integer of `name` in a query string; `fallback` when absent, -1 when malformed or over `max`.
 */
long long query_int(struct span query, const char *name, long long max, long long fallback);

/* The value of `name`, its %XX decoded: 1; 0 when absent, -1 when malformed or too long. ret is
 * terminated. */
int query_text(struct span query, const char *name, char *ret, size_t size);

void buf_add(struct buf *b, struct span text);
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *b, const char *format, ...);
