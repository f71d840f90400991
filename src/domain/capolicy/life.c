/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/capolicy/capolicy.h"

#include <stdio.h>

#define DAY_MS 86400000ll
#define SPREAD 0.2 /* of the life, around its middle */
#define LOOK_MAX_MS 60000
#define LOOK_MIN_MS 50
#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 300000
#define RETRIES_A_LIFE 20

const char *capolicy_state_name(enum capolicy_state s)
{
    static const char *const names[] = {"fresh", "due", "late", "expired", "early", "none"};
    ASSERT(s < ARRAY_SIZE(names));
    return names[s];
}

static int64_t life_of(const struct capolicy_life *l)
{
    return MAX(l->not_after_ms - l->issued_ms, (int64_t)1);
}

int64_t capolicy_renew_at(const struct capolicy_life *l, double jitter)
{
    return l->issued_ms + (int64_t)((double)life_of(l) * (0.5 + SPREAD * (jitter - 0.5)));
}

enum capolicy_state capolicy_state(
    const struct capolicy_life *l, double jitter, int64_t renew_after_ms, int64_t now_ms)
{
    if (now_ms >= l->not_after_ms)
        return LIFE_EXPIRED;
    if (now_ms < l->not_before_ms)
        return LIFE_EARLY;
    if (l->not_after_ms - now_ms < life_of(l) / 4)
        return LIFE_LATE;
    return now_ms >= capolicy_renew_at(l, jitter) || l->issued_ms < renew_after_ms ? LIFE_DUE
                                                                                   : LIFE_FRESH;
}

uint64_t capolicy_retry_ms(unsigned failures, int64_t life_ms, double jitter)
{
    int64_t longest = MIN(MAX(life_ms / RETRIES_A_LIFE, (int64_t)RETRY_MIN_MS), RETRY_MAX_MS);
    int64_t wait = RETRY_MIN_MS;
    for (unsigned i = 1; i < failures && wait < longest; i++)
        wait *= 2;
    return (uint64_t)((double)MIN(wait, longest) * (0.75 + 0.5 * jitter));
}

uint64_t capolicy_look_ms(const struct capolicy_life *l, double jitter, int64_t now_ms)
{
    int64_t wait = capolicy_renew_at(l, jitter) - now_ms;
    return (uint64_t)MIN(MAX(wait, (int64_t)LOOK_MIN_MS), (int64_t)LOOK_MAX_MS);
}

bool capolicy_alarm(
    const char *what, const char *fix, int64_t not_after_ms, int64_t now_ms, char ret[256])
{
    int64_t left = not_after_ms - now_ms;
    if (left > CAPOLICY_ALARM_DAYS * DAY_MS)
        return false;
    if (left <= 0)
        snprintf(ret, 256, "%s has ended: no certificate can be renewed any more; %s", what, fix);
    else
        snprintf(ret, 256, "%s ends in %lld days; %s", what, (long long)(left / DAY_MS), fix);
    return true;
}

int capolicy_gate(
    const char *what, const char *fix, int64_t not_after_ms, int64_t now_ms, struct err *e)
{
    int64_t left = not_after_ms - now_ms;
    if (left > CAPOLICY_GATE_DAYS * DAY_MS)
        return 0;
    if (left <= 0)
        err_set(e, ERR_REFUSED, "%s has ended", what);
    else
        err_set(e, ERR_REFUSED, "%s ends in %lld hours", what, (long long)(left / 3600000));
    err_fix(e, "%s, then apply", fix);
    return ERR_REFUSED;
}
