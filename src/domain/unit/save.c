/* SPDX-License-Identifier: Apache-2.0 */
/* A unit's life as JSON, for the next agent. Deadlines are boot times: they hold as long as /run does. */
#include "domain/unit/unit.h"

static json_t *format_due(uint64_t due)
{
    return due == UNIT_NEVER ? json_null() : json_integer((json_int_t)due);
}

json_t *unit_save(const struct unit *u)
{
    json_t *j = json_pack("{s:s,s:b,s:b,s:I,s:I,s:I,s:I,s:I,s:s,s:s}", "state",
        unit_state_name(u->state), "wanted", (int)u->wanted, "alive", (int)u->alive, "incarnation",
        (json_int_t)u->incarnation, "failures", (json_int_t)u->failures, "restarts",
        (json_int_t)u->restarts, "since_ms", (json_int_t)u->since_ms, "earliest_start",
        (json_int_t)u->earliest_start, "reason", u->reason, "cause", u->cause);
    if (!j) /* a reason cut inside a UTF-8 sequence */
        j = json_pack("{s:s,s:b,s:b,s:I,s:I,s:I,s:I,s:I,s:s,s:s}", "state",
            unit_state_name(u->state), "wanted", (int)u->wanted, "alive", (int)u->alive,
            "incarnation", (json_int_t)u->incarnation, "failures", (json_int_t)u->failures,
            "restarts", (json_int_t)u->restarts, "since_ms", (json_int_t)u->since_ms,
            "earliest_start", (json_int_t)u->earliest_start, "reason", "", "cause", "");
    ASSERT(j);
    json_object_set_new(j, "start_due", format_due(u->start_due));
    json_object_set_new(j, "stop_due", format_due(u->stop_due));
    json_object_set_new(j, "retry_due", format_due(u->retry_due));
    json_object_set_new(j, "healthy_due", format_due(u->healthy_due));
    return j;
}

static int parse_state(const json_t *j, enum unit_state *ret, struct err *e)
{
    const char *text;
    int r = json_get_str(j, "state", &text, e);
    for (unsigned s = 0; r >= 0 && s < UNIT_STATES; s++)
        if (!strcmp(text, unit_state_name(s))) {
            *ret = s;
            return 0;
        }
    return r < 0 ? r : err_set(e, ERR_INVALID, "no state \"%s\"", text);
}

static int parse_count(const json_t *j, const char *key, uint64_t *ret, struct err *e)
{
    int64_t n;
    int r = json_get_int(j, key, 0, INT64_MAX, &n, e);
    if (r >= 0)
        *ret = (uint64_t)n;
    return r;
}

static uint64_t parse_due(const json_t *j, const char *key)
{
    int64_t n = json_opt_int(j, key, -1);
    return n < 0 ? UNIT_NEVER : (uint64_t)n;
}

/* No state may be left without an exit, whatever the file said. */
static void arm_exits(struct unit *u, uint64_t now_ms)
{
    bool running =
        u->state == UNIT_STARTING || u->state == UNIT_READY || u->state == UNIT_UNHEALTHY;
    if (u->state == UNIT_STARTING)
        u->start_due = MIN(u->start_due, now_ms + u->params.start_timeout_ms);
    if (u->state == UNIT_STOPPING)
        u->stop_due = MIN(u->stop_due, now_ms + u->params.stop_timeout_ms);
    if (u->state == UNIT_BACKOFF || u->state == UNIT_FAILED)
        u->retry_due =
            MIN(MAX(u->retry_due == UNIT_NEVER ? now_ms : u->retry_due, u->earliest_start),
                now_ms + 2 * UNIT_BACKOFF_CAP_MS);
    if (u->state == UNIT_READY)
        u->healthy_due = MIN(u->healthy_due, now_ms + UNIT_HEALTHY_MS);
    if (running && u->params.probe != PROBE_NONE)
        u->probe_due = now_ms;
}

int unit_restore(
    struct unit *u, const json_t *j, const struct unit_params *p, uint64_t now_ms, struct err *e)
{
    struct unit n;
    uint64_t failures, restarts;
    unit_init(&n, p, now_ms);
    int r;
    if ((r = parse_state(j, &n.state, e)) < 0 || (r = json_get_bool(j, "wanted", &n.wanted, e)) < 0
        || (r = json_get_bool(j, "alive", &n.alive, e)) < 0
        || (r = parse_count(j, "incarnation", &n.incarnation, e)) < 0
        || (r = parse_count(j, "failures", &failures, e)) < 0
        || (r = parse_count(j, "restarts", &restarts, e)) < 0
        || (r = parse_count(j, "since_ms", &n.since_ms, e)) < 0
        || (r = parse_count(j, "earliest_start", &n.earliest_start, e)) < 0)
        return r;
    n.failures = (unsigned)MIN(failures, UINT32_MAX);
    n.restarts = (unsigned)MIN(restarts, UINT32_MAX);
    n.earliest_start = MIN(n.earliest_start, now_ms + 2 * UNIT_BACKOFF_CAP_MS);
    n.start_due = parse_due(j, "start_due");
    n.stop_due = parse_due(j, "stop_due");
    n.retry_due = parse_due(j, "retry_due");
    n.healthy_due = parse_due(j, "healthy_due");
    str_copy(n.reason, sizeof n.reason, json_opt_str(j, "reason", ""));
    str_copy(n.cause, sizeof n.cause, json_opt_str(j, "cause", ""));
    bool running = n.state >= UNIT_STARTING && n.state <= UNIT_STOPPING;
    if (running != n.alive)
        return err_set(e, ERR_INVALID, "state %s with alive %s", unit_state_name(n.state),
            n.alive ? "true" : "false");
    arm_exits(&n, now_ms);
    *u = n;
    return 0;
}
