/* SPDX-License-Identifier: Apache-2.0 */
/* Tags of a response. Over a limit there is no list at all: an object that could not be purged by one
 * of its tags must not be kept. */
#include "proto/fields/fields.h"

struct tags {
    struct http_text *v;
    int n; /* -1: over a limit */
};

static void add(struct tags *t, struct http_text tag)
{
    for (int i = 0; i < t->n; i++)
        if (fields_same(t->v[i], tag))
            return;
    bool ok = tag.len <= FIELDS_TAG_MAX && t->n >= 0 && (size_t)t->n < FIELDS_TAGS_MAX;
    for (size_t i = 0; ok && i < tag.len; i++)
        ok = (unsigned char)tag.p[i] > ' ' && tag.p[i] != 0x7f;
    if (!ok)
        t->n = -1;
    else
        t->v[t->n++] = tag;
}

static void add_words(struct tags *t, struct http_text s)
{
    for (size_t i = 0, from; i < s.len && t->n >= 0;) {
        while (i < s.len && (s.p[i] == ' ' || s.p[i] == '\t'))
            i++;
        for (from = i; i < s.len && s.p[i] != ' ' && s.p[i] != '\t';)
            i++;
        if (i > from)
            add(t, (struct http_text){s.p + from, i - from});
    }
}

/* A comma list without quoted strings: a quote is a character like any other here. */
static void add_members(struct tags *t, struct http_text s)
{
    for (size_t i = 0, from = 0; i <= s.len && t->n >= 0; i++) {
        if (i < s.len && s.p[i] != ',')
            continue;
        struct http_text tag = fields_trim((struct http_text){s.p + from, i - from});
        if (tag.len)
            add(t, tag);
        from = i + 1;
    }
}

int fields_tags(const struct http_fields *f, struct http_text ret[FIELDS_TAGS_MAX])
{
    struct tags t = {.v = ret};
    for (const struct http_field *line = NULL;
         t.n >= 0 && (line = fields_find(f, "cache-tag", line));)
        add_members(&t, line->value);
    for (const struct http_field *line = NULL;
         t.n >= 0 && (line = fields_find(f, "surrogate-key", line));)
        add_words(&t, line->value);
    return t.n;
}
