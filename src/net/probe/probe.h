/* SPDX-License-Identifier: Apache-2.0 */
/* Probes the edge of a region as a client would: GET https://NAME/healthz at each of the region's
 * public addresses, with the name as SNI and Host, the certificate verified against the platform's
 * CA bundle. One timeout covers the whole exchange. Connections are reused, so that a probe costs
 * little; every PROBE_FRESH_EVERYth one and every one after a failure opens its own, so that an
 * edge that accepts nobody new is found out.
 *
 * A region with several addresses is well when at least half of those that this host has a route to
 * are. One thread: everything happens on the loop. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"

#include <uv.h>

#define PROBE_FRESH_EVERY 6u
#define PROBE_BODY_MAX 65536u
#define PROBE_ADDRESSES_MAX 16u

/* From worst to best. */
enum probe_class {
    PROBE_TIMEOUT,
    PROBE_REFUSED,
    PROBE_UNREACHABLE, /* no route, reset, or any other error of the network */
    PROBE_TLS,         /* no TLS, or a certificate that does not verify */
    PROBE_PROTOCOL,    /* something answers that is not this region's edge */
    PROBE_APP,         /* the edge says that the name does not work here (503) */
    PROBE_DEGRADED,    /* works, and says "degraded": true */
    PROBE_OK,
};

struct probe_result {
    enum probe_class class;
    long status;      /* HTTP, 0: none */
    unsigned ms;      /* the whole exchange */
    char detail[160]; /* in words, with the address; "" when ok */
};

struct prober;
typedef void (*probe_done_fn)(void *ctx, const struct probe_result *r);

/* ERR_NOT_FOUND when the CA bundle does not exist: nothing could ever verify. The file is read
 * again as it changes. */
MUST_CHECK int prober_new(uv_loop_t *loop, const char *ca_file, struct prober **ret, struct err *e);
/* Drops what is in flight (no completion comes) and closes on the loop. NULL is fine. */
void prober_free(struct prober *p);

struct probe_request {
    const char *name;   /* copied */
    const char *region; /* what the body must say when it names one; NULL: anything */
    const struct ip_addr *addresses;
    size_t n_addresses; /* 1 .. PROBE_ADDRESSES_MAX; more are left out */
    uint16_t port;
    unsigned timeout_ms;
    bool fresh; /* the caller knows of a failure: open a new connection */
};
/* `done` comes from the loop, once, within timeout_ms or so. */
void prober_start(struct prober *p, const struct probe_request *req, probe_done_fn done, void *ctx);

/* Whether "host:port" (an address, "[v6]:port" or a name) accepts a TCP connection. */
typedef void (*probe_reach_fn)(void *ctx, bool reached);
void prober_reach(
    struct prober *p, const char *endpoint, unsigned timeout_ms, probe_reach_fn done, void *ctx);

const char *probe_class_name(enum probe_class c);
