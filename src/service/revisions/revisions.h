/* SPDX-License-Identifier: Apache-2.0 */
/* Desired revisions in the state store, as one host's control sees them. A revision is immutable
 * and numbered; /mcp/<platform>/desired/current names the one in force and moves by
 * compare-and-swap in the same transaction that writes desired/<N>, so a reader finds wholly one or
 * the other, whoever dies when.
 *
 * The current revision is also kept whole on disk (the cache): a host starts from it without the
 * state store and goes on with it when the store is lost (fail static). On the control loop;
 * callbacks come from it. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "driver/kv/kv.h"

#define REVISIONS_KEPT 100 /* older ones are deleted by the apply that exceeds it */

struct revisions;

struct revisions_config {
    struct kv *kv; /* borrowed, outlives the service */
    const char *platform;
    const char *cache_path; /* /var/lib/mcp/control/revision.json */
};

struct revisions_handler {
    /* A new current revision, already durable in the cache. Also called once at start if the cache
     * holds one. */
    void (*changed)(void *ctx, const json_t *revision);
    /* The state store answers again, or has stopped to (e says why). */
    void (*connected)(void *ctx, bool connected, const struct err *e);
};

MUST_CHECK int revisions_new(uv_loop_t *loop, const struct revisions_config *c,
    const struct revisions_handler *h, void *ctx, struct revisions **ret, struct err *e);
/* Pending applies and reads end with ERR_CANCELED. */
void revisions_free(struct revisions *r);

const json_t *revisions_current(const struct revisions *r); /* NULL: none yet */
int64_t revisions_number(const struct revisions *r);        /* 0: none yet */
bool revisions_connected(const struct revisions *r);

/* The current one after the state store was asked which that is, for whoever shows or changes what
 * holds: a watch may be seconds behind. A store that does not answer within 2 s is not waited for:
 * then it is the one known here (NULL: none). Borrowed; may be told from within the call. */
typedef void (*revisions_fresh_fn)(void *ctx, const json_t *revision);
void revisions_fresh(struct revisions *r, revisions_fresh_fn fn, void *ctx);

/* number: the revision in force after it. unchanged: the current one already says the same, nothing
 * was written. */
typedef void (*revisions_apply_fn)(void *ctx, int64_t number, bool unchanged, const struct err *e);
/* Writes the next revision. `platform` (canonical tree) and `files` are borrowed; `by` says who,
 * `note` why (may be
 * ""). expect >= 0: only if that is the current number (0: none yet), else ERR_CONFLICT. */
void revisions_apply(struct revisions *r, const json_t *platform, const json_t *files,
    const char *by, const char *note, int64_t expect, revisions_apply_fn fn, void *ctx);

/* The number's revision (0: current), borrowed during the call. ERR_NOT_FOUND names the oldest
 * kept. */
typedef void (*revisions_get_fn)(void *ctx, const json_t *revision, const struct err *e);
void revisions_get(struct revisions *r, int64_t number, revisions_get_fn fn, void *ctx);
/* Array of {revision, created, by, note, current}, newest first, borrowed. */
typedef void (*revisions_list_fn)(void *ctx, const json_t *list, const struct err *e);
void revisions_list(struct revisions *r, revisions_list_fn fn, void *ctx);
