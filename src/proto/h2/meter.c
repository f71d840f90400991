/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Frames that cost a client little and us more than that. */
#include "proto/h2/priv.h"

/* Real clients stay far below: a browser that cancels a page's images resets some dozens of streams at
 * once; gRPC sends a PING for each window that it measures. */
static const struct {
    uint32_t burst, per_second;
    enum h2_event flood;
} kinds[KINDS] = {
    [KIND_RESET] = {200, 20, H2_FLOOD_RESETS},    /* CVE-2023-44487, CVE-2025-8671 */
    [KIND_PING] = {100, 10, H2_FLOOD_PINGS},      /* CVE-2019-9512 */
    [KIND_SETTINGS] = {20, 1, H2_FLOOD_SETTINGS}, /* CVE-2019-9515 */
    [KIND_EMPTY] = {100, 10, H2_FLOOD_EMPTY},     /* CVE-2019-9518 */
    [KIND_WINDOW] = {1000, 100, H2_FLOOD_WINDOWS},
    [KIND_OTHER] = {200, 20, H2_FLOOD_OTHER}, /* CVE-2019-9513 */
};

void h2_meters_init(struct h2 *h)
{
    for (size_t i = 0; i < KINDS; i++)
        h->meters[i] = (struct meter){h->now_ms, kinds[i].burst * 1000};
}

void h2_calm(struct h2 *h, enum h2_event why)
{
    if (h->calm)
        return;
    h->calm = true;
    h->calls->count(h->ctx, why);
    nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void refill(struct h2 *h, enum h2_kind kind)
{
    struct meter *m = &h->meters[kind];
    uint64_t passed = h->now_ms - m->at_ms;
    if (!passed)
        return;
    m->at_ms = h->now_ms;
    m->left = (uint32_t)MIN(
        m->left + MIN(passed, 60000u) * kinds[kind].per_second, (uint64_t)kinds[kind].burst * 1000);
}

void h2_meter(struct h2 *h, enum h2_kind kind)
{
    struct meter *m = &h->meters[kind];
    if (m->left < 1000)
        refill(h, kind);
    if (m->left < 1000)
        h2_calm(h, kinds[kind].flood);
    else
        m->left -= 1000;
}

void h2_meter_earn(struct h2 *h, enum h2_kind kind, uint32_t frames)
{
    struct meter *m = &h->meters[kind];
    m->left = MIN(m->left + frames * 1000, kinds[kind].burst * 1000);
}
