/* SPDX-License-Identifier: Apache-2.0 */
/* MySQL 8.0.23 to 9. Since 8.2 there are new words for binary logs and, in 8.4, for semi-synchronous
 * replication only the new ones; what differs is in struct words. */
#include "driver/sql/priv.h"

#include <inttypes.h>

#define PASSWORD_MAX 32        /* of SOURCE_PASSWORD */
#define ALREADY_INSTALLED 1125 /* a plugin */

static int attach(const struct sql_attach *a, struct sql_script *out, struct err *e)
{
    int r = sql_attach_check(a, PASSWORD_MAX, e);
    if (r < 0)
        return r;
    sql_script_add(
        out, "SET GLOBAL replica_net_timeout=%" PRIu32, a->net_timeout_s ? a->net_timeout_s : 10);
    _cleanup_secret_str_ struct str s = STR_INIT;
    str_add(&s, "CHANGE REPLICATION SOURCE TO SOURCE_HOST=");
    sql_add_text(&s, a->host);
    sql_add_option_u64(&s, "SOURCE_PORT", a->port ? a->port : 3306);
    sql_add_option(&s, "SOURCE_USER", a->user);
    sql_add_option(
        &s, "SOURCE_PASSWORD", a->password ? (const char *)secret_bytes(a->password) : "");
    str_add(&s, ", SOURCE_AUTO_POSITION=1");
    uint64_t beat = a->heartbeat_ms ? a->heartbeat_ms : 5000;
    str_addf(&s, ", SOURCE_HEARTBEAT_PERIOD=%" PRIu64 ".%03" PRIu64, beat / 1000, beat % 1000);
    sql_add_option_u64(&s, "SOURCE_CONNECT_RETRY", a->connect_retry_s ? a->connect_retry_s : 1);
    sql_add_option_u64(&s, "SOURCE_RETRY_COUNT", 0); /* for ever: the default gives up */
    sql_add_option_u64(&s, "SOURCE_DELAY", a->delay_s);
    sql_add_option(
        &s, "SOURCE_COMPRESSION_ALGORITHMS", a->compress ? "zstd,uncompressed" : "uncompressed");
    sql_add_option_u64(&s, "SOURCE_SSL", a->tls.mode != SQL_TLS_OFF);
    sql_add_option(&s, "SOURCE_SSL_CA", a->tls.ca ? a->tls.ca : "");
    sql_add_option(&s, "SOURCE_SSL_CERT", a->tls.cert ? a->tls.cert : "");
    sql_add_option(&s, "SOURCE_SSL_KEY", a->tls.key ? a->tls.key : "");
    sql_add_option_u64(&s, "SOURCE_SSL_VERIFY_SERVER_CERT", a->tls.mode == SQL_TLS_FULL);
    if (a->tls.mode == SQL_TLS_OFF) /* caching_sha2_password asks for it without TLS */
        sql_add_option_u64(&s, "GET_SOURCE_PUBLIC_KEY", 1);
    out->secret = true;
    sql_script_take(out, &s);
    return 0;
}

static const char *threads(enum sql_threads which)
{
    return which == SQL_THREAD_IO ? " IO_THREAD" : which == SQL_THREAD_SQL ? " SQL_THREAD" : "";
}

static void start(enum sql_threads which, struct sql_script *out)
{
    sql_script_add(out, "START REPLICA%s", threads(which));
}

static void stop(enum sql_threads which, struct sql_script *out)
{
    sql_script_add(out, "STOP REPLICA%s", threads(which));
}

static void reset_replica(bool forget_source, struct sql_script *out)
{
    sql_script_add(out, "RESET REPLICA%s", forget_source ? " ALL" : "");
}

static void reset_binlogs(struct sql_script *out)
{
    sql_script_add(out, "RESET BINARY LOGS AND GTIDS");
}

static void reset_binlogs_80(struct sql_script *out)
{
    sql_script_add(out, "RESET MASTER");
}

static void set_start(const struct gtid_set *position, struct sql_script *out)
{
    _cleanup_str_ struct str text = STR_INIT;
    gtid_set_format(position, &text);
    sql_script_add(out, "SET GLOBAL gtid_purged='%s'", str_cstr(&text));
}

