/* SPDX-License-Identifier: Apache-2.0 */
/* Module instances region by region, and the routes to them. */
#include "domain/plan/priv.h"

#include "base/units/units.h"
#include "domain/revision/revision.h"

struct instance { /* one module in one region */
    const struct model_module *module;
    const struct model_instances *count;
};

static int compare_instances(const void *x, const void *y)
{
    const struct instance *a = x, *b = y;
    int r = strcmp(a->module->name, b->module->name);
    return r ? r : strcmp(a->count->region->name, b->count->region->name);
}

/* Sorted as it is made: modules by name, their regions by index, which is by name. */
static struct instance *instances_of(struct differ *d, const struct model *m, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_modules; i++)
        n += m->modules[i].n_instances;
    struct instance *v = arena_alloc(d->scratch, (n + 1) * sizeof *v);
    *ret_n = n;
    n = 0;
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_instances; k++)
            v[n++] = (struct instance){&m->modules[i], &m->modules[i].instances[k]};
    return v;
}

static const char *digest_of(const json_t *files, const struct model_module *m)
{
    const char *key = revision_image_key(m->image);
    return key ? revision_file(files, key) : NULL;
}

/* "oci:images/api (sha256:0123456789ab)": twelve digits tell images apart for people. */
static const char *image_text(struct differ *d, const json_t *files, const struct model_module *m)
{
    const char *digest = digest_of(files, m);
    return digest ? arena_printf(d->scratch, "%s (%.19s)", m->image, digest) : m->image;
}

static bool words_equal(const char *const *a, const char *const *b)
{
    if (!a || !b)
        return a == b;
    while (*a && *b && !strcmp(*a, *b))
        a++, b++;
    return !*a && !*b;
}

#define WORDS_SHOWN 120u

static bool words_changed(
    struct differ *d, const char *what, const char *const *old, const char *const *new)
{
    if (words_equal(old, new))
        return false;
    const char *const *sides[] = {old, new};
    _cleanup_str_ struct str text = STR_INIT;
    for (int k = 0; k < 2; k++) {
        size_t start = text.len;
        for (size_t i = 0; sides[k] && sides[k][i] && text.len - start < WORDS_SHOWN; i++) {
            size_t n = str_utf8_cut(sides[k][i], WORDS_SHOWN);
            str_addf(
                &text, "%s%.*s%s", i ? " " : "", (int)n, sides[k][i], sides[k][i][n] ? "..." : "");
        }
        str_add(&text, k ? "" : sides[k] ? " → " : "none → ");
    }
    plan_note(d, "%s: %s%s", what, text.buf, new ? "" : "none");
    return true;
}

/* By name, of "NAME=value". */
static int compare_env(const char *a, const char *b)
{
    size_t n = strcspn(a, "="), m = strcspn(b, "=");
    int r = memcmp(a, b, MIN(n, m));
    return r ? r : (n > m) - (n < m);
}

/* Names only: values may be long. Both are sorted by name. */
static bool env_changed(struct differ *d, const char *const *old, const char *const *new)
{
    _cleanup_str_ struct str names = STR_INIT;
    while (*old || *new) {
        int r = !*old ? 1 : !*new ? -1 : compare_env(*old, *new);
        const char *one = r <= 0 ? *old : *new;
        ASSERT(one);
        if (r || strcmp(*old, *new) != 0)
            str_addf(&names, " %.*s", (int)strcspn(one, "="), one);
        old += r <= 0;
        new += r >= 0;
    }
    if (names.len)
        plan_note(d, "env:%s", names.buf);
    return names.len > 0;
}

static const char *secrets_text(struct differ *d, const struct model_module *m)
{
    const char *text = NULL;
    for (size_t i = 0; i < m->n_secrets; i++) {
        const struct model_secret *s = &m->secrets[i];
        if (s->made)
            continue; /* follows from its needs */
        bool plain = !strcmp(s->file, s->name) && s->mode == 0400 && s->on_change == SECRET_WATCH;
        const char *one = plain ? s->name
                                : arena_printf(d->scratch, "%s (file %s, mode %04o, %s)", s->name,
                                    s->file, s->mode, secret_change_name(s->on_change));
        text = text ? arena_printf(d->scratch, "%s, %s", text, one) : one;
    }
    return text;
}

/* Names are told, for values are not known here. */
static bool secrets_changed(
    struct differ *d, const struct model_module *old, const struct model_module *new)
{
    return plan_changed(d, "secrets", secrets_text(d, old), secrets_text(d, new));
}

