/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str/str.h"

static bool wipes;

void str_wipe_freed(void)
{
    wipes = true;
}

/* Not realloc(), which may move and leave the old content behind. */
static char *grow_wiping(const struct str *s, size_t cap)
{
    char *buf = xmalloc(cap);
    if (s->buf) {
        memcpy(buf, s->buf, s->len);
        explicit_bzero(s->buf, s->cap);
        free(s->buf);
    }
    return buf;
}

void str_done(struct str *s)
{
    if (wipes && s->buf)
        explicit_bzero(s->buf, s->cap);
    free(s->buf);
    *s = STR_INIT;
}

void str_clear(struct str *s)
{
    s->len = 0;
    if (s->buf)
        s->buf[0] = '\0';
}

void str_reserve(struct str *s, size_t extra)
{
    ASSERT(extra < SIZE_MAX / 2 && s->len < SIZE_MAX / 2);
    size_t want = s->len + extra + 1;
    if (want <= s->cap)
        return;
    size_t cap = s->cap ? s->cap : 32;
    while (cap < want)
        cap *= 2;
    s->buf = wipes ? grow_wiping(s, cap) : xrealloc(s->buf, cap);
    s->cap = cap;
    s->buf[s->len] = '\0';
}

void str_add_mem(struct str *s, const void *ptr, size_t len)
{
    str_reserve(s, len);
    if (len)
        memcpy(s->buf + s->len, ptr, len);
    s->len += len;
    s->buf[s->len] = '\0';
}

void str_add(struct str *s, const char *text)
{
    str_add_mem(s, text, strlen(text));
}

void str_add_ch(struct str *s, char c)
{
    str_add_mem(s, &c, 1);
}

void str_addv(struct str *s, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    ASSERT(n >= 0);
    str_reserve(s, (size_t)n);
    vsnprintf(s->buf + s->len, (size_t)n + 1, fmt, again);
    va_end(again);
    s->len += (size_t)n;
}

void str_addf(struct str *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    str_addv(s, fmt, ap);
    va_end(ap);
}

char *str_steal(struct str *s)
{
    str_reserve(s, 0);
    char *r = s->buf;
    *s = STR_INIT;
    return r;
}

const char *str_cstr(const struct str *s)
{
    return s->buf ? s->buf : "";
}

bool str_copy(char *dst, size_t size, const char *src)
{
    ASSERT(size > 0);
    size_t len = strlen(src);
    size_t n = MIN(len, size - 1);
    memcpy(dst, src, n);
    dst[n] = '\0';
    return n == len;
}

size_t str_utf8_cut(const char *s, size_t max)
{
    size_t n = strnlen(s, max);
    if (n < max || !s[n])
        return n;
    while (n && ((unsigned char)s[n] & 0xc0) == 0x80)
        n--;
    return n;
}

size_t str_utf8_next(const char *text, size_t left, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)text;
    if (left == 0)
        return 0;
    if (s[0] < 0x80) {
        *ret = s[0];
        return 1;
    }
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > left)
        return 0;
    uint32_t c = s[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *ret = c;
    return n;
}

bool str_eq(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

bool str_starts(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !memcmp(s + n - m, suffix, m);
}

bool str_to_u64(const char *s, uint64_t max, uint64_t *ret)
{
    if (!*s)
        return false;
    uint64_t v = 0;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        uint64_t digit = (uint64_t)(*s - '0');
        if (v > (max - digit) / 10 || digit > max)
            return false;
        v = v * 10 + digit;
    }
    *ret = v;
    return true;
}

#define DISTANCE_MAX 64

size_t str_distance(const char *a, const char *b)
{
    size_t n = strnlen(a, DISTANCE_MAX), m = strnlen(b, DISTANCE_MAX);
    size_t row[DISTANCE_MAX + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t above = row[j];
            size_t swap = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = MIN(MIN(above + 1, row[j - 1] + 1), swap);
            diagonal = above;
        }
    }
    return row[m];
}

const char *str_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = MAX((size_t)2, strlen(word) / 3) + 1;
    for (size_t i = 0; i < n; i++) {
        size_t d = str_distance(word, names[i]);
        if (d < best_distance && d < strlen(names[i])) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}

bool str_mem_eq_const(const void *a, const void *b, size_t len)
{
    const volatile unsigned char *x = a, *y = b;
    unsigned char diff = 0;
    for (size_t i = 0; i < len; i++)
        diff |= x[i] ^ y[i];
    return diff == 0;
}
