/* SPDX-License-Identifier: Apache-2.0 */
/* What is there and what comes, without gap or repeat: new entries wait while a worker reads the
 * old ones. */
#include "service/timeline/priv.h"

#define WAITING_MAX 4096u /* entries during one read: more ends the tail */

struct timeline_tail {
    struct timeline *owner; /* NULL: ended, its worker still runs */
    struct timeline_tail *next;
    struct timeline_tail_handler h;
    void *ctx;
    bool follow, reading, in_entry;
    struct timeline_filter filter; /* its texts are kind and subject below */
    char *kind, *subject, *dir;
    size_t limit;
    uint64_t seen; /* the last entry it was offered */
    uint64_t upto; /* the old ones; what comes behind it waits or is followed */
    struct timeline_entry *waiting;
    size_t n_waiting, cap_waiting;
    uv_work_t work;
    struct timeline_entry *old;
    size_t n_old;
    int result;
    struct err e;
};

static void destroy(struct timeline_tail *tail)
{
    free(tail->kind);
    free(tail->subject);
    free(tail->dir);
    free(tail->waiting);
    free(tail->old);
    free(tail);
}

void timeline_tail_end(struct timeline_tail *tail)
{
    for (struct timeline_tail **at = &tail->owner->tails; *at; at = &(*at)->next)
        if (*at == tail) {
            *at = tail->next;
            break;
        }
    tail->owner = NULL;
    if (!tail->reading && !tail->in_entry)
        destroy(tail);
}

static void finish(struct timeline_tail *tail, const struct err *e)
{
    void (*done)(void *ctx, const struct err *e) = tail->h.done;
    void *ctx = tail->ctx;
    timeline_tail_end(tail);
    done(ctx, e);
}

/* False when the tail is gone. */
static bool give(struct timeline_tail *tail, const struct timeline_entry *t)
{
    tail->in_entry = true;
    int r = tail->h.entry(tail->ctx, t);
    tail->in_entry = false;
    if (!tail->owner) { /* ended from inside */
        destroy(tail);
        return false;
    }
    if (r < 0)
        finish(tail, NULL);
    return r >= 0;
}

static void run_read(uv_work_t *work)
{
    struct timeline_tail *tail = CONTAINER_OF(work, struct timeline_tail, work);
    struct timeline_filter old = tail->filter;
    old.upto_seq = tail->upto;
    tail->result = timeline_read(tail->dir, &old, tail->limit, &tail->old, &tail->n_old, &tail->e);
}

static void on_read(uv_work_t *work, int status)
{
    struct timeline_tail *tail = CONTAINER_OF(work, struct timeline_tail, work);
    tail->reading = false;
    if (!tail->owner) {
        destroy(tail);
        return;
    }
    if (tail->result < 0) {
        struct err e = tail->e;
        finish(tail, &e);
        return;
    }
    for (size_t i = 0; i < tail->n_old; i++)
        if (tail->old[i].seq <= tail->upto && !give(tail, &tail->old[i]))
            return;
    for (size_t i = 0; i < tail->n_waiting; i++)
        if (!give(tail, &tail->waiting[i]))
            return;
    free(tail->old);
    free(tail->waiting);
    tail->old = tail->waiting = NULL;
    tail->n_waiting = 0;
    if (!tail->follow)
        finish(tail, NULL);
}

struct timeline_tail *timeline_tail_start(struct timeline *t, const struct timeline_filter *f,
    size_t limit, bool follow, const struct timeline_tail_handler *h, void *ctx)
{
    struct timeline_tail *tail = xcalloc(1, sizeof *tail);
    *tail = (struct timeline_tail){.owner = t,
        .next = t->tails,
        .h = *h,
        .ctx = ctx,
        .follow = follow,
        .reading = true,
        .filter = *f,
        .dir = xstrdup(t->dir),
        .limit = limit,
        .upto = t->seq};
    if (f->kind)
        tail->filter.kind = tail->kind = xstrdup(f->kind);
    if (f->subject)
        tail->filter.subject = tail->subject = xstrdup(f->subject);
    t->tails = tail;
    ASSERT(uv_queue_work(t->loop, &tail->work, run_read, on_read) == 0);
    return tail;
}

static void offer(struct timeline_tail *tail, const struct timeline_entry *entry)
{
    tail->seen = entry->seq;
    if (!tail->follow || !timeline_matches(entry, &tail->filter))
        return;
    if (!tail->reading) {
        give(tail, entry);
    } else if (tail->n_waiting < WAITING_MAX) {
        struct timeline_entry *slot = GROW(tail->waiting, tail->n_waiting, tail->cap_waiting);
        *slot = *entry;
    } else {
        struct err e;
        err_set(&e, ERR_LIMIT, "more than %u entries came while older ones were read", WAITING_MAX);
        finish(tail, &e);
    }
}

void timeline_tails_entry(struct timeline *t, const struct timeline_entry *entry)
{
    /* A handler may end its own tail or, with a connection, several: begin again after each. */
    for (bool again = true; again;) {
        again = false;
        for (struct timeline_tail *tail = t->tails; tail && !again; tail = tail->next)
            if (tail->seen < entry->seq) {
                offer(tail, entry);
                again = true;
            }
    }
}

void timeline_tails_close(struct timeline *t)
{
    struct err e;
    err_set(&e, ERR_CANCELED, "the timeline closes");
    while (t->tails)
        finish(t->tails, &e);
}
