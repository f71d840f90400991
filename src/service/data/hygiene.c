/* SPDX-License-Identifier: Apache-2.0 */
/* Looks after what does not show in a second's look: whether an account like an application's may
 * write where it must not, whether a replica could serve, who replicates from here and who writes,
 * what holds up applying. A thread of its own, so that none of it delays anything else. What is
 * found is judged by domain/replication/hygiene.c. */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/replication/hygiene.h"

#include <inttypes.h>

#define TICK_MS 1000u
#define DEADLINE_MS 15000u
#define APPLY_EACH_MS 3000u
#define RAISE_EACH_MS 300000u
#define LISTED 100
#define ER_READ_ONLY 1290
#define ER_LOCK_WAIT 1205

enum { /* parts of one job */
    ROUND = 1 << 0,  /* canary, serving proof, tables: each read_only_check */
    SURVEY = 1 << 1, /* who replicates, who writes: each HYGIENE_SURVEY_MS */
    APPLY = 1 << 2,  /* while something holds up applying */
    RAISE = 1 << 3,  /* APPLY: if nothing does but the number of transactions, by more threads */
};

struct look { /* a job */
    struct db *db;
    struct data_want want;
    unsigned parts;
    json_t *facts; /* {}: the parts that were found */
    struct gtid_set state; /* SURVEY: the last transaction of every server, or empty */
    const struct data_leave *leave;
    bool raised;      /* RAISE: nothing else was in the way */
    uint64_t threads; /* that apply from now on; 0: none were added */
};

/* The first column of each row. */
static int list_of(struct sql_conn *c, const char *query, json_t **ret, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    int r = sql_query(c, query, NULL, &rows, e);
    *ret = json_array();
    for (size_t i = 0; r >= 0 && i < rows.n; i++) {
        json_t *text = rows.v[i].cells[0].value ? json_string(rows.v[i].cells[0].value) : NULL;
        json_array_append_new(*ret, text ? text : json_string("?"));
    }
    return r;
}

/* ---- the canary: a write that must fail */

/* As an application would; taken back at once, so that one that succeeds leaves no transaction. */
static int write_canary(struct sql_conn *probe, uint32_t id, struct err *e)
{
    struct err ignored;
    int r = sql_exec(probe, "START TRANSACTION", e);
    if (r >= 0)
        r = sql_execf(probe, e,
            "INSERT INTO " DATA_SCHEMA ".canary VALUES (%" PRIu32
            ", 1) ON DUPLICATE KEY UPDATE seq=seq+1",
            id);
    unsigned number = r < 0 ? sql_errno(probe) : 0;
    if (!sql_lost(probe) && sql_exec(probe, "ROLLBACK", &ignored) < 0 && r >= 0)
        r = 0; /* the session's end takes it back */
    return r < 0 ? -(int)(number ? number : 1) : 0;
}

/* It is a replica, and it has just taken a write: closed without waiting for the next look. */
static bool close_it(struct look *k, struct sql_conn *c, struct sql_conn *probe)
{
    struct err ignored;
    if (data_may_write(k->leave, k->want.epoch) || sql_read_only(c, true, 1, &ignored) < 0)
        return false;
    return write_canary(probe, k->want.self.id, &ignored) == -ER_READ_ONLY;
}

/* What everybody has, user_privileges does not tell. */
static void add_of_public(struct sql_conn *c, json_t *to)
{
    struct err ignored;
    json_t *grants, *g;
    size_t i;
    int r = list_of(c, "SHOW GRANTS FOR PUBLIC", &grants, &ignored); /* fails before 10.11 */
    json_array_foreach (grants, i, g) {
        const char *text = json_string_value(g);
        if (r >= 0 && (strstr(text, "READ_ONLY ADMIN") || strstr(text, "SUPER")))
            json_array_append(to, g);
    }
    json_decref(grants);
}

