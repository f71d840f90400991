/* SPDX-License-Identifier: Apache-2.0 */
/* What the platform needs in a database, made at the source and replicated from there. All of it is
 * idempotent; the epoch's row comes last, so that where it is, everything is. */
#include "service/data/priv.h"

#include "base/rnd/rnd.h"
#include "base/spawn/spawn.h"
#include "base/str/str.h"
#include "service/data/accounts.h"

#include <inttypes.h>

#define SCHEMA_TIMEOUT_MS 300000u

bool data_is_system_user(const char *user)
{
    static const char *const users[] = {
        DATA_USER, DATA_REPL, DATA_PROBE, "root", "mariadb.sys", "system user", "event_scheduler"};
    for (size_t i = 0; i < ARRAY_SIZE(users); i++)
        if (str_eq(user, users[i]))
            return true;
    return false;
}

static int run_all(struct sql_conn *c, const char *const *v, size_t n, struct err *e)
{
    int r = 0;
    for (size_t i = 0; i < n && r >= 0; i++)
        r = sql_exec(c, v[i], e);
    return r;
}

/* heartbeat: one row a server, written each second by a source. ts6 is its clock as the platform
 * measures it, boot_us the same moment on a clock that nobody sets; last_gtid is the transaction of
 * the row before this one, so that a replica can tell when it had come; pos is everything that the
 * source had then. */
static int make_tables(struct sql_conn *c, struct err *e)
{
    static const char *const v[] = {
        "CREATE DATABASE IF NOT EXISTS " DATA_SCHEMA " CHARACTER SET utf8mb4",
        "CREATE TABLE IF NOT EXISTS " DATA_SCHEMA ".epoch (epoch BIGINT UNSIGNED NOT NULL PRIMARY KEY, "
        "server_id INT UNSIGNED NOT NULL, gtid TEXT NOT NULL, ts6 TIMESTAMP(6) NOT NULL) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS " DATA_SCHEMA ".heartbeat (server_id INT UNSIGNED NOT NULL PRIMARY KEY, "
        "epoch BIGINT UNSIGNED NOT NULL, seq BIGINT UNSIGNED NOT NULL, ts6 DATETIME(6) NOT NULL, "
        "boot_us BIGINT UNSIGNED NOT NULL, last_gtid VARCHAR(64) NOT NULL, pos TEXT NOT NULL) "
        "ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS " DATA_SCHEMA ".canary (id INT NOT NULL PRIMARY KEY, "
        "seq BIGINT UNSIGNED NOT NULL) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS " DATA_SCHEMA ".probe (id INT NOT NULL PRIMARY KEY, "
        "password CHAR(48) NOT NULL) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS " DATA_SCHEMA ".schema_files (name VARCHAR(255) NOT NULL PRIMARY KEY, "
        "digest CHAR(71) NOT NULL, ts6 TIMESTAMP(6) NOT NULL) ENGINE=InnoDB",
    };
    return run_all(c, v, ARRAY_SIZE(v), e);
}

/* The probe may do what an application may, to rows of ours. Its password lies in a table that only
 * we may read (unix_socket takes no other system user's name in 10.11), so every member has it. */
static int make_probe(struct sql_conn *c, const struct data_want *w, struct err *e)
{
    const char *host = w->external ? "%" : "localhost";
    uint8_t random[24];
    char text[2 * sizeof random + 1];
    rnd_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(&text[2 * i], 3, "%02x", random[i]);
    int r = sql_execf(c, e, "INSERT IGNORE INTO " DATA_SCHEMA ".probe VALUES (1, '%s')", text);
    secret_wipe(text, sizeof text);
    _cleanup_secret_ struct secret *password = NULL;
    if (r >= 0)
        r = data_probe_password(c, &password, e);
    if (r < 0)
        return r;
    struct sql_account probe = {
        .user = DATA_PROBE, .host = host, .passwords = {{.clear = password}}, .n_passwords = 1};
    r = sql_account_set(c, &probe, false, e);
    static const char *const tables[] = {"heartbeat", "canary"};
    for (size_t i = 0; i < ARRAY_SIZE(tables) && r >= 0; i++)
        r = sql_execf(c, e,
            "GRANT SELECT, INSERT, UPDATE ON " DATA_SCHEMA ".%s TO '" DATA_PROBE "'@'%s'", tables[i],
            host);
    return r;
}

