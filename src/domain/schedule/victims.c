/* SPDX-License-Identifier: Apache-2.0 */
/* Who leaves, and when it may go for good. Nothing that serves leaves before enough others do. */
#include "domain/schedule/priv.h"

bool aim_refused(const struct aim *aim, const char *generation)
{
    size_t i;
    json_t *r;
    json_array_foreach ((json_t *)aim->refused, i, r)
        if (str_eq(json_string_value(r), generation))
            return true;
    return false;
}

/* What has to go first: what does not serve, then on a host that is left, then what crowds. */
static int urgency(const struct placement *p, const struct aim *aim, const struct instance *i)
{
    int crowd = 0;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next)
        crowd += !p->v[k].gone && !p->v[k].drain && !strcmp(p->v[k].host, i->host);
    int serves = i->ready == READY_NO ? 0 : i->ready == READY_UNKNOWN ? 1 : 2;
    return (2 - serves) * 100000 + (i->kind == KIND_LEAVING) * 10000 + crowd * 10;
}

static bool victim(const struct instance *i, enum instance_kind a, enum instance_kind b)
{
    return !i->gone && (i->kind == a || i->kind == b);
}

static struct instance *next_victim(
    const struct placement *p, const struct aim *aim, enum instance_kind a, enum instance_kind b)
{
    struct instance *best = NULL;
    int most = -1;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next) {
        struct instance *i = &p->v[k];
        int u = victim(i, a, b) ? urgency(p, aim, i) : -1;
        if (u > most || (u == most && best && u >= 0 && strcmp(i->name, best->name) > 0)) {
            best = i;
            most = u;
        }
    }
    return best;
}

static void drain(struct step *st, struct instance *i, struct tally *t)
{
    if (i->kind == KIND_OLD)
        t->old--;
    else if (i->kind == KIND_LEAVING)
        t->leaving--;
    else
        t->good--;
    i->kind = KIND_DRAIN;
    i->drain = true;
    i->drain_seq = 0;
    i->since_ms = st->wall;
    t->draining++;
}

/* What is left without `i`: `sure` serves as its agent says; `hoped` too may be down just now, but not
 * what has failed before. */
static void count_others(const struct placement *p, const struct aim *aim, const struct instance *i,
    unsigned *sure, unsigned *hoped)
{
    for (int k = aim->m->first; k >= 0; k = p->v[k].next) {
        const struct instance *o = &p->v[k];
        if (o == i || o->gone || o->kind > KIND_LEAVING || !o->weight)
            continue;
        bool serves = o->kind == KIND_GOOD ? o->proven : o->ready == READY_YES;
        *sure += serves;
        *hoped += serves || (o->kind != KIND_GOOD && !aim_refused(aim, o->spec));
    }
}

/* The others keep up what is wanted without it. */
static bool may_leave(const struct step *st, const struct placement *p, const struct aim *aim,
    const struct instance *i, const struct tally *t)
{
    if (st->s->guard_off[GUARD_READY])
        return true;
    if (i->ready == READY_NO && aim->back && t->good >= aim->active && aim_refused(aim, i->spec))
        return true;
    unsigned sure = 0, hoped = 0;
    count_others(p, aim, i, &sure, &hoped);
    return (i->ready == READY_NO ? hoped : sure) >= aim->active;
}

static void one_by_one(struct step *st, struct placement *p, const struct aim *aim, struct tally *t)
{
    struct instance *i;
    while ((i = next_victim(p, aim, KIND_OLD, KIND_LEAVING)) && may_leave(st, p, aim, i, t))
        drain(st, i, t);
}

/* All at once: processes of two generations never run together. */
static void stop_first(struct step *st, struct placement *p, const struct aim *aim, struct tally *t)
{
    if (t->draining || t->ready < t->good)
        return;
    struct instance *i;
    unsigned room = aim->active - MIN(t->good, aim->active);
    while (t->good + t->old + t->leaving + room > aim->active
           && (i = next_victim(p, aim, KIND_OLD, KIND_LEAVING)))
        drain(st, i, t);
}

/* All of the new ones are ready: all traffic goes to them with one write. */
static void switch_over(
    struct step *st, struct placement *p, const struct aim *aim, struct tally *t)
{
    if (t->ready < aim->active && !st->s->guard_off[GUARD_READY])
        return;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next)
        if (p->v[k].kind == KIND_GOOD)
            p->v[k].weight = WEIGHT_FULL;
    one_by_one(st, p, aim, t);
}

/* The old ones carry on; only hosts that are drained are left, for others of the old ones. */
static void leave_hosts(
    struct step *st, struct placement *p, const struct aim *aim, struct tally *t)
{
    struct instance *i;
    unsigned old = 0;
    for (int k = aim->m->first; k >= 0; k = p->v[k].next)
        old += victim(&p->v[k], KIND_OLD, KIND_OLD) && p->v[k].ready == READY_YES;
    while (old >= aim->active && (i = next_victim(p, aim, KIND_LEAVING, KIND_LEAVING)))
        drain(st, i, t);
}

void step_drain_victims(
    struct step *st, struct placement *p, const struct aim *aim, struct tally *t)
{
    struct instance *i;
    if (aim->canary)
        leave_hosts(st, p, aim, t);
    else if (aim->strategy == ROLLOUT_REPLACE)
        stop_first(st, p, aim, t);
    else if (aim->strategy == ROLLOUT_BLUE_GREEN && !aim->back && t->old)
        switch_over(st, p, aim, t);
    else
        one_by_one(st, p, aim, t);
    while (t->good > aim->active && (i = next_victim(p, aim, KIND_GOOD, KIND_GOOD))) {
        t->ready -= i->proven;
        drain(st, i, t);
    }
}

static bool all_left(const struct step *st, const struct placement *p, const struct instance *i)
{
    if (!i->drain_seq)
        return false;
    for (size_t k = 0; k < st->in->model->n_hosts; k++) {
        const struct host_view *h = &st->hosts[k];
        if (!strcmp(h->model->region->name, p->region) && h->seen && h->seen->heard
            && h->seen->must_ack && h->seen->acked < i->drain_seq)
            return false;
    }
    return true;
}

void step_finish_drains(struct step *st, struct placement *p, const struct aim *aim)
{
    for (int k = aim->m->first; k >= 0; k = p->v[k].next) {
        struct instance *i = &p->v[k];
        if (i->gone || !i->drain)
            continue;
        if (!i->drain_due)
            i->drain_due = st->now + aim->m->model->rollout.drain_ms;
        if (all_left(st, p, i) || st->now >= i->drain_due || st->s->guard_off[GUARD_ACKS])
            i->gone = true;
        else
            step_due(st, i->drain_due);
    }
}
