/* SPDX-License-Identifier: Apache-2.0 */
#include "service/verify/priv.h"

void verify_add_table(struct str *out, const struct verify_table *t)
{
    sql_add_name(out, t->schema);
    str_add_ch(out, '.');
    sql_add_name(out, t->name);
}

/* CONCAT_WS leaves NULLs out: which of the columns are NULL is a text of its own behind them. */
void verify_add_row_sum(struct str *out, const struct verify_table *t)
{
    str_add(out, "CRC32(CONCAT_WS('#'");
    for (size_t i = 0; i < t->n_columns; i++) {
        const struct verify_column *col = &t->columns[i];
        str_add(out, col->is_text ? ", CAST(" : ", ");
        sql_add_name(out, col->name);
        str_add(out, col->is_text ? " AS BINARY)" : "");
    }
    str_add(out, ", CONCAT(");
    for (size_t i = 0; i < t->n_columns; i++) {
        str_add(out, i ? ", ISNULL(" : "ISNULL(");
        sql_add_name(out, t->columns[i].name);
        str_add_ch(out, ')');
    }
    str_add(out, ")))");
}

void verify_add_key(struct str *out, const struct verify_table *t)
{
    for (size_t i = 0; i < t->n_key; i++) {
        str_add(out, i ? ", " : "");
        sql_add_name(out, t->columns[t->key[i]].name);
    }
}

static void add_compare(
    struct str *out, const struct verify_table *t, size_t i, const char *op, const json_t *at)
{
    const json_t *value = json_array_get(at, i);
    sql_add_name(out, t->columns[t->key[i]].name);
    str_add(out, op);
    sql_add_text(out, json_is_string(value) ? json_string_value(value) : "");
}

/* (a > x OR (a = x AND b > y)); the last comparison of "not behind" includes equality. */
void verify_add_bound(struct str *out, const struct verify_table *t, const json_t *at, bool after)
{
    if (!json_is_array(at) || !t->n_key) {
        str_add_ch(out, '1');
        return;
    }
    str_add_ch(out, '(');
    for (size_t i = 0; i < t->n_key; i++) {
        bool is_last = i + 1 == t->n_key;
        str_add(out, i ? " OR (" : "(");
        for (size_t k = 0; k < i; k++) {
            add_compare(out, t, k, " = ", at);
            str_add(out, " AND ");
        }
        add_compare(out, t, i, after ? " > " : is_last ? " <= " : " < ", at);
        str_add_ch(out, ')');
    }
    str_add_ch(out, ')');
}
