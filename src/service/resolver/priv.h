/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "service/resolver/resolver.h"

#include "base/metrics/metrics.h"
#include "proto/dns/dns.h"

#define RESOLVER_QUERY_MAX 4096
#define RESOLVER_UDP_ANSWER_MAX 4096  /* the bridge is local: fragments do not get lost there */
#define RESOLVER_TCP_ANSWER_MAX 16384 /* of an internal name: all its addresses */
#define RESOLVER_FLIGHTS_MAX 512      /* a descriptor each */
#define RESOLVER_CLIENT_FLIGHTS_MAX 128
#define RESOLVER_CONNS_MAX 64
#define RESOLVER_CONN_FLIGHTS_MAX 32
#define RESOLVER_CONN_IDLE_MS 10000
#define RESOLVER_TRIES 4 /* of a second each: under the five of a client's own patience */

enum resolver_metric {
    RESOLVER_M_INTERNAL,
    RESOLVER_M_FORWARDED,
    RESOLVER_M_FAILED,
    RESOLVER_M_STRANGERS,
    RESOLVER_M_MALFORMED,
    RESOLVER_M_TIMEOUTS,
    RESOLVER_M_COUNT
};

/* --- names.c: the table, pure --- */

struct names;

MUST_CHECK int resolver_names_new(const json_t *names, struct names **ret, struct err *e);
void resolver_names_free(struct names *n);
bool resolver_names_covers(const uint8_t *name, size_t size); /* mcp.internal and all below it */
/* Answer to a well-formed query for a covered name; `rotate` turns the order of addresses. Returns
 * its length. */
size_t resolver_names_answer(const struct names *n, const struct dns_query *q, const uint8_t *msg,
    unsigned rotate, size_t limit, uint8_t *out, size_t cap);
/* A response without records: the question, the code, an OPT where there was one. */
size_t resolver_bare_answer(
    const struct dns_query *q, const uint8_t *msg, unsigned rcode, bool truncated, uint8_t *out);

/* --- flights.c: questions at upstreams --- */

struct flights;
struct flight;

struct asker { /* where an answer goes */
    struct sockaddr_storage addr;
    struct ip_addr ip;
    uint16_t id;
    void *socket; /* UDP: the listening uv_udp_t; TCP: the connection */
    bool tcp;
};

/* msg/len NULL/0: no answer was had, the asker gets SERVFAIL. Called once a flight. */
typedef void (*flight_done_fn)(void *ctx, const struct asker *a, const struct dns_query *q,
    const uint8_t *query, const uint8_t *msg, size_t len, bool cut_off);

struct flights *resolver_flights_new(uv_loop_t *loop, uint16_t port, unsigned try_ms,
    struct metric_set *metrics, flight_done_fn done, void *ctx);
void resolver_flights_free(struct flights *f); /* ends all without calling done */
void resolver_flights_set_upstreams(struct flights *f, const struct ip_addr *v, size_t n);
/* False: none can be started now (no upstream, too many): nothing is called. A repetition of a
 * question that is under way is swallowed. */
bool resolver_flights_start(
    struct flights *f, const struct asker *a, const uint8_t *query, size_t len);
void resolver_flights_forget(struct flights *f, const void *socket); /* its askers have gone */

/* --- the whole --- */

struct resolver {
    struct resolver_options o;
    char *path;          /* of names.json */
    struct names *names; /* NULL before the first table */
    struct flights *flights;
    struct metric_set *metrics;
    unsigned rotate;
    struct udp_listener *udp;
    size_t n_udp;
    struct tcp_listener *tcp;
    size_t n_tcp;
    struct client *clients; /* list */
    size_t n_clients;
    bool saving, freed;
    char *unsaved; /* waits for the text that is being written */
    size_t users;  /* its owner, listeners, a write: the memory goes with the last */
};

/* resolver.c */
bool resolver_may_ask(const struct resolver *r, const struct ip_addr *a);
/* A question from a client: the answer in out[cap] now, or 0: later or never. */
size_t resolver_take(struct resolver *r, const struct asker *a, const uint8_t *msg, size_t len,
    uint8_t *out, size_t cap);
void resolver_handle_closed(struct resolver *r);

/* clients.c: connections. A listener works on a copy of its descriptor. */
MUST_CHECK int resolver_clients_listen(struct resolver *r, struct err *e);
void resolver_clients_close(struct resolver *r);
/* The answer to one of the questions that resolver_take() kept. */
void resolver_client_send(void *client, const uint8_t *msg, size_t len);
