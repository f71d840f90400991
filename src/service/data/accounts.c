/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/accounts.h"

#include "base/str/str.h"
#include "domain/grants/grants.h"
#include "driver/sql/dialect.h"

#include <ctype.h>

#define OURS "mcp_dts.accounts"
#define ACCOUNTS_MAX 4096u
#define GRANTS_MAX 1024u /* of one account */
#define HASH_SHOWN 8

#define ERROR_NO_SUCH_USER 1133
#define ERROR_NO_SUCH_TABLE 1146
#define ERROR_NO_SUCH_DATABASE 1049

/* ---- which are ours */

static int make_list(struct sql_conn *c, struct err *e)
{
    int r = sql_exec(c, "CREATE DATABASE IF NOT EXISTS mcp_dts", e);
    if (r >= 0)
        r = sql_exec(c,
            "CREATE TABLE IF NOT EXISTS " OURS " (user VARCHAR(80) CHARACTER SET ascii COLLATE "
            "ascii_bin NOT NULL PRIMARY KEY) ENGINE=InnoDB",
            e);
    return r;
}

static bool is_missing(const struct sql_conn *c)
{
    return sql_errno(c) == ERROR_NO_SUCH_TABLE || sql_errno(c) == ERROR_NO_SUCH_DATABASE;
}

/* Their users, as keys. */
static int read_list(struct sql_conn *c, json_t **ret, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    struct sql_limits limits = {.max_rows = ACCOUNTS_MAX};
    json_t *list = json_object();
    int r = sql_query(c, "SELECT user FROM " OURS, &limits, &rows, e);
    for (size_t i = 0; i < rows.n; i++)
        json_object_set_new(list, sql_text(&rows.v[i], "user"), json_true());
    if (r < 0)
        json_decref(list);
    else
        *ret = list;
    return r;
}

static int list_or_make(struct sql_conn *c, json_t **ret, struct err *e)
{
    struct err why;
    int r = read_list(c, ret, &why);
    if (r < 0 && is_missing(c)) {
        r = make_list(c, e);
        if (r >= 0)
            *ret = json_object();
        return r;
    }
    if (r < 0 && e)
        *e = why;
    return r;
}

static int change_list(struct sql_conn *c, const char *verb, const char *user, struct err *e)
{
    _cleanup_str_ struct str s = STR_INIT;
    str_add(&s, verb);
    sql_add_text(&s, user);
    return sql_exec(c, str_cstr(&s), e);
}

/* ---- how they log in */

static int read_passwords(const json_t *account, struct sql_account *a, struct err *e)
{
    const json_t *list = json_object_get(account, "passwords");
    size_t i;
    json_t *p;
    if (json_array_size(list) > ARRAY_SIZE(a->passwords))
        return err_set(e, ERR_INVALID, "account '%s': too many passwords", a->user);
    json_array_foreach (list, i, p) {
        const char *hash = json_string_value(p);
        if (!hash || strlen(hash) != SQL_HASH_SIZE - 1 || hash[0] != '*'
            || strspn(hash + 1, "0123456789ABCDEF") != SQL_HASH_SIZE - 2)
            return err_set(e, ERR_INVALID, "account '%s': not the hash of a password", a->user);
        a->passwords[a->n_passwords++].hash = hash;
    }
    return 0;
}

/* The words of SHOW CREATE USER for it. */
static void expected_ways(const struct sql_account *a, struct str *out)
{
    str_add(out, "CREATE USER ");
    sql_add_name(out, a->user);
    str_add(out, "@`%`");
    if (a->n_passwords == 1)
        str_addf(out, " IDENTIFIED BY PASSWORD '%s'", a->passwords[0].hash);
    for (size_t i = 0; i < a->n_passwords && a->n_passwords > 1; i++)
        str_addf(out, " %s mysql_native_password USING '%s'", i ? "OR" : "IDENTIFIED VIA",
            a->passwords[i].hash);
    if (a->max_connections)
        str_addf(out, " WITH MAX_USER_CONNECTIONS %u", a->max_connections);
}

