/* SPDX-License-Identifier: Apache-2.0 */
/* The heartbeat row: a source writes it each second, as an application would (a fence stops it as it
 * stops those), a replica watches for it. A thread of its own, so that nothing else delays it. */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

#include <inttypes.h>
#include <poll.h>
#include <time.h>

#define BEAT_MS 1000u
#define EARLY_MS 850u   /* after a row: the next one is not there before */
#define LOOK_EACH_MS 20 /* what a lag is exact to */
#define LATE_MS 1500u   /* no row by then: looked for less often */
#define LATE_EACH_MS 250u
#define DEADLINE_MS 10000u
#define MOMENTS_MAX 80 /* of one watch */

struct moment { /* the receiving thread is there */
    uint64_t seq;
    int64_t wall_us;
};

struct beat {
    struct db *db;
    struct data_want want;
    bool writes;
    char last_gtid[64]; /* of the row before */
    uint32_t domain;    /* that the source writes in */
    /* a replica's */
    uint64_t known_seq;
    struct moment moments[MOMENTS_MAX];
    size_t n_moments;
    struct lag_row row;
    struct str pos;
    int64_t wall_us;
    uint64_t boot_us;
    bool shows; /* the row is there */
};

/* ---- the source */

static void add_stamp(struct str *s, int64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm = {0};
    char text[32];
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    str_addf(s, "'%s.%06d'", text, (int)(wall_us % 1000000));
}

int data_probe_open(struct sql_conn *conn, const struct data_want *w, struct sql_stop *stop,
    struct sql_conn **ret, struct err *e)
{
    _cleanup_secret_ struct secret *password = NULL;
    int r = data_probe_password(conn, &password, e);
    if (r < 0)
        return r;
    struct sql_target *t = data_target_new(w, DATA_PROBE, password, "mcp-data");
    r = sql_open(t, stop, ret, e);
    sql_target_free(t);
    return r;
}

static int write_row(struct beat *b, struct sql_conn *c, struct err *e)
{
    _cleanup_str_ struct str s = STR_INIT, gtid = STR_INIT;
    str_addf(&s,
        "INSERT INTO " DATA_SCHEMA
        ".heartbeat (server_id, epoch, seq, ts6, boot_us, last_gtid, pos) "
        "VALUES (%" PRIu32 ", %" PRIu64 ", 1, ",
        b->want.self.id, b->want.epoch);
    add_stamp(&s, clock_wall_us());
    str_addf(&s, ", %" PRIu64 ", ", clock_boot_ns() / 1000);
    sql_add_text(&s, b->last_gtid);
    str_add(&s,
        ", @@global.gtid_binlog_pos) ON DUPLICATE KEY UPDATE epoch=VALUES(epoch), seq=seq+1, "
        "ts6=VALUES(ts6), boot_us=VALUES(boot_us), last_gtid=VALUES(last_gtid), pos=VALUES(pos)");
    int r = sql_exec(c, str_cstr(&s), e);
    if (r >= 0)
        r = sql_value(c, "SELECT @@last_gtid", &gtid, e);
    if (r >= 0)
        str_copy(b->last_gtid, sizeof b->last_gtid, str_cstr(&gtid));
    return r;
}

/* ---- a replica */

static uint64_t seq_of(const char *text, uint32_t domain)
{
    struct gtid_set s = {0};
    struct gtid g = {0};
    struct err e;
    if (gtid_set_parse(GTID_MARIADB, text, strlen(text), &s, &e) < 0)
        return 0;
    bool is_its = gtid_set_domain(&s, domain, &g);
    gtid_set_done(&s);
    return is_its ? g.seq : 0;
}

static int look_received(struct beat *b, struct sql_conn *c, struct err *e)
{
    _cleanup_sql_status_ struct sql_replica_status s = {0};
    struct gtid g;
    int r = sql_status(c, &s, e);
    if (r >= 0 && b->n_moments < MOMENTS_MAX
        && gtid_set_domain(&s.retrieved, b->domain, &g))
        b->moments[b->n_moments++] = (struct moment){g.seq, clock_wall_us()};
    return r;
}

