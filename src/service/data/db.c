/* SPDX-License-Identifier: Apache-2.0 */
/* One database: feeds its node with looks at the server, carries out what the node names. Changes
 * and looks have a thread each, so that a change that takes long is watched. */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/metrics/metrics.h"
#include "base/str/str.h"
#include "service/data/maker.h"
#include "service/data/rescue.h"
#include "service/data/seed.h"

#define LOOK_MS 1000u
#define LOOK_SOON_MS 20u     /* while somebody waits for a position */
#define LOOK_DEADLINE_MS 4000u
#define OP_DEADLINE_MS 120000u
#define FORM_DEADLINE_MS 600000u /* a schema file may change a big table */
#define FILE_MAX 4096
#define FENCE_GRACE_MS 300u

/* ---- a freeze outlives the role */

static char *saved_path(const struct db *db)
{
    return xasprintf("%s/%s.freeze.json", db->owner->config.state_dir, db->name);
}

static void save(struct db *db)
{
    struct err e;
    struct replication_saved s;
    replication_node_save(&db->node, &s);
    _cleanup_json_ json_t *j = json_pack("{s:b,s:I,s:I,s:I}", "frozen", s.frozen, "change",
        (json_int_t)s.freeze_id, "epoch", (json_int_t)s.freeze_epoch, "told_epoch",
        (json_int_t)s.told_epoch);
    _cleanup_free_ char *path = saved_path(db), *text = json_text(j);
    if (file_write_durable(path, text, strlen(text), 0600, &e) < 0)
        data_note(db->owner, db, "alarm", "a freeze cannot be stored", e.message);
}

static void load(struct db *db)
{
    struct err e;
    _cleanup_json_ json_t *j = NULL;
    _cleanup_free_ char *path = saved_path(db);
    if (json_read_file(path, FILE_MAX, &j, &e) < 0)
        return;
    struct replication_saved s = {.frozen = json_opt_bool(j, "frozen", false),
        .freeze_id = (uint64_t)json_opt_int(j, "change", 0),
        .freeze_epoch = (uint64_t)json_opt_int(j, "epoch", 0),
        .told_epoch = (uint64_t)json_opt_int(j, "told_epoch", 0)};
    replication_node_restore(&db->node, &s);
}

/* ---- operations */

static int run_op(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    return data_op_run(ctx, c, stop, e);
}

static void op_free(struct data_op *op)
{
    data_want_done(&op->want);
    json_decref(op->files);
    free(op);
}

/* What somebody was told is written, and the source does not have. */
static void tell_rescued(struct db *db)
{
    char text[200];
    json_decref(db->rescues);
    db->rescues = rescue_list(db->want.dir);
    const json_t *newest = json_array_get(db->rescues, 0);
    int64_t n = json_opt_int(newest, "transactions", 0);
    snprintf(text, sizeof text, "%lld transactions that %s lacks are saved here", (long long)n,
        db->want.source.host);
    data_note(db->owner, db, n ? "alarm" : "data", text, json_opt_str(newest, "gtids", ""));
}

static void on_op_done(void *ctx, int result, unsigned number, const struct err *e)
{
    struct data_op *op = ctx;
    struct db *db = op->db;
    struct replication_event ev = {.kind = REPLICATION_EV_DONE,
        .ok = !e,
        .number = number,
        .text = e ? e->message : ""};
    log_debug("data", replication_op_name(op->op), "db=%s ok=%d why=\"%s\"", db->name, !e, ev.text);
    bool rescued = op->op == REPLICATION_OP_RESCUE && !e;
    if (op->op == REPLICATION_OP_RESCUE) {
        if (e && !db->unsaved)
            data_note(db->owner, db, "alarm", "what its successor lacks cannot be saved", e->message);
        db->unsaved = e != NULL;
    }
    op_free(op);
    if (db->closing)
        return;
    if (rescued)
        tell_rescued(db);
    db_event(db, &ev);
    db_look_soon(db);
}

/* A seed has steps of its own, and looks that go on meanwhile. */
static void begin_seed(struct db *db)
{
    struct err e = {0};
    bool ok = seed_begin(db, false, &e) >= 0;
    db_event(db, &(struct replication_event){
                     .kind = REPLICATION_EV_DONE, .ok = ok, .text = e.message});
}