/* super_read_only takes read_only with it; off has to name both. */
static void read_only(bool on, uint32_t lock_wait_s, struct sql_script *out)
{
    if (on) {
        sql_script_add(out, "SET SESSION lock_wait_timeout=%" PRIu32, lock_wait_s);
        sql_script_add(out, "SET GLOBAL super_read_only=1");
    } else {
        sql_script_add(out, "SET GLOBAL super_read_only=0");
        sql_script_add(out, "SET GLOBAL read_only=0");
    }
}

static void install(const char *plugin, const char *file, struct sql_script *out)
{
    sql_script_add(out, "INSTALL PLUGIN %s SONAME '%s.so'", plugin, file);
    sql_script_tolerate(out, ALREADY_INSTALLED);
}

static void semisync_words(
    const char *source, const char *replica, const struct sql_semisync *s, struct sql_script *out)
{
    char name[64], file[64];
    const char *const duties[] = {source, replica};
    for (size_t i = 0; i < ARRAY_SIZE(duties); i++) {
        snprintf(name, sizeof name, "rpl_semi_sync_%s", duties[i]);
        snprintf(file, sizeof file, "semisync_%s", duties[i]);
        install(name, file, out);
    }
    sql_script_add(out, "SET GLOBAL rpl_semi_sync_%s_wait_point='AFTER_SYNC'", source);
    sql_script_add(out, "SET GLOBAL rpl_semi_sync_%s_timeout=%" PRIu64, source,
        s->timeout_ms ? s->timeout_ms : 10000);
    sql_script_add(out, "SET GLOBAL rpl_semi_sync_%s_enabled=%d", source, s->source);
    sql_script_add(out, "SET GLOBAL rpl_semi_sync_%s_enabled=%d", replica, s->replica);
}

static void semisync(const struct sql_semisync *s, struct sql_script *out)
{
    semisync_words("source", "replica", s, out);
}

static void semisync_80(const struct sql_semisync *s, struct sql_script *out)
{
    semisync_words("master", "slave", s, out);
}

static void settings(const struct sql_settings *s, struct sql_script *out)
{
    if (s->net_timeout_s)
        sql_script_add(out, "SET GLOBAL replica_net_timeout=%" PRIu32, s->net_timeout_s);
    if (s->expire_s)
        sql_script_add(out, "SET GLOBAL binlog_expire_logs_seconds=%" PRIu32, s->expire_s);
}

static void flush_tls(struct sql_script *out)
{
    sql_script_add(out, "ALTER INSTANCE RELOAD TLS");
}

static void flush_binlogs(struct sql_script *out)
{
    sql_script_add(out, "FLUSH BINARY LOGS");
}

static int add_alter(
    const struct sql_account *a, struct secret *password, bool keep, struct sql_script *out)
{
    _cleanup_secret_str_ struct str s = STR_INIT;
    str_add(&s, "ALTER USER ");
    sql_add_account(&s, a->user, a->host);
    str_add(&s, " IDENTIFIED BY ");
    sql_add_text_mem(&s, secret_bytes(password), secret_len(password));
    if (keep)
        str_add(&s, " RETAIN CURRENT PASSWORD");
    sql_script_take(out, &s);
    return 0;
}

/* The one on its way out becomes the current one, then the newest beside it. */
static int add_passwords(const struct sql_account *a, struct sql_script *out, struct err *e)
{
    for (size_t i = 0; i < a->n_passwords; i++)
        if (!a->passwords[i].clear)
            return err_set(
                e, ERR_INVALID, "account '%s': MySQL takes no hash of a password", a->user);
    if (a->n_passwords > 1)
        add_alter(a, a->passwords[1].clear, false, out);
    add_alter(a, a->passwords[0].clear, a->n_passwords > 1, out);
    if (a->n_passwords == 1) {
        _cleanup_str_ struct str s = STR_INIT;
        str_add(&s, "ALTER USER ");
        sql_add_account(&s, a->user, a->host);
        str_add(&s, " DISCARD OLD PASSWORD");
        sql_script_take(out, &s);
    }
    return 0;
}

