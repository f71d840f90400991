/* SPDX-License-Identifier: Apache-2.0 */
/* MariaDB 10.6 and later. */
#include "driver/sql/priv.h"

#include <inttypes.h>

#define PASSWORD_MAX 96 /* of MASTER_PASSWORD */

static int attach(const struct sql_attach *a, struct sql_script *out, struct err *e)
{
    int r = sql_attach_check(a, PASSWORD_MAX, e);
    if (r < 0)
        return r;
    if (a->tls.mode == SQL_TLS_CA)
        return err_set(e, ERR_INVALID,
            "MariaDB's replication checks a certificate with its name or not at all");
    sql_script_add(
        out, "SET GLOBAL slave_net_timeout=%" PRIu32, a->net_timeout_s ? a->net_timeout_s : 10);
    sql_script_add(out, "SET GLOBAL slave_compressed_protocol=%d", a->compress);
    _cleanup_secret_str_ struct str s = STR_INIT;
    str_add(&s, "CHANGE MASTER TO MASTER_HOST=");
    sql_add_text(&s, a->host);
    sql_add_option_u64(&s, "MASTER_PORT", a->port ? a->port : 3306);
    sql_add_option(&s, "MASTER_USER", a->user);
    sql_add_option(
        &s, "MASTER_PASSWORD", a->password ? (const char *)secret_bytes(a->password) : "");
    str_addf(&s, ", MASTER_USE_GTID=%s", a->from_current ? "current_pos" : "slave_pos");
    uint64_t beat = a->heartbeat_ms ? a->heartbeat_ms : 5000;
    str_addf(&s, ", MASTER_HEARTBEAT_PERIOD=%" PRIu64 ".%03" PRIu64, beat / 1000, beat % 1000);
    sql_add_option_u64(&s, "MASTER_CONNECT_RETRY", a->connect_retry_s ? a->connect_retry_s : 1);
    sql_add_option_u64(&s, "MASTER_DELAY", a->delay_s);
    sql_add_option_u64(&s, "MASTER_SSL", a->tls.mode != SQL_TLS_OFF);
    sql_add_option(&s, "MASTER_SSL_CA", a->tls.ca ? a->tls.ca : "");
    sql_add_option(&s, "MASTER_SSL_CERT", a->tls.cert ? a->tls.cert : "");
    sql_add_option(&s, "MASTER_SSL_KEY", a->tls.key ? a->tls.key : "");
    sql_add_option_u64(&s, "MASTER_SSL_VERIFY_SERVER_CERT", a->tls.mode == SQL_TLS_FULL);
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
    sql_script_add(out, "START SLAVE%s", threads(which));
}

static void stop(enum sql_threads which, struct sql_script *out)
{
    sql_script_add(out, "STOP SLAVE%s", threads(which));
}

static void reset_replica(bool forget_source, struct sql_script *out)
{
    sql_script_add(out, "RESET SLAVE%s", forget_source ? " ALL" : "");
}

static void reset_binlogs(struct sql_script *out)
{
    sql_script_add(out, "RESET MASTER");
}

static void set_start(const struct gtid_set *position, struct sql_script *out)
{
    _cleanup_gtid_ struct gtid_set one = {0};
    _cleanup_str_ struct str text = STR_INIT;
    gtid_set_to_position(position, &one);
    gtid_set_format(&one, &text);
    sql_script_add(out, "SET GLOBAL gtid_slave_pos='%s'", str_cstr(&text));
}

static void read_only(bool on, uint32_t lock_wait_s, struct sql_script *out)
{
    if (on)
        sql_script_add(out, "SET SESSION lock_wait_timeout=%" PRIu32, lock_wait_s);
    sql_script_add(out, "SET GLOBAL read_only=%d", on);
}

static void semisync(const struct sql_semisync *s, struct sql_script *out)
{
    sql_script_add(out, "SET GLOBAL rpl_semi_sync_master_wait_point='AFTER_SYNC'");
    sql_script_add(out, "SET GLOBAL rpl_semi_sync_master_timeout=%" PRIu64,
        s->timeout_ms ? s->timeout_ms : 10000);
    sql_script_add(out, "SET GLOBAL rpl_semi_sync_master_enabled=%d", s->source);
    sql_script_add(out, "SET GLOBAL rpl_semi_sync_slave_enabled=%d", s->replica);
}

static void settings(const struct sql_settings *s, struct sql_script *out)
{
    sql_script_add(out, "SET GLOBAL slave_compressed_protocol=%d", s->compress);
    if (s->net_timeout_s)
        sql_script_add(out, "SET GLOBAL slave_net_timeout=%" PRIu32, s->net_timeout_s);
    if (s->expire_s)
        sql_script_add(out, "SET GLOBAL binlog_expire_logs_seconds=%" PRIu32, s->expire_s);
    if (s->set_domain)
        sql_script_add(out, "SET GLOBAL gtid_domain_id=%" PRIu32, s->domain);
}

