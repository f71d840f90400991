/* SPDX-License-Identifier: Apache-2.0 */
/* A TLS listener for guests: peers without a certificate. The server proves itself, the client does
 * not; so until it is admitted a guest has little: a short life, small frames, few connections in
 * all and from one address, and a rate of connections beyond which they are closed unread. What a
 * call may do is the callback's to decide. On the loop.
 *
 * The certificate is read anew for each connection: a renewed one is used at once. */
#pragma once

#include "base/rpc/rpc.h"

struct rpc_guests;
struct rpc_guest;

struct rpc_guests_limits {
    unsigned guests;      /* at once */
    unsigned strangers;   /* of them not admitted */
    unsigned per_address; /* not admitted, from one address */
    unsigned rate, burst; /* connections a second, and at once */
    size_t frame;         /* bytes, until admitted */
    uint64_t life_ms;     /* until admitted or closed */
};

struct rpc_guests_config {
    const char *name; /* of our hello, "control@hk1" */
    const char *cert, *key;
    const int *listen_fds; /* the caller's */
    size_t n_listen;
    struct rpc_guests_limits limits;
    size_t data_size; /* of what the caller keeps for each guest, zeroed */
    /* Must answer req, now or later. Not called any more once rpc_guests_free() was. */
    void (*call)(void *ctx, struct rpc_guest *g, struct rpc_req *req, const char *method,
        json_t *params);
    void *ctx;
};

MUST_CHECK int rpc_guests_new(uv_loop_t *loop, const struct rpc_guests_config *c,
    struct rpc_guests **ret, struct err *e);
void rpc_guests_free(struct rpc_guests *gs); /* NULL is fine; the rest happens on the loop */

void *rpc_guest_data(struct rpc_guest *g);
const char *rpc_guest_from(const struct rpc_guest *g); /* its address as text */
void rpc_guest_admit(struct rpc_guest *g); /* it has proven itself: lives on, frames of any size */
void rpc_guest_close(struct rpc_guest *g);