static int account_set(const struct sql_account *a, struct sql_script *out, struct err *e)
{
    out->secret = true;
    if (!a->n_passwords && a->require != SQL_REQUIRE_X509 && !a->by_socket)
        return err_set(e, ERR_INVALID, "account '%s': anybody could use it", a->user);
    _cleanup_secret_str_ struct str s = STR_INIT;
    str_add(&s, "CREATE USER IF NOT EXISTS ");
    sql_add_account(&s, a->user, a->host);
    if (a->by_socket)
        str_add(&s, " IDENTIFIED WITH auth_socket");
    else if (a->n_passwords) /* locked until it has its own: nobody knows this one */
        str_add(&s, " IDENTIFIED BY RANDOM PASSWORD");
    sql_add_require(&s, a);
    sql_script_take(out, &s);
    if (a->n_passwords) {
        int r = add_passwords(a, out, e);
        if (r < 0)
            return r;
    }
    str_add(&s, "ALTER USER ");
    sql_add_account(&s, a->user, a->host);
    sql_add_require(&s, a);
    sql_script_take(out, &s);
    return 0;
}

static const char *privileges(enum sql_duty duty)
{
    static const char *const texts[] = {[SQL_DUTY_REPLICA] = "REPLICATION SLAVE",
        [SQL_DUTY_SUPERVISOR] =
            "REPLICATION CLIENT, REPLICATION SLAVE, REPLICATION_SLAVE_ADMIN, BINLOG_ADMIN, "
            "CONNECTION_ADMIN, SYSTEM_VARIABLES_ADMIN, RELOAD, PROCESS, "
            "CREATE USER, SELECT",
        [SQL_DUTY_BACKUP] = "RELOAD, PROCESS, LOCK TABLES, REPLICATION CLIENT, BACKUP_ADMIN, "
                            "SELECT, SHOW VIEW, EVENT, TRIGGER"};
    return texts[duty];
}

static void wait(const struct gtid_set *position, uint64_t timeout_ms, struct str *out)
{
    str_add(out, "SELECT WAIT_FOR_EXECUTED_GTID_SET('");
    gtid_set_format(position, out);
    str_addf(out, "', %" PRIu64 ".%03" PRIu64 ")", timeout_ms / 1000, timeout_ms % 1000);
}

static enum sql_io_state io_state(const char *text)
{
    return !strcmp(text, "Yes")          ? SQL_IO_YES
           : !strcmp(text, "Connecting") ? SQL_IO_CONNECTING
                                         : SQL_IO_NO;
}

static void take_threads(const struct sql_row *row, struct sql_replica_status *s)
{
    s->io = io_state(sql_text(row, "Replica_IO_Running"));
    s->sql_running = !strcmp(sql_text(row, "Replica_SQL_Running"), "Yes");
    s->io_errno = (unsigned)sql_u64_or(row, "Last_IO_Errno", 0);
    s->sql_errno = (unsigned)sql_u64_or(row, "Last_SQL_Errno", 0);
    sql_take_text(row, "Last_IO_Error", s->io_error, sizeof s->io_error);
    sql_take_text(row, "Last_SQL_Error", s->sql_error, sizeof s->sql_error);
    sql_take_text(row, "Replica_IO_State", s->io_text, sizeof s->io_text);
    sql_take_text(row, "Replica_SQL_Running_State", s->sql_text, sizeof s->sql_text);
}

static int take_status(const struct sql_row *row, struct sql_replica_status *s, struct err *e)
{
    s->configured = true;
    sql_take_text(row, "Source_Host", s->source_host, sizeof s->source_host);
    sql_take_text(row, "Source_User", s->source_user, sizeof s->source_user);
    s->source_port = (uint16_t)sql_u64_or(row, "Source_Port", 0);
    s->source_server_id = (uint32_t)sql_u64_or(row, "Source_Server_Id", 0);
    take_threads(row, s);
    s->by_gtid = sql_u64_or(row, "Auto_Position", 0) != 0;
    s->tls = !strcmp(sql_text(row, "Source_SSL_Allowed"), "Yes");
    s->delay_s = (uint32_t)sql_u64_or(row, "SQL_Delay", 0);
    s->seconds_known = sql_u64(row, "Seconds_Behind_Source", &s->seconds_behind);
    s->relay_bytes = sql_u64_or(row, "Relay_Log_Space", 0);
    int r = sql_take_gtid(GTID_MYSQL, row, "Retrieved_Gtid_Set", &s->retrieved, e);
    return r < 0 ? r : sql_take_gtid(GTID_MYSQL, row, "Executed_Gtid_Set", &s->executed, e);
}

