/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler under hosts that die, heal, are drained, cut off or slow, edges that acknowledge late, leaders that
 * die before and after each write, writes that lose races, clocks that jump, revisions and bad images at random.
 *
 * At every write: what serves is taken out of service only when enough others serve; nothing is stopped before the
 * edges have left it or its time is over; nothing is forgotten; names are given once; generations run together only
 * as the strategy says. After the faults: as declared, in bounded time, and no further write. */
#include "schedule_world.h"

#include "base/str/str.h"

static const char *const *const regions = region_names;

static json_t *by_name(const json_t *list, const char *name)
{
    size_t i;
    json_t *in;
    json_array_foreach ((json_t *)list, i, in)
        if (str_eq(json_opt_str(in, "name", NULL), name))
            return in;
    return NULL;
}

static bool is_idle(const struct world *w, const json_t *in)
{
    return json_opt_bool(in, "standby", false) && !w->view.admitted;
}

/* Active, or an admitted standby. */
static unsigned wanted_of(const struct world *w, size_t module, const char *region)
{
    return world_wanted(w, module, region) + (w->view.admitted && world_has_standby(module, region));
}

static bool runs(const struct world *w, const json_t *in)
{
    return in && !is_idle(w, in)
           && str_eq(json_opt_str(in, "state", NULL), "run");
}

static bool takes_requests(const struct world *w, const json_t *in)
{
    return runs(w, in) && json_opt_int(in, "weight", 0) > 0;
}

static size_t host_number(struct world *w, const json_t *in)
{
    struct host_at *h = world_host(w, json_opt_str(in, "host", ""));
    ASSERT(h);
    return (size_t)(h - w->hosts);
}

static bool seen_heard(struct world *w, const json_t *in)
{
    return w->view.heard[host_number(w, in)];
}

/* As far as the leader could know. */
static bool seen_serving(struct world *w, const json_t *in)
{
    size_t h = host_number(w, in);
    if (!takes_requests(w, in) || !w->view.heard[h])
        return false;
    if (!w->view.units[h])
        return true;
    const json_t *u = by_name(w->view.units[h], json_opt_str(in, "name", ""));
    return u && str_eq(json_opt_str(u, "state", NULL), "ready")
           && str_eq(json_opt_str(u, "spec", NULL), json_opt_str(in, "spec", ""));
}

static bool of(const json_t *in, size_t module)
{
    return str_eq(json_opt_str(in, "module", NULL), module_names[module]);
}

static unsigned count(struct world *w, const json_t *list, size_t module,
    bool (*which)(struct world *w, const json_t *in))
{
    unsigned n = 0;
    size_t i;
    json_t *in;
    json_array_foreach ((json_t *)list, i, in)
        n += of(in, module) && which(w, in);
    return n;
}

static bool any_run(struct world *w, const json_t *in)
{
    return runs(w, in);
}

static bool staying(struct world *w, const json_t *in)
{
    return runs(w, in) && seen_heard(w, in) && !w->view.drained[host_number(w, in)];
}

/* ---- drains */

static struct drain_seen *drain_of(struct world *w, const char *region, const json_t *in)
{
    char key[160];
    snprintf(key, sizeof key, "%s/%s/%lld", region, json_opt_str(in, "name", ""),
        (long long)json_opt_int(in, "drain_seq", 0));
    for (size_t i = 0; i < w->n_drains; i++)
        if (!strcmp(w->drains[i].key, key))
            return &w->drains[i];
    ASSERT(w->n_drains < DRAINS_MAX);
    struct drain_seen *d = &w->drains[w->n_drains++];
    memcpy(d->key, key, sizeof key);
    d->at = sim_now(w->sim);
    return d;
}

static bool edges_left(struct world *w, const char *region, const json_t *in)
{
    for (size_t i = 0; i < w->n_hosts; i++)
        if (!strcmp(w->hosts[i].region, region) && w->view.heard[i] && w->hosts[i].must_ack
            && w->hosts[i].edge_max < json_opt_int(in, "drain_seq", 0))
            return false;
    return true;
}

