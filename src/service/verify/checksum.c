/* SPDX-License-Identifier: Apache-2.0 */
#include "service/verify/priv.h"

#include "base/clock/clock.h"

#define FIRST_ROWS 1000u
#define ROWS_MOST 1000000u
#define CHUNK_MS 500u
#define KEYLESS_ROWS 100000u

struct sums {
    struct sql_conn *c;
    const struct verify_table *t;
    int64_t run;
    uint64_t chunk, rows;
};

/* Sums are rows of a table that is replicated like any other; only their computation goes as a
 * statement. REPEATABLE READ: InnoDB refuses statements' replication below it. */
int verify_begin(struct sql_conn *c, struct err *e)
{
    static const char *const statements[] = {
        "CREATE DATABASE IF NOT EXISTS mcp_dts",
        "CREATE TABLE IF NOT EXISTS " VERIFY_SUMS
        " (run BIGINT NOT NULL, db VARCHAR(64) NOT NULL, tbl VARCHAR(64) NOT NULL, chunk INT NOT "
        "NULL, lower_key TEXT, upper_key TEXT, crc BIGINT UNSIGNED NOT NULL, cnt BIGINT NOT NULL, "
        "source_crc BIGINT UNSIGNED, source_cnt BIGINT, PRIMARY KEY (run, db, tbl, chunk)) "
        "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET SESSION lock_wait_timeout = 5",
        "SET SESSION innodb_lock_wait_timeout = 5",
    };
    for (size_t i = 0; i < ARRAY_SIZE(statements); i++)
        if (sql_exec(c, statements[i], e) < 0)
            return err_wrap(e, "the table of checksums");
    return 0;
}

static void add_json(struct str *q, const json_t *at)
{
    _cleanup_free_ char *text = json_is_array(at) ? json_text(at) : NULL;
    if (text)
        sql_add_text(q, text);
    else
        str_add(q, "NULL");
}

static void add_where(struct str *q, const struct sums *s)
{
    str_addf(q, " WHERE run = %lld AND db = ", (long long)s->run);
    sql_add_text(q, s->t->schema);
    str_add(q, " AND tbl = ");
    sql_add_text(q, s->t->name);
    str_addf(q, " AND chunk = %llu", (unsigned long long)s->chunk);
}

static int as_statement(struct sql_conn *c, const char *statement, struct err *e)
{
    struct err back;
    if (sql_exec(c, "SET SESSION binlog_format = 'STATEMENT'", e) < 0)
        return e->code;
    int r = sql_exec(c, statement, e);
    int b = sql_exec(c, "SET SESSION binlog_format = 'ROW'", &back);
    if (r >= 0 && b < 0)
        *e = back;
    return r < 0 ? r : b;
}

static int compute(struct sums *s, const json_t *lower, const json_t *upper, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT;
    str_addf(&q,
        "REPLACE INTO " VERIFY_SUMS " (run, db, tbl, chunk, lower_key, upper_key, crc, cnt) "
        "SELECT %lld, ",
        (long long)s->run);
    sql_add_text(&q, s->t->schema);
    str_add(&q, ", ");
    sql_add_text(&q, s->t->name);
    str_addf(&q, ", %llu, ", (unsigned long long)s->chunk);
    add_json(&q, lower);
    str_add(&q, ", ");
    add_json(&q, upper);
    str_add(&q, ", COALESCE(BIT_XOR(");
    verify_add_row_sum(&q, s->t);
    str_add(&q, "), 0), COUNT(*) FROM ");
    verify_add_table(&q, s->t);
    str_add(&q, " WHERE ");
    verify_add_bound(&q, s->t, lower, true);
    str_add(&q, " AND ");
    verify_add_bound(&q, s->t, upper, false);
    return as_statement(s->c, str_cstr(&q), e);
}

