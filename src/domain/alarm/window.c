/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/alarm/window.h"

#include <string.h>

static uint64_t more(uint64_t before, uint64_t now)
{
    return now >= before ? now - before : now; /* less: another process, which began at 0 */
}

void alarm_window_add(struct alarm_window *w, struct alarm_counts now, bool first)
{
    bool restarted = now.requests < w->last.requests;
    if (!first) {
        w->sum.requests += more(w->last.requests, now.requests);
        w->sum.errors += restarted ? now.errors : more(w->last.errors, now.errors);
    }
    w->last = now;
}

void alarm_window_pass(struct alarm_window *w, uint64_t now_ms)
{
    if (w->n && now_ms < w->samples[w->n - 1].ms + ALARM_WINDOW_STEP_MS)
        return;
    if (w->n == ALARM_WINDOW_SAMPLES)
        memmove(w->samples, w->samples + 1, --w->n * sizeof *w->samples);
    w->samples[w->n].ms = now_ms;
    w->samples[w->n++].sum = w->sum;
}

struct alarm_counts alarm_window_read(const struct alarm_window *w, uint64_t now_ms)
{
    struct alarm_counts from = {0};
    bool found = false;
    for (size_t i = w->n; i-- > 0 && !found;) {
        from = w->samples[i].sum;
        found = w->samples[i].ms + ALARM_WINDOW_MS <= now_ms;
    }
    return (struct alarm_counts){w->sum.requests - from.requests, w->sum.errors - from.errors};
}
