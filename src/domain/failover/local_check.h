/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a source stands still, as its own host sees it: asked each second through its socket, with a second to
 * answer. Three checks missed in a row, and between the first and the third no thread of the process has moved:
 * it is to be killed, which is proof that it writes nothing any more (a process that is stopped, or in a group
 * that is frozen, would go on where it was).
 *
 * Slow is not dead. What counts as alive, however long it takes: any answer, an error of the server too; a thread
 * that could run and gets no processor; a thread that waits for a disk; any thread that was given a processor
 * between two checks, as those of a server that recovers, shuts down or works on one big statement are. Such a
 * one is left to the lease: it ends when it cannot be renewed. Not judged at all: a process that has not answered
 * yet, one whose threads cannot be seen, and checks between which we stood still ourselves.
 *
 * Pure: times are CLOCK_BOOTTIME in ms. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define LOCAL_CHECK_EACH_MS 1000u
#define LOCAL_CHECK_LIMIT_MS 1000u
#define LOCAL_CHECK_MISSES 3u
#define LOCAL_CHECK_GAP_MS 3000u /* so late, and it was not the server alone that stood still */

struct local_check_sample {
    uint64_t began_ms, ended_ms;
    bool answered; /* by whatever */
    bool seen;     /* its threads were looked at, after it had not answered */
    unsigned threads, runnable, on_disk;
    uint64_t steps; /* how often its threads were switched, and ticks of the processor */
};

struct local_check { /* of one process; begins zeroed */
    bool known;      /* it has answered once */
    unsigned misses; /* in a row */
    unsigned still;  /* of these, in a row: nothing has moved since the one before */
    struct local_check_sample last;
};

enum local_verdict {
    LOCAL_ANSWERS,
    LOCAL_UNJUDGED,
    LOCAL_SLOW,   /* no answer in time, but it lives */
    LOCAL_SILENT, /* no answer, no movement; not for long enough */
    LOCAL_DEAD,   /* to be killed */
};

enum local_verdict local_check_step(struct local_check *c, const struct local_check_sample *s);
