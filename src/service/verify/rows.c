/* SPDX-License-Identifier: Apache-2.0 */
#include "service/verify/priv.h"

#define ROWS_MAX 100000u
#define CHUNKS_MAX 1000u

static json_t *key_of(const char *text)
{
    struct err e;
    json_t *key = NULL;
    return *text && json_parse(text, strlen(text), &key, &e) >= 0 ? key : json_null();
}

static json_int_t number(const struct sql_row *row, const char *name)
{
    uint64_t v = 0;
    sql_u64(row, name, &v);
    return (json_int_t)v;
}

int verify_differences(
    struct sql_conn *c, const char *schema, int64_t run, json_t **ret, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    str_addf(&q,
        "SELECT tbl, chunk, lower_key, upper_key, source_cnt, cnt FROM " VERIFY_SUMS
        " WHERE run = %lld AND db = ",
        (long long)run);
    sql_add_text(&q, schema);
    str_addf(&q,
        " AND (source_crc IS NULL OR crc <> source_crc OR cnt <> source_cnt) ORDER BY tbl, "
        "chunk LIMIT %u",
        CHUNKS_MAX);
    if (sql_query(c, str_cstr(&q), NULL, &rows, e) < 0)
        return err_wrap(e, "checksums");
    json_t *list = json_array();
    for (size_t i = 0; i < rows.n; i++) {
        const struct sql_row *row = &rows.v[i];
        json_array_append_new(
            list, json_pack("{s:s,s:I,s:o,s:o,s:I,s:I}", "table", sql_text(row, "tbl"), "chunk",
                      number(row, "chunk"), "lower", key_of(sql_text(row, "lower_key")), "upper",
                      key_of(sql_text(row, "upper_key")), "source_rows", number(row, "source_cnt"),
                      "rows", number(row, "cnt")));
    }
    *ret = list;
    return 0;
}

/* The key as it will stand in the result: its texts, or the row's sum where there is no key. */
static char *name_of(const struct verify_table *t, const struct sql_row *row)
{
    json_t *key = json_array();
    for (size_t i = 0; i < t->n_key; i++) {
        const struct sql_cell *cell = &row->cells[i];
        json_t *text = json_stringn(cell->value ? cell->value : "", cell->len);
        json_array_append_new(key, text ? text : json_string("(binary)"));
    }
    if (!t->n_key)
        json_array_append_new(key, json_sprintf("row with sum %s", row->cells[0].value));
    char *text = json_text(key);
    json_decref(key);
    return text;
}

int verify_rows(struct sql_conn *c, const struct verify_table *t, const json_t *lower,
    const json_t *upper, json_t **ret, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    str_add(&q, "SELECT ");
    verify_add_key(&q, t);
    str_add(&q, t->n_key ? ", " : "");
    verify_add_row_sum(&q, t);
    str_add(&q, " AS mcp_sum FROM ");
    verify_add_table(&q, t);
    str_add(&q, " WHERE ");
    verify_add_bound(&q, t, lower, true);
    str_add(&q, " AND ");
    verify_add_bound(&q, t, upper, false);
    str_addf(&q, " LIMIT %u", ROWS_MAX);
    if (sql_query(c, str_cstr(&q), NULL, &rows, e) < 0)
        return err_wrap(e, "rows of %s.%s", t->schema, t->name);
    json_t *all = json_object();
    for (size_t i = 0; i < rows.n; i++) {
        _cleanup_free_ char *name = name_of(t, &rows.v[i]);
        json_object_set_new(all, name, json_string(sql_text(&rows.v[i], "mcp_sum")));
    }
    *ret = all;
    return 0;
}
