/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/sql/worker.h"

#include "base/clock/clock.h"

#include <pthread.h>
#include <signal.h>

struct sql_job {
    struct sql_worker *owner;
    struct sql_job *next;
    sql_work_fn work;
    sql_done_fn done;
    void *ctx;
    uint64_t deadline_ms;
    bool cancelled;
    int result;
    unsigned number;
    struct err why; /* code 0: done */
};

struct queue {
    struct sql_job *first, **tail;
};

struct sql_worker {
    uv_async_t bell; /* the thread to the loop: something is finished */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;            /* the loop to the thread */
    struct queue waiting, finished; /* lock */
    struct sql_job *running;        /* lock */
    struct sql_target *fresh;       /* lock: a target to take over */
    bool fresh_set;                 /* lock */
    bool ending;                    /* lock */
    size_t n_waiting;               /* lock */
    size_t jobs;                    /* the loop's: not told yet */
    bool closing;                   /* the loop's */
    struct sql_stop *stop;
    /* the thread's */
    struct sql_target *target;
    struct sql_conn *conn;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void queue_put(struct queue *q, struct sql_job *j)
{
    j->next = NULL;
    *q->tail = j;
    q->tail = &j->next;
}

static struct sql_job *queue_take(struct queue *q)
{
    struct sql_job *j = q->first;
    if (j && !(q->first = j->next))
        q->tail = &q->first;
    return j;
}

static bool queue_drop(struct queue *q, struct sql_job *j)
{
    for (struct sql_job **at = &q->first; *at; at = &(*at)->next)
        if (*at == j) {
            if (!(*at = j->next))
                q->tail = at;
            return true;
        }
    return false;
}

/* ---- the thread */

static void drop_session(struct sql_worker *w)
{
    sql_close(w->conn);
    w->conn = NULL;
}

static void take_target(struct sql_worker *w)
{
    if (!w->fresh_set)
        return;
    drop_session(w);
    sql_target_free(w->target);
    w->target = w->fresh;
    w->fresh = NULL;
    w->fresh_set = false;
}

static int have_session(struct sql_worker *w, struct err *e)
{
    if (w->conn && sql_lost(w->conn))
        drop_session(w);
    return w->conn || !w->target ? 0 : sql_open(w->target, w->stop, &w->conn, e);
}

static void run_job(struct sql_worker *w, struct sql_job *j)
{
    sql_stop_set_deadline(w->stop, j->deadline_ms);
    if (j->deadline_ms && clock_boot_ms() >= j->deadline_ms) {
        err_set(&j->why, ERR_TIMEOUT, "past its deadline before it could begin");
        j->result = ERR_TIMEOUT;
        return;
    }
    struct err e = {0};
    j->result = have_session(w, &e);
    if (j->result >= 0)
        j->result = j->work(j->ctx, w->conn, w->stop, &e);
    if (j->result < 0) {
        j->why = e;
        j->why.code = e.code ? e.code : j->result;
        j->number = w->conn ? sql_errno(w->conn) : sql_open_errno();
    }
    if (w->conn && sql_lost(w->conn))
        drop_session(w);
}

/* The next job, NULL at the end. Under the lock. */
static struct sql_job *next_job(struct sql_worker *w)
{
    for (;;) {
        take_target(w);
        struct sql_job *j = queue_take(&w->waiting);
        if (j) {
            w->n_waiting--;
            w->running = j;
            return j;
        }
        if (w->ending)
            return NULL;
        pthread_cond_wait(&w->wake, &w->lock);
    }
}

static void *thread_main(void *arg)
{
    struct sql_worker *w = arg;
    pthread_mutex_lock(&w->lock);
    for (struct sql_job *j; (j = next_job(w));) {
        pthread_mutex_unlock(&w->lock);
        run_job(w, j);
        pthread_mutex_lock(&w->lock);
        w->running = NULL;
        if (!w->ending)
            sql_stop_clear(w->stop); /* it was raised for this job */
        queue_put(&w->finished, j);
        uv_async_send(&w->bell);
    }
    pthread_mutex_unlock(&w->lock);
    drop_session(w);
    uv_async_send(&w->bell);
    return NULL;
}

/* ---- the loop */

static void on_closed(uv_handle_t *h)
{
    struct sql_worker *w = h->data;
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    sql_stop_free(w->stop);
    sql_target_free(w->target);
    sql_target_free(w->fresh);
    if (w->closed)
        w->closed(w->closed_ctx);
    free(w);
}

static void tell(struct sql_worker *w, struct sql_job *j)
{
    if (j->cancelled && j->why.code != 0) {
        j->why = (struct err){0};
        j->result = err_set(&j->why, ERR_CANCELED, "cancelled");
    }
    j->done(j->ctx, j->result, j->number, j->why.code ? &j->why : NULL);
    free(j);
    w->jobs--;
}

static void on_bell(uv_async_t *bell)
{
    struct sql_worker *w = bell->data;
    for (;;) {
        pthread_mutex_lock(&w->lock);
        struct sql_job *j = queue_take(&w->finished);
        pthread_mutex_unlock(&w->lock);
        if (!j)
            break;
        tell(w, j);
    }
    if (w->closing && !w->jobs && !uv_is_closing((uv_handle_t *)&w->bell)) {
        pthread_join(w->thread, NULL);
        uv_close((uv_handle_t *)&w->bell, on_closed);
    }
}

int sql_worker_new(
    uv_loop_t *loop, const struct sql_target *target, struct sql_worker **ret, struct err *e)
{
    struct sql_worker *w = xcalloc(1, sizeof *w);
    w->waiting.tail = &w->waiting.first;
    w->finished.tail = &w->finished.first;
    w->target = target ? sql_target_copy(target) : NULL;
    w->stop = sql_stop_new();
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    ASSERT(uv_async_init(loop, &w->bell, on_bell) == 0);
    w->bell.data = w;
    sigset_t all, before; /* signals are the loop's affair */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, NULL, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        uv_close((uv_handle_t *)&w->bell, on_closed);
        return err_errno(e, failed, "start a thread for a database");
    }
    *ret = w;
    return 0;
}

