/* SPDX-License-Identifier: Apache-2.0 */
/* Alarms against what is declared, and as the model. An error in an expression stands where it is
 * in the file. */
#include "domain/alarm/alarm.h"
#include "domain/alarm/values.h"
#include "domain/model/priv.h"

/* `at` counts characters of the text from 1; in quotes it begins one later. */
static void say(struct checker *c, const struct schema_text *text, unsigned at, const struct err *e)
{
    struct problem *p = problems_add(
        c->p, text->at->line, text->at->column + text->at->quoted + at - 1, "%s", e->message);
    problem_fix(p, "%s", *e->fix ? e->fix : "platform.yaml(5) tells how a condition is written");
}

static const struct schema_list *names_of(
    const struct decl *d, enum alarm_family family, size_t *ret_size)
{
    switch (family) {
    case ALARM_OF_DATA:
        *ret_size = sizeof(struct decl_database);
        return &d->data;
    case ALARM_OF_HOST:
        *ret_size = sizeof(struct decl_host);
        return &d->hosts;
    default:
        *ret_size = sizeof(struct decl_module);
        return &d->modules;
    }
}

static bool has_route(const struct decl *d, const char *module)
{
    const struct decl_module *m = decl_find(&d->modules, sizeof *m, module);
    return m && m->route.n;
}

static void check_name(struct checker *c, const struct schema_text *text,
    const struct alarm_node *node, const struct alarm_value *v, const char *name)
{
    static const char *const whats[] = {[ALARM_OF_DATA] = "database",
        [ALARM_OF_ROUTE] = "module",
        [ALARM_OF_MODULE] = "module",
        [ALARM_OF_HOST] = "host"};
    struct err e = {0};
    size_t size;
    if (v->family == ALARM_OF_PLATFORM)
        return;
    const struct schema_list *known = names_of(c->d, v->family, &size);
    if (!decl_find(known, size, name)) {
        err_set(&e, ERR_INVALID, "%s: there is no %s %s", node->path, whats[v->family], name);
        err_fix(&e, "name one that is declared, or declare it");
        say(c, text, node->at, &e);
    } else if (v->family == ALARM_OF_ROUTE && !has_route(c->d, name)) {
        err_set(&e, ERR_INVALID, "%s: module %s has no route", node->path, name);
        err_fix(&e, "name a module that has one: nobody else's requests are counted");
        say(c, text, node->at, &e);
    }
}

static void check_node(
    struct checker *c, const struct schema_text *text, const struct alarm_node *node)
{
    char name[ALARM_PATH_MAX + 1];
    struct err e = {0};
    const struct alarm_value *v = alarm_value_find(node->path, name, &e);
    if (!v) {
        say(c, text, node->at, &e);
        return;
    }
    check_name(c, text, node, v, name);
    const char *expected = alarm_value_fits(v, &node->value);
    if (!expected)
        return;
    err_set(&e, ERR_INVALID, "%s is compared with %s", node->path, expected);
    say(c, text, node->value_at, &e);
}

static void check_expr(struct checker *c, const struct schema_text *text)
{
    struct alarm_expr *x = arena_alloc(c->arena, sizeof *x);
    struct err e = {0};
    unsigned at = 1;
    if (!text->s)
        return;
    if (alarm_expr_parse(text->s, strlen(text->s), x, &at, &e) < 0) {
        say(c, text, at, &e);
        return;
    }
    for (unsigned i = 0; i < x->n; i++)
        if (alarm_op_compares(x->nodes[i].op))
            check_node(c, text, &x->nodes[i]);
}

void decl_check_alarms(struct checker *c)
{
    const struct decl_alarm *alarms = c->d->alarms.v;
    for (size_t i = 0; i < c->d->alarms.n; i++) {
        const struct schema_text *notify = alarms[i].notify.v;
        struct schema_text run = alarms[i].run;
        check_expr(c, &alarms[i].when);
        check_expr(c, &alarms[i].clear);
        decl_check_functions_exist(c, &(struct schema_list){&run, run.s ? 1 : 0, run.at});
        for (size_t k = 0; k < alarms[i].notify.n; k++) {
            if (decl_find(&c->d->notify, sizeof(struct decl_notify), notify[k].s))
                continue;
            if (c->d->notify.n)
                decl_unknown(c, "notify", &notify[k], &c->d->notify, sizeof(struct decl_notify));
            else
                problem_fix(schema_problem(c->p, notify[k].at, "notify %s is not declared",
                                notify[k].s),
                    "declare it: `notify: {%s: {slack: {url_secret: slack_webhook}}}`",
                    notify[k].s);
        }
    }
}

/* ---- the model */

static void build_notify(const struct decl *d, struct model *m)
{
    const struct decl_notify *from = d->notify.v;
    struct model_notify *to = arena_alloc(m->arena, d->notify.n * sizeof *to);
    for (size_t i = 0; i < d->notify.n; i++)
        to[i] = (struct model_notify){.name = from[i].head.key.s,
            .url_secret = from[i].slack.url_secret.s,
            .channel = from[i].slack.channel.s,
            .username = from[i].slack.username.s,
            .builtin = from[i].builtin,
            .severity = from[i].severity};
    m->notify = to;
    m->n_notify = d->notify.n;
}

void decl_build_alarms(const struct decl *d, struct model *m)
{
    const struct decl_alarm *from = d->alarms.v;
    struct model_alarm *to = arena_alloc(m->arena, d->alarms.n * sizeof *to);
    for (size_t i = 0; i < d->alarms.n; i++) {
        const struct schema_text *names = from[i].notify.v;
        const char **notify = arena_alloc(m->arena, from[i].notify.n * sizeof *notify);
        for (size_t k = 0; k < from[i].notify.n; k++)
            notify[k] = names[k].s;
        to[i] = (struct model_alarm){.name = from[i].head.key.s,
            .when = from[i].when.s,
            .clear = from[i].clear.s,
            .for_ms = from[i].for_ms,
            .clear_for_ms = from[i].clear_for_ms,
            .repeat_ms = from[i].repeat_ms,
            .severity = from[i].severity,
            .notify = notify,
            .n_notify = from[i].notify.n,
            .run = from[i].run.s};
    }
    m->alarms = to;
    m->n_alarms = d->alarms.n;
    build_notify(d, m);
}
