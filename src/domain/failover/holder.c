/* SPDX-License-Identifier: Apache-2.0 */
/* The holder of a lease, one round after the other: beat, read (if it is not known what the state
 * store has), send. What fails is begun anew in a moment. */
#include "domain/failover/lease.h"

#include "base/str/str.h"

#define PATIENCE_PARTS 4u /* and how long an answer is waited for */

void lease_holder_init(struct lease_holder *h, const char *host)
{
    *h = (struct lease_holder){.why = ""};
    str_copy(h->host, sizeof h->host, host);
}

static uint64_t patience_ms(const struct lease_holder *h)
{
    return h->lease_ms / PATIENCE_PARTS;
}

static void set_until(struct lease_holder *h, uint64_t until_ms, struct lease_action *ret)
{
    ret->told |= h->until_ms != until_ms;
    h->until_ms = until_ms;
}

static void begin(
    struct lease_holder *h, enum lease_act act, uint64_t now_ms, struct lease_action *ret)
{
    h->doing = ret->act = act;
    h->now = (struct lease_try){++h->ids, now_ms};
    ret->id = h->now.id;
}

static void end_round(struct lease_holder *h, uint64_t next_ms)
{
    h->doing = LEASE_NOTHING;
    h->now.id = 0;
    h->next_ms = next_ms;
}

static void fail_round(struct lease_holder *h, const char *why, uint64_t now_ms)
{
    h->why = why;
    end_round(h, now_ms + LEASE_RETRY_MS);
}

static void store_is_silent(struct lease_holder *h, uint64_t now_ms)
{
    h->known = false;
    if (!h->silent_ms)
        h->silent_ms = now_ms;
    fail_round(h, "the state store does not answer", now_ms);
}

static void send(struct lease_holder *h, uint64_t now_ms, int64_t wall_ms, struct lease_action *ret)
{
    struct lease_record r = {.epoch = h->epoch,
        .seq = MAX(h->last.seq, h->send.id ? h->sent.seq : 0) + 1,
        .lease_ms = h->lease_ms,
        .released = h->release_due,
        .revoked = h->release_due && h->last.epoch == h->epoch && h->last.revoked,
        .sent_wall_ms = wall_ms};
    str_copy(r.holder, sizeof r.holder, h->host);
    str_copy(r.gtid, sizeof r.gtid, h->release_due ? h->last.gtid : h->gtid);
    begin(h, LEASE_SEND, now_ms, ret);
    ret->record = h->sent = r;
    ret->mod = h->mod;
    ret->doc_mod = h->doc_mod;
    h->send = h->now;
}

/* It is written, whenever that is learned: what counts is when it was sent. */
static void written(struct lease_holder *h, uint64_t now_ms, struct lease_action *ret)
{
    bool late = (h->guards_off & LEASE_OFF_MARGIN) != 0;
    uint64_t from_ms = late ? now_ms : h->send.ms;
    bool of_dead = h->dead && !h->sent.released;
    h->last = h->sent;
    h->known = true;
    h->silent_ms = 0;
    h->send.id = 0;
    if (h->sent.released)
        h->release_due = false;
    if (of_dead) /* sent before it died: that is taken back now */
        return;
    h->why = h->sent.released ? "the server does not run" : "";
    set_until(h, h->sent.released ? 0 : MAX(h->until_ms, from_ms + h->lease_ms), ret);
}

/* ---- answers */

static void on_want(struct lease_holder *h, const struct lease_event *ev, uint64_t now_ms,
    struct lease_action *ret)
{
    ret->told = h->epoch != ev->epoch || h->lease_ms != ev->lease_ms;
    h->lease_ms = ev->lease_ms;
    if (h->epoch == ev->epoch)
        return;
    h->epoch = ev->epoch;
    h->until_ms = h->silent_ms = h->beat_ms = h->ask_next_ms = 0;
    h->known = h->dead = h->release_due = false;
    h->send.id = h->ask.id = 0;
    h->other = (struct lease_watch){0};
    h->why = ev->epoch ? "not renewed yet" : "";
    end_round(h, now_ms);
}

