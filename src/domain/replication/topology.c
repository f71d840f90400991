/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/topology.h"

#include "base/ip/ip.h"

_Static_assert(MODEL_MEMBERS_MAX <= REPLICATION_MEMBERS_MAX, "a declared database fits");

struct wanted { /* a declared member with the texts it needs */
    struct replication_member m;
    char address[256];
};

/* Managed: the host's main private address. External: as declared, "HOST:PORT", "[v6]:PORT". */
static void want(const struct model_database *db, const struct model_member *member, struct wanted *w)
{
    *w = (struct wanted){.m = {.host = member->host->name,
                             .region = member->region->name,
                             .address = w->address,
                             .port = db->port,
                             .delay_ms = member->delay_ms}};
    if (!member->external) {
        ip_format(&member->host->addresses.v[0], w->address);
        return;
    }
    const char *colon = strrchr(member->external, ':');
    bool brackets = member->external[0] == '[';
    int n = (int)(colon - member->external) - (brackets ? 2 : 0);
    snprintf(w->address, sizeof w->address, "%.*s", n, member->external + brackets);
    w->m.port = (uint16_t)strtoul(colon + 1, NULL, 10);
}

static void say(struct str *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct str *out, const char *fmt, ...)
{
    if (!out)
        return;
    str_add(out, out->len ? ", " : "");
    va_list ap;
    va_start(ap, fmt);
    str_addv(out, fmt, ap);
    va_end(ap);
}

static json_t *member_json(json_t *doc, const char *host)
{
    size_t i;
    json_t *m;
    json_array_foreach (json_object_get(doc, "members"), i, m)
        if (str_eq(json_opt_str(m, "host", NULL), host))
            return m;
    return NULL;
}

static bool set_if_other(json_t *obj, const char *key, json_t *value)
{
    bool other = !json_equal(json_object_get(obj, key), value);
    json_object_set_new(obj, key, value);
    return other;
}

/* Takes over address, port and delay of one that is a member already. */
static bool renew(json_t *doc, const struct replication_member *w)
{
    json_t *m = member_json(doc, w->host);
    bool other = set_if_other(m, "address", json_string(w->address));
    other |= set_if_other(m, "port", json_integer(w->port));
    other |= set_if_other(m, "delay_ms", json_integer((json_int_t)w->delay_ms));
    return set_if_other(m, "region", json_string(w->region)) || other;
}

static json_t *form(const struct model_database *db, struct str *what)
{
    struct wanted wanted[MODEL_MEMBERS_MAX];
    struct replication_member members[MODEL_MEMBERS_MAX];
    for (size_t i = 0; i < db->n_members; i++) {
        want(db, &db->members[i], &wanted[i]);
        members[i] = wanted[i].m;
    }
    say(what, "formed with %s as its source", members[0].host);
    for (size_t i = 1; i < db->n_members; i++)
        say(what, "%s as replica", members[i].host);
    return replication_doc_new(members, db->n_members);
}

/* Is there an undeclared member in the region which must leave before another comes in? The source
 * does not leave. */
static bool region_is_taken(const struct replication_doc *d, const char *region)
{
    return str_eq(d->source->region, region);
}

static json_t *replace(json_t *old, json_t *new)
{
    json_decref(old);
    return new;
}

static void remove_gone(const struct model_database *db, const struct replication_doc *d,
    json_t **doc, struct str *what, struct str *refused)
{
    for (size_t i = 0; i < d->n_members; i++) {
        const struct replication_member *m = &d->members[i];
        if (model_database_member(db, m->host))
            continue;
        if (m == d->source) {
            say(refused, "%s is the source of %s and stays until `mcp data switchover`", m->host,
                db->name);
            continue;
        }
        *doc = replace(*doc, replication_doc_remove(*doc, m->host));
        say(what, "%s leaves", m->host);
    }
}

static void add_new(const struct model_database *db, const struct replication_doc *d, json_t **doc,
    struct str *what, struct str *refused)
{
    for (size_t i = 0; i < db->n_members; i++) {
        struct wanted w;
        want(db, &db->members[i], &w);
        if (member_json(*doc, w.m.host)) {
            if (renew(*doc, &w.m))
                say(what, "%s at %s:%u", w.m.host, w.m.address, w.m.port);
        } else if (region_is_taken(d, w.m.region)) {
            say(refused, "%s cannot join while %s of its region is the source", w.m.host,
                d->source->host);
        } else if (json_array_size(json_object_get(*doc, "members")) >= REPLICATION_MEMBERS_MAX) {
            say(refused, "%s cannot join: there are %u members", w.m.host, REPLICATION_MEMBERS_MAX);
        } else {
            *doc = replace(*doc, replication_doc_add(*doc, &w.m));
            say(what, "%s joins as replica", w.m.host);
        }
    }
}

int topology_follow(const struct model_database *db, const json_t *doc, json_t **ret,
    struct str *what, struct str *refused, struct err *e)
{
    *ret = NULL;
    if (refused)
        str_clear(refused);
    if (!doc) {
        *ret = form(db, what);
        return 0;
    }
    struct replication_doc d;
    int r = replication_doc_parse(doc, &d, e);
    if (r < 0)
        return err_wrap(e, "data/%s", db->name);
    if (d.change)
        return 0;
    json_t *new = json_deep_copy(doc);
    remove_gone(db, &d, &new, what, refused);
    add_new(db, &d, &new, what, refused);
    if (json_equal(new, doc))
        new = replace(new, NULL);
    *ret = new;
    return 0;
}
