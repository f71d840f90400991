/* SPDX-License-Identifier: Apache-2.0 */
#include "service/traffic/priv.h"

#include "base/clock/clock.h"

#include <inttypes.h>
#include <string.h>

#define LOST_SHOWN 10000 /* a drill looks for each of them */

static void put_u64(json_t *o, const char *key, uint64_t v)
{
    json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void put_ms(json_t *o, const char *key, uint64_t us)
{
    json_object_set_new(o, key, json_integer((json_int_t)((us + 500) / 1000)));
}

static json_t *delays_json(const struct delays *d)
{
    json_t *o = json_object();
    json_object_set_new(o, "p50", json_real((double)delays_quantile(d, 0.5) / 1000));
    json_object_set_new(o, "p95", json_real((double)delays_quantile(d, 0.95) / 1000));
    json_object_set_new(o, "p99", json_real((double)delays_quantile(d, 0.99) / 1000));
    json_object_set_new(o, "max", json_real((double)d->max_us / 1000));
    return o;
}

static json_t *errors_json(const struct figures *f)
{
    static const char *const texts[] = {
#define X(name, text) text,
        TROUBLES(X)
#undef X
    };
    json_t *o = json_object();
    for (size_t i = 0; i < TROUBLE_COUNT; i++)
        if (f->troubles[i])
            put_u64(o, texts[i], f->troubles[i]);
    for (unsigned i = 0; i < STATUSES; i++) {
        char name[16];
        snprintf(name, sizeof name, "http_%u", i);
        if (f->statuses[i])
            put_u64(o, name, f->statuses[i]);
    }
    return o;
}

static uint64_t errors_sum(const struct figures *f)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < TROUBLE_COUNT; i++)
        sum += f->troubles[i];
    for (unsigned i = 0; i < STATUSES; i++)
        sum += f->statuses[i];
    return sum;
}

