/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table/table.h"

#define GAP 2      /* blanks between columns */
#define CUT_MIN 2u /* the narrowest a cut cell may get: a letter and the ellipsis */

struct table_cell {
    char *text;
    size_t width;
    enum table_mark mark;
};

/* The sixteen colours that every terminal has: they follow the reader's own light or dark
 * scheme. */
static const char *const mark_codes[] = {
    [TABLE_PLAIN] = "",
    [TABLE_GOOD] = "\033[32m",
    [TABLE_WARN] = "\033[33m",
    [TABLE_BAD] = "\033[31m",
    [TABLE_DIM] = "\033[2m",
    [TABLE_BOLD] = "\033[1m",
};

/* Text from peers and modules comes here: nothing of it may be a terminal's command (C0, C1), nor
 * turn the direction of what follows. */
static bool steers(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e)
           || (c >= 0x2066 && c <= 0x2069);
}

static void add_clean(struct str *out, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        uint32_t c = 0;
        size_t n = str_utf8_next(text + at, len - at, &c);
        if (n == 0 || steers(c))
            str_add_ch(out, '?');
        else
            str_add_mem(out, text + at, n);
        at += n ? n : 1;
    }
}

void table_mark_text(
    struct str *out, const struct table_style *style, enum table_mark mark, const char *text)
{
    bool colour = style->colour && mark != TABLE_PLAIN;
    if (colour)
        str_add(out, mark_codes[mark]);
    add_clean(out, text, strlen(text));
    if (colour)
        str_add(out, "\033[0m");
}

void table_init(struct table *t, const char *const *heads)
{
    *t = (struct table){.heads = heads};
    while (heads[t->n_columns])
        t->n_columns++;
    ASSERT(t->n_columns > 0 && t->n_columns <= TABLE_COLUMNS_MAX);
}

void table_done(struct table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i].text);
    free(t->cells);
    *t = (struct table){0};
}

void table_cell(struct table *t, enum table_mark mark, const char *fmt, ...)
{
    struct str text = STR_INIT;
    va_list ap;
    va_start(ap, fmt);
    str_addv(&text, fmt, ap);
    va_end(ap);
    if (!text.len)
        str_add_ch(&text, '-');
    struct table_cell *cell = GROW(t->cells, t->n_cells, t->cells_cap);
    cell->width = table_text_width(text.buf);
    cell->text = str_steal(&text);
    cell->mark = mark;
}

bool table_empty(const struct table *t)
{
    return t->n_cells == 0;
}

static void measure(const struct table *t, size_t widths[TABLE_COLUMNS_MAX])
{
    for (size_t i = 0; i < t->n_columns; i++)
        widths[i] = table_text_width(t->heads[i]);
    for (size_t i = 0; i < t->n_cells; i++)
        widths[i % t->n_columns] = MAX(widths[i % t->n_columns], t->cells[i].width);
}

static void pad(struct str *out, size_t n)
{
    while (n--)
        str_add_ch(out, ' ');
}

/* One cell at column *used of the line; cut when the line has no more room. */
static void add_cell(
    struct str *out, const struct table_style *style, const struct table_cell *cell, size_t *used)
{
    if (!style->width || *used + cell->width <= style->width) {
        table_mark_text(out, style, cell->mark, cell->text);
        *used += cell->width;
        return;
    }
    size_t room = style->width > *used ? style->width - *used : 0;
    *used = style->width;
    if (room < CUT_MIN)
        return;
    _cleanup_str_ struct str cut = STR_INIT;
    str_add_mem(&cut, cell->text, table_text_fit(cell->text, room - 1));
    str_add(&cut, "\u2026");
    table_mark_text(out, style, cell->mark, cut.buf);
}

static void add_line(const struct table *t, const struct table_style *style,
    const struct table_cell *row, const size_t *widths, struct str *out)
{
    size_t used = 0, start = 0;
    for (size_t i = 0; i < t->n_columns && (!style->width || start < style->width); i++) {
        size_t lead = start - used + (t->right[i] ? widths[i] - row[i].width : 0);
        if (!style->width || used + lead < style->width) {
            pad(out, lead);
            used += lead;
            add_cell(out, style, &row[i], &used);
        }
        start += widths[i] + GAP;
    }
    str_add_ch(out, '\n');
}

void table_format(const struct table *t, const struct table_style *style, struct str *out)
{
    ASSERT(t->n_cells % t->n_columns == 0);
    size_t widths[TABLE_COLUMNS_MAX];
    struct table_cell heads[TABLE_COLUMNS_MAX];
    measure(t, widths);
    for (size_t i = 0; i < t->n_columns; i++)
        heads[i] =
            (struct table_cell){(char *)t->heads[i], table_text_width(t->heads[i]), TABLE_DIM};
    add_line(t, style, heads, widths, out);
    for (size_t i = 0; i < t->n_cells; i += t->n_columns)
        add_line(t, style, &t->cells[i], widths, out);
}
