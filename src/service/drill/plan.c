/* SPDX-License-Identifier: Apache-2.0 */
/* What a drill would do to this platform as it is now, and whether it may: nobody practises on what
 * is broken already, and no drill takes the majority of the state store. */
#include "service/drill/priv.h"

#include <string.h>

#define ASK_MS 5000

struct planning {
    const struct drill_config *config;
    const struct drill_fault *fault;
    struct drill_site site;
    json_t *status, *data, *store, *plan, *checks;
    char database[64], source[64], region[64], other[64];
};

static void planning_done(struct planning *p)
{
    lab_free(p->site.lab);
    json_decref(p->status);
    json_decref(p->data);
    json_decref(p->store);
    json_decref(p->plan);
}

static int ask(struct planning *p, const char *method, json_t *params, json_t **ret, struct err *e)
{
    const struct drill_config *c = p->config;
    return c->ask(c->ask_ctx, NULL, method, params, ASK_MS, ret, e);
}

static void check(
    struct planning *p, const char *name, bool good, const char *text, const char *fix)
{
    json_array_append_new(p->checks, json_pack("{s:s,s:b,s:s,s:s}", "name", name, "good", good,
                                         "text", text, "fix", fix));
}

/* ---- the site */

static const json_t *named(const json_t *list, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item)
        if (str_eq(json_opt_str(item, "name", ""), name))
            return item;
    return NULL;
}

static bool fits(char *out, size_t size, const char *text)
{
    return text && str_copy(out, size, text);
}

static int find_database(struct planning *p, struct err *e)
{
    const char *wanted = p->config->database;
    struct err why;
    int r = ask(p, "data.status", json_object(), &p->data, &why);
    const json_t *list = json_object_get(p->data, "databases");
    const json_t *db = wanted ? named(list, wanted) : json_array_get(list, 0);
    if (wanted && !db)
        return err_set(e, ERR_USAGE, "there is no database %s", wanted);
    if (r < 0 || !db)
        return 0; /* a platform without one */
    if (!fits(p->database, sizeof p->database, json_opt_str(db, "name", NULL))
        || !fits(p->source, sizeof p->source, json_opt_str(db, "source", ""))
        || !fits(p->region, sizeof p->region, json_opt_str(db, "source_region", "")))
        return err_set(e, ERR_INVALID, "what control says of the database cannot be understood");
    const json_t *replica = json_array_get(json_object_get(db, "replicas"), 0);
    if (replica && !fits(p->other, sizeof p->other, json_opt_str(replica, "region", "")))
        p->other[0] = '\0';
    p->site.database = p->database;
    return 0;
}

static int find_regions(struct planning *p, struct err *e)
{
    const json_t *regions = json_object_get(p->status, "regions");
    const char *wanted = p->config->region;
    size_t i;
    json_t *r;
    if (wanted && !named(regions, wanted))
        return err_set(e, ERR_USAGE, "there is no region %s", wanted);
    if (wanted && !fits(p->region, sizeof p->region, wanted))
        return err_set(e, ERR_USAGE, "the region's name is too long");
    json_array_foreach (regions, i, r) {
        const char *name = json_opt_str(r, "name", "");
        if (!*p->region && !fits(p->region, sizeof p->region, name))
            return err_set(e, ERR_INVALID, "a region's name is too long");
        if ((!*p->other || str_eq(p->other, p->region)) && !str_eq(name, p->region)
            && !fits(p->other, sizeof p->other, name))
            return err_set(e, ERR_INVALID, "a region's name is too long");
    }
    p->site.source = p->source;
    p->site.region = p->region;
    p->site.other_region = *p->other && !str_eq(p->other, p->region) ? p->other : NULL;
    return 0;
}

static int look(struct planning *p, struct err *e)
{
    int r = lab_read(p->config->platform, &p->site.lab, e);
    if (r < 0) {
        err_fix(e, "faults are for labs: `mcp up -f FILE` starts one");
        return r;
    }
    r = ask(p, "status", NULL, &p->status, e);
    p->site.status = p->status;
    if (r >= 0)
        r = find_database(p, e);
    return r < 0 ? r : find_regions(p, e);
}

