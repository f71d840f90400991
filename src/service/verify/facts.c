/* SPDX-License-Identifier: Apache-2.0 */
#include "service/verify/verify.h"

#include "domain/replication/preflight.h"
#include "driver/sql/dialect.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#define LISTED 100
#define OURS                                                                                       \
    "('mysql', 'information_schema', 'performance_schema', 'sys', 'mcp_dts')" /* servers' own */

static int variables(struct sql_conn *c, json_t *facts, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    json_t *vars = json_object();
    const char *const *names = preflight_variables();
    str_add(&q, "SHOW GLOBAL VARIABLES WHERE Variable_name IN (");
    for (size_t i = 0; names[i]; i++) {
        str_add(&q, i ? ", " : "");
        sql_add_text(&q, names[i]);
    }
    str_add_ch(&q, ')');
    json_object_set_new(facts, "variables", vars);
    int r = sql_query(c, str_cstr(&q), NULL, &rows, e);
    for (size_t i = 0; r >= 0 && i < rows.n; i++)
        json_object_set_new(vars, sql_text(&rows.v[i], "Variable_name"),
            json_string(sql_text(&rows.v[i], "Value")));
    return r;
}

/* The first column of each row, cut after LISTED. */
static int list(
    struct sql_conn *c, json_t *facts, const char *key, const char *query, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    json_t *names = json_array();
    json_object_set_new(facts, key, names);
    int r = sql_query(c, query, NULL, &rows, e);
    for (size_t i = 0; r >= 0 && i < rows.n && i <= LISTED; i++)
        json_array_append_new(names,
            json_string(
                i < LISTED ? rows.v[i].cells[0].value ? rows.v[i].cells[0].value : "" : "..."));
    return r < 0 ? err_wrap(e, "%s", key) : 0;
}

static int lists(struct sql_conn *c, json_t *facts, struct err *e)
{
    static const struct {
        const char *key, *query;
    } all[] = {
        {"no_primary_key",
            "SELECT CONCAT(t.table_schema, '.', t.table_name) FROM information_schema.tables t "
            "LEFT JOIN information_schema.table_constraints k ON k.table_schema = t.table_schema AND "
            "k.table_name = t.table_name AND k.constraint_type = 'PRIMARY KEY' WHERE t.table_type = "
            "'BASE TABLE' AND k.constraint_name IS NULL AND t.table_schema NOT IN " OURS
            " ORDER BY 1 LIMIT 101"},
        {"not_innodb",
            "SELECT CONCAT(table_schema, '.', table_name, ': ', engine) FROM "
            "information_schema.tables WHERE table_type = 'BASE TABLE' AND engine <> 'InnoDB' AND "
            "table_schema NOT IN " OURS " ORDER BY 1 LIMIT 101"},
        {"events", "SELECT CONCAT(event_schema, '.', event_name) FROM information_schema.events "
                   "WHERE event_schema NOT IN " OURS " ORDER BY 1 LIMIT 101"},
        {"triggers",
            "SELECT CONCAT(trigger_schema, '.', trigger_name) FROM information_schema.triggers WHERE "
            "trigger_schema NOT IN " OURS " ORDER BY 1 LIMIT 101"},
        {"powerful",
            "SELECT CONCAT(grantee, ': ', GROUP_CONCAT(privilege_type ORDER BY 1 SEPARATOR ', ')) "
            "FROM information_schema.user_privileges WHERE privilege_type IN ('SUPER', 'READ_ONLY "
            "ADMIN', 'READ ONLY ADMIN', 'CONNECTION_ADMIN', 'SYSTEM_VARIABLES_ADMIN') AND grantee "
            "NOT LIKE '\\'root\\'@%' AND grantee NOT LIKE '\\'mysql%' AND grantee NOT LIKE "
            "'\\'mcp\\\\_%' AND grantee NOT LIKE '\\'mariadb.sys%' GROUP BY grantee LIMIT 101"},
    };
    /* By InnoDB's own dictionary: table_constraints opens every view there is, those of sys with their
     * many temporary tables, and MariaDB 10.11 has died of it. */
    static const char of_mariadb[] =
        "SELECT REPLACE(t.name, '/', '.') FROM information_schema.innodb_sys_indexes i JOIN "
        "information_schema.innodb_sys_tables t ON t.table_id = i.table_id WHERE i.name = "
        "'GEN_CLUST_INDEX' AND t.name LIKE '%/%' AND t.name NOT LIKE '%#%' AND "
        "SUBSTRING_INDEX(t.name, '/', 1) NOT IN " OURS " ORDER BY 1 LIMIT 101";
    bool mariadb = sql_server(c)->vendor == SQL_MARIADB;
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (list(c, facts, all[i].key, mariadb && i == 0 ? of_mariadb : all[i].query, e) < 0)
            return e->code;
    return 0;
}

/* How fast the binary logs grow, of the files themselves. */
static int binlogs(struct sql_conn *c, const char *dir, json_t *facts, struct err *e)
{
    _cleanup_free_ struct sql_binlog *logs = NULL;
    size_t n = 0;
    uint64_t bytes = 0;
    struct statvfs fs;
    int r = sql_binlogs(c, &logs, &n, e);
    if (r < 0)
        return err_wrap(e, "binary logs");
    for (size_t i = 0; i < n; i++)
        bytes += logs[i].size_bytes;
    json_object_set_new(facts, "binlog_bytes", json_integer((json_int_t)bytes));
    if (!dir || statvfs(dir, &fs) < 0)
        return 0;
    json_object_set_new(
        facts, "disk_free", json_integer((json_int_t)(fs.f_bavail * (uint64_t)fs.f_frsize)));
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, n ? logs[0].name : "");
    if (n
        && !stat(path, &st)) /* written last when the next one began: the span is a little short */
        json_object_set_new(facts, "binlog_span_ms",
            json_integer((json_int_t)MAX(0, time(NULL) - st.st_mtime) * 1000));
    return 0;
}

int verify_facts(struct sql_conn *c, const char *binlog_dir, json_t **ret, struct err *e)
{
    const struct sql_server *s = sql_server(c);
    _cleanup_json_ json_t *facts = json_pack(
        "{s:s,s:s}", "vendor", s->vendor == SQL_MYSQL ? "mysql" : "mariadb", "version", s->version);
    if (variables(c, facts, e) < 0 || lists(c, facts, e) < 0
        || binlogs(c, binlog_dir, facts, e) < 0)
        return e->code;
    *ret = json_incref(facts);
    return 0;
}
