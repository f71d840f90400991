/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a lease, as the server's keeper brings it about: read-only in time, and killed a moment
 * later. Nobody needs to be reached for it. */
#include "service/data/lease.h"
#include "service/data/priv.h"

#include "base/clock/clock.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>

#define TURN_MS 200u
#define KILLED "the server was killed: its lease has ended"
#define STOOD_STILL "the server was killed: it stood still"
#define NEWS_MS 5000u /* a control that says nothing of a lease knows of none */

struct server { /* a process; ends itself on the loop */
    struct db *db; /* NULL: nobody cares any more */
    pid_t pid;
    int fd;
    uv_poll_t ended;
};

/* ---- the process */

static void on_server_closed(uv_handle_t *h)
{
    struct server *s = CONTAINER_OF((uv_poll_t *)h, struct server, ended);
    close(s->fd);
    free(s);
}

static void forget_server(struct db *db)
{
    struct server *s = db->lease.server;
    db->lease.server = NULL;
    if (s)
        uv_close((uv_handle_t *)&s->ended, on_server_closed);
}

static bool needs_lease(const struct db *db)
{
    return db->want.lease_ms && db->want.duty == REPLICATION_SOURCE;
}

/* Told of each change: what it does, it does alone. */
void db_lease_guard(struct db *db)
{
    struct db_lease *l = &db->lease;
    struct err e;
    bool due = l->server && l->kill_ms;
    bool fails = watchdog_order(db->owner->watchdog, db->name, due ? l->server->fd : -1,
                     due ? l->kill_ms : 0, &e)
                 < 0;
    if (fails && !l->unguarded)
        data_note(db->owner, db, "alarm", "no watchdog guards the end of its lease", e.message);
    l->unguarded = fails;
}

/* What does not run writes nothing: control need not wait for the end of the lease. */
static void tell_death(struct db *db)
{
    struct rpc_conn *control = db->owner->config.control(db->owner->config.ctx);
    data_note(db->owner, db, "data", "the server's process has ended", "");
    if (control)
        rpc_notify(control, "lease.dead",
            json_pack("{s:s,s:I}", "database", db->name, "epoch", (json_int_t)db->want.epoch));
}

static void on_ended(uv_poll_t *p, int status, int events)
{
    struct db *db = CONTAINER_OF(p, struct server, ended)->db;
    forget_server(db);
    db->lease.down_ms = clock_boot_ms();
    if (db->lease.kill_ms && db->lease.down_ms >= db->lease.kill_ms)
        data_note(db->owner, db, "alarm", KILLED, "by the watchdog");
    db->lease.kill_ms = 0;
    if (!needs_lease(db))
        return;
    db_lease_told(db, db->lease.epoch, 0);
    tell_death(db);
    data_report_soon(db->owner);
}

void db_lease_seen(struct db *db, pid_t pid)
{
    struct db_lease *l = &db->lease;
    if (!pid || (l->server && l->server->pid == pid))
        return;
    forget_server(db);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return; /* it has ended meanwhile */
    struct server *s = xcalloc(1, sizeof *s);
    *s = (struct server){.db = db, .pid = pid, .fd = fd};
    uv_poll_init(db->owner->config.loop, &s->ended, fd);
    uv_poll_start(&s->ended, UV_READABLE, on_ended);
    l->server = s;
    l->check = (struct local_check){.known = true};
    l->down_ms = 0;
    db_lease_guard(db);
}

/* ---- the deadline */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a ? MIN(a, b) : b;
}

void db_lease_told(struct db *db, uint64_t epoch, uint64_t until_ms)
{
    struct db_lease *l = &db->lease;
    uint64_t now = clock_boot_ms(), lease_ms = db->want.lease_ms;
    if (epoch < l->epoch)
        return;
    bool had = l->until_ms > now;
    l->epoch = epoch;
    l->until_ms = until_ms;
    l->told = true;
    if (until_ms)
        l->kill_ms = lease_kill_ms(until_ms, lease_ms);
    else if (had && l->server) /* taken back: at once, and then it is ended as after any other */
        l->kill_ms = earlier(l->kill_ms, now + lease_ms - lease_kill_ms(lease_ms, lease_ms));
    db_lease_guard(db); /* before anything may be written under it */
    db_event(db, &(struct replication_event){.kind = REPLICATION_EV_LEASE,
                     .epoch = epoch,
                     .until_ms = until_ms ? lease_fence_ms(until_ms, lease_ms) : 0});
    if (!until_ms)
        db_look_soon(db);
}

