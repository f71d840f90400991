/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/preflight.h"

#include "base/str/str.h"

#define CLOCK_LIMIT_MS 50
#define DAY_MS 86400000.0
#define NET_TIMEOUT_S 10

enum vendors { MARIADB = 1, MYSQL = 2, ANY = 3 };
enum sides { SOURCE = 1, REPLICA = 2, BOTH = 3 };

/* A variable that has to have a value (the first of `good`, or one of them: "1|ON"). */
static const struct rule {
    const char *id, *variable, *good;
    enum vendors vendors;
    enum sides sides;
    const char *why;
    bool restart; /* not to be changed while the server runs */
} rules[] = {
    {"binary-log", "log_bin", "ON|1", ANY, BOTH, "a promoted replica must have its own log", true},
    {"row-format", "binlog_format", "ROW", ANY, BOTH, "statements do not replay exactly", false},
    {"row-image", "binlog_row_image", "FULL", ANY, BOTH, "a lost row could not be shown", false},
    {"log-updates", "log_slave_updates", "ON|1", MARIADB, BOTH, "others follow it", true},
    {"log-updates", "log_replica_updates", "ON|1", MYSQL, BOTH, "others follow it", true},
    {"gtid", "gtid_strict_mode", "ON|1", MARIADB, BOTH, "errant writes pass silently", false},
    {"gtid", "gtid_mode", "ON", MYSQL, BOTH, "positions are by GTID", false},
    {"gtid-consistency", "enforce_gtid_consistency", "ON|1", MYSQL, BOTH,
        "statements that GTIDs cannot name", false},
    {"durable-log", "sync_binlog", "1", ANY, BOTH, "a crash loses acknowledged writes", false},
    {"durable-rows", "innodb_flush_log_at_trx_commit", "1", ANY, BOTH,
        "a crash loses acknowledged writes", false},
    {"read-only", "read_only", "ON|1", MARIADB, REPLICA, "nothing but replication writes it",
        false},
    {"read-only", "super_read_only", "ON|1", MYSQL, REPLICA, "nothing but replication writes it",
        false},
    {"events", "event_scheduler", "OFF|DISABLED|0", ANY, REPLICA, "its events would write", false},
    {"relay-recovery", "relay_log_recovery", "ON|1", ANY, REPLICA,
        "a crash leaves a relay log that nobody can trust", true},
    {"local-infile", "local_infile", "OFF|0", ANY, BOTH, "clients' files could be read", false},
    {"tls", "have_ssl", "YES", MARIADB, SOURCE, "replication travels between regions", true},
};

/* Variables that must be the same on both. */
static const struct pair {
    const char *id, *variable, *why;
    bool restart;
} pairs[] = {
    {"table-names", "lower_case_table_names", "names would not be found", true},
    {"character-set", "character_set_server", "new tables would differ after a promotion", false},
    {"collation", "collation_server", "comparisons would differ after a promotion", false},
    {"time-zone", "time_zone", "times would differ after a promotion", false},
    {"system-time-zone", "system_time_zone", "times would differ after a promotion", true},
    {"sql-mode", "sql_mode", "what is refused would differ after a promotion", false},
};

static const char *const others[] = {"max_allowed_packet", "slave_net_timeout",
    "replica_net_timeout", "slave_max_allowed_packet", "replica_max_allowed_packet", "server_id",
    "gtid_domain_id", "max_connections", "expire_logs_days", "binlog_expire_logs_seconds",
    "replicate_do_db", "replicate_ignore_db", "replicate_do_table", "replicate_ignore_table",
    "replicate_wild_do_table", "replicate_wild_ignore_table", "rpl_semi_sync_master_wait_point",
    "rpl_semi_sync_source_wait_point", "require_secure_transport"};

const char *const *preflight_variables(void)
{
    static const char *names[ARRAY_SIZE(rules) + ARRAY_SIZE(pairs) + ARRAY_SIZE(others) + 1];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        names[n++] = rules[i].variable;
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
        names[n++] = pairs[i].variable;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        names[n++] = others[i];
    names[n] = NULL;
    return names;
}