static bool region_heard(struct world *w, const char *region)
{
    for (size_t i = 0; i < w->n_hosts; i++)
        if (!strcmp(w->hosts[i].region, region) && w->view.heard[i])
            return true;
    return false;
}

static void check_removed(struct world *w, const char *region, const json_t *in)
{
    const char *name = json_opt_str(in, "name", "");
    bool drain = str_eq(json_opt_str(in, "state", NULL), "drain");
    if (!region_heard(w, region))
        sim_fail(w->sim, "%s leaves the silent region %s", name, region);
    if (!seen_heard(w, in) || is_idle(w, in))
        return;
    if (!drain)
        sim_fail(w->sim, "%s in %s is stopped without having been drained", name, region);
    else if (!edges_left(w, region, in) && sim_now(w->sim) - drain_of(w, region, in)->at < DRAIN_MS)
        sim_fail(w->sim, "%s in %s is stopped while edges still use it", name, region);
}

/* ---- one module in one region */

static void check_created(struct world *w, const char *region, const json_t *in)
{
    const char *name = json_opt_str(in, "name", "");
    for (size_t i = 0; i < w->n_hosts; i++)
        if (!strcmp(w->hosts[i].region, region) && w->view.heard[i]
            && by_name(w->view.units[i], name))
            sim_fail(w->sim, "the name %s is given again while %s has a process of it", name,
                w->hosts[i].name);
}

/* Of a module that is replaced: nothing of another generation is there, as far as one can see. */
static void check_alone(struct world *w, const char *region, const json_t *list, const json_t *in)
{
    const char *spec = json_opt_str(in, "spec", ""), *module = json_opt_str(in, "module", "");
    size_t i;
    json_t *other;
    json_array_foreach ((json_t *)list, i, other)
        if (str_eq(json_opt_str(other, "module", NULL), module) && seen_heard(w, other)
            && !is_idle(w, other)
            && strcmp(json_opt_str(other, "spec", ""), spec) != 0)
            sim_fail(w->sim, "%s begins beside %s of another generation",
                json_opt_str(in, "name", ""), json_opt_str(other, "name", ""));
    for (size_t k = 0; k < w->n_hosts; k++)
        if (!strcmp(w->hosts[k].region, region) && w->view.heard[k])
            json_array_foreach (w->view.units[k], i, other)
                if (str_eq(json_opt_str(other, "module", NULL), module)
                    && strcmp(json_opt_str(other, "spec", ""), spec) != 0)
                    sim_fail(w->sim, "%s begins while %s of another generation runs",
                        json_opt_str(in, "name", ""), json_opt_str(other, "name", ""));
}

static void check_module(
    struct world *w, size_t m, const char *region, const json_t *before, const json_t *after)
{
    unsigned wanted = wanted_of(w, m, region);
    bool withdrawn = false, created = false;
    size_t i;
    json_t *in;
    json_array_foreach ((json_t *)before, i, in) {
        const json_t *now = of(in, m) ? by_name(after, json_opt_str(in, "name", "")) : in;
        withdrawn |= takes_requests(w, in) && seen_heard(w, in) && !takes_requests(w, now);
        if (!now)
            check_removed(w, region, in);
    }
    json_array_foreach ((json_t *)after, i, in) {
        if (!of(in, m) || by_name(before, json_opt_str(in, "name", "")))
            continue;
        created |= runs(w, in);
        check_created(w, region, in);
        if (module_strategies[m] == ROLLOUT_REPLACE && runs(w, in))
            check_alone(w, region, after, in);
    }
    unsigned was = count(w, before, m, seen_serving), is = count(w, after, m, seen_serving);
    if (withdrawn && module_strategies[m] != ROLLOUT_REPLACE && is < MIN(was, wanted))
        sim_fail(w->sim, "%u of %u %s serve in %s, %u were there before the write", is, wanted,
            module_names[m], region, was);
    unsigned had = count(w, before, m, any_run), has = count(w, after, m, any_run);
    if (has < MIN(had, wanted) && module_strategies[m] != ROLLOUT_REPLACE)
        sim_fail(w->sim, "%u of %u %s are left in %s", has, wanted, module_names[m], region);
    const struct model_module *module = model_find_module(w->model, module_names[m]);
    unsigned run = count(w, after, m, staying);
    _cleanup_free_ char *key = xasprintf("deploy/%s", module_names[m]);
    const char *state = json_opt_str(json_object_get(w->docs, key), "state", "done");
    bool forward = !strcmp(state, "running") || !strcmp(state, "done"); /* back goes at once */
    if (module_strategies[m] == ROLLOUT_ROLLING && created && forward
        && run > wanted + model_wave(&module->rollout, wanted))
        sim_fail(w->sim, "%u of %s run in %s, for %u in waves of %u", run, module_names[m], region,
            wanted, model_wave(&module->rollout, wanted));
}

