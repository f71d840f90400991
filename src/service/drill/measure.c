/* SPDX-License-Identifier: Apache-2.0 */
#include "service/drill/measure.h"

#include "base/str/str.h"
#include "base/util/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERIES_MAX 7200 /* seconds */
#define CHANGES_MAX 2000

struct client {
    bool known;
    char country[8];
    bool answered, living; /* has an answer; it names a living region */
    uint64_t until_ms;
    bool cached; /* at the injection */
    uint64_t left_ms;
    uint64_t again_ms, again_until_ms; /* its last answer after the injection that names what is lost */
    uint64_t back_ms; /* 0: not yet */
    uint64_t last_sent_ms; /* of acknowledged orders */
    char region[64];
};

struct server {
    char host[64];
    bool answers, read_only;
    uint64_t id, at_ms, own; /* own: number of its newest own transaction */
    uint64_t wrote_from_ms, wrote_to_ms;
};

struct ack {
    uint32_t seq;
    uint64_t at_ms;
};

struct measure {
    const json_t *regions, *lost;
    struct client clients[MEASURE_CLIENTS_MAX];
    size_t n_clients; /* the highest one, and one */
    struct server servers[MEASURE_SERVERS_MAX];
    size_t n_servers;
    uint64_t begin_ms, whole_ms, first_ms, start_ms;
    bool two_writers, late_loss;
    char writers[160];
    struct ack *acks;
    size_t n_acks, cap_acks;
    json_t *changes; /* of servers */
    json_t *series;  /* {CC: [n]} */
};

struct measure *measure_new(const json_t *regions, const json_t *lost)
{
    struct measure *m = xcalloc(1, sizeof *m);
    m->regions = regions;
    m->lost = lost;
    m->changes = json_array();
    m->series = json_object();
    return m;
}

void measure_free(struct measure *m)
{
    if (!m)
        return;
    json_decref(m->changes);
    json_decref(m->series);
    free(m->acks);
    free(m);
}

/* ---- clients */

static bool is_lost(const struct measure *m, const char *region)
{
    size_t i;
    json_t *name;
    json_array_foreach (m->lost, i, name)
        if (str_eq(json_string_value(name), region))
            return true;
    return false;
}

static bool lives_at(const struct measure *m, const char *address)
{
    const char *region;
    json_t *list, *a;
    size_t i;
    json_object_foreach ((json_t *)(uintptr_t)m->regions, region, list)
        json_array_foreach (list, i, a)
            if (str_eq(json_string_value(a), address))
                return !is_lost(m, region);
    return false;
}

static struct client *client_of(struct measure *m, const json_t *event)
{
    int64_t at = json_opt_int(event, "client", -1);
    if (at < 0 || at >= MEASURE_CLIENTS_MAX)
        return NULL;
    struct client *c = &m->clients[at];
    m->n_clients = MAX(m->n_clients, (size_t)at + 1);
    c->known = true;
    if (!*c->country && !str_copy(c->country, sizeof c->country, json_opt_str(event, "country", "")))
        c->country[0] = '\0';
    return c;
}

static void on_answer(struct measure *m, const json_t *event)
{
    struct client *c = client_of(m, event);
    size_t i;
    json_t *address;
    if (!c)
        return;
    c->answered = true;
    c->living = false;
    c->until_ms = (uint64_t)json_opt_int(event, "until_ms", 0);
    json_array_foreach (json_object_get(event, "addresses"), i, address)
        c->living |= lives_at(m, json_string_value(address));
    if (m->whole_ms && !c->living && !c->back_ms && json_array_size(m->lost)) {
        c->again_ms = (uint64_t)json_opt_int(event, "at_ms", 0);
        c->again_until_ms = c->until_ms;
    }
}

