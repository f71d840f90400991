/* SPDX-License-Identifier: Apache-2.0 */
/* Selection by Vary (RFC 9111 section 4.1): names and values in a normal form that can be compared, so
 * that a variant is found by one look-up, however many there are. HOT PATH. */
#include "domain/cache/cache.h"

#include <string.h>

struct names {
    struct http_text v[CACHE_VARY_MAX];
    size_t n;
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static int compare(struct http_text a, struct http_text b, bool fold)
{
    for (size_t i = 0; i < a.len && i < b.len; i++) {
        char x = fold ? lower(a.p[i]) : a.p[i], y = fold ? lower(b.p[i]) : b.p[i];
        if (x != y)
            return (unsigned char)x < (unsigned char)y ? -1 : 1;
    }
    return a.len == b.len ? 0 : a.len < b.len ? -1 : 1;
}

/* Keeps them sorted and each once. */
static bool names_put(struct names *s, struct http_text name, bool fold)
{
    size_t at = 0;
    while (at < s->n && compare(s->v[at], name, fold) < 0)
        at++;
    if (at < s->n && compare(s->v[at], name, fold) == 0)
        return true;
    if (s->n == CACHE_VARY_MAX)
        return false;
    memmove(&s->v[at + 1], &s->v[at], (s->n - at) * sizeof s->v[0]);
    s->v[at] = name;
    s->n++;
    return true;
}

static void put_lower(struct http_out *out, struct http_text t)
{
    for (size_t i = 0; i < t.len; i++) {
        char c = lower(t.p[i]);
        http_out_mem(out, &c, 1);
    }
}

bool cache_vary_format(const struct http_fields *response, struct http_out *out, bool *any)
{
    struct names names = {.n = 0};
    *any = false;
    for (const struct http_field *line = NULL; (line = fields_find(response, "vary", line));) {
        struct http_text rest = line->value, member;
        while (fields_list_next(&rest, &member)) {
            *any |= http_text_is(member, "*");
            if (!names_put(&names, member, true))
                return false;
        }
    }
    for (size_t i = 0; i < names.n; i++) {
        if (i)
            http_out_str(out, ",");
        put_lower(out, names.v[i]);
    }
    return !out->full && !*any;
}

/* Blanks around "," ";" and "=" mean nothing outside of quotes, and more than one is one. */
static void put_value(struct http_out *out, struct http_text t, bool fold)
{
    bool quoted = false, blank = false;
    char before = 0;
    for (size_t i = 0; i < t.len; i++) {
        char c = t.p[i];
        if (!quoted && (c == ' ' || c == '\t')) {
            blank = before != 0;
            continue;
        }
        if (blank && !strchr(",;=", before) && !strchr(",;=", c))
            http_out_str(out, " ");
        blank = false;
        if (c == '"')
            quoted = !quoted;
        else if (quoted && c == '\\' && i + 1 < t.len) {
            http_out_mem(out, &c, 1);
            c = t.p[++i];
        }
        before = c;
        c = fold && !quoted ? lower(c) : c;
        http_out_mem(out, &c, 1);
    }
}

/* Codings in any order mean the same (RFC 9110 section 12.5.3). False: more of them than we sort. */
static bool put_codings(struct http_out *out, const struct http_fields *request, const char *name)
{
    struct names codings = {.n = 0};
    for (const struct http_field *line = NULL; (line = fields_find(request, name, line));) {
        struct http_text rest = line->value, member;
        while (fields_list_next(&rest, &member))
            if (!names_put(&codings, member, true))
                return false;
    }
    for (size_t i = 0; i < codings.n; i++) {
        if (i)
            http_out_str(out, ",");
        put_value(out, codings.v[i], true);
    }
    return true;
}

/* "name" when there is none, else "name:value,value": the two never select the same. */
static void put_field(
    struct http_out *out, struct http_text name, const struct http_fields *request)
{
    char text[CACHE_VARY_BYTES + 1];
    memcpy(text, name.p, name.len);
    text[name.len] = 0;
    http_out_text(out, name);
    const struct http_field *line = fields_find(request, text, NULL);
    if (line)
        http_out_str(out, ":");
    if (line && http_text_is(name, "accept-encoding") && put_codings(out, request, text))
        return;
    bool fold = http_text_is(name, "accept-encoding") || http_text_is(name, "accept-language");
    for (bool first = true; line; line = fields_find(request, text, line), first = false) {
        if (!first)
            http_out_str(out, ",");
        put_value(out, line->value, fold);
    }
}

bool cache_variant_format(
    struct http_text vary, const struct http_fields *request, struct http_out *out)
{
    struct http_text name;
    if (vary.len > CACHE_VARY_BYTES)
        return false;
    while (fields_list_next(&vary, &name)) {
        put_field(out, name, request);
        http_out_str(out, "\n"); /* no field has one */
    }
    return !out->full;
}
