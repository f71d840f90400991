/* SPDX-License-Identifier: Apache-2.0 */
/* The leader's turn: observe, step, write. One transaction is on its way at a time; each compares
 * the epoch and every document that it writes, so a successor's writes are never overwritten. */
#include "service/scheduler/priv.h"

#include "base/clock/clock.h"

#define BATCH ((size_t)(KV_TXN_MAX - 1) / 2) /* a compare and an operation for each document */
#define DUE_MAX_MS 60000u                    /* look at least that often */

static void write_next(struct scheduler *s);

static void drop_writing(struct scheduler *s)
{
    json_decref(s->writing);
    json_decref(s->batch);
    s->writing = s->batch = NULL;
    free(s->notes);
    s->notes = NULL;
    s->n_notes = 0;
}

static void note_written(struct scheduler *s, int64_t revision)
{
    const char *name;
    json_t *doc;
    json_object_foreach (s->batch, name, doc) {
        if (json_is_null(doc)) {
            json_object_del(s->docs, name);
            json_object_del(s->mods, name);
        } else {
            json_object_set(s->docs, name, doc);
            json_object_set_new(s->mods, name, json_integer((json_int_t)revision));
        }
        json_object_del(s->writing, name);
    }
}

static void finish_writing(struct scheduler *s)
{
    for (size_t i = 0; i < s->n_notes; i++)
        s->handler.note(s->ctx, &s->notes[i]);
    drop_writing(s);
    follow_save_soon(s);
    s->handler.changed(s->ctx);
    step_soon(s, 0); /* what it wrote may be what its next act waited for */
}

static void on_written(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct scheduler *s = ctx;
    s->written++;
    bool leading = !s->closing && s->state == LEAD_LEADING;
    if (leading && succeeded && !e) {
        note_written(s, revision);
        if (json_object_size(s->writing))
            write_next(s);
        else
            finish_writing(s);
    } else {
        drop_writing(s);
        if (leading && e)
            lead_lose(s, e); /* the outcome is not known: begin anew, under another epoch */
        else if (leading)
            lead_reload(s);
    }
    scheduler_unref(s);
}

struct txn {
    struct kv_compare cmp[BATCH + 1];
    struct kv_op ops[BATCH];
    char *keys[BATCH + 1], *texts[BATCH];
    size_t n;
};

static void txn_add(struct scheduler *s, struct txn *t, const char *name, const json_t *doc)
{
    char *key = t->keys[t->n] = xasprintf("%s%s", s->root, name);
    t->texts[t->n] = json_is_null(doc) ? NULL : json_text(doc);
    t->cmp[t->n] = (struct kv_compare){key, json_opt_int(s->mods, name, 0)};
    t->ops[t->n] = (struct kv_op){.key = key, .value = t->texts[t->n]};
    t->n++;
}

static void txn_done(struct txn *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->keys[i]);
        free(t->texts[i]);
    }
    free(t->keys[t->n]);
}

static void write_next(struct scheduler *s)
{
    struct txn t = {.n = 0};
    const char *name;
    json_t *doc;
    json_decref(s->batch);
    s->batch = json_object();
    json_object_foreach (s->writing, name, doc) {
        if (t.n == BATCH)
            break;
        json_object_set(s->batch, name, doc);
        txn_add(s, &t, name, doc);
    }
    t.keys[t.n] = xasprintf("%sepoch/scheduler", s->root);
    t.cmp[t.n] = (struct kv_compare){t.keys[t.n], s->epoch_mod};
    scheduler_ref(s);
    kv_txn(s->kv, t.cmp, t.n + 1, t.ops, t.n, on_written, s);
    txn_done(&t);
}

static void step(struct scheduler *s)
{
    struct schedule_input in = {0};
    if (!s->handler.observe(s->ctx, &in))
        return;
    in.epoch = s->epoch;
    struct schedule_actions acts = {0};
    uint64_t now = clock_boot_ms();
    schedule_step(s->schedule, &in, now, clock_wall_ms(), &acts);
    if (acts.write && json_object_size(acts.write)) {
        s->writing = json_incref(acts.write);
        s->notes = acts.notes;
        s->n_notes = acts.n_notes;
        acts.notes = NULL;
        acts.n_notes = acts.cap_notes = 0;
        write_next(s);
    }
    if (acts.due_ms != UINT64_MAX)
        step_soon(s, acts.due_ms > now ? MIN(acts.due_ms - now, (uint64_t)DUE_MAX_MS) : GATHER_MS);
    schedule_actions_done(&acts);
}

static void on_step_timer(uv_timer_t *t)
{
    struct scheduler *s = CONTAINER_OF(t, struct scheduler, step_timer);
    /* Not sure of the lease any more: the renewal on its way decides. After a write comes a step. */
    if (s->state != LEAD_LEADING || s->writing)
        return;
    if (clock_boot_ms() >= s->sure_until_ms)
        step_soon(s, RETRY_MS);
    else if (s->stale)
        lead_reload(s);
    else
        step(s);
}

void step_soon(struct scheduler *s, uint64_t ms)
{
    if (!s->closing
        && (!uv_is_active((uv_handle_t *)&s->step_timer)
            || uv_timer_get_due_in(&s->step_timer) > ms))
        uv_timer_start(&s->step_timer, on_step_timer, ms, 0);
}

int step_load(struct scheduler *s, struct err *e)
{
    return schedule_load(s->schedule, s->docs, e);
}

void step_stop(struct scheduler *s)
{
    schedule_free(s->schedule);
    drop_writing(s);
}