static int look_row(struct beat *b, struct sql_conn *c, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    char query[256];
    uint64_t ts, boot;
    snprintf(query, sizeof query,
        "SELECT seq, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ts6) AS ts, boot_us, last_gtid, pos FROM " DATA_SCHEMA
        ".heartbeat WHERE server_id=%" PRIu32 " AND epoch=%" PRIu64,
        b->want.source.id,
        b->want.epoch); /* the row that it left when it was the source before is no lag */
    int r = sql_query(c, query, NULL, &rows, e);
    if (r < 0 || !rows.n)
        return r;
    const struct sql_row *row = &rows.v[0];
    if (!sql_u64(row, "seq", &b->row.seq) || !sql_u64(row, "ts", &ts)
        || !sql_u64(row, "boot_us", &boot))
        return 0;
    b->row.ts_us = (int64_t)ts;
    b->row.boot_us = (int64_t)boot;
    if (b->want.external && *sql_text(row, "last_gtid")) /* whatever it was given */
        b->domain = (uint32_t)strtoul(sql_text(row, "last_gtid"), NULL, 10);
    b->row.last_seq = seq_of(sql_text(row, "last_gtid"), b->domain);
    b->wall_us = clock_wall_us();
    b->boot_us = clock_boot_ns() / 1000;
    b->shows = true;
    str_clear(&b->pos);
    str_add(&b->pos, sql_text(row, "pos"));
    return 0;
}

static int watch(struct beat *b, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    uint64_t until = clock_boot_ms() + LATE_MS;
    do {
        int r = look_received(b, c, e);
        if (r >= 0)
            r = look_row(b, c, e);
        if (r < 0 || (b->shows && b->row.seq != b->known_seq))
            return r;
        poll(NULL, 0, LOOK_EACH_MS);
    } while (clock_boot_ms() < until && !sql_stop_raised(stop));
    return 0;
}

/* Whoever writes does it as an application. */
static int write_as_probe(struct beat *b, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct db *db = b->db;
    if (db->probe && sql_lost(db->probe)) {
        sql_close(db->probe);
        db->probe = NULL;
    }
    int r = db->probe ? 0 : data_probe_open(c, &b->want, stop, &db->probe, e);
    return r < 0 ? r : write_row(b, db->probe, e);
}

/* ---- on the loop */

static int run(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct beat *b = ctx;
    return b->writes ? write_as_probe(b, c, stop, e) : watch(b, c, stop, e);
}

static void take_watch(struct db *db, const struct beat *b)
{
    for (size_t i = 0; i < b->n_moments; i++)
        lag_received(&db->lag, b->moments[i].seq, b->moments[i].wall_us);
    if (b->shows)
        lag_shows(&db->lag, &b->row, b->wall_us, b->boot_us);
    lag_tick(&db->lag, clock_wall_us(), clock_boot_ns() / 1000);
    if (b->shows) {
        free(db->source_pos);
        db->source_pos = xstrdup(str_cstr(&b->pos));
    }
}

static void beat_free(struct beat *b)
{
    data_want_done(&b->want);
    str_done(&b->pos);
    free(b);
}

static bool is_of_now(const struct db *db, const struct beat *b)
{
    return !db->closing && b->want.duty == db->want.duty && b->want.epoch == db->want.epoch
           && b->want.source.id == db->want.source.id;
}

static void on_done(void *ctx, int result, unsigned number, const struct err *e)
{
    struct beat *b = ctx;
    struct db *db = b->db;
    bool changed = b->shows && b->row.seq != b->known_seq;
    db->beating = false;
    if (is_of_now(db, b) && !b->writes && !e)
        take_watch(db, b);
    db->domain = b->domain;
    if (is_of_now(db, b) && b->writes) {
        str_copy(db->last_gtid, sizeof db->last_gtid, e ? "" : b->last_gtid);
        str_copy(db->beat_error, sizeof db->beat_error, e ? e->message : "");
        db->beat_ms = e ? db->beat_ms : clock_boot_ms();
        db->beats += !e;
    }
    if (!db->closing && !b->writes)
        uv_timer_start(&db->beat_timer, db_beat, changed ? EARLY_MS : LATE_EACH_MS, 0);
    beat_free(b);
}

void db_beat(uv_timer_t *t)
{
    struct db *db = t->data;
    bool writes = db->want.duty == REPLICATION_SOURCE;
    bool due = writes ? db->node.state == REPLICATION_WRITABLE : db->last != NULL;
    uv_timer_start(t, db_beat, BEAT_MS, 0);
    if (db->beating || !due)
        return;
    struct beat *b = xcalloc(1, sizeof *b);
    *b = (struct beat){.db = db, .writes = writes, .known_seq = db->lag.row.seq};
    b->domain = db->want.external ? db->domain : db->want.source.id;
    str_copy(b->last_gtid, sizeof b->last_gtid, db->last_gtid);
    data_want_copy(&db->want, &b->want);
    db->beating = true;
    sql_worker_run(db->beat, DEADLINE_MS, run, on_done, b);
}
