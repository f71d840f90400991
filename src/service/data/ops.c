/* SPDX-License-Identifier: Apache-2.0 */
/* The operations that the node names, on a worker's thread. Each may be repeated at any point. */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "service/copies/copies.h"
#include "service/data/evidence.h"
#include "service/data/rescue.h"
#include "service/data/seed.h"

#include <poll.h>

#define NET_TIMEOUT_S 10u /* the server's default of 60 takes a frozen source for a healthy one */
#define EXPIRE_S (14u * 86400) /* a backstop; what is needed no more is purged before */
#define APPLY_MS 60000u   /* what was received is applied within that, or promotion fails */
#define LOOK_AGAIN_MS 20
#define GRACE_MS 1000u /* for sessions of applications to end what they do */

/* Taken back before it is given for another epoch: a reader never takes one's time for the other's. */
void data_give_leave(struct data_leave *l, uint64_t epoch, uint64_t until_ms)
{
    if (atomic_load(&l->epoch) != epoch)
        atomic_store(&l->until_ms, 0);
    atomic_store(&l->epoch, epoch);
    atomic_store(&l->until_ms, until_ms);
}

bool data_may_write(const struct data_leave *l, uint64_t epoch)
{
    bool now = clock_boot_ms() < atomic_load(&l->until_ms);
    return now && atomic_load(&l->epoch) == epoch;
}

static int settings(struct sql_conn *c, const struct data_want *w, struct err *e)
{
    if (w->external) /* whoever runs it decides */
        return 0;
    struct sql_settings s = {.compress = true,
        .net_timeout_s = NET_TIMEOUT_S,
        .expire_s = EXPIRE_S,
        .set_domain = true,
        .domain = w->self.id};
    return sql_settings(c, &s, e);
}

/* A commit that waits for a lock, or for a disk, holds it up: after the grace the sessions of
 * applications are ended. Without that they stay: what they have begun can not be committed. */
static int read_only(struct data_op *op, struct sql_conn *c, struct err *e)
{
    const char *const spare[] = {data_user(&op->want), NULL};
    uint64_t until = clock_boot_ms() + (op->grace_ms ? op->grace_ms : GRACE_MS);
    int r;
    do
        r = sql_read_only(c, true, 1, e);
    while (r == ERR_CONFLICT && clock_boot_ms() < until);
    if (r == ERR_CONFLICT && sql_kill_sessions(c, spare, e) >= 0)
        r = sql_read_only(c, true, 1, e);
    if (r >= 0 && op->ends && sql_kill_sessions(c, spare, e) < 0)
        r = e->code;
    return r;
}

/* What it waited for as the source would never come: nobody follows a replica, and whatever it applies
 * would wait for ever. It reads only and its sessions are gone, so that this sets no order free. */
static int wait_for_nobody(struct sql_conn *c, const struct data_want *w, struct err *e)
{
    const struct sql_semisync s = {.replica = true};
    return w->semi_sync && !w->external ? sql_semisync(c, &s, e) : 0;
}

static int attach(struct sql_conn *c, const struct data_want *w, struct err *e)
{
    _cleanup_free_ char *ca = xasprintf("%s/tls/ca.pem", w->dir);
    _cleanup_free_ char *cert = xasprintf("%s/tls/cert.pem", w->dir);
    _cleanup_free_ char *key = xasprintf("%s/tls/key.pem", w->dir);
    struct sql_attach a = {.host = w->source.address,
        .port = w->source.port,
        .user = DATA_REPL,
        .tls = {SQL_TLS_FULL, ca, cert, key},
        .heartbeat_ms = w->heartbeat_ms,
        .net_timeout_s = NET_TIMEOUT_S,
        .delay_s = (uint32_t)(w->self.delay_ms / 1000),
        .compress = true};
    _cleanup_secret_ struct secret *password = NULL;
    if (w->external) {
        const char *text = json_opt_str(w->login, "password", "");
        a.user = data_user(w);
        a.password = password = secret_new(text, strlen(text));
        a.tls = (struct sql_tls){.mode = w->tls ? SQL_TLS_ANY : SQL_TLS_OFF};
        a.compress = false; /* takes both sides' settings */
    }
    int r = settings(c, w, e);
    if (r >= 0)
        r = wait_for_nobody(c, w, e);
    if (r >= 0)
        r = sql_stop(c, SQL_THREAD_BOTH, e);
    if (r >= 0)
        r = seed_set_start(c, w, e);
    if (r >= 0)
        r = sql_attach(c, &a, e);
    return r < 0 ? r : sql_start(c, SQL_THREAD_BOTH, e);
}

/* What it wrote as the source counts as applied. If the new source lacks some of it, that one says
 * so (1236) and nothing is overwritten. */
static int attach_current(struct sql_conn *c, const struct data_want *w, struct err *e)
{
    _cleanup_sql_position_ struct sql_position p = {0};
    int r = sql_stop(c, SQL_THREAD_BOTH, e);
    if (r >= 0)
        r = sql_position(c, &p, e);
    if (r >= 0)
        r = sql_set_start(c, &p.current, e);
    return r < 0 ? r : attach(c, w, e);
}

static int wait_a_little(struct sql_stop *stop, struct err *e)
{
    poll(NULL, 0, LOOK_AGAIN_MS);
    return sql_stop_raised(stop) ? err_set(e, ERR_CANCELED, "cancelled") : 0;
}

/* Everything that was received is applied. Begun once over the error that it stands at, which may have
 * been mended: else it is there again at once. */