struct judge {
    json_t *items;
    const json_t *source, *replica;
    const struct preflight_wish *wish;
};

static void add(struct judge *j, const char *id, bool pass, const char *text, const char *fix)
{
    json_array_append_new(j->items, json_pack("{s:s,s:b,s:s,s:s}", "id", id, "pass", (int)pass,
                                        "text", text, "fix", pass ? "" : fix));
}

PRINTF_LIKE(5, 6)
static void addf(struct judge *j, const char *id, bool pass, const char *fix, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    add(j, id, pass, text, fix);
}

static const char *name_of(const json_t *s)
{
    return json_opt_str(s, "host", "?");
}

static const char *var(const json_t *s, const char *name) /* NULL: it has none of that name */
{
    return json_opt_str(json_object_get(s, "variables"), name, NULL);
}

static uint64_t number(const json_t *s, const char *name, uint64_t def)
{
    const char *text = var(s, name);
    uint64_t v = def;
    return text && str_to_u64(text, UINT64_MAX, &v) ? v : def;
}

static enum vendors vendor_of(const json_t *s)
{
    return str_eq(json_opt_str(s, "vendor", ""), "mysql") ? MYSQL : MARIADB;
}

/* ---- rules ---- */

static bool is_one_of(const char *value, const char *good)
{
    size_t len = strlen(value);
    for (const char *p = good; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (!strncasecmp(p, value, len) && (p[len] == '|' || !p[len]))
            return true;
    return false;
}

static void fix_of(const struct rule *r, const char *variable, const char *good, bool restart,
    char *out, size_t size)
{
    int len = (int)strcspn(good, "|");
    if (r && restart)
        snprintf(out, size, "%s=%.*s in its configuration, and restart it", variable, len, good);
    else
        snprintf(out, size, "SET GLOBAL %s = '%.*s'; and the same in its configuration", variable,
            len, good);
}

static void judge_rule(struct judge *j, const struct rule *r, const json_t *s)
{
    const char *value = var(s, r->variable);
    char fix[256];
    if (!(r->vendors & vendor_of(s)) || !value)
        return;
    bool pass = is_one_of(value, r->good);
    fix_of(r, r->variable, r->good, r->restart, fix, sizeof fix);
    addf(j, r->id, pass, fix, "%s: %s is %s%s%s", name_of(s), r->variable, value, pass ? "" : ": ",
        pass ? "" : r->why);
}

static void judge_pair(struct judge *j, const struct pair *p)
{
    const char *a = var(j->source, p->variable), *b = var(j->replica, p->variable);
    char fix[256];
    if (!a || !b)
        return;
    snprintf(fix, sizeof fix, "give %s the source's %s%s", name_of(j->replica), p->variable,
        p->restart ? ", and restart it" : "");
    if (strcmp(a, b) != 0)
        addf(j, p->id, false, fix, "%s is %s at the source and %s at the replica: %s", p->variable,
            a, b, p->why);
    else
        addf(j, p->id, true, "", "%s is %s on both", p->variable, *a ? a : "empty");
}

/* ---- what is no single variable ---- */

static unsigned series(const json_t *s) /* 10.11.6: 1011 */
{
    const char *v = json_opt_str(s, "version", "");
    char *end;
    unsigned long major = strtoul(v, &end, 10),
                  minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    return (unsigned)(MIN(major, 999ul) * 100 + MIN(minor, 99ul));
}

static void judge_versions(struct judge *j)
{
    const char *a = json_opt_str(j->source, "version", "?"),
               *b = json_opt_str(j->replica, "version", "?");
    bool crosses = vendor_of(j->source) != vendor_of(j->replica);
    bool pass = !crosses && series(j->replica) >= series(j->source);
    addf(j, "versions", pass,
        crosses ? "replicate between servers of one vendor: after a switchover the way back would "
                  "be closed"
                : "upgrade the replica first, then the source",
        "%s %s to %s %s", json_opt_str(j->source, "vendor", "?"), a,
        json_opt_str(j->replica, "vendor", "?"), b);
}

static void judge_ids(struct judge *j)
{
    uint64_t a = number(j->source, "server_id", 0), b = number(j->replica, "server_id", 0);
    addf(j, "server-id", a && b && a != b, "SET GLOBAL server_id to a number that no other has",
        "server_id is %llu at the source, %llu at the replica", (unsigned long long)a,
        (unsigned long long)b);
    if (vendor_of(j->source) != MARIADB || !var(j->source, "gtid_domain_id"))
        return;
    uint64_t da = number(j->source, "gtid_domain_id", 0),
             db = number(j->replica, "gtid_domain_id", 0);
    bool as_given = (!j->wish->source_id || da == j->wish->source_id)
                    && (!j->wish->replica_id || db == j->wish->replica_id);
    addf(j, "domain-id", da != db && as_given,
        "SET GLOBAL gtid_domain_id: each member has its own, the number of the database's document",
        "gtid_domain_id is %llu at the source, %llu at the replica", (unsigned long long)da,
        (unsigned long long)db);
}

static void judge_packets(struct judge *j)
{
    uint64_t a = number(j->source, "max_allowed_packet", 0),
             b = number(j->replica, "max_allowed_packet", 0);
    addf(j, "packets", b >= a, "SET GLOBAL max_allowed_packet: as at the source, or more",
        "max_allowed_packet is %llu at the source, %llu at the replica", (unsigned long long)a,
        (unsigned long long)b);
    uint64_t ca = number(j->source, "max_connections", 0),
             cb = number(j->replica, "max_connections", 0);
    addf(j, "connections", cb >= ca, "SET GLOBAL max_connections: as at the source",
        "max_connections is %llu at the source, %llu at the replica", (unsigned long long)ca,
        (unsigned long long)cb);
}

static void judge_timeout(struct judge *j)
{
    const char *name = vendor_of(j->replica) == MYSQL ? "replica_net_timeout" : "slave_net_timeout";
    uint64_t v = number(j->replica, name, 0);
    char fix[128];
    snprintf(fix, sizeof fix, "SET GLOBAL %s = %d;", name, NET_TIMEOUT_S);
    if (v)
        addf(j, "net-timeout", v <= NET_TIMEOUT_S, fix,
            "%s is %llu s: a frozen source is noticed after that", name, (unsigned long long)v);
}

static void judge_filters(struct judge *j, const json_t *s)
{
    _cleanup_str_ struct str set = STR_INIT;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        const char *v = str_starts(others[i], "replicate_") ? var(s, others[i]) : NULL;
        if (v && *v)
            str_addf(&set, "%s%s", set.len ? ", " : "", others[i]);
    }
    addf(j, "filters", !set.len, "take the filters away: a promoted replica must have everything",
        "%s: %s", name_of(s), set.len ? str_cstr(&set) : "no replication filters");
}

