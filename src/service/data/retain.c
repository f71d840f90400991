/* SPDX-License-Identifier: Apache-2.0 */
/* Binary logs go when nobody needs them any more (domain/replication/retention.h decides), at every
 * member; the server's own expiry is a backstop. How full the disk is, and when it will be full. */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/replication/findings.h"
#include "domain/replication/retention.h"

#include <sys/stat.h>

#define TURN_MIN_MS 2000u
#define TURN_MAX_MS 60000u
#define DEADLINE_MS 60000u
#define PURGE_MAX 200u /* logs in one turn */
#define SACRIFICE "sacrifice:"

struct outcome {
    uint64_t files, bytes;
    int64_t oldest_ms;
    char oldest_gtid[512], held_by[64], sacrificed[64];
    bool held_by_vault, early;
    size_t purged;
};

struct db_retain {
    bool busy, known;
    uint64_t turn_ms;
    struct retention_trend trend;
    struct outcome last;
    uint64_t purged; /* in all */
    char sacrificed[64], error[256];
};

struct job {
    struct db *db;
    struct data_want want;
    json_t *positions; /* of the others, as told last; NULL: nothing is known */
    uint64_t disk_total, disk_free;
    struct outcome result;
};

/* ---- on a worker's thread ---- */

struct holders {
    struct retention_holder v[2 * 16];
    struct gtid_set sets[2 * 16];
    size_t n;
};

static void add_holder(struct holders *h, const char *host, bool vault, const char *gtid)
{
    struct err ignored;
    struct gtid_set *set = &h->sets[h->n];
    if (h->n == ARRAY_SIZE(h->v))
        return;
    gtid_set_init(set, GTID_MARIADB);
    bool known = gtid && *gtid && gtid_set_parse(GTID_MARIADB, gtid, strlen(gtid), set, &ignored) >= 0;
    h->v[h->n++] = (struct retention_holder){host, vault, known ? set : NULL};
}

/* Every other member; and the vault of each that is not the source. */
static void add_holders(const struct job *j, struct holders *h)
{
    size_t i;
    json_t *m;
    json_array_foreach (json_object_get(j->want.json, "members"), i, m) {
        const char *host = json_opt_str(m, "host", "");
        const json_t *at = json_object_get(j->positions, host);
        if (str_eq(host, j->want.self.host))
            continue;
        add_holder(h, host, false, json_opt_str(at, "gtid", NULL));
        if (!str_eq(host, j->want.source.host))
            add_holder(h, host, true, json_opt_str(at, "vault_gtid", NULL));
    }
}

/* "sacrifice:ap-seoul": the member's host. */
static const char *sacrifice_of(const struct data_want *w)
{
    size_t i;
    json_t *m;
    const char *policy = json_opt_str(json_object_get(w->json, "replication"), "disk_full", "");
    if (!str_starts(policy, SACRIFICE))
        return NULL;
    policy += strlen(SACRIFICE);
    json_array_foreach (json_object_get(w->json, "members"), i, m) {
        const char *host = json_opt_str(m, "host", "");
        if (str_eq(host, policy) || str_eq(json_opt_str(m, "region", ""), policy))
            return host;
    }
    return NULL;
}

static int64_t written_ms(const struct data_want *w, const char *log, int64_t otherwise)
{
    struct stat st;
    _cleanup_free_ char *path = xasprintf("%s/binlog/%s", w->dir, log);
    return stat(path, &st) < 0 ? otherwise : (int64_t)st.st_mtim.tv_sec * 1000;
}

struct logs {
    struct sql_binlog *names;
    struct retention_log *v;
    struct gtid_set *starts;
    size_t n, n_starts;
};

