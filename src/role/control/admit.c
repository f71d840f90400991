/* SPDX-License-Identifier: Apache-2.0 */
/* Admission: the documents admit/<module> are followed by every control, so that what they say holds
 * on each host by itself; who leads changes them, for a promotion, for a module that fails alone, and
 * back. A host that has not read them for long takes consumers out of service by itself. */
#include "role/control/admit.h"

#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/replication/doc.h"

#define LOOK_MS 1000u
#define REFRESH_MS 3000u /* well within ADMIT_FRESH_MS */
#define BY_PLATFORM "platform"

struct watched { /* a module with standbys, by who leads */
    char module[64];
    struct admit_watch watch;
    bool editing;
};

struct known { /* since when this host knows a document as it is */
    char module[64];
    int64_t epoch;
    uint64_t since_ms;
};

struct control_admit {
    struct control *c;
    struct documents *docs;
    uv_timer_t timer;
    bool was_fresh, was_settling;
    struct known *known;
    size_t n_known, cap_known;
    struct watched *watched;
    size_t n_watched, cap_watched;
};

static const json_t *doc_of(const struct control *c, const char *module)
{
    return c->admit && c->admit->docs ? documents_get(c->admit->docs, module) : NULL;
}

bool control_admit_fresh(const struct control *c)
{
    uint64_t read_ms = c->admit ? documents_read_ms(c->admit->docs) : 0;
    return read_ms && clock_boot_ms() - read_ms < ADMIT_FRESH_MS;
}

static struct known *known_of(const struct control_admit *a, const char *module)
{
    for (size_t i = 0; i < a->n_known; i++)
        if (!strcmp(a->known[i].module, module))
            return &a->known[i];
    return NULL;
}

static void learn(struct control_admit *a, const char *module, const json_t *doc)
{
    struct known *k = known_of(a, module);
    int64_t epoch = json_opt_int(doc, "epoch", 0);
    if (k && k->epoch == epoch)
        return;
    if (!k)
        k = GROW(a->known, a->n_known, a->cap_known);
    *k = (struct known){.epoch = epoch, .since_ms = clock_boot_ms()};
    str_copy(k->module, sizeof k->module, module);
}

static bool is_settling(const struct control_admit *a, const char *module, const json_t *doc)
{
    const struct known *k = doc ? known_of(a, module) : NULL;
    return k && clock_boot_ms() - k->since_ms < ADMIT_SETTLE_MS
           && clock_wall_ms() - json_opt_int(doc, "at_ms", 0) < ADMIT_OLD_MS;
}

bool control_admit_known(const struct control *c)
{
    return c->admit && documents_synced(c->admit->docs);
}

enum admit_answer control_admits(
    const struct control *c, const char *region, const char *module, bool standby)
{
    const struct model_module *m = c->model ? model_find_module(c->model, module) : NULL;
    const struct admit_case one = {.module = m,
        .region = region,
        .standby = standby,
        .doc = doc_of(c, module),
        .fresh = control_admit_fresh(c),
        .settling = c->admit && is_settling(c->admit, module, doc_of(c, module))};
    return m ? admit_judge(&one) : standby ? ADMIT_WAITS : ADMIT_TAKES;
}

json_t *control_admissions(const struct control *c)
{
    json_t *all = c->admit && c->admit->docs ? documents_all(c->admit->docs) : NULL;
    return all ? json_incref(all) : json_object();
}

json_t *control_admitted_standbys(const struct control *c)
{
    _cleanup_json_ json_t *all = control_admissions(c);
    json_t *out = json_object(), *doc;
    const char *module;
    json_object_foreach (all, module, doc) {
        const char *region = json_opt_str(doc, "region", "");
        if (admit_has_moved_to(doc, region))
            json_object_set_new(out, module, json_string(region));
    }
    return out;
}

/* ---- what follows from a change */

static void on_changed(void *ctx, const char *name, const json_t *doc)
{
    struct control *c = ctx;
    if (c->admit)
        learn(c->admit, name, doc);
    log_info("admit", "admission is another", "module=%s region=%s epoch=%lld", name,
        json_opt_str(doc, "region", "-"), (long long)json_opt_int(doc, "epoch", 0));
    control_tell_units(c);
    scheduler_poke(c->scheduler);
    control_report_soon(c);
}

