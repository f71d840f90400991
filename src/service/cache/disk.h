/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier of the edge's cache: whole responses in a log of segment files, written once, never changed. The oldest
 * segment goes when there is too much. What lies there is found again after a restart, by a scan of the records' heads.
 *
 * Killed at any moment: a record is used only if it lies in its file whole, its head's checksum holds and, when it is
 * read, that of its content, too. Purges have a file of their own, synced before they return; they count for all
 * that was fetched before them, also after a crash.
 *
 * Threads: any. cache_disk_get() reads without a lock; puts come one after the other. These calls block on the disk:
 * not for threads that serve connections. */
#pragma once

#include "base/err/err.h"
#include "base/str/str.h"
#include "domain/cache/cache.h"

struct cache_disk;

struct cache_disk_config {
    const char *dir;        /* made when it is not there; nobody else's */
    uint64_t limit_bytes;   /* of all segments together */
    uint64_t segment_bytes; /* 0: a sixteenth of the limit */
    uint32_t records_max;   /* of the index in memory, about 150 bytes each; 0: a million */
};
struct cache_record {
    struct cache_meta meta;
    struct http_text key, head, etag, modified, vary, variant;
    struct http_text tags; /* "\n" between them */
    struct http_text content;
};

MUST_CHECK int cache_disk_open(
    const struct cache_disk_config *config, struct cache_disk **ret, struct err *e);
void cache_disk_close(struct cache_disk *d); /* NULL is fine */
/* What is to be remembered when a fetch begins, and given to put: a purge in between keeps it out. */
uint64_t cache_disk_now(struct cache_disk *d);
/* 1: written; 0: not, it is too large, or was purged since `began`. */
MUST_CHECK int cache_disk_put(
    struct cache_disk *d, const struct cache_record *r, uint64_t began, struct err *e);
/* 1: found, *ret points into *buf; 0: it is not there. `began` is what it was put with. */
MUST_CHECK int cache_disk_get(struct cache_disk *d, struct http_text key,
    const struct http_fields *request, struct cache_record *ret, struct str *buf, struct err *e);

enum cache_disk_purge {
    CACHE_DISK_PURGE_KEY,
    CACHE_DISK_PURGE_TAG,
    CACHE_DISK_PURGE_PREFIX,
    CACHE_DISK_PURGE_ALL,
};
MUST_CHECK int cache_disk_purge(
    struct cache_disk *d, enum cache_disk_purge kind, struct http_text text, struct err *e);

struct cache_disk_figures {
    uint64_t bytes, records, segments, purges, damaged;
};
void cache_disk_figures(struct cache_disk *d, struct cache_disk_figures *ret);