static void flush_tls(struct sql_script *out)
{
    sql_script_add(out, "FLUSH LOCAL SSL");
}

static void flush_binlogs(struct sql_script *out)
{
    sql_script_add(out, "FLUSH BINARY LOGS");
}

/* All ways in, tried by the server in this order. */
static int add_ways(struct str *s, const struct sql_account *a, struct err *e)
{
    const char *word = " IDENTIFIED VIA ";
    for (size_t i = 0; i < a->n_passwords; i++, word = " OR ") {
        char hash[SQL_HASH_SIZE];
        const struct sql_password *p = &a->passwords[i];
        if (p->clear)
            sql_password_hash(p->clear, hash);
        else if (!str_copy(hash, sizeof hash, p->hash) || hash[0] != '*')
            return err_set(e, ERR_INVALID, "account '%s': not the hash of a password", a->user);
        str_addf(s, "%smysql_native_password USING ", word);
        sql_add_text(s, hash);
    }
    if (a->by_socket)
        str_addf(s, "%sunix_socket", word);
    else if (!a->n_passwords && a->require == SQL_REQUIRE_X509)
        str_addf(s, "%smysql_native_password USING ''", word); /* the certificate is enough */
    else if (!a->n_passwords)
        return err_set(e, ERR_INVALID, "account '%s': anybody could use it", a->user);
    return 0;
}

static int account_set(const struct sql_account *a, struct sql_script *out, struct err *e)
{
    static const char *const verbs[] = {"CREATE USER IF NOT EXISTS ", "ALTER USER "};
    out->secret = true;
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        _cleanup_secret_str_ struct str s = STR_INIT;
        str_add(&s, verbs[i]);
        sql_add_account(&s, a->user, a->host);
        int r = add_ways(&s, a, e);
        if (r < 0)
            return r;
        sql_add_require(&s, a);
        sql_script_take(out, &s);
    }
    return 0;
}

/* Measured on 10.11: what each verb takes is in doc of sql_duty's users; SUPER is in none. */
static const char *privileges(enum sql_duty duty)
{
    static const char *const texts[] = {[SQL_DUTY_REPLICA] = "REPLICATION SLAVE",
        [SQL_DUTY_SUPERVISOR] = "SLAVE MONITOR, BINLOG MONITOR, BINLOG ADMIN, "
                                "REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, "
                                "READ_ONLY ADMIN, CONNECTION ADMIN, RELOAD, PROCESS, CREATE USER",
        [SQL_DUTY_BACKUP] = "RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, SELECT, SHOW VIEW, "
                            "EVENT, TRIGGER"};
    return texts[duty];
}

static void wait(const struct gtid_set *position, uint64_t timeout_ms, struct str *out)
{
    _cleanup_gtid_ struct gtid_set one = {0};
    gtid_set_to_position(position, &one);
    str_add(out, "SELECT MASTER_GTID_WAIT('");
    gtid_set_format(&one, out);
    str_addf(out, "', %" PRIu64 ".%03" PRIu64 ")", timeout_ms / 1000, timeout_ms % 1000);
}

static enum sql_io_state io_state(const char *text)
{
    return !strcmp(text, "Yes")                                        ? SQL_IO_YES
           : !strcmp(text, "Connecting") || !strcmp(text, "Preparing") ? SQL_IO_CONNECTING
                                                                       : SQL_IO_NO;
}

static void take_threads(const struct sql_row *row, struct sql_replica_status *s)
{
    s->io = io_state(sql_text(row, "Slave_IO_Running"));
    s->sql_running = !strcmp(sql_text(row, "Slave_SQL_Running"), "Yes");
    s->io_errno = (unsigned)sql_u64_or(row, "Last_IO_Errno", 0);
    s->sql_errno = (unsigned)sql_u64_or(row, "Last_SQL_Errno", 0);
    sql_take_text(row, "Last_IO_Error", s->io_error, sizeof s->io_error);
    sql_take_text(row, "Last_SQL_Error", s->sql_error, sizeof s->sql_error);
    sql_take_text(row, "Slave_IO_State", s->io_text, sizeof s->io_text);
    sql_take_text(row, "Slave_SQL_Running_State", s->sql_text, sizeof s->sql_text);
}

static uint64_t seconds_to_ms(const char *text) /* "5.000" */
{
    return (uint64_t)(strtod(text, NULL) * 1000 + 0.5);
}

