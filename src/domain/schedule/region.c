/* SPDX-License-Identifier: Apache-2.0 */
/* One module in one region: how many of what, and who leaves. */
#include "domain/schedule/priv.h"

static bool is_of(const struct instance *i, const struct model_module *m, bool standby)
{
    return !i->gone && !strcmp(i->module, m->name) && i->standby == standby;
}

static unsigned count(const struct placement *p, const struct model_module *m, bool standby)
{
    unsigned n = 0;
    for (size_t i = 0; i < p->n; i++)
        n += is_of(&p->v[i], m, standby);
    return n;
}

/* Of those that are too many: the one with the highest number. */
static void remove_last(struct placement *p, const struct model_module *m, bool standby)
{
    struct instance *last = NULL;
    for (size_t i = 0; i < p->n; i++)
        if (is_of(&p->v[i], m, standby))
            last = &p->v[i];
    if (last)
        last->gone = true;
}

static void fill(struct step *st, struct placement *p, const struct model_module *m,
    const struct generation *goal, bool standby, unsigned wanted)
{
    char why[REASON_SIZE];
    unsigned have = count(p, m, standby);
    for (; have < wanted && step_create(st, p, m, goal->id, standby, why); have++)
        ;
    for (; have > wanted; have--)
        remove_last(p, m, standby);
    if (have < wanted)
        json_array_append_new(p->lacks, json_pack("{s:s,s:i,s:s}", "module", m->name, "count",
                                            (int)(wanted - have), "reason", why));
}

void step_module_region(struct step *st, struct placement *p, const struct model_module *m,
    const struct model_instances *wanted, const struct generation *goal)
{
    json_object_set(p->specs, goal->id, goal->spec);
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->v[i].module, m->name))
            str_copy(p->v[i].spec, sizeof p->v[i].spec, goal->id);
    fill(st, p, m, goal, false, wanted->active);
    fill(st, p, m, goal, true, wanted->standby);
}
