/* SPDX-License-Identifier: Apache-2.0 */
/* The authoritative name server of a host: threads that answer over UDP and TCP, and one worker
 * that builds what they answer from. A new zone is compiled, its geo tree built, both tested
 * against themselves, swapped in whole by RCU and kept on disk: no query sees half of it and none
 * is lost. A zone that does not stand the test is refused and the old one serves on. What
 * steering decides arrives as health messages and is stored into the zone that is served; it is
 * kept on disk too, so that a restart answers what was decided, without control.
 *
 * All calls come from the loop's thread. Reports come on it. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#include <uv.h>

#define DNS_SERVICE_SOCKETS_MAX 256

enum dns_report_kind {
    DNS_REPORT_SERVING, /* revision and figures are set */
    DNS_REPORT_REFUSED, /* the zone of revision (0: unreadable) is not served; `error` says why */
    DNS_REPORT_WARNING, /* something is worse than it should be, but served: `error` says what */
};

struct dns_report {
    enum dns_report_kind kind;
    uint64_t revision;
    size_t names, geo_nodes, bytes; /* steered names; of tree; of zone and tree */
    uint64_t took_ms;
    bool from_disk; /* what an earlier life of the role served */
    struct err error;
};

struct dns_service_socket {
    int fd;  /* stays the caller's */
    int cpu; /* UDP: pinned there; -1: not */
};

struct dns_service_options {
    uv_loop_t *loop;
    const struct dns_service_socket *udp; /* a thread each */
    size_t n_udp;
    const int *tcp; /* listening, one thread for all */
    size_t n_tcp;
    const char *state_dir; /* zone.json and health.json */
    const char
        *geo; /* path of a country database for zones that come without a descriptor; or NULL */
    const char *host; /* told to clients that ask for NSID */
    void (*report)(void *ctx, const struct dns_report *r);
    void *ctx;
};

struct dns_service;

/* Serves what is on disk before it returns; until there is a zone every query is answered SERVFAIL.
 */
MUST_CHECK int dns_service_new(
    const struct dns_service_options *o, struct dns_service **ret, struct err *e);
/* Stops answering, waits for the threads. NULL is fine. */
void dns_service_free(struct dns_service *s);
/* A zone snapshot (domain/zone/zone.h), borrowed, and the country database to read with it (-1:
 * none), taken. Of several that come while one is built the newest counts. */
void dns_service_zone(struct dns_service *s, json_t *snapshot, int geo_fd);
/* Takes effect at once when it is of the zone that is served, with its zone when that is still to
 * come. Returns ERR_INVALID for one that fits neither form nor zone. */
MUST_CHECK int dns_service_health(struct dns_service *s, json_t *health, struct err *e);
uint64_t dns_service_revision(struct dns_service *s);             /* that is served; 0: none */
void dns_service_metrics(struct dns_service *s, struct str *out); /* of the whole process */
