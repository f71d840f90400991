/* SPDX-License-Identifier: Apache-2.0 */
/* The tables as man page source: a section for each key of the outermost map, an entry for each key
 * below it. */
#include "base/schema/priv.h"

#include "base/man/man.h"

struct page {
    struct str *out;
    const char *section; /* NULL: the outermost keys */
    struct str later;
};

static void add_facts(const struct schema_row *row, struct str *text)
{
    str_add_ch(text, '(');
    schema_type_text(row, text);
    if (row->required)
        str_add(text, "; required");
    else if (row->def && strcmp(row->def, "{}") != 0)
        str_addf(text, "; default `%s`", row->def);
    str_add_ch(text, ')');
    if (row->prose)
        str_addf(text, " %s", row->prose);
    if (row->example)
        str_addf(text, " Example: `%s`", row->example);
}

static void add_key(void *ctx, const char *path, const struct schema_row *row)
{
    struct page *page = ctx;
    if (row->type == SCHEMA_LATER) {
        str_addf(&page->later, "%s`%s%s%s`", page->later.len ? ", " : "",
            page->section ? page->section : "", page->section ? "." : "", path);
        return;
    }
    _cleanup_str_ struct str text = STR_INIT;
    add_facts(row, &text);
    if (page->section) {
        man_entry(page->out, path, text.buf);
    } else {
        man_macro(page->out, "SS", path);
        man_prose(page->out, text.buf);
    }
}

void schema_man(const struct schema_row *root, struct str *out)
{
    struct page page = {.out = out};
    for (const struct schema_row *r = root->rows; r->key; r++) {
        page.section = NULL;
        add_key(&page, r->key, r);
        page.section = r->key;
        schema_each(r, add_key, &page);
    }
    if (page.later.len) {
        man_macro(out, "SS", "Words of later versions");
        str_add(&page.later, ". They are refused with an error, never ignored.");
        man_prose(out, page.later.buf);
    }
    str_done(&page.later);
}
