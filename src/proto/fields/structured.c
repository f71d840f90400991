/* SPDX-License-Identifier: Apache-2.0 */
/* Dictionaries of structured fields, by the algorithms of RFC 8941 section 4.2, which fail on whatever
 * they do not expect. */
#include "proto/fields/fields.h"

#include <string.h>

#define INNER_MAX                                                                                  \
    256u /* members of an inner list, and parameters of an item: as many as they must take */

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static char peek(const struct http_text *t)
{
    return t->len ? t->p[0] : 0;
}

static char next(struct http_text *t)
{
    char c = peek(t);
    if (t->len)
        t->p++, t->len--;
    return c;
}

static void skip(struct http_text *t, bool tabs)
{
    while (peek(t) == ' ' || (tabs && peek(t) == '\t'))
        next(t);
}

static struct http_text since(const char *from, const struct http_text *t)
{
    return (struct http_text){from, (size_t)(t->p - from)};
}

static bool take_key(struct http_text *t, struct http_text *ret)
{
    const char *from = t->p;
    if (!is_lower(peek(t)) && peek(t) != '*')
        return false;
    while (is_lower(peek(t)) || is_digit(peek(t)) || (t->len && peek(t) && strchr("_-.*", peek(t))))
        next(t);
    *ret = since(from, t);
    return true;
}

static bool take_number(struct http_text *t, struct fields_sf_member *m)
{
    int64_t sign = 1, n = 0;
    size_t whole = 0, fraction = 0;
    if (peek(t) == '-')
        sign = -1, next(t);
    for (; is_digit(peek(t)); whole++)
        if (whole < 15)
            n = n * 10 + (next(t) - '0');
        else
            return false;
    if (!whole)
        return false;
    m->type = FIELDS_SF_INTEGER;
    m->integer = sign * n;
    if (peek(t) != '.')
        return true;
    m->type = FIELDS_SF_DECIMAL;
    for (next(t); is_digit(peek(t)); fraction++)
        next(t);
    return whole <= 12 && fraction >= 1 && fraction <= 3;
}

static bool take_string(struct http_text *t, struct fields_sf_member *m)
{
    next(t);
    const char *from = t->p;
    while (t->len) {
        char c = next(t);
        if (c == '"') {
            m->type = FIELDS_SF_STRING;
            m->text = (struct http_text){from, (size_t)(t->p - from) - 1};
            return true;
        }
        if (c < ' ' || c == 0x7f) /* also those above ASCII where char is signed */
            return false;
        if (c == '\\') {
            char escaped = next(t);
            if (escaped != '"' && escaped != '\\')
                return false;
        }
    }
    return false;
}

static bool take_token(struct http_text *t, struct fields_sf_member *m)
{
    const char *from = t->p;
    while (is_alpha(peek(t)) || is_digit(peek(t))
           || (t->len && peek(t) && strchr("!#$%&'*+-.^_`|~:/", peek(t))))
        next(t);
    m->type = FIELDS_SF_TOKEN;
    m->text = since(from, t);
    return true;
}

static bool take_bytes(struct http_text *t, struct fields_sf_member *m)
{
    next(t);
    const char *from = t->p;
    while (is_alpha(peek(t)) || is_digit(peek(t)) || (t->len && peek(t) && strchr("+/=", peek(t))))
        next(t);
    m->type = FIELDS_SF_BYTES;
    m->text = since(from, t);
    return next(t) == ':';
}

static bool take_boolean(struct http_text *t, struct fields_sf_member *m)
{
    next(t);
    char c = next(t);
    m->type = FIELDS_SF_BOOLEAN;
    m->integer = c == '1';
    return c == '0' || c == '1';
}

static bool take_bare(struct http_text *t, struct fields_sf_member *m)
{
    char c = peek(t);
    if (c == '-' || is_digit(c))
        return take_number(t, m);
    if (c == '"')
        return take_string(t, m);
    if (c == ':')
        return take_bytes(t, m);
    if (c == '?')
        return take_boolean(t, m);
    return (c == '*' || is_alpha(c)) && take_token(t, m);
}

static bool take_parameters(struct http_text *t)
{
    for (size_t n = 0; peek(t) == ';'; n++) {
        struct fields_sf_member ignored;
        next(t);
        skip(t, false);
        if (n == INNER_MAX || !take_key(t, &ignored.key))
            return false;
        if (peek(t) == '=') {
            next(t);
            if (!take_bare(t, &ignored))
                return false;
        }
    }
    return true;
}

static bool take_inner_list(struct http_text *t, struct fields_sf_member *m)
{
    next(t);
    for (size_t n = 0; n <= INNER_MAX && t->len; n++) {
        struct fields_sf_member ignored;
        skip(t, false);
        if (peek(t) == ')') {
            next(t);
            m->type = FIELDS_SF_INNER_LIST;
            return take_parameters(t);
        }
        if (!take_bare(t, &ignored) || !take_parameters(t))
            return false;
        if (peek(t) != ' ' && peek(t) != ')')
            return false;
    }
    return false;
}

static bool take_member(struct http_text *t, struct fields_sf_member *m)
{
    *m = (struct fields_sf_member){.type = FIELDS_SF_BOOLEAN, .integer = 1};
    if (!take_key(t, &m->key))
        return false;
    if (peek(t) != '=')
        return take_parameters(t);
    next(t);
    if (peek(t) == '(')
        return take_inner_list(t, m);
    return take_bare(t, m) && take_parameters(t);
}

int fields_sf_dictionary(struct http_text t, struct fields_sf_member ret[FIELDS_SF_MAX])
{
    size_t n = 0;
    skip(&t, false);
    while (t.len && t.p[t.len - 1] == ' ')
        t.len--;
    while (t.len) {
        struct fields_sf_member m;
        if (!take_member(&t, &m))
            return -1;
        size_t at = 0;
        while (at < n && !fields_same(ret[at].key, m.key))
            at++;
        if (at == FIELDS_SF_MAX)
            return -1;
        ret[at] = m;
        n += at == n;
        skip(&t, true);
        if (!t.len)
            break;
        if (next(&t) != ',')
            return -1;
        skip(&t, true);
        if (!t.len) /* a comma at the end */
            return -1;
    }
    return (int)n;
}
