/* SPDX-License-Identifier: Apache-2.0 */
#include "service/traffic/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 512

struct reading {
    struct book *book;
    const char *path;
    uint64_t line, bad_line; /* bad_line: the first that is none, 0: all were good */
    uint32_t cap;
};

static uint64_t id_hash(const char *id)
{
    uint64_t h = 14695981039346656037u;
    for (; *id; id++)
        h = (h ^ (uint8_t)*id) * 1099511628211u;
    return h ? h : 1; /* 0: none seen yet */
}

/* Room for the order; false: more than there may be. */
static bool reach(struct book *b, uint32_t *cap, uint32_t seq)
{
    if (seq >= LEDGER_ORDERS_MAX)
        return false;
    if (seq >= *cap) {
        uint32_t grown = MAX(seq + 1, *cap ? *cap * 2 : 4096);
        b->flags = xrealloc(b->flags, grown);
        b->ids = xrealloc(b->ids, grown * sizeof *b->ids);
        memset(b->flags + *cap, 0, grown - *cap);
        memset(b->ids + *cap, 0, (grown - *cap) * sizeof *b->ids);
        *cap = grown;
    }
    b->n = MAX(b->n, seq + 1);
    return true;
}

/* Two ids for one key are two orders. */
static void see_id(struct book *b, uint32_t seq, const char *id)
{
    uint64_t h = id_hash(id);
    if (!b->ids[seq])
        b->ids[seq] = h;
    else if (b->ids[seq] != h)
        b->flags[seq] |= BOOK_TWICE;
}

/* Cuts the checksum off. */
static bool check_line(char *line, size_t len)
{
    char want[16];
    if (len < 10 || line[len - 9] != ' ')
        return false;
    snprintf(want, sizeof want, "%08x", ledger_check(line, len - 9));
    if (memcmp(want, line + len - 8, 8) != 0)
        return false;
    line[len - 9] = '\0';
    return true;
}

static char *word(char **rest)
{
    char *w = *rest, *blank = w ? strchr(w, ' ') : NULL;
    if (blank)
        *blank = '\0';
    *rest = blank ? blank + 1 : NULL;
    return w && *w ? w : NULL;
}

static bool take_head(struct reading *r, char *line)
{
    char *rest = line, *kind = word(&rest), *format = word(&rest), *run = word(&rest),
         *name = word(&rest);
    return kind && format && run && name && !strcmp(kind, "mcp-traffic") && !strcmp(format, "1")
           && str_copy(r->book->run, sizeof r->book->run, run)
           && str_copy(r->book->name, sizeof r->book->name, name);
}

static bool take_order(struct reading *r, char kind, char *rest)
{
    struct book *b = r->book;
    uint64_t seq;
    char *number = word(&rest), *value = word(&rest);
    if (!number || !value || !str_to_u64(number, UINT32_MAX, &seq)
        || !reach(b, &r->cap, (uint32_t)seq))
        return false;
    b->flags[seq] |= kind == 'i' ? BOOK_INTENT : BOOK_ACKED;
    if (kind == 'a')
        see_id(b, (uint32_t)seq, value);
    return true;
}

static bool take_line(struct reading *r, char *line, size_t len)
{
    if (!check_line(line, len))
        return false;
    if (r->line == 1)
        return take_head(r, line);
    if (line[1] != ' ')
        return false;
    switch (line[0]) {
    case 'i':
    case 'a':
        return take_order(r, line[0], line + 2);
    case 'e':
        r->book->ended = true;
        return true;
    default:
        return false;
    }
}

static int spoilt(const struct reading *r, struct err *e)
{
    err_set(e, ERR_INVALID, "the ledger is spoilt: its line %llu is none, and good ones follow",
        (unsigned long long)r->bad_line);
    err_where(e, "%s:%llu", r->path, (unsigned long long)r->bad_line);
    return ERR_INVALID;
}

static int read_lines(struct reading *r, FILE *f, struct err *e)
{
    char line[LINE_MAX_BYTES];
    while (fgets(line, sizeof line, f)) {
        size_t len = strlen(line);
        bool whole = len && line[len - 1] == '\n';
        r->line++;
        if (whole)
            line[--len] = '\0';
        bool good = whole && take_line(r, line, len);
        if (r->line == 1 && !good)
            return err_set(e, ERR_INVALID, "%s is no ledger of `mcp traffic`", r->path);
        if (good && r->bad_line)
            return spoilt(r, e);
        if (!good && !r->bad_line)
            r->bad_line = r->line;
    }
    if (ferror(f))
        return err_errno(e, errno, "read %s", r->path);
    if (!r->line)
        return err_set(e, ERR_INVALID, "%s is empty", r->path);
    r->book->torn = r->bad_line != 0;
    return 0;
}

int book_read(const char *path, struct book *ret, struct err *e)
{
    *ret = (struct book){0};
    FILE *f = fopen(path, "re");
    if (!f)
        return err_errno(e, errno, "open the ledger %s", path);
    struct reading r = {.book = ret, .path = path};
    int result = read_lines(&r, f, e);
    fclose(f);
    if (result < 0)
        book_done(ret);
    return result;
}

void book_done(struct book *b)
{
    free(b->flags);
    free(b->ids);
    b->flags = NULL;
    b->ids = NULL;
    b->n = 0;
}

bool book_row(struct book *b, const char *key, const char *id)
{
    size_t n = strlen(b->run);
    uint64_t seq;
    if (strncmp(key, b->run, n) != 0 || key[n] != '-' || strlen(key + n + 1) != 8
        || !str_to_u64(key + n + 1, UINT32_MAX, &seq))
        return false;
    if (seq >= b->n || !b->flags[seq]) {
        b->strangers++; /* its record was torn off, or it is not ours */
        return true;
    }
    if (b->flags[seq] & BOOK_PRESENT)
        b->flags[seq] |= BOOK_TWICE;
    b->flags[seq] |= BOOK_PRESENT;
    see_id(b, (uint32_t)seq, id);
    return true;
}

void book_sum(const struct book *b, struct book_sums *ret)
{
    *ret = (struct book_sums){0};
    for (uint32_t i = 0; i < b->n; i++) {
        unsigned f = b->flags[i];
        ret->intents += f != 0;
        ret->acked += (f & BOOK_ACKED) != 0;
        ret->present += (f & BOOK_ACKED) && (f & BOOK_PRESENT);
        ret->lost += (f & BOOK_ACKED) && !(f & BOOK_PRESENT);
        ret->unacked_present += !(f & BOOK_ACKED) && (f & BOOK_PRESENT);
        ret->duplicated += (f & BOOK_TWICE) != 0;
    }
}