static json_t *powerful(struct sql_conn *c)
{
    json_t *list;
    struct err ignored;
    if (list_of(c,
            "SELECT CONCAT(grantee, ': ', GROUP_CONCAT(privilege_type ORDER BY 1 SEPARATOR ', ')) "
            "FROM information_schema.user_privileges WHERE privilege_type IN ('SUPER', 'READ_ONLY "
            "ADMIN', 'READ ONLY ADMIN') AND grantee NOT LIKE '\\'root\\'@%' AND grantee NOT LIKE "
            "'\\'mysql\\'@%' AND grantee NOT LIKE '\\'mariadb.sys\\'@%' GROUP BY grantee LIMIT 100",
            &list, &ignored) < 0)
        json_array_clear(list);
    add_of_public(c, list);
    return list;
}

static json_t *canary_of(struct look *k, struct sql_conn *c, struct sql_stop *stop)
{
    struct err e = {0};
    struct sql_conn *probe = NULL;
    json_t *j = json_pack("{s:n,s:I}", "writes", "at_ms", (json_int_t)clock_boot_ms());
    int number = 1;
    if (data_probe_open(c, &k->want, stop, &probe, &e) >= 0) {
        int r = write_canary(probe, k->want.self.id, &e);
        number = -r;
        if (r == 0)
            json_object_set_new(j, "closed", json_boolean(close_it(k, c, probe)));
    }
    if (number == 0)
        json_object_set_new(j, "powerful", powerful(c));
    if (number == 0 || number == ER_READ_ONLY)
        json_object_set_new(j, "writes", json_boolean(number == 0));
    else
        json_object_set_new(j, "error", json_string(e.message));
    json_object_set_new(j, "number", json_integer(number));
    sql_close(probe);
    return j;
}

/* ---- can it serve? */

static int read_a_table(struct sql_conn *c, const char *schema, struct err *e)
{
    _cleanup_str_ struct str q = STR_INIT, table = STR_INIT, ignored = STR_INIT;
    str_add(&q, "SELECT table_name FROM information_schema.tables WHERE table_type='BASE TABLE' AND "
                "table_schema=");
    sql_add_text(&q, schema);
    str_add(&q, " ORDER BY 1 LIMIT 1");
    int r = sql_value(c, str_cstr(&q), &table, e);
    if (r < 0)
        return r == ERR_NOT_FOUND ? 0 : r;
    str_clear(&q);
    str_add(&q, "SELECT 1 FROM ");
    sql_add_name(&q, schema);
    str_add(&q, ".");
    sql_add_name(&q, str_cstr(&table));
    str_add(&q, " LIMIT 1");
    r = sql_value(c, str_cstr(&q), &ignored, e);
    return r == ERR_NOT_FOUND ? 0 : r;
}

static json_t *serving_of(struct look *k, struct sql_conn *c)
{
    struct err e = {0};
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    json_t *j = json_pack("{s:I}", "at_ms", (json_int_t)clock_boot_ms());
    uint64_t limit;
    int r = sql_query(c, "SELECT @@max_connections AS n, @@event_scheduler AS events", NULL, &rows, &e);
    if (r >= 0 && rows.n && sql_u64(&rows.v[0], "n", &limit)) {
        json_object_set_new(j, "max_connections", json_integer((json_int_t)limit));
        json_object_set_new(j, "event_scheduler", json_string(sql_text(&rows.v[0], "events")));
        r = read_a_table(c, k->want.name, &e);
    }
    if (r < 0 && sql_errno(c) != ER_LOCK_WAIT) /* somebody has locked it: that is slow, not dead */
        json_object_set_new(j, "error", json_string(e.message));
    return j;
}

/* By InnoDB's own dictionary: information_schema.table_constraints opens every table and view there
 * is, and 10.11 died of it when it ran short. A unique key without NULL is as good as a primary one. */