static bool settles(const struct control_admit *a)
{
    for (size_t i = 0; i < a->n_known; i++)
        if (is_settling(a, a->known[i].module, doc_of(a->c, a->known[i].module)))
            return true;
    return false;
}

/* Time passes: neither makes an event. */
static void look_whether_fresh(struct control *c)
{
    struct control_admit *a = c->admit;
    bool fresh = control_admit_fresh(c), settling = settles(a);
    if (fresh == a->was_fresh && settling == a->was_settling)
        return;
    a->was_fresh = fresh;
    a->was_settling = settling;
    control_tell_units(c);
    control_report_soon(c);
}

static void on_synced(void *ctx)
{
    struct control *c = ctx;
    if (c->admit)
        look_whether_fresh(c);
}

/* ---- edits, in the name of who leads */

struct edit {
    struct control *c;
    struct edits *of; /* NULL: of the watch */
    char module[64], note[256], database[MODEL_DATABASE_NAME_MAX + 1];
    char region[64], from[64], why[32], by[64];
    int64_t database_epoch;
    bool back, changed;
};

struct edits { /* several modules for one request */
    size_t left;
    struct err error;
    control_admitted_fn done;
    void *ctx;
};

static int edit_doc(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct edit *q = ctx;
    struct admit_wish w = {.region = q->region,
        .from = q->from,
        .why = q->why,
        .by = q->by,
        .database = *q->database ? q->database : NULL,
        .database_epoch = q->database_epoch,
        .wall_ms = clock_wall_ms()};
    *ret = q->back ? admit_back(old, q->by, w.wall_ms) : admit_move(old, &w);
    q->changed = *ret != old;
    return 0;
}

static struct watched *watched_of(struct control *c, const char *module)
{
    struct control_admit *a = c->admit;
    for (size_t i = 0; i < a->n_watched; i++)
        if (!strcmp(a->watched[i].module, module))
            return &a->watched[i];
    struct watched *w = GROW(a->watched, a->n_watched, a->cap_watched);
    *w = (struct watched){0};
    str_copy(w->module, sizeof w->module, module);
    return w;
}

static void finish_one(struct edits *all, const struct err *e)
{
    if (e && !all->error.code)
        all->error = *e;
    if (--all->left)
        return;
    if (all->done)
        all->done(all->ctx, all->error.code ? &all->error : NULL);
    free(all);
}

static void on_edited(void *ctx, const json_t *doc, const struct err *e)
{
    struct edit *q = ctx;
    struct control *c = q->c;
    if (e)
        log_warn("admit", "not written", "module=%s error=\"%s\"", q->module, e->message);
    else if (q->changed && !c->done)
        control_note(c, "admission", q->module, q->note, q->by);
    if (c->admit && !q->of)
        watched_of(c, q->module)->editing = false;
    if (q->of)
        finish_one(q->of, e);
    free(q);
}

static void edit(struct edit *q)
{
    struct control *c = q->c;
    char key[KV_KEY_MAX + 1];
    int64_t mod;
    struct err e;
    if (scheduler_guard(c->scheduler, key, &mod)) {
        documents_edit_under(c->admit->docs, q->module, key, mod, edit_doc, on_edited, q);
        return;
    }
    err_set(&e, ERR_UNAVAILABLE, "this host does not lead (any more)");
    on_edited(q, NULL, &e);
}

static struct edit *new_edit(struct control *c, const char *module, const char *by)
{
    struct edit *q = xcalloc(1, sizeof *q);
    q->c = c;
    str_copy(q->module, sizeof q->module, module);
    str_copy(q->by, sizeof q->by, by);
    return q;
}

static void set_move(struct edit *q, const char *from, const char *region, const char *why)
{
    str_copy(q->from, sizeof q->from, from);
    str_copy(q->region, sizeof q->region, region);
    str_copy(q->why, sizeof q->why, why);
}

/* ---- promotion */

/* Where the database was written before: NULL: not known. */
static const char *region_before(const struct control *c, const char *database)
{
    const json_t *doc = control_data_doc(c, database);
    const json_t *change = json_object_get(doc, "change");
    if (!json_is_object(change))
        change = json_object_get(doc, "last");
    const struct model_host *h = model_find_host(c->model, json_opt_str(change, "from", ""));
    return h ? h->region->name : NULL;
}

