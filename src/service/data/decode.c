/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/decode.h"

#include "base/clock/clock.h"
#include "base/spawn/spawn.h"
#include "base/str/str.h"
#include "driver/sql/dialect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define FILES_MAX 256u
#define NAME_MAX_LEN 128u
#define RUN_MS 120000u
#define LOOK_MS 200
#define COLUMNS_MAX 512u
#define AROUND_MAX 10u /* rows of a transaction that are looked up */
#define ROWS_MAX 5u    /* that are shown of each */
#define VALUE_MAX 256u

/* ---- which files */

static bool is_log(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && strlen(dot + 1) >= 6 && strspn(dot + 1, "0123456789") == strlen(dot + 1)
           && strlen(name) < NAME_MAX_LEN;
}

static int by_name(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    return strlen(x) != strlen(y) ? (strlen(x) < strlen(y) ? -1 : 1) : strcmp(x, y);
}

void data_decode_logs_free(char **v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(v[i]);
    free(v);
}

static int list_logs(const char *dir, const char *first, char ***ret, size_t *ret_n, struct err *e)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    char **v = NULL;
    size_t n = 0;
    if (!d)
        return err_errno(e, errno, "open %s", dir);
    while ((entry = readdir(d))) {
        const char *name = entry->d_name;
        if (!is_log(name) || (first && by_name(&name, &first) < 0))
            continue;
        v = xrealloc(v, (n + 1) * sizeof *v);
        v[n++] = xstrdup(name);
    }
    closedir(d);
    if (n)
        qsort(v, n, sizeof *v, by_name);
    *ret = v;
    *ret_n = n;
    return 0;
}

int data_decode_logs(const char *dir, const char *first, char ***ret, size_t *ret_n, struct err *e)
{
    int r = list_logs(dir, first && *first ? first : NULL, ret, ret_n, e);
    for (size_t i = 0; r >= 0 && i < *ret_n; i++) {
        char *name = (*ret)[i];
        (*ret)[i] = xasprintf("%s/%s", dir, name);
        free(name);
    }
    return r;
}

int data_decode_first(struct sql_conn *c, const struct missing *m, char out[128], struct err *e)
{
    _cleanup_free_ struct sql_binlog *logs = NULL;
    size_t n = 0;
    int r = sql_binlogs(c, &logs, &n, e);
    out[0] = '\0';
    for (size_t i = n; r >= 0 && i-- > 0;) {
        _cleanup_gtid_ struct gtid_set start = {0};
        r = sql_binlog_start(c, logs[i].name, &start, e);
        if (r >= 0 && missing_begins_after(m, &start)) {
            str_copy(out, 128, logs[i].name);
            return 0;
        }
    }
    return r;
}

/* ---- the program */

struct reader {
    struct binlog_text *t;
    char line[BINLOG_TEXT_LINE];
    size_t len;
};

static void take(struct reader *r, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n') {
            binlog_text_line(r->t, r->line, r->len);
            r->len = 0;
        } else if (r->len < sizeof r->line) { /* the rest of a long one is cut */
            r->line[r->len++] = p[i];
        }
    }
}

static int read_all(int fd, struct binlog_text *t, struct sql_stop *stop, struct err *e)
{
    struct reader r = {.t = t};
    char piece[16384];
    uint64_t until = clock_boot_ms() + RUN_MS;
    while (!t->more) {
        struct pollfd p = {fd, POLLIN, 0};
        if (stop && sql_stop_raised(stop))
            return err_set(e, ERR_CANCELED, "given up");
        if (clock_boot_ms() > until)
            return err_set(e, ERR_TIMEOUT, "the logs were not read within %u s", RUN_MS / 1000);
        if (poll(&p, 1, LOOK_MS) <= 0)
            continue;
        ssize_t n = read(fd, piece, sizeof piece);
        if (n <= 0)
            break;
        take(&r, piece, (size_t)n);
    }
    binlog_text_end(t);
    return 0;
}

static int run(const char *dir, const char *const *argv, struct binlog_text *t,
    struct sql_stop *stop, struct err *e)
{
    int out[2];
    struct spawn_proc proc;
    struct spawn_exit x;
    struct err ignored;
    if (pipe2(out, O_CLOEXEC) < 0)
        return err_errno(e, errno, "pipe");
    const struct spawn_fd fds[] = {{out[1], 1}, {out[1], 2}};
    const struct spawn_opts opts = {
        .fds = fds, .n_fds = ARRAY_SIZE(fds), .dir = dir, .death_signal = SIGKILL};
    int r = spawn_start(argv, &opts, &proc, e);
    close(out[1]);
    if (r >= 0) {
        r = read_all(out[0], t, stop, e);
        (void)!spawn_signal(&proc, SIGKILL, &ignored); /* it has said enough, or has ended */
        (void)!spawn_reap(&proc, true, &x, &ignored);
    }
    close(out[0]);
    return r;
}

