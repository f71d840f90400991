/* SPDX-License-Identifier: Apache-2.0 */
/* Databases against regions and hosts, what modules need of them, events. */
#include "domain/model/priv.h"

#include <ctype.h>

/* Of its own engine's, or of the platform's: `mcp_dts` needs no row, the underscore says it. */
static const char *const taken_names[] = {"mysql", "sys", "test", "rw", "ro"};
/* Others of the host's listeners on its private address (ARCHITECTURE.md, "Ports of a host"). */
static const int64_t taken_ports[] = {2379, 2380, 3128, 7400, 7401, 7402, 7403, 7404, 7405};

#define REGIONS_TO_DECIDE 3u /* the two that it is about, and a witness */

bool model_database_name_valid(const char *name)
{
    size_t len = strlen(name);
    return len && len <= MODEL_DATABASE_NAME_MAX && islower((unsigned char)*name)
           && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") == len;
}

const char *model_check_database(const char *text)
{
    return model_database_name_valid(text)
               ? NULL
               : "a database's name: at most 32 small letters and digits, the first a letter";
}

const char *model_check_table(const char *text)
{
    static const char expected[] =
        "a table's name: at most 64 letters, digits and underscores, the first no digit; or \"*\"";
    size_t len = strlen(text);
    if (!strcmp(text, "*"))
        return NULL;
    if (!len || len > 64 || isdigit((unsigned char)*text))
        return expected;
    for (const char *s = text; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_')
            return expected;
    return NULL;
}

static bool is_time(const char *s)
{
    return isdigit((unsigned char)s[0]) && isdigit((unsigned char)s[1]) && s[2] == ':'
           && isdigit((unsigned char)s[3]) && isdigit((unsigned char)s[4]) && !s[5]
           && (s[0] - '0') * 10 + s[1] - '0' < 24 && s[3] < '6';
}

const char *model_check_schedule(const char *text)
{
    static const char *const days[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
    static const char expected[] = "hourly, `daily HH:MM` or `weekly Sun HH:MM`";
    if (!strcmp(text, "hourly"))
        return NULL;
    if (str_starts(text, "daily "))
        return is_time(text + strlen("daily ")) ? NULL : expected;
    if (!str_starts(text, "weekly "))
        return expected;
    text += strlen("weekly ");
    for (size_t i = 0; i < ARRAY_SIZE(days); i++)
        if (str_starts(text, days[i]) && text[3] == ' ')
            return is_time(text + 4) ? NULL : expected;
    return expected;
}

const char *model_check_disk_full(const char *text)
{
    static const char sacrifice[] = "sacrifice:";
    if (!strcmp(text, "keep") || (str_starts(text, sacrifice) && text[sizeof sacrifice - 1]))
        return NULL;
    return "keep or sacrifice:REGION";
}

const char *model_check_directory(const char *text)
{
    static const char expected[] = "an absolute path without . and .. in it";
    if (text[0] != '/' || strstr(text, "//"))
        return expected;
    for (const char *s = text; s; s = strchr(s + 1, '/')) {
        size_t n = strcspn(s + 1, "/");
        if ((n == 1 && s[1] == '.') || (n == 2 && s[1] == '.' && s[2] == '.'))
            return expected;
    }
    return NULL;
}

static const struct decl_database *find_database(const struct decl *d, const char *name)
{
    return decl_find(&d->data, sizeof(struct decl_database), name);
}

static bool region_known(struct checker *c, const struct schema_text *region)
{
    if (!region->s)
        return false;
    if (decl_find_region(c->d, region->s))
        return true;
    decl_unknown(c, "region", region, &c->d->regions, sizeof(struct decl_region));
    return false;
}

static bool is_member(const struct decl_database *db, const char *region)
{
    const struct decl_replica *replicas = db->replicas.v;
    if (str_eq(db->source.s, region))
        return true;
    for (size_t i = 0; i < db->replicas.n; i++)
        if (str_eq(replicas[i].region.s, region))
            return true;
    return false;
}

static void check_members(struct checker *c, const struct decl_database *db)
{
    const struct decl_replica *replicas = db->replicas.v;
    region_known(c, &db->source);
    for (size_t i = 0; i < db->replicas.n; i++) {
        const struct schema_text *region = &replicas[i].region;
        if (!region_known(c, region))
            continue;
        if (str_eq(region->s, db->source.s))
            problem_fix(schema_problem(c->p, region->at,
                            "region %s is the source of database %s and cannot be its replica too",
                            region->s, db->head.key.s),
                "remove it from `replicas`");
        for (size_t k = 0; k < i; k++)
            if (str_eq(replicas[k].region.s, region->s))
                problem_fix(schema_problem(c->p, region->at,
                                "database %s has two replicas in region %s", db->head.key.s,
                                region->s),
                    "keep one of them: there is one member in a region");
    }
}

const struct decl_host *decl_database_host(
    const struct decl *d, const struct decl_database *db, const char *region)
{
    const struct decl_data_host *place = decl_find(&db->hosts, sizeof *place, region);
    if (place)
        return decl_find_host(d, place->host.s);
    const struct decl_host *hosts = d->hosts.v, *first = NULL;
    for (size_t i = 0; i < d->hosts.n; i++) {
        if (!str_eq(hosts[i].region.s, region))
            continue;
        if (!hosts[i].is_public)
            return &hosts[i];
        first = first ? first : &hosts[i];
    }
    return first;
}

static void check_places(struct checker *c, const struct decl_database *db)
{
    const struct decl_data_host *v = db->hosts.v;
    for (size_t i = 0; i < db->hosts.n; i++) {
        const struct decl_host *host = decl_find_host(c->d, v[i].host.s);
        if (!region_known(c, &v[i].region))
            continue;
        if (!host)
            decl_unknown(c, "host", &v[i].host, &c->d->hosts, sizeof(struct decl_host));
        else if (!str_eq(host->region.s, v[i].region.s))
            problem_fix(schema_problem(c->p, v[i].host.at, "host %s does not stand in region %s",
                            v[i].host.s, v[i].region.s),
                "name a host of that region");
        if (!is_member(db, v[i].region.s))
            problem_fix(schema_problem(c->p, v[i].region.at,
                            "database %s has no member in region %s", db->head.key.s,
                            v[i].region.s),
                "add the region to `replicas`, or remove this host");
    }
}

static void check_has_host(
    struct checker *c, const struct decl_database *db, const struct schema_text *region)
{
    if (!region->s || !decl_find_region(c->d, region->s) || !c->d->hosts.n
        || decl_find(&db->hosts, sizeof(struct decl_data_host), region->s))
        return;
    if (!decl_database_host(c->d, db, region->s))
        problem_fix(schema_problem(c->p, region->at,
                        "database %s has a member in region %s, which has no host",
                        db->head.key.s, region->s),
            "give the region a host, or take it from the database");
}

/* Two on one host need two ports. */
static void check_ports(struct checker *c, const struct decl_database *db)
{
    const struct decl_database *all = c->d->data.v;
    const struct decl_region *regions = c->d->regions.v;
    for (size_t i = 0; i < ARRAY_SIZE(taken_ports); i++)
        if (db->port == taken_ports[i])
            problem_fix(schema_problem(c->p, schema_at(&db->head, "port"),
                            "port %lld is one of the platform's own", (long long)db->port),
                "choose another, for example 3306");
    for (const struct decl_database *other = all; other < db; other++) {
        if (other->port != db->port || !db->managed || !other->managed)
            continue;
        for (size_t i = 0; i < c->d->regions.n; i++) {
            const char *region = regions[i].head.key.s;
            const struct decl_host *host = decl_database_host(c->d, db, region);
            if (!host || !is_member(db, region) || !is_member(other, region)
                || decl_database_host(c->d, other, region) != host)
                continue;
            problem_fix(schema_problem(c->p, schema_at(&db->head, "port"),
                            "database %s would listen on port %lld of host %s, where %s listens",
                            db->head.key.s, (long long)db->port, host->head.key.s,
                            other->head.key.s),
                "give one of them another `port`, or another host by `hosts`");
            return;
        }
    }
}

static void check_managed(struct checker *c, const struct decl_database *db)
{
    const struct yaml_node *at = db->head.at;
    static const char *const of_external[] = {"external", "secret"};
    for (size_t i = 0; i < ARRAY_SIZE(of_external); i++)
        if (yaml_map_get(at, of_external[i]))
            problem_fix(
                schema_problem(c->p, schema_at(&db->head, of_external[i]),
                    "`%s` is for external servers, and the platform runs those of database %s",
                    of_external[i], db->head.key.s),
                "remove it, or write `managed: false`");
    if (db->engine == DATA_MYSQL)
        problem_fix(schema_problem(c->p, schema_at(&db->head, "engine"),
                        "the platform runs no MySQL servers, it supervises those of others"),
            "write `engine: mariadb`, or `managed: false` with `external`");
}

static void check_external(struct checker *c, const struct decl_database *db)
{
    const struct yaml_node *at = db->head.at;
    const struct decl_external *v = db->external.v;
    if (!yaml_map_get(at, "secret"))
        problem_fix(schema_problem(c->p, at, "database %s: nobody can log in to external servers "
                                             "without a `secret`",
                        db->head.key.s),
            "add `secret: NAME` and set it by `mcp secret set NAME`");
    for (size_t i = 0; i < db->external.n; i++)
        if (region_known(c, &v[i].region) && !is_member(db, v[i].region.s))
            problem_fix(schema_problem(c->p, v[i].region.at,
                            "database %s has no member in region %s", db->head.key.s,
                            v[i].region.s),
                "add the region to `replicas`, or remove this address");
    if (yaml_map_get(at, "schema"))
        problem_fix(schema_problem(c->p, schema_at(&db->head, "schema"),
                        "the tables of servers that others run are theirs: `schema` is for those "
                        "that the platform runs"),
            "remove it");
    const struct decl_replica *replicas = db->replicas.v;
    for (size_t i = 0; i <= db->replicas.n; i++) {
        const struct schema_text *region = i ? &replicas[i - 1].region : &db->source;
        if (region->s && decl_find_region(c->d, region->s)
            && !decl_find(&db->external, sizeof *v, region->s))
            problem_fix(schema_problem(c->p, region->at,
                            "database %s: `external` does not say where the server of region %s is",
                            db->head.key.s, region->s),
                "add `%s: \"HOST:PORT\"` to `external`", region->s);
    }
}

static void check_replication(struct checker *c, const struct decl_database *db)
{
    const struct decl_replication *r = &db->replication;
    const struct decl_replica *replicas = db->replicas.v;
    size_t prompt = 0;
    for (size_t i = 0; i < db->replicas.n; i++)
        prompt += !replicas[i].delay_ms;
    if (r->head.at && yaml_map_get(r->head.at, "gtid") && !r->gtid)
        problem_fix(schema_problem(c->p, schema_at(&r->head, "gtid"),
                        "replicas know their place by GTID and by nothing else"),
            "write `gtid: true`, or leave it away");
    if (r->mode == DATA_SEMI_SYNC && !prompt)
        problem_fix(schema_problem(c->p, schema_at(&r->head, "mode"),
                        "semi-sync waits for a replica, and database %s has none that is prompt",
                        db->head.key.s),
            "add a replica without a delay, or write `mode: async`");
    if (db->failover.automatic && !prompt && db->failover.head.at)
        problem_fix(schema_problem(c->p, schema_at(&db->failover.head, "auto"),
                        "database %s has no replica that could take over", db->head.key.s),
            "add a replica without a delay, or write `auto: false`");
    if (db->failover.automatic && db->failover.max_lag_ms < r->lag_objective_ms)
        problem_fix(schema_problem(c->p, schema_at(&db->failover.head, "max_lag"),
                        "failover.max_lag is shorter than replication.lag_objective: a replica "
                        "that is as good as declared would not be promoted"),
            "lengthen `max_lag` or shorten `lag_objective`");
}

static const char *region_of_member(const struct decl *d, size_t i)
{
    const struct schema_text *members = d->state.members.v;
    const struct decl_host *host = decl_find_host(d, members[i].s);
    return host ? host->region.s : NULL;
}

static size_t regions_with_a_member(const struct decl *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->state.members.n; i++) {
        const char *region = region_of_member(d, i);
        size_t k = 0;
        while (k < i && !str_eq(region_of_member(d, k), region))
            k++;
        n += region && k == i;
    }
    return n;
}

/* What nobody could ever prove is refused before it is relied on. */
static void check_automatic(struct checker *c, const struct decl_database *db)
{
    const struct yaml_node *at = schema_at(&db->failover.head, "auto");
    size_t regions = regions_with_a_member(c->d);
    if (!db->failover.automatic || !db->failover.head.at)
        return;
    if (!db->managed && db->failover.fence.by == DATA_FENCE_NONE)
        problem_fix(schema_problem(c->p, at,
                        "database %s: nobody can prove that a server which others run has stopped "
                        "writing, so no replica is promoted by itself",
                        db->head.key.s),
            "declare how it is proven by `failover.fence`, or write `auto: false`; `mcp failover --to REGION` "
            "does it by hand");
    else if (regions < REGIONS_TO_DECIDE)
        problem_fix(schema_problem(c->p, at,
                        "database %s cannot fail over by itself: the state store has members in %zu "
                        "of the %u regions that it takes, and of two sites neither knows whether "
                        "the other is dead or only cut off",
                        db->head.key.s, regions, REGIONS_TO_DECIDE),
            "give `state.members` a host in a third region, or write `auto: false`: then `mcp "
            "failover --to REGION` does it by hand");
}

static void check_fence(struct checker *c, const struct decl_database *db)
{
    const struct decl_fence *f = &db->failover.fence;
    const struct yaml_node *at = schema_at(&f->head, "by");
    if (f->by != DATA_FENCE_NONE && db->managed)
        problem_fix(schema_problem(c->p, at,
                        "`fence` is for servers that others run: those of database %s stop by their lease",
                        db->head.key.s),
            "remove it");
    else if (f->by == DATA_FENCE_FUNCTION && !f->function.s)
        problem_fix(schema_problem(c->p, at, "which function fences database %s?", db->head.key.s),
            "add `function: NAME`, one of `functions`");
    else if (f->by != DATA_FENCE_FUNCTION && f->function.s)
        problem_fix(schema_problem(c->p, f->function.at, "`function` goes with `by: function`"),
            "write `by: function`, or remove it");
}

static void check_database(struct checker *c, const struct decl_database *db)
{
    if (!db->head.at)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(taken_names); i++)
        if (str_eq(db->head.key.s, taken_names[i]))
            problem_fix(schema_problem(c->p, db->head.key.at,
                            "\"%s\" cannot be a database's name: the word has a meaning",
                            taken_names[i]),
                "name it after what it holds");
    check_members(c, db);
    check_places(c, db);
    check_has_host(c, db, &db->source);
    const struct decl_replica *replicas = db->replicas.v;
    for (size_t i = 0; i < db->replicas.n; i++)
        check_has_host(c, db, &replicas[i].region);
    check_ports(c, db);
    if (db->managed)
        check_managed(c, db);
    else
        check_external(c, db);
    check_replication(c, db);
    check_fence(c, db);
    check_automatic(c, db);
}

