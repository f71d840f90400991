/* SPDX-License-Identifier: Apache-2.0 */
/* The hysteresis of one observer, as a table. */
#include "domain/health/health.h"

#define STREAK_MAX 255u /* far above any threshold; a view carries it in a byte */

enum threshold { STAYS, AFTER_ONE, AFTER_DOWN, AFTER_UP };

struct rule {
    enum threshold when;
    enum health_state goal;
};

/* [state][the result is a success] */
static const struct rule rules[3][2] = {
    [HEALTH_UNKNOWN] = {{AFTER_DOWN, HEALTH_DOWN}, {AFTER_ONE, HEALTH_UP}},
    [HEALTH_UP] = {{AFTER_DOWN, HEALTH_DOWN}, {STAYS, HEALTH_UP}},
    [HEALTH_DOWN] = {{STAYS, HEALTH_DOWN}, {AFTER_UP, HEALTH_UP}},
};

static const char *const state_names[] = {"unknown", "up", "down"};
static const char *const class_names[] = {[HEALTH_NONE] = "none",
    [HEALTH_TIMEOUT] = "timeout",
    [HEALTH_REFUSED] = "refused",
    [HEALTH_UNREACHABLE] = "unreachable",
    [HEALTH_TLS] = "tls",
    [HEALTH_PROTOCOL] = "protocol",
    [HEALTH_APP] = "app",
    [HEALTH_DEGRADED] = "degraded",
    [HEALTH_OK] = "ok"};

static unsigned threshold(enum threshold t, const struct health_params *p)
{
    return t == STAYS ? UINT32_MAX : t == AFTER_ONE ? 1 : t == AFTER_DOWN ? p->down : p->up;
}

bool health_class_is_ok(enum health_class c)
{
    return c >= HEALTH_DEGRADED;
}

bool health_class_is_answer(enum health_class c)
{
    return c >= HEALTH_APP;
}

bool health_target_step(struct health_target *t, const struct health_params *p,
    enum health_class result, uint64_t now_ms, int64_t wall_ms)
{
    bool ok = health_class_is_ok(result);
    t->streak = t->streak_ok == ok ? MIN(t->streak + 1, STREAK_MAX) : 1;
    t->streak_ok = ok;
    t->class = result;
    if (health_class_is_answer(result))
        t->answered_ms = now_ms;
    const struct rule *r = &rules[t->state][ok];
    if (t->streak < threshold(r->when, p))
        return false;
    t->state = r->goal;
    t->since_wall_ms = wall_ms;
    return true;
}

unsigned health_target_left(const struct health_target *t, const struct health_params *p)
{
    const struct rule *r = &rules[t->state][t->streak_ok];
    unsigned need = threshold(r->when, p);
    return t->streak && r->when != STAYS && t->streak < need ? need - t->streak : 0;
}

const char *health_state_name(enum health_state s)
{
    return state_names[s];
}

const char *health_class_name(enum health_class c)
{
    return class_names[c];
}

bool health_state_parse(const char *name, enum health_state *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(state_names); i++)
        if (!strcmp(name, state_names[i])) {
            *ret = (enum health_state)i;
            return true;
        }
    return false;
}

bool health_class_parse(const char *name, enum health_class *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(class_names); i++)
        if (!strcmp(name, class_names[i])) {
            *ret = (enum health_class)i;
            return true;
        }
    return false;
}
