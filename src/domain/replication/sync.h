/* SPDX-License-Identifier: Apache-2.0 */
/* Semi-synchronous replication that never degrades silently: who holds every acknowledged commit is in the
 * database's document,
 *
 *   "sync": {"hosts": ["sl1"] | [], "try": bool, "at_ms"}
 *
 * and the source's server waits for its replica without a limit as long as a host is named there, or
 * `try` is set. Joining: `try` first, then, when the server says that it waits so and somebody
 * acknowledges, the host is published. Leaving: the document first, only then the server goes on
 * without. A replica of the published set has all that was ever acknowledged under it (failover's
 * R12). One prompt replica only: with two, the acknowledgement of either counts, and neither has
 * everything.
 *
 * sync_step() is the leader's, pure, every half second; it returns the very same document (increased) or
 * another, to be written under the leader's guard. The source's side is in node.c. */
#pragma once

#include "base/json/json.h"

#define SYNC_STALL_MS 3000u  /* commits wait, nobody acknowledges: it leaves */
#define SYNC_AWAY_MS 8000u   /* not heard, or not replicating */
#define SYNC_STEADY_MS 3000u /* it follows so long before it is tried */
#define SYNC_TRY_MS 10000u
#define SYNC_AGAIN_MS 30000u /* after a try that came to nothing */

struct sync_facts {
    bool required;        /* replication.mode: semi-sync */
    bool source_writable; /* as its data role says */
    bool firm;            /* its server waits without a limit */
    uint64_t clients;     /* replicas that acknowledge */
    uint64_t stalled_ms;  /* commits wait, and none was acknowledged for so long */
    const char *member;   /* the only prompt replica; NULL: none, or several */
    bool follows;         /* it is heard, and replicates within the objective */
};

struct sync_run { /* what a leader keeps; begins zeroed */
    uint64_t follows_ms, away_ms, try_ms, again_ms; /* since, not before; 0: no */
};

json_t *sync_step(json_t *doc, struct sync_run *run, const struct sync_facts *f, uint64_t now_ms,
    int64_t wall_ms);
/* The published host; NULL: none. */
const char *sync_host(const json_t *doc);
bool sync_waits(const json_t *doc); /* shall the source's server wait? */
