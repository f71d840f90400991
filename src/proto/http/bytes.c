/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/http/priv.h"

#include <strings.h>

#define T (BYTE_TOKEN | BYTE_VALUE | BYTE_TARGET) /* token characters are good anywhere */
#define U (T | BYTE_UPPER)
#define G (BYTE_VALUE | BYTE_TARGET)
#define V BYTE_VALUE

/* Targets: everything visible but double quote, "#", "<" and ">": browsers leave "|", "^", "{" and,
 * in queries, a backslash raw; the path is looked at again in proto/uri. */
const uint8_t http_byte_class[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T,
    ['"'] = V,
    ['#'] = BYTE_TOKEN | V,
    ['$'] = T,
    ['%'] = T,
    ['&'] = T,
    ['\''] = T,
    ['('] = G,
    [')'] = G,
    ['*'] = T,
    ['+'] = T,
    [','] = G,
    ['-'] = T,
    ['.'] = T,
    ['/'] = G,
    ['0' ... '9'] = T,
    [':'] = G,
    [';'] = G,
    ['<'] = V,
    ['='] = G,
    ['>'] = V,
    ['?'] = G,
    ['@'] = G,
    ['A' ... 'Z'] = U,
    ['['] = G,
    ['\\'] = G,
    [']'] = G,
    ['^'] = T,
    ['_'] = T,
    ['`'] = T,
    ['a' ... 'z'] = T,
    ['{'] = G,
    ['|'] = T,
    ['}'] = G,
    ['~'] = T,
    [0x80 ... 0xff] = V,
};

static const struct {
    unsigned status;
    const char *name, *text;
} rejects[HTTP_REJECT_COUNT] = {[HTTP_REJECT_NONE] = {200, "NONE", ""},
#define X(name, status, text) [HTTP_REJECT_##name] = {status, #name, text},
    HTTP_REJECTS(X)
#undef X
};

unsigned http_reject_status(enum http_reject r)
{
    ASSERT(r < HTTP_REJECT_COUNT);
    return rejects[r].status;
}

const char *http_reject_name(enum http_reject r)
{
    ASSERT(r < HTTP_REJECT_COUNT);
    return rejects[r].name;
}

const char *http_reject_text(enum http_reject r)
{
    ASSERT(r < HTTP_REJECT_COUNT);
    return rejects[r].text;
}

bool http_text_is(struct http_text t, const char *s)
{
    return strlen(s) == t.len && !memcmp(t.p, s, t.len);
}

bool http_text_is_nocase(struct http_text t, const char *s)
{
    return strlen(s) == t.len && !strncasecmp(t.p, s, t.len);
}

static const struct {
    const char *name;
    uint8_t len;
} field_names[HTTP_FIELD_ID_COUNT] = {
#define X(id, text) [HTTP_FIELD_##id] = {text, sizeof text - 1},
    HTTP_FIELD_NAMES(X)
#undef X
};

static bool same_name(const char *known, struct http_text name, bool fold)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        if (byte_is(c, BYTE_UPPER))
            c |= 0x20;
        else if (fold && c == '_')
            c = '-';
        if (c != known[i])
            return false;
    }
    return true;
}

static uint8_t find_name(struct http_text name, bool fold)
{
    for (uint8_t id = 1; id < HTTP_FIELD_ID_COUNT; id++)
        if (field_names[id].len == name.len && same_name(field_names[id].name, name, fold))
            return id;
    return HTTP_FIELD_OTHER;
}

uint8_t http_field_id_of(struct http_text name)
{
    return find_name(name, false);
}

bool http_field_is_alias(struct http_text name)
{
    return memchr(name.p, '_', name.len) && find_name(name, true) != HTTP_FIELD_OTHER;
}

const struct http_field *http_fields_find(const struct http_fields *f, enum http_field_id id)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].id == id)
            return &f->v[i];
    return NULL;
}
