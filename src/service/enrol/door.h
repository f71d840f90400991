/* SPDX-License-Identifier: Apache-2.0 */
/* Where strangers knock: machines that have no certificate yet (base/rpc/guests.h says what little
 * they have). A few calls on each connection; what a call may do is the callback's to decide. On the
 * control loop. */
#pragma once

#include "base/rpc/guests.h"

#define ENROL_PORT 7403
#define ENROL_DOOR_CONNS_MAX 32u
#define ENROL_DOOR_PER_ADDRESS_MAX 8u
#define ENROL_DOOR_CALLS_MAX 8u
#define ENROL_DOOR_LIFE_MS 30000u  /* a relayed call and an election of the state store fit */
#define ENROL_DOOR_FRAME_MAX 65536u /* a request with its signing requests has about 4 KiB */
#define ENROL_DOOR_RATE 10u        /* connections a second, and at once: */
#define ENROL_DOOR_BURST 100u

struct enrol_door;

/* `from`: the peer's address as text. Must answer req, now or later. */
typedef void (*enrol_call_fn)(
    void *ctx, const char *from, struct rpc_req *req, const char *method, json_t *params);

struct enrol_door_config {
    const char *name; /* of our hello, "control@hk1" */
    const char *cert, *key;
    const int *listen_fds; /* the caller's */
    size_t n_listen;
};

MUST_CHECK int enrol_door_new(uv_loop_t *loop, const struct enrol_door_config *c, enrol_call_fn fn,
    void *ctx, struct enrol_door **ret, struct err *e);
void enrol_door_free(struct enrol_door *d); /* NULL is fine; the rest happens on the loop */
