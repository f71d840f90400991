/* SPDX-License-Identifier: Apache-2.0 */
/* Backups of a database: when one is due, whose turn it is, what it is called, which are kept. Pure;
 * times are wall clock, in UTC. */
#pragma once

#include "base/err/err.h"

#define ARCHIVE_ID_SIZE 192
#define ARCHIVE_TURN_MS (15 * 60000ll) /* so long one member waits for the one before it */

struct archive_id { /* "trade-20261123T033000Z-sl1" */
    char database[64], host[64];
    int64_t begun_ms; /* whole seconds */
};

void archive_id_format(
    const char *database, const char *host, int64_t begun_ms, char out[ARCHIVE_ID_SIZE]);
bool archive_id_parse(const char *text, struct archive_id *ret);

/* "hourly", "daily HH:MM", "weekly Sun HH:MM": the last such moment that is not after now; 0: the
 * text names none. */
int64_t archive_due(const char *schedule, int64_t now_ms);
/* newest_ms: when the newest backup that anybody has was begun (0: none). rank: 0 for the first
 * replica in the document, the source comes last: who is not there in time is stood in for. */
bool archive_turn(int64_t due_ms, int64_t newest_ms, unsigned rank, int64_t now_ms);

struct archive_item {
    int64_t begun_ms;
    bool whole; /* false: damaged, or half of it is gone */
    bool keep;  /* decided here */
};
/* What is older than keep_ms goes, but never the newest whole one. */
void archive_keep(struct archive_item *v, size_t n, int64_t keep_ms, int64_t now_ms);
