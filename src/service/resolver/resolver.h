/* SPDX-License-Identifier: Apache-2.0 */
/* What containers ask: names of the platform (*.mcp.internal) from the table that control sends,
 * everything else from the configured upstreams. Answers clients inside the bridge's prefix only;
 * what comes from anywhere else, the host's own address on the bridge included, is not even
 * refused, so that neither an open relay nor a circle of resolvers can come about. Without an
 * upstream every foreign name is SERVFAIL at once.
 *
 * Foreign questions are passed on as they came, from a socket and with an id of their own each,
 * over UDP and, when the answer was cut off or the client came over TCP, over TCP. Questions under
 * way are limited in all and per client.
 *
 * One thread: everything happens on the loop. The table is kept on disk and served again after a
 * restart. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/json/json.h"

#include <uv.h>

#define RESOLVER_UPSTREAMS_MAX 8
#define RESOLVER_TTL_S 5 /* of internal names: instances come and go */

struct resolver;

struct resolver_options {
    uv_loop_t *loop;
    const int *udp, *tcp; /* bound, listening; stay the caller's */
    size_t n_udp, n_tcp;
    struct ip_prefix clients; /* who may ask: the bridge */
    struct ip_addr own;       /* the host's address on it */
    const char *state_dir;    /* names.json */
    uint16_t upstream_port;   /* 0: 53 */
    unsigned try_ms;          /* one try; 0: 1,000 */
    void (*warn)(void *ctx, const struct err *e);
    void *ctx;
};

MUST_CHECK int resolver_new(const struct resolver_options *o, struct resolver **ret, struct err *e);
void resolver_free(struct resolver *r); /* handles close on the loop; NULL is fine */
/* {"names": {"api.mcp.internal": ["100.127.0.5", ...], ...}, "forward": ["10.20.0.1", ...]}:
 * replaces all. A name with an empty list exists without an address. ERR_INVALID changes nothing.
 */
MUST_CHECK int resolver_set_names(struct resolver *r, const json_t *names, struct err *e);