static const char *obstacle(
    struct lease_holder *h, const struct lease_event *ev, uint64_t now_ms)
{
    const struct lease_record *r = ev->record;
    if (h->guards_off & LEASE_OFF_EPOCH)
        return NULL;
    if (ev->epoch != h->epoch)
        return "the database's document does not name this host as the source";
    if (!r || r->epoch < h->epoch)
        return NULL;
    if (r->epoch > h->epoch)
        return "it is of a later epoch";
    if (r->revoked)
        return "it is revoked: a failover has begun";
    if (!strcmp(r->holder, h->host))
        return NULL;
    /* A state that was put back: two hosts at one epoch. */
    lease_watch_see(&h->other, r, now_ms);
    return now_ms < lease_watch_safe_ms(&h->other, h->epoch + 1, 0) ? "another host holds it" : NULL;
}

static bool is_own(const struct lease_holder *h, const struct lease_record *r)
{
    return r && r->epoch == h->epoch && !strcmp(r->holder, h->host);
}

static void on_read(struct lease_holder *h, const struct lease_event *ev, uint64_t now_ms,
    int64_t wall_ms, struct lease_action *ret)
{
    if (!ev->ok) {
        store_is_silent(h, now_ms);
        return;
    }
    if (h->send.id && is_own(h, ev->record) && ev->record->seq == h->sent.seq)
        written(h, now_ms, ret);
    h->send.id = 0;
    h->silent_ms = 0;
    h->known = true;
    h->mod = ev->mod;
    h->doc_mod = ev->doc_mod;
    h->last = ev->record ? *ev->record : (struct lease_record){0};
    if (h->dead) {
        bool due = h->release_due && is_own(h, ev->record) && ev->epoch == h->epoch
                   && !ev->record->released;
        h->release_due = due;
        if (due) {
            send(h, now_ms, wall_ms, ret);
            return;
        }
        h->known = false; /* whose it is was not looked at: that is for when the server is back */
        fail_round(h, "the server does not run", now_ms);
        return;
    }
    const char *why = obstacle(h, ev, now_ms);
    if (!why) {
        send(h, now_ms, wall_ms, ret);
        return;
    }
    set_until(h, 0, ret);
    h->known = false; /* it may change */
    fail_round(h, why, now_ms);
}

static void on_beaten(struct lease_holder *h, const struct lease_event *ev, uint64_t now_ms,
    int64_t wall_ms, struct lease_action *ret)
{
    if (!ev->ok) {
        fail_round(h, "the server takes no write on its disk", now_ms);
        return;
    }
    h->dead = h->release_due = false;
    h->beat_ms = h->now.ms;
    if (!str_copy(h->gtid, sizeof h->gtid, ev->gtid ? ev->gtid : ""))
        h->gtid[0] = '\0';
    /* After an end the record may say more than that: it is looked at before it is held again. */
    if (h->known && !h->last.revoked && !h->last.released)
        send(h, now_ms, wall_ms, ret);
    else
        begin(h, LEASE_READ, now_ms, ret);
}

static void on_sent(struct lease_holder *h, const struct lease_event *ev, uint64_t now_ms,
    struct lease_action *ret)
{
    if (ev->sent == LEASE_SENT_DONE) {
        h->mod = ev->mod;
        written(h, now_ms, ret);
        end_round(h, h->release_due ? now_ms
                     : h->dead      ? now_ms + LEASE_RETRY_MS
                                    : h->send.ms + h->lease_ms / LEASE_RENEW_PARTS);
    } else if (h->now.id != ev->id) {
        return; /* its time was over before */
    } else if (ev->sent == LEASE_SENT_CONFLICT) {
        h->known = false;
        h->silent_ms = 0;
        begin(h, LEASE_READ, now_ms, ret);
    } else {
        store_is_silent(h, now_ms);
    }
}

static void on_promised(struct lease_holder *h, bool ok, uint64_t now_ms, struct lease_action *ret)
{
    h->ask.id = 0;
    h->ask_next_ms = ok ? h->ask.ms + h->lease_ms / LEASE_RENEW_PARTS : now_ms + LEASE_RETRY_MS;
    if (ok && h->until_ms && !h->dead)
        set_until(h, MAX(h->until_ms, h->ask.ms + h->lease_ms), ret);
}