/* ---- may it be? */

static void check_alone(struct planning *p)
{
    _cleanup_json_ json_t *said = NULL;
    struct err why;
    char text[200];
    int r = ask(p, "drill.status", json_object(), &said, &why);
    const json_t *other = json_object_get(said, "running");
    snprintf(text, sizeof text, "the drill %.64s of %.64s is under way",
        json_opt_str(other, "drill", "?"), json_opt_str(other, "by", "?"));
    bool good = r >= 0 && !json_is_object(other);
    check(p, "alone", good, good ? "no drill is under way" : r < 0 ? why.message : text,
        "wait for its end; Ctrl-C there undoes and ends it");
}

static void check_lines(struct planning *p)
{
    _cleanup_json_ json_t *wan = NULL;
    struct err why;
    bool good = lab_wan_status(p->site.lab, &wan, &why) >= 0;
    size_t n = json_array_size(json_object_get(wan, "rules"));
    check(p, "lines", good && !n,
        good ? n ? "lines of the lab are cut or slowed already" : "every line is as declared"
             : "the lab's WAN does not answer",
        "`mcp lab list` shows them, `mcp lab mend` takes them away");
}

static void check_hosts(struct planning *p)
{
    bool all = true;
    _cleanup_json_ json_t *machines = lab_machines(p->site.lab);
    size_t i;
    json_t *m;
    json_array_foreach (machines, i, m)
        all &= lab_host_alive(m);
    check(p, "hosts", all, all ? "every machine of the lab runs" : "a machine of the lab is off",
        "`mcp lab heal HOST` starts it");
}

static void check_database(struct planning *p)
{
    if (!p->site.database)
        return;
    const json_t *db = named(json_object_get(p->data, "databases"), p->database);
    size_t i;
    json_t *replica;
    bool good = str_eq(json_opt_str(db, "state", ""), "writable")
                && !json_is_object(json_object_get(db, "change"));
    json_array_foreach (json_object_get(db, "replicas"), i, replica)
        good &= str_eq(json_opt_str(replica, "state", ""), "replicating");
    check(p, "database", good,
        good ? "the source writes and every replica follows it" : "the database is not well",
        "`mcp data status` says what it lacks");
}

/* Would the failover that it is to lead to come at all? */
static void check_failover(struct planning *p)
{
    _cleanup_json_ json_t *said = NULL;
    struct err why;
    if (p->fault->expect != DRILL_FAILOVER || !p->site.database)
        return;
    int r = ask(p, "explain.failover", json_pack("{s:s}", "database", p->database), &said, &why);
    bool by_itself = r >= 0 && json_opt_bool(said, "automatic", false);
    bool good = by_itself && json_opt_bool(said, "armed", false);
    check(p, "failover", good,
        good        ? "failover is armed"
        : r < 0     ? why.message
        : by_itself ? "failover is not armed"
                    : "failover does not come by itself",
        by_itself ? "`mcp explain failover` names the rule; `mcp data arm` rehearses the self-fence"
                  : "declare `failover: {auto: true}`");
}

/* Would the state store's majority be struck? Only those faults that take a region. */
static void check_majority(struct planning *p)
{
    struct err why;
    if (!p->fault->region_lost)
        return;
    int r = ask(p, "state.status", NULL, &p->store, &why);
    const json_t *members = json_object_get(p->store, "members");
    size_t n = json_array_size(members), struck = 0, i;
    json_t *m;
    if (r < 0 || !n) {
        check(p, "majority", false, "nobody says where the state store is",
            "`mcp state status` asks it");
        return;
    }
    json_array_foreach (members, i, m) {
        const char *name = json_is_string(m) ? json_string_value(m) : json_opt_str(m, "name", "");
        const json_t *host = lab_host(p->site.lab, name);
        struck += str_eq(json_opt_str(host, "region", ""), p->region);
    }
    check(p, "majority", struck * 2 < n,
        struck * 2 < n ? "the state store keeps its majority"
                       : "the region holds the majority of the state store: nobody may decide",
        "state.members in three regions; --region names another region");
}

/* ---- the plan */

