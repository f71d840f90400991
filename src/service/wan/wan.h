/* SPDX-License-Identifier: Apache-2.0 */
/* The lab's wide area network: a switch of IP packets between endpoints (one per host, one for the
 * client), with delay, loss, rate and cuts per direction. struct wan is the switch alone: packets
 * and the time come in as arguments, so it is tested without a device; wan_serve() is the loop of
 * the process around it.
 *
 * The configuration is one JSON object and the switch is a function of it: cutting, slowing and
 * mending send the whole of it again, a restarted process reads the same.
 *   {"format": 1, "seed": 1,
 *    "endpoints": [{"name": "hk1", "region": "ap-hongkong",
 *      "addresses": ["10.20.0.11"], "public": ["203.0.113.20"], "prefixes": []}],
 *    "links": [{"from": "ap-hongkong", "to": "ap-seoul",
 *      "delay_us": 19000, "loss": 0, "rate_bps": 0}],
 *    "rules": [{"from": "hk1", "to": "ap-seoul", "cut": true}]}   the same members, all optional
 * `from` and `to` name an endpoint or a region. Links, then rules, apply in order; a narrower one
 * (an endpoint named) beats a wider one; a cut by any of them cuts. Between endpoints that nothing
 * names packets pass at once.
 *
 * A packet's source must be its sender's own address. An address that several endpoints share (a
 * region's public one) goes to one that is attached, the same one for the same source. Queues are
 * bounded; what does not fit is dropped and counted. Packets of one pair of endpoints keep their
 * order while the configuration stays. One thread. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define WAN_MTU 1500u
#define WAN_ENDPOINTS_MAX 264u /* MODEL_HOSTS_MAX and the client, with room */
#define WAN_QUEUE_MAX 16384u   /* packets under way at once: 45 ms of 4 Gbit/s */
#define WAN_NEVER UINT64_MAX

struct wan;

/* Where packets leave the switch. Called from wan_input() and wan_run(). */
typedef void (*wan_out_fn)(void *ctx, unsigned endpoint, const void *packet, size_t len);

struct wan *wan_new(wan_out_fn out, void *ctx);
void wan_free(struct wan *w); /* NULL is fine */

/* Replaces the configuration; an invalid one changes nothing. Endpoints that exist in both keep
 * their index and stay attached, packets under way still arrive. */
MUST_CHECK int wan_configure(struct wan *w, const json_t *config, struct err *e);
/* -1: unknown. */
int wan_endpoint(const struct wan *w, const char *name);
void wan_attach(struct wan *w, unsigned endpoint, bool attached);

/* A packet that `endpoint` sends. */
void wan_input(struct wan *w, unsigned endpoint, const void *packet, size_t len, uint64_t now_ns);
/* Lets out what is due. Returns when the next packet is, or WAN_NEVER. */
uint64_t wan_run(struct wan *w, uint64_t now_ns);
/* {"endpoints": [{name, attached, sent, received, dropped: {reason: n}}], "queued",
 * "queued_max"} */
json_t *wan_status(const struct wan *w);

/* The loop: takes a listening SOCK_SEQPACKET socket and, once, a readable descriptor of the
 * configuration's text. Requests on it (service/lab/msg.h), each answered {"ok": true} or {"error":
 * {...}}:
 *   {"op": "attach", "endpoint": NAME} + the TUN descriptor; the endpoint stays attached while the
 *   connection lives {"op": "detach", "endpoint": NAME}   power loss: nothing of it passes any
 *   more, not even what it sends dying {"op": "configure"} + a descriptor of the text;   {"op":
 *   "status"} -> {"status": wan_status()}
 * `lock_in` (may be NULL) runs once before the first request. Returns on failure of the loop itself
 * only. */
MUST_CHECK int wan_serve(
    int listen_fd, int config_fd, int (*lock_in)(struct err *e), struct err *e);
