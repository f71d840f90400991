/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/offset.h"

#include <stdlib.h>

static void forget(struct offset *o)
{
    o->n = o->next = 0;
}

bool offset_get(const struct offset *o, struct offset_sample *ret)
{
    const struct offset_sample *best = NULL;
    for (size_t i = 0; i < o->n; i++)
        if (!best || o->v[i].error_us < best->error_us)
            best = &o->v[i];
    if (best)
        *ret = *best;
    return best != NULL;
}

/* Both may be true at once only so far apart. */
static bool contradicts(const struct offset_sample *a, const struct offset_sample *b)
{
    return llabs(a->offset_us - b->offset_us)
           > (int64_t)(a->error_us + b->error_us) + OFFSET_JUMP_US;
}

bool offset_add(struct offset *o, int64_t t1, int64_t t2, int64_t t3, int64_t t4, uint64_t boot_us)
{
    int64_t way_us = (t4 - t1) - (t3 - t2), skew_us = t4 - (int64_t)boot_us;
    struct offset_sample best, s = {.offset_us = ((t2 - t1) + (t3 - t4)) / 2,
                                   .error_us = (uint64_t)(way_us / 2),
                                   .boot_ms = boot_us / 1000};
    if (t4 < t1 || t3 < t2 || way_us < 0 || s.error_us > OFFSET_ERROR_MAX_US)
        return false;
    bool own_jump = o->n && llabs(skew_us - o->skew_us) > OFFSET_JUMP_US;
    if (own_jump || (offset_get(o, &best) && contradicts(&best, &s)))
        forget(o);
    o->skew_us = skew_us;
    o->v[o->next] = s;
    o->next = (o->next + 1) % OFFSET_SAMPLES;
    o->n = MIN(o->n + 1, (size_t)OFFSET_SAMPLES);
    return true;
}