void sql_worker_set_target(struct sql_worker *w, const struct sql_target *target)
{
    struct sql_target *fresh = target ? sql_target_copy(target) : NULL;
    pthread_mutex_lock(&w->lock);
    sql_target_free(w->fresh);
    w->fresh = fresh;
    w->fresh_set = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* Under the lock. */
static void finish_unrun(struct sql_worker *w, struct sql_job *j, int code, const char *why)
{
    j->result = err_set(&j->why, code, "%s", why);
    queue_put(&w->finished, j);
    uv_async_send(&w->bell);
}

struct sql_job *sql_worker_run(
    struct sql_worker *w, uint64_t deadline_ms, sql_work_fn work, sql_done_fn done, void *ctx)
{
    struct sql_job *j = xcalloc(1, sizeof *j);
    *j = (struct sql_job){.owner = w,
        .work = work,
        .done = done,
        .ctx = ctx,
        .deadline_ms = deadline_ms ? clock_boot_ms() + deadline_ms : 0};
    w->jobs++;
    pthread_mutex_lock(&w->lock);
    if (w->closing) {
        finish_unrun(w, j, ERR_CANCELED, "cancelled");
    } else if (w->n_waiting >= SQL_JOBS_MAX) {
        finish_unrun(w, j, ERR_LIMIT, "too many calls wait for this database");
    } else {
        queue_put(&w->waiting, j);
        w->n_waiting++;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
    return j;
}

/* Under the lock. One that is finished but not told yet stays as it is. */
static void cancel(struct sql_worker *w, struct sql_job *j)
{
    if (w->running == j) {
        j->cancelled = true;
        sql_stop_raise(w->stop);
    } else if (queue_drop(&w->waiting, j)) {
        w->n_waiting--;
        finish_unrun(w, j, ERR_CANCELED, "cancelled");
    }
}

void sql_job_cancel(struct sql_job *j)
{
    struct sql_worker *w = j->owner;
    pthread_mutex_lock(&w->lock);
    cancel(w, j);
    pthread_mutex_unlock(&w->lock);
}

size_t sql_worker_jobs(const struct sql_worker *w)
{
    return w->jobs;
}

void sql_worker_close(struct sql_worker *w, void (*closed)(void *ctx), void *ctx)
{
    w->closing = true;
    w->closed = closed;
    w->closed_ctx = ctx;
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    while (w->waiting.first)
        cancel(w, w->waiting.first);
    if (w->running)
        cancel(w, w->running);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}
