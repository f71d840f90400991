/* SPDX-License-Identifier: Apache-2.0 */
/* The platform on one screen, for somebody who was woken up: first whether it is ready and why not,
 * then what is not as it should be in red, always in the same places. */
#include "cmd/cli/priv.h"

#define BECAUSE_MAX 5 /* clauses in the first line; the tables below hold the rest */

static const struct {
    const char *state;
    enum table_mark mark;
} marks[] = {
    {"up", TABLE_GOOD},
    {"ready", TABLE_GOOD},
    {"connected", TABLE_GOOD},
    {"down", TABLE_BAD},
    {"failed", TABLE_BAD},
    {"unhealthy", TABLE_BAD},
    {"backoff", TABLE_BAD},
    {"silent", TABLE_BAD},
    {"dead", TABLE_BAD},
    {"starting", TABLE_WARN},
    {"pending", TABLE_WARN},
    {"unknown", TABLE_WARN},
    {"suspect", TABLE_WARN},
    {"degraded", TABLE_WARN},
    {"stopping", TABLE_WARN},
    {"frozen", TABLE_WARN},
    {"stopped", TABLE_DIM},
};

static enum table_mark mark_of(const char *state)
{
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
        if (!strcmp(state, marks[i].state))
            return marks[i].mark;
    return TABLE_PLAIN;
}

const char *cmd_age(int64_t since_wall_ms, int64_t now_wall_ms, char out[CMD_AGE_SIZE])
{
    if (since_wall_ms <= 0 || now_wall_ms < since_wall_ms)
        return "-";
    int64_t s = (now_wall_ms - since_wall_ms) / 1000;
    /* Two figures are kept where one would hide too much: 95s, 90m, 30h. */
    if (s < 120)
        snprintf(out, CMD_AGE_SIZE, "%llds", (long long)s);
    else if (s < 120 * 60)
        snprintf(out, CMD_AGE_SIZE, "%lldm", (long long)(s / 60));
    else if (s < 48 * 3600)
        snprintf(out, CMD_AGE_SIZE, "%lldh", (long long)(s / 3600));
    else
        snprintf(out, CMD_AGE_SIZE, "%lldd", (long long)(s / 86400));
    return out;
}

/* Ready, and not admitted: it waits. */
static bool is_standby(const json_t *unit)
{
    return str_eq(json_opt_str(unit, "state", ""), "ready")
           && json_opt_bool(unit, "standby", false) && !json_opt_bool(unit, "admitted", true);
}

/* Was active until another region took over. */
static bool is_put_aside(const json_t *unit)
{
    return str_eq(json_opt_str(unit, "state", ""), "ready") && !is_standby(unit)
           && !json_opt_bool(unit, "admitted", true);
}

static bool unit_is_fine(const json_t *unit)
{
    return str_eq(json_opt_str(unit, "state", ""), "ready") || is_standby(unit);
}

static bool is_up(const json_t *row)
{
    return str_eq(json_opt_str(row, "state", ""), "up");
}

static bool in_region(const json_t *row, const char *region)
{
    return !strcmp(json_opt_str(row, "region", ""), region);
}

/* --- the first lines --- */

/* Control says why as one line of clauses: the first few are enough to start with. */
static void add_because(const char *why, const struct table_style *style, struct str *out)
{
    _cleanup_str_ struct str shown = STR_INIT;
    size_t n = 0, left = 0;
    for (const char *p = why; *p; n++) {
        const char *end = strstr(p, "; ");
        size_t len = end ? (size_t)(end - p) : strlen(p);
        if (n < BECAUSE_MAX) {
            str_add(&shown, n ? "; " : "");
            str_add_mem(&shown, p, len);
        } else {
            left++;
        }
        p += len + (end ? 2 : 0);
    }
    if (left)
        str_addf(&shown, "; and %zu more", left);
    if (shown.len) {
        str_add(out, " because ");
        table_mark_text(out, style, TABLE_PLAIN, shown.buf);
    }
}

static void add_ready(const json_t *status, const struct table_style *style, struct str *out)
{
    _cleanup_free_ char *name = xasprintf("%s, revision %lld",
        json_opt_str(status, "platform", "?"), (long long)json_opt_int(status, "revision", 0));
    table_mark_text(out, style, TABLE_BOLD, name);
    str_add(out, ": ");
    if (json_opt_bool(status, "ready", false)) {
        table_mark_text(out, style, TABLE_GOOD, "READY");
        str_add_ch(out, '\n');
        return;
    }
    table_mark_text(out, style, TABLE_BAD, "NOT READY");
    add_because(json_opt_str(status, "not_ready", ""), style, out);
    str_add_ch(out, '\n');
}

