/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/lag.h"

#include <string.h>

void lag_reset(struct lag *l)
{
    *l = (struct lag){.ship_us = -1, .apply_us = -1};
}

void lag_offset(struct lag *l, int64_t offset_us, uint64_t error_us, uint64_t boot_ms)
{
    l->offset_us = offset_us;
    l->error_us = error_us;
    l->measured_ms = boot_ms;
    l->measured = true;
}

/* Keeps every other one of the older half: what is long ago is needed less exactly. */
static void thin_out(struct lag *l)
{
    size_t half = l->n_positions / 2, kept = 0;
    for (size_t i = 0; i < half; i += 2)
        l->positions[kept++] = l->positions[i];
    memmove(&l->positions[kept], &l->positions[half],
        (l->n_positions - half) * sizeof *l->positions);
    l->n_positions -= half - kept;
}

void lag_received(struct lag *l, uint64_t seq, int64_t wall_us)
{
    if (l->n_positions && seq <= l->positions[l->n_positions - 1].seq)
        return;
    if (l->n_positions == LAG_POSITIONS)
        thin_out(l);
    l->positions[l->n_positions++] = (struct lag_position){seq, wall_us};
}

/* When that transaction had come, or -1: before anything that is remembered, or not yet. */
static int64_t received_at(const struct lag *l, uint64_t seq)
{
    size_t lo = 0, hi = l->n_positions;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (l->positions[mid].seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo == 0 || lo == l->n_positions ? -1 : l->positions[lo].wall_us;
}

bool lag_jumped(const struct lag *l)
{
    return l->jumped_ms && l->measured_ms <= l->jumped_ms;
}

uint64_t lag_waiting_us(const struct lag *l, uint64_t applied_seq, int64_t wall_us)
{
    size_t i = l->n_positions;
    while (i && l->positions[i - 1].seq > applied_seq)
        i--;
    return i < l->n_positions ? (uint64_t)MAX(wall_us - l->positions[i].wall_us, 0) : 0;
}

static void add_figure(struct lag *l, int64_t us)
{
    if (lag_jumped(l))
        return;
    l->window[l->next_window] = us;
    l->next_window = (l->next_window + 1) % LAG_WINDOW;
    l->n_window = MIN(l->n_window + 1, (size_t)LAG_WINDOW);
}

/* Did one clock move against one that nobody sets? */
static bool moved(int64_t *skew_us, bool *known, int64_t now_us)
{
    int64_t by = now_us - *skew_us;
    bool yes = *known && (by > LAG_JUMP_US || by < -LAG_JUMP_US);
    *skew_us = now_us;
    *known = true;
    return yes;
}

static void note_jump(struct lag *l, uint64_t boot_us)
{
    l->jumped_ms = MAX(boot_us / 1000, 1u);
    l->n_positions = 0; /* they are on the clock as it was */
}

/* The row before: its transaction is known only now. */
static void split(struct lag *l, const struct lag_row *row)
{
    l->ship_us = l->apply_us = -1;
    if (row->seq != l->row.seq + 1 || !row->last_seq)
        return;
    int64_t at = received_at(l, row->last_seq);
    if (at < 0)
        return;
    int64_t ship = MAX(at + l->offset_us - l->row.ts_us, 0);
    l->ship_us = MIN(ship, l->last_us);
    l->apply_us = l->last_us - l->ship_us;
}

void lag_shows(struct lag *l, const struct lag_row *row, int64_t wall_us, uint64_t boot_us)
{
    if (row->seq == l->row.seq && row->ts_us == l->row.ts_us)
        return;
    if (l->row.seq)
        split(l, row);
    bool own = moved(&l->skew_us, &l->skewed, wall_us - (int64_t)boot_us);
    if (moved(&l->source_skew_us, &l->source_skewed, row->ts_us - row->boot_us) || own)
        note_jump(l, boot_us);
    l->row = *row;
    l->seen_us = wall_us;
    l->last_us = MAX(wall_us + l->offset_us - row->ts_us, 0);
    l->ticked_ms = boot_us / 1000;
    add_figure(l, l->last_us);
}

/* The next row should have been here that long ago, at least. */
static int64_t overdue(const struct lag *l, int64_t wall_us)
{
    return wall_us + l->offset_us - l->row.ts_us - LAG_PERIOD_US;
}

void lag_tick(struct lag *l, int64_t wall_us, uint64_t boot_us)
{
    if (moved(&l->skew_us, &l->skewed, wall_us - (int64_t)boot_us))
        note_jump(l, boot_us);
    if (!l->row.seq || boot_us / 1000 - l->ticked_ms < 2 * LAG_PERIOD_US / 1000)
        return;
    l->ticked_ms += LAG_PERIOD_US / 1000;
    add_figure(l, MAX(overdue(l, wall_us), l->last_us));
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_uncertain(const struct lag *l, uint64_t boot_us)
{
    return !l->measured || l->error_us > LAG_ERROR_MAX_US
           || lag_jumped(l)
           || boot_us / 1000 > l->measured_ms + LAG_OFFSET_AGE_MS;
}

void lag_read(const struct lag *l, int64_t wall_us, uint64_t boot_us, struct lag_figures *ret)
{
    int64_t sorted[LAG_WINDOW];
    *ret = (struct lag_figures){.known = l->row.seq != 0,
        .uncertain = is_uncertain(l, boot_us),
        .ship_us = l->ship_us,
        .apply_us = l->apply_us,
        .seq = l->row.seq};
    if (!ret->known || !l->n_window)
        return;
    memcpy(sorted, l->window, l->n_window * sizeof *sorted);
    qsort(sorted, l->n_window, sizeof *sorted, by_size);
    ret->now_us = MAX(l->last_us, overdue(l, wall_us));
    ret->p50_us = sorted[(l->n_window - 1) / 2];
    ret->p95_us = sorted[(l->n_window * 95 + 99) / 100 - 1];
    ret->max_us = sorted[l->n_window - 1];
}
