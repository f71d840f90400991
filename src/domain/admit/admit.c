/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/admit/admit.h"

#include "base/str/str.h"

#define FORMAT 1

static bool is_doc(const json_t *doc)
{
    return json_opt_int(doc, "format", 0) == FORMAT && *json_opt_str(doc, "region", "");
}

bool admit_consumes(const struct model_module *m)
{
    for (size_t i = 0; i < m->n_grants; i++)
        if (m->grants[i].consume)
            return true;
    return false;
}

bool admit_is_exclusive(const struct model_module *m)
{
    return admit_consumes(m) || !m->n_routes;
}

bool admit_has_standby(const struct model_module *m, const char *region)
{
    for (size_t i = 0; i < m->n_instances; i++)
        if (m->instances[i].standby
            && (!region || !strcmp(m->instances[i].region->name, region)))
            return true;
    return false;
}

const struct model_region *admit_main(const struct model *m, const struct model_module *module)
{
    const struct model_region *main = model_region_of_duty(m, REGION_MAIN), *first = NULL;
    for (size_t i = 0; i < module->n_instances; i++) {
        const struct model_instances *in = &module->instances[i];
        if (in->active && in->region == main)
            return main;
        if (in->active && !first)
            first = in->region;
    }
    return first;
}

bool admit_has_moved_to(const json_t *doc, const char *region)
{
    return is_doc(doc) && json_opt_bool(doc, "standbys", false)
           && str_eq(json_opt_str(doc, "region", NULL), region);
}

static enum admit_answer by_document(const struct admit_case *c)
{
    if (admit_has_moved_to(c->doc, c->region))
        return ADMIT_TAKES;
    if (c->standby)
        return ADMIT_WAITS;
    bool lost = is_doc(c->doc) && str_eq(json_opt_str(c->doc, "from", NULL), c->region);
    return lost && admit_is_exclusive(c->module) ? ADMIT_LOST : ADMIT_TAKES;
}

/* Where no standby is declared nobody could take it over. */
enum admit_answer admit_judge(const struct admit_case *c)
{
    enum admit_answer a = by_document(c);
    if (a != ADMIT_TAKES || !admit_consumes(c->module) || !admit_has_standby(c->module, NULL))
        return a;
    bool new = c->settling && is_doc(c->doc)
               && str_eq(json_opt_str(c->doc, "region", NULL), c->region);
    return !c->fresh ? ADMIT_BLIND : new ? ADMIT_SOON : ADMIT_TAKES;
}

const char *admit_words(enum admit_answer a)
{
    switch (a) {
    case ADMIT_TAKES: return "";
    case ADMIT_WAITS: return "standby: admitted by promotion";
    case ADMIT_LOST: return "not admitted: another region has taken over";
    case ADMIT_SOON: return "admitted in a moment: the region before has to know first";
    case ADMIT_BLIND: return "not admitted: the state store was not read for 10 s";
    }
    return "";
}

static json_t *change(json_t *old, int64_t wall_ms)
{
    json_t *doc = old ? json_deep_copy(old) : json_object();
    json_object_set_new(doc, "format", json_integer(FORMAT));
    json_object_set_new(doc, "epoch", json_integer(json_opt_int(old, "epoch", 0) + 1));
    json_object_set_new(doc, "at_ms", json_integer(wall_ms));
    return doc;
}

/* The same database at the same epoch or a later one has had its say. */
static bool is_done(const json_t *old, const struct admit_wish *w)
{
    if (!w->database)
        return admit_has_moved_to(old, w->region);
    return is_doc(old) && str_eq(json_opt_str(old, "database", NULL), w->database)
           && json_opt_int(old, "database_epoch", 0) >= w->database_epoch;
}

json_t *admit_move(json_t *old, const struct admit_wish *w)
{
    if (is_done(old, w))
        return json_incref(old);
    json_t *doc = change(old, w->wall_ms);
    json_t *says = json_pack("{s:s,s:s,s:b,s:s,s:s}", "region", w->region, "from", w->from,
        "standbys", 1, "why", w->why, "by", w->by);
    json_object_update(doc, says);
    json_decref(says);
    if (w->database) {
        json_object_set_new(doc, "database", json_string(w->database));
        json_object_set_new(doc, "database_epoch", json_integer(w->database_epoch));
    }
    return doc;
}

/* The document stays: what lost it is told so by name, whatever its placement still says. */
json_t *admit_back(json_t *old, const char *by, int64_t wall_ms)
{
    if (!is_doc(old) || !json_opt_bool(old, "standbys", false))
        return json_incref(old);
    json_t *doc = change(old, wall_ms);
    json_t *says = json_pack("{s:s,s:s,s:b,s:s,s:s}", "region", json_opt_str(old, "from", ""),
        "from", json_opt_str(old, "region", ""), "standbys", 0, "why", "failback", "by", by);
    json_object_update(doc, says);
    json_decref(says);
    return doc;
}
