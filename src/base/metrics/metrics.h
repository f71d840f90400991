/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, gauges and histograms, printed as Prometheus text 0.0.4. A module declares its metrics
 * in one static table; each thread that updates them makes its own set of that table and is the
 * only writer of it, so an update is a plain add: no lock, no allocation, no shared cache line. A
 * scrape adds up the sets that have the same name and labels. Series that come and go (one per
 * probe target, per route) are sets with labels, freed with their subject.
 *
 *   enum { QUERIES, LATENCY };
 *   static const struct metric_def defs[] = {
 *       [QUERIES] = {"mcp_dns_queries_total", "Questions received.", METRIC_COUNTER},
 *       [LATENCY] = {"mcp_edge_request_seconds", "Time to the last byte.", METRIC_HISTOGRAM},
 *   };
 *   struct metric_set *s = metrics_set_new(metrics_process(), defs, ARRAY_SIZE(defs), NULL, 0);
 *   metric_add(s, QUERIES, 1);  metric_observe(s, LATENCY, elapsed_us);
 *
 * Thread: registry calls take a lock and may come from any thread; updates of a set come from one
 * thread. */
#pragma once

#include "base/str/str.h"

#include <stdatomic.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_def {
    const char *name; /* [a-zA-Z_:][a-zA-Z0-9_:]*, counters end in _total, units are base units
                         (seconds, bytes) */
    const char *help; /* one sentence; rows of one name repeat it */
    enum metric_kind kind;
    const char *labels; /* fixed labels of this row, written out: "rcode=\"refused\"", or NULL */
    double scale; /* printed = recorded x scale; 0: 1, for histograms 1e-6 (microseconds in, seconds
                     out) */
    uint64_t lo,
        hi; /* histogram: the range its printed buckets cover, as recorded; 0: 64 us .. 67 s */
};

struct metric_label {
    const char *name, *value;
};

struct metrics;

/* Fields are private; here so that updates are inlined. */
struct metric_set {
    _Atomic uint64_t *cells;    /* one a row: a count, a gauge's bits, a histogram's sum */
    _Atomic uint64_t **buckets; /* one a row, NULL but for histograms */
    const struct metric_def *defs;
    size_t n;
    char **labels; /* one a row: "a=\"1\",b=\"2\"" or "" */
    struct metrics *owner;
    struct metric_set *next;
};

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m); /* frees the sets that are left too */
/* The registry of this process, made at first use and never freed. */
struct metrics *metrics_process(void);

/* `defs` must outlive the set; labels are copied. A bad name is a bug and aborts. */
struct metric_set *metrics_set_new(struct metrics *m, const struct metric_def *defs, size_t n,
    const struct metric_label *labels, size_t n_labels);
void metrics_set_free(struct metric_set *s); /* NULL is fine; its series are gone with it */
/* `collect` runs before every metrics_format(), in its thread: for values that are read, not
 * counted. */
void metrics_on_collect(struct metrics *m, void (*collect)(void *ctx), void *ctx);

/* Families by name, series by labels, HELP and TYPE once each. Appends. */
void metrics_format(struct metrics *m, struct str *out);

/* The texts of several processes as one, each sample with label role="..." in front. Lines that are
 * not valid samples, or that carry a role already, are dropped: the text of a network-facing role
 * is not trusted. Over METRICS_TEXT_MAX a text is cut at its last whole line. */
#define METRICS_TEXT_MAX (4u * 1024 * 1024)
struct metrics_text {
    const char *role;
    const char *text;
    size_t len;
};
void metrics_merge(const struct metrics_text *texts, size_t n, struct str *out);

/* Log-linear: four buckets a power of two, so a quantile is exact to 25 %. Bucket i holds
 * (bound(i-1), bound(i)]. */
#define METRIC_BUCKETS 252
size_t metric_bucket_index(uint64_t value);
uint64_t metric_bucket_bound(size_t index); /* upper bound, inclusive */
/* The value that share q (0 .. 1) of the observations of this set does not exceed, as recorded; 0
 * when empty. */
uint64_t metric_quantile(const struct metric_set *s, size_t row, double q);

static inline uint64_t metric_cell_get(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

static inline void metric_cell_add(_Atomic uint64_t *c, uint64_t n)
{
    /* One writer: load and store, not a locked add. */
    atomic_store_explicit(c, metric_cell_get(c) + n, memory_order_relaxed);
}

static inline void metric_add(struct metric_set *s, size_t row, uint64_t n)
{
    metric_cell_add(&s->cells[row], n);
}

static inline void metric_set_value(struct metric_set *s, size_t row, double v)
{
    union {
        double d;
        uint64_t u;
    } bits = {.d = v};
    atomic_store_explicit(&s->cells[row], bits.u, memory_order_relaxed);
}

static inline void metric_observe(struct metric_set *s, size_t row, uint64_t value)
{
    metric_cell_add(&s->cells[row], value);
    metric_cell_add(&s->buckets[row][metric_bucket_index(value)], 1);
}

static inline uint64_t metric_get(const struct metric_set *s, size_t row)
{
    return metric_cell_get(&s->cells[row]);
}