/* The source's result, as values, so that it is the same everywhere. */
static int publish(struct sums *s, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT, u = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    str_add(&q, "SELECT crc, cnt FROM " VERIFY_SUMS);
    add_where(&q, s);
    if (sql_query(s->c, str_cstr(&q), NULL, &rows, e) < 0)
        return e->code;
    if (!rows.n)
        return err_set(e, ERR_FAILED, "the sum is not there");
    uint64_t crc = 0, cnt = 0;
    sql_u64(&rows.v[0], "crc", &crc);
    sql_u64(&rows.v[0], "cnt", &cnt);
    str_addf(&u, "UPDATE " VERIFY_SUMS " SET source_crc = %llu, source_cnt = %llu",
        (unsigned long long)crc, (unsigned long long)cnt);
    add_where(&u, s);
    s->rows += cnt;
    return as_statement(s->c, str_cstr(&u), e);
}

/* The key of the last row of the next `n` behind `lower`; NULL: the rest is less. */
static int find_upper(
    const struct sums *s, const json_t *lower, uint64_t n, json_t **ret, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    str_add(&q, "SELECT ");
    verify_add_key(&q, s->t);
    str_add(&q, " FROM ");
    verify_add_table(&q, s->t);
    str_add(&q, " WHERE ");
    verify_add_bound(&q, s->t, lower, true);
    str_add(&q, " ORDER BY ");
    verify_add_key(&q, s->t);
    str_addf(&q, " LIMIT 1 OFFSET %llu", (unsigned long long)n - 1);
    if (sql_query(s->c, str_cstr(&q), NULL, &rows, e) < 0)
        return e->code;
    *ret = rows.n ? json_array() : NULL;
    for (size_t i = 0; rows.n && i < rows.v[0].n; i++) {
        const struct sql_cell *cell = &rows.v[0].cells[i];
        json_t *text = json_stringn(cell->value ? cell->value : "", cell->len);
        if (!text) {
            json_decref(*ret);
            return err_set(e, ERR_INVALID, "its key is binary");
        }
        json_array_append_new(*ret, text);
    }
    return 0;
}

static uint64_t next_size(uint64_t n, uint64_t took_ms, uint64_t wish_ms)
{
    uint64_t better = n * wish_ms / MAX(took_ms, 1u);
    better = MIN(better, n * 4);
    return MAX(100u, MIN(better, ROWS_MOST));
}

static int walk(struct sums *s, const struct verify_pace *pace, struct err *e)
{
    uint64_t n = FIRST_ROWS, wish_ms = pace->chunk_ms ? pace->chunk_ms : CHUNK_MS;
    _cleanup_json_ json_t *lower = NULL;
    for (bool is_last = false; !is_last; s->chunk++) {
        _cleanup_json_ json_t *upper = NULL;
        if (pace->wait && pace->wait(pace->ctx, s->t->name, s->rows, e) < 0)
            return e->code;
        uint64_t begun = clock_boot_ms();
        if (s->t->n_key && find_upper(s, lower, n, &upper, e) < 0)
            return e->code;
        is_last = !upper;
        if (compute(s, lower, upper, e) < 0 || publish(s, e) < 0)
            return e->code;
        n = next_size(n, clock_boot_ms() - begun, wish_ms);
        json_decref(lower);
        lower = json_incref(upper);
    }
    return 0;
}

static json_t *skipped(const struct verify_table *t, const char *why)
{
    return json_pack("{s:s,s:s}", "table", t->name, "skipped", why);
}

int verify_checksum(struct sql_conn *c, const struct verify_table *t, int64_t run,
    const struct verify_pace *pace, json_t **ret, struct err *e)
{
    struct sums s = {.c = c, .t = t, .run = run};
    uint64_t most = pace->rows_max ? pace->rows_max : KEYLESS_ROWS;
    if (t->too_wide || (!t->n_key && t->rows > most)) {
        *ret = skipped(t, t->too_wide ? "it has over 256 columns"
                                      : "it has no key and too many rows to be summed at once");
        return 0;
    }
    if (walk(&s, pace, e) < 0) {
        if (e->code == ERR_CANCELED || sql_lost(c))
            return err_wrap(e, "checksum of %s.%s", t->schema, t->name);
        *ret = skipped(t, e->message);
        return 0;
    }
    *ret = json_pack("{s:s,s:I,s:I}", "table", t->name, "chunks", (json_int_t)s.chunk, "rows",
        (json_int_t)s.rows);
    return 0;
}