static int take_status(const struct sql_row *row, struct sql_replica_status *s, struct err *e)
{
    s->configured = true;
    sql_take_text(row, "Master_Host", s->source_host, sizeof s->source_host);
    sql_take_text(row, "Master_User", s->source_user, sizeof s->source_user);
    s->source_port = (uint16_t)sql_u64_or(row, "Master_Port", 0);
    s->source_server_id = (uint32_t)sql_u64_or(row, "Master_Server_Id", 0);
    take_threads(row, s);
    s->by_gtid = strcmp(sql_text(row, "Using_Gtid"), "No") != 0;
    s->tls = !strcmp(sql_text(row, "Master_SSL_Allowed"), "Yes");
    s->delay_s = (uint32_t)sql_u64_or(row, "SQL_Delay", 0);
    s->seconds_known = sql_u64(row, "Seconds_Behind_Master", &s->seconds_behind);
    s->heartbeats = sql_u64_or(row, "Slave_received_heartbeats", 0);
    s->heartbeat_ms = seconds_to_ms(sql_text(row, "Slave_heartbeat_period"));
    s->retried = sql_u64_or(row, "Retried_transactions", 0);
    s->relay_bytes = sql_u64_or(row, "Relay_Log_Space", 0);
    int r = sql_take_gtid(GTID_MARIADB, row, "Gtid_IO_Pos", &s->retrieved, e);
    return r < 0 ? r : sql_take_gtid(GTID_MARIADB, row, "Gtid_Slave_Pos", &s->executed, e);
}

/* The form for ALL tells heartbeats and gtid_slave_pos in the same answer. Only the connection
 * without a name is ours. */
static int read_status(struct sql_conn *c, struct sql_replica_status *ret, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    int r = sql_query(c, "SHOW ALL SLAVES STATUS", NULL, &rows, e);
    for (size_t i = 0; r >= 0 && i < rows.n; i++)
        if (!*sql_text(&rows.v[i], "Connection_name"))
            return take_status(&rows.v[i], ret, e);
    return r;
}

static int read_position(struct sql_conn *c, struct sql_position *ret, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    const struct sql_row *row;
    int r = sql_one_row(c,
        "SELECT @@gtid_binlog_pos AS binlog, @@gtid_slave_pos AS applied, @@gtid_current_pos AS "
        "current, @@gtid_binlog_state AS state, @@server_id AS id, @@gtid_domain_id AS domain, "
        "@@read_only AS read_only",
        &rows, &row, e);
    if (r < 0 || !row)
        return r < 0 ? r : err_set(e, ERR_PROTOCOL, "no answer to SELECT @@gtid_binlog_pos");
    ret->server_id = (uint32_t)sql_u64_or(row, "id", 0);
    ret->domain = (uint32_t)sql_u64_or(row, "domain", 0);
    ret->read_only = sql_u64_or(row, "read_only", 0) != 0;
    struct {
        const char *name;
        struct gtid_set *set;
    } sets[] = {{"binlog", &ret->binlog}, {"applied", &ret->applied}, {"current", &ret->current},
        {"state", &ret->state}};
    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(sets); i++)
        r = sql_take_gtid(GTID_MARIADB, row, sets[i].name, sets[i].set, e);
    return r;
}

/* Byte 4 is where the first event is. */
static int read_binlog_start(
    struct sql_conn *c, const char *log, struct gtid_set *ret, struct err *e)
{
    _cleanup_str_ struct str s = STR_INIT;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    const struct sql_row *row;
    str_add(&s, "SELECT BINLOG_GTID_POS(");
    sql_add_text(&s, log);
    str_add(&s, ", 4) AS start");
    int r = sql_one_row(c, str_cstr(&s), &rows, &row, e);
    if (r < 0)
        return r;
    if (!row || !row->cells[0].value)
        return err_set(e, ERR_NOT_FOUND, "no binary log %s", log);
    return sql_take_gtid(GTID_MARIADB, row, "start", ret, e);
}

const struct sql_dialect sql_mariadb = {.name = "mariadb",
    .vendor = SQL_MARIADB,
    .flavour = GTID_MARIADB,
    .has_flashback = true,
    .attach = attach,
    .start = start,
    .stop = stop,
    .reset_replica = reset_replica,
    .reset_binlogs = reset_binlogs,
    .set_start = set_start,
    .read_only = read_only,
    .semisync = semisync,
    .settings = settings,
    .flush_tls = flush_tls,
    .flush_binlogs = flush_binlogs,
    .account_set = account_set,
    .privileges = privileges,
    .wait = wait,
    .read_status = read_status,
    .read_position = read_position,
    .read_binlog_start = read_binlog_start};
