/* SPDX-License-Identifier: Apache-2.0 */
/* Where instances run and how they are replaced: one controller, stepped by the control that leads.
 *
 * Everything it knows of the past is in documents of the state store, so a new leader loads them
 * and goes on; the act is the write. Hosts follow the placement of their region and nothing else.
 *
 *   placement/<region>  {"format":1, "seq":N, "revision":R, "epoch":E,
 *      "region": "ap-seoul",
 *      "specs": {"<generation>": {unit spec (domain/spec form) without its name, region-independent}},
 *      "instances": [{"name":"api-2", "module":"api", "host":"hk2", "spec":"<generation>",
 *                     "state":"run"|"drain", "drain_seq":N, "standby":false,
 *                     "weight":100, "since_ms": wall ms, "reason":"…"}],
 *      "lacks": [{"module":"api", "count":1, "reason":"hk2 is drained, hk1 has no memory left"}]}
 *                                                seq rises with every write of it
 *   deploy/<module>     {"format":1, "id":N, "module":"api", "from":"<generation>"|null, "to":"<generation>",
 *      "revision":R, "by":"…", "strategy":"rolling|blue-green|canary|replace",
 *      "state":"running"|"done"|"rolling-back"|"rolled-back"|"failed"|"superseded",
 *      "started_ms", "deadline_ms", "ended_ms", "step":"…", "reason":"…",
 *      "regions": {"ap-seoul": {"state":"waiting|running|done|…", "ready":1, "wanted":2}},
 *      "refused": ["<generation>", …] }      what failed is not tried again until another apply asks
 *
 * A standby is started like any other; who is admitted says domain/admit. Where a module's standbys
 * are, they are replaced like active ones, by new instances that are marked like them.
 *
 * "run": started, and in service once ready (edges and mesh take ready units only). "drain": still
 * running, but edges and mesh of the region must leave it; gone from the document: the agent stops it.
 * A drained instance goes when every host of the region that is heard and has an edge or mesh has
 * acknowledged a seq >= that of the drain, or at its drain deadline. A name is the lowest free
 * "<module>-<n>" of its region.
 *
 * Level-triggered: schedule_step() gets the whole observation and tells the documents that change.
 * Pure: no I/O, clock, randomness. One thread. */
#pragma once

#include "base/digest/digest.h"
#include "base/err/err.h"
#include "base/json/json.h"
#include "domain/model/model.h"

#define SCHEDULE_SILENT_MS 10000u /* a host not heard for this long loses its instances */

struct schedule;

struct schedule_host { /* what the leader sees of a host that the model names */
    const char *name;
    bool heard;   /* false: silent for SCHEDULE_SILENT_MS, as the caller judges */
    bool usable;  /* can run instances now: joined, has agent (and mesh, where not public) */
    bool drained; /* operators asked to empty it */
    uint64_t memory_bytes; /* of the machine; 0: not known */
    unsigned cpu_milli;    /* 0: not known */
    const json_t
        *units; /* as its agent reports, with "spec" (content digest = generation); NULL: unknown */
    bool must_ack; /* has an edge or a mesh in service */
    int64_t acked; /* highest seq of its region's placement that edge and mesh have taken over */
};

struct schedule_input {
    const struct model *model; /* of the desired revision */
    const json_t *files;       /* its digests */
    int64_t revision;
    const char *by;
    int64_t epoch; /* of the leader; written into placements */
    const json_t *admitted; /* {"api": "ap-seoul"}: whose standbys are admitted, where (domain/admit) */
    const struct schedule_host *hosts;
    size_t n_hosts;
};

struct schedule_note { /* for the timeline */
    char subject[96], message[256], cause[256];
};

struct schedule_actions {
    json_t *
        write; /* {"placement/ap-seoul": {…}, "deploy/api": {…}|null (delete)}; NULL: nothing changes */
    struct schedule_note *notes;
    size_t n_notes, cap_notes;
    uint64_t due_ms; /* boot ms: step again then at the latest; UINT64_MAX: not needed */
};

struct schedule *schedule_new(void);
void schedule_free(struct schedule *s); /* NULL is fine */
/* Replaces all it knows by documents as read: {"placement/…": …, "deploy/…": …}, borrowed. Another
 * format than 1 is ERR_INVALID. Called at the start of leadership and after a write that lost a race. */
MUST_CHECK int schedule_load(struct schedule *s, const json_t *docs, struct err *e);
/* now_ms: boot clock; wall_ms: for what is written. The new state is in s already; if the write fails the
 * caller loads again. */
void schedule_step(struct schedule *s, const struct schedule_input *in, uint64_t now_ms,
    int64_t wall_ms, struct schedule_actions *out);
void schedule_actions_done(struct schedule_actions *a);
/* The agent's "units" snapshot of a host from its region's placement: {"revision", "seq", "units": […]}. */
MUST_CHECK int schedule_units(
    const json_t *placement, const char *host, json_t **ret, struct err *e);
/* The generation of a module as a revision declares it: digest of its unit spec without name. */
MUST_CHECK int schedule_generation(const struct model *m, const json_t *files,
    const struct model_module *module, json_t **ret_spec, char ret[DIGEST_SIZE], struct err *e);
/* Takes requests if it is admitted (domain/admit): not drained, and weight 0 is an instance that waits
 * for its turn. */
bool schedule_runs(const json_t *instance);
/* {"deployments": [deploy documents, running first, then newest]}: of `mcp deploy status --json`. */
json_t *schedule_status(const json_t *docs);

/* Mutation checks of the simulator, never used elsewhere: without one of these a seed must fail. */
enum schedule_guard {
    GUARD_READY,  /* old instances leave when new ones are ready */
    GUARD_ACKS,   /* a draining instance goes when the edges have left it */
    GUARD_NAMES,  /* a name is not given again while a process has it */
    GUARD_KEEP,   /* what nobody else can take stays on its silent host */
    GUARD_BUDGET, /* a wave is over before the next one begins */
    SCHEDULE_GUARDS,
};
void schedule_guard_off(struct schedule *s, enum schedule_guard guard);
