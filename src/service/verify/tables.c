/* SPDX-License-Identifier: Apache-2.0 */
#include "service/verify/priv.h"

#include "base/digest/digest.h"

static bool is_wanted(const json_t *only, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach (only, i, one)
        if (str_eq(json_string_value(one), name))
            return true;
    return !only;
}

static int find_tables(struct sql_conn *c, const char *schema, const json_t *only,
    struct verify_table *v, size_t *n, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    str_add(&q, "SELECT table_name AS name, table_rows AS n FROM information_schema.tables WHERE "
                "table_type = 'BASE TABLE' AND table_schema = ");
    sql_add_text(&q, schema);
    str_add(&q, " ORDER BY 1");
    if (sql_query(c, str_cstr(&q), NULL, &rows, e) < 0)
        return e->code;
    for (size_t i = 0; i < rows.n; i++) {
        const char *name = sql_text(&rows.v[i], "name");
        if (!is_wanted(only, name))
            continue;
        if (*n == VERIFY_TABLES_MAX)
            return err_set(e, ERR_LIMIT, "%s has over %u tables", schema, VERIFY_TABLES_MAX);
        struct verify_table *t = &v[(*n)++];
        str_copy(t->schema, sizeof t->schema, schema);
        str_copy(t->name, sizeof t->name, name);
        sql_u64(&rows.v[i], "n", &t->rows);
    }
    return 0;
}

static struct verify_table *find(struct verify_table *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(v[i].name, name))
            return &v[i];
    return NULL;
}

static int add_columns(
    struct sql_conn *c, const char *schema, struct verify_table *v, size_t n, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    str_add(&q, "SELECT table_name AS t, column_name AS c, character_set_name AS cs FROM "
                "information_schema.columns WHERE table_schema = ");
    sql_add_text(&q, schema);
    str_add(&q, " ORDER BY table_name, ordinal_position");
    if (sql_query(c, str_cstr(&q), NULL, &rows, e) < 0)
        return e->code;
    for (size_t i = 0; i < rows.n; i++) {
        struct verify_table *t = find(v, n, sql_text(&rows.v[i], "t"));
        if (!t)
            continue;
        t->too_wide |= t->n_columns == ARRAY_SIZE(t->columns);
        if (t->too_wide)
            continue;
        struct verify_column *col = &t->columns[t->n_columns++];
        str_copy(col->name, sizeof col->name, sql_text(&rows.v[i], "c"));
        col->is_text = *sql_text(&rows.v[i], "cs") != '\0';
    }
    return 0;
}

static void add_key_column(struct verify_table *t, const char *name)
{
    for (unsigned i = 0; i < t->n_columns && t->n_key < ARRAY_SIZE(t->key); i++)
        if (str_eq(t->columns[i].name, name))
            t->key[t->n_key++] = i;
}

/* The primary key comes first, then unique keys without NULL by name; the first one is taken. */
static int add_keys(
    struct sql_conn *c, const char *schema, struct verify_table *v, size_t n, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    char taken[160] = "";
    str_add(&q, "SELECT table_name AS t, index_name AS k, column_name AS c FROM "
                "information_schema.statistics s WHERE non_unique = 0 AND table_schema = ");
    sql_add_text(&q, schema);
    str_add(&q,
        " AND NOT EXISTS (SELECT 1 FROM information_schema.statistics x WHERE "
        "x.table_schema = s.table_schema AND x.table_name = s.table_name AND x.index_name = "
        "s.index_name AND (x.nullable = 'YES' OR x.sub_part IS NOT NULL)) ORDER BY "
        "table_name, index_name <> 'PRIMARY', index_name, seq_in_index");
    if (sql_query(c, str_cstr(&q), NULL, &rows, e) < 0)
        return e->code;
    for (size_t i = 0; i < rows.n; i++) {
        char key[160];
        struct verify_table *t = find(v, n, sql_text(&rows.v[i], "t"));
        snprintf(key, sizeof key, "%s %s", sql_text(&rows.v[i], "t"), sql_text(&rows.v[i], "k"));
        if (!t || (t->n_key && !str_eq(taken, key)))
            continue;
        str_copy(taken, sizeof taken, key);
        add_key_column(t, sql_text(&rows.v[i], "c"));
    }
    return 0;
}

/* SHOW CREATE TABLE without the counter that differs between servers that are the same. */
static int add_shape(struct sql_conn *c, struct verify_table *t, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT, text = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    str_add(&q, "SHOW CREATE TABLE ");
    verify_add_table(&q, t);
    if (sql_query(c, str_cstr(&q), NULL, &rows, e) < 0)
        return e->code;
    const char *create = rows.n ? sql_text(&rows.v[0], "Create Table") : "";
    const char *counter = strstr(create, " AUTO_INCREMENT=");
    str_add_mem(&text, create, counter ? (size_t)(counter - create) : strlen(create));
    if (counter)
        str_add(&text, counter + 16 + strspn(counter + 16, "0123456789"));
    char digest[DIGEST_SIZE];
    digest_mem(str_cstr(&text), text.len, digest);
    const char *hex = strchr(digest, ':');
    str_copy(t->shape, sizeof t->shape, hex ? hex + 1 : digest);
    return 0;
}

int verify_tables(struct sql_conn *c, const char *schema, const json_t *only,
    struct verify_table **ret, size_t *ret_n, struct err *e)
{
    _cleanup_free_ struct verify_table *v = xcalloc(VERIFY_TABLES_MAX, sizeof *v);
    size_t n = 0;
    if (find_tables(c, schema, only, v, &n, e) < 0 || add_columns(c, schema, v, n, e) < 0
        || add_keys(c, schema, v, n, e) < 0)
        return err_wrap(e, "tables of %s", schema);
    for (size_t i = 0; i < n; i++)
        if (add_shape(c, &v[i], e) < 0)
            return err_wrap(e, "table %s.%s", schema, v[i].name);
    *ret = v;
    *ret_n = n;
    v = NULL;
    return 0;
}

int verify_shapes(struct sql_conn *c, const char *schema, json_t **ret, struct err *e)
{
    _cleanup_free_ struct verify_table *v = NULL;
    size_t n = 0;
    if (verify_tables(c, schema, NULL, &v, &n, e) < 0)
        return e->code;
    json_t *shapes = json_object();
    for (size_t i = 0; i < n; i++) {
        char name[140];
        snprintf(name, sizeof name, "%s.%s", v[i].schema, v[i].name);
        json_object_set_new(shapes, name, json_string(v[i].shape));
    }
    *ret = shapes;
    return 0;
}
