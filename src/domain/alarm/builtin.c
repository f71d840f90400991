/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/alarm/rules.h"

#include "base/units/units.h"

#include <string.h>

#define SECOND 1000u
#define MINUTE (60u * SECOND)
#define DAY (24ull * 3600 * SECOND)

struct builtin {
    const char *name; /* behind "data.trade." */
    const char *when; /* each @ is that prefix, # the limit of this database */
    enum alarm_severity severity;
    uint64_t for_ms, clear_for_ms;
};

/* The reference looked at its database for as long; the probes of routes take 5 s × 2. */
static const struct builtin of_database = {
    "answering", "@answering == false", ALARM_CRITICAL, 10 * SECOND, 10 * SECOND};
static const struct builtin of_replication = {
    "replication", "@replicating == false", ALARM_CRITICAL, 60 * SECOND, 30 * SECOND};
static const struct builtin of_lag = {
    "lag", "@lag_ms > #", ALARM_WARNING, 60 * SECOND, 30 * SECOND};
static const struct builtin of_disk = {
    "disk", "@disk_full_in < 3d or @disk_free < 10%", ALARM_WARNING, MINUTE, 10 * MINUTE};
static const struct builtin of_failover = {
    "failover", "@failover_ready == false", ALARM_WARNING, MINUTE, MINUTE};
static const struct builtin of_drill = {"drill", "@drill_age > #", ALARM_WARNING, 0, 0};
/* One error of one request is no rate. */
static const struct builtin of_route = {"errors", "@error_rate > 5% and @requests >= 5",
    ALARM_CRITICAL, 15 * SECOND, 30 * SECOND};
static const struct builtin of_host[] = {
    {"silent", "@heard == false", ALARM_CRITICAL, 10 * SECOND, 10 * SECOND},
    {"disk", "@disk_full_in < 3d or @disk_free < 10%", ALARM_WARNING, MINUTE, 10 * MINUTE},
    {"certificates", "@cert_late == true", ALARM_CRITICAL, MINUTE, MINUTE},
};
static const struct builtin of_platform = {
    "certificates", "@ca_days < 30", ALARM_WARNING, 0, 0};

static struct alarm_expr *expr_of(const char *text)
{
    struct alarm_expr *x = xcalloc(1, sizeof *x);
    struct err e;
    int k = alarm_expr_parse(text, strlen(text), x, NULL, &e);
    ASSERT(k >= 0); /* checked when the declaration was, or ours */
    return x;
}

static char *filled(const char *text, const char *prefix, const char *limit)
{
    struct str out = STR_INIT;
    for (; *text; text++)
        if (*text == '@')
            str_add(&out, prefix);
        else if (*text == '#')
            str_add(&out, limit);
        else
            str_add_ch(&out, *text);
    return str_steal(&out);
}

static void add(struct alarm_rules *r, const struct model *m, const struct builtin *b,
    const char *family, const char *object, uint64_t limit_ms)
{
    char prefix[ALARM_NAME_MAX + 1], limit[UNITS_TEXT_SIZE];
    struct alarm_rule *rule = GROW(r->v, r->n, r->cap);
    snprintf(prefix, sizeof prefix, "%s%s%s.", family, *object ? "." : "", object);
    units_format_duration(limit_ms, limit);
    *rule = (struct alarm_rule){.severity = b->severity,
        .for_ms = b->for_ms,
        .clear_for_ms = b->clear_for_ms,
        .text = filled(b->when, prefix, limit),
        .builtin = true};
    str_copy(rule->name, sizeof rule->name, prefix);
    str_copy(rule->name + strlen(rule->name), sizeof rule->name - strlen(rule->name), b->name);
    rule->when = expr_of(rule->text);
    for (size_t i = 0; i < m->n_notify && rule->n_notify < ALARM_NOTIFY_MAX; i++)
        if (m->notify[i].builtin && (int)rule->severity >= m->notify[i].severity)
            rule->notify[rule->n_notify++] = m->notify[i].name;
}

static void add_database(struct alarm_rules *r, const struct model *m, const struct model_database *d)
{
    uint64_t most = d->failover.drill_max_age_ms;
    add(r, m, &of_database, "data", d->name, 0);
    add(r, m, &of_disk, "data", d->name, 0);
    if (d->n_members < 2)
        return;
    add(r, m, &of_replication, "data", d->name, 0);
    add(r, m, &of_lag, "data", d->name, d->replication.lag_objective_ms);
    if (!d->failover.automatic)
        return;
    add(r, m, &of_failover, "data", d->name, 0);
    /* A week before it blocks, or a quarter of the time where that is less. */
    add(r, m, &of_drill, "data", d->name, most - MIN(most / 4, 7 * DAY));
}

static void add_declared(struct alarm_rules *r, const struct model_alarm *a)
{
    struct alarm_rule *rule = GROW(r->v, r->n, r->cap);
    *rule = (struct alarm_rule){.when = expr_of(a->when),
        .clear = a->clear ? expr_of(a->clear) : NULL,
        .text = xstrdup(a->when),
        .for_ms = a->for_ms,
        .clear_for_ms = a->clear_for_ms,
        .repeat_ms = a->repeat_ms,
        .severity = (enum alarm_severity)a->severity,
        .run = a->run};
    str_copy(rule->name, sizeof rule->name, a->name);
    for (size_t i = 0; i < a->n_notify && i < ALARM_NOTIFY_MAX; i++)
        rule->notify[rule->n_notify++] = a->notify[i];
}

void alarm_rules_init(struct alarm_rules *r, const struct model *m)
{
    *r = (struct alarm_rules){0};
    for (size_t i = 0; i < m->n_alarms; i++)
        add_declared(r, &m->alarms[i]);
    for (size_t i = 0; i < m->n_databases; i++)
        add_database(r, m, &m->databases[i]);
    for (size_t i = 0; i < m->n_modules; i++)
        if (m->modules[i].n_routes)
            add(r, m, &of_route, "route", m->modules[i].name, 0);
    for (size_t i = 0; i < m->n_hosts; i++)
        for (size_t k = 0; k < ARRAY_SIZE(of_host); k++)
            add(r, m, &of_host[k], "host", m->hosts[i].name, 0);
    add(r, m, &of_platform, "platform", "", 0);
}

void alarm_rules_done(struct alarm_rules *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->v[i].when);
        free(r->v[i].clear);
        free((char *)(uintptr_t)r->v[i].text);
    }
    free(r->v);
    *r = (struct alarm_rules){0};
}

const struct alarm_rule *alarm_rules_find(const struct alarm_rules *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->v[i].name, name))
            return &r->v[i];
    return NULL;
}