/* Where a log begins is asked only of those that may matter now. */
static int read_logs(struct job *j, struct sql_conn *c, struct retention_input *in, struct logs *l, struct err *e)
{
    int r = sql_binlogs(c, &l->names, &l->n, e);
    if (r < 0)
        return r;
    uint64_t used = in->disk_total - in->disk_free;
    bool full = in->disk_total && used / (in->disk_total / 100 + 1) >= RETENTION_FULL_PERCENT - 1;
    l->v = xcalloc(l->n + 1, sizeof *l->v);
    l->starts = xcalloc(l->n + 1, sizeof *l->starts);
    for (size_t i = 0; i < l->n; i++) {
        l->v[i] = (struct retention_log){.bytes = l->names[i].size_bytes,
            .written_ms = written_ms(&j->want, l->names[i].name, in->now_ms)};
        j->result.bytes += l->names[i].size_bytes;
    }
    for (size_t i = 0; i < l->n && i <= PURGE_MAX; i++) {
        bool old = i && in->now_ms - l->v[i - 1].written_ms >= in->retention_ms;
        if (i && !old && !full)
            break;
        r = sql_binlog_start(c, l->names[i].name, &l->starts[i], e);
        if (r < 0)
            return r;
        l->v[i].start = &l->starts[i];
        l->n_starts = i + 1;
    }
    in->logs = l->v;
    in->n_logs = l->n;
    return 0;
}

static void take(struct job *j, const struct logs *l, const struct retention_verdict *v)
{
    struct outcome *o = &j->result;
    _cleanup_str_ struct str text = STR_INIT;
    o->files = l->n - v->purge;
    o->bytes -= v->bytes;
    o->purged = v->purge;
    o->early = v->early;
    if (v->held_by) {
        str_copy(o->held_by, sizeof o->held_by, v->held_by->host);
        o->held_by_vault = v->held_by->vault;
    }
    if (v->sacrificed)
        str_copy(o->sacrificed, sizeof o->sacrificed, v->sacrificed->host);
    if (v->purge >= l->n)
        return;
    o->oldest_ms = l->v[v->purge].written_ms;
    if (v->purge < l->n_starts)
        gtid_set_format(&l->starts[v->purge], &text);
    str_copy(o->oldest_gtid, sizeof o->oldest_gtid, str_cstr(&text));
}

static int decide(struct job *j, struct sql_conn *c, struct logs *l, struct holders *h, struct err *e)
{
    struct retention_verdict v;
    struct retention_input in = {.holders = h->v,
        .n_holders = h->n,
        .now_ms = clock_wall_ms(),
        .retention_ms = (int64_t)j->want.retention_ms,
        .disk_total = j->disk_total,
        .disk_free = j->disk_free,
        .sacrifice = sacrifice_of(&j->want)};
    int r = read_logs(j, c, &in, l, e);
    if (r < 0)
        return r;
    retention_decide(&in, &v);
    take(j, l, &v);
    return v.purge ? sql_purge_to(c, l->names[v.purge].name, e) : 0;
}

static int run(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct job *j = ctx;
    struct holders *h = xcalloc(1, sizeof *h);
    struct logs l = {0};
    add_holders(j, h);
    int r = decide(j, c, &l, h, e);
    for (size_t i = 0; i < h->n; i++)
        gtid_set_done(&h->sets[i]);
    for (size_t i = 0; i < l.n_starts; i++)
        gtid_set_done(&l.starts[i]);
    free(l.names);
    free(l.v);
    free(l.starts);
    free(h);
    return r;
}

/* ---- on the loop ---- */

static void on_done(void *ctx, int result, unsigned number, const struct err *e)
{
    struct job *j = ctx;
    struct db *db = j->db;
    struct db_retain *t = db->retain;
    t->busy = false;
    t->error[0] = '\0';
    if (e)
        snprintf(t->error, sizeof t->error, "%.*s", (int)str_utf8_cut(e->message, 255), e->message);
    if (!e) {
        t->last = j->result;
        t->known = true;
        t->purged += j->result.purged;
    }
    if (!e && *j->result.sacrificed && !db->closing) {
        str_copy(t->sacrificed, sizeof t->sacrificed, j->result.sacrificed);
        data_note(db->owner, db, "alarm", "binary logs were removed that a replica still needed",
            t->sacrificed);
    }
    data_want_done(&j->want);
    json_decref(j->positions);
    free(j);
}

static bool is_well(const struct db *db)
{
    return db->last
           && (db->node.state == REPLICATION_WRITABLE || db->node.state == REPLICATION_REPLICATING);
}

