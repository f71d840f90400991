/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/model/model.h"

#include "domain/model/priv.h"

#define ARENA_CHUNK (64u * 1024)

const char *region_duty_name(enum region_duty duty)
{
    static const char *const names[] = {
        [REGION_MAIN] = "main", [REGION_DR] = "dr", [REGION_SERVING] = "serving"};
    return names[duty];
}

const char *rollout_strategy_name(enum rollout_strategy strategy)
{
    return model_rollout_words[strategy];
}

unsigned model_wave(const struct model_rollout *r, unsigned wanted)
{
    unsigned wave = r->wave ? r->wave : wanted * r->wave_percent / 100;
    return MIN(MAX(wave, 1u), MAX(wanted, 1u));
}

char *model_route_path(struct arena *a, const char *path)
{
    size_t n = strlen(path);
    return arena_strndup(a, path, n > 1 && path[n - 1] == '/' ? n - 1 : n);
}

/* The root of a declaration is a map; "nothing" is the usual slip of an empty file. */
static bool parse_decl(
    struct arena *a, const struct yaml_node *root, struct decl *d, struct problems *p)
{
    if (yaml_is_null(root)) {
        problem_fix(problems_add(p, 1, 1, "the file declares nothing"),
            "`mcp init` writes one to start from");
        return false;
    }
    schema_parse(&decl_schema, root, d, a, p);
    if (!d->head.at)
        return false;
    decl_sort(d);
    struct checker c = {.d = d, .p = p, .arena = a};
    decl_check(&c);
    decl_check_routing(&c);
    decl_check_modules(&c);
    decl_check_data(&c);
    decl_check_alarms(&c);
    decl_check_functions(&c);
    return p->total == 0;
}

/* Takes the arena that the tree lives in; root NULL: it could not be read, and p says why. */
static int parse_tree(
    struct arena *arena, const struct yaml_node *root, struct model **ret, struct problems *p)
{
    _cleanup_arena_ struct arena *a = arena;
    struct decl d = {0};
    if (!root || !parse_decl(a, root, &d, p))
        return ERR_INVALID;
    struct model *m = arena_alloc(a, sizeof *m);
    m->arena = util_steal_ptr(&a);
    decl_build(&d, m);
    *ret = m;
    return 0;
}

int model_parse_problems(const char *text, size_t len, struct model **ret, struct problems *p)
{
    struct arena *a = arena_new(ARENA_CHUNK);
    return parse_tree(a, yaml_tree_parse(a, text, len, MODEL_TEXT_MAX, p), ret, p);
}

int model_parse_json(const json_t *tree, struct model **ret, struct err *e)
{
    struct problems p;
    problems_init(&p, "platform");
    struct arena *a = arena_new(ARENA_CHUNK);
    int r = parse_tree(a, yaml_tree_from_json(a, tree, &p), ret, &p);
    if (r < 0)
        problems_err(&p, e);
    problems_done(&p);
    return r;
}

int model_parse(const char *text, size_t len, const char *name, struct model **ret,
    struct str *errors, struct err *e)
{
    struct problems p;
    problems_init(&p, name);
    int r = model_parse_problems(text, len, ret, &p);
    if (r < 0) {
        if (errors)
            problems_format(&p, errors);
        problems_err(&p, e);
    }
    problems_done(&p);
    return r;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    json_decref(m->tree);
    arena_free(m->arena);
}

static int compare_names(const void *key, const void *item)
{
    return strcmp(key, *(const char *const *)item); /* every named struct starts with its name */
}

const struct model_region *model_find_region(const struct model *m, const char *name)
{
    return m->n_regions ? bsearch(name, m->regions, m->n_regions, sizeof *m->regions, compare_names)
                        : NULL;
}

const struct model_host *model_find_host(const struct model *m, const char *name)
{
    return m->n_hosts ? bsearch(name, m->hosts, m->n_hosts, sizeof *m->hosts, compare_names) : NULL;
}

