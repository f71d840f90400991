/* SPDX-License-Identifier: Apache-2.0 */
/* A host's timeline on disk: append-only, one JSON entry a line, in segments DIR/<first seq>.jsonl
 * of at most TIMELINE_SEGMENT_BYTES; the oldest goes when there are more than TIMELINE_SEGMENTS. An
 * entry is written before timeline_append() returns, so it survives a killed process; it is synced
 * to disk by a worker within TIMELINE_SYNC_MS, so it survives a power loss soon after. A torn last
 * line is cut off at the next start. When the disk is full entries are counted, and the count is
 * the first entry after it has room again.
 *
 * One thread, the loop's; reading the segments happens on a worker thread. */
#pragma once

#include "base/rpc/rpc.h"
#include "domain/timeline/timeline.h"

#include <uv.h>

#define TIMELINE_SEGMENT_BYTES (4u * 1024 * 1024)
#define TIMELINE_SEGMENTS 4u
#define TIMELINE_SYNC_MS 1000u
#define TIMELINE_READ_MAX 10000u /* entries of one answer */

struct timeline;

struct timeline_options {
    uv_loop_t *loop;
    const char *dir; /* made if missing */
    const char *host, *region;
    size_t segment_bytes; /* 0: TIMELINE_SEGMENT_BYTES; tests give less */
};

MUST_CHECK int timeline_open(
    const struct timeline_options *o, struct timeline **ret, struct err *e);
/* Syncs; ends all followers. NULL is fine. */
void timeline_close(struct timeline *t);

/* Number, time and place are filled in here. ERR_SYSTEM when the disk refuses: the entry goes to
 * followers only. */
int timeline_append(struct timeline *t, const struct timeline_draft *d, struct err *e);
uint64_t timeline_last_seq(const struct timeline *t);

/* The newest `limit` entries that match, oldest first, as a heap array. Blocks; any thread; the
 * folder alone. */
MUST_CHECK int timeline_read(const char *dir, const struct timeline_filter *f, size_t limit,
    struct timeline_entry **ret, size_t *ret_len, struct err *e);

/* First what is there (the newest `limit` that match), then, when `follow`, everything new, without
 * gap or repeat. entry(): from the loop; a negative return ends it. done(): once, unless it was
 * ended by timeline_tail_end(). */
struct timeline_tail;
struct timeline_tail_handler {
    int (*entry)(void *ctx, const struct timeline_entry *t);
    void (*done)(void *ctx, const struct err *e); /* NULL: complete */
};
struct timeline_tail *timeline_tail_start(struct timeline *t, const struct timeline_filter *f,
    size_t limit, bool follow, const struct timeline_tail_handler *h, void *ctx);
void timeline_tail_end(struct timeline_tail *tail);

/* The call "timeline" {"lines" (default 50), "follow", "since" (RFC 3339), "after" (seq), "kind",
 * "subject"}: streams parts {"entry": {...}}, answers {}. Takes req. */
void timeline_serve(struct timeline *t, struct rpc_req *req, const json_t *params);