static int set_ways(struct sql_conn *c, const struct sql_account *a, struct err *e)
{
    _cleanup_str_ struct str ask = STR_INIT, has = STR_INIT, wants = STR_INIT;
    struct err why;
    str_add(&ask, "SHOW CREATE USER ");
    sql_add_account(&ask, a->user, NULL);
    expected_ways(a, &wants);
    int r = sql_value(c, str_cstr(&ask), &has, &why);
    if (r < 0 && sql_errno(c) != ERROR_NO_SUCH_USER) {
        if (e)
            *e = why;
        return r;
    }
    return r >= 0 && str_eq(str_cstr(&has), str_cstr(&wants)) ? 0 : sql_account_set(c, a, false, e);
}

/* ---- what they may */

struct right { /* on a table, or with "" on all of a schema */
    char database[65], table[65];
    unsigned privileges; /* that are wanted and not there */
};

struct rights {
    struct right v[GRANTS_MAX];
    size_t n;
};

static const struct {
    const char *name;
    unsigned bit;
} names[] = {{"SELECT", GRANT_SELECT}, {"INSERT", GRANT_INSERT}, {"UPDATE", GRANT_UPDATE},
    {"DELETE", GRANT_DELETE}};

static struct right *find_right(struct rights *all, const char *database, const char *table)
{
    for (size_t i = 0; i < all->n; i++)
        if (!strcmp(all->v[i].database, database) && !strcmp(all->v[i].table, table))
            return &all->v[i];
    return NULL;
}

static int want(struct rights *all, const json_t *grant, struct err *e)
{
    const char *database = json_opt_str(grant, "database", ""),
               *table = json_opt_str(grant, "table", "");
    unsigned privileges = grants_of_access(json_opt_str(grant, "access", NULL));
    struct right *r = find_right(all, database, str_eq(table, "*") ? "" : table);
    if (!privileges || !*database || !*table || (!r && all->n == GRANTS_MAX))
        return err_set(e, ERR_INVALID, "a grant on %s.%s", database, table);
    if (!r) {
        r = &all->v[all->n++];
        *r = (struct right){0};
        if (!str_copy(r->database, sizeof r->database, database)
            || !str_copy(r->table, sizeof r->table, str_eq(table, "*") ? "" : table))
            return err_set(e, ERR_INVALID, "a grant on %s.%s", database, table);
    }
    r->privileges |= privileges;
    return 0;
}

static void add_place(struct str *s, const char *database, const char *table)
{
    sql_add_name(s, database);
    str_add(s, ".");
    if (*table)
        sql_add_name(s, table);
    else
        str_add(s, "*");
}

static int take_away(struct sql_conn *c, const char *user, const char *what, const struct sql_row *row,
    struct err *e)
{
    _cleanup_str_ struct str s = STR_INIT;
    str_addf(&s, "REVOKE %s ON ", what);
    add_place(&s, sql_text(row, "db"), sql_text(row, "tab"));
    str_add(&s, " FROM ");
    sql_add_account(&s, user, NULL);
    return sql_exec(c, str_cstr(&s), e);
}

/* One privilege that the account has: struck from what it wants, or taken away. */
static int strike(
    struct sql_conn *c, const char *user, struct rights *all, const struct sql_row *row, struct err *e)
{
    struct right *r = find_right(all, sql_text(row, "db"), sql_text(row, "tab"));
    const char *privilege = sql_text(row, "privilege");
    unsigned bit = 0;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        bit |= str_eq(names[i].name, privilege) ? names[i].bit : 0;
    int k = 0;
    if (str_eq(sql_text(row, "grantable"), "YES"))
        k = take_away(c, user, "GRANT OPTION", row, e);
    if (k >= 0 && r && (r->privileges & bit))
        r->privileges &= ~bit;
    else if (k >= 0)
        k = take_away(c, user, privilege, row, e);
    return k;
}

static int strike_all(struct sql_conn *c, const char *user, const char *grantee, struct rights *all, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    _cleanup_str_ struct str s = STR_INIT;
    struct sql_limits limits = {.max_rows = 16 * GRANTS_MAX};
    str_addf(&s,
        "SELECT TABLE_SCHEMA db, TABLE_NAME tab, PRIVILEGE_TYPE privilege, IS_GRANTABLE grantable "
        "FROM information_schema.TABLE_PRIVILEGES WHERE GRANTEE=%s UNION ALL "
        "SELECT TABLE_SCHEMA, '', PRIVILEGE_TYPE, IS_GRANTABLE "
        "FROM information_schema.SCHEMA_PRIVILEGES WHERE GRANTEE=%s",
        grantee, grantee);
    int r = sql_query(c, str_cstr(&s), &limits, &rows, e);
    for (size_t i = 0; i < rows.n && r >= 0; i++)
        r = strike(c, user, all, &rows.v[i], e);
    return r;
}

