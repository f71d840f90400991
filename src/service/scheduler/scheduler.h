/* SPDX-License-Identifier: Apache-2.0 */
/* Who decides where instances run, and how hosts learn of it. Every control follows the documents
 * placement/ and deploy/ of the state store and keeps the last ones on disk; one of them
 * leads: it holds the presence key lease/scheduler and has raised epoch/scheduler. The leader alone
 * steps domain/schedule, whenever what it observes changes and at the times it asks for, and
 * writes what the step says in transactions that compare the epoch and every document: of two that
 * believe to lead, one writes.
 *
 * A leader that is no longer sure of its lease stops acting; the store is lost: nobody writes and
 * everything goes on. A control that comes back on the same host takes its predecessor's lease over
 * at once; other hosts wait for it to end (etcd may be seconds late with that after an election).
 * On the control loop; callbacks come from it. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "domain/schedule/schedule.h"
#include "driver/kv/kv.h"

struct scheduler;

struct scheduler_config {
    struct kv *kv; /* borrowed, outlives the service */
    const char *platform, *host;
    const char *cache_path; /* /var/lib/mcp/control/placement.json */
    uint64_t ttl_ms;        /* of the lease; 0: 5 s */
};

struct scheduler_handler {
    /* Documents changed. Also once at start if the cache holds some. */
    void (*changed)(void *ctx);
    /* A step is due: false when there is nothing to go by yet (poke when there is). What it points
     * to stays until the next turn of the loop. */
    bool (*observe)(void *ctx, struct schedule_input *ret);
    void (*note)(void *ctx, const struct schedule_note *n);
    void (*leads)(void *ctx, bool leads, int64_t epoch);
    /* What it cannot do and why, once each time the words change; NULL: it can again. */
    void (*trouble)(void *ctx, const struct err *e);
};

MUST_CHECK int scheduler_new(uv_loop_t *loop, const struct scheduler_config *c,
    const struct scheduler_handler *h, void *ctx, struct scheduler **ret, struct err *e);
void scheduler_free(struct scheduler *s); /* NULL is fine */

/* Something that observe() tells has changed. */
void scheduler_poke(struct scheduler *s);
bool scheduler_leads(const struct scheduler *s);
/* The key of the epoch and its modification revision, to be compared by what else is written in the
 * leader's name (ret: KV_KEY_MAX + 1). False: it does not lead, or is no longer sure that it does. */
bool scheduler_guard(const struct scheduler *s, char *ret_key, int64_t *ret_mod);
/* Leads no more, and does not try to, until told otherwise: for a host that sees less than others. */
void scheduler_stand_aside(struct scheduler *s, bool aside);
/* {"placement/<region>": {…}, "deploy/<module>": {…}}, borrowed until the next turn of the loop. */
const json_t *scheduler_docs(const struct scheduler *s);
const json_t *scheduler_placement(const struct scheduler *s, const char *region); /* NULL: none */
/* Were the documents read from the state store since the start (else: from the cache, if any)? */
bool scheduler_read(const struct scheduler *s);
