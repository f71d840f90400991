/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder alone. */
#pragma once

#include "service/timeline/timeline.h"

/* First numbers of the segments in a folder, ascending; at most `max` of them, the newest. */
#define TIMELINE_SEGMENTS_SEEN 64u
MUST_CHECK int timeline_segments(
    const char *dir, uint64_t ret[TIMELINE_SEGMENTS_SEEN], size_t *ret_n, struct err *e);
char *timeline_segment_path(const char *dir, uint64_t first);
/* One line without its newline. */
bool timeline_line_parse(const char *line, size_t len, struct timeline_entry *ret);

struct timeline {
    uv_loop_t *loop;
    char *dir;
    char host[48], region[48];
    size_t segment_bytes;
    int fd;         /* of the newest segment; -1: it could not be opened */
    size_t written; /* its length: whole lines */
    uint64_t seq;   /* of the last entry */
    uint64_t lost;  /* not written because the disk refused */
    uv_timer_t sync_timer;
    bool dirty;
    struct timeline_tail *tails;
};

void timeline_tails_entry(struct timeline *t, const struct timeline_entry *entry);
void timeline_tails_close(struct timeline *t);

#define TIMELINE_LINES_DEFAULT 50

/* Of the call "timeline". The filter's texts are params'. */
MUST_CHECK int timeline_params(const json_t *params, struct timeline_filter *f, size_t *ret_lines,
    bool *ret_follow, struct err *e);
