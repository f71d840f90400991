/* SPDX-License-Identifier: Apache-2.0 */
/* Modules against regions, against themselves, and their routes against each other. */
#include "domain/model/priv.h"

#include <ctype.h>

const char *model_check_path(const char *text)
{
    static const char expected[] =
        "a path that starts with / and has no query, no blanks, no //, . or .. segments";
    if (text[0] != '/' || strstr(text, "//"))
        return expected;
    for (const char *s = text; *s; s++)
        if (*s <= 0x20 || *s >= 0x7f || strchr("?#\\", *s))
            return expected;
    for (const char *s = text; s; s = strchr(s + 1, '/')) {
        size_t n = strcspn(s + 1, "/");
        if ((n == 1 && s[1] == '.') || (n == 2 && s[1] == '.' && s[2] == '.'))
            return expected;
    }
    return NULL;
}

const char *model_check_image(const char *text)
{
    static const char expected[] = "oci:PATH[:TAG] or docker://HOST/NAME[:TAG]";
    if (str_starts(text, "docker://")) {
        const char *name = text + strlen("docker://");
        return *name && !strpbrk(name, " \t\n") && *name != '/' ? NULL : expected;
    }
    return str_starts(text, "oci:") && text[4] && text[4] != ':' ? NULL : expected;
}