static bool limits_changed(
    struct differ *d, const struct model_limits *old, const struct model_limits *new)
{
    char from[UNITS_TEXT_SIZE], to[UNITS_TEXT_SIZE];
    units_format_size(old->memory_bytes, from);
    units_format_size(new->memory_bytes, to);
    bool changed = plan_changed(d, "memory", from, to);
    snprintf(from, sizeof from, old->cpu_milli ? "%g" : "no limit", old->cpu_milli / 1000.0);
    snprintf(to, sizeof to, new->cpu_milli ? "%g" : "no limit", new->cpu_milli / 1000.0);
    changed |= plan_changed(d, "cpu", from, to);
    return plan_changed_count(d, "pids", old->pids, new->pids) || changed;
}

static bool probe_changed(
    struct differ *d, const struct model_probe *old, const struct model_probe *new)
{
    static const char *const kinds[] = {
        [PROBE_HTTP] = "http", [PROBE_TCP] = "tcp", [PROBE_EXEC] = "exec", [PROBE_NONE] = "none"};
    bool changed = plan_changed(d, "probe", kinds[old->kind], kinds[new->kind]);
    changed |= plan_changed(d, "probe path", old->path, new->path);
    changed |= words_changed(d, "probe command", old->command, new->command);
    changed |= plan_changed_ms(d, "probe interval", old->interval_ms, new->interval_ms);
    changed |= plan_changed_ms(d, "probe timeout", old->timeout_ms, new->timeout_ms);
    changed |= plan_changed_ms(d, "start timeout", old->start_timeout_ms, new->start_timeout_ms);
    return plan_changed_count(d, "probe failures", old->failures, new->failures) || changed;
}

/* Anything of it in an instance's spec: the process is another then. */
static bool spec_changed(
    struct differ *d, const struct model_module *old, const struct model_module *new)
{
    bool changed = false;
    if (!str_eq(digest_of(d->old_files, old), digest_of(d->new_files, new)))
        changed = plan_changed(
            d, "image", image_text(d, d->old_files, old), image_text(d, d->new_files, new));
    changed |= plan_changed_count(d, "port", old->port, new->port);
    changed |= words_changed(d, "command", old->command, new->command);
    changed |= env_changed(d, old->env, new->env);
    if (!old->n_egress != !new->n_egress)
        changed |= plan_changed(d, "proxy in its environment", old->n_egress ? "yes" : "no",
            new->n_egress ? "yes" : "no");
    changed |= secrets_changed(d, old, new);
    changed |= limits_changed(d, &old->limits, &new->limits);
    changed |= probe_changed(d, &old->probe, &new->probe);
    return plan_changed_ms(d, "stop timeout", old->stop_timeout_ms, new->stop_timeout_ms)
           || changed;
}

/* How it will be replaced from now on; replaces nothing itself. */
static bool rollout_changed(
    struct differ *d, const struct model_rollout *old, const struct model_rollout *new)
{
    bool changed = plan_changed(
        d, "rollout", rollout_strategy_name(old->strategy), rollout_strategy_name(new->strategy));
    if (old->wave != new->wave || old->wave_percent != new->wave_percent)
        changed |= plan_changed(d, "wave",
            arena_printf(d->scratch, old->wave ? "%u" : "%u%%", old->wave + old->wave_percent),
            arena_printf(d->scratch, new->wave ? "%u" : "%u%%", new->wave + new->wave_percent));
    changed |= plan_changed_count(d, "canary weight", old->canary_weight, new->canary_weight);
    changed |= plan_changed_ms(d, "canary time", old->canary_ms, new->canary_ms);
    changed |= plan_changed_ms(d, "rollout deadline", old->deadline_ms, new->deadline_ms);
    return plan_changed_ms(d, "drain", old->drain_ms, new->drain_ms) || changed;
}

static const char *count_text(struct differ *d, const char *verb, unsigned n)
{
    return arena_printf(d->scratch, "%s %u instance%s", verb, n, n == 1 ? "" : "s");
}

static const char *replaced_text(struct differ *d, const struct model_module *m, unsigned n)
{
    if (m->rollout.strategy == ROLLOUT_REPLACE)
        return count_text(d, "restarts", n);
    return arena_printf(d->scratch, "%s, none lost", count_text(d, "rolls", n));
}

static const char *join(struct differ *d, const char *a, const char *b)
{
    return a && b ? arena_printf(d->scratch, "%s, %s", a, b) : a ? a : b ? b : "no restart";
}

static const char *counts_text(struct differ *d, const struct model_instances *c)
{
    if (!c->standby)
        return arena_printf(d->scratch, "%u active", c->active);
    return c->active ? arena_printf(d->scratch, "%u active, %u standby", c->active, c->standby)
                     : arena_printf(d->scratch, "%u standby", c->standby);
}

