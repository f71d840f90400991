/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent of a host does: it makes the units that run be the units that are wanted. Wanted are the boot units
 * (engines, from <state_dir>/boot-units.json) and the last "units" snapshot of control, which is kept in
 * <state_dir>/units.json and started from at once when the agent starts, control or none. Each unit's life is decided
 * by domain/unit; here its actions are carried out (driver/runtime), its shim watched, its probes made.
 *
 * An agent that dies takes nothing with it: the next one finds each unit's life in <units_dir>/<unit>/unit.json, its
 * shim by the shim's lock, and goes on. Units whose spec changed are replaced one by one per module.
 *
 * One thread, on the loop; whatever blocks (unpacking, starting a shim, fsync) runs on libuv's worker threads. */
#pragma once

#include "base/rpc/rpc.h"
#include "domain/spec/spec.h"
#include "driver/runtime/runtime.h"
#include "service/images/images.h"

#include <uv.h>

struct agent;

struct agent_config { /* texts are copied */
    uv_loop_t *loop;
    const char *state_dir; /* /var/lib/mcp/agent */
    const char *units_dir; /* RUNTIME_UNITS_DIR */
    const char *secrets_dir; /* RUNTIME_SECRETS_DIR */
    const char *functions_dir; /* RUNTIME_FUNCTIONS_DIR */
    const char *cgroup;    /* of the host: "/mcp/reindeers.hk1" */
    struct runtime_host host;
    const struct runtime_ops *runtimes[2]; /* by enum unit_runtime */
    struct images *images;      /* borrowed: a unit starts once its image is here. NULL: it is */
    struct ip_addr own_address; /* where engines listen */
    uint64_t log_file_bytes;
    unsigned log_files, log_rate, log_burst;
    uint64_t seed; /* of the back-off's jitter */
    /* The host's units as control gets them, after a change; several changes at once are one call. Borrowed. */
    void (*status)(void *ctx, const json_t *units);
    void (*timeline)(void *ctx, const char *subject, const char *message, const char *cause);
    /* {module: [names]}: whose values agent_secrets() is to bring; {name: version}: what processes of
     * this host have. When they change; borrowed; may be NULL. */
    void (*secrets_want)(void *ctx, const json_t *modules);
    void (*secrets_have)(void *ctx, const json_t *versions);
    /* What a run of a function asks of the platform, to control; takes params, answers later. False:
     * there is no control now. May be NULL. */
    bool (*function_ask)(void *ctx, json_t *params, rpc_answer_fn fn, void *fn_ctx);
    void *ctx;
};

/* Adopts what runs, starts what is wanted. A damaged file is told to the timeline and stops nothing that runs. */
MUST_CHECK int agent_new(const struct agent_config *cfg, struct agent **ret, struct err *e);
/* Lets go of everything; units run on. The loop must run once more for the handles to close. */
void agent_free(struct agent *a);
/* A snapshot of control, {"revision", "units"}; ERR_INVALID leaves what is wanted as it was. */
MUST_CHECK int agent_apply(struct agent *a, json_t *doc, struct err *e);
/* Other boot units, kept on disk at once (ERR_SYSTEM: they could not be, nothing changes). */
MUST_CHECK int agent_set_boot(struct agent *a, json_t *doc, struct err *e);
/* [{"name", "kind", "module", "state", "pid", "restarts", "reason", "address", "port", "since_ms", "standby",
 * "spec"}]; since_ms is wall time, spec what the snapshot called the process that runs (or of the next start). */
json_t *agent_status(struct agent *a);
/* Its process is replaced by a new one of the same spec. ERR_NOT_FOUND. */
MUST_CHECK int agent_restart(struct agent *a, const char *unit, struct err *e);
/* Of control: {"module", "secrets": {name: {"v", "value": base64} | {"error", "passing": bool}}}, all
 * that the module has asked for. Units that lack one wait; those that run get its file renewed. */
void agent_secrets(struct agent *a, const json_t *params);
/* Manifest digests of what runs; the caller's. */
json_t *agent_used_images(const struct agent *a);
/* An image that units wait for has moved on (images_config.changed). */
void agent_image_changed(struct agent *a, const char *digest);
void agent_metrics(struct agent *a, struct str *out); /* Prometheus text */

/* Runs a container once: {"function", "run", "image", "command", "env", "limits", "secrets": {file:
 * {"value": base64, "mode"}}, "input": text, "deadline_ms"}. Streams {"unit", "address"} before it
 * starts, answers {"status", "timed_out", "oom", "output", "errors", "took_ms"}; the same run again is
 * answered the same. ERR_NOT_FOUND: the image is not here. */
void agent_function(struct agent *a, struct rpc_req *req, json_t *params);
/* {"unit"|"module", "lines": 100, "follow": false}: streams {"unit", "line", "stream", "time"}, answers {}. */
void agent_logs(struct agent *a, struct rpc_req *req, const json_t *params);
/* {"unit"|"module", "argv": [...]}: streams {"stdout": base64} and {"stderr": base64}, takes {"data": base64} and
 * {"eof": true}, answers {"exit": N} (128 + N for signal N). */
void agent_exec(struct agent *a, struct rpc_req *req, const json_t *params);
