/* SPDX-License-Identifier: Apache-2.0 */
#include "service/agent/priv.h"

static json_t *unit_status(const struct agent_unit *u)
{
    const struct unit_spec *s = agent_unit_latest(u);
    const struct unit *l = &u->life;
    bool waits = *u->waiting && !l->alive;
    const char *reason = waits || (*u->waiting && !*l->reason) ? u->waiting : l->reason;
    char address[IP_TEXT_SIZE] = "";
    if (l->alive && u->address.family)
        ip_format(&u->address, address);
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:s,s:s,s:i,s:I,s:b}", "name", s->name, "kind",
        unit_kind_name(s->kind), "module", s->module, "state",
        waits ? "pending" : unit_state_name(l->state), "pid", (int)u->pid, "restarts",
        (int)MIN(l->restarts, INT32_MAX), "reason",
        reason, "address", address, "port",
        (int)s->port, "since_ms", (json_int_t)u->since_wall_ms, "standby", (int)s->standby);
    ASSERT(j);
    /* Of what runs, not of what is to take its place. */
    if (u->spec->generation)
        json_object_set_new(j, "spec", json_string(u->spec->generation));
    char next[IMAGES_TEXT_SIZE];
    if (u->changed_doc && l->state == UNIT_READY && !agent_unit_next_here(u, next))
        json_object_set_new(j, "reason", json_sprintf("to be replaced: %s", next));
    return j;
}

json_t *agent_status(struct agent *a)
{
    json_t *list = json_array();
    for (const struct agent_unit *u = a->units; u; u = u->next)
        json_array_append_new(list, unit_status(u));
    return list;
}

size_t agent_select(
    struct agent *a, const json_t *params, struct agent_unit **out, size_t max, struct err *e)
{
    const char *unit = json_opt_str(params, "unit", NULL),
               *module = json_opt_str(params, "module", NULL);
    size_t n = 0;
    for (struct agent_unit *u = a->units; u && n < max; u = u->next)
        if (unit ? !strcmp(u->spec->name, unit)
                 : module && (!strcmp(u->spec->module, module) || !strcmp(u->spec->name, module)))
            out[n++] = u;
    if (n == 0)
        err_set(e, ERR_NOT_FOUND, "no unit or module \"%s\" on this host",
            unit     ? unit
            : module ? module
                     : "");
    return n;
}

static void add_metric(struct str *out, const struct agent_unit *u, const char *name, double value)
{
    str_addf(
        out, "%s{unit=\"%s\",module=\"%s\"} %.17g\n", name, u->spec->name, u->spec->module, value);
}

void agent_metrics(struct agent *a, struct str *out)
{
    static const struct {
        const char *name, *type, *help;
    } rows[] = {
        {"mcp_unit_ready", "gauge", "1 while the unit is ready"},
        {"mcp_unit_restarts_total", "counter", "Starts after the first"},
        {"mcp_unit_memory_bytes", "gauge", "Memory without cache that can be dropped"},
        {"mcp_unit_cpu_seconds_total", "counter", "CPU time since the unit's process started"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        str_addf(out, "# HELP %s %s\n# TYPE %s %s\n", rows[i].name, rows[i].help, rows[i].name,
            rows[i].type);
        for (struct agent_unit *u = a->units; u; u = u->next) {
            struct cgroup_usage usage = {0};
            struct err ignored;
            if (i >= 2 && cgroup_usage(&a->cfg.host.cgroups, u->cgroup, &usage, &ignored) < 0)
                continue;
            const double values[] = {u->life.state == UNIT_READY, u->life.restarts,
                (double)usage.memory_bytes, (double)usage.cpu_ns / 1e9};
            add_metric(out, u, rows[i].name, values[i]);
        }
    }
}