/* Taken back, and it is known to have obeyed: that is as good. */
static bool has_obeyed(const struct db *db)
{
    return !db->lease.until_ms && db->last && db->last->position.read_only;
}

static void kill_server(struct db *db, const char *killed_text, const char *why)
{
    struct db_lease *l = &db->lease;
    l->kill_ms = 0;
    if (!l->server)
        return;
    bool killed = syscall(SYS_pidfd_send_signal, l->server->fd, SIGKILL, NULL, 0) >= 0;
    data_note(db->owner, db, "alarm",
        killed || errno == ESRCH ? killed_text : "the server cannot be killed, and ought to be",
        killed ? why : strerror(errno));
}

pid_t db_lease_pid(const struct db *db)
{
    return db->lease.server ? db->lease.server->pid : 0;
}

/* The order at the watchdog stands until the process has ended. */
void db_lease_stands_still(struct db *db)
{
    uint64_t kill_ms = db->lease.kill_ms;
    kill_server(db, STOOD_STILL, "no answer to three checks, no thread moved meanwhile");
    db->lease.kill_ms = kill_ms;
}

static void on_turn(uv_timer_t *t)
{
    struct db *db = t->data;
    struct db_lease *l = &db->lease;
    uint64_t now = clock_boot_ms();
    if (!l->told && now - l->since_ms >= NEWS_MS)
        db_lease_told(db, db->want.epoch, 0);
    bool writes = db->node.sampled && !db->node.sample.read_only;
    if (l->told && writes && lease_rule(l->until_ms, db->want.lease_ms, now, 0) != LEASE_WRITE)
        db_event(db, &(struct replication_event){.kind = REPLICATION_EV_TICK});
    if (l->kill_ms && has_obeyed(db)) {
        l->kill_ms = 0;
        db_lease_guard(db);
    }
    if (l->kill_ms && now >= l->kill_ms)
        kill_server(db, KILLED, db->node.why);
    db_lease_check(db);
}

bool db_lease_ends(const struct db *db)
{
    const struct db_lease *l = &db->lease;
    return l->ends
           || (needs_lease(db)
               && lease_rule(l->until_ms, db->want.lease_ms, clock_boot_ms(), 0) != LEASE_WRITE);
}

/* ---- life */

void db_lease_want(struct db *db)
{
    struct db_lease *l = &db->lease;
    bool needs = needs_lease(db);
    if (needs && !l->since_ms) {
        l->since_ms = clock_boot_ms();
        uv_timer_start(&l->timer, on_turn, TURN_MS, TURN_MS);
    } else if (!needs && l->since_ms) {
        uv_timer_stop(&l->timer);
        l->since_ms = l->until_ms = l->kill_ms = 0;
        l->told = false;
        db_lease_guard(db);
    }
}

void db_lease_report(const struct db *db, json_t *report)
{
    const struct db_lease *l = &db->lease;
    uint64_t now = clock_boot_ms();
    if (l->down_ms)
        json_object_set_new(report, "down_ms", json_integer((json_int_t)(now - l->down_ms)));
    if (needs_lease(db))
        json_object_set_new(report, "lease",
            json_pack("{s:I,s:I}", "epoch", (json_int_t)l->epoch, "left_ms",
                (json_int_t)(l->until_ms > now ? l->until_ms - now : 0)));
}

void db_lease_open(struct db *db)
{
    uv_timer_init(db->owner->config.loop, &db->lease.timer);
    db->lease.timer.data = db;
}

void db_lease_close(
    struct db *db, void (*timer_closed)(uv_handle_t *h), void (*worker_closed)(void *ctx))
{
    forget_server(db);
    if (!db->owner->closing) /* it is no member any more; else what was ordered stands */
        db_lease_guard(db);
    uv_close((uv_handle_t *)&db->lease.timer, timer_closed);
    if (db->lease.worker)
        sql_worker_close(db->lease.worker, worker_closed, db);
    if (db->lease.far)
        sql_worker_close(db->lease.far, worker_closed, db);
    if (db->lease.checker)
        sql_worker_close(db->lease.checker, worker_closed, db);
}

void db_lease_free(struct db *db)
{
    sql_close(db->lease.probe);
}