static void count(struct measure *m, const char *country, uint64_t at_ms)
{
    if (!m->start_ms)
        m->start_ms = at_ms;
    json_t *list = json_object_get(m->series, country);
    if (!list) {
        list = json_array();
        json_object_set_new(m->series, country, list);
    }
    size_t at = (size_t)((at_ms - MIN(at_ms, m->start_ms)) / 1000);
    if (at >= SERIES_MAX)
        return;
    while (json_array_size(list) <= at)
        json_array_append_new(list, json_integer(0));
    json_array_set_new(
        list, at, json_integer(json_integer_value(json_array_get(list, at)) + 1));
}

static void on_ack(struct measure *m, const json_t *event)
{
    struct client *c = client_of(m, event);
    uint64_t at_ms = (uint64_t)json_opt_int(event, "at_ms", 0),
             sent_ms = (uint64_t)json_opt_int(event, "sent_ms", 0);
    if (!c)
        return;
    count(m, c->country, at_ms);
    if (m->n_acks < MEASURE_ACKS_MAX) {
        struct ack *a = GROW(m->acks, m->n_acks, m->cap_acks);
        *a = (struct ack){(uint32_t)json_opt_int(event, "seq", 0), at_ms};
    }
    c->last_sent_ms = MAX(c->last_sent_ms, sent_ms);
    if (!m->whole_ms || sent_ms < m->whole_ms)
        return;
    if (!m->first_ms && c->living)
        m->first_ms = at_ms;
    if (c->back_ms)
        return;
    c->back_ms = at_ms;
    if (!str_copy(c->region, sizeof c->region, json_opt_str(event, "region", "")))
        c->region[0] = '\0';
}

void measure_injected(struct measure *m, uint64_t begin_ms, uint64_t whole_ms)
{
    m->begin_ms = begin_ms;
    m->whole_ms = MAX(whole_ms, 1);
    for (size_t i = 0; i < m->n_clients; i++) {
        struct client *c = &m->clients[i];
        bool lives = c->answered && c->until_ms > begin_ms;
        c->cached = lives && !c->living;
        c->left_ms = lives ? c->until_ms - begin_ms : 0;
    }
}

/* ---- servers */

/* The number of the newest transaction in "1-1-42,2-2-7" that server `id` made itself; 0: none. */
static uint64_t own_number(const char *gtid, uint64_t id)
{
    uint64_t most = 0;
    for (const char *p = gtid; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        unsigned long long domain, server, number;
        if (sscanf(p, "%llu-%llu-%llu", &domain, &server, &number) == 3 && server == id)
            most = MAX(most, number);
    }
    return most;
}

uint64_t measure_missing(const char *from_gtid, const char *to_gtid)
{
    uint64_t sum = 0;
    for (const char *p = from_gtid; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        for (const char *q = to_gtid; q && *q; q = strchr(q, ',') ? strchr(q, ',') + 1 : NULL) {
            unsigned long long domain, server, last, other, reached;
            if (sscanf(p, "%llu-%llu-%llu", &domain, &server, &last) == 3
                && sscanf(q, "%llu-%llu-%llu", &other, &server, &reached) == 3 && domain == other
                && last > reached)
                sum += last - reached;
        }
    return sum;
}

static struct server *server_of(struct measure *m, const char *host)
{
    for (size_t i = 0; i < m->n_servers; i++)
        if (str_eq(m->servers[i].host, host))
            return &m->servers[i];
    if (m->n_servers == MEASURE_SERVERS_MAX)
        return NULL;
    struct server *s = &m->servers[m->n_servers];
    if (!str_copy(s->host, sizeof s->host, host))
        return NULL;
    m->n_servers++;
    return s;
}

static void look_for_two(struct measure *m, const struct server *s)
{
    for (size_t i = 0; i < m->n_servers; i++) {
        const struct server *o = &m->servers[i];
        if (o == s || !o->wrote_to_ms || o->wrote_to_ms <= s->wrote_from_ms
            || o->wrote_from_ms >= s->wrote_to_ms)
            continue;
        m->two_writers = true;
        snprintf(m->writers, sizeof m->writers, "%s and %s", o->host, s->host);
    }
}

static void note_change(struct measure *m, const struct server *s)
{
    if (json_array_size(m->changes) < CHANGES_MAX)
        json_array_append_new(m->changes,
            json_pack("{s:I,s:s,s:b,s:b,s:I}", "at_ms", (json_int_t)s->at_ms, "host", s->host,
                "answers", s->answers, "read_only", s->read_only, "own", (json_int_t)s->own));
}

static void on_server(struct measure *m, const json_t *event)
{
    struct server *s = server_of(m, json_opt_str(event, "host", "?"));
    const char *gtid = json_opt_str(event, "gtid", NULL);
    if (!s)
        return;
    struct server was = *s;
    s->answers = gtid != NULL;
    s->at_ms = (uint64_t)json_opt_int(event, "at_ms", 0);
    if (gtid) {
        s->id = (uint64_t)json_opt_int(event, "server_id", 0);
        s->read_only = json_opt_bool(event, "read_only", false);
        s->own = own_number(gtid, s->id);
    }
    bool grew = was.answers && gtid && !was.read_only && s->own > was.own && s->id == was.id
                && s->at_ms - was.at_ms < MEASURE_LOOK_MS;
    if (grew) {
        s->wrote_from_ms = was.at_ms;
        s->wrote_to_ms = s->at_ms;
        look_for_two(m, s);
    }
    if (!was.at_ms || was.answers != s->answers || was.read_only != s->read_only)
        note_change(m, s);
}

/* ---- both */

void measure_event(struct measure *m, const json_t *event)
{
    const char *kind = json_opt_str(event, "event", "");
    if (str_eq(kind, "ack"))
        on_ack(m, event);
    else if (str_eq(kind, "answer"))
        on_answer(m, event);
    else if (str_eq(kind, "server"))
        on_server(m, event);
}

size_t measure_clients(const struct measure *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_clients; i++)
        n += m->clients[i].known;
    return n;
}

