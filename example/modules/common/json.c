/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <stdint.h>
#include <string.h>

struct reader {
    const char *p, *end;
};

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static bool take(struct reader *r, char c)
{
    skip_space(r);
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

static int add_utf8(char *out, size_t cap, size_t *n, uint32_t code)
{
    unsigned char bytes[4];
    size_t count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = count; i-- > 1; code >>= 6)
        bytes[i] = (unsigned char)(0x80 | (code & 0x3f));
    bytes[0] = (unsigned char)(leads[count] | code);
    if (count > cap - *n)
        return -1;
    memcpy(out + *n, bytes, count);
    *n += count;
    return 0;
}

/* One whole UTF-8 sequence, shortest form only, no surrogates (RFC 3629). */
static int read_utf8(struct reader *r, uint32_t *ret_code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char lead = (unsigned char)*r->p;
    size_t count = lead < 0x80 ? 1 : lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (count == 0 || lead > 0xf4 || (size_t)(r->end - r->p) < count)
        return -1;
    uint32_t code = count == 1 ? lead : lead & (0x7fu >> count);
    for (size_t i = 1; i < count; i++) {
        unsigned char c = (unsigned char)r->p[i];
        if ((c & 0xc0) != 0x80)
            return -1;
        code = code << 6 | (c & 0x3f);
    }
    if (code < least[count] || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff)
        return -1;
    r->p += count;
    *ret_code = code;
    return 0;
}

static int read_hex4(struct reader *r, uint32_t *ret)
{
    if (r->end - r->p < 4)
        return -1;
    *ret = 0;
    for (int i = 0; i < 4; i++) {
        char c = *r->p++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        *ret = *ret << 4 | (uint32_t)digit;
    }
    return 0;
}

/* \uXXXX, or a surrogate pair of two of them. U+0000 is refused: the values are C strings. */
static int read_unicode_escape(struct reader *r, uint32_t *ret)
{
    uint32_t low;
    if (read_hex4(r, ret) < 0 || *ret == 0 || (*ret >= 0xdc00 && *ret <= 0xdfff))
        return -1;
    if (*ret < 0xd800 || *ret > 0xdbff)
        return 0;
    if (r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u')
        return -1;
    r->p += 2;
    if (read_hex4(r, &low) < 0 || low < 0xdc00 || low > 0xdfff)
        return -1;
    *ret = 0x10000 + ((*ret - 0xd800) << 10) + (low - 0xdc00);
    return 0;
}

static int read_escape(struct reader *r, uint32_t *ret)
{
    static const char names[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
    if (r->p == r->end)
        return -1;
    char c = *r->p++;
    if (c == 'u')
        return read_unicode_escape(r, ret);
    const char *at = memchr(names, c, sizeof(names) - 1);
    if (!at)
        return -1;
    *ret = (unsigned char)codes[at - names];
    return 0;
}

static int read_string(struct reader *r, char *out, size_t cap)
{
    size_t n = 0;
    if (!take(r, '"'))
        return -1;
    while (r->p < r->end && *r->p != '"') {
        uint32_t code;
        if ((unsigned char)*r->p < 0x20)
            return -1;
        bool escape = *r->p == '\\';
        r->p += escape;
        if ((escape ? read_escape(r, &code) : read_utf8(r, &code)) < 0)
            return -1;
        if (add_utf8(out, cap - 1, &n, code) < 0)
            return -1;
    }
    out[n] = 0;
    return take(r, '"') ? 0 : -1;
}

static int read_integer(struct reader *r, long long *ret)
{
    bool negative = *r->p == '-';
    r->p += negative;
    const char *first = r->p;
    *ret = 0;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9' && r->p - first < 16)
        *ret = *ret * 10 + (*r->p++ - '0');
    if (r->p == first || (*first == '0' && r->p - first > 1))
        return -1;
    *ret = negative ? -*ret : *ret;
    return 0;
}

static int read_word(struct reader *r)
{
    static const char *const words[] = {"true", "false", "null"};
    struct span rest = {r->p, (size_t)(r->end - r->p)};
    for (size_t i = 0; i < 3; i++)
        if (span_starts(rest, span_of(words[i]))) {
            r->p += strlen(words[i]);
            return 0;
        }
    return -1;
}

static int read_value(struct reader *r, struct json_field *f)
{
    skip_space(r);
    if (r->p == r->end)
        return -1;
    if (*r->p == '"') {
        f->kind = JSON_TEXT;
        return read_string(r, f->text, sizeof(f->text));
    }
    if (*r->p == '-' || (*r->p >= '0' && *r->p <= '9')) {
        f->kind = JSON_INTEGER;
        return read_integer(r, &f->number);
    }
    f->kind = JSON_WORD;
    return read_word(r);
}

static const struct json_field *find(const struct json_object *o, const char *key)
{
    for (size_t i = 0; i < o->count; i++)
        if (strcmp(o->fields[i].key, key) == 0)
            return &o->fields[i];
    return NULL;
}

int json_parse(struct span in, struct json_object *ret)
{
    struct reader r = {in.p, in.p + in.n};
    ret->count = 0;
    if (!take(&r, '{'))
        return -1;
    bool more = !take(&r, '}');
    while (more) {
        if (ret->count == JSON_FIELDS_MAX)
            return -1;
        struct json_field *f = &ret->fields[ret->count];
        if (read_string(&r, f->key, sizeof(f->key)) < 0 || find(ret, f->key))
            return -1;
        if (!take(&r, ':') || read_value(&r, f) < 0)
            return -1;
        ret->count++;
        more = take(&r, ',');
        if (!more && !take(&r, '}'))
            return -1;
    }
    skip_space(&r);
    return r.p == r.end ? 0 : -1;
}

const char *json_text(const struct json_object *o, const char *key, size_t max)
{
    const struct json_field *f = find(o, key);
    if (!f || f->kind != JSON_TEXT || f->text[0] == 0 || strlen(f->text) > max)
        return NULL;
    return f->text;
}

long long json_integer(const struct json_object *o, const char *key, long long max)
{
    const struct json_field *f = find(o, key);
    if (!f || f->kind != JSON_INTEGER || f->number < 1 || f->number > max)
        return -1;
    return f->number;
}

void json_add(struct buf *b, const char *text)
{
    buf_add(b, SPAN("\""));
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_add(b, SPAN("\\"));
        if ((unsigned char)*text < 0x20)
            buf_printf(b, "\\u%04x", (unsigned)*text);
        else
            buf_add(b, (struct span){text, 1});
    }
    buf_add(b, SPAN("\""));
}
