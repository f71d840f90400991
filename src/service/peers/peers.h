/* SPDX-License-Identifier: Apache-2.0 */
/* The mesh of controls: every host's control dials every other's over mTLS and keeps the link up.
 * What a control has to say goes out on the link that it dialled; what it hears comes in on those
 * that others dialled. A host's name is proven by its certificate
 * (spiffe://<platform>/host/<host>), never taken from what it says.
 *
 * The mesh does not need the state store: steering and status outlive it. A link that no byte
 * crosses for PEERS_SILENCE_MS is dropped and dialled again. On the control loop. */
#pragma once

#include "base/ip/ip.h"
#include "base/rpc/rpc.h"
#include "base/tls/tls.h"
#include "domain/replication/offset.h"

#define PEERS_PORT 7400
#define PEERS_MAX 256
/* TCP_USER_TIMEOUT: a round trip and a few retransmissions; under one probe interval */
#define PEERS_SILENCE_MS 4000u
#define PEERS_CLOCK_MS 2000u /* clocks are compared so often */

struct peers;

struct peers_config {
    const char *platform, *host;
    struct ip_addr source; /* dial from here (family 0: the kernel's choice) */
    struct tls_files tls;
    const int *listen_fds;
    size_t n_listen;
};

struct peers_handler {
    void (*up)(void *ctx, const char *host); /* our link to it works: say what it must know */
    void (*down)(void *ctx, const char *host, const struct err *e);
    /* A link that came to nothing because of who is at its other end; `who`: the host that was
     * dialled, or the address that dialled us. May be NULL. */
    void (*refused)(void *ctx, const char *who, const struct err *e);
    /* May that host of the platform still talk to us? NULL: each may. */
    bool (*admits)(void *ctx, const char *host);
    void (*notify)(void *ctx, const char *host, const char *method, json_t *params);
    void (*call)(
        void *ctx, const char *host, struct rpc_req *req, const char *method, json_t *params);
};

struct peers_target {
    const char *host;
    const struct ip_addr *addresses; /* tried in turn */
    size_t n_addresses;
};

MUST_CHECK int peers_new(uv_loop_t *loop, const struct peers_config *c,
    const struct peers_handler *h, void *ctx, struct peers **ret, struct err *e);
/* Ends every link; its memory goes when the loop has closed the handles. */
void peers_free(struct peers *p);
/* For the links to come, each way; those that are up stay. */
MUST_CHECK int peers_set_tls(struct peers *p, const struct tls_files *f, struct err *e);
/* Who to keep links to, ourselves left out by name. Links to others are closed. */
void peers_set(struct peers *p, const struct peers_target *targets, size_t n);
/* Ends what that host has dialled: it is not admitted any more. */
void peers_expel(struct peers *p, const char *host);
/* How far the clock of that host is off, as measured last; false: not measured since its link came
 * up. */
bool peers_clock(const struct peers *p, const char *host, struct offset_sample *ret);
bool peers_is_up(const struct peers *p, const char *host);
/* Where calls to that host go; NULL while there is no link. Not to be kept. */
struct rpc_conn *peers_conn(const struct peers *p, const char *host);
/* Each host that is linked now. */
void peers_each(const struct peers *p,
    void (*fn)(void *ctx, const char *host, struct rpc_conn *conn), void *ctx);
/* As given to peers_set(), borrowed until the next one; *ret_n 0: no such host. */
const struct ip_addr *peers_addresses(const struct peers *p, const char *host, size_t *ret_n);
/* params is borrowed; hosts without a link miss it (up() is the time to catch up). */
void peers_broadcast(struct peers *p, const char *method, const json_t *params);
void peers_send(
    struct peers *p, const char *host, const char *method, json_t *params); /* takes params */
/* The host in a SPIFFE id of the platform; false: not one. */
bool peers_host_of_id(const char *platform, const char *id, char *out, size_t size);
