/* SPDX-License-Identifier: Apache-2.0 */
/* The planned move of a database's source to another member, as one pure step over its document
 * (doc.h), whose `change` is the journal:
 *
 *   {"kind": "switchover", "id", "from", "to", "step", "step_ms", "begun_ms", "hold_ms", "by",
 *    "gtid", "pause_ms", "why", "steps": [{"step", "at_ms" (since begun_ms)}, ...]}
 *
 *   hold -> freeze -> equal -> promote -> release -> reverse -> (ended: done)
 *      \       \        \-> undo -> (ended: undone)        \-> (ended: partial)
 *
 * hold: statements wait at the source's gate. freeze: the source is read-only and tells its last
 * GTID. equal: the target has applied it. promote: the document names the target, one epoch
 * higher; from here nothing goes back. release: what waits is sent to the new source. reverse: the
 * old source follows the new one.
 *
 * A step is written before its act; acts are idempotent, carry the change's number and the epoch,
 * and are repeated until answered, so that a leader that dies is followed by one that goes on. No
 * act makes a server writable: only a fresh document that names it does, and a frozen one stays
 * frozen until its change has ended (`last.id`). Times of the document are wall clock, for people
 * and for deadlines that survive a leader; a clock that jumps makes one end early or late, never
 * two sources. No I/O, no clock, no allocation but JSON. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "domain/replication/doc.h"

#define SWITCHOVER_HOLD_MS 10000     /* until the point of no return, by default */
#define SWITCHOVER_PROMOTE_MS 120000 /* for the new source to answer; then `partial` */
#define SWITCHOVER_REVERSE_MS 60000  /* for the old one to follow */
#define SWITCHOVER_AGAIN_MS 500      /* between two tries of an act */

enum switchover_act {
    SWITCHOVER_NOTHING,
    SWITCHOVER_HOLD,    /* at `host`: hold statements; answered when none is in flight */
    SWITCHOVER_FREEZE,  /* at `host`: read-only; answers with its last GTID */
    SWITCHOVER_EQUAL,   /* at `host`: has `gtid` been applied? */
    SWITCHOVER_PROMOTE, /* at `host`: stop following; answered when it is writable */
    SWITCHOVER_RELEASE, /* at `host`: what is held is sent away */
    SWITCHOVER_FOLLOW,  /* at `host`: answered when it follows the source */
};

struct switchover_action {
    enum switchover_act act;
    char host[64];
    int64_t id, epoch;
    uint64_t wait_ms; /* how long the act may take */
    const char *gtid; /* EQUAL: borrowed from the document */
};

/* What a leader keeps in memory; begins zeroed, and again whenever it begins to lead. */
struct switchover_run {
    int64_t id; /* the change and the stage that the rest is about */
    const struct switchover_stage *step;
    bool asked;
    uint64_t again_ms; /* not before, on the leader's own clock */
};

enum switchover_event_kind { SWITCHOVER_TICK, SWITCHOVER_ANSWER };

struct switchover_event {
    enum switchover_event_kind kind;
    /* ANSWER: to which act of which change */
    enum switchover_act act;
    int64_t id;
    const char *gtid;        /* FREEZE */
    const struct err *error; /* NULL: it was done. ERR_REFUSED: it will not be */
};

/* What stands in the way, of the reports of both hosts (domain-free JSON, as the data role tells
 * it; NULL: none heard). Returns an array of texts: empty when it may begin. */
json_t *switchover_obstacles(const struct replication_doc *d, const char *to,
    const json_t *source_report, const json_t *target_report, uint64_t max_lag_ms);

/* A new document in which the change has begun. */
json_t *switchover_begin(
    const json_t *doc, const char *to, const char *by, uint64_t hold_ms, int64_t wall_ms);
/* One event. Returns a new reference: the document as it shall be, or the very same (increased).
 * When it is another, write it first (compare and swap): *ret then holds nothing, and the next TICK
 * has the act. now_ms: the leader's boot clock. */
json_t *switchover_step(json_t *doc, struct switchover_run *run, const struct switchover_event *ev,
    uint64_t now_ms, int64_t wall_ms, struct switchover_action *ret);
/* Does the source keep still for it? After the point of no return, and once it is being undone, it
 * does not. NULL: no change. */
bool switchover_holds(const json_t *change);
const char *switchover_act_name(enum switchover_act act);