size_t measure_clients_since(const struct measure *m, uint64_t sent_ms)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_clients; i++)
        n += m->clients[i].last_sent_ms && m->clients[i].last_sent_ms >= sent_ms;
    return n;
}

size_t measure_back(const struct measure *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_clients; i++)
        n += m->clients[i].back_ms != 0;
    return n;
}

uint64_t measure_first_ms(const struct measure *m)
{
    return m->first_ms;
}

bool measure_two_writers(const struct measure *m)
{
    return m->two_writers || m->late_loss;
}

void measure_lost(struct measure *m, uint64_t seq)
{
    for (size_t i = 0; i < m->n_acks && m->first_ms; i++)
        if (m->acks[i].seq == seq && m->acks[i].at_ms > m->first_ms)
            m->late_loss = true;
}

/* ---- figures */

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Nearest rank: the value that share q of them does not exceed. */
static json_t *rank(const uint64_t *v, size_t n, unsigned percent)
{
    return n ? json_integer((json_int_t)v[MIN((n * percent + 99) / 100, n) - 1]) : json_null();
}

static json_t *quantiles(uint64_t *v, size_t n)
{
    qsort(v, n, sizeof *v, compare_u64);
    return json_pack("{s:I,s:o,s:o,s:o}", "n", (json_int_t)n, "p50", rank(v, n, 50), "p95",
        rank(v, n, 95), "max", rank(v, n, 100));
}

enum which { ALL, CACHED, OTHERS };

static bool is_one(const struct client *c, enum which which)
{
    return which == ALL || c->cached == (which == CACHED);
}

/* country NULL: of all. */
static json_t *times_of(const struct measure *m, const char *country, enum which which)
{
    uint64_t *v = xcalloc(m->n_clients + 1, sizeof *v);
    size_t n = 0;
    for (size_t i = 0; i < m->n_clients; i++) {
        const struct client *c = &m->clients[i];
        if (c->back_ms && (!country || str_eq(c->country, country)) && is_one(c, which))
            v[n++] = c->back_ms - m->begin_ms;
    }
    json_t *o = quantiles(v, n);
    free(v);
    return o;
}