/* What takes requests, as the store says, is kept apart: this is asked at every change of a unit. */
static void learn_table(struct world *w, size_t region)
{
    struct region_table *t = &w->tables[region];
    size_t i;
    json_t *in;
    t->n = 0;
    json_array_foreach (world_instances(w->docs, regions[region]), i, in) {
        if (!takes_requests(w, in))
            continue;
        ASSERT(t->n < TABLE_MAX);
        struct taking *k = &t->v[t->n++];
        str_copy(k->name, sizeof k->name, json_opt_str(in, "name", ""));
        str_copy(k->spec, sizeof k->spec, json_opt_str(in, "spec", ""));
        k->host = host_number(w, in);
        for (k->module = 0; !of(in, k->module);)
            k->module++;
    }
}

void check_write(struct world *w, const json_t *before, const json_t *after)
{
    for (size_t r = 0; r < REGIONS; r++) {
        const json_t *a = world_instances(before, regions[r]);
        const json_t *b = world_instances(after, regions[r]);
        size_t i, k;
        json_t *in, *other;
        if (a == b)
            continue;
        learn_table(w, r);
        for (size_t m = 0; m < MODULES && a; m++)
            check_module(w, m, regions[r], a, b);
        json_array_foreach ((json_t *)b, i, in) {
            if (str_eq(json_opt_str(in, "state", NULL), "drain"))
                (void)drain_of(w, regions[r], in);
            json_array_foreach ((json_t *)b, k, other)
                if (k < i
                    && str_eq(json_opt_str(in, "name", NULL), json_opt_str(other, "name", "")))
                    sim_fail(w->sim, "%s is there twice", json_opt_str(in, "name", ""));
        }
    }
}

/* ---- in truth */

static bool truly_ready(const struct host_at *h, const struct taking *k)
{
    for (const struct unit_at *u = h->units; u < h->units + UNITS_MAX; u++)
        if (u->state && !strcmp(u->name, k->name))
            return !strcmp(u->state, "ready") && !strcmp(u->spec, k->spec);
    return false;
}

static void truly_serving(struct world *w, size_t region, unsigned ret[MODULES])
{
    const struct region_table *t = &w->tables[region];
    memset(ret, 0, MODULES * sizeof *ret);
    for (size_t i = 0; i < t->n; i++)
        ret[t->v[i].module] += truly_ready(&w->hosts[t->v[i].host], &t->v[i]);
}

/* Where nothing dies, nothing is ever missing. */
void check_truth(struct world *w)
{
    bool all = true;
    for (size_t r = 0; r < REGIONS && w->calm; r++) {
        unsigned serve[MODULES];
        truly_serving(w, r, serve);
        for (size_t m = 0; m < MODULES; m++) {
            unsigned wanted = w->wanted_in[m][r];
            all &= serve[m] >= wanted;
            if (w->settled && serve[m] < wanted && module_strategies[m] != ROLLOUT_REPLACE)
                sim_fail(w->sim, "%u of %u %s serve in %s, and nothing died", serve[m], wanted,
                    module_names[m], regions[r]);
        }
    }
    w->settled |= all && w->calm;
}

/* ---- at the end */