static bool is_moved_by(const struct control *c, const char *from, const char *region,
    const struct model_module *m)
{
    const struct model_region *main = admit_main(c->model, m);
    return main && strcmp(main->name, region) != 0 && admit_has_standby(m, region)
           && (!from || !strcmp(main->name, from));
}

/* Holds one of `left` itself until all are on their way. */
static struct edits *begin_edits(control_admitted_fn done, void *ctx)
{
    struct edits *all = xcalloc(1, sizeof *all);
    *all = (struct edits){.left = 1, .done = done, .ctx = ctx};
    return all;
}

static bool is_ready_to_edit(const struct control *c, struct err *e)
{
    char key[KV_KEY_MAX + 1];
    int64_t mod;
    bool ready = c->admit && c->model && scheduler_guard(c->scheduler, key, &mod);
    if (!ready)
        err_set(e, ERR_UNAVAILABLE, "this host does not lead (any more)");
    return ready;
}

void control_admit_region(struct control *c, const char *region, const char *database,
    int64_t epoch, const char *why, control_admitted_fn done, void *ctx)
{
    struct err e;
    if (!is_ready_to_edit(c, &e)) {
        done(ctx, &e);
        return;
    }
    struct edits *all = begin_edits(done, ctx);
    const char *from = region_before(c, database);
    for (size_t i = 0; i < c->model->n_modules; i++) {
        const struct model_module *m = &c->model->modules[i];
        if (!is_moved_by(c, from, region, m))
            continue;
        struct edit *q = new_edit(c, m->name, why);
        q->of = all;
        q->database_epoch = epoch;
        str_copy(q->database, sizeof q->database, database);
        set_move(q, admit_main(c->model, m)->name, region, "promotion");
        snprintf(q->note, sizeof q->note, "the standby in %s is admitted: %s is written there",
            region, database);
        all->left++;
        edit(q);
    }
    finish_one(all, NULL);
}

void control_admit_back(
    struct control *c, const char *database, control_admitted_fn done, void *ctx)
{
    struct err e;
    if (!is_ready_to_edit(c, &e)) {
        done(ctx, &e);
        return;
    }
    struct edits *all = begin_edits(done, ctx);
    _cleanup_json_ json_t *docs = control_admissions(c);
    const char *module;
    json_t *doc;
    json_object_foreach (docs, module, doc) {
        if (!json_opt_bool(doc, "standbys", false)
            || !str_eq(json_opt_str(doc, "why", NULL), "promotion")
            || !str_eq(json_opt_str(doc, "database", NULL), database))
            continue;
        struct edit *q = new_edit(c, module, BY_PLATFORM);
        q->of = all;
        q->back = true;
        snprintf(q->note, sizeof q->note, "%s takes over again: %s is written there",
            json_opt_str(doc, "from", "?"), database);
        all->left++;
        edit(q);
    }
    finish_one(all, NULL);
}

/* ---- a module that fails alone: what who leads sees */

static const json_t *units_of(struct control *c, const struct model_host *h)
{
    if (!strcmp(h->name, c->host))
        return c->units;
    const struct host_report *r = control_find_report(c, h->name);
    return r && control_hears(c, h->name) ? json_object_get(r->report, "units") : NULL;
}

/* ready_ms: for how long the one that is so longest; 0: none is. */
static unsigned count_ready(
    struct control *c, const char *module, const char *region, bool standby, int64_t *ret_since_ms)
{
    unsigned n = 0;
    *ret_since_ms = 0;
    for (size_t i = 0; i < c->model->n_hosts; i++) {
        const struct model_host *h = &c->model->hosts[i];
        size_t k;
        json_t *u;
        if (strcmp(h->region->name, region) != 0)
            continue;
        json_array_foreach ((json_t *)(uintptr_t)units_of(c, h), k, u) {
            int64_t since_ms = json_opt_int(u, "since_ms", 0);
            if (!str_eq(json_opt_str(u, "module", NULL), module)
                || json_opt_bool(u, "standby", false) != standby
                || !str_eq(json_opt_str(u, "state", NULL), "ready"))
                continue;
            n++;
            if (!*ret_since_ms || since_ms < *ret_since_ms)
                *ret_since_ms = since_ms;
        }
    }
    return n;
}

