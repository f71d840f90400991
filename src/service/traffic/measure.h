/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of what was seen: outages and quantiles of delays. Pure. Times are microseconds of one
 * monotonic clock. */
#pragma once

#include "base/util/util.h"

struct outage {
    bool waiting;      /* something was due since the last success */
    uint64_t since_us; /* when the first of that was */
    uint64_t longest_us, longest_since_us;
};

void outage_due(struct outage *o, uint64_t at_us);
void outage_success(struct outage *o, uint64_t now_us);
/* Nothing comes any more: what still waits has lasted until now. */
void outage_end(struct outage *o, uint64_t now_us);
/* How long there has been none; 0: nothing waits. */
uint64_t outage_open_us(const struct outage *o, uint64_t now_us);

/* Delays in buckets of 3 %: 32 a power of two, up to 18 minutes. */
#define DELAYS_BUCKETS 896
struct delays {
    uint32_t buckets[DELAYS_BUCKETS];
    uint64_t n, max_us;
};

void delays_add(struct delays *d, uint64_t us);
/* The delay that share q (0 .. 1) of them does not exceed, to 3 % above; 0 when there are none. */
uint64_t delays_quantile(const struct delays *d, double q);
