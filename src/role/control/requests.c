/* SPDX-License-Identifier: Apache-2.0 */
/* This host's edge tells how many requests each module's routes have had, and how many of them
 * ended badly, since it began; the report of this host has both for the last 30 s. */
#include "role/control/alarms.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/alarm/window.h"

struct counted {
    char module[MODEL_NAME_MAX + 1];
    struct alarm_window window;
    uint64_t told_errors; /* by the report that is out */
};

struct control_requests {
    struct counted *v;
    size_t n, cap;
    bool linked; /* and has told nothing yet: what it counted before is not of now */
    uint64_t told_ms;
};

struct control_requests *control_requests_new(void)
{
    return xcalloc(1, sizeof(struct control_requests));
}

void control_requests_free(struct control_requests *r)
{
    if (r)
        free(r->v);
    free(r);
}

void control_requests_linked(struct control *c)
{
    c->requests->linked = true;
}

static struct counted *counted_of(struct control_requests *r, const char *module)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->v[i].module, module))
            return &r->v[i];
    if (r->n == MODEL_MODULES_MAX)
        return NULL;
    struct counted *m = GROW(r->v, r->n, r->cap);
    *m = (struct counted){0};
    str_copy(m->module, sizeof m->module, module);
    return m;
}

/* {"modules": {"api": {"requests", "errors"}}}. The edge faces the internet: its word is bounded. */
void control_requests_heard(struct control *c, const json_t *params)
{
    const char *name;
    json_t *m;
    uint64_t now = clock_boot_ms();
    json_object_foreach (json_object_get(params, "modules"), name, m) {
        struct counted *k = model_find_module(c->model, name) ? counted_of(c->requests, name) : NULL;
        if (!k)
            continue;
        alarm_window_pass(&k->window, now);
        alarm_window_add(&k->window,
            (struct alarm_counts){(uint64_t)MAX(json_opt_int(m, "requests", 0), 0),
                (uint64_t)MAX(json_opt_int(m, "errors", 0), 0)},
            c->requests->linked);
    }
    c->requests->linked = false;
}

/* Errors are news; how many requests there were without any is not. */
void control_requests_pass(struct control *c)
{
    struct control_requests *r = c->requests;
    uint64_t now = clock_boot_ms();
    bool news = false;
    for (size_t i = 0; i < r->n; i++) {
        alarm_window_pass(&r->v[i].window, now);
        news |= alarm_window_read(&r->v[i].window, now).errors != r->v[i].told_errors;
    }
    if (news && now >= r->told_ms + ALARM_WINDOW_STEP_MS) {
        r->told_ms = now;
        control_report_soon(c);
    }
}

void control_requests_report(struct control *c, json_t *report)
{
    if (!c->requests)
        return;
    json_t *routes = json_object();
    for (size_t i = 0; i < c->requests->n; i++) {
        struct counted *m = &c->requests->v[i];
        struct alarm_counts n = alarm_window_read(&m->window, clock_boot_ms());
        m->told_errors = n.errors;
        json_object_set_new(routes, m->module,
            json_pack("{s:I,s:I}", "requests", (json_int_t)n.requests, "errors",
                (json_int_t)n.errors));
    }
    json_object_set_new(report, "routes", routes);
}
