/* SPDX-License-Identifier: Apache-2.0 */
/* Regions, hosts, members of the state store, and the lab's network. */
#include "domain/plan/priv.h"

static const char *networks_of(struct differ *d, const struct model_region *r)
{
    const char *text = NULL;
    char one[IP_TEXT_SIZE];
    for (size_t i = 0; i < r->n_networks; i++) {
        ip_prefix_format(&r->networks[i], one);
        text = text ? arena_printf(d->scratch, "%s %s", text, one) : arena_strdup(d->scratch, one);
    }
    return text;
}

static void each_region(struct differ *d, const void *o, const void *n)
{
    const struct model_region *old = o, *new = n;
    if (!new)
        return;
    if (!old) {
        plan_note(d, "new: duty %s, network %s", region_duty_name(new->duty), networks_of(d, new));
        if (new->addresses.n)
            plan_note(d, "address %s", plan_addresses(d->scratch, &new->addresses));
        plan_add(d, PLAN_CREATE, "hosts", "no restart", "region %s", new->name);
        return;
    }
    bool changed =
        plan_changed(d, "duty", region_duty_name(old->duty), region_duty_name(new->duty));
    changed |= plan_changed(d, "network", networks_of(d, old), networks_of(d, new));
    bool moved = plan_changed(d, "address", plan_addresses(d->scratch, &old->addresses),
        plan_addresses(d->scratch, &new->addresses));
    if (changed || moved)
        plan_add(d, PLAN_UPDATE, "hosts",
            moved ? "its public host listens on the new addresses" : "no restart", "region %s",
            new->name);
}

static const char *bridge_of(struct differ *d, const struct model_host *h)
{
    char text[IP_TEXT_SIZE];
    ip_prefix_format(&h->bridge, text);
    return arena_strdup(d->scratch, text);
}

static void each_host(struct differ *d, const void *o, const void *n)
{
    const struct model_host *old = o, *new = n;
    if (!new)
        return;
    if (!old) {
        plan_note(d, "new: in %s, address %s", new->region->name,
            plan_addresses(d->scratch, &new->addresses));
        plan_add(d, PLAN_CREATE, "hosts",
            new->is_public ? "starts control, agent, resolver, dns and edge"
                           : "starts control, agent and resolver",
            "host %s", new->name);
        return;
    }
    bool moved = plan_changed(d, "region", old->region->name, new->region->name);
    moved |= plan_changed(d, "address", plan_addresses(d->scratch, &old->addresses),
        plan_addresses(d->scratch, &new->addresses));
    bool bridge = plan_changed(d, "bridge", bridge_of(d, old), bridge_of(d, new));
    bool public = plan_changed(
        d, "public", old->is_public ? "true" : "false", new->is_public ? "true" : "false");
    if (moved || bridge)
        plan_add(d, PLAN_REPLACE, "hosts", "restarts the host's roles and instances", "host %s",
            new->name);
    else if (public)
        plan_add(d, PLAN_UPDATE, "hosts",
            new->is_public ? "starts dns and edge" : "stops dns and edge", "host %s", new->name);
}

/* Members in the order of their names, for the merge. */
static const char **member_names(struct differ *d, const struct model *m)
{
    const char **names = arena_alloc(d->scratch, (m->n_members + 1) * sizeof *names);
    for (size_t i = 0; i < m->n_members; i++)
        names[i] = m->members[i]->name;
    if (m->n_members)
        qsort(names, m->n_members, sizeof *names, plan_by_name);
    return names;
}

static void each_member(struct differ *d, const void *o, const void *n)
{
    const char *const *new = n;
    if (o || !n)
        return;
    plan_note(d, "new: one of %zu", d->new->n_members);
    plan_add(d, PLAN_CREATE, "hosts", "starts etcd", "state member %s", *new);
}

static void each_removed_region(struct differ *d, const void *o, const void *n)
{
    const struct model_region *old = o;
    if (n)
        return;
    plan_note(d, "no longer declared");
    plan_add(d, PLAN_REMOVE, "hosts", "no restart", "region %s", old->name);
}

