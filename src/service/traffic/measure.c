/* SPDX-License-Identifier: Apache-2.0 */
#include "service/traffic/measure.h"

void outage_due(struct outage *o, uint64_t at_us)
{
    if (o->waiting)
        return;
    o->waiting = true;
    o->since_us = at_us;
}

void outage_success(struct outage *o, uint64_t now_us)
{
    outage_end(o, now_us);
    o->waiting = false;
}

void outage_end(struct outage *o, uint64_t now_us)
{
    uint64_t lasted = outage_open_us(o, now_us);
    if (lasted <= o->longest_us)
        return;
    o->longest_us = lasted;
    o->longest_since_us = o->since_us;
}

uint64_t outage_open_us(const struct outage *o, uint64_t now_us)
{
    return o->waiting && now_us > o->since_us ? now_us - o->since_us : 0;
}

/* Below 64 every value has its own; from there on 32 a power of two. */
static size_t bucket_of(uint64_t us)
{
    if (us < 64)
        return us;
    unsigned shift = 63u - (unsigned)__builtin_clzll(us) - 5;
    size_t i = (size_t)shift * 32 + (us >> shift);
    return MIN(i, DELAYS_BUCKETS - 1);
}

static uint64_t bucket_end(size_t i)
{
    if (i < 64)
        return i;
    unsigned shift = (unsigned)(i / 32) - 1;
    return (((uint64_t)(i % 32) + 33) << shift) - 1;
}

void delays_add(struct delays *d, uint64_t us)
{
    d->buckets[bucket_of(us)]++;
    d->n++;
    d->max_us = MAX(d->max_us, us);
}

uint64_t delays_quantile(const struct delays *d, double q)
{
    uint64_t wanted = (uint64_t)(q * (double)d->n + 0.5), seen = 0;
    wanted = MAX(wanted, 1);
    for (size_t i = 0; i < DELAYS_BUCKETS && d->n; i++) {
        seen += d->buckets[i];
        if (seen >= wanted)
            return MIN(bucket_end(i), d->max_us);
    }
    return d->max_us;
}
