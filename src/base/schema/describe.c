/* SPDX-License-Identifier: Apache-2.0 */
/* The tables in words, for people. */
#include "base/schema/priv.h"

static void add_words(const char *const *words, struct str *out)
{
    for (size_t i = 0; words[i]; i++)
        str_addf(out, "%s%s", i ? " | " : "", words[i]);
}

static void add_noun(const struct schema_row *row, struct str *out)
{
    const struct schema_scalar *scalar = schema_scalar(row->type);
    if (row->type == SCHEMA_ENUM) {
        add_words(row->words, out);
    } else if (scalar) {
        str_add(out, scalar->doc);
    } else if (row->type == SCHEMA_STRUCT) {
        if (row->shorthand) {
            add_noun(schema_find(row->rows, row->shorthand), out);
            str_add(out, ", or ");
        }
        str_add(out, "map of keys");
    } else if (row->type == SCHEMA_LATER) {
        str_add(out, "not built yet");
    } else if (row->type == SCHEMA_LIST) {
        if (row->one) {
            add_noun(row->item, out);
            str_add(out, ", or ");
        }
        str_add(out, "list of ");
        add_noun(row->item, out);
    } else {
        str_addf(out, "map of %s to ", row->name->key);
        add_noun(row->item, out);
    }
}

void schema_type_text(const struct schema_row *row, struct str *out)
{
    _cleanup_str_ struct str range = STR_INIT;
    add_noun(row, out);
    schema_range(row, &range);
    bool text = row->type == SCHEMA_STRING || row->type == SCHEMA_NAME;
    if (range.len)
        str_addf(out, " (%s%s)", range.buf, text ? " characters" : "");
}

static void walk(const struct schema_row *row, struct str *path, schema_each_fn fn, void *ctx);

static void walk_rows(const struct schema_row *rows, struct str *path, schema_each_fn fn, void *ctx)
{
    for (const struct schema_row *r = rows; r->key; r++) {
        size_t cut = path->len;
        str_addf(path, "%s%s", cut ? "." : "", r->key);
        fn(ctx, path->buf, r);
        walk(r, path, fn, ctx);
        path->len = cut;
        path->buf[cut] = '\0';
    }
}

/* What lies below a key: a struct's rows, those of a map's or list's items. */
static void walk(const struct schema_row *row, struct str *path, schema_each_fn fn, void *ctx)
{
    if (row->type == SCHEMA_STRUCT) {
        walk_rows(row->rows, path, fn, ctx);
    } else if (row->type == SCHEMA_MAP) {
        size_t cut = path->len;
        str_addf(path, "%s%s", cut ? "." : "", row->name->key);
        walk(row->item, path, fn, ctx);
        path->len = cut;
        path->buf[cut] = '\0';
    } else if (row->type == SCHEMA_LIST) {
        walk(row->item, path, fn, ctx);
    }
}

void schema_each(const struct schema_row *root, schema_each_fn fn, void *ctx)
{
    _cleanup_str_ struct str path = STR_INIT;
    str_reserve(&path, 64);
    walk(root, &path, fn, ctx);
}
