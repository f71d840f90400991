/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/sql/priv.h"

#include <strings.h>

/* 0, or why the statement was not done. */
static int send(struct sql_conn *c, const char *statement, bool quiet, struct err *e)
{
    c->number = 0;
    c->state[0] = '\0';
    if (c->lost)
        return err_set(e, ERR_UNAVAILABLE, "the session is lost");
    int r = sql_stop_check(c->stop, e);
    if (r < 0)
        return r;
    sql_enter(c);
    r = mysql_real_query(c->my, statement, strlen(statement));
    sql_leave(c);
    return r ? sql_fail(c, quiet, e) : 0;
}

struct walk {
    struct sql_conn *c;
    sql_row_fn fn; /* NULL: rows are thrown away */
    void *ctx;
    MYSQL_RES *res;
    struct sql_cell *cells;
    size_t n;
};

static void name_cells(struct walk *w)
{
    const MYSQL_FIELD *fields = mysql_fetch_fields(w->res);
    w->n = mysql_num_fields(w->res);
    w->cells = xcalloc(w->n + 1, sizeof *w->cells);
    for (size_t i = 0; i < w->n; i++)
        w->cells[i].name = fields[i].name;
}

static int hand_over(struct walk *w, MYSQL_ROW row, struct err *e)
{
    const unsigned long *lengths = mysql_fetch_lengths(w->res);
    for (size_t i = 0; i < w->n; i++) {
        w->cells[i].value = row[i];
        w->cells[i].len = row[i] ? lengths[i] : 0;
    }
    struct sql_row r = {w->cells, w->n};
    return w->fn ? w->fn(w->ctx, &r, e) : 0;
}

static int walk_rows(struct walk *w, struct err *e)
{
    for (;;) {
        sql_enter(w->c);
        MYSQL_ROW row = mysql_fetch_row(w->res);
        sql_leave(w->c);
        if (!row)
            return mysql_errno(w->c->my) ? sql_fail(w->c, false, e) : 0;
        int r = hand_over(w, row, e);
        if (r >= 0)
            r = sql_stop_check(w->c->stop, e);
        if (r < 0) {
            sql_cut(w->c);
            return r;
        }
    }
}

/* One result, to its end or cut off. */
static int walk_result(struct walk *w, struct err *e)
{
    struct sql_conn *c = w->c;
    int r = 0;
    w->res = mysql_use_result(c->my);
    if (!w->res) {
        if (mysql_errno(c->my))
            return sql_fail(c, false, e);
        c->affected = mysql_affected_rows(c->my);
        return 0;
    }
    name_cells(w);
    r = walk_rows(w, e);
    sql_enter(c);
    mysql_free_result(w->res);
    sql_leave(c);
    free(w->cells);
    return r;
}

/* A CALL has several. */
static int walk_results(struct walk *w, bool quiet, struct err *e)
{
    for (;;) {
        int r = walk_result(w, e);
        if (r < 0)
            return r;
        sql_enter(w->c);
        r = mysql_next_result(w->c->my);
        sql_leave(w->c);
        if (r)
            return r < 0 ? 0 : sql_fail(w->c, quiet, e);
    }
}

int sql_walk(struct sql_conn *c, const char *statement, sql_row_fn fn, void *ctx, struct err *e)
{
    struct walk w = {.c = c, .fn = fn, .ctx = ctx};
    int r = send(c, statement, false, e);
    return r < 0 ? r : walk_results(&w, false, e);
}

int sql_exec(struct sql_conn *c, const char *statement, struct err *e)
{
    return sql_walk(c, statement, NULL, NULL, e);
}

int sql_execf(struct sql_conn *c, struct err *e, const char *fmt, ...)
{
    _cleanup_str_ struct str statement = STR_INIT;
    va_list ap;
    va_start(ap, fmt);
    str_addv(&statement, fmt, ap);
    va_end(ap);
    return sql_exec(c, str_cstr(&statement), e);
}

