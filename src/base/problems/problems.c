/* SPDX-License-Identifier: Apache-2.0 */
#include "base/problems/problems.h"

#define TEXT_MAX 500u

void problems_init(struct problems *p, const char *file)
{
    *p = (struct problems){.file = file};
}

static void problem_done(struct problem *p)
{
    free(p->message);
    free(p->fix);
    *p = (struct problem){0};
}

void problems_done(struct problems *p)
{
    for (size_t i = 0; i < p->n; i++)
        problem_done(&p->v[i]);
    free(p->v);
    problem_done(&p->scratch);
    *p = (struct problems){0};
}

bool problems_full(const struct problems *p)
{
    return p->n >= PROBLEMS_KEPT;
}

/* Cuts at a character and takes away what could move a terminal's cursor, C1 controls (C2 80 to C2
 * 9F) too. */
static void make_printable(char *text, size_t max)
{
    size_t len = str_utf8_cut(text, max);
    text[len] = '\0';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i], next = (unsigned char)text[i + 1];
        if (c < 0x20 || c == 0x7f) {
            text[i] = '?';
        } else if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
            text[i] = text[i + 1] = '?';
        }
    }
}

static char *printable(const char *fmt, va_list ap)
{
    struct str s = STR_INIT;
    str_addv(&s, fmt, ap);
    char *text = str_steal(&s);
    make_printable(text, TEXT_MAX);
    return text;
}

struct problem *problems_add(
    struct problems *p, unsigned line, unsigned column, const char *fmt, ...)
{
    struct problem *slot = &p->scratch;
    problem_done(slot);
    if (!problems_full(p))
        slot = GROW(p->v, p->n, p->cap);
    slot->line = line;
    slot->column = column;
    slot->order = p->total++;
    va_list ap;
    va_start(ap, fmt);
    slot->message = printable(fmt, ap);
    va_end(ap);
    return slot;
}

void problem_fix(struct problem *p, const char *fmt, ...)
{
    free(p->fix);
    va_list ap;
    va_start(ap, fmt);
    p->fix = printable(fmt, ap);
    va_end(ap);
}

static int compare(const void *x, const void *y)
{
    const struct problem *a = x, *b = y;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

void problems_sort(struct problems *p)
{
    if (p->n)
        qsort(p->v, p->n, sizeof *p->v, compare);
}

void problems_format(struct problems *p, struct str *out)
{
    problems_sort(p);
    size_t shown = MIN(p->n, (size_t)PROBLEMS_SHOWN);
    for (size_t i = 0; i < shown; i++) {
        const struct problem *q = &p->v[i];
        str_addf(out, "%s:%u:%u: %s%s%s\n", p->file, q->line, q->column, q->message,
            q->fix ? "; fix: " : "", q->fix ? q->fix : "");
    }
    if (p->total > shown)
        str_addf(out, "%s: and %zu more\n", p->file, p->total - shown);
}

json_t *problems_json(struct problems *p)
{
    problems_sort(p);
    json_t *list = json_array();
    for (size_t i = 0; i < MIN(p->n, (size_t)PROBLEMS_SHOWN); i++) {
        const struct problem *q = &p->v[i];
        _cleanup_free_ char *where = xasprintf("%s:%u:%u", p->file, q->line, q->column);
        json_t *row = json_pack(
            "{s:s,s:s,s:s}", "where", where, "message", q->message, "fix", q->fix ? q->fix : "");
        if (row) /* the file's name may be no UTF-8 */
            json_array_append_new(list, row);
    }
    return list;
}

int problems_err(struct problems *p, struct err *e)
{
    ASSERT(p->n > 0);
    problems_sort(p);
    const struct problem *first = &p->v[0];
    if (p->total == 1) {
        err_set(e, ERR_INVALID, "%s", first->message);
        err_where(e, "%s:%u:%u", p->file, first->line, first->column);
        err_fix(e, "%s", first->fix ? first->fix : "");
        return ERR_INVALID;
    }
    _cleanup_str_ struct str text = STR_INIT;
    problems_format(p, &text);
    str_reserve(&text, 0);
    if (text.len && text.buf[text.len - 1] == '\n')
        text.buf[--text.len] = '\0';
    char *fits = text.buf;
    if (e && text.len > sizeof e->message - 64) {
        fits[sizeof e->message - 64] = '\0';
        char *line_end = strrchr(fits, '\n'); /* whole lines only */
        if (line_end)
            *line_end = '\0';
    }
    err_set(e, ERR_INVALID, "%zu errors\n%s", p->total, fits);
    err_where(e, "%s", p->file);
    return ERR_INVALID;
}

const char *problems_quote(const char *text, char out[PROBLEMS_QUOTE_SIZE])
{
    size_t n = str_utf8_cut(text, PROBLEMS_QUOTE_SIZE - 6); /* two quotes, three dots, NUL */
    snprintf(out, PROBLEMS_QUOTE_SIZE, "\"%.*s\"%s", (int)n, text, text[n] ? "..." : "");
    return out;
}
