/* SPDX-License-Identifier: Apache-2.0 */
/* A client that places orders as buyers of several countries do, and proves afterwards what became
 * of them. Open loop: an order is due at its instant whatever the others are doing; what cannot be
 * sent within TRAFFIC_SEND_MS is counted, never caught up with. An order that got no answer is sent
 * again with the same key until its patience is over.
 *
 * Names: each buyer asks the platform's name servers from its own address and keeps an answer for
 * exactly its life; an order needs a living answer, and a kept connection to an address in it.
 *
 * Ledger: every order stands in a file before its first byte is sent, and its acknowledgement before
 * it is counted. At the end the ledger, read again from the disk, is compared with the database
 * (GET PATH/export?prefix=RUN-): acknowledged, present, lost, duplicated.
 *
 * Outage: the longest time from an instant at which an order was due to the next success of any
 * order (of the country, or of all); the same for reads, where 404 is a success too: a replica that
 * lags has answered.
 *
 * One thread and one more for fsync; blocks until the end. SIGPIPE must be ignored. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/json/json.h"

#define TRAFFIC_NAMESERVERS_MAX 16
#define TRAFFIC_BUYERS_MAX 256
#define TRAFFIC_SEND_MS 1000
#define TRAFFIC_RATE_MAX 100000
#define TRAFFIC_CONNECTIONS_MAX 4096
#define TRAFFIC_IN_FLIGHT_MAX 100000

struct traffic_buyer {
    char country[3];        /* "KR"; "" where there is no lab */
    struct ip_addr address; /* family 0: whatever this machine uses */
};

struct traffic_config {
    const char *name; /* of the api: asked of the name servers, verified in its certificate */
    uint16_t port;
    const char *path; /* "/v1/orders" */
    struct ip_addr nameservers[TRAFFIC_NAMESERVERS_MAX];
    size_t n_nameservers;
    struct traffic_buyer buyers[TRAFFIC_BUYERS_MAX];
    size_t n_buyers;
    const char *ca_pem;   /* NULL: what this machine trusts */
    double rate;          /* orders a second, of all buyers together */
    double reads;         /* reads of an earlier order, for each order */
    uint64_t duration_ms; /* 0: until stopped */
    uint64_t patience_ms; /* how long an order is tried, and the comparison */
    unsigned connections; /* of all buyers together */
    unsigned in_flight;   /* orders sent and not answered; more are not begun */
    const char *ledger;   /* NULL: ./traffic-RUN.ledger */
    int stop_fd; /* readable: stop placing orders, then compare; again: give up. -1: none */
    void (*progress)(void *ctx, const json_t *second); /* once a second; may be NULL */
    /* Each acknowledgement and each answer of a name server, times as clock_boot_ms():
     *   {"event": "ack", "at_ms", "sent_ms": its last attempt, "due_ms", "client", "country",
     *    "region": that took it, "seq"}
     *   {"event": "answer", "at_ms", "until_ms": end of its life, "client", "country",
     *    "addresses": []}
     * `client` counts the buyers from 0. May be NULL. */
    void (*event)(void *ctx, const json_t *event);
    void *ctx;
};

/* The report, also when orders were lost: that is for the caller to judge. On an error after orders
 * were placed the report says what is known, and *ret is set. */
MUST_CHECK int traffic_run(const struct traffic_config *c, json_t **ret, struct err *e);
/* Only the comparison of a ledger that is there. */
MUST_CHECK int traffic_compare(const struct traffic_config *c, json_t **ret, struct err *e);