static uint64_t placed_ms(const struct control *c, const char *module, const char *region)
{
    int64_t oldest = 0;
    size_t i;
    json_t *in;
    const json_t *placement = json_object_get(c->placements, region);
    json_array_foreach (json_object_get(placement, "instances"), i, in) {
        int64_t since_ms = json_opt_int(in, "since_ms", 0);
        if (str_eq(json_opt_str(in, "module", NULL), module) && since_ms > 0
            && (!oldest || since_ms < oldest))
            oldest = since_ms;
    }
    return oldest ? (uint64_t)MAX(clock_wall_ms() - oldest, 1) : 0;
}

/* A source in that region whose host is silent: whether its modules move is a promotion's to say. */
static bool source_lives(struct control *c, const char *region)
{
    for (size_t i = 0; i < c->model->n_databases; i++) {
        struct replication_doc d;
        struct err ignored;
        const json_t *doc = control_data_doc(c, c->model->databases[i].name);
        if (doc && replication_doc_parse(doc, &d, &ignored) >= 0
            && str_eq(d.source->region, region) && !control_hears(c, d.source->host))
            return false;
    }
    return true;
}

static bool source_is_in(const struct control *c, const char *database, const char *region)
{
    struct replication_doc d;
    struct err ignored;
    const json_t *doc = control_data_doc(c, database);
    return doc && !json_is_object(json_object_get(doc, "change"))
           && replication_doc_parse(doc, &d, &ignored) >= 0 && str_eq(d.source->region, region);
}

static bool rolls_out(const struct control *c, const char *module)
{
    _cleanup_free_ char *key = xasprintf("deploy/%s", module);
    const char *state =
        json_opt_str(json_object_get(scheduler_docs(c->scheduler), key), "state", "");
    return !strcmp(state, "running") || !strcmp(state, "rolling-back");
}

/* The dr region's if it has one, else the first that has a ready one, else the first. */
static const char *standby_region(struct control *c, const struct model_module *m)
{
    const char *best = NULL;
    int best_rank = -1;
    for (size_t i = 0; i < m->n_instances; i++) {
        const struct model_region *r = m->instances[i].region;
        int64_t ignored;
        if (!m->instances[i].standby || m->instances[i].active)
            continue;
        int rank = 2 * (count_ready(c, m->name, r->name, true, &ignored) > 0)
                   + (r->duty == REGION_DR);
        if (rank > best_rank) {
            best = r->name;
            best_rank = rank;
        }
    }
    return best;
}

static void carry_out(
    struct control *c, struct watched *w, const struct admit_seen *s, const struct admit_action *a)
{
    if (a->act == ADMIT_NOTHING) {
        control_note(c, "admission", w->module, a->note, "");
        return;
    }
    struct edit *q = new_edit(c, w->module, BY_PLATFORM);
    q->back = a->act == ADMIT_BACK;
    set_move(q, s->main, s->standby, "module");
    str_copy(q->note, sizeof q->note, a->note);
    w->editing = true;
    edit(q);
}

static void watch(struct control *c, const struct model_module *m)
{
    const struct model_region *main = admit_main(c->model, m);
    const char *standby = main ? standby_region(c, m) : NULL;
    struct admit_action act;
    int64_t ignored;
    if (!standby)
        return;
    struct watched *w = watched_of(c, m->name);
    const json_t *doc = doc_of(c, m->name);
    if (w->editing)
        return;
    const struct admit_seen seen = {.module = m,
        .main = main->name,
        .standby = standby,
        .doc = doc,
        .main_ready = count_ready(c, m->name, main->name, false, &ignored),
        .standby_ready = count_ready(c, m->name, standby, true, &ignored),
        .placed_ms = placed_ms(c, m->name, main->name),
        .source_lives = source_lives(c, main->name),
        .source_back = source_is_in(c, json_opt_str(doc, "database", ""), main->name),
        .rolls_out = rolls_out(c, m->name)};
    admit_watch_step(&w->watch, &seen, clock_boot_ms(), &act);
    if (act.act != ADMIT_NOTHING || *act.note)
        carry_out(c, w, &seen, &act);
}

static void on_timer(uv_timer_t *t)
{
    struct control_admit *a = CONTAINER_OF(t, struct control_admit, timer);
    struct control *c = a->c;
    look_whether_fresh(c);
    if (!scheduler_leads(c->scheduler) || !c->model || !documents_synced(a->docs)) {
        for (size_t i = 0; i < a->n_watched; i++)
            a->watched[i].watch = (struct admit_watch){0};
        return;
    }
    for (size_t i = 0; i < c->model->n_modules; i++)
        watch(c, &c->model->modules[i]);
}

