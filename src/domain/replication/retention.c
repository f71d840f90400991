/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/retention.h"

#include "base/str/str.h"

static enum retention_level level_of(uint64_t total, uint64_t left)
{
    if (!total || left >= total)
        return RETENTION_ROOM;
    double used = (double)(total - left) * 100 / (double)total;
    return used >= RETENTION_FULL_PERCENT   ? RETENTION_FULL
           : used >= RETENTION_WARN_PERCENT ? RETENTION_WARN
                                            : RETENTION_ROOM;
}

/* Does he have everything before the log that follows? */
static bool has_all(const struct retention_holder *h, const struct gtid_set *start)
{
    return start && h->has && gtid_set_contains(h->has, start);
}

/* The first who needs what is before `start`; the one who may be sacrificed last. */
static const struct retention_holder *needed_by(
    const struct retention_input *in, const struct gtid_set *start)
{
    const struct retention_holder *found = NULL;
    for (size_t i = 0; i < in->n_holders; i++) {
        const struct retention_holder *h = &in->holders[i];
        bool weak = in->sacrifice && !h->vault && str_eq(h->host, in->sacrifice);
        if (has_all(h, start))
            continue;
        if (!weak)
            return h;
        found = h;
    }
    return found;
}

static bool may_go(const struct retention_input *in, size_t i, enum retention_level level,
    struct retention_verdict *v)
{
    bool full = level == RETENTION_FULL;
    bool old = in->now_ms - in->logs[i].written_ms >= in->retention_ms;
    if (!old && !full)
        return false;
    if (!in->logs[i + 1].start)
        return false;
    const struct retention_holder *h = needed_by(in, in->logs[i + 1].start);
    bool weak = h && in->sacrifice && !h->vault && str_eq(h->host, in->sacrifice);
    if (h && !(full && weak)) {
        v->held_by = h;
        return false;
    }
    v->sacrificed = h ? h : v->sacrificed;
    v->early |= !old;
    return true;
}

void retention_decide(const struct retention_input *in, struct retention_verdict *ret)
{
    *ret = (struct retention_verdict){.level = level_of(in->disk_total, in->disk_free)};
    enum retention_level level = ret->level; /* as it becomes */
    for (size_t i = 0; i + 1 < in->n_logs && may_go(in, i, level, ret); i++) {
        ret->purge = i + 1;
        ret->bytes += in->logs[i].bytes;
        level = level_of(in->disk_total, in->disk_free + ret->bytes);
    }
}

void retention_sample(struct retention_trend *t, uint64_t now_ms, uint64_t used)
{
    if (t->n && now_ms - t->ms[t->n - 1] < RETENTION_SAMPLE_MS)
        return;
    if (t->n == RETENTION_SAMPLES) {
        memmove(t->ms, t->ms + 1, (RETENTION_SAMPLES - 1) * sizeof t->ms[0]);
        memmove(t->used, t->used + 1, (RETENTION_SAMPLES - 1) * sizeof t->used[0]);
        t->n--;
    }
    t->ms[t->n] = now_ms;
    t->used[t->n++] = used;
}

int64_t retention_full_in_ms(
    const struct retention_trend *t, uint64_t now_ms, uint64_t used, uint64_t disk_free)
{
    if (!t->n || now_ms - t->ms[0] < RETENTION_SAMPLE_MS || used <= t->used[0])
        return -1;
    double pace = (double)(used - t->used[0]) / (double)(now_ms - t->ms[0]);
    double left = (double)disk_free / pace;
    return left < 1e15 ? (int64_t)left : -1;
}