static void check_end_of(struct world *w, size_t m)
{
    _cleanup_free_ char *key = xasprintf("deploy/%s", module_names[m]);
    const json_t *d = json_object_get(w->docs, key);
    const char *state = json_opt_str(d, "state", "done");
    if (!strcmp(state, "running") || !strcmp(state, "rolling-back")) {
        sim_fail(w->sim, "the rollout of %s is %s for ever: %s", module_names[m], state,
            json_opt_str(d, "step", ""));
        return;
    }
    if (w->wanted[m] == IMAGE_GOOD && strcmp(state, "done") != 0)
        sim_fail(w->sim, "%s is good, and its rollout is %s: %s", module_names[m], state,
            json_opt_str(d, "reason", ""));
    struct err e;
    json_t *spec;
    char wanted[DIGEST_SIZE];
    int r = schedule_generation(
        w->model, w->files, model_find_module(w->model, module_names[m]), &spec, wanted, &e);
    ASSERT(r >= 0);
    json_decref(spec);
    bool back = !strcmp(state, "rolled-back");
    const char *goal = back ? json_opt_str(d, "from", "") : wanted;
    for (size_t k = 0; k < REGIONS; k++) {
        size_t i;
        json_t *in;
        json_array_foreach (world_instances(w->docs, regions[k]), i, in)
            if (of(in, m) && strcmp(json_opt_str(in, "spec", ""), goal) != 0)
                sim_fail(w->sim, "%s in %s runs another generation (%s)",
                    json_opt_str(in, "name", ""), regions[k], state);
        unsigned n = count(w, world_instances(w->docs, regions[k]), m, any_run);
        if (n != wanted_of(w, m, regions[k]))
            sim_fail(w->sim, "%u of %u %s in %s", n, wanted_of(w, m, regions[k]),
                module_names[m], regions[k]);
        bool expected = w->wanted[m] == IMAGE_GOOD || back;
        unsigned serve[MODULES];
        truly_serving(w, k, serve);
        if (expected && serve[m] != n)
            sim_fail(w->sim, "%u of %u %s serve in %s at the end", serve[m], n, module_names[m],
                regions[k]);
    }
}

static void check_end(struct world *w)
{
    for (size_t r = 0; r < REGIONS; r++)
        learn_table(w, r);
    for (size_t m = 0; m < MODULES; m++)
        check_end_of(w, m);
    for (size_t r = 0; r < REGIONS; r++) {
        size_t i;
        json_t *in;
        json_array_foreach (world_instances(w->docs, regions[r]), i, in)
            if (str_eq(json_opt_str(in, "state", NULL), "drain"))
                sim_fail(w->sim, "%s drains for ever", json_opt_str(in, "name", ""));
    }
    if (w->last_write > FAULTS_MS + GRACE_MS)
        sim_fail(w->sim, "still writing at %llu s", (unsigned long long)w->last_write / 1000);
}

static char *run_with(uint64_t seed, bool trace, int guard_off)
{
    struct world *w = xcalloc(1, sizeof *w);
    world_init(w, seed, trace, guard_off);
    sim_run(w->sim, END_MS);
    if (!sim_failure(w->sim))
        check_end(w);
    char *why = sim_failure(w->sim) ? xstrdup(sim_failure(w->sim)) : NULL;
    world_done(w);
    free(w);
    return why;
}

static char *run(uint64_t seed, bool trace)
{
    return run_with(seed, trace, -1);
}

/* The world must find out a scheduler without one of its guards, or it proves nothing. */
static unsigned extra(unsigned *failed)
{
    static const char *const names[SCHEDULE_GUARDS] = {[GUARD_READY] = "readiness",
        [GUARD_ACKS] = "acknowledgement",
        [GUARD_NAMES] = "names",
        [GUARD_KEEP] = "keeping",
        [GUARD_BUDGET] = "waves"};
    unsigned passed = 0;
    for (int guard = 0; guard < SCHEDULE_GUARDS; guard++) {
        _cleanup_free_ char *why = NULL;
        uint64_t seed = 0;
        while (!why && ++seed <= 100)
            why = run_with(seed, false, guard);
        if (why)
            printf("%s off: seed %llu fails, as it must: %s\n", names[guard],
                (unsigned long long)seed, why);
        else
            printf("FAILED: nobody notices that %s is off\n", names[guard]);
        passed += why != NULL;
        *failed += !why;
    }
    return passed;
}

int main(int argc, char **argv)
{
    const struct sim_suite suite = {"schedule", run, extra};
    return sim_main(argc, argv, &suite);
}