static int no_primary_key(struct sql_conn *c, json_t **ret, struct err *e)
{
    return list_of(c,
        "SELECT REPLACE(t.name, '/', '.') FROM information_schema.innodb_sys_indexes i JOIN "
        "information_schema.innodb_sys_tables t ON t.table_id=i.table_id WHERE "
        "i.name='GEN_CLUST_INDEX' AND t.name LIKE '%/%' AND t.name NOT LIKE 'mysql/%' AND t.name NOT "
        "LIKE 'sys/%' AND t.name NOT LIKE '" DATA_SCHEMA "/%' AND t.name NOT LIKE '%#%' ORDER BY 1 "
        "LIMIT 100",
        ret, e);
}

static int round_of(struct look *k, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    json_t *tables;
    if (k->want.duty == REPLICATION_REPLICA) {
        json_object_set_new(k->facts, "canary", canary_of(k, c, stop));
        json_object_set_new(k->facts, "serving", serving_of(k, c));
        return 0;
    }
    json_object_set_new(k->facts, "serving", serving_of(k, c));
    int r = no_primary_key(c, &tables, e);
    json_object_set_new(k->facts, "tables", tables);
    return r;
}

/* ---- who is there */

/* "10.0.0.2:50122" without its port. */
static json_t *host_of(const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    json_t *j = json_stringn(text, len);
    return j ? j : json_string("?");
}

static int add_sessions(struct sql_conn *c, json_t *feeds, json_t *others, struct err *e)
{
    _cleanup_free_ struct sql_session *v = NULL;
    size_t n = 0;
    int r = sql_sessions(c, &v, &n, e);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        json_t *to = v[i].feed ? feeds : others;
        bool ours = v[i].own || (!v[i].feed && data_is_system_user(v[i].user));
        json_t *j = ours || json_array_size(to) >= LISTED
                        ? NULL
                        : json_pack("{s:s,s:o}", "user", v[i].user, "host", host_of(v[i].host));
        if (j)
            json_array_append_new(to, j);
    }
    return r;
}

static int add_replicas(struct sql_conn *c, json_t *to, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    uint64_t id;
    int r = sql_query(c, "SHOW SLAVE HOSTS", NULL, &rows, e);
    for (size_t i = 0; r >= 0 && i < rows.n && i < LISTED; i++)
        if (sql_u64(&rows.v[i], "Server_id", &id)) {
            json_t *j = json_pack("{s:I,s:s}", "id", (json_int_t)id, "host",
                sql_text(&rows.v[i], "Host"));
            json_array_append_new(to, j ? j : json_pack("{s:I}", "id", (json_int_t)id));
        }
    return r;
}

/* Connections beside the one that is ours. */
static int add_named(struct sql_conn *c, json_t *to, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    int r = sql_query(c, "SHOW ALL SLAVES STATUS", NULL, &rows, e);
    for (size_t i = 0; r >= 0 && i < rows.n && i < LISTED; i++) {
        const char *name = sql_text(&rows.v[i], "Connection_name");
        json_t *j = *name ? json_pack("{s:s,s:s}", "name", name, "host",
                                sql_text(&rows.v[i], "Master_Host"))
                          : NULL;
        if (j)
            json_array_append_new(to, j);
    }
    return r;
}

static json_t *semisync_of(struct sql_conn *c)
{
    struct err ignored;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    json_t *j = json_object();
    uint64_t n;
    if (sql_query(c,
            "SELECT @@rpl_semi_sync_master_enabled AS is_on, (SELECT variable_value FROM "
            "information_schema.global_status WHERE variable_name='Rpl_semi_sync_master_status') AS "
            "active, (SELECT variable_value FROM information_schema.global_status WHERE "
            "variable_name='Rpl_semi_sync_master_clients') AS clients",
            NULL, &rows, &ignored) < 0 || !rows.n)
        return j;
    json_object_set_new(j, "on", json_boolean(str_eq(sql_text(&rows.v[0], "is_on"), "1")));
    json_object_set_new(j, "active", json_boolean(str_eq(sql_text(&rows.v[0], "active"), "ON")));
    json_object_set_new(j, "clients",
        json_integer(sql_u64(&rows.v[0], "clients", &n) ? (json_int_t)n : 0));
    return j;
}

