/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that are run after a deployment, by whoever leads (domain/schedule/after.h). One look
 * a second; one thing of a module at a time. */
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/schedule/after.h"

#define LOOK_MS 1000u

struct control_after {
    uv_timer_t timer;
    struct control *c;
    struct documents *docs; /* after/<module> */
    json_t *busy;           /* {module: true}: written or run just now */
    json_t *ran;            /* {module: id}: that ran here, and could not be written down */
};

struct deed {
    struct control *c;
    char module[64];
    int64_t id;
    struct err error; /* code 0: done */
};

static const json_t *deploy_of(const struct control *c, const char *module)
{
    _cleanup_free_ char *name = xasprintf("deploy/%s", module);
    return json_object_get(scheduler_docs(c->scheduler), name);
}

static struct deed *deed_of(struct control *c, const char *module, int64_t id)
{
    struct deed *d = xcalloc(1, sizeof *d);
    *d = (struct deed){.c = c, .id = id};
    str_copy(d->module, sizeof d->module, module);
    json_object_set_new(c->after->busy, module, json_true());
    return d;
}

static void edit(struct deed *d, documents_edit_fn fn, documents_done_fn done)
{
    char key[KV_KEY_MAX + 1];
    int64_t mod;
    struct err e;
    if (scheduler_guard(d->c->scheduler, key, &mod)) {
        documents_edit_under(d->c->after->docs, d->module, key, mod, fn, done, d);
        return;
    }
    err_set(&e, ERR_UNAVAILABLE, "this host does not lead (any more)");
    done(d, NULL, &e);
}

/* ---- they ran */

static int edit_ran(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    const struct deed *d = ctx;
    *ret = after_ran(old, d->id, d->error.code ? &d->error : NULL, clock_wall_ms());
    return 0;
}

static void on_written(void *ctx, const json_t *doc, const struct err *e)
{
    struct deed *d = ctx;
    struct control_after *a = d->c->after;
    if (a) {
        json_object_del(a->busy, d->module);
        if (e && !d->error.code)
            json_object_set_new(a->ran, d->module, json_integer((json_int_t)d->id));
        else
            json_object_del(a->ran, d->module);
    }
    free(d);
}

static void on_ran(void *ctx, const struct err *e)
{
    struct deed *d = ctx;
    if (e) {
        log_warn("deploy", "a function after it failed", "error=\"%s\"", e->message);
        d->error = *e;
    }
    if (d->c->after && !d->c->done) /* at the end what was not run counts as run */
        edit(d, edit_ran, on_written);
    else
        free(d);
}

static void run(struct control *c, const struct model_module *m, int64_t id)
{
    char name[48], why[128];
    struct deed *d = deed_of(c, m->name, id);
    if (json_opt_int(c->after->ran, m->name, 0) == id) {
        on_ran(d, NULL);
        return;
    }
    snprintf(name, sizeof name, "deployed-%.24s-%lld", m->name, (long long)id);
    snprintf(why, sizeof why, "after deployment %lld of %s", (long long)id, m->name);
    control_bound_run(c, m->after, name, why,
        json_pack("{s:s,s:I,s:s}", "module", m->name, "id", (json_int_t)id, "when", "after"),
        on_ran, d);
}

/* ---- the leader's look */

static int edit_step(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct deed *d = ctx;
    bool ignored;
    *ret = after_step(old, deploy_of(d->c, d->module), clock_wall_ms(), &ignored);
    return 0;
}

static void on_stepped(void *ctx, const json_t *doc, const struct err *e)
{
    struct deed *d = ctx;
    if (d->c->after)
        json_object_del(d->c->after->busy, d->module);
    free(d);
}

static void look(struct control *c, const struct model_module *m)
{
    bool due;
    const json_t *doc = documents_get(c->after->docs, m->name);
    if (json_object_get(c->after->busy, m->name))
        return;
    _cleanup_json_ json_t *next = after_step(doc, deploy_of(c, m->name), clock_wall_ms(), &due);
    if (next != doc)
        edit(deed_of(c, m->name, 0), edit_step, on_stepped);
    else if (due)
        run(c, m, json_opt_int(doc, "id", 0));
}

static void on_timer(uv_timer_t *t)
{
    struct control_after *a = CONTAINER_OF(t, struct control_after, timer);
    struct control *c = a->c;
    if (!c->model || !c->scheduler || !scheduler_leads(c->scheduler) || !documents_synced(a->docs))
        return;
    for (size_t i = 0; i < c->model->n_modules; i++)
        if (c->model->modules[i].after)
            look(c, &c->model->modules[i]);
}

/* ---- life */

void control_after_start(struct control *c)
{
    static const struct documents_handler handler = {0};
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/after/", c->platform);
    struct control_after *a = c->after = xcalloc(1, sizeof *a);
    *a = (struct control_after){.c = c, .busy = json_object(), .ran = json_object()};
    a->docs = documents_new(&c->role->loop, c->kv, prefix, &handler, c);
    uv_timer_init(&c->role->loop, &a->timer);
    uv_timer_start(&a->timer, on_timer, LOOK_MS, LOOK_MS);
}

static void on_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_timer_t *)h, struct control_after, timer));
}

void control_after_stop(struct control *c)
{
    struct control_after *a = c->after;
    if (!a)
        return;
    c->after = NULL;
    documents_free(a->docs);
    json_decref(a->busy);
    json_decref(a->ran);
    uv_close((uv_handle_t *)&a->timer, on_closed);
}