static json_t *cached_times(const struct measure *m)
{
    json_t *o = times_of(m, NULL, CACHED);
    int64_t most = 0;
    size_t n = 0;
    for (size_t i = 0; i < m->n_clients; i++) {
        const struct client *c = &m->clients[i];
        if (!c->cached)
            continue;
        n++;
        if (c->back_ms)
            most = MAX(most, (int64_t)(c->back_ms - m->begin_ms) - (int64_t)c->left_ms);
    }
    json_object_set_new(o, "clients", json_integer((json_int_t)n));
    json_object_set_new(o, "over_ttl_max", n ? json_integer(most) : json_null());
    return o;
}

static json_t *since(const struct measure *m, uint64_t at_ms)
{
    return at_ms ? json_integer((json_int_t)at_ms - (json_int_t)m->begin_ms) : json_null();
}

/* Each client by itself, so that a bound can be checked of each. */
static json_t *each_client(const struct measure *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->n_clients; i++) {
        const struct client *c = &m->clients[i];
        if (!c->known)
            continue;
        json_t *o = json_pack("{s:I,s:s,s:b,s:I,s:o,s:o,s:o,s:s}", "client", (json_int_t)i,
            "country", c->country, "cached", c->cached, "ttl_left_ms", (json_int_t)c->left_ms,
            "rto_ms", since(m, c->back_ms), "told_again_ms", since(m, c->again_ms),
            "told_until_ms", since(m, c->again_until_ms), "region", c->region);
        json_object_set_new(o, "excess_ms",
            c->cached && c->back_ms
                ? json_integer((json_int_t)(c->back_ms - m->begin_ms) - (json_int_t)c->left_ms)
                : json_null());
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *country_of(const struct measure *m, const char *country)
{
    json_t *regions = json_object();
    size_t clients = 0, back = 0, cached = 0;
    for (size_t i = 0; i < m->n_clients; i++) {
        const struct client *c = &m->clients[i];
        if (!c->known || !str_eq(c->country, country))
            continue;
        clients++;
        back += c->back_ms != 0;
        cached += c->cached;
        if (c->back_ms && *c->region)
            json_object_set_new(
                regions, c->region, json_integer(json_opt_int(regions, c->region, 0) + 1));
    }
    return json_pack("{s:I,s:I,s:I,s:o,s:o}", "clients", (json_int_t)clients, "back",
        (json_int_t)back, "cached", (json_int_t)cached, "rto_ms", times_of(m, country, ALL),
        "regions", regions);
}

static json_t *by_country(const struct measure *m)
{
    json_t *all = json_object();
    for (size_t i = 0; i < m->n_clients; i++) {
        const char *country = m->clients[i].country;
        if (m->clients[i].known && !json_object_get(all, country))
            json_object_set_new(all, country, country_of(m, country));
    }
    return all;
}

static json_t *changes_since(const struct measure *m)
{
    json_t *list = json_deep_copy(m->changes), *change;
    size_t i;
    json_array_foreach (list, i, change)
        json_object_set_new(change, "at_ms",
            json_integer(json_opt_int(change, "at_ms", 0) - (json_int_t)m->begin_ms));
    return list;
}

json_t *measure_report(const struct measure *m)
{
    json_t *o = json_object();
    json_object_set_new(o, "rto_ms",
        m->first_ms ? json_integer((json_int_t)(m->first_ms - m->begin_ms)) : json_null());
    json_object_set_new(o, "client_rto_ms", times_of(m, NULL, ALL));
    json_object_set_new(o, "cached_client_rto_ms", cached_times(m));
    json_object_set_new(o, "other_client_rto_ms", times_of(m, NULL, OTHERS));
    json_object_set_new(o, "by_country", by_country(m));
    json_object_set_new(o, "clients", each_client(m));
    json_object_set_new(o, "two_writers", json_boolean(measure_two_writers(m)));
    if (*m->writers)
        json_object_set_new(o, "writers", json_string(m->writers));
    json_object_set_new(o, "servers", changes_since(m));
    json_object_set_new(o, "series",
        json_pack("{s:I,s:O}", "from_ms", (json_int_t)m->start_ms - (json_int_t)m->begin_ms,
            "acked_per_second", m->series));
    return o;
}