static json_t *addresses_of(const struct planning *p)
{
    json_t *regions = json_object(), *r;
    size_t i;
    json_array_foreach (json_object_get(p->status, "regions"), i, r) {
        json_t *address = json_object_get(r, "address");
        json_object_set_new(regions, json_opt_str(r, "name", "?"),
            json_is_array(address) ? json_incref(address) : json_pack("[O]", address));
    }
    return regions;
}

/* Hosts outside the region that is struck: they know what happens; those inside last. */
static json_t *whom_to_ask(const struct planning *p)
{
    json_t *list = json_array();
    size_t i;
    json_t *host;
    for (int inside = 0; inside < 2; inside++)
        json_array_foreach (json_object_get(p->site.lab->state, "hosts"), i, host)
            if (str_eq(json_opt_str(host, "region", ""), p->region) == (inside == 1)
                && (!inside || !json_array_size(list)))
                json_array_append(list, json_object_get(host, "name"));
    return list;
}

static json_t *servers_of(const struct planning *p)
{
    json_t *servers = json_object(), *replica;
    const json_t *db = named(json_object_get(p->data, "databases"), p->database);
    size_t i;
    if (*p->source)
        json_object_set_new(servers, p->source, json_string(p->region));
    json_array_foreach (json_object_get(db, "replicas"), i, replica)
        json_object_set(
            servers, json_opt_str(replica, "host", "?"), json_object_get(replica, "region"));
    return servers;
}

static size_t countries_of(const struct planning *p)
{
    _cleanup_json_ json_t *buyers = NULL;
    struct err ignored;
    return lab_buyers(p->site.lab, &buyers, &ignored) < 0
               ? 0
               : json_object_size(json_object_get(buyers, "buyers"));
}

static void put_database(struct planning *p)
{
    const json_t *db = named(json_object_get(p->data, "databases"), p->database);
    json_object_set_new(p->plan, "database", json_string(p->database));
    json_object_set_new(p->plan, "source", json_string(p->source));
    json_object_set_new(p->plan, "source_region", json_string(p->region));
    json_object_set_new(p->plan, "epoch", json_integer(json_opt_int(db, "epoch", 0)));
    json_object_set_new(p->plan, "servers", servers_of(p));
}

static void put_all(struct planning *p, json_t *acts)
{
    const struct drill_fault *f = p->fault;
    const struct drill_config *c = p->config;
    size_t countries = countries_of(p);
    p->plan = json_pack("{s:s,s:s,s:s,s:s,s:b,s:I,s:I,s:O,s:o,s:o,s:o,s:I}", "drill", f->name,
        "platform", c->platform, "region", p->region, "expect", drill_expect_name(f->expect),
        "region_lost", f->region_lost, "hold_ms",
        (json_int_t)(c->hold_ms ? c->hold_ms : f->hold_ms), "max_ms", (json_int_t)f->max_ms, "acts",
        acts, "regions", addresses_of(p), "lost_regions",
        f->region_lost ? json_pack("[s]", p->region) : json_array(), "ask", whom_to_ask(p),
        "countries", (json_int_t)countries);
    if (p->site.database)
        put_database(p);
    check(p, "buyers", countries > 0,
        countries ? "there are buyers" : "the lab has no buyers: nobody would see the fault",
        "lab.clients declares them");
    json_object_set(p->plan, "checks", p->checks);
}

int drill_plan(const struct drill_config *c, json_t **ret, struct err *e)
{
    _cleanup_(planning_done) struct planning p = {.config = c, .site = {.config = c}};
    _cleanup_json_ json_t *acts = json_array(), *checks = json_array();
    p.checks = checks;
    int r = drill_find(c->drill, &p.fault, e);
    if (r >= 0)
        r = look(&p, e);
    if (r >= 0)
        r = p.fault->plan(&p.site, acts, e);
    if (r < 0)
        return r;
    check_alone(&p);
    check_hosts(&p);
    check_lines(&p);
    check_database(&p);
    check_majority(&p);
    check_failover(&p);
    put_all(&p, acts);
    *ret = json_incref(p.plan);
    return 0;
}