/* The keys that go with each kind of need; anything else beside it is a slip. */
static void check_kind(struct checker *c, const struct decl_need *n)
{
    static const struct {
        const char *kind, *with[3];
    } kinds[] = {{"module", {0}}, {"data", {"access", "tables", NULL}},
        {"events", {"key", "queue", NULL}}};
    static const char *const others[] = {
        "module", "data", "events", "access", "tables", "key", "queue"};
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        if (!yaml_map_get(n->head.at, kinds[k].kind))
            continue;
        for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
            bool fine = !strcmp(others[i], kinds[k].kind);
            for (size_t w = 0; kinds[k].with[w]; w++)
                fine |= !strcmp(others[i], kinds[k].with[w]);
            if (!fine && yaml_map_get(n->head.at, others[i]))
                problem_fix(schema_problem(c->p, schema_at(&n->head, others[i]),
                                "`%s` does not go with `%s`", others[i], kinds[k].kind),
                    "write two needs, one line each");
        }
        return;
    }
    problem_fix(schema_problem(c->p, n->head.at, "a need is of a module, of data or of events"),
        "write it like {module: payment}");
}

static void check_secret_file(
    struct checker *c, const struct decl_module *m, const struct schema_text *database)
{
    const struct decl_secret *v = m->secrets.v;
    for (size_t i = 0; i < m->secrets.n; i++)
        if (str_eq(v[i].file.s ? v[i].file.s : v[i].name.s, database->s))
            problem_fix(schema_problem(c->p, v[i].name.at,
                            "module %s gets the file %s with its password of the database %s",
                            m->head.key.s, database->s, database->s),
                "give the secret another `file`");
}

