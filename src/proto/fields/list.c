/* SPDX-License-Identifier: Apache-2.0 */
/* Lists, quoted strings, numbers. HOT PATH. */
#include "proto/fields/fields.h"

#include <string.h>
#include <strings.h>

const struct http_field *fields_find(
    const struct http_fields *f, const char *name, const struct http_field *after)
{
    size_t len = strlen(name);
    for (size_t i = after ? (size_t)(after - f->v) + 1 : 0; i < f->n; i++)
        if (f->v[i].name.len == len && !strncasecmp(f->v[i].name.p, name, len))
            return &f->v[i];
    return NULL;
}

bool fields_same(struct http_text a, struct http_text b)
{
    return a.len == b.len && (!a.len || !memcmp(a.p, b.p, a.len));
}

bool fields_same_nocase(struct http_text a, struct http_text b)
{
    return a.len == b.len && (!a.len || !strncasecmp(a.p, b.p, a.len));
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct http_text fields_trim(struct http_text t)
{
    while (t.len && is_blank(t.p[0]))
        t.p++, t.len--;
    while (t.len && is_blank(t.p[t.len - 1]))
        t.len--;
    return t;
}

/* A quoted string that is not closed takes the rest: nothing inside of it is ever read as members. */
bool fields_list_next(struct http_text *rest, struct http_text *ret)
{
    while (rest->len) {
        size_t i = 0;
        for (bool quoted = false; i < rest->len && (quoted || rest->p[i] != ','); i++) {
            if (rest->p[i] == '"')
                quoted = !quoted;
            else if (quoted && rest->p[i] == '\\' && i + 1 < rest->len)
                i++;
        }
        *ret = fields_trim((struct http_text){rest->p, i});
        i += i < rest->len; /* the comma */
        rest->p += i;
        rest->len -= i;
        if (ret->len)
            return true;
    }
    return false;
}

bool fields_list_has(const struct http_fields *f, const char *field, struct http_text name)
{
    for (const struct http_field *line = NULL; (line = fields_find(f, field, line));) {
        struct http_text rest = line->value, member;
        while (fields_list_next(&rest, &member))
            if (fields_same_nocase(member, name))
                return true;
    }
    return false;
}

bool fields_number(struct http_text t, uint64_t max, uint64_t *ret)
{
    uint64_t n = 0;
    for (size_t i = 0; i < t.len; i++) {
        if (t.p[i] < '0' || t.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(t.p[i] - '0');
        n = digit > max || n > (max - digit) / 10 ? max : n * 10 + digit;
    }
    *ret = n;
    return t.len > 0;
}
