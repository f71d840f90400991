/* SPDX-License-Identifier: Apache-2.0 */
/* Which binary logs a server may forget: those that are older than the retention and that every
 * replica and every vault has taken, whole. A replica's place is what it has applied: its relay logs
 * are fetched anew after a crash. When the disk is nearly full, age counts no more; and what a
 * replica still needs goes only if the declaration names it as the one to be sacrificed. What is not
 * known about a holder counts as nothing. Pure. */
#pragma once

#include "base/util/util.h"
#include "proto/gtid/gtid.h"

#define RETENTION_WARN_PERCENT 80u
#define RETENTION_FULL_PERCENT 90u

struct retention_log {
    uint64_t bytes;
    int64_t written_ms;           /* wall clock: its last event */
    const struct gtid_set *start; /* everything before its first event; NULL: not known */
};

struct retention_holder {
    const char *host;
    bool vault;
    const struct gtid_set *has; /* NULL: not known */
};

enum retention_level { RETENTION_ROOM, RETENTION_WARN, RETENTION_FULL };

struct retention_input {
    const struct retention_log *logs; /* oldest first; the last one is being written */
    size_t n_logs;
    const struct retention_holder *holders;
    size_t n_holders;
    int64_t now_ms, retention_ms;
    uint64_t disk_total, disk_free;
    const char *sacrifice; /* host of a replica; NULL: none is */
};

struct retention_verdict {
    size_t purge; /* so many of the oldest */
    uint64_t bytes;
    enum retention_level level; /* of the disk as it is */
    bool early;                 /* some go before their time, for the disk */
    const struct retention_holder *held_by;    /* who keeps the next one, which else would go; NULL */
    const struct retention_holder *sacrificed; /* who needed some of those that go; NULL */
};

void retention_decide(const struct retention_input *in, struct retention_verdict *ret);

/* ---- when the disk is full */

#define RETENTION_SAMPLES 145u          /* a day */
#define RETENTION_SAMPLE_MS (10 * 60000ull)

struct retention_trend {
    uint64_t ms[RETENTION_SAMPLES], used[RETENTION_SAMPLES]; /* boot time; oldest first */
    size_t n;
};

/* As often as one likes: one in ten minutes is kept. */
void retention_sample(struct retention_trend *t, uint64_t now_ms, uint64_t used);
/* At the pace of the last day, from ten minutes of it on; -1: not known, or it does not grow. */
int64_t retention_full_in_ms(
    const struct retention_trend *t, uint64_t now_ms, uint64_t used, uint64_t disk_free);