static void judge_list(struct judge *j, const json_t *s, const char *id, const char *key,
    const char *none, const char *some, const char *fix)
{
    const json_t *list = json_object_get(s, key);
    _cleanup_str_ struct str text = STR_INIT;
    size_t n = json_array_size(list), shown = MIN(n, 5u);
    for (size_t i = 0; i < shown; i++)
        str_addf(&text, "%s%s", i ? ", " : "", json_string_value(json_array_get(list, i)));
    if (n > shown)
        str_addf(&text, " and %zu more", n - shown);
    addf(j, id, !n, fix, "%s: %s%s", name_of(s), n ? some : none, str_cstr(&text));
}

static void judge_lists(struct judge *j, const json_t *s)
{
    judge_list(j, s, "primary-keys", "no_primary_key", "every table has a primary key",
        "no primary key: ",
        "ALTER TABLE ... ADD COLUMN id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY INVISIBLE; "
        "without one each row change scans the table at the replica");
    judge_list(j, s, "engines", "not_innodb", "every table is InnoDB",
        "not InnoDB: ", "ALTER TABLE ... ENGINE=InnoDB; others are not crash-safe");
    judge_list(j, s, "powerful-accounts", "powerful", "no account may write past read_only",
        "accounts that write past read_only: ",
        "REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM each of them");
}