const char *model_check_env_name(const char *text)
{
    static const char expected[] = "a variable's name of letters, digits and underscores";
    if (!*text || isdigit((unsigned char)*text) || strlen(text) > 256)
        return expected;
    for (const char *s = text; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_')
            return expected;
    return NULL;
}

const char *model_check_prefix(const char *text)
{
    struct ip_prefix prefix;
    return ip_prefix_parse(text, &prefix)
               ? NULL
               : "a prefix such as 10.20.0.0/16 or 2001:db8::/48 without host bits";
}

/* Longest: "*." and 253 and ":65535". */
const char *model_check_egress(const char *text)
{
    static const char expected[] = "NAME, *.NAME or either with :PORT, of at least two labels";
    char name[256];
    const char *rest = str_starts(text, "*.") ? text + 2 : text;
    size_t n = strcspn(rest, ":");
    if (n >= sizeof name)
        return expected;
    memcpy(name, rest, n);
    name[n] = '\0';
    struct ip_addr address;
    if (schema_check_dns_name(name) || ip_parse(name, &address))
        return expected;
    if (!rest[n])
        return NULL;
    char *end;
    unsigned long port = isdigit((unsigned char)rest[n + 1]) ? strtoul(rest + n + 1, &end, 10) : 0;
    return port && port <= UINT16_MAX && !*end ? NULL : expected;
}

bool model_secret_name_valid(const char *name)
{
    size_t len = strlen(name);
    if (!len || len > MODEL_SECRET_NAME_MAX || !isalnum((unsigned char)*name))
        return false;
    for (const char *s = name; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("._-", *s))
            return false;
    return true;
}

bool model_secret_is_made(const char *name)
{
    return str_starts(name, MODEL_CREDENTIAL_PREFIX);
}

const char *model_check_secret(const char *text)
{
    return model_secret_name_valid(text) ? NULL : MODEL_SECRET_NAME_EXPECTED;
}

static void check_secrets(struct checker *c, const struct decl_module *m)
{
    const struct decl_secret *v = m->secrets.v;
    for (size_t i = 0; i < m->secrets.n; i++) {
        const char *file = v[i].file.s ? v[i].file.s : v[i].name.s;
        if (v[i].name.s && model_secret_is_made(v[i].name.s))
            problem_fix(schema_problem(c->p, v[i].name.at,
                            "secrets that begin with " MODEL_CREDENTIAL_PREFIX
                            " are the platform's: passwords of databases"),
                "say `needs: [{data: DATABASE, tables: [TABLE]}]`: the file /run/secrets/DATABASE "
                "comes with it");
        for (size_t k = 0; file && k < i; k++) {
            const char *other = v[k].file.s ? v[k].file.s : v[k].name.s;
            if (other && !strcmp(file, other))
                problem_fix(schema_problem(c->p, v[i].name.at,
                                "two secrets of module %s are the file %s", m->head.key.s, file),
                    "remove one, or give it another `file`");
        }
    }
}

void decl_check_functions_exist(struct checker *c, const struct schema_list *list)
{
    const struct schema_text *names = list->v;
    for (size_t i = 0; i < list->n && !c->d->functions.at; i++)
        problem_fix(schema_problem(c->p, names[i].at, "unknown function \"%s\"", names[i].s),
            "declare it: `functions: {%s: {image: oci:PATH}}`", names[i].s);
    for (size_t i = 0; i < list->n && c->d->functions.at; i++)
        if (!decl_find(&c->d->functions, sizeof(struct decl_function), names[i].s))
            decl_unknown(
                c, "function", &names[i], &c->d->functions, sizeof(struct decl_function));
}

/* Functions and modules are one space of names: secrets are granted by it, and the way out. */
static void check_function(struct checker *c, const struct decl_function *f)
{
    const struct schema_text *key = &f->head.key;
    struct decl_module as = f->as;
    as.head.key = *key;
    check_secrets(c, &as);
    if (decl_find(&c->d->modules, sizeof(struct decl_module), key->s))
        problem_fix(schema_problem(c->p, key->at, "%s is a module and a function", key->s),
            "choose another name for one of them");
    if (!strcmp(key->s, "egress"))
        problem_fix(schema_problem(c->p, key->at, "egress.mcp.internal is the way out"),
            "choose another name");
}

const char *model_check_may(const char *text)
{
    enum function_right ignored;
    return function_right_parse(text, &ignored) ? NULL : "dns:SteerAway or dns:SteerBack";
}

void decl_check_functions(struct checker *c)
{
    const struct decl_function *functions = c->d->functions.v;
    const struct decl_module *modules = c->d->modules.v;
    const struct decl_database *databases = c->d->data.v;
    for (size_t i = 0; i < c->d->functions.n; i++)
        check_function(c, &functions[i]);
    for (size_t i = 0; i < c->d->modules.n; i++) {
        decl_check_functions_exist(c, &modules[i].before);
        decl_check_functions_exist(c, &modules[i].after);
    }
    for (size_t i = 0; i < c->d->data.n; i++) {
        decl_check_functions_exist(c, &databases[i].failover.before);
        decl_check_functions_exist(c, &databases[i].failover.after);
        struct schema_text fence = databases[i].failover.fence.function;
        decl_check_functions_exist(c, &(struct schema_list){&fence, fence.s ? 1 : 0, fence.at});
    }
}

static const struct decl_module *find_module(const struct decl *d, const char *name)
{
    const struct decl_module *v = d->modules.v;
    for (size_t i = 0; i < d->modules.n; i++)
        if (!strcmp(v[i].head.key.s, name))
            return &v[i];
    return NULL;
}

static void check_need(
    struct checker *c, const struct decl_module *m, const struct schema_text *target)
{
    const struct decl_module *to = find_module(c->d, target->s);
    if (!to)
        decl_unknown(c, "module", target, &c->d->modules, sizeof(struct decl_module));
    else if (to == m)
        problem_fix(schema_problem(c->p, target->at, "module %s needs itself", m->head.key.s),
            "remove it: instances of one module do not call each other");
    else if (to->head.at && !yaml_map_get(to->head.at, "port"))
        problem_fix(
            schema_problem(c->p, target->at, "module %s has no port to be called on", target->s),
            "add `port: 8080` to module %s, where it listens", target->s);
}

static void check_needs(struct checker *c, const struct decl_module *m)
{
    const struct decl_need *needs = m->needs.v;
    for (size_t i = 0; i < m->needs.n; i++) {
        if (!needs[i].module.s)
            continue;
        check_need(c, m, &needs[i].module);
        for (size_t k = 0; k < i; k++)
            if (needs[k].module.s && !strcmp(needs[k].module.s, needs[i].module.s))
                problem_fix(schema_problem(c->p, needs[i].module.at, "module %s is needed twice",
                                needs[i].module.s),
                    "remove one of them");
    }
}

static void check_instances(struct checker *c, const struct decl_module *m)
{
    const struct decl_instances *rows = m->regions.v;
    int64_t total = 0;
    for (size_t i = 0; i < m->regions.n; i++) {
        const struct schema_text *key = &rows[i].head.key;
        if (strcmp(key->s, "each") != 0 && !decl_find_region(c->d, key->s))
            decl_unknown(c, "region", key, &c->d->regions, sizeof(struct decl_region));
        if (rows[i].active + rows[i].standby > MODEL_INSTANCES_MAX)
            problem_fix(
                schema_problem(c->p, key->at, "more than %d instances of one module in one region",
                    MODEL_INSTANCES_MAX),
                "take fewer");
        total += rows[i].active + rows[i].standby;
    }
    if (m->regions.n && m->regions.at->n == m->regions.n && total == 0)
        problem_fix(schema_problem(
                        c->p, m->regions.at, "module %s has no instance anywhere", m->head.key.s),
            "raise a count, or remove the module");
}

static void check_probe(struct checker *c, const struct decl_module *m)
{
    const struct decl_probe *h = &m->health;
    const struct yaml_node *at = h->head.at;
    if (!at)
        return;
    bool wrong_kind = h->kind < 0 && yaml_map_get(at, "kind");
    bool http = h->kind == PROBE_HTTP, exec = h->kind == PROBE_EXEC;
    bool path = yaml_map_get(at, "path"), command = yaml_map_get(at, "command");
    if (h->timeout_ms && h->interval_ms && h->timeout_ms >= h->interval_ms)
        problem_fix(schema_problem(c->p, schema_at(&h->head, "timeout"),
                        "the probe's timeout must be shorter than its interval"),
            "shorten `timeout` or lengthen `interval`");
    if (wrong_kind)
        return;
    if (path && command)
        problem_fix(schema_problem(c->p, schema_at(&h->head, "command"),
                        "a probe asks for a path or runs a command, not both"),
            "keep one of them");
    else if (h->kind >= 0 && !http && path)
        problem_fix(
            schema_problem(c->p, schema_at(&h->head, "path"), "only an http probe has a path"),
            "write `kind: http`");
    else if (h->kind >= 0 && !exec && command)
        problem_fix(schema_problem(
                        c->p, schema_at(&h->head, "command"), "only an exec probe has a command"),
            "write `kind: exec`");
    if (http && !path)
        problem_fix(schema_problem(c->p, at, "an http probe needs a path"), "add `path: /healthz`");
    if (exec && !command)
        problem_fix(
            schema_problem(c->p, at, "an exec probe needs a command"), "add `command: [...]`");
}

const char *model_check_wave(const char *text)
{
    static const char expected[] = "a number from 1 to 99 or a percentage from 1% to 100%";
    char *end;
    if (!isdigit((unsigned char)*text))
        return expected;
    unsigned long n = strtoul(text, &end, 10);
    bool percent = !strcmp(end, "%");
    return n >= 1 && n <= (percent ? 100u : 99u) && (percent || !*end) ? NULL : expected;
}

/* What nothing probes counts as ready when it runs: requests would meet what has not begun to
 * listen. */
static void check_rollout(struct checker *c, const struct decl_module *m)
{
    const struct decl_rollout *r = &m->rollout;
    if (m->route.n && m->health.kind == PROBE_NONE && r->strategy != ROLLOUT_REPLACE)
        problem_fix(
            schema_problem(c->p, schema_at(&m->head, "health"),
                "module %s has a route and no health probe: a %s rollout cannot know when a new "
                "instance answers, and requests would fail",
                m->head.key.s, model_rollout_words[MAX(r->strategy, 0)]),
            "give it a probe (`health: {path: /healthz}`), or take the gap with "
            "`rollout: {strategy: replace}`");
    if (r->deadline_ms && m->health.start_timeout_ms
        && r->deadline_ms <= m->health.start_timeout_ms)
        problem_fix(schema_problem(c->p, schema_at(&m->head, "rollout"),
                        "module %s: an instance may take longer to start (health.start_timeout) "
                        "than its rollout has (rollout.deadline)",
                        m->head.key.s),
            "lengthen `deadline` or shorten `start_timeout`");
}

static bool any_routable(const struct decl *d)
{
    const struct decl_region *regions = d->regions.v;
    for (size_t i = 0; i < d->regions.n; i++)
        if (regions[i].address.at && decl_public_host(d, &regions[i]))
            return true;
    return false;
}

static void check_port(struct checker *c, const struct decl_module *m)
{
    const struct decl_probe *h = &m->health;
    if (!m->head.at || yaml_map_get(m->head.at, "port"))
        return;
    if (m->route.at)
        problem_fix(schema_problem(c->p, schema_at(&m->head, "route"),
                        "module %s has a route but no port", m->head.key.s),
            "add `port: 8080`, where it listens");
    if (h->head.at && (h->kind == PROBE_HTTP || h->kind == PROBE_TCP || (h->kind < 0 && h->path.s)))
        problem_fix(schema_problem(c->p, h->head.at,
                        "module %s is probed over the network but has no port", m->head.key.s),
            "add `port: 8080`, where it listens");
}

/* One (name, path) of one route. */
struct served {
    const char *name, *path, *module;
    const struct yaml_node *at;
};

static int compare_served(const void *x, const void *y)
{
    const struct served *a = x, *b = y;
    int r = strcmp(a->name, b->name);
    r = r ? r : strcmp(a->path, b->path);
    if (r)
        return r;
    return a->at->line != b->at->line
               ? (a->at->line < b->at->line ? -1 : 1)
               : (a->at->column > b->at->column) - (a->at->column < b->at->column);
}

struct all_served {
    struct served *v;
    size_t n, cap;
};

static void collect_routes(
    struct checker *c, const struct decl_module *m, const char *domain, struct all_served *all)
{
    const struct decl_route *routes = m->route.v;
    for (size_t i = 0; i < m->route.n; i++) {
        const struct schema_text *names = routes[i].names.v;
        for (size_t k = 0; k < routes[i].names.n; k++) {
            const char *name = decl_lower_name(c->arena, names[k].s);
            if (domain && !decl_in_domain(name, domain))
                problem_fix(schema_problem(c->p, names[k].at,
                                "%s is not in the platform's domain %s", name, domain),
                    "serve a name that ends with .%s", domain);
            if (routes[i].path.s)
                *GROW(all->v, all->n, all->cap) = (struct served){
                    name, model_route_path(c->arena, routes[i].path.s), m->head.key.s, names[k].at};
        }
    }
}

static void check_routes(struct checker *c)
{
    const struct decl_module *modules = c->d->modules.v;
    const char *domain = c->d->domain.s ? decl_lower_name(c->arena, c->d->domain.s) : NULL;
    struct all_served all = {0};
    for (size_t i = 0; i < c->d->modules.n; i++)
        collect_routes(c, &modules[i], domain, &all);
    if (all.n)
        qsort(all.v, all.n, sizeof *all.v, compare_served);
    for (size_t i = 1; i < all.n; i++) {
        const struct served *a = &all.v[i - 1], *b = &all.v[i];
        if (!strcmp(a->name, b->name) && !strcmp(a->path, b->path))
            problem_fix(
                schema_problem(c->p, b->at, "%s%s is served twice; module %s has it in line %u",
                    b->name, b->path, a->module, a->at->line),
                "change the name or the path of one of them");
    }
    if (all.n && c->d->regions.n && c->d->hosts.n && !any_routable(c->d))
        problem_fix(schema_problem(c->p, all.v[0].at,
                        "a route needs a region that users can be sent to; none has a public host"),
            "give a host `public: true` and its region an `address`");
    free(all.v);
}

void decl_check_modules(struct checker *c)
{
    const struct decl_module *modules = c->d->modules.v;
    for (size_t i = 0; i < c->d->modules.n; i++) {
        check_instances(c, &modules[i]);
        check_probe(c, &modules[i]);
        check_port(c, &modules[i]);
        check_needs(c, &modules[i]);
        if (!strcmp(modules[i].head.key.s, "egress"))
            problem_fix(schema_problem(c->p, modules[i].head.key.at,
                            "egress.mcp.internal is the way out: no module has that name"),
                "choose another name");
        check_rollout(c, &modules[i]);
        check_secrets(c, &modules[i]);
    }
    check_routes(c);
}