static int take_counters(struct sql_conn *c, struct sql_replica_status *s, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    const struct sql_row *row;
    int r = sql_one_row(c,
        "SELECT s.COUNT_RECEIVED_HEARTBEATS AS beats, ROUND(c.HEARTBEAT_INTERVAL*1000) AS period, "
        "a.COUNT_TRANSACTIONS_RETRIES AS retried "
        "FROM performance_schema.replication_connection_status s "
        "JOIN performance_schema.replication_connection_configuration c USING (CHANNEL_NAME) "
        "LEFT JOIN performance_schema.replication_applier_status a USING (CHANNEL_NAME) "
        "WHERE CHANNEL_NAME=''",
        &rows, &row, e);
    if (r < 0 || !row)
        return r;
    s->heartbeats = sql_u64_or(row, "beats", 0);
    s->heartbeat_ms = sql_u64_or(row, "period", 0);
    s->retried = sql_u64_or(row, "retried", 0);
    return 0;
}

static int read_status(struct sql_conn *c, struct sql_replica_status *ret, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    int r = sql_query(c, "SHOW REPLICA STATUS", NULL, &rows, e);
    for (size_t i = 0; r >= 0 && i < rows.n; i++)
        if (!*sql_text(&rows.v[i], "Channel_Name")) {
            r = take_status(&rows.v[i], ret, e);
            return r < 0 ? r : take_counters(c, ret, e);
        }
    return r;
}

static int read_position(struct sql_conn *c, struct sql_position *ret, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    const struct sql_row *row;
    int r = sql_one_row(c,
        "SELECT @@gtid_executed AS executed, @@gtid_purged AS purged, @@server_id AS id, "
        "@@server_uuid AS uuid, @@super_read_only AS read_only",
        &rows, &row, e);
    if (r < 0 || !row)
        return r < 0 ? r : err_set(e, ERR_PROTOCOL, "no answer to SELECT @@gtid_executed");
    ret->server_id = (uint32_t)sql_u64_or(row, "id", 0);
    ret->read_only = sql_u64_or(row, "read_only", 0) != 0;
    sql_take_text(row, "uuid", ret->uuid, sizeof ret->uuid);
    struct gtid_set *same[] = {&ret->binlog, &ret->applied, &ret->current, &ret->state};
    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(same); i++)
        r = sql_take_gtid(GTID_MYSQL, row, "executed", same[i], e);
    return r < 0 ? r : sql_take_gtid(GTID_MYSQL, row, "purged", &ret->purged, e);
}

/* The second or third event of each file lists what came before it. */
static int read_binlog_start(
    struct sql_conn *c, const char *log, struct gtid_set *ret, struct err *e)
{
    _cleanup_str_ struct str s = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    str_add(&s, "SHOW BINLOG EVENTS IN ");
    sql_add_text(&s, log);
    str_add(&s, " LIMIT 3");
    int r = sql_query(c, str_cstr(&s), NULL, &rows, e);
    for (size_t i = 0; r >= 0 && i < rows.n; i++)
        if (!strcmp(sql_text(&rows.v[i], "Event_type"), "Previous_gtids"))
            return sql_take_gtid(GTID_MYSQL, &rows.v[i], "Info", ret, e);
    return r < 0 ? r : err_set(e, ERR_NOT_FOUND, "no list of GTIDs in binary log %s", log);
}

#define COMMON                                                                                     \
    .vendor = SQL_MYSQL, .flavour = GTID_MYSQL, .attach = attach, .start = start, .stop = stop,    \
    .reset_replica = reset_replica, .set_start = set_start, .read_only = read_only,                \
    .settings = settings, .flush_tls = flush_tls, .flush_binlogs = flush_binlogs,                  \
    .account_set = account_set, .privileges = privileges, .wait = wait,                            \
    .read_status = read_status, .read_position = read_position,                                    \
    .read_binlog_start = read_binlog_start

const struct sql_dialect sql_mysql = {
    .name = "mysql", COMMON, .reset_binlogs = reset_binlogs, .semisync = semisync};
const struct sql_dialect sql_mysql80 = {
    .name = "mysql-8.0", COMMON, .reset_binlogs = reset_binlogs_80, .semisync = semisync_80};
