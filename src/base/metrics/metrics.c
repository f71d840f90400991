/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics/metrics.h"

#include "base/metrics/priv.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>

#define CACHE_LINE 64
#define LATENCY_SCALE 1e-6
#define LATENCY_LO 64u        /* 64 us: below it nothing here is worth telling apart */
#define LATENCY_HI (1u << 26) /* 67 s: longer than any timeout here */

struct collector {
    void (*fn)(void *ctx);
    void *ctx;
};

struct metrics {
    pthread_mutex_t lock; /* of the lists; updates never take it */
    struct metric_set *sets;
    struct collector *collectors;
    size_t n_collectors, cap_collectors;
};

struct metrics *metrics_new(void)
{
    struct metrics *m = xcalloc(1, sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    while (m->sets)
        metrics_set_free(m->sets);
    pthread_mutex_destroy(&m->lock);
    free(m->collectors);
    free(m);
}

static struct metrics *process_registry;

static void make_process_registry(void)
{
    process_registry = metrics_new();
}

struct metrics *metrics_process(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_process_registry);
    return process_registry;
}

/* The log-linear scale: values 1..4 have a bucket each, from there on four a power of two. v - 1 is
 * what is split up, so that an upper bound belongs to its bucket, as Prometheus' `le` wants it. */
size_t metric_bucket_index(uint64_t value)
{
    uint64_t v = value ? value - 1 : 0;
    if (v < 4)
        return (size_t)v;
    unsigned power = 63u - (unsigned)__builtin_clzll(v);
    return (power - 1) * 4 + ((v >> (power - 2)) & 3);
}

uint64_t metric_bucket_bound(size_t index)
{
    if (index < 4)
        return index + 1;
    unsigned power = (unsigned)(index / 4) + 1;
    uint64_t step = 1ull << (power - 2);
    uint64_t low = (4 + index % 4) * step;
    return low + step < low ? UINT64_MAX : low + step;
}

static void add_labels(
    struct str *out, const char *fixed, const struct metric_label *labels, size_t n)
{
    if (fixed)
        str_add(out, fixed);
    for (size_t i = 0; i < n; i++) {
        ASSERT(metrics_label_name_ok(labels[i].name, strlen(labels[i].name)));
        str_addf(out, "%s%s=\"", out->len ? "," : "", labels[i].name);
        metrics_escape(out, labels[i].value, true);
        str_add_ch(out, '"');
    }
}

static _Atomic uint64_t *cells_new(size_t n)
{
    size_t size = (n * sizeof(uint64_t) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    void *p = aligned_alloc(CACHE_LINE, size ? size : CACHE_LINE);
    ASSERT(p);
    memset(p, 0, size);
    return p;
}

struct metric_set *metrics_set_new(struct metrics *m, const struct metric_def *defs, size_t n,
    const struct metric_label *labels, size_t n_labels)
{
    struct metric_set *s = xcalloc(1, sizeof *s);
    *s = (struct metric_set){.defs = defs, .n = n, .owner = m, .cells = cells_new(n)};
    s->buckets = xcalloc(n + 1, sizeof *s->buckets);
    s->labels = xcalloc(n + 1, sizeof *s->labels);
    for (size_t i = 0; i < n; i++) {
        ASSERT(metrics_name_ok(defs[i].name, strlen(defs[i].name)));
        struct str text = STR_INIT;
        add_labels(&text, defs[i].labels, labels, n_labels);
        s->labels[i] = str_steal(&text);
        if (defs[i].kind == METRIC_HISTOGRAM)
            s->buckets[i] = cells_new(METRIC_BUCKETS);
    }
    pthread_mutex_lock(&m->lock);
    s->next = m->sets;
    m->sets = s;
    pthread_mutex_unlock(&m->lock);
    return s;
}

void metrics_set_free(struct metric_set *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->owner->lock);
    for (struct metric_set **p = &s->owner->sets; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            break;
        }
    pthread_mutex_unlock(&s->owner->lock);
    for (size_t i = 0; i < s->n; i++) {
        free(s->labels[i]);
        free((void *)s->buckets[i]);
    }
    free(s->labels);
    free((void *)s->buckets);
    free((void *)s->cells);
    free(s);
}

void metrics_on_collect(struct metrics *m, void (*collect)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&m->lock);
    struct collector *c = GROW(m->collectors, m->n_collectors, m->cap_collectors);
    *c = (struct collector){collect, ctx};
    pthread_mutex_unlock(&m->lock);
}

uint64_t metric_quantile(const struct metric_set *s, size_t row, double q)
{
    uint64_t counts[METRIC_BUCKETS], total = 0;
    for (size_t i = 0; i < METRIC_BUCKETS; i++)
        total += counts[i] = metric_cell_get(&s->buckets[row][i]);
    if (!total)
        return 0;
    uint64_t rank = (uint64_t)(q * (double)total), seen = 0;
    rank += (double)rank < q * (double)total;
    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        seen += counts[i];
        if (counts[i] && seen >= MAX(rank, 1u))
            return metric_bucket_bound(i);
    }
    return metric_bucket_bound(METRIC_BUCKETS - 1);
}