static int grant(struct sql_conn *c, const char *user, const struct right *r, struct err *e)
{
    _cleanup_str_ struct str s = STR_INIT;
    const char *word = "GRANT ";
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (r->privileges & names[i].bit) {
            str_addf(&s, "%s%s", word, names[i].name);
            word = ", ";
        }
    str_add(&s, " ON ");
    add_place(&s, r->database, r->table);
    str_add(&s, " TO ");
    sql_add_account(&s, user, NULL);
    return sql_exec(c, str_cstr(&s), e);
}

/* Something global, on columns or routines, or a role: nothing of that kind is ever ours. All of it
 * goes, and what is declared is given anew. */
static int clear_odd(struct sql_conn *c, const char *user, const char *grantee, struct err *e)
{
    _cleanup_str_ struct str s = STR_INIT, n = STR_INIT, name = STR_INIT;
    sql_add_text(&name, user);
    str_addf(&s,
        "SELECT (SELECT COUNT(*) FROM information_schema.USER_PRIVILEGES WHERE GRANTEE=%s AND "
        "(PRIVILEGE_TYPE<>'USAGE' OR IS_GRANTABLE='YES')) + (SELECT COUNT(*) FROM "
        "information_schema.COLUMN_PRIVILEGES WHERE GRANTEE=%s) + (SELECT COUNT(*) FROM "
        "mysql.procs_priv WHERE User=%s AND Host='%%') + (SELECT COUNT(*) FROM mysql.proxies_priv "
        "WHERE User=%s AND Host='%%')",
        grantee, grantee, str_cstr(&name), str_cstr(&name));
    int r = sql_value(c, str_cstr(&s), &n, e);
    if (r < 0 || str_eq(str_cstr(&n), "0"))
        return r;
    str_clear(&s);
    str_add(&s, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM ");
    sql_add_account(&s, user, NULL);
    return sql_exec(c, str_cstr(&s), e);
}

static int clear_roles(struct sql_conn *c, const char *user, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    _cleanup_str_ struct str s = STR_INIT;
    str_add(&s, "SELECT Role FROM mysql.roles_mapping WHERE Host='%' AND User=");
    sql_add_text(&s, user);
    int r = sql_query(c, str_cstr(&s), NULL, &rows, e);
    for (size_t i = 0; i < rows.n && r >= 0; i++) {
        str_clear(&s);
        str_add(&s, "REVOKE ");
        sql_add_name(&s, sql_text(&rows.v[i], "Role"));
        str_add(&s, " FROM ");
        sql_add_account(&s, user, NULL);
        r = sql_exec(c, str_cstr(&s), e);
    }
    return r;
}

/* Returns how many have to wait for their table. */
static int set_rights(
    struct sql_conn *c, const char *user, const json_t *grants, struct rights *all, struct err *e)
{
    _cleanup_str_ struct str account = STR_INIT, grantee = STR_INIT;
    size_t i;
    json_t *g;
    int r = 0, waiting = 0;
    all->n = 0;
    json_array_foreach (grants, i, g) {
        r = want(all, g, e);
        if (r < 0)
            return r;
    }
    sql_add_account(&account, user, "%"); /* as information_schema writes it */
    sql_add_text(&grantee, str_cstr(&account));
    r = clear_odd(c, user, str_cstr(&grantee), e);
    if (r >= 0)
        r = clear_roles(c, user, e);
    if (r >= 0)
        r = strike_all(c, user, str_cstr(&grantee), all, e);
    for (i = 0; i < all->n && r >= 0; i++) {
        struct err why;
        if (!all->v[i].privileges)
            continue;
        r = grant(c, user, &all->v[i], &why);
        if (r < 0 && sql_errno(c) == ERROR_NO_SUCH_TABLE) {
            waiting++;
            r = 0;
        } else if (r < 0 && e) {
            *e = why;
        }
    }
    return r < 0 ? r : waiting;
}

/* ---- all of it */

static bool is_user(const char *user)
{
    for (const char *s = user; *s; s++)
        if (!islower((unsigned char)*s) && !isdigit((unsigned char)*s) && *s != '-')
            return false;
    return *user && strlen(user) <= 80;
}

static int set_account(
    struct sql_conn *c, const json_t *account, json_t *list, struct rights *all, struct err *e)
{
    struct sql_account a = {.user = json_opt_str(account, "user", ""),
        .max_connections = (uint32_t)MAX(json_opt_int(account, "max_connections", 0), 0)};
    if (!is_user(a.user))
        return err_set(e, ERR_INVALID, "\"%s\" is no account of a module", a.user);
    int r = read_passwords(account, &a, e);
    bool known = json_object_get(list, a.user);
    if (r < 0 || !a.n_passwords) {
        json_object_del(list, a.user);
        return r;
    }
    if (!known) /* before there is an account: one that nobody knew of would stay for ever */
        r = change_list(c, "INSERT INTO " OURS " SET user=", a.user, e);
    json_object_del(list, a.user);
    if (r >= 0)
        r = set_ways(c, &a, e);
    if (r >= 0)
        r = set_rights(c, a.user, json_object_get(account, "grants"), all, e);
    return r < 0 ? err_wrap(e, "account '%s'", a.user) : r;
}

/* Its sessions would go on without a right; what they have open is undone. */
static int end_sessions(struct sql_conn *c, const char *user, struct err *e)
{
    struct sql_session *v = NULL;
    size_t n = 0;
    int r = sql_sessions(c, &v, &n, e);
    for (size_t i = 0; i < n && r >= 0; i++)
        if (!strcmp(v[i].user, user))
            r = sql_kill_session(c, v[i].id, e);
    free(v);
    return r;
}

static int drop(struct sql_conn *c, const char *user, struct err *e)
{
    int r = sql_account_drop(c, user, NULL, e);
    if (r >= 0)
        r = end_sessions(c, user, e);
    if (r >= 0)
        r = change_list(c, "DELETE FROM " OURS " WHERE user=", user, e);
    return r;
}

int data_accounts_reconcile(struct sql_conn *c, const json_t *accounts, struct err *e)
{
    _cleanup_json_ json_t *list = NULL; /* ours; in the end those that nobody declares */
    _cleanup_free_ struct rights *all = xmalloc(sizeof *all);
    int waiting = 0, r = 0;
    size_t i;
    json_t *account;
    const char *user;
    json_t *ignored;
    if (json_array_size(accounts) > ACCOUNTS_MAX)
        return err_set(e, ERR_LIMIT, "over %u accounts", ACCOUNTS_MAX);
    r = list_or_make(c, &list, e);
    json_array_foreach (accounts, i, account) {
        if (r >= 0)
            r = set_account(c, account, list, all, e);
        waiting += MAX(r, 0);
    }
    json_object_foreach (list, user, ignored)
        if (r >= 0)
            r = drop(c, user, e);
    return r < 0 ? r : waiting;
}

/* ---- what is there */

static json_t *hashes_in(const char *text)
{
    json_t *list = json_array();
    for (const char *s = strchr(text, '*'); s; s = strchr(s + 1, '*'))
        if (strspn(s + 1, "0123456789ABCDEF") == SQL_HASH_SIZE - 2)
            json_array_append_new(list, json_stringn(s + 1, HASH_SHOWN));
    return list;
}

int data_accounts_read(struct sql_conn *c, json_t **ret, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    struct sql_limits limits = {.max_rows = ACCOUNTS_MAX};
    struct err why;
    json_t *all = json_object();
    int r = sql_query(c,
        "SELECT g.User user, g.Priv ways FROM mysql.global_priv g JOIN " OURS
        " a ON a.user=g.User WHERE g.Host='%'",
        &limits, &rows, &why);
    for (size_t i = 0; i < rows.n; i++)
        json_object_set_new(
            all, sql_text(&rows.v[i], "user"), hashes_in(sql_text(&rows.v[i], "ways")));
    if (r < 0 && !is_missing(c)) {
        json_decref(all);
        if (e)
            *e = why;
        return r;
    }
    *ret = all;
    return 0;
}