int sql_exec_secret(struct sql_conn *c, const char *statement, struct err *e)
{
    struct walk w = {.c = c};
    int r = send(c, statement, true, e);
    if (r >= 0)
        r = walk_results(&w, true, e);
    if (c->my->net.buff)
        secret_wipe(c->my->net.buff, c->my->net.max_packet);
    return r;
}

/* ---- rows in memory */

struct keep {
    struct sql_rows *rows;
    size_t cap, bytes;
    struct sql_limits limits;
    const struct sql_cell *names; /* of the row before, shared while they stay the same */
};

static int keep_row(void *ctx, const struct sql_row *row, struct err *e)
{
    struct keep *k = ctx;
    struct sql_rows *rows = k->rows;
    for (size_t i = 0; i < row->n; i++)
        k->bytes += row->cells[i].len + 1;
    k->bytes += row->n * sizeof *row->cells;
    if (rows->n >= k->limits.max_rows)
        return err_set(e, ERR_LIMIT, "over %zu rows", k->limits.max_rows);
    if (k->bytes > k->limits.max_bytes)
        return err_set(e, ERR_LIMIT, "over %zu bytes of rows", k->limits.max_bytes);
    struct sql_cell *cells = arena_alloc(rows->arena, (row->n + 1) * sizeof *cells);
    for (size_t i = 0; i < row->n; i++) {
        const struct sql_cell *from = &row->cells[i];
        cells[i].name = k->names ? k->names[i].name : arena_strdup(rows->arena, from->name);
        cells[i].value = from->value ? arena_strndup(rows->arena, from->value, from->len) : NULL;
        cells[i].len = from->len;
    }
    k->names = cells;
    struct sql_row *slot = GROW(rows->v, rows->n, k->cap);
    *slot = (struct sql_row){cells, row->n};
    return 0;
}

void sql_rows_done(struct sql_rows *r)
{
    free(r->v);
    arena_free(r->arena);
    *r = (struct sql_rows){0};
}

int sql_query(struct sql_conn *c, const char *statement, const struct sql_limits *limits,
    struct sql_rows *ret, struct err *e)
{
    struct keep k = {.rows = ret};
    if (limits)
        k.limits = *limits;
    if (!k.limits.max_rows)
        k.limits.max_rows = SQL_ROWS_MAX;
    if (!k.limits.max_bytes)
        k.limits.max_bytes = SQL_BYTES_MAX;
    ret->arena = arena_new(0);
    return sql_walk(c, statement, keep_row, &k, e);
}

struct first {
    struct str *out;
    bool any;
};

static int first_value(void *ctx, const struct sql_row *row, struct err *e)
{
    struct first *v = ctx;
    if (!v->any && row->n && row->cells[0].value)
        str_add_mem(v->out, row->cells[0].value, row->cells[0].len);
    v->any = true;
    return 0;
}

int sql_value(struct sql_conn *c, const char *statement, struct str *ret, struct err *e)
{
    struct first v = {ret, false};
    int r = sql_walk(c, statement, first_value, &v, e);
    return r < 0 ? r : v.any ? 0 : err_set(e, ERR_NOT_FOUND, "no row");
}

const struct sql_cell *sql_cell(const struct sql_row *row, const char *name)
{
    for (size_t i = 0; i < row->n; i++)
        if (!strcasecmp(row->cells[i].name, name))
            return &row->cells[i];
    return NULL;
}

const char *sql_text(const struct sql_row *row, const char *name)
{
    const struct sql_cell *cell = sql_cell(row, name);
    return cell && cell->value ? cell->value : "";
}

bool sql_u64(const struct sql_row *row, const char *name, uint64_t *ret)
{
    const struct sql_cell *cell = sql_cell(row, name);
    return cell && cell->value && str_to_u64(cell->value, UINT64_MAX, ret);
}
