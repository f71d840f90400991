/* SPDX-License-Identifier: Apache-2.0 */
/* Says why an answer is what it is, for people and for scripts. */
#include "domain/steering/priv.h"

#include "base/clock/clock.h"

void steer_region_state(
    const struct steer *s, size_t name, size_t region, struct steer_region_state *ret)
{
    const struct target *t = steer_target(s, name, region);
    *ret = (struct steer_region_state){.state = t->concluded,
        .why = t->why,
        .since_wall_ms = t->since_wall_ms,
        .held = t->held,
        .away = steer_away_from(s, name, region) != NULL,
        .verdict = t->verdict,
        .own = t->own.class};
}

json_t *steer_choices_format(const struct steer *s, uint64_t seq)
{
    const struct steer_plan *p = s->plan;
    json_t *names = json_object();
    for (size_t n = 0; n < p->space.n_names; n++) {
        json_t *choice = json_array();
        uint32_t ttl_s = p->ttl_s;
        for (size_t l = 0; l < p->n_lists; l++) {
            struct steer_choice c = steer_choice(s, n, l);
            json_array_append_new(choice, json_integer(c.region));
            ttl_s = MIN(ttl_s, c.ttl_s); /* a zone keeps one TTL a name */
        }
        json_object_set_new(names, p->space.names[n],
            json_pack("{s:I,s:o}", "ttl_s", (json_int_t)ttl_s, "choice", choice));
    }
    return json_pack("{s:I,s:I,s:o}", "revision", (json_int_t)p->revision, "seq", (json_int_t)seq,
        "names", names);
}

static json_t *region_names(const struct steer_plan *p, uint64_t mask)
{
    json_t *v = json_array();
    for (size_t r = 0; r < p->space.n_regions; r++)
        if (mask >> r & 1)
            json_array_append_new(v, json_string(p->space.regions[r]));
    return v;
}