static void check_data_need(
    struct checker *c, const struct decl_module *m, const struct decl_need *n)
{
    if (!n->data.s)
        return;
    if (!find_database(c->d, n->data.s)) {
        if (c->d->data.n)
            decl_unknown(
                c, "database", &n->data, &c->d->data, sizeof(struct decl_database));
        else
            problem_fix(schema_problem(c->p, n->data.at, "no database is declared"),
                "add `data: {%s: {source: REGION}}`", n->data.s);
        return;
    }
    if (!yaml_map_get(n->head.at, "tables"))
        problem_fix(schema_problem(c->p, n->head.at,
                        "module %s: a need of data names its tables", m->head.key.s),
            "add `tables: [TABLE, ...]`");
    if (strlen(m->head.key.s) > MODEL_ACCOUNT_MAX)
        problem_fix(schema_problem(c->p, m->head.key.at,
                        "the name of a module is that of its account in the database: at most %d "
                        "characters",
                        MODEL_ACCOUNT_MAX),
            "shorten it");
    check_secret_file(c, m, &n->data);
}

static void check_events_need(
    struct checker *c, const struct decl_module *m, const struct decl_need *n)
{
    if (n->events < 0)
        return;
    bool publish = n->events == EVENTS_PUBLISH;
    const char *with = publish ? "key" : "queue", *not = publish ? "queue" : "key";
    if (c->d->events.outbox.s)
        check_secret_file(c, m, &c->d->events.outbox);
    else
        problem_fix(schema_problem(c->p, schema_at(&n->head, "events"),
                        "module %s needs events, but no database carries any", m->head.key.s),
            "add `events: {outbox: DATABASE}`");
    if (!yaml_map_get(n->head.at, with))
        problem_fix(schema_problem(c->p, n->head.at, "`events: %s` needs a `%s`",
                        publish ? "publish" : "consume", with),
            "add it, for example `%s: %s`", with, publish ? "order.created" : "order_worker");
    if (yaml_map_get(n->head.at, not))
        problem_fix(schema_problem(c->p, schema_at(&n->head, not),
                        "`%s` does not go with `events: %s`", not, publish ? "publish" : "consume"),
            "remove it");
}

void decl_check_data(struct checker *c)
{
    const struct decl_database *databases = c->d->data.v;
    for (size_t i = 0; i < c->d->data.n; i++)
        check_database(c, &databases[i]);
    const struct schema_text *outbox = &c->d->events.outbox;
    if (outbox->s && !find_database(c->d, outbox->s)) {
        if (c->d->data.n)
            decl_unknown(c, "database", outbox, &c->d->data, sizeof(struct decl_database));
        else
            problem_fix(schema_problem(c->p, outbox->at, "no database is declared"),
                "add `data: {%s: {source: REGION}}`", outbox->s);
    }
    const struct decl_module *modules = c->d->modules.v;
    for (size_t i = 0; i < c->d->modules.n; i++) {
        const struct decl_need *needs = modules[i].needs.v;
        for (size_t k = 0; k < modules[i].needs.n; k++) {
            if (!needs[k].head.at)
                continue;
            check_kind(c, &needs[k]);
            check_data_need(c, &modules[i], &needs[k]);
            check_events_need(c, &modules[i], &needs[k]);
        }
    }
}