int data_decode(const char *dir, const char *first, struct binlog_text *t, struct sql_stop *stop,
    struct err *e)
{
    const char *argv[FILES_MAX + 6] = {
        "mariadb-binlog", "--no-defaults", "--verbose", "--base64-output=decode-rows"};
    char **names = NULL;
    size_t n = 0, k = 4;
    int r = list_logs(dir, first, &names, &n, e);
    if (r < 0)
        return r;
    for (size_t i = n > FILES_MAX ? n - FILES_MAX : 0; i < n; i++)
        argv[k++] = names[i];
    r = n ? run(dir, argv, t, stop, e) : 0;
    data_decode_logs_free(names, n);
    return r;
}

/* ---- columns */

bool data_decode_table(const char *row, char database[80], char table[80])
{
    const char *p = strchr(row, '`');
    return p && sscanf(p, "`%79[^`]`.`%79[^`]`", database, table) == 2;
}

static int columns_of(
    struct sql_conn *c, const char *database, const char *table, struct sql_rows *ret)
{
    _cleanup_str_ struct str q = STR_INIT;
    const struct sql_limits limits = {.max_rows = COLUMNS_MAX};
    struct err ignored;
    str_add(&q, "SELECT column_name n FROM information_schema.columns WHERE table_schema = ");
    sql_add_text(&q, database);
    str_add(&q, " AND table_name = ");
    sql_add_text(&q, table);
    str_add(&q, " ORDER BY ordinal_position");
    return sql_query(c, str_cstr(&q), &limits, ret, &ignored);
}

/* The numbers come in order, once or (UPDATE) twice: what looks like one within a value is rarely the
 * next. */
static json_t *named(const char *row, const struct sql_rows *columns)
{
    _cleanup_str_ struct str out = STR_INIT;
    size_t next = 1;
    for (const char *p = row; *p;) {
        char mark[32];
        snprintf(mark, sizeof mark, "@%zu=", next);
        bool again = next > 1 && !strncmp(p, "@1=", 3) && p > row && !strncmp(p - 4, "SET ", 4);
        if (again)
            next = 1;
        if ((again || !strncmp(p, mark, strlen(mark))) && p > row && p[-1] == ' '
            && next <= columns->n) {
            sql_add_name(&out, sql_text(&columns->v[next - 1], "n"));
            str_add_ch(&out, '=');
            p += again ? 3 : strlen(mark);
            next++;
        } else {
            str_add_ch(&out, *p++);
        }
    }
    return json_stringn(str_cstr(&out), out.len);
}

static void name_rows(struct sql_conn *c, json_t *rows)
{
    size_t i;
    json_t *row;
    char database[80], table[80], last[168] = "";
    struct sql_rows columns = {0};
    json_array_foreach (rows, i, row) {
        char both[168];
        if (!data_decode_table(json_string_value(row), database, table))
            continue;
        snprintf(both, sizeof both, "%s.%s", database, table);
        if (!str_eq(both, last)) {
            sql_rows_done(&columns);
            columns = (struct sql_rows){0};
            str_copy(last, sizeof last, columns_of(c, database, table, &columns) < 0 ? "" : both);
        }
        json_t *better = columns.n ? named(json_string_value(row), &columns) : NULL;
        if (better)
            json_array_set_new(rows, i, better);
    }
    sql_rows_done(&columns);
}

void data_decode_names(struct sql_conn *c, json_t *transactions)
{
    size_t i;
    json_t *t;
    json_array_foreach (transactions, i, t)
        name_rows(c, json_object_get(t, "rows"));
}

/* ---- what is here under the same keys */

/* The value of column n (from 1), as the program prints it. */
static bool value_of(const char *row, size_t n, char out[VALUE_MAX])
{
    char mark[32], after[32];
    snprintf(mark, sizeof mark, " @%zu=", n);
    snprintf(after, sizeof after, " @%zu=", n + 1);
    const char *p = strstr(row, mark);
    if (!p)
        return false;
    p += strlen(mark);
    const char *end = strstr(p, after), *set = strstr(p, " SET @1=");
    if (set && (!end || set < end))
        end = set;
    size_t len = end ? (size_t)(end - p) : strlen(p);
    if (len >= VALUE_MAX)
        return false;
    memcpy(out, p, len);
    out[len] = '\0';
    return true;
}

