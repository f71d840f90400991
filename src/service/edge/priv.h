/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of service/edge: who owns what of a snapshot. */
#pragma once

#include "service/edge/edge.h"

#include "base/metrics/metrics.h"
#include "domain/route/route.h"
#include "service/cache/cache.h"
#include "service/edge/log.h"

#include <stdatomic.h>

/* Figures of one name or module, kept as long as a snapshot has it; one set a thread. Main thread owns,
 * threads write. */
struct name_stats {
    struct name_stats *next;
    char *name;
    unsigned refs; /* snapshots that have it */
    struct metric_set **sets;
};

struct edge_name { /* parallel to route_snapshot.names */
    struct name_stats *stats;
    char *health; /* the answer of /healthz */
    size_t health_len;
    bool ready;
};

struct edge_snapshot {
    /* publisher and threads; not requests, those count in their thread's view */
    _Atomic unsigned refs;
    struct edge_snapshot *next; /* garbage */
    struct route_snapshot *routes;
    struct edge_name *names;
    struct http_target **targets; /* parallel to route_snapshot.modules: the ready instances */
    struct name_stats **modules;  /* the same: their figures */
    SSL_CTX **certificates;       /* parallel to route_snapshot.certificates */
};

struct edge_view { /* a snapshot as one thread uses it */
    struct edge_snapshot *s;
    unsigned requests;
};

/* A question to every thread: how many of its requests are on their way to what has left? A thread
 * answers once, with the snapshot that was in force when it was asked, or a newer one. */
struct edge_check {
    size_t n;
    _Atomic unsigned waiting; /* threads that have not answered; the last thing they touch */
    struct edge_leaver {
        struct http_target target;
        _Atomic unsigned busy;
    } v[];
};

struct edge_wait;
struct edge_scratch;
struct edge_cached;

struct edge_thread {
    struct edge *edge;
    unsigned answered; /* the last question: edge->question */
    unsigned index;
    struct edge_view *view; /* the newest; NULL: none yet */
    struct metric_set *unnamed;
    struct metric_set *cache_counts;
    struct edge_scratch *scratch; /* of the cache */
    struct edge_wait *spare_wait;
    _Atomic(struct edge_wait *) woken; /* pushed by any thread */
};

struct edge {
    struct edge_config config;
    unsigned threads;
    char *routes_path;
    char warning[512];
    _Atomic(struct edge_snapshot *) current;
    _Atomic(struct edge_snapshot *) garbage; /* pushed by threads, freed by the main thread */
    json_t *doc;                             /* of current, endpoints included */
    _Atomic unsigned question;               /* its number; changes after `check` was set */
    struct edge_check *check; /* until every thread has answered; NULL: nothing is asked */
    struct http_target *left; /* not known to be free of requests yet */
    size_t n_left, cap_left;
    bool asked_before;                  /* the check on its way is about an older snapshot */
    struct name_stats *stats, *modules; /* by name; by module of a route */
    struct access_log *log;
    struct cache_tier *cache; /* NULL: none */
    struct cache_policy cache_policy;
    struct metric_set **cache_counts; /* one set a thread */
    struct metric_set *cache_own;     /* written while metrics are collected */
    struct http_server *server;
    struct metric_set *own;      /* written while metrics are collected */
    struct metric_set **unnamed; /* requests without a known name, one set a thread */
};

/* snapshot.c */
MUST_CHECK int edge_snapshot_new(struct edge *edge, const json_t *doc, const json_t *endpoints,
    struct edge_snapshot **ret, struct err *e);
void edge_snapshot_publish(struct edge *edge, struct edge_snapshot *s);
void edge_snapshot_unref(struct edge *edge, struct edge_snapshot *s); /* any thread */
void edge_garbage_collect(struct edge *edge);

/* leave.c */
void edge_left(struct edge *edge, const json_t *before, const json_t *now); /* endpoints */
void edge_leave_answer(struct edge_thread *t, unsigned question);           /* HOT PATH */
void edge_leave_done(struct edge *edge);

/* view.c: the callbacks of net/http */
extern const struct http_app edge_app;

/* filters.c */
struct edge_request { /* what filters know and find out; lives with the transaction */
    struct edge_view *view;
    const struct edge_name *name; /* NULL: unknown */
    const struct route_name *route_name;
    const struct route_rule *rule;
    struct edge_thread *thread;
    struct edge_cached *cached; /* NULL: the cache has no part in it */
    bool quiet;                 /* a probe that was answered well: not logged, not counted */
};
void edge_filter(struct http_tx *tx, struct edge_request *r);
void edge_filter_forward(struct http_tx *tx, struct edge_request *r); /* the last one alone */
/* The targets of a request that was forwarded before, from r's view; false: that has none. */
bool edge_filter_again(struct http_tx *tx, struct edge_request *r);

/* metrics.c */
struct metric_set **edge_metrics_sets(struct edge *edge, const char *name);
struct metric_set **edge_metrics_modules(struct edge *edge, const char *module);
void edge_metrics_sets_free(struct edge *edge, struct metric_set **sets);
void edge_metrics_count(struct metric_set *set, const struct http_tx *tx);
void edge_metrics_count_module(struct metric_set *set, const struct http_tx *tx);
void edge_metrics_open(struct edge *edge);
void edge_metrics_close(struct edge *edge);