static int survey_of(struct look *k, struct sql_conn *c, struct err *e)
{
    json_t *replicas = json_array(), *feeds = json_array(), *sessions = json_array(),
           *named = json_array();
    _cleanup_json_ json_t *j = json_pack("{s:o,s:o,s:o,s:o}", "replicas", replicas, "feeds", feeds,
        "sessions", sessions, "named", named);
    _cleanup_sql_position_ struct sql_position p = {0};
    int r = add_replicas(c, replicas, e);
    if (r >= 0)
        r = add_sessions(c, feeds, sessions, e);
    if (r >= 0)
        r = add_named(c, named, e);
    if (r >= 0)
        r = sql_position(c, &p, e);
    if (r < 0)
        return r;
    gtid_set_copy(&p.state, &k->state);
    json_object_set(k->facts, "survey", j);
    if (k->want.semi_sync)
        json_object_set_new(k->facts, "semisync", semisync_of(c));
    return 0;
}

/* ---- what holds up applying */

/* Who holds the row locks that the applying threads wait for. */
static json_t *blocker_of(struct sql_conn *c)
{
    struct err ignored;
    uint64_t id, seconds = 0;
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    if (sql_query(c,
            "SELECT p.id, CONCAT(p.user, '@', p.host) AS user, p.time AS seconds, COALESCE(p.info, "
            "'it is idle, its transaction is open') AS statement FROM "
            "information_schema.innodb_lock_waits w JOIN information_schema.innodb_trx r ON "
            "r.trx_id=w.requesting_trx_id JOIN information_schema.processlist s ON "
            "s.id=r.trx_mysql_thread_id AND s.user='system user' JOIN "
            "information_schema.innodb_trx b ON b.trx_id=w.blocking_trx_id JOIN "
            "information_schema.processlist p ON p.id=b.trx_mysql_thread_id AND p.user<>'system user' "
            "LIMIT 1",
            NULL, &rows, &ignored) < 0
        || !rows.n || !sql_u64(&rows.v[0], "id", &id))
        return json_null();
    sql_u64(&rows.v[0], "seconds", &seconds);
    char statement[128];
    str_copy(statement, sizeof statement, sql_text(&rows.v[0], "statement"));
    json_t *j = json_pack("{s:I,s:s,s:I,s:s}", "id", (json_int_t)id, "user",
        sql_text(&rows.v[0], "user"), "seconds", (json_int_t)seconds, "statement", statement);
    return j ? j : json_null();
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool names(const char *statement, const char *table)
{
    size_t len = strlen(table);
    for (const char *at = strstr(statement, table); at; at = strstr(at + 1, table))
        if ((at == statement || !is_word(at[-1])) && !is_word(at[len]))
            return true;
    return false;
}

/* A thread that looks for rows shows the statement that they come from (annotated row events, on by
 * default): the table without a primary key that it names. */
static const char *scanned(const json_t *tables, const struct sql_session *s)
{
    size_t i;
    json_t *t;
    if (!strstr(s->state, "find_row"))
        return "";
    json_array_foreach ((json_t *)tables, i, t) {
        const char *dot = strchr(json_string_value(t), '.');
        if (dot && names(s->info, dot + 1))
            return json_string_value(t);
    }
    return "";
}

/* Rather than of one that waits for work. */
static bool says_more(const char *state, const char *than)
{
    return !*than || strstr(state, "lock") || strstr(state, "_rows_log_event");
}

static int apply_of(struct look *k, struct sql_conn *c, struct err *e)
{
    _cleanup_free_ struct sql_session *v = NULL;
    _cleanup_json_ json_t *tables = NULL;
    size_t n = 0;
    const char *state = "", *table = "";
    int r = no_primary_key(c, &tables, e);
    if (r >= 0)
        r = sql_sessions(c, &v, &n, e);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        bool applies = !strcmp(v[i].command, "Slave_SQL") || !strcmp(v[i].command, "Slave_worker");
        if (!applies || *table)
            continue;
        table = scanned(tables, &v[i]);
        if (*table || says_more(v[i].state, state))
            state = v[i].state;
    }
    json_t *blocker = blocker_of(c);
    bool plain = r >= 0 && !*table && !json_is_object(blocker);
    json_t *j = json_pack("{s:s,s:s,s:o,s:I}", "state", state, "table", table, "blocker", blocker,
        "at_ms", (json_int_t)clock_boot_ms());
    if (j)
        json_object_set_new(k->facts, "apply", j);
    k->raised = plain && (k->parts & RAISE);
    if (k->raised)
        k->threads = data_more_threads(c);
    return r;
}

