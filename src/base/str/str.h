/* SPDX-License-Identifier: Apache-2.0 */
/* A growable string: `buf` is always NUL-terminated (also when empty), may hold NULs, `len`
 * excludes the terminator. Start with STR_INIT or zeroed memory. Growth aborts on out of memory;
 * whoever appends what a peer sent limits it first. Plus the few C string helpers that everybody
 * needs. */
#pragma once

#include "base/util/util.h"

#include <stdarg.h>

struct str {
    char *buf;
    size_t len;
    size_t cap;
};
#define STR_INIT ((struct str){0})

void str_done(struct str *s);
/* From here on every buffer is wiped before it is given back, also when it grows: for processes
 * whose messages carry secrets. Never undone. */
void str_wipe_freed(void);
void str_clear(struct str *s); /* keeps the memory */
void str_reserve(struct str *s, size_t extra);
void str_add(struct str *s, const char *text);
void str_add_mem(struct str *s, const void *ptr, size_t len);
void str_add_ch(struct str *s, char c);
void str_addf(struct str *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void str_addv(struct str *s, const char *fmt, va_list ap);
char *str_steal(struct str *s); /* heap string, never NULL; *s becomes empty */
const char *str_cstr(const struct str *s);
#define _cleanup_str_ _cleanup_(str_done)

/* Copies into dst[size], always terminated. Returns false when it did not fit (dst then holds the
 * start). */
bool str_copy(char *dst, size_t size, const char *src);
/* Length of the UTF-8 sequence at s, its character in *ret; 0: none there (RFC 3629: no overlong
 * forms, no surrogates). */
size_t str_utf8_next(const char *s, size_t left, uint32_t *ret);
/* The most of at most `max` bytes of s that does not cut a UTF-8 character. */
size_t str_utf8_cut(const char *s, size_t max);
bool str_eq(const char *a, const char *b); /* NULL equals NULL only */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* Decimal, whole string, no sign or blanks. Returns false on anything else or over `max`. */
bool str_to_u64(const char *s, uint64_t max, uint64_t *ret);
/* Levenshtein distance, at most 64 bytes of each; used for "did you mean". */
size_t str_distance(const char *a, const char *b);
/* The nearest of `n` names if it is near enough to be a slip (distance <= 2, or a third of the
 * word), else NULL. */
const char *str_nearest(const char *word, const char *const *names, size_t n);
/* Comparison in time that depends on `len` only. */
bool str_mem_eq_const(const void *a, const void *b, size_t len);