static void put_time(json_t *o, const char *key, const struct engine *e, uint64_t at_us)
{
    char text[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(e->wall_ms + ((int64_t)at_us - (int64_t)e->start_us) / 1000, text);
    json_object_set_new(o, key, json_string(text));
}

static void put_outage(
    json_t *o, const char *key, const char *at, const struct engine *e, const struct outage *outage)
{
    put_ms(o, key, outage->longest_us);
    if (outage->longest_us)
        put_time(o, at, e, outage->longest_since_us);
}

static json_t *reads_json(const struct engine *e, const struct figures *f)
{
    json_t *o = json_object();
    put_u64(o, "scheduled", f->reads_scheduled);
    put_u64(o, "answered", f->reads_answered);
    put_u64(o, "stale", f->reads_stale);
    put_u64(o, "failed", f->reads_failed);
    put_u64(o, "not_sent", f->reads_not_sent);
    json_object_set_new(o, "latency_ms", delays_json(&f->read_delays));
    return o;
}

/* What a country and all of them are told alike. */
static json_t *figures_json(const struct engine *e, const struct figures *f)
{
    json_t *o = json_object();
    put_u64(o, "scheduled", f->scheduled);
    put_u64(o, "sent", f->begun);
    put_u64(o, "acked", f->acked);
    put_u64(o, "acked_again", f->repeated);
    put_u64(o, "not_sent", f->not_sent);
    put_u64(o, "unanswered", f->unanswered);
    put_u64(o, "refused", f->refused);
    put_u64(o, "retries", f->retries);
    json_object_set_new(o, "errors", errors_json(f));
    put_outage(o, "write_outage_ms", "write_outage_at", e, &f->writes);
    put_outage(o, "read_outage_ms", "read_outage_at", e, &f->reads);
    json_object_set_new(o, "latency_ms", delays_json(&f->write_delays));
    if (e->config->reads > 0)
        json_object_set_new(o, "reads", reads_json(e, f));
    return o;
}

static void outage_add(struct outage *sum, const struct outage *o)
{
    if (o->longest_us > sum->longest_us)
        *sum = *o;
}

static void delays_sum(struct delays *sum, const struct delays *d)
{
    for (size_t i = 0; i < DELAYS_BUCKETS; i++)
        sum->buckets[i] += d->buckets[i];
    sum->n += d->n;
    sum->max_us = MAX(sum->max_us, d->max_us);
}

static void counts_add(uint64_t *sum, const uint64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += v[i];
}

static void figures_add(struct figures *sum, const struct figures *f)
{
    sum->scheduled += f->scheduled;
    sum->begun += f->begun;
    sum->acked += f->acked;
    sum->repeated += f->repeated;
    sum->not_sent += f->not_sent;
    sum->unanswered += f->unanswered;
    sum->refused += f->refused;
    sum->retries += f->retries;
    sum->reads_scheduled += f->reads_scheduled;
    sum->reads_answered += f->reads_answered;
    sum->reads_stale += f->reads_stale;
    sum->reads_failed += f->reads_failed;
    sum->reads_not_sent += f->reads_not_sent;
    counts_add(sum->troubles, f->troubles, TROUBLE_COUNT);
    counts_add(sum->statuses, f->statuses, STATUSES);
    outage_add(&sum->writes, &f->writes);
    outage_add(&sum->reads, &f->reads);
    delays_sum(&sum->write_delays, &f->write_delays);
    delays_sum(&sum->read_delays, &f->read_delays);
}

static const char *country_of(const struct buyer *b)
{
    return *b->who->country ? b->who->country : "here";
}

static void add_regions(json_t *o, const struct buyer *b)
{
    for (size_t i = 0; i < b->n_regions; i++)
        put_u64(o, b->regions[i].name,
            (uint64_t)json_opt_int(o, b->regions[i].name, 0) + b->regions[i].n);
}

/* Several buyers of a country: their sums, and the outage of the one that waited longest. */
static json_t *country_json(const struct engine *e, const char *country)
{
    _cleanup_free_ struct figures *sum = xcalloc(1, sizeof *sum);
    json_t *regions = json_object();
    for (size_t i = 0; i < e->n_buyers; i++)
        if (!strcmp(country_of(&e->buyers[i]), country)) {
            figures_add(sum, &e->buyers[i].f);
            add_regions(regions, &e->buyers[i]);
        }
    json_t *o = figures_json(e, sum);
    json_object_set_new(o, "regions", regions);
    return o;
}

static json_t *by_country(const struct engine *e)
{
    json_t *all = json_object();
    for (size_t i = 0; i < e->n_buyers; i++) {
        const char *country = country_of(&e->buyers[i]);
        if (!json_object_get(all, country))
            json_object_set_new(all, country, country_json(e, country));
    }
    return all;
}

static json_t *lost_keys(const struct book *b)
{
    json_t *keys = json_array();
    for (uint32_t i = 0; i < b->n && json_array_size(keys) < LOST_SHOWN; i++) {
        char key[LEDGER_KEY_SIZE];
        if (!(b->flags[i] & BOOK_ACKED) || (b->flags[i] & BOOK_PRESENT))
            continue;
        ledger_key(b->run, i, key);
        json_array_append_new(keys, json_string(key));
    }
    return keys;
}

json_t *report_comparison(struct engine *e)
{
    struct book_sums s;
    json_t *o = json_object();
    book_sum(&e->book, &s);
    json_object_set_new(o, "run", json_string(e->book.run));
    json_object_set_new(o, "ledger", json_string(e->path));
    json_object_set_new(o, "compared", json_boolean(e->compared));
    put_u64(o, "acked", s.acked);
    if (e->book.torn)
        json_object_set_new(o, "torn", json_true());
    if (!e->compared) {
        json_object_set_new(o, "present", json_null());
        json_object_set_new(o, "lost", json_null());
        json_object_set_new(o, "duplicated", json_null());
        json_object_set_new(o, "compare_error", json_string(e->compare_error.message));
        return o;
    }
    put_u64(o, "present", s.present);
    put_u64(o, "lost", s.lost);
    put_u64(o, "duplicated", s.duplicated);
    put_u64(o, "unacked_present", s.unacked_present);
    put_u64(o, "strangers", e->book.strangers);
    if (s.lost)
        json_object_set_new(o, "lost_keys", lost_keys(&e->book));
    return o;
}

json_t *report_all(struct engine *e)
{
    json_t *o = figures_json(e, &e->f), *comparison = report_comparison(e);
    put_u64(o, "acked_here", e->f.acked);
    json_object_update(o, comparison); /* its `acked` is the ledger's */
    json_decref(comparison);
    json_object_set_new(o, "name", json_string(e->config->name));
    json_object_set_new(o, "rate", json_real(e->config->rate));
    put_time(o, "started", e, e->start_us);
    put_ms(o, "elapsed_ms", MIN(e->end_us, e->now_us) - e->start_us);
    json_object_set_new(o, "interrupted", json_boolean(e->interrupted));
    json_object_set_new(o, "by_country", by_country(e));
    return o;
}

static void add_second(json_t *o, const struct engine *e, const struct buyer *b)
{
    uint64_t writes = (outage_open_us(&b->f.writes, e->now_us) + 500) / 1000,
             reads = (outage_open_us(&b->f.reads, e->now_us) + 500) / 1000;
    put_u64(o, "acked", (uint64_t)json_opt_int(o, "acked", 0) + b->f.acked);
    put_u64(o, "errors", (uint64_t)json_opt_int(o, "errors", 0) + errors_sum(&b->f));
    put_u64(o, "write_gap_ms", MAX((uint64_t)json_opt_int(o, "write_gap_ms", 0), writes));
    put_u64(o, "read_gap_ms", MAX((uint64_t)json_opt_int(o, "read_gap_ms", 0), reads));
    if (b->region)
        json_object_set_new(o, "region", json_string(b->region));
}

static json_t *seconds_by_country(const struct engine *e)
{
    json_t *all = json_object();
    for (size_t i = 0; i < e->n_buyers; i++) {
        const char *country = country_of(&e->buyers[i]);
        if (!json_object_get(all, country))
            json_object_set_new(all, country, json_object());
        add_second(json_object_get(all, country), e, &e->buyers[i]);
    }
    return all;
}

json_t *report_second(struct engine *e)
{
    static const char *const phases[] = {"run", "drain", "compare", "end"};
    json_t *o = json_object();
    json_object_set_new(o, "phase", json_string(phases[e->phase]));
    put_time(o, "time", e, e->now_us);
    put_ms(o, "elapsed_ms", e->now_us - e->start_us);
    put_u64(o, "scheduled", e->f.scheduled);
    put_u64(o, "acked", e->f.acked);
    put_u64(o, "acked_now", e->f.acked - e->acked_before);
    put_u64(o, "errors", errors_sum(&e->f));
    put_u64(o, "in_flight", e->in_flight);
    put_u64(o, "not_sent", e->f.not_sent);
    put_ms(o, "write_gap_ms", outage_open_us(&e->f.writes, e->now_us));
    put_ms(o, "read_gap_ms", outage_open_us(&e->f.reads, e->now_us));
    json_object_set_new(o, "by_country", seconds_by_country(e));
    e->acked_before = e->f.acked;
    return o;
}
