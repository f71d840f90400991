/* SPDX-License-Identifier: Apache-2.0 */
#include "service/verify/compare.h"

#include "base/str/str.h"

#define DRILLED_CHUNKS 20u
#define DRILLED_KEYS 100u
#define LOOKS 5u
#define WAIT_MS 60000

struct compare {
    const struct replication_doc *d;
    const struct verify_caller *caller;
    const char *database;
};

static int call(const struct compare *c, const char *host, const char *method, json_t *params,
    json_t **ret, struct err *e)
{
    json_object_set_new(params, "database", json_string(c->database));
    json_object_set_new(params, "epoch", json_integer(c->d->epoch));
    return c->caller->call(c->caller->ctx, host, method, params, ret, e);
}

/* ---- preflight ---- */

static json_t *unreachable(const struct err *e)
{
    return json_pack("[{s:s,s:b,s:s,s:s}]", "id", "reach", "pass", 0, "text", e->message, "fix",
        *e->fix ? e->fix : "bring the host back, then ask again");
}

static bool all_pass(const json_t *items)
{
    size_t i;
    json_t *item;
    json_array_foreach (items, i, item)
        if (!json_opt_bool(item, "pass", false))
            return false;
    return true;
}

static json_t *facts_of(const struct compare *c, const char *host, struct err *e)
{
    json_t *facts = NULL;
    if (call(c, host, "data.facts", json_object(), &facts, e) < 0)
        return NULL;
    json_object_set_new(facts, "host", json_string(host));
    return facts;
}

/* Both were compared with the clock of whoever answers. */
static void add_clock(
    const struct compare *c, const json_t *clocks, const char *host, json_t *facts)
{
    const json_t *source = json_object_get(clocks, c->d->source->host),
                 *replica = json_object_get(clocks, host);
    if (json_is_integer(source) && json_is_integer(replica))
        json_object_set_new(facts, "clock_offset_ms",
            json_integer(json_integer_value(replica) - json_integer_value(source)));
}

int verify_preflight(const struct replication_doc *d, const char *database,
    const struct preflight_wish *wish, const json_t *clocks, const struct verify_caller *caller,
    json_t **ret, struct err *e)
{
    const struct compare c = {d, caller, database};
    _cleanup_json_ json_t *source = facts_of(&c, d->source->host, e);
    if (!source)
        return err_wrap(e, "the source, %s", d->source->host);
    json_t *replicas = json_array();
    bool passed = true;
    for (size_t i = 0; i < d->n_members; i++) {
        const struct replication_member *m = &d->members[i];
        struct err failed = {0};
        struct preflight_wish own = *wish;
        if (m == d->source)
            continue;
        own.source_id = d->source->id;
        own.replica_id = m->id;
        _cleanup_json_ json_t *facts = facts_of(&c, m->host, &failed);
        if (facts)
            add_clock(&c, clocks, m->host, facts);
        json_t *items = facts ? preflight_judge(source, facts, &own) : unreachable(&failed);
        bool pass = all_pass(items);
        passed &= pass;
        json_array_append_new(replicas, json_pack("{s:s,s:s,s:b,s:o}", "host", m->host, "region",
                                            m->region, "passed", (int)pass, "items", items));
    }
    *ret = json_pack("{s:b,s:o}", "passed", (int)passed, "replicas", replicas);
    return 0;
}

/* ---- rows of a chunk that differs ---- */

static json_t *rows_of(
    const struct compare *c, const char *host, const json_t *chunk, struct err *e)
{
    json_t *rows = NULL;
    json_t *params = json_pack("{s:O,s:O,s:O}", "table", json_object_get(chunk, "table"), "lower",
        json_object_get(chunk, "lower"), "upper", json_object_get(chunk, "upper"));
    return call(c, host, "data.rows", params, &rows, e) < 0 ? NULL : rows;
}

static void add_keys(json_t *keys, const json_t *here, const json_t *there, bool is_source)
{
    const char *key;
    json_t *sum;
    json_object_foreach ((json_t *)here, key, sum) {
        const json_t *other = json_object_get(there, key);
        if (json_equal(sum, other) || (!is_source && other))
            continue; /* equal, or the first round has it */
        json_object_set_new(keys, key,
            json_pack("{s:s,s:b,s:b}", "key", key, "source", (int)(is_source || other), "replica",
                (int)(!is_source || other)));
    }
}

static json_t *look(const struct compare *c, const char *host, const json_t *chunk, struct err *e)
{
    _cleanup_json_ json_t *here = rows_of(c, c->d->source->host, chunk, e);
    _cleanup_json_ json_t *there = here ? rows_of(c, host, chunk, e) : NULL;
    if (!there)
        return NULL;
    json_t *keys = json_object();
    add_keys(keys, here, there, true);
    add_keys(keys, there, here, false);
    return keys;
}

/* What is in both, said the same way. */
static json_t *agreed(const json_t *a, const json_t *b)
{
    json_t *both = json_object(), *v;
    const char *key;
    json_object_foreach ((json_t *)a, key, v)
        if (json_equal(v, json_object_get(b, key)))
            json_object_set(both, key, v);
    return both;
}