static void judge_clock(struct judge *j)
{
    const json_t *offset = json_object_get(j->replica, "clock_offset_ms");
    if (!json_is_integer(offset)) {
        add(j, "clock", false, "the clocks have not been compared yet",
            "wait a moment; the controls of both hosts must hear each other");
        return;
    }
    long long ms = (long long)json_integer_value(offset);
    addf(j, "clock", ms <= CLOCK_LIMIT_MS && ms >= -CLOCK_LIMIT_MS,
        "mend time synchronisation on both hosts (chrony): lag is measured by their clocks",
        "the clocks are %lld ms apart", ms);
}

static void judge_disk(struct judge *j, const json_t *s)
{
    double bytes = (double)json_opt_int(s, "binlog_bytes", 0),
           span = (double)json_opt_int(s, "binlog_span_ms", 0),
           free_bytes = (double)json_opt_int(s, "disk_free", -1);
    if (free_bytes < 0)
        return;
    double rate = span > 60000 ? bytes / span : 0; /* too young to say */
    double need = rate * (double)j->wish->retention_ms - bytes;
    addf(j, "disk", free_bytes > need && free_bytes > 1e9,
        "a larger disk, or a shorter replication.binlog_retention",
        "%s: %.1f GB free, binary logs grow by %.2f GB a day and are kept %.1f days", name_of(s),
        free_bytes / 1e9, rate * DAY_MS / 1e9, (double)j->wish->retention_ms / DAY_MS);
}

static void judge_retention(struct judge *j, const json_t *s)
{
    uint64_t days = number(s, "expire_logs_days", 0),
             seconds = number(s, "binlog_expire_logs_seconds", days * 86400);
    bool pass = !seconds || seconds * 1000 >= j->wish->retention_ms;
    addf(j, "retention", pass,
        "SET GLOBAL binlog_expire_logs_seconds: longer than replication.binlog_retention; the "
        "platform purges what nobody needs",
        "%s: the server itself purges binary logs after %.1f days%s", name_of(s),
        (double)seconds / 86400, seconds ? "" : " (never)");
}

static void judge_certificate(struct judge *j, const json_t *s)
{
    const json_t *left = json_object_get(s, "cert_left_ms");
    if (!json_is_integer(left))
        return;
    long long ms = (long long)json_integer_value(left);
    /* Leaves of the built-in authority live for hours and renew themselves: half an hour is ample. */
    addf(j, "certificate", ms > 1800000, "`mcp ca status`: why is it not renewed?",
        "%s: the certificate is good for %.1f hours", name_of(s), (double)ms / 3600000);
}

static void judge_semisync(struct judge *j, const json_t *s)
{
    const char *name = vendor_of(s) == MYSQL ? "rpl_semi_sync_source_wait_point"
                                             : "rpl_semi_sync_master_wait_point";
    const char *v = var(s, name);
    if (j->wish->semi_sync)
        addf(j, "semi-sync", v && !strcasecmp(v, "AFTER_SYNC"),
            "SET GLOBAL rpl_semi_sync_master_wait_point = 'AFTER_SYNC';",
            "%s: %s is %s: others see a commit before the replica has it", name_of(s), name,
            v ? v : "not there");
}

json_t *preflight_judge(
    const json_t *source, const json_t *replica, const struct preflight_wish *wish)
{
    struct judge j = {json_array(), source, replica, wish};
    const json_t *both[] = {source, replica};
    judge_versions(&j);
    judge_ids(&j);
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        for (unsigned k = 0; k < 2; k++)
            if (rules[i].sides & (k ? REPLICA : SOURCE))
                judge_rule(&j, &rules[i], both[k]);
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
        judge_pair(&j, &pairs[i]);
    judge_packets(&j);
    judge_timeout(&j);
    judge_clock(&j);
    judge_lists(&j, source);
    for (unsigned k = 0; k < 2; k++) {
        judge_filters(&j, both[k]);
        judge_retention(&j, both[k]);
        judge_disk(&j, both[k]);
        judge_certificate(&j, both[k]);
        judge_semisync(&j, both[k]);
    }
    return j.items;
}