/* One row of one set, as a scrape sees it. */
struct series {
    const struct metric_def *def;
    const struct metric_set *set;
    size_t row;
};

static int compare_series(const void *a, const void *b)
{
    const struct series *x = a, *y = b;
    int r = strcmp(x->def->name, y->def->name);
    return r ? r : strcmp(x->set->labels[x->row], y->set->labels[y->row]);
}

static void add_number(struct str *out, double v)
{
    if (isnan(v) || isinf(v)) {
        str_add(out, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    char text[40];
    snprintf(text, sizeof text, "%.15g", v);
    if (strtod(text, NULL) != v)
        snprintf(text, sizeof text, "%.17g", v);
    str_add(out, text);
}

static void add_sample(struct str *out, const char *name, const char *suffix, const char *labels)
{
    str_addf(out, "%s%s", name, suffix);
    if (*labels)
        str_addf(out, "{%s}", labels);
    str_add_ch(out, ' ');
}

static double scale_of(const struct metric_def *d)
{
    return d->scale != 0 ? d->scale : d->kind == METRIC_HISTOGRAM ? LATENCY_SCALE : 1;
}

/* Cumulative buckets at the powers of two within the range: the finer ones serve metric_quantile().
 */
static void format_histogram(struct str *out, const struct series *s, size_t n)
{
    const struct metric_def *d = s->def;
    uint64_t counts[METRIC_BUCKETS] = {0}, sum = 0, total = 0;
    for (size_t k = 0; k < n; k++) {
        sum += metric_get(s[k].set, s[k].row);
        for (size_t i = 0; i < METRIC_BUCKETS; i++)
            counts[i] += metric_cell_get(&s[k].set->buckets[s[k].row][i]);
    }
    const char *labels = s->set->labels[s->row];
    uint64_t lo = d->lo ? d->lo : LATENCY_LO, hi = d->hi ? d->hi : LATENCY_HI;
    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        total += counts[i];
        uint64_t bound = metric_bucket_bound(i);
        if ((bound & (bound - 1)) != 0 || bound < lo || bound > hi)
            continue;
        str_addf(out, "%s_bucket{%s%sle=\"", d->name, labels, *labels ? "," : "");
        add_number(out, (double)bound * scale_of(d));
        str_addf(out, "\"} %" PRIu64 "\n", total);
    }
    str_addf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", d->name, labels, *labels ? "," : "",
        total);
    add_sample(out, d->name, "_sum", labels);
    add_number(out, (double)sum * scale_of(d));
    str_add_ch(out, '\n');
    add_sample(out, d->name, "_count", labels);
    str_addf(out, "%" PRIu64 "\n", total);
}

static double gauge_value(const struct series *s)
{
    union {
        uint64_t u;
        double d;
    } bits = {.u = metric_get(s->set, s->row)};
    return bits.d;
}

/* `n` series of one name and one set of labels. */
static void format_one(struct str *out, const struct series *s, size_t n)
{
    const struct metric_def *d = s->def;
    if (d->kind == METRIC_HISTOGRAM) {
        format_histogram(out, s, n);
        return;
    }
    add_sample(out, d->name, "", s->set->labels[s->row]);
    uint64_t count = 0;
    double gauge = 0;
    for (size_t k = 0; k < n; k++) {
        if (d->kind == METRIC_GAUGE)
            gauge += gauge_value(&s[k]);
        else
            count += metric_get(s[k].set, s[k].row);
    }
    if (d->kind == METRIC_COUNTER && scale_of(d) == 1) /* exact beyond 2^53 */
        str_addf(out, "%" PRIu64, count);
    else
        add_number(out, (d->kind == METRIC_GAUGE ? gauge : (double)count) * scale_of(d));
    str_add_ch(out, '\n');
}

static size_t collect_series(struct metrics *m, struct series **ret)
{
    struct series *v = NULL;
    size_t n = 0, cap = 0;
    for (const struct metric_set *s = m->sets; s; s = s->next)
        for (size_t i = 0; i < s->n; i++) {
            struct series *slot = GROW(v, n, cap);
            *slot = (struct series){&s->defs[i], s, i};
        }
    if (n)
        qsort(v, n, sizeof *v, compare_series);
    *ret = v;
    return n;
}

void metrics_format(struct metrics *m, struct str *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (size_t i = 0; i < m->n_collectors; i++)
        m->collectors[i].fn(m->collectors[i].ctx);
    pthread_mutex_lock(&m->lock);
    _cleanup_free_ struct series *v = NULL;
    size_t n = collect_series(m, &v);
    for (size_t i = 0, same; i < n; i += same) {
        if (i == 0 || strcmp(v[i].def->name, v[i - 1].def->name) != 0) {
            str_addf(out, "# HELP %s ", v[i].def->name);
            metrics_escape(out, v[i].def->help, false);
            str_addf(out, "\n# TYPE %s %s\n", v[i].def->name, kinds[v[i].def->kind]);
        }
        for (same = 1; i + same < n && compare_series(&v[i], &v[i + same]) == 0;)
            same++;
        format_one(out, &v[i], same);
    }
    pthread_mutex_unlock(&m->lock);
}
