/* SPDX-License-Identifier: Apache-2.0 */
/* Text in columns for people: widths are counted as a terminal shows them (Korean takes two columns
 * a letter, combining marks none), the colours of a cell are left out where nobody can see them,
 * and what a peer put into a cell cannot steer the terminal. Formats into a string, never prints.
 * Memory: the table's own until table_done(). */
#pragma once

#include "base/str/str.h"

#define TABLE_COLUMNS_MAX 12

enum table_mark { TABLE_PLAIN, TABLE_GOOD, TABLE_WARN, TABLE_BAD, TABLE_DIM, TABLE_BOLD };

struct table_style {
    bool colour;
    size_t width; /* lines are cut to it; 0: never */
};

struct table_cell;

struct table {
    const char *const *heads;
    size_t n_columns;
    bool right[TABLE_COLUMNS_MAX]; /* aligned right: figures */
    struct table_cell *cells;      /* row by row */
    size_t n_cells, cells_cap;
};

/* `heads` is borrowed and ends with NULL; its length is the number of columns. */
void table_init(struct table *t, const char *const *heads);
void table_done(struct table *t);
/* The next cell, row by row from left to right. An empty text shows as "-". */
void table_cell(struct table *t, enum table_mark mark, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool table_empty(const struct table *t);
/* Heads, then rows, each line with "\n"; two blanks between columns; no line ends in blanks. */
void table_format(const struct table *t, const struct table_style *style, struct str *out);

/* `text` in the mark's colour, or as it is. Control characters and broken UTF-8 become '?'. */
void table_mark_text(
    struct str *out, const struct table_style *style, enum table_mark mark, const char *text);
/* Columns that a terminal needs for it (Unicode 15, UAX 11 without locale: ambiguous is narrow). */
size_t table_text_width(const char *text);
/* The most bytes of it that fit `width` columns; never cuts a character or what combines with
 * it. */
size_t table_text_fit(const char *text, size_t width);