static void add_store(const json_t *status, const struct table_style *style, struct str *out)
{
    const json_t *store = json_object_get(status, "state_store");
    const char *reason = json_opt_str(store, "reason", "");
    bool connected = json_opt_bool(store, "connected", false);
    str_add(out, "state store ");
    table_mark_text(out, style, TABLE_PLAIN, json_opt_str(store, "kind", "?"));
    str_add(out, ": ");
    table_mark_text(
        out, style, connected ? TABLE_GOOD : TABLE_BAD, connected ? "connected" : "not connected");
    if (!connected && *reason) {
        str_add(out, " (");
        table_mark_text(out, style, TABLE_PLAIN, reason);
        str_add_ch(out, ')');
    }
    if (!connected)
        str_add(out, "; everything goes on as it was, only nothing new can be applied");
    str_add(out, "; as host ");
    table_mark_text(out, style, TABLE_PLAIN, json_opt_str(status, "asked_host", "?"));
    str_add(out, " sees it\n");
}

/* Whether each database would fail over by itself now, and if not, why and what helps. */
static void add_failover(const json_t *status, const struct table_style *style, struct str *out)
{
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(status, "failover"), i, row) {
        bool armed = json_opt_bool(row, "armed", false);
        str_add(out, "failover ");
        table_mark_text(out, style, TABLE_PLAIN, json_opt_str(row, "database", "?"));
        str_add(out, ": ");
        table_mark_text(out, style, armed ? TABLE_GOOD : TABLE_WARN, armed ? "ARMED" : "DISARMED");
        str_add(out, ", ");
        table_mark_text(out, style, TABLE_PLAIN, json_opt_str(row, "state", "?"));
        if (!armed) {
            _cleanup_free_ char *why = xasprintf("; %s: %s (%s)", json_opt_str(row, "rule", "?"),
                json_opt_str(row, "text", "?"), json_opt_str(row, "value", "?"));
            table_mark_text(out, style, TABLE_PLAIN, why);
        }
        str_add_ch(out, '\n');
    }
}

static void add_alarms(const json_t *status, const struct table_style *style, struct str *out)
{
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(status, "alarms"), i, row) {
        table_mark_text(out, style, TABLE_BAD, "ALARM ");
        table_mark_text(out, style, TABLE_PLAIN, json_opt_str(row, "text", "?"));
        str_add_ch(out, '\n');
    }
}

/* --- the tables --- */

static void put_table(struct table *t, const struct table_style *style, struct str *out)
{
    if (!table_empty(t)) {
        str_add_ch(out, '\n');
        table_format(t, style, out);
    }
    table_done(t);
}

/* "2/2" of those in the region; red when some are not fine. */
static void cell_share(
    struct table *t, const json_t *rows, const char *region, bool (*fine)(const json_t *row))
{
    size_t i, all = 0, good = 0;
    json_t *row;
    json_array_foreach (rows, i, row)
        if (in_region(row, region)) {
            all++;
            good += fine(row);
        }
    table_cell(t, good == all ? TABLE_PLAIN : TABLE_BAD, "%zu/%zu", good, all);
}

static void cell_addresses(struct table *t, const json_t *list)
{
    _cleanup_str_ struct str text = STR_INIT;
    size_t i;
    json_t *a;
    json_array_foreach (list, i, a)
        str_addf(
            &text, "%s%s", text.len ? " " : "", json_is_string(a) ? json_string_value(a) : "?");
    table_cell(t, TABLE_PLAIN, "%s", str_cstr(&text));
}

static void cell_state(struct table *t, const json_t *row)
{
    const char *state = json_opt_str(row, "state", "unknown");
    table_cell(t, mark_of(state), "%s", state);
}

/* A drained host is up, and that is not all that there is to say. */
static void cell_host_state(struct table *t, const json_t *row)
{
    if (is_up(row) && json_opt_bool(row, "drained", false))
        table_cell(t, TABLE_WARN, "drained");
    else
        cell_state(t, row);
}

static void cell_text(struct table *t, const json_t *row, const char *key)
{
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(row, key, ""));
}

static void add_regions(const json_t *status, const struct table_style *style, struct str *out)
{
    static const char *const heads[] = {
        "REGION", "DUTY", "STATE", "HOSTS", "UNITS", "ADDRESS", NULL};
    struct table t;
    size_t i;
    json_t *row;
    table_init(&t, heads);
    json_array_foreach (json_object_get(status, "regions"), i, row) {
        const char *name = json_opt_str(row, "name", "?");
        table_cell(&t, TABLE_PLAIN, "%s", name);
        cell_text(&t, row, "duty");
        cell_state(&t, row);
        cell_share(&t, json_object_get(status, "hosts"), name, is_up);
        cell_share(&t, json_object_get(status, "units"), name, unit_is_fine);
        cell_addresses(&t, json_object_get(row, "address"));
    }
    put_table(&t, style, out);
}