/* A row that was under way differs once, one that differs for good does so each time. */
static json_t *look_until_it_stays(
    const struct compare *c, const char *host, const json_t *chunk, struct err *e)
{
    json_t *last = look(c, host, chunk, e);
    for (unsigned i = 1; last && i < LOOKS; i++) {
        json_t *now = look(c, host, chunk, e);
        json_t *both = now ? agreed(last, now) : NULL;
        bool stays = both && json_object_size(both) == json_object_size(now);
        json_decref(last);
        json_decref(now);
        last = both;
        if (stays)
            break;
    }
    return last;
}

static void drill(const struct compare *c, const char *host, json_t *chunk)
{
    struct err e = {0};
    json_t *list = json_array(), *v;
    const char *key;
    _cleanup_json_ json_t *keys = look_until_it_stays(c, host, chunk, &e);
    json_object_foreach (keys, key, v)
        if (json_array_size(list) < DRILLED_KEYS)
            json_array_append(list, v);
    size_t n = json_object_size(keys);
    json_object_set_new(chunk, "more", json_integer((json_int_t)(n - json_array_size(list))));
    json_object_set_new(chunk, "keys", list);
    if (!keys)
        json_object_set_new(chunk, "error", json_string(e.message));
}

/* ---- one replica ---- */

static json_t *shapes_that_differ(const json_t *here, const json_t *there)
{
    json_t *list = json_array(), *shape;
    const char *table;
    json_object_foreach ((json_t *)here, table, shape) {
        const json_t *other = json_object_get(there, table);
        if (!json_equal(shape, other))
            json_array_append_new(list, json_pack("{s:s,s:b,s:b}", "table", table, "source", 1,
                                            "replica", (int)(other != NULL)));
    }
    json_object_foreach ((json_t *)there, table, shape)
        if (!json_object_get(here, table))
            json_array_append_new(
                list, json_pack("{s:s,s:b,s:b}", "table", table, "source", 0, "replica", 1));
    return list;
}

static int look_at_replica(const struct compare *c, const char *host, int64_t run, const char *gtid,
    const json_t *shapes, json_t *result, struct err *e)
{
    _cleanup_json_ json_t *reached = NULL, *own = NULL;
    json_t *differences = NULL, *chunk;
    size_t i;
    if (call(c, host, "data.wait", json_pack("{s:s,s:i}", "gtid", gtid, "timeout_ms", WAIT_MS),
            &reached, e)
        < 0)
        return e->code;
    if (!json_opt_bool(reached, "reached", false))
        return err_set(e, ERR_TIMEOUT, "it is more than %d s behind", WAIT_MS / 1000);
    if (call(c, host, "data.shapes", json_object(), &own, e) < 0
        || call(c, host, "data.differences", json_pack("{s:I}", "run", (json_int_t)run),
               &differences, e)
               < 0)
        return e->code;
    json_object_set_new(result, "shapes", shapes_that_differ(shapes, own));
    json_object_set_new(result, "differences", differences);
    json_array_foreach (differences, i, chunk)
        if (i < DRILLED_CHUNKS)
            drill(c, host, chunk);
    return 0;
}

static bool is_equal(const json_t *result)
{
    return !json_object_get(result, "error") && !json_array_size(json_object_get(result, "shapes"))
           && !json_array_size(json_object_get(result, "differences"));
}

static json_t *all_replicas(
    const struct compare *c, int64_t run, const char *gtid, const json_t *shapes, bool *ret_equal)
{
    json_t *list = json_array();
    *ret_equal = true;
    for (size_t i = 0; i < c->d->n_members; i++) {
        const struct replication_member *m = &c->d->members[i];
        struct err e = {0};
        if (m == c->d->source)
            continue;
        json_t *result = json_pack("{s:s,s:s}", "host", m->host, "region", m->region);
        if (look_at_replica(c, m->host, run, gtid, shapes, result, &e) < 0)
            json_object_set_new(result, "error", json_string(e.message));
        *ret_equal &= is_equal(result);
        json_array_append_new(list, result);
    }
    return list;
}

int verify_compare(const struct replication_doc *d, const char *database, const json_t *tables,
    int64_t run, const struct verify_caller *caller, json_t **ret, struct err *e)
{
    const struct compare c = {d, caller, database};
    const char *host = d->source->host;
    _cleanup_json_ json_t *shapes = NULL, *sums = NULL;
    json_t *params = json_pack("{s:I,s:O*}", "run", (json_int_t)run, "tables", tables);
    if (call(&c, host, "data.shapes", json_object(), &shapes, e) < 0) {
        json_decref(params);
        return err_wrap(e, "the source, %s", host);
    }
    if (call(&c, host, "data.checksum", params, &sums, e) < 0)
        return err_wrap(e, "the source, %s", host);
    bool equal;
    json_t *replicas = all_replicas(&c, run, json_opt_str(sums, "gtid", ""), shapes, &equal);
    *ret = json_pack("{s:I,s:b,s:O,s:o}", "run", (json_int_t)run, "equal", (int)equal, "tables",
        json_object_get(sums, "tables"), "replicas", replicas);
    return 0;
}