static void create_instances(struct differ *d, const struct instance *new)
{
    plan_note(
        d, "new: %s of %s", counts_text(d, new->count), image_text(d, d->new_files, new->module));
    const char *starts = new->count->active ? count_text(d, "starts", new->count->active) : NULL;
    const char *keeps = new->count->standby ? count_text(d, "holds", new->count->standby) : NULL;
    plan_add(d, PLAN_CREATE, "modules", join(d, starts, keeps), "module %s in %s",
        new->module->name, new->count->region->name);
}

static void each_instance(struct differ *d, const void *o, const void *n)
{
    const struct instance *old = o, *new = n;
    if (!new)
        return;
    if (!old) {
        create_instances(d, new);
        return;
    }
    bool restart = spec_changed(d, old->module, new->module);
    unsigned was = old->count->active, is = new->count->active;
    bool counts = plan_changed_count(d, "active", was, is);
    counts |= plan_changed_count(d, "standby", old->count->standby, new->count->standby);
    bool rollout = rollout_changed(d, &old->module->rollout, &new->module->rollout);
    if (!restart && !counts && !rollout)
        return;
    const char *kept = restart && MIN(was, is) ? replaced_text(d, new->module, MIN(was, is)) : NULL;
    const char *moved = is > was   ? count_text(d, "starts", is - was)
                        : is < was ? count_text(d, "stops", was - is)
                                   : NULL;
    plan_add(d, restart && was ? PLAN_REPLACE : PLAN_UPDATE, "modules", join(d, kept, moved),
        "module %s in %s", new->module->name, new->count->region->name);
}

static void each_removed_instance(struct differ *d, const void *o, const void *n)
{
    const struct instance *old = o;
    if (n)
        return;
    bool module_stays = model_find_module(d->new, old->module->name) != NULL;
    plan_note(d, module_stays ? "no longer in this region" : "no longer declared");
    plan_add(d, PLAN_REMOVE, "modules",
        join(d, old->count->active ? count_text(d, "stops", old->count->active) : NULL, NULL),
        "module %s in %s", old->module->name, old->count->region->name);
}

void plan_diff_modules(struct differ *d, bool removals)
{
    size_t n_old, n_new;
    struct instance *old = instances_of(d, d->old, &n_old), *new = instances_of(d, d->new, &n_new);
    plan_merge(d, old, n_old, new, n_new, sizeof *old, compare_instances,
        removals ? each_removed_instance : each_instance);
}

struct served { /* one name and path */
    const char *name, *path, *module;
    enum route_auth auth;
};

static int compare_served(const void *x, const void *y)
{
    const struct served *a = x, *b = y;
    int r = strcmp(a->name, b->name);
    return r ? r : strcmp(a->path, b->path);
}

static struct served *served_of(struct differ *d, const struct model *m, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            n += m->modules[i].routes[k].n_names;
    struct served *v = arena_alloc(d->scratch, (n + 1) * sizeof *v);
    *ret_n = n;
    n = 0;
    for (size_t i = 0; i < m->n_modules; i++) {
        for (size_t k = 0; k < m->modules[i].n_routes; k++) {
            const struct model_route *r = &m->modules[i].routes[k];
            for (size_t j = 0; j < r->n_names; j++)
                v[n++] = (struct served){r->names[j], r->path, m->modules[i].name, r->auth};
        }
    }
    if (n)
        qsort(v, n, sizeof *v, compare_served);
    return v;
}

static const char *auth_text(enum route_auth auth)
{
    return auth == AUTH_JWT ? "jwt" : "none";
}

static void each_route(struct differ *d, const void *o, const void *n)
{
    const struct served *old = o, *new = n;
    if (!new)
        return;
    if (!old) {
        plan_note(d, "new: to module %s, auth %s", new->module, auth_text(new->auth));
        plan_add(d, PLAN_CREATE, "routes", "no restart", "route %s%s", new->name, new->path);
        return;
    }
    bool changed = plan_changed(d, "module", old->module, new->module);
    changed |= plan_changed(d, "auth", auth_text(old->auth), auth_text(new->auth));
    if (changed)
        plan_add(d, PLAN_UPDATE, "routes", "no restart", "route %s%s", new->name, new->path);
}

static void each_removed_route(struct differ *d, const void *o, const void *n)
{
    const struct served *old = o;
    if (n)
        return;
    plan_note(d, "no longer declared");
    plan_add(d, PLAN_REMOVE, "routes", "no restart", "route %s%s", old->name, old->path);
}

void plan_diff_routes(struct differ *d, bool removals)
{
    size_t n_old, n_new;
    struct served *old = served_of(d, d->old, &n_old), *new = served_of(d, d->new, &n_new);
    plan_merge(d, old, n_old, new, n_new, sizeof *old, compare_served,
        removals ? each_removed_route : each_route);
}