/* Names are many, and all is well with most: only those that are not up somewhere. */
static void add_names(
    const json_t *status, int64_t now, const struct table_style *style, struct str *out)
{
    static const char *const heads[] = {"NAME", "REGION", "STATE", "SINCE", NULL};
    struct table t;
    char age[CMD_AGE_SIZE];
    size_t i, k;
    json_t *name, *row;
    table_init(&t, heads);
    json_array_foreach (json_object_get(status, "names"), i, name)
        json_array_foreach (json_object_get(name, "regions"), k, row)
            if (!is_up(row)) {
                cell_text(&t, name, "name");
                cell_text(&t, row, "region");
                cell_state(&t, row);
                table_cell(
                    &t, TABLE_PLAIN, "%s", cmd_age(json_opt_int(row, "since_ms", 0), now, age));
            }
    put_table(&t, style, out);
}

static void cell_roles(struct table *t, const json_t *roles, int64_t now)
{
    _cleanup_str_ struct str text = STR_INIT;
    bool restarted = false;
    char age[CMD_AGE_SIZE];
    size_t i;
    json_t *role;
    json_array_foreach (roles, i, role) {
        int64_t restarts = json_opt_int(role, "restarts", 0);
        str_addf(&text, "%s%s", text.len ? " " : "", json_opt_str(role, "name", "?"));
        if (restarts > 0)
            str_addf(&text, "(restarted %lldx, %s ago)", (long long)restarts,
                cmd_age(json_opt_int(role, "since_ms", 0), now, age));
        restarted = restarted || restarts > 0;
    }
    table_cell(t, restarted ? TABLE_WARN : TABLE_PLAIN, "%s", str_cstr(&text));
}

static void cell_memory(struct table *t, const json_t *roles)
{
    int64_t bytes = 0;
    size_t i;
    json_t *role;
    json_array_foreach (roles, i, role)
        bytes += json_opt_int(role, "pss_bytes", 0);
    if (bytes > 0)
        table_cell(t, TABLE_PLAIN, "%.1f MiB", (double)bytes / 1048576);
    else
        table_cell(t, TABLE_PLAIN, "%s", "");
}

static void add_hosts(
    const json_t *status, int64_t now, const struct table_style *style, struct str *out)
{
    static const char *const heads[] = {"HOST", "REGION", "STATE", "MEMORY", "ROLES", NULL};
    struct table t;
    size_t i;
    json_t *row;
    table_init(&t, heads);
    t.right[3] = true;
    json_array_foreach (json_object_get(status, "hosts"), i, row) {
        cell_text(&t, row, "name");
        cell_text(&t, row, "region");
        cell_host_state(&t, row);
        cell_memory(&t, json_object_get(row, "roles"));
        cell_roles(&t, json_object_get(row, "roles"), now);
    }
    put_table(&t, style, out);
}

static void add_units(
    const json_t *status, int64_t now, const struct table_style *style, struct str *out)
{
    static const char *const heads[] = {
        "UNIT", "REGION", "HOST", "STATE", "AGE", "RESTARTS", "REASON", NULL};
    struct table t;
    char age[CMD_AGE_SIZE];
    size_t i;
    json_t *row;
    table_init(&t, heads);
    t.right[4] = t.right[5] = true;
    json_array_foreach (json_object_get(status, "units"), i, row) {
        int64_t restarts = json_opt_int(row, "restarts", 0);
        cell_text(&t, row, "name");
        cell_text(&t, row, "region");
        cell_text(&t, row, "host");
        if (is_standby(row))
            table_cell(&t, TABLE_DIM, "standby");
        else if (is_put_aside(row))
            table_cell(&t, TABLE_WARN, "not admitted");
        else
            cell_state(&t, row);
        table_cell(&t, TABLE_PLAIN, "%s", cmd_age(json_opt_int(row, "since_ms", 0), now, age));
        table_cell(&t, restarts ? TABLE_WARN : TABLE_PLAIN, "%lld", (long long)restarts);
        cell_text(&t, row, "reason");
    }
    put_table(&t, style, out);
}

void cmd_status_format(
    const json_t *status, int64_t now_wall_ms, const struct table_style *style, struct str *out)
{
    add_ready(status, style, out);
    add_store(status, style, out);
    add_failover(status, style, out);
    add_alarms(status, style, out);
    add_regions(status, style, out);
    add_names(status, now_wall_ms, style, out);
    add_hosts(status, now_wall_ms, style, out);
    add_units(status, now_wall_ms, style, out);
}