int data_probe_password(struct sql_conn *c, struct secret **ret, struct err *e)
{
    _cleanup_secret_str_ struct str text = STR_INIT;
    int r = sql_value(c, "SELECT password FROM " DATA_SCHEMA ".probe WHERE id=1", &text, e);
    if (r >= 0)
        *ret = secret_new(text.buf, text.len);
    return r;
}

/* Replicas of a server that others run log in as we do. */
static int make_replicator(struct sql_conn *c, struct err *e)
{
    struct sql_account repl = {
        .user = DATA_REPL, .require = SQL_REQUIRE_X509, .subject = DATA_SUBJECT};
    int r = sql_account_set(c, &repl, false, e);
    return r < 0 ? r : sql_exec(c, "GRANT REPLICATION SLAVE ON *.* TO '" DATA_REPL "'@'%'", e);
}

static int make_own_accounts(struct sql_conn *c, const struct data_want *w, struct err *e)
{
    int r = w->external ? 0 : make_replicator(c, e);
    return r < 0 ? r : make_probe(c, w, e);
}

int data_form_epoch(struct sql_conn *c, const struct data_want *w, struct err *e)
{
    int r = make_tables(c, e);
    if (r >= 0)
        r = make_own_accounts(c, w, e);
    if (r >= 0)
        r = sql_execf(c, e,
            "INSERT IGNORE INTO " DATA_SCHEMA ".epoch VALUES (%" PRIu64 ", %" PRIu32
            ", @@global.gtid_current_pos, NOW(6))",
            w->epoch, w->self.id);
    return r < 0 ? err_wrap(e, "epoch %" PRIu64, w->epoch) : 0;
}

/* Of a file, or of its state before: the server's own client knows delimiters and comments. */
static int apply_file(
    const struct data_want *w, const char *name, const char *text, struct err *e)
{
    _cleanup_free_ char *socket = xasprintf("--socket=%s/run/db.sock", w->dir);
    const char *argv[] = {"mariadb", "--no-defaults", socket, "--user=" DATA_USER, "--batch",
        "--default-character-set=utf8mb4", w->name, NULL};
    struct spawn_opts o = {
        .input = text, .input_len = strlen(text), .timeout_ms = SCHEMA_TIMEOUT_MS};
    return spawn_check(argv, &o, NULL, e) < 0 ? err_wrap(e, "schema file %s", name) : 0;
}

static int schema_file(
    struct sql_conn *c, const struct data_want *w, const json_t *entry, const json_t *files, struct err *e)
{
    const char *name = json_opt_str(entry, "name", ""), *digest = json_opt_str(entry, "digest", "");
    _cleanup_str_ struct str query = STR_INIT, there = STR_INIT;
    str_add(&query, "SELECT digest FROM " DATA_SCHEMA ".schema_files WHERE name=");
    sql_add_text(&query, name);
    int r = sql_value(c, str_cstr(&query), &there, e);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    if (str_eq(str_cstr(&there), digest))
        return 0;
    const char *text = json_opt_str(files, digest, NULL);
    if (!text)
        return err_set(e, ERR_UNAVAILABLE, "schema file %s has not come yet", name);
    r = apply_file(w, name, text, e);
    if (r < 0)
        return r;
    str_clear(&query);
    str_add(&query, "REPLACE INTO " DATA_SCHEMA ".schema_files VALUES (");
    sql_add_text(&query, name);
    str_add(&query, ", ");
    sql_add_text(&query, digest);
    str_add(&query, ", NOW(6))");
    return sql_exec(c, str_cstr(&query), e);
}

int data_form(struct sql_conn *c, const struct data_want *w, const json_t *files, struct err *e)
{
    _cleanup_str_ struct str create = STR_INIT;
    size_t i;
    json_t *entry;
    str_add(&create, "CREATE DATABASE IF NOT EXISTS ");
    sql_add_name(&create, w->name);
    str_add(&create, " CHARACTER SET utf8mb4");
    int r = w->external ? 0 : sql_exec(c, str_cstr(&create), e);
    json_array_foreach (json_object_get(w->json, "schema"), i, entry)
        if (r >= 0)
            r = schema_file(c, w, entry, files, e);
    const json_t *accounts = json_object_get(w->json, "accounts");
    if (r < 0 || !json_is_array(accounts)) /* null: not known now, nothing is touched */
        return r;
    r = data_accounts_reconcile(c, accounts, e);
    return r > 0 ? err_set(e, ERR_UNAVAILABLE, "%d grants wait for their tables", r) : r;
}