/* ---- `mcp failback` */

struct wish {
    struct control *c;
    struct rpc_req *req;
    char module[64], by[64];
};

static int refuse(struct err *e, const char *fix, const char *fmt, ...) PRINTF_LIKE(3, 4);

static int refuse(struct err *e, const char *fix, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(e, ERR_REFUSED, "%s", text);
    err_fix(e, "%s", fix);
    return ERR_REFUSED;
}

static int may_go_back(const struct wish *w, const json_t *old, struct err *e)
{
    struct control *c = w->c;
    const char *home = json_opt_str(old, "from", ""), *at = json_opt_str(old, "region", ""),
               *database = json_opt_str(old, "database", "");
    int64_t since_ms;
    if (!json_opt_bool(old, "standbys", false))
        return refuse(e, "`mcp status` shows where it takes calls",
            "%s was not admitted anywhere else", w->module);
    if (str_eq(json_opt_str(old, "why", NULL), "promotion") && !source_is_in(c, database, home)) {
        _cleanup_free_ char *fix = xasprintf("mcp data switchover %s --to %s", database, home);
        return refuse(
            e, fix, "%s was admitted in %s with %s, which is written there", w->module, at, database);
    }
    if (!count_ready(c, w->module, home, false, &since_ms))
        return refuse(e, "`mcp logs` says why", "no instance of %s is ready in %s", w->module, home);
    if (clock_wall_ms() - since_ms < ADMIT_READY_MS)
        return refuse(e, "try again in a minute", "%s has been ready in %s for %lld s, not for %u s",
            w->module, home, (long long)(clock_wall_ms() - since_ms) / 1000, ADMIT_READY_MS / 1000);
    return 0;
}

static int edit_failback(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    const struct wish *w = ctx;
    int r = may_go_back(w, old, e);
    if (r >= 0)
        *ret = admit_back(old, w->by, clock_wall_ms());
    return r;
}

static void on_failback(void *ctx, const json_t *doc, const struct err *e)
{
    struct wish *w = ctx;
    char message[128];
    if (e) {
        rpc_reply_error(w->req, e);
    } else {
        snprintf(message, sizeof message, "%s takes over again", json_opt_str(doc, "region", "?"));
        control_note(w->c, "admission", w->module, message, w->by);
        rpc_reply(w->req, json_pack("{s:s,s:s,s:I}", "module", w->module, "region",
                              json_opt_str(doc, "region", "?"), "epoch",
                              (json_int_t)json_opt_int(doc, "epoch", 0)));
    }
    free(w);
}

void control_failback(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    struct wish *w = xcalloc(1, sizeof *w);
    *w = (struct wish){.c = c, .req = req};
    const char *module = json_opt_str(params, "module", "");
    str_copy(w->by, sizeof w->by, json_opt_str(params, "by", "?"));
    if (str_copy(w->module, sizeof w->module, module) && c->model
        && model_find_module(c->model, module)) {
        documents_edit(c->admit->docs, module, edit_failback, on_failback, w);
        return;
    }
    err_set(&e, ERR_NOT_FOUND, "there is no module %s", module);
    err_fix(&e, "`mcp status` lists the units and their modules");
    rpc_reply_error(req, &e);
    free(w);
}

/* ---- life */

void control_admit_open(struct control *c)
{
    static const struct documents_handler handler = {.changed = on_changed, .synced = on_synced};
    struct control_admit *a = c->admit = xcalloc(1, sizeof *a);
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/admit/", c->platform);
    a->c = c;
    a->docs = documents_new(&c->role->loop, c->kv, prefix, &handler, c);
    documents_refresh(a->docs, REFRESH_MS);
    uv_timer_init(&c->role->loop, &a->timer);
    uv_timer_start(&a->timer, on_timer, LOOK_MS, LOOK_MS);
}

static void on_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_timer_t *)h, struct control_admit, timer));
}

void control_admit_close(struct control *c)
{
    struct control_admit *a = c->admit;
    if (!a)
        return;
    c->admit = NULL;
    documents_free(a->docs);
    free(a->watched);
    free(a->known);
    uv_close((uv_handle_t *)&a->timer, on_closed);
}