/* ---- on the loop */

static int run(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct look *k = ctx;
    int r = sql_exec(c, "SET SESSION lock_wait_timeout=1, innodb_lock_wait_timeout=1", e);
    if (r >= 0 && (k->parts & ROUND))
        r = round_of(k, c, stop, e);
    if (r >= 0 && (k->parts & SURVEY))
        r = survey_of(k, c, e);
    if (r >= 0 && (k->parts & APPLY))
        r = apply_of(k, c, e);
    return r;
}

static bool is_member(const struct db *db, uint32_t id)
{
    size_t i;
    json_t *m;
    json_array_foreach (json_object_get(db->want.json, "members"), i, m)
        if (json_opt_int(m, "server_id", 0) == id)
            return true;
    return false;
}

/* Servers that are no members and have written since the survey before. */
static json_t *writers_of(const struct db *db, const struct gtid_set *now)
{
    json_t *list = json_array();
    const struct gtid_set *before = &db->hygiene.state;
    for (size_t i = 0; db->hygiene.has_state && i < now->n; i++) {
        const struct gtid *g = &now->at[i];
        bool known = is_member(db, g->server);
        for (size_t j = 0; j < before->n && !known; j++)
            known = before->at[j].domain == g->domain && before->at[j].server == g->server
                    && before->at[j].seq == g->seq;
        if (!known)
            json_array_append_new(list, json_integer(g->server));
    }
    return list;
}

static void take_state(struct db *db, struct look *k)
{
    json_t *survey = json_object_get(k->facts, "survey");
    if (!survey)
        return;
    json_object_set_new(survey, "writers", writers_of(db, &k->state));
    gtid_set_done(&db->hygiene.state);
    db->hygiene.state = k->state;
    k->state = (struct gtid_set){0};
    db->hygiene.has_state = true;
}

static void note_threads(struct db *db, uint64_t n)
{
    char text[64];
    snprintf(text, sizeof text, "%" PRIu64 " threads", n);
    data_note(db->owner, db, "data", "more threads apply what comes from the source", text);
}

static void on_done(void *ctx, int result, unsigned number, const struct err *e)
{
    struct look *k = ctx;
    struct db *db = k->db;
    db->hygiene.busy = false;
    if (k->raised)
        db->hygiene.raise_ms = clock_boot_ms();
    if (k->threads && !db->closing)
        note_threads(db, k->threads);
    if (!db->closing && k->want.duty == db->want.duty && k->want.epoch == db->want.epoch) {
        take_state(db, k);
        json_object_update(db->hygiene.facts, k->facts);
        db_findings(db);
    }
    data_want_done(&k->want);
    gtid_set_done(&k->state);
    json_decref(k->facts);
    free(k);
}

static void begin(struct db *db, unsigned parts)
{
    struct look *k = xcalloc(1, sizeof *k);
    *k = (struct look){
        .db = db, .parts = parts, .facts = json_object(), .leave = &db->leave};
    gtid_set_init(&k->state, GTID_MARIADB);
    data_want_copy(&db->want, &k->want);
    db->hygiene.busy = true;
    sql_worker_run(db->hygiene.worker, DEADLINE_MS, run, on_done, k);
}

