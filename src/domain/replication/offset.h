/* SPDX-License-Identifier: Apache-2.0 */
/* How far another host's clock is ahead of ours, measured by questions and answers as NTP does
 * (RFC 5905, section 8): t1 we ask, t2 it is asked, t3 it answers, t4 we hear. The true offset lies
 * within half the time under way of what one exchange says, so the exchange that was under way
 * shortest counts, of the last OFFSET_SAMPLES. What does not fit that any more is a clock that
 * jumped: everything before is forgotten. No I/O, no clock. */
#pragma once

#include "base/util/util.h"

#define OFFSET_SAMPLES 8u
#define OFFSET_JUMP_US 5000 /* beyond what the errors of two exchanges explain */

struct offset_sample {
    int64_t offset_us; /* its clock minus ours */
    uint64_t error_us;
    uint64_t boot_ms; /* when it was taken */
};

struct offset {
    struct offset_sample v[OFFSET_SAMPLES];
    size_t n, next;
    int64_t skew_us; /* of our own wall clock to one that nobody sets, at the last exchange */
};

/* One exchange: wall clocks in microseconds; now on our clock that nobody sets. False: not one (it
 * ends before it begins), or over OFFSET_ERROR_MAX_US. */
#define OFFSET_ERROR_MAX_US 5000000u
bool offset_add(
    struct offset *o, int64_t t1, int64_t t2, int64_t t3, int64_t t4, uint64_t boot_us);
/* The best one; false: none yet. */
bool offset_get(const struct offset *o, struct offset_sample *ret);