static void begin(struct db *db, enum replication_op kind)
{
    if (kind == REPLICATION_OP_RESEED) {
        begin_seed(db);
        return;
    }
    struct data_op *op = xcalloc(1, sizeof *op);
    *op = (struct data_op){.db = db,
        .op = kind,
        .files = json_incref(db->files),
        .grace_ms = db->grace_ms,
        .ends = db_lease_ends(db),
        .leave = &db->leave};
    if (op->ends) /* a moment: the server is killed soon */
        op->grace_ms = FENCE_GRACE_MS;
    if (kind == REPLICATION_OP_WRITABLE)
        db->lease.ends = false;
    data_want_copy(&db->want, &op->want);
    if (kind == REPLICATION_OP_READ_ONLY && db->want.duty == REPLICATION_REPLICA)
        data_note(db->owner, db, "alarm", "a replica was writable and is made read-only", "");
    bool is_long = kind == REPLICATION_OP_FORM || kind == REPLICATION_OP_REFILL
                   || kind == REPLICATION_OP_RESCUE || kind == REPLICATION_OP_FLASHBACK;
    sql_worker_run(
        db->act, is_long ? FORM_DEADLINE_MS : OP_DEADLINE_MS, run_op, on_op_done, op);
}

/* ---- what changes is told */

static const char *change_kind(enum replication_state s)
{
    return s == REPLICATION_FROZEN || s == REPLICATION_BROKEN || s == REPLICATION_UNREACHABLE
               ? "alarm"
               : "data";
}

static void tell(struct db *db, enum replication_state before, enum ladder_step step)
{
    const struct replication_node *n = &db->node;
    char text[128];
    if (n->state != before) {
        snprintf(text, sizeof text, "%s at epoch %llu", replication_state_name(n->state),
            (unsigned long long)n->view.epoch);
        data_note(db->owner, db, change_kind(n->state), text, n->why);
    } else if (n->ladder.step != step && n->ladder.step != LADDER_NONE) {
        snprintf(text, sizeof text, "resumes: %s", ladder_step_name(n->ladder.step));
        data_note(db->owner, db, "data", text, n->why);
    }
}

void db_event(struct db *db, const struct replication_event *ev)
{
    struct replication_actions a;
    enum replication_state before = db->node.state;
    enum ladder_step step = db->node.ladder.step;
    uint64_t now = clock_boot_ms();
    replication_node_step(&db->node, ev, now, &db->rnd, &a);
    data_give_leave(
        &db->leave, db->node.view.epoch, replication_node_write_until(&db->node, now));
    if (a.save)
        save(db);
    if (a.op != REPLICATION_NOTHING)
        begin(db, a.op);
    if (!a.report)
        return;
    tell(db, before, step);
    data_report_soon(db->owner);
}

/* ---- looks */

static struct sql_target *target_of(const struct db *db)
{
    return data_target_new(&db->want, NULL, NULL, "mcp-data");
}

/* A server that does not answer may be another process soon: sessions with this one are of no use. */
static void forget_sessions(struct db *db)
{
    struct sql_target *t = target_of(db);
    sql_worker_set_target(db->act, t);
    sql_target_free(t);
}

static void log_in_anew(struct db *db)
{
    struct sql_worker *workers[] = {db->act, db->watch, db->beat, db->hygiene.worker,
        db->lease.worker};
    struct sql_target *t = target_of(db);
    for (size_t i = 0; i < ARRAY_SIZE(workers); i++)
        if (workers[i])
            sql_worker_set_target(workers[i], t);
    sql_target_free(t);
}

struct look_job {
    struct db *db;
    struct data_want want;
    struct data_look *look;
    uint64_t ops; /* that had ended when it began */
    uint64_t number;
};

static int run_look(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct look_job *j = ctx;
    return data_look(c, &j->want, j->look, e);
}

static void look_at_waiters(struct db *db)
{
    uint64_t now = clock_boot_ms();
    for (struct waiter **at = &db->waiters; *at;) {
        struct waiter *w = *at;
        bool over = db->closing || now >= w->deadline_ms;
        if ((over || db->last_number >= w->look_number) && w->look(w, db, over)) {
            *at = w->next;
            gtid_set_done(&w->gtid);
            free(w);
        } else {
            at = &w->next;
        }
    }
}

