/* SPDX-License-Identifier: Apache-2.0 */
/* Commands from afar: a TLS listener where operators prove themselves by a token and then ask what
 * they could ask on a host. The server is known by its certificate, the client by the first call,
 * "login" {"token"}; before it a connection may say nothing else (and has as little as
 * base/rpc/guests.h leaves it). On the control loop. */
#pragma once

#include "base/ip/ip.h"
#include "base/rpc/rpc.h"

#define REMOTE_PORT 7405
#define REMOTE_SESSIONS_MAX 128u
#define REMOTE_STRANGERS_MAX 16u /* connections that have not logged in */
#define REMOTE_LOGIN_MS 15000u
#define REMOTE_LOGIN_TRIES 3u
#define REMOTE_STRANGER_FRAME 4096u
#define REMOTE_RATE 5u /* connections a second, and at once: */
#define REMOTE_BURST 40u

struct remote;

struct remote_who { /* what login() fills in */
    char name[64];
    char token_id[32];
    char from[IP_TEXT_SIZE]; /* filled in before */
};

struct remote_config {
    const char *name; /* of our hello, "control@hk1" */
    const char *cert, *key;
    const int *listen_fds; /* the caller's */
    size_t n_listen;
    /* The token's owner, or why not. The answer's members go to the client as they are (taken). */
    int (*login)(
        void *ctx, const char *token, struct remote_who *who, json_t **ret_answer, struct err *e);
    /* Must answer req, now or later. */
    void (*call)(void *ctx, const struct remote_who *who, struct rpc_req *req, const char *method,
        json_t *params);
    void *ctx;
};

MUST_CHECK int remote_new(
    uv_loop_t *loop, const struct remote_config *c, struct remote **ret, struct err *e);
void remote_free(struct remote *r); /* NULL is fine; the rest happens on the loop */

/* ---- the other end, for commands: blocks ---- */

struct remote_peer {
    struct ip_addr address;
    uint16_t port; /* 0: REMOTE_PORT */
    const char *platform, *root_pem;
    const char *token;
};

/* Connected and logged in. *ret_answer (may be NULL) is what login() answered. ERR_DENIED: who
 * answers is no host of the platform, or the token is not taken. */
MUST_CHECK int remote_connect(
    const struct remote_peer *p, struct rpc_client **ret, json_t **ret_answer, struct err *e);