static void on_dead(struct lease_holder *h, uint64_t now_ms, struct lease_action *ret)
{
    if (!h->epoch || h->dead)
        return;
    h->dead = h->release_due = true;
    h->ask.id = 0;
    h->why = "the server does not run";
    set_until(h, 0, ret);
    end_round(h, now_ms);
}

/* ---- time */

static void give_up(struct lease_holder *h, uint64_t now_ms)
{
    if (h->ask.id && now_ms - h->ask.ms >= patience_ms(h)) {
        h->ask.id = 0;
        h->ask_next_ms = now_ms;
    }
    if (!h->now.id || now_ms - h->now.ms < patience_ms(h))
        return;
    if (h->doing == LEASE_BEAT)
        fail_round(h, "the server takes no write on its disk in time", now_ms);
    else {
        h->look_again = h->doing == LEASE_SEND && h->sent.released;
        store_is_silent(h, now_ms);
    }
}

static bool may_ask(const struct lease_holder *h)
{
    return h->epoch && h->until_ms && h->silent_ms && !h->ask.id && !h->dead;
}

static void go_on(struct lease_holder *h, uint64_t now_ms, int64_t wall_ms, struct lease_action *ret)
{
    if (!h->epoch)
        return;
    /* Only who still has a lease, and a disk that works, is kept. */
    bool beats = h->beat_ms && now_ms - h->beat_ms < h->lease_ms;
    if (may_ask(h) && now_ms < h->until_ms && beats && now_ms >= h->ask_next_ms) {
        h->ask = (struct lease_try){++h->ids, now_ms};
        ret->ask_id = h->ask.id;
    }
    if (h->now.id || now_ms < h->next_ms)
        return;
    /* A release that cannot be given (its gate does not answer) must not keep out a server that is back. */
    bool beat = !h->release_due || h->look_again;
    h->look_again = false;
    if (beat)
        begin(h, LEASE_BEAT, now_ms, ret);
    else if (h->known)
        send(h, now_ms, wall_ms, ret);
    else
        begin(h, LEASE_READ, now_ms, ret);
}

void lease_holder_step(struct lease_holder *h, const struct lease_event *ev, uint64_t now_ms,
    int64_t wall_ms, struct lease_action *ret)
{
    bool asked = h->now.id && ev->id == h->now.id;
    *ret = (struct lease_action){0};
    switch (ev->kind) {
    case LEASE_EV_TICK:
        break;
    case LEASE_EV_WANT:
        on_want(h, ev, now_ms, ret);
        break;
    case LEASE_EV_BEATEN:
        if (asked && h->doing == LEASE_BEAT)
            on_beaten(h, ev, now_ms, wall_ms, ret);
        break;
    case LEASE_EV_READ:
        if (asked && h->doing == LEASE_READ)
            on_read(h, ev, now_ms, wall_ms, ret);
        break;
    case LEASE_EV_SENT:
        if (h->send.id && ev->id == h->send.id)
            on_sent(h, ev, now_ms, ret);
        break;
    case LEASE_EV_PROMISED:
        if (h->ask.id && ev->id == h->ask.id)
            on_promised(h, ev->ok, now_ms, ret);
        break;
    case LEASE_EV_DEAD:
        on_dead(h, now_ms, ret);
        break;
    }
    give_up(h, now_ms);
    if (ret->act == LEASE_NOTHING)
        go_on(h, now_ms, wall_ms, ret);
}

uint64_t lease_holder_due_ms(const struct lease_holder *h)
{
    if (!h->epoch)
        return UINT64_MAX;
    uint64_t due_ms = h->now.id ? h->now.ms + patience_ms(h) : h->next_ms;
    if (h->ask.id)
        due_ms = MIN(due_ms, h->ask.ms + patience_ms(h));
    else if (may_ask(h))
        due_ms = MIN(due_ms, h->ask_next_ms);
    return due_ms;
}