/* "40", "-1294967296 (3000000000)", "'text'"; false: not to be asked for. */
static bool add_condition(struct str *q, const char *column, const char *value)
{
    size_t digits = strspn(value + (*value == '-'), "0123456789") + (*value == '-');
    size_t len = strlen(value);
    if (digits && (!value[digits] || !strncmp(value + digits, " (", 2))) {
        sql_add_name(q, column);
        str_addf(q, " IN (%.*s", (int)digits, value);
        if (value[digits])
            str_addf(q, ",%.*s", (int)strspn(value + digits + 2, "0123456789"), value + digits + 2);
        str_add(q, ")");
        return !value[digits] || value[len - 1] == ')';
    }
    if (len < 2 || *value != '\'' || value[len - 1] != '\'' || strchr(value, '\\'))
        return false;
    sql_add_name(q, column);
    str_add(q, "=");
    sql_add_text_mem(q, value + 1, len - 2);
    return true;
}

static int keys_of(struct sql_conn *c, const char *database, const char *table, struct sql_rows *ret)
{
    _cleanup_str_ struct str q = STR_INIT;
    struct err ignored;
    str_add(&q,
        "SELECT s.index_name k, s.column_name n, c.ordinal_position p FROM "
        "information_schema.statistics s JOIN information_schema.columns c USING (table_schema, "
        "table_name, column_name) WHERE s.non_unique = 0 AND s.table_schema = ");
    sql_add_text(&q, database);
    str_add(&q, " AND s.table_name = ");
    sql_add_text(&q, table);
    str_add(&q, " ORDER BY s.index_name, s.seq_in_index");
    return sql_query(c, str_cstr(&q), NULL, ret, &ignored);
}

static json_t *rows_json(const struct sql_rows *rows)
{
    json_t *list = json_array();
    for (size_t i = 0; i < rows->n; i++) {
        json_t *one = json_object();
        for (size_t k = 0; k < rows->v[i].n; k++) {
            const struct sql_cell *cell = &rows->v[i].cells[k];
            json_t *v = cell->value ? json_stringn(cell->value, MIN(cell->len, (size_t)VALUE_MAX))
                                    : json_null();
            json_object_set_new(one, cell->name, v ? v : json_string("(not UTF-8)"));
        }
        json_array_append_new(list, one);
    }
    return list;
}

static void ask_key(struct sql_conn *c, const char *database, const char *table, const char *key,
    const struct str *where, json_t *list)
{
    _cleanup_str_ struct str q = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    const struct sql_limits limits = {.max_rows = ROWS_MAX + 1};
    struct err ignored;
    str_add(&q, "SELECT * FROM ");
    sql_add_name(&q, database);
    str_add(&q, ".");
    sql_add_name(&q, table);
    str_addf(&q, " WHERE %s LIMIT %u", where->buf, ROWS_MAX);
    if (sql_query(c, str_cstr(&q), &limits, &rows, &ignored) < 0)
        return;
    json_t *one = json_pack("{s:o,s:s,s:s,s:o}", "table", json_sprintf("%s.%s", database, table),
        "key", key, "where", where->buf, "rows", rows_json(&rows));
    if (one)
        json_array_append_new(list, one);
}

static void around_row(struct sql_conn *c, const char *row, json_t *list)
{
    char database[80], table[80], value[VALUE_MAX];
    _cleanup_sql_rows_ struct sql_rows keys = {0};
    if (!data_decode_table(row, database, table) || keys_of(c, database, table, &keys) < 0)
        return;
    for (size_t i = 0; i < keys.n;) {
        const char *key = sql_text(&keys.v[i], "k");
        _cleanup_str_ struct str where = STR_INIT;
        bool whole = true;
        for (; i < keys.n && str_eq(sql_text(&keys.v[i], "k"), key); i++) {
            uint64_t n = 0;
            if (where.len)
                str_add(&where, " AND ");
            whole = whole && sql_u64(&keys.v[i], "p", &n) && value_of(row, n, value)
                    && add_condition(&where, sql_text(&keys.v[i], "n"), value);
        }
        if (whole)
            ask_key(c, database, table, key, &where, list);
    }
}

json_t *data_decode_around(struct sql_conn *c, const json_t *transaction)
{
    json_t *list = json_array(), *row;
    size_t i;
    json_array_foreach (json_object_get(transaction, "rows"), i, row)
        if (i < AROUND_MAX)
            around_row(c, json_string_value(row), list);
    return list;
}
