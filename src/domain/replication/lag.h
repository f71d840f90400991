/* SPDX-License-Identifier: Apache-2.0 */
/* How far a replica is behind, truly: from the commit at the source to being visible here. The
 * source writes a row a second with its clock; here the moment is noted when each row shows, put on
 * the source's clock by a measured offset. The row after it names the transaction of a row, and the
 * positions of the receiving thread are kept, so a row's way splits into ship (until it was received)
 * and apply (from there).
 *
 * What the server calls seconds behind is never used: it is 0 while the source hangs. While no row
 * comes the lag grows with the clock. A figure is uncertain until the offset was measured well enough
 * (LAG_ERROR_MAX_US), and after either clock has jumped until it was measured again. Times are
 * microseconds, wall clock and, where named so, a clock that nobody sets. No I/O, no clock. */
#pragma once

#include "base/util/util.h"

#define LAG_PERIOD_US 1000000 /* between two rows */
#define LAG_WINDOW 300u       /* figures that the quantiles are of: five minutes */
#define LAG_POSITIONS 1024u
#define LAG_ERROR_MAX_US 50000u
#define LAG_JUMP_US 50000 /* more than clocks are slewed in a second */
#define LAG_OFFSET_AGE_MS 60000u

struct lag_row { /* as the source wrote it */
    uint64_t seq;
    int64_t ts_us, boot_us; /* one moment on its two clocks */
    uint64_t last_seq;      /* of the transaction of the row before it; 0: not known */
};

struct lag_position {
    uint64_t seq; /* of the source's domain, received */
    int64_t wall_us;
};

struct lag {
    int64_t offset_us; /* the source's clock minus ours */
    uint64_t error_us, measured_ms;
    bool measured;
    uint64_t jumped_ms; /* boot time at which a clock was seen to have jumped; 0: never */
    int64_t skew_us, source_skew_us;
    bool skewed, source_skewed;
    struct lag_row row; /* the newest; seq 0: none */
    int64_t seen_us;    /* when it showed */
    int64_t last_us;    /* its lag */
    int64_t ship_us, apply_us; /* of the one before it; -1: not known */
    uint64_t ticked_ms;
    int64_t window[LAG_WINDOW];
    size_t n_window, next_window;
    struct lag_position positions[LAG_POSITIONS]; /* rising */
    size_t n_positions;
};

struct lag_figures {
    bool known;
    bool uncertain;
    int64_t now_us, p50_us, p95_us, max_us;
    int64_t ship_us, apply_us; /* -1: not known */
    uint64_t seq;
};

/* Another source: everything but the offset's place is forgotten. */
void lag_reset(struct lag *l);
/* boot_ms: when it was measured. */
void lag_offset(struct lag *l, int64_t offset_us, uint64_t error_us, uint64_t boot_ms);
void lag_received(struct lag *l, uint64_t seq, int64_t wall_us);
/* The row as it shows now; the same one again is fine. */
void lag_shows(struct lag *l, const struct lag_row *row, int64_t wall_us, uint64_t boot_us);
/* About once a second: time has passed, a row or not. */
void lag_tick(struct lag *l, int64_t wall_us, uint64_t boot_us);
/* How long the oldest transaction behind applied_seq that was received waits; 0: none does. */
uint64_t lag_waiting_us(const struct lag *l, uint64_t applied_seq, int64_t wall_us);
/* A clock has jumped, and the offset was not measured since. */
bool lag_jumped(const struct lag *l);
void lag_read(const struct lag *l, int64_t wall_us, uint64_t boot_us, struct lag_figures *ret);
