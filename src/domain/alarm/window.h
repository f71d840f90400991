/* SPDX-License-Identifier: Apache-2.0 */
/* How many requests and errors there were in the last 30 s, from counters that only grow, and begin
 * anew with their process. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ALARM_WINDOW_MS 30000u
#define ALARM_WINDOW_STEP_MS 2000u
#define ALARM_WINDOW_SAMPLES 17u /* one more than steps in the window */

struct alarm_counts {
    uint64_t requests, errors;
};

struct alarm_window { /* begun zeroed */
    struct alarm_counts last; /* as the process counts */
    struct alarm_counts sum;  /* over all its lives */
    struct {
        uint64_t ms;
        struct alarm_counts sum; /* then */
    } samples[ALARM_WINDOW_SAMPLES]; /* oldest first */
    size_t n;
};

/* What the counters stand at. first: what they counted before is nobody's business. */
void alarm_window_add(struct alarm_window *w, struct alarm_counts now, bool first);
/* Time has passed: to be called every now and then, at least as often as the window is asked. */
void alarm_window_pass(struct alarm_window *w, uint64_t now_ms);
struct alarm_counts alarm_window_read(const struct alarm_window *w, uint64_t now_ms);