static int drain(struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    uint64_t until = clock_boot_ms() + APPLY_MS;
    bool begun = false;
    for (;;) {
        _cleanup_sql_status_ struct sql_replica_status s = {0};
        int r = sql_status(c, &s, e);
        if (r < 0 || !s.configured || gtid_set_contains(&s.executed, &s.retrieved))
            return r;
        if (!s.sql_running && s.sql_errno && begun)
            return err_set(e, ERR_REFUSED, "replication is stopped by error %u: %.400s", s.sql_errno,
                s.sql_error);
        if (clock_boot_ms() >= until)
            return err_set(e, ERR_TIMEOUT, "what was received is not applied within %u s",
                APPLY_MS / 1000);
        if (!s.sql_running)
            r = sql_start(c, SQL_THREAD_SQL, e);
        begun = true;
        if (r >= 0)
            r = wait_a_little(stop, e);
        if (r < 0)
            return r;
    }
}

/* Up to the position that rows and own log have, whatever an earlier try has left. */
static int refill(struct sql_conn *c, const struct data_want *w, struct sql_stop *stop, struct err *e)
{
    _cleanup_sql_position_ struct sql_position p = {0};
    _cleanup_gtid_ struct gtid_set begin = {0}, reached = {0};
    _cleanup_str_ struct str from = STR_INIT;
    _cleanup_free_ char *vault = xasprintf("%s/vault", w->dir),
                        *socket = xasprintf("%s/run/db.sock", w->dir),
                        *scratch = xasprintf("%s/spool/refill.log", w->dir);
    char gtid[COPIES_GTID_MAX];
    int r = drain(c, stop, e);
    if (r >= 0)
        r = sql_stop(c, SQL_THREAD_BOTH, e);
    if (r >= 0)
        r = sql_position(c, &p, e);
    if (r >= 0)
        r = gtid_set_union(&p.applied, &p.binlog, &begin, e);
    if (r < 0)
        return r;
    gtid_set_format(&begin, &from);
    r = copies_refill(vault, socket, DATA_USER, str_cstr(&from), scratch, stop, gtid, e);
    if (r >= 0)
        r = gtid_set_parse(GTID_MARIADB, gtid, strlen(gtid), &reached, e);
    if (r >= 0)
        r = sql_set_start(c, &reached, e);
    return r < 0 ? r : attach(c, w, e);
}

static int promote(struct sql_conn *c, const struct data_want *w, struct sql_stop *stop, struct err *e)
{
    int r = sql_stop(c, SQL_THREAD_IO, e);
    if (r >= 0)
        r = drain(c, stop, e);
    if (r >= 0)
        r = sql_stop(c, SQL_THREAD_BOTH, e);
    if (r >= 0)
        r = sql_reset_replica(c, true, e);
    return r < 0 ? r : settings(c, w, e);
}

static int restart_io(struct sql_conn *c, struct err *e)
{
    int r = sql_stop(c, SQL_THREAD_IO, e);
    return r < 0 ? r : sql_start(c, SQL_THREAD_BOTH, e);
}

/* The view may have changed while this waited for its turn. */
static int make_writable(struct data_op *op, struct sql_conn *c, struct err *e)
{
    int r = settings(c, &op->want, e);
    if (r >= 0 && !data_may_write(op->leave, op->want.epoch))
        r = err_set(e, ERR_REFUSED, "it is not to be written to any more");
    return r < 0 ? r : sql_read_only(c, false, 0, e);
}

/* Off sets free what waits: only a view that was read just now may say so. */
static int wait_for_replica(struct data_op *op, struct sql_conn *c, bool on, struct err *e)
{
    const struct sql_semisync s = {.source = on, .replica = true, .timeout_ms = DATA_SYNC_MS};
    if (!data_may_write(op->leave, op->want.epoch))
        return err_set(e, ERR_REFUSED, "whether commits wait is no longer this server's to know");
    return sql_semisync(c, &s, e);
}

int data_op_run(struct data_op *op, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    switch (op->op) {
    case REPLICATION_OP_READ_ONLY:
        return read_only(op, c, e);
    case REPLICATION_OP_WRITABLE:
        return make_writable(op, c, e);
    case REPLICATION_OP_PROMOTE:
        return promote(c, &op->want, stop, e);
    case REPLICATION_OP_EPOCH:
        return settings(c, &op->want, e) < 0 ? e->code : data_form_epoch(c, &op->want, e);
    case REPLICATION_OP_FORM:
        return data_form(c, &op->want, op->files, e);
    case REPLICATION_OP_ATTACH:
        return attach(c, &op->want, e);
    case REPLICATION_OP_ATTACH_CURRENT:
        return attach_current(c, &op->want, e);
    case REPLICATION_OP_SYNC:
        return wait_for_replica(op, c, true, e);
    case REPLICATION_OP_UNSYNC:
        return wait_for_replica(op, c, false, e);
    case REPLICATION_OP_START:
        return sql_start(c, SQL_THREAD_BOTH, e);
    case REPLICATION_OP_RESTART_IO:
        return restart_io(c, e);
    case REPLICATION_OP_REBUILD:
        return attach(c, &op->want, e); /* with positions by GTID that forgets the relay log */
    case REPLICATION_OP_STOP_IO:
        return sql_stop(c, SQL_THREAD_IO, e);
    case REPLICATION_OP_EVIDENCE:
        return evidence_keep(c, &op->want, stop, e);
    case REPLICATION_OP_RESCUE:
        return rescue_keep(c, &op->want, stop, e);
    case REPLICATION_OP_FLASHBACK:
        return rescue_flashback(c, &op->want, stop, e);
    case REPLICATION_OP_REFILL:
        return refill(c, &op->want, stop, e);
    case REPLICATION_OP_RESEED: /* seed.c */
    case REPLICATION_NOTHING:
    case REPLICATION_OPS:
        break;
    }
    return 0;
}
