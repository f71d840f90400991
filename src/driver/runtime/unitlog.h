/* SPDX-License-Identifier: Apache-2.0 */
/* What a unit prints, as lines in rotated files of one folder: `current`, then `1` (newest) to `4`. A line is
 *
 *   2026-11-23T05:30:12.345Z stdout F text
 *
 * with F for a whole line and P for a part of one over 16 KiB. A unit that prints faster than `rate` lines a second
 * (after a burst of `burst`) loses the rest, and a line of stream "shim" says how many. Writing never blocks the
 * unit: what a full disk refuses is counted and said, too. Written by the shim, one thread; fixed memory. */
#pragma once

#include "driver/runtime/runtime.h"

#define UNITLOG_LINE_MAX (16u * 1024)
#define UNITLOG_OUT_MAX (64u * 1024)

enum unitlog_stream { UNITLOG_STDOUT, UNITLOG_STDERR, UNITLOG_STREAMS };

struct unitlog {
    struct runtime_log cfg;
    int fd; /* -1: could not be opened */
    uint64_t size;
    uint64_t tokens_milli, filled_ms; /* the bucket, in thousandths of a line */
    uint64_t dropped, lost;           /* over the rate; refused by the disk */
    size_t out_len, line_len[UNITLOG_STREAMS];
    char line[UNITLOG_STREAMS][UNITLOG_LINE_MAX];
    char out[UNITLOG_OUT_MAX];
};

/* A folder that cannot be written is no error: the lines are counted as lost until it can. */
void unitlog_init(struct unitlog *l, const struct runtime_log *cfg, uint64_t boot_ms);
void unitlog_feed(struct unitlog *l, enum unitlog_stream s, const char *data, size_t len,
    int64_t wall_ms, uint64_t boot_ms);
/* Lines end here (the process is gone); says what was dropped; writes everything out. */
void unitlog_end(struct unitlog *l, int64_t wall_ms);
void unitlog_done(struct unitlog *l);