static bool is_due(uint64_t *last_ms, uint64_t each_ms, uint64_t now_ms)
{
    if (*last_ms && now_ms - *last_ms < each_ms)
        return false;
    *last_ms = now_ms;
    return true;
}

/* Several transactions since the look before. */
static bool gets_on(struct db *db)
{
    struct gtid g = {0};
    uint64_t before = db->hygiene.applied;
    gtid_set_domain(&db->last->status.executed, db->want.source.id, &g);
    db->hygiene.applied = g.seq;
    return before && g.seq > before + 1;
}

/* What was found of another duty says nothing any more. */
static void forget_other_duty(struct db *db)
{
    struct hygiene *h = &db->hygiene;
    if (h->epoch == db->want.epoch && h->duty == db->want.duty)
        return;
    h->epoch = db->want.epoch;
    h->duty = db->want.duty;
    json_object_clear(h->facts);
    h->round_ms = h->survey_ms = 0;
}

static void on_timer(uv_timer_t *t)
{
    struct db *db = t->data;
    struct hygiene *h = &db->hygiene;
    uint64_t now = clock_boot_ms();
    enum replication_state s = db->node.state;
    bool settled = s == REPLICATION_REPLICATING || s == REPLICATION_WRITABLE || h->round_ms;
    forget_other_duty(db);
    if (db->last && !h->busy && settled) {
        unsigned parts = 0;
        if (is_due(&h->round_ms, db->want.check_ms, now))
            parts |= ROUND;
        /* Who else works with a server that others run is their business. */
        if (!db->want.external
            && is_due(&h->survey_ms, MIN(HYGIENE_SURVEY_MS, db->want.check_ms), now))
            parts |= SURVEY;
        if (data_waiting_ms(db) >= HYGIENE_APPLY_MS && is_due(&h->apply_ms, APPLY_EACH_MS, now))
            parts |= APPLY;
        bool may_raise = s == REPLICATION_REPLICATING && !db->want.external
                         && (!h->raise_ms || now - h->raise_ms >= RAISE_EACH_MS);
        if ((parts & APPLY) && gets_on(db) && may_raise)
            parts |= RAISE;
        if (parts)
            begin(db, parts);
    }
    db_findings(db);
}

uint64_t data_waiting_ms(const struct db *db)
{
    struct gtid g = {0};
    if (!db->last || db->want.duty != REPLICATION_REPLICA || !db->last->status.configured)
        return 0;
    gtid_set_domain(&db->last->status.executed, db->want.source.id, &g);
    return lag_waiting_us(&db->lag, g.seq, clock_wall_us()) / 1000;
}

json_t *db_check_json(const struct db *db)
{
    const json_t *canary = json_object_get(db->hygiene.facts, "canary"),
                 *serving = json_object_get(db->hygiene.facts, "serving");
    if (!canary)
        return json_null();
    const json_t *writes = json_object_get(canary, "writes");
    int64_t age = (int64_t)clock_boot_ms() - json_opt_int(canary, "at_ms", 0);
    return json_pack("{s:o,s:b,s:I}", "read_only",
        json_is_boolean(writes) ? json_boolean(json_is_false(writes)) : json_null(), "serving",
        (int)!json_object_get(serving, "error"), "age_ms", (json_int_t)MAX(age, 0));
}

int db_hygiene_start(struct db *db, const struct sql_target *t, struct err *e)
{
    struct hygiene *h = &db->hygiene;
    h->facts = json_object();
    h->book = json_object();
    uv_timer_init(db->owner->config.loop, &h->timer);
    h->timer.data = db;
    uv_timer_start(&h->timer, on_timer, TICK_MS, TICK_MS);
    return sql_worker_new(db->owner->config.loop, t, &h->worker, e);
}

void db_hygiene_done(struct db *db)
{
    json_decref(db->hygiene.facts);
    json_decref(db->hygiene.book);
    gtid_set_done(&db->hygiene.state);
}