void db_retain_turn(struct db *db)
{
    struct db_retain *t = db->retain;
    uint64_t now = clock_boot_ms();
    uint64_t each = MIN(TURN_MAX_MS, MAX(TURN_MIN_MS, db->want.retention_ms / 10));
    if (!db->last)
        return;
    retention_sample(&t->trend, now, db->last->disk_total - db->last->disk_free);
    if (t->busy || !is_well(db) || (t->turn_ms && now - t->turn_ms < each))
        return;
    struct job *j = xcalloc(1, sizeof *j);
    *j = (struct job){
        .db = db, .disk_total = db->last->disk_total, .disk_free = db->last->disk_free};
    data_want_copy(&db->want, &j->want);
    j->positions = json_incref(
        json_object_get(json_object_get(db->owner->world, "positions"), db->name));
    t->busy = true;
    t->turn_ms = now;
    sql_worker_run(db->hygiene.worker, DEADLINE_MS, run, on_done, j);
}

static int64_t full_in_ms(const struct db *db)
{
    const struct data_look *l = db->last;
    return l ? retention_full_in_ms(&db->retain->trend, clock_boot_ms(),
                   l->disk_total - l->disk_free, l->disk_free)
             : -1;
}

void db_retain_report(const struct db *db, json_t *report)
{
    const struct db_retain *t = db->retain;
    const struct outcome *o = &t->last;
    json_t *disk = json_object_get(report, "disk");
    int64_t full_in = full_in_ms(db);
    if (disk)
        json_object_set_new(disk, "full_in_ms", full_in < 0 ? json_null() : json_integer(full_in));
    if (t->known)
        json_object_set_new(report, "binlog",
            json_pack("{s:I,s:I,s:I,s:s,s:s,s:b,s:I}", "files", (json_int_t)o->files, "bytes",
                (json_int_t)o->bytes, "oldest_ms", (json_int_t)o->oldest_ms, "oldest_gtid",
                o->oldest_gtid, "held_by", o->held_by, "held_by_vault", (int)o->held_by_vault,
                "purged", (json_int_t)t->purged));
}

static void find_disk(const struct db *db, json_t *list)
{
    const struct data_look *l = db->last;
    const struct outcome *o = &db->retain->last;
    if (!l || !l->disk_total)
        return;
    unsigned percent = (unsigned)((double)(l->disk_total - l->disk_free) * 100 / (double)l->disk_total);
    int64_t full_in = full_in_ms(db);
    char when[64] = "";
    if (full_in >= 0)
        snprintf(when, sizeof when, ", full in %.1f days at the pace of the last day",
            (double)full_in / 86400000);
    if (percent >= RETENTION_FULL_PERCENT)
        data_finding(list, "disk-full", "error",
            *o->held_by ? "bring that replica back, or give it up: `replication.disk_full: "
                          "sacrifice:REGION`; or a larger disk"
                        : "a larger disk, or less on it",
            "its disk is %u %% full%s; binary logs go as soon as nobody needs them%s%s", percent, when,
            *o->held_by ? ", and are needed by " : "", o->held_by);
    else if (percent >= RETENTION_WARN_PERCENT)
        data_finding(list, "disk-low", "warning", "a larger disk, or a shorter `replication.binlog_retention`",
            "its disk is %u %% full%s", percent, when);
    else if (full_in >= 0 && full_in < 86400000)
        data_finding(list, "disk-forecast", "warning",
            "find out what grows: `mcp data status --json` has `binlog` and `disk`",
            "its disk is %u %% full%s", percent, when);
}

void db_retain_findings(const struct db *db, json_t *list)
{
    const struct db_retain *t = db->retain;
    find_disk(db, list);
    if (*t->last.held_by)
        data_finding(list, "binlog-held", "warning",
            "they go when it has taken them; `mcp data status` shows what is wrong with it",
            "binary logs older than the retention are kept for %s%s", t->last.held_by_vault ? "the vault of " : "",
            t->last.held_by);
    if (*t->sacrificed)
        data_finding(list, "binlog-sacrificed", "error", "seed it anew",
            "binary logs were removed that %s still needed: the disk was full", t->sacrificed);
    if (*t->error)
        data_finding(list, "binlog-unread", "warning", "", "binary logs cannot be looked through: %s", t->error);
}

void db_retain_open(struct db *db)
{
    db->retain = xcalloc(1, sizeof *db->retain);
}

void db_retain_free(struct db *db)
{
    free(db->retain);
}
