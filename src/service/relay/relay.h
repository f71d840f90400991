/* SPDX-License-Identifier: Apache-2.0 */
/* Passes a call on to another connection: parts, input, cancellation and the answer travel through,
 * in both directions, until one end is done. When either connection ends, the other side gets
 * ERR_UNAVAILABLE. */
#pragma once

#include "base/rpc/rpc.h"

/* Finishes req in every case. Takes params. `wrap` (may be NULL) adds members to each part of a
 * stream (borrowed). */
void relay_call(struct rpc_req *req, struct rpc_conn *to, const char *method, json_t *params,
    const json_t *wrap);

/* Same; fd (or -1) goes along, taken. */
void relay_call_fd(
    struct rpc_req *req, struct rpc_conn *to, const char *method, json_t *params, int fd);

/* One request answered from several connections at once: parts are merged as they come, the request
 * ends when the last one has ended. It fails only if all of them fail, with the first error. */
struct relay_target {
    struct rpc_conn *to;
    const char *method;
    json_t *params;     /* taken */
    const json_t *wrap; /* borrowed */
};
void relay_fan_out(struct rpc_req *req, const struct relay_target *targets, size_t n);