static void each_removed_host(struct differ *d, const void *o, const void *n)
{
    const struct model_host *old = o;
    if (n)
        return;
    plan_note(d, "no longer declared");
    plan_add(d, PLAN_REMOVE, "hosts", "stops the host's roles", "host %s", old->name);
}

static void each_removed_member(struct differ *d, const void *o, const void *n)
{
    const char *const *old = o;
    if (n)
        return;
    plan_note(d, "no longer a member");
    plan_add(d, PLAN_REMOVE, "hosts", "stops etcd", "state member %s", *old);
}

void plan_diff_hosts(struct differ *d, bool removals)
{
    const struct model *old = d->old, *new = d->new;
    const char **old_members = member_names(d, old), **new_members = member_names(d, new);
    if (!removals) {
        plan_merge(d, old->regions, old->n_regions, new->regions, new->n_regions,
            sizeof *old->regions, plan_by_name, each_region);
        plan_merge(d, old->hosts, old->n_hosts, new->hosts, new->n_hosts, sizeof *old->hosts,
            plan_by_name, each_host);
        plan_merge(d, old_members, old->n_members, new_members, new->n_members, sizeof *old_members,
            plan_by_name, each_member);
        return;
    }
    plan_merge(d, old_members, old->n_members, new_members, new->n_members, sizeof *old_members,
        plan_by_name, each_removed_member);
    plan_merge(d, old->hosts, old->n_hosts, new->hosts, new->n_hosts, sizeof *old->hosts,
        plan_by_name, each_removed_host);
    plan_merge(d, old->regions, old->n_regions, new->regions, new->n_regions, sizeof *old->regions,
        plan_by_name, each_removed_region);
}

/* A line between two regions, its ends in order; a client's prefix with its country. */
struct lab_item {
    const char *name, *value;
};

static int compare_wan(const void *x, const void *y)
{
    const struct lab_item *a = x, *b = y;
    return strcmp(a->name, b->name);
}

static struct lab_item *lab_items(struct differ *d, const struct model *m, size_t *ret_n)
{
    size_t n = 0;
    struct lab_item *items =
        arena_alloc(d->scratch, (m->lab.n_wan + m->lab.n_clients + 1) * sizeof *items);
    for (size_t i = 0; i < m->lab.n_wan; i++) {
        const struct model_wan *w = &m->lab.wan[i];
        bool ordered = strcmp(w->a->name, w->b->name) < 0;
        items[n].name = arena_printf(d->scratch, "line %s – %s", ordered ? w->a->name : w->b->name,
            ordered ? w->b->name : w->a->name);
        items[n++].value = arena_printf(d->scratch, "%g ms, %g%% lost%s",
            (double)w->delay_us / 1000, w->loss * 100,
            w->rate_bps ? arena_printf(d->scratch, ", %g Mbit/s", (double)w->rate_bps / 1e6) : "");
    }
    for (size_t i = 0; i < m->lab.n_clients; i++) {
        char text[IP_TEXT_SIZE];
        ip_prefix_format(&m->lab.clients[i].prefix, text);
        items[n].name = arena_printf(d->scratch, "clients %s", text);
        items[n++].value = m->lab.clients[i].country;
    }
    if (n)
        qsort(items, n, sizeof *items, compare_wan);
    *ret_n = n;
    return items;
}

static void each_lab_item(struct differ *d, const void *o, const void *n)
{
    const struct lab_item *old = o, *new = n;
    static const char impact[] = "at the next `mcp up`";
    if (!old) {
        plan_note(d, "new: %s", new->value);
        plan_add(d, PLAN_CREATE, "lab", impact, "%s", new->name);
    } else if (!new) {
        plan_note(d, "no longer declared");
        plan_add(d, PLAN_REMOVE, "lab", impact, "%s", old->name);
    } else if (!str_eq(old->value, new->value)) {
        plan_note(d, "%s → %s", old->value, new->value);
        plan_add(d, PLAN_UPDATE, "lab", impact, "%s", new->name);
    }
}

void plan_diff_lab(struct differ *d)
{
    size_t n_old, n_new;
    struct lab_item *old = lab_items(d, d->old, &n_old), *new = lab_items(d, d->new, &n_new);
    plan_merge(d, old, n_old, new, n_new, sizeof *old, compare_wan, each_lab_item);
}