static void set_timer(struct db *db);

/* Commits wait, and from one look to the next nobody has acknowledged any. */
static void note_stall(struct db *db)
{
    const struct data_look *l = db->last;
    bool moves = !l->sync_waiting || l->sync_acks != db->sync_acks;
    db->stalled_ms = moves ? 0 : db->stalled_ms ? db->stalled_ms : l->began_ms;
    db->sync_acks = l->sync_acks;
}

static void on_look_done(void *ctx, int result, unsigned number, const struct err *e)
{
    struct look_job *j = ctx;
    struct db *db = j->db;
    struct replication_sample sample;
    struct replication_event ev = {.kind = REPLICATION_EV_SAMPLE, .sample = &sample, .ops = j->ops};
    bool current = !e && !db->closing && j->ops == db->node.ops;
    db->sampling = false;
    if (!db->closing && e) {
        ev = (struct replication_event){.kind = REPLICATION_EV_UNREACHABLE, .text = e->message};
        data_look_free(db->last);
        db->last = NULL;
        forget_sessions(db);
    } else if (current) {
        data_look_free(db->last);
        db->last = j->look;
        db->last_number = j->number;
        j->look = NULL;
        data_look_sample(db->last, &db->want, &sample);
        db_lease_seen(db, db->last->pid);
        note_stall(db);
    }
    data_look_free(j->look);
    data_want_done(&j->want);
    free(j);
    if (db->closing)
        return;
    if (current)
        db_findings(db); /* of what the node mends at once, too */
    if (e || current)
        db_event(db, &ev);
    if (current)
        look_at_waiters(db);
    maker_tick(db);
    set_timer(db);
}

static void look(struct db *db)
{
    struct look_job *j = xcalloc(1, sizeof *j);
    *j = (struct look_job){.db = db, .look = data_look_new(), .ops = db->node.ops, .number = ++db->looks};
    data_want_copy(&db->want, &j->want);
    db->sampling = true;
    db->again = false;
    sql_worker_run(db->watch, LOOK_DEADLINE_MS, run_look, on_look_done, j);
}

static void on_timer(uv_timer_t *t)
{
    struct db *db = t->data;
    look_at_waiters(db); /* also when the server does not answer */
    if (!db->sampling)
        look(db);
    db->again = false;
}

static void set_timer(struct db *db)
{
    uint64_t in_ms = db->again ? 0 : db->waiters ? LOOK_SOON_MS : LOOK_MS;
    if (!db->closing)
        uv_timer_start(&db->timer, on_timer, in_ms, LOOK_MS);
}

void db_look_soon(struct db *db)
{
    db->again = true;
    if (!db->sampling)
        set_timer(db);
}

void db_wait(struct db *db, struct waiter *w)
{
    w->look_number = db->looks + 1;
    w->next = db->waiters;
    db->waiters = w;
    db_look_soon(db);
}

/* ---- what control wants */

/* Somebody has kept logs of that source here. */
static bool has_vault(const struct data_want *w)
{
    _cleanup_free_ char *path = xasprintf("%s/vault/%u", w->dir, w->source.id);
    return file_exists(path);
}

static void set_view(struct db *db, uint64_t fresh_ms)
{
    const struct data_want *w = &db->want;
    struct replication_view v = {.duty = w->duty,
        .epoch = w->epoch,
        .self = w->self.id,
        .source = w->source.id,
        .fresh_ms = w->held ? 0 : fresh_ms,
        .last_change = w->last_change,
        .tls_ready = w->tls_ready || db->owner->identity || w->external,
        .manual = w->manual,
        .has_vault = has_vault(w),
        .leased = w->lease_ms > 0,
        .source_log = w->source_log,
        .heartbeat_ms = w->heartbeat_ms,
        .form = w->form,
        .sync = w->sync};
    db_event(db, &(struct replication_event){.kind = REPLICATION_EV_VIEW, .view = &v});
    db_look_soon(db);
}

