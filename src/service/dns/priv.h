/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "service/dns/dns.h"

#include "domain/zone/zone.h"
#include "net/tcp/tcp.h"
#include "net/udp/udp.h"

#include <pthread.h>
#include <sys/stat.h>

#define DNS_ZONE_FILE_MAX (16u * 1024 * 1024)

/* What a geo tree was built from: the same again needs no building. */
struct geo_origin {
    struct geo_countries countries;
    struct zone_override *overrides;
    size_t n_overrides;
    dev_t dev; /* 0 with ino 0: no database */
    ino_t ino;
    off_t size;
    struct timespec changed;
};

struct built { /* a zone on its way to being served */
    struct dns_state *state;
    struct geo_origin origin;
    bool same_geo; /* the tree is that of the zone that is served */
};

struct answerer { /* of one thread */
    struct dns_service *service;
    struct dns_ctx ctx;
    uint64_t folded[ZONE_REGIONS_MAX]; /* of ctx.regions, already counted by name; under `lock` */
    bool tcp;
    struct udp_thread *udp;
};

struct report_item {
    struct dns_report report;
    struct report_item *next;
};

struct dns_service {
    struct dns_service_options o;
    char *state_dir, *geo;
    char nsid[64];
    struct dns_state *_Atomic state; /* RCU; written by whoever holds `lock` */

    pthread_t worker;
    pthread_mutex_t lock; /* everything below, and what is swapped in */
    pthread_cond_t wake;
    bool started, stopping;
    json_t *next_zone; /* waits for the worker */
    int next_geo_fd;
    json_t *health; /* the newest, as received */
    bool health_unsaved;
    struct geo_origin origin; /* of the tree that is served; the worker's own */
    struct report_item *reports, **reports_end;

    uv_async_t *async;
    struct answerer **answerers; /* n_udp of UDP, then one of TCP; each in memory of its own */
    size_t n_answerers;
    struct tcp_server *tcp;
    struct metric_set *gauges;
    struct region_count *region_counts;
    size_t n_region_counts;
};

/* build.c: compiles, reads the database, tests. *ret_warning is set when the database cannot be
 * read: then the zone is built without. The descriptor stays the caller's. */
MUST_CHECK int dns_build(struct dns_service *s, const json_t *snapshot, int geo_fd,
    struct built *ret, struct err *ret_warning, struct err *e);
void dns_built_free(struct built *b); /* frees what was not taken */

/* selftest.c: does the new state answer what it must? `old` (or NULL) is what is served. */
MUST_CHECK int dns_selftest(
    const struct dns_state *state, const struct dns_state *old, struct err *e);

/* metrics.c */
void dns_metrics_init(struct dns_service *s);
void dns_metrics_done(struct dns_service *s);
/* Under `lock`: counts of regions by index go to their names before the indices change. */
void dns_metrics_fold(struct dns_service *s);
