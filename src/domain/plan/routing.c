/* SPDX-License-Identifier: Apache-2.0 */
/* What the name servers answer, and how regions are probed. */
#include "domain/plan/priv.h"

#include "base/units/units.h"
#include "domain/revision/revision.h"

#define IMPACT_ANSWERS "answers change as resolvers' copies end"

/* What differs in one value: created where it was nothing, removed where it is nothing now. */
static void diff_value(
    struct differ *d, const char *subject, const char *old, const char *new, const char *impact)
{
    if (str_eq(old, new))
        return;
    if (!old)
        plan_note(d, "new: %s", new);
    else if (!new)
        plan_note(d, "no longer declared");
    else
        plan_note(d, "%s → %s", old, new);
    plan_add(d,
        !old   ? PLAN_CREATE
        : !new ? PLAN_REMOVE
               : PLAN_UPDATE,
        "routing", impact, "%s", subject);
}

/* Anything that is a subject with a value, sorted by subject. */
struct entry {
    const char *subject, *value;
};

static int compare_entries(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    int r = strcmp(a->subject, b->subject);
    return r ? r : strcmp(a->value, b->value);
}

static int compare_subjects(const void *x, const void *y)
{
    return strcmp(((const struct entry *)x)->subject, ((const struct entry *)y)->subject);
}

static void each_entry(struct differ *d, const void *o, const void *n)
{
    const struct entry *old = o, *new = n;
    diff_value(d, old ? old->subject : new->subject, old ? old->value : NULL,
        new ? new->value : NULL, IMPACT_ANSWERS);
}

/* Sorts, and joins the values of equal subjects: several MX of one name are one set. */
static size_t settle(struct differ *d, struct entry *v, size_t n)
{
    if (n)
        qsort(v, n, sizeof *v, compare_entries);
    _cleanup_str_ struct str values = STR_INIT;
    size_t kept = 0;
    for (size_t i = 0; i < n;) {
        str_clear(&values);
        size_t k = i;
        for (; k < n && !strcmp(v[k].subject, v[i].subject); k++)
            str_addf(&values, "%s%s", k > i ? "; " : "", v[k].value);
        v[kept++] = (struct entry){v[i].subject, arena_strndup(d->scratch, values.buf, values.len)};
        i = k;
    }
    return kept;
}

static struct entry *countries_of(struct differ *d, const struct model *m, size_t *ret_n)
{
    struct entry *v = arena_alloc(d->scratch, (m->routing.n_countries + 1) * sizeof *v);
    for (size_t i = 0; i < m->routing.n_countries; i++)
        v[i] = (struct entry){arena_printf(d->scratch, "steering %s", m->routing.countries[i].code),
            plan_regions(d->scratch, &m->routing.countries[i].order)};
    *ret_n = settle(d, v, m->routing.n_countries);
    return v;
}

static struct entry *records_of(struct differ *d, const struct model *m, size_t *ret_n)
{
    const struct model_routing *r = &m->routing;
    struct entry *v =
        arena_alloc(d->scratch, (r->n_records + r->n_nameservers + r->n_overrides + 1) * sizeof *v);
    size_t n = 0;
    for (size_t i = 0; i < r->n_records; i++)
        v[n++] = (struct entry){
            arena_printf(d->scratch, "record %s %s", r->records[i].fqdn, r->records[i].type),
            arena_printf(d->scratch, "%s (ttl %llu s)", r->records[i].value,
                (unsigned long long)r->records[i].ttl_ms / 1000)};
    for (size_t i = 0; i < r->n_nameservers; i++)
        v[n++] = (struct entry){arena_printf(d->scratch, "name server %s", r->nameservers[i].label),
            r->nameservers[i].region->name};
    for (size_t i = 0; i < r->n_overrides; i++) {
        char prefix[IP_TEXT_SIZE];
        ip_prefix_format(&r->overrides[i].prefix, prefix);
        v[n++] = (struct entry){
            arena_printf(d->scratch, "country of %s", prefix), r->overrides[i].country};
    }
    *ret_n = settle(d, v, n);
    return v;
}

static void diff_health(struct differ *d)
{
    const struct model_health *old = &d->old->routing.health, *new = &d->new->routing.health;
    if (!d->old->platform) {
        char interval[UNITS_TEXT_SIZE], timeout[UNITS_TEXT_SIZE];
        units_format_duration(new->interval_ms, interval);
        units_format_duration(new->timeout_ms, timeout);
        plan_note(d, "new: every %s, timeout %s, down after %u, up after %u", interval, timeout,
            new->down, new->up);
        plan_add(d, PLAN_CREATE, "routing", "no restart", "health probing");
        return;
    }
    bool changed = plan_changed_ms(d, "interval", old->interval_ms, new->interval_ms);
    changed |= plan_changed_ms(d, "timeout", old->timeout_ms, new->timeout_ms);
    changed |= plan_changed_count(d, "down", old->down, new->down);
    changed |= plan_changed_count(d, "up", old->up, new->up);
    const char *from = NULL, *to = NULL;
    for (size_t i = 0; i < old->n_references; i++)
        from =
            from ? arena_printf(d->scratch, "%s %s", from, old->references[i]) : old->references[i];
    for (size_t i = 0; i < new->n_references; i++)
        to = to ? arena_printf(d->scratch, "%s %s", to, new->references[i]) : new->references[i];
    changed |= plan_changed(d, "references", from, to);
    if (changed)
        plan_add(d, PLAN_UPDATE, "routing", "no restart", "health probing");
}

static const char *zone_text(struct differ *d, const struct model *m)
{
    return m->platform ? arena_printf(d->scratch, "%s, ttl %llu s", m->domain,
               (unsigned long long)m->routing.ttl_ms / 1000)
                       : NULL;
}

static const char *geo_text(struct differ *d, const struct model *m, const json_t *files)
{
    const char *path = m->routing.geo_database;
    const char *digest = path ? revision_file(files, path) : NULL;
    return digest ? arena_printf(d->scratch, "%s (%.19s)", path, digest) : path;
}

void plan_diff_routing(struct differ *d)
{
    diff_value(d, "zone", zone_text(d, d->old), zone_text(d, d->new), IMPACT_ANSWERS);
    diff_health(d);
    size_t n_old, n_new;
    struct entry *old = countries_of(d, d->old, &n_old), *new = countries_of(d, d->new, &n_new);
    plan_merge(d, old, n_old, new, n_new, sizeof *old, compare_subjects, each_entry);
    diff_value(d, "steering default", plan_regions(d->scratch, &d->old->routing.fallback),
        plan_regions(d->scratch, &d->new->routing.fallback), IMPACT_ANSWERS);
    old = records_of(d, d->old, &n_old);
    new = records_of(d, d->new, &n_new);
    plan_merge(d, old, n_old, new, n_new, sizeof *old, compare_subjects, each_entry);
    diff_value(d, "geo database", geo_text(d, d->old, d->old_files),
        geo_text(d, d->new, d->new_files), IMPACT_ANSWERS);
}