void db_want(struct db *db, struct data_want *want, uint64_t fresh_ms)
{
    if (db->want.source.id != want->source.id) {
        lag_reset(&db->lag);
        free(db->source_pos);
        db->source_pos = NULL;
        db->last_gtid[0] = '\0';
    }
    bool other_login = !json_equal(db->want.login, want->login);
    data_want_done(&db->want);
    db->want = *want;
    *want = (struct data_want){0};
    if (other_login)
        log_in_anew(db);
    data_offset(db->owner, db);
    seed_resume(db);
    seed_view_changed(db);
    db_lease_want(db);
    set_view(db, fresh_ms);
}

static int run_flush_tls(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    return sql_flush_tls(c, e);
}

static void on_flushed(void *ctx, int result, unsigned number, const struct err *e)
{
    struct db *db = ctx;
    if (!db->closing)
        db_event(db, &(struct replication_event){.kind = REPLICATION_EV_IDENTITY});
}

void db_identity(struct db *db)
{
    sql_worker_run(db->act, OP_DEADLINE_MS, run_flush_tls, on_flushed, db);
}

/* ---- life */

static int open_workers(struct db *db, struct err *e)
{
    struct sql_target *t = target_of(db);
    int r = sql_worker_new(db->owner->config.loop, t, &db->act, e);
    if (r >= 0)
        r = sql_worker_new(db->owner->config.loop, t, &db->watch, e);
    if (r >= 0)
        r = sql_worker_new(db->owner->config.loop, t, &db->beat, e);
    if (r >= 0)
        r = db_hygiene_start(db, t, e);
    sql_target_free(t);
    return r;
}

int db_new(struct data *d, const struct data_want *want, struct db **ret, struct err *e)
{
    struct db *db = xcalloc(1, sizeof *db);
    *db = (struct db){.owner = d, .files = json_object(), .asking = json_object()};
    str_copy(db->name, sizeof db->name, want->name);
    data_want_copy(want, &db->want);
    replication_node_init(&db->node);
    uint64_t seed;
    rnd_bytes(&seed, sizeof seed);
    rnd_seed(&db->rnd, seed);
    load(db);
    d->refs++;
    uv_timer_init(d->config.loop, &db->timer);
    db->timer.data = db;
    uv_timer_init(d->config.loop, &db->beat_timer);
    db->beat_timer.data = db;
    lag_reset(&db->lag);
    db_keep_open(db);
    db_retain_open(db);
    db->rescues = rescue_list(want->dir);
    db_lease_open(db);
    int r = open_workers(db, e);
    db->open_handles =
        4u + !!db->act + !!db->watch + !!db->beat + !!db->hygiene.worker + !!db->hygiene.timer.data;
    if (r < 0) {
        db_close(db);
        return r;
    }
    *ret = db;
    uv_timer_start(&db->beat_timer, db_beat, 0, 0);
    db_look_soon(db);
    return 0;
}

static void unref(struct db *db)
{
    if (--db->open_handles)
        return;
    data_look_free(db->last);
    data_want_done(&db->want);
    json_decref(db->rescues);
    json_decref(db->files);
    json_decref(db->asking);
    free(db->source_pos);
    db_hygiene_done(db);
    metrics_set_free(db->metrics);
    sql_close(db->probe); /* its thread has ended */
    db_keep_free(db);
    db_retain_free(db);
    db_lease_free(db);
    data_unref(db->owner);
    free(db);
}

static void on_timer_closed(uv_handle_t *h)
{
    unref(h->data);
}

static void on_worker_closed(void *ctx)
{
    unref(ctx);
}

void db_close(struct db *db)
{
    db->closing = true;
    look_at_waiters(db);
    seed_close(db);
    maker_close(db);
    uv_close((uv_handle_t *)&db->timer, on_timer_closed);
    uv_close((uv_handle_t *)&db->beat_timer, on_timer_closed);
    db_keep_close(db, on_timer_closed);
    db_lease_close(db, on_timer_closed, on_worker_closed);
    if (db->hygiene.timer.data)
        uv_close((uv_handle_t *)&db->hygiene.timer, on_timer_closed);
    struct sql_worker *workers[] = {db->act, db->watch, db->beat, db->hygiene.worker};
    for (size_t i = 0; i < ARRAY_SIZE(workers); i++)
        if (workers[i])
            sql_worker_close(workers[i], on_worker_closed, db);
}