static json_t *region_object(const struct steer *s, size_t name, size_t region)
{
    const struct steer_plan *p = s->plan;
    if (!(p->serves[name] >> region & 1))
        return json_pack("{s:s,s:s}", "name", p->space.regions[region], "state", "not-here");
    struct steer_region_state st;
    steer_region_state(s, name, region, &st);
    const struct health_verdict *v = &st.verdict;
    json_t *j = json_pack("{s:s,s:s,s:s,s:o,s:o,s:i,s:i,s:i,s:b}", "name", p->space.regions[region],
        "state", health_state_name(st.state), "own", health_class_name(st.own), "down_by",
        region_names(p, v->down_by), "up_by", region_names(p, v->up_by), "need", (int)v->need,
        "eligible", (int)v->eligible, "heard", (int)v->heard, "held", st.held);
    char stamp[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(st.since_wall_ms, stamp);
    if (st.since_wall_ms)
        json_object_set_new(j, "since", json_string(stamp));
    const json_t *away = steer_away_from(s, name, region);
    if (away)
        json_object_set_new(j, "away",
            json_pack("{s:s,s:s}", "by", json_opt_str(away, "by", "?"), "why",
                json_opt_str(away, "why", "")));
    if (st.state == HEALTH_DOWN)
        json_object_set_new(j, "why", json_string(health_class_name(st.why)));
    return j;
}

static void add_away(const struct steer *s, size_t name, size_t region, struct str *out)
{
    const json_t *away = steer_away_from(s, name, region);
    if (!away)
        return;
    str_addf(out, ", but %s steers away from it", json_opt_str(away, "by", "?"));
    if (*json_opt_str(away, "why", ""))
        str_addf(out, " (%s)", json_opt_str(away, "why", ""));
}

static void add_state(const struct steer *s, size_t name, size_t region, struct str *out)
{
    const struct steer_plan *p = s->plan;
    str_addf(out, "%s", p->space.regions[region]);
    if (!(p->serves[name] >> region & 1)) {
        str_add(out, " does not run it");
        return;
    }
    struct steer_region_state st;
    steer_region_state(s, name, region, &st);
    if (st.state == HEALTH_UP) {
        str_addf(out, " is up");
        add_away(s, name, region, out);
        return;
    }
    str_add(out, " is down");
    if (st.since_wall_ms) {
        char stamp[CLOCK_STAMP_SIZE];
        clock_format_rfc3339(st.since_wall_ms, stamp);
        str_addf(out, " since %.8s", stamp + strlen("2026-11-23T"));
    }
    if (st.verdict.state == HEALTH_DOWN) {
        str_add(out, " (");
        steer_print_votes(&st.verdict, out);
        str_add(out, ")");
    } else {
        str_addf(out, " (%s; not seen up since)", health_class_name(st.why));
    }
}

static bool has_own_list(const struct steer_plan *p, const char *country)
{
    for (size_t i = 0; i < p->n_countries; i++)
        if (!strcmp(p->countries[i].code, country))
            return true;
    return false;
}

static void add_list(const struct steer *s, const struct steer_question *q,
    const struct steer_list *l, struct str *out)
{
    bool own = has_own_list(s->plan, q->country);
    if (!*q->country)
        str_addf(out, "no country is known for %s → default", q->from);
    else
        str_addf(out, "%s%s", q->country, own ? "" : " has no list → default");
    if (*q->country && q->source && *q->source)
        str_addf(out, " (%s)", q->source);
    str_add(out, own ? " → [" : " [");
    for (size_t i = 0; i < l->n; i++)
        str_addf(out, "%s%s", i ? ", " : "", s->plan->space.regions[l->order[i]]);
    str_add_ch(out, ']');
}

static void add_because(const struct steer *s, const struct steer_question *q, size_t name,
    size_t list, struct str *out)
{
    const struct steer_list *l = &s->plan->lists[list];
    size_t chosen = steer_choice(s, name, list).region;
    add_list(s, q, l, out);
    bool met = false;
    for (size_t i = 0; i < l->n && !met; i++) {
        str_add(out, "; ");
        add_state(s, name, l->order[i], out);
        met = l->order[i] == chosen;
    }
    if (!met) {
        str_add(out, "; ");
        add_state(s, name, chosen, out);
    }
    if (s->names[name].frozen)
        str_add(out, "; its answers are frozen, because most of its regions failed at once");
    if (s->names[name].away_kept)
        str_add(out, "; no other region is up, so it is answered all the same");
    if (s->names[name].none_up)
        str_add(out, "; no region is up, so the last known answer stays");
    if (s->alone)
        str_addf(out, "; %s is alone: no other region is reached or heard", s->region_name);
    str_addf(out, " → %s", s->plan->space.regions[chosen]);
}

/* Addresses of one family; an empty list is NODATA. */
static json_t *addresses(const struct model_addrs *v, const char *type)
{
    json_t *out = json_array();
    for (size_t i = 0; i < v->n; i++) {
        char text[IP_TEXT_SIZE];
        if (v->v[i].family != (str_eq(type, "AAAA") ? 6 : 4))
            continue;
        ip_format(&v->v[i], text);
        json_array_append_new(out, json_string(text));
    }
    return out;
}

static json_t *head(const struct steer_question *q)
{
    return json_pack("{s:s,s:s,s:s,s:s}", "name", q->name, "type", q->type, "from", q->from,
        "country", q->country);
}

static json_t *explain_steered(
    const struct steer *s, const struct model *m, const struct steer_question *q, size_t name)
{
    const struct steer_plan *p = s->plan;
    size_t list = steer_plan_list(p, q->country);
    struct steer_choice c = steer_choice(s, name, list);
    _cleanup_str_ struct str because = STR_INIT;
    add_because(s, q, name, list, &because);
    json_t *order = json_array(), *regions = json_array();
    for (size_t i = 0; i < p->lists[list].n; i++)
        json_array_append_new(order, json_string(p->space.regions[p->lists[list].order[i]]));
    for (size_t r = 0; r < p->space.n_regions; r++)
        json_array_append_new(regions, region_object(s, name, r));
    const struct model_region *region = model_find_region(m, p->space.regions[c.region]);
    json_t *answer = region ? addresses(&region->addresses, q->type) : json_array();
    if (json_array_size(answer) == 0)
        str_addf(&because, ", which has no %s address", str_eq(q->type, "AAAA") ? "IPv6" : "IPv4");
    json_t *j = head(q);
    json_object_set_new(j, "list", json_string(p->lists[list].label));
    json_object_set_new(j, "order", order);
    json_object_set_new(j, "answer", answer);
    json_object_set_new(j, "ttl", json_integer(c.ttl_s));
    json_object_set_new(j, "because", json_string(str_cstr(&because)));
    json_object_set_new(j, "regions", regions);
    return j;
}

static const struct model_nameserver *find_nameserver(const struct model *m, const char *name)
{
    for (size_t i = 0; i < m->routing.n_nameservers; i++) {
        const struct model_nameserver *ns = &m->routing.nameservers[i];
        size_t n = strlen(ns->label);
        if (!strncmp(name, ns->label, n) && name[n] == '.' && !strcmp(name + n + 1, m->domain))
            return ns;
    }
    return NULL;
}

static bool in_domain(const char *name, const char *domain)
{
    return !strcmp(name, domain)
           || (str_ends(name, domain) && name[strlen(name) - strlen(domain) - 1] == '.');
}

/* Names that health does not move: declared records, name servers, and names that do not exist. */
static json_t *explain_static(const struct model *m, const struct steer_question *q, bool is_routed)
{
    const struct model_nameserver *ns = find_nameserver(m, q->name);
    json_t *answer = NULL;
    bool exists = is_routed || ns || !strcmp(q->name, m->domain);
    _cleanup_str_ struct str because = STR_INIT;
    if (ns && (str_eq(q->type, "A") || str_eq(q->type, "AAAA"))) {
        answer = addresses(&ns->region->addresses, q->type);
        str_addf(&because, "name server %s is %s; its address does not move", ns->label,
            ns->region->name);
    }
    for (size_t i = 0; !answer && i < m->routing.n_records; i++) {
        exists |= !strcmp(m->routing.records[i].fqdn, q->name);
        if (!strcmp(m->routing.records[i].fqdn, q->name)
            && str_eq(m->routing.records[i].type, q->type))
            answer = json_array();
    }
    for (size_t i = 0; answer && !because.len && i < m->routing.n_records; i++)
        if (!strcmp(m->routing.records[i].fqdn, q->name)
            && str_eq(m->routing.records[i].type, q->type))
            json_array_append_new(answer, json_string(m->routing.records[i].value));
    if (!because.len) {
        if (answer)
            str_addf(&because, "declared in routing.records; the same for everybody");
        else if (!in_domain(q->name, m->domain))
            str_addf(&because, "not a name of %s: refused", m->domain);
        else if (exists)
            str_addf(&because, "the name has no %s record", q->type);
        else
            str_addf(&because, "no route, record or name server has this name: it does not exist");
    }
    json_t *j = head(q);
    json_object_set_new(j, "order", json_array());
    json_object_set_new(j, "answer", answer ? answer : json_array());
    json_object_set_new(j, "because", json_string(str_cstr(&because)));
    return j;
}

json_t *steer_explain(const struct steer *s, const struct model *m, const struct steer_question *q)
{
    size_t name;
    bool is_routed = steer_plan_find_name(s->plan, q->name, &name);
    if (is_routed && (str_eq(q->type, "A") || str_eq(q->type, "AAAA")))
        return explain_steered(s, m, q, name);
    return explain_static(m, q, is_routed);
}