const struct model_module *model_find_module(const struct model *m, const char *name)
{
    return m->n_modules ? bsearch(name, m->modules, m->n_modules, sizeof *m->modules, compare_names)
                        : NULL;
}

const struct model_function *model_find_function(const struct model *m, const char *name)
{
    return m->n_functions
               ? bsearch(name, m->functions, m->n_functions, sizeof *m->functions, compare_names)
               : NULL;
}

const struct model_database *model_find_database(const struct model *m, const char *name)
{
    return m->n_databases
               ? bsearch(name, m->databases, m->n_databases, sizeof *m->databases, compare_names)
               : NULL;
}

const struct model_notify *model_find_notify(const struct model *m, const char *name)
{
    return m->n_notify ? bsearch(name, m->notify, m->n_notify, sizeof *m->notify, compare_names)
                       : NULL;
}

const struct model_member *model_database_member(const struct model_database *db, const char *host)
{
    for (size_t i = 0; i < db->n_members; i++)
        if (!strcmp(db->members[i].host->name, host))
            return &db->members[i];
    return NULL;
}

/* MySQL 9 keeps no hash that its clients' libraries could all log in by. */
bool model_database_has_accounts(const struct model_database *db)
{
    return db->managed || db->engine == DATA_MARIADB;
}

/* "10.9.0.5:3306", "[fd00::5]:3306"; not a name. */
static bool is_address(const char *endpoint)
{
    char text[IP_TEXT_SIZE + 2] = "";
    struct ip_addr ignored;
    bool brackets = *endpoint == '[';
    const char *end = brackets ? strchr(endpoint, ']') : strrchr(endpoint, ':');
    size_t n = end ? (size_t)(end - endpoint) - brackets : 0;
    if (n < sizeof text)
        memcpy(text, endpoint + brackets, n);
    return n && ip_parse(text, &ignored);
}

/* What goes through a gate is read there: with TLS inside it cannot be, and the mesh speaks none to
 * the server. Names of servers are not looked up on the way of a connection. */
bool model_database_has_ends(const struct model_database *db)
{
    bool all = db->managed || !db->tls;
    for (size_t i = 0; i < db->n_members && !db->managed; i++)
        all &= is_address(db->members[i].external);
    return all;
}

uint64_t model_lease_ms(const struct model_database *db)
{
    return db->managed && db->failover.declared && db->n_members > 1 ? db->failover.lease_ms : 0;
}

bool model_fails_over(const struct model_database *db)
{
    return model_lease_ms(db) || (db->failover.fence != DATA_FENCE_NONE && db->n_members > 1);
}

const struct model_grant *model_grant(
    const struct model_module *module, const struct model_database *db)
{
    for (size_t i = 0; i < module->n_grants; i++)
        if (module->grants[i].database == db)
            return &module->grants[i];
    return NULL;
}

const struct model_region *model_region_of_duty(const struct model *m, enum region_duty duty)
{
    for (size_t i = 0; i < m->n_regions; i++)
        if (m->regions[i].duty == duty)
            return &m->regions[i];
    return NULL;
}

const struct model_host *model_first_host(const struct model *m, const struct model_region *region)
{
    for (size_t i = 0; i < m->n_hosts; i++)
        if (m->hosts[i].region == region)
            return &m->hosts[i];
    return NULL;
}

bool model_needs(const struct model_module *caller, const struct model_module *target)
{
    for (size_t i = 0; i < caller->n_needs; i++)
        if (caller->needs[i] == target)
            return true;
    return false;
}

bool model_has_etcd(const struct model *m)
{
    return m->n_hosts > 1 && m->n_members > 0;
}

const char *secret_change_name(enum secret_change c)
{
    static const char *const names[] = {
        [SECRET_WATCH] = "watch", [SECRET_RESTART] = "restart", [SECRET_SIGNAL] = "signal"};
    return names[c];
}
