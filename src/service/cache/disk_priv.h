/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the disk tier. Locks, outer first: write, index. */
#pragma once

#include "service/cache/disk.h"
#include "service/cache/priv.h"

#define RECORD_MAGIC 0x3143504du /* "MPC1": of this form, this machine's order of bytes */
#define RECORD_CONTENT_MAX (1u << 30)
#define PURGES_MAX 100000u /* remembered one by one; then everything goes */
#define PURGE_TEXT_MAX CACHE_KEY_MAX
#define TEXTS 7

struct record_head { /* on disk, in front of the texts and the content */
    uint32_t magic;
    uint32_t crc; /* of the rest of this and of the texts */
    uint64_t number;
    uint64_t content_len;
    uint32_t content_crc;
    uint32_t lens[TEXTS]; /* key, head, etag, modified, vary, variant, tags */
    struct cache_meta meta;
};
struct purge_head { /* on disk, in front of its text */
    uint32_t crc;   /* of the rest of this and of the text */
    uint32_t len;
    uint64_t number;
    uint32_t kind;
    uint32_t zero;
};

struct segment {
    struct segment *next; /* younger */
    uint64_t id, size;
    int fd;
    unsigned refs; /* the list's, one of each reader */
    struct record *records;
};
struct lists { /* of a key: its lists of Vary, newest first */
    struct node node;
    unsigned refs;
    char *vary[VARY_LISTS];
};
struct record {
    struct node node;
    struct record *next, **back; /* of its segment */
    struct segment *segment;
    struct lists *lists;
    uint64_t at, number;
    uint64_t print; /* a second hash of key, vary and variant */
};
struct mark { /* of a purge by key or tag */
    struct node node;
    uint64_t number;
};

struct cache_disk {
    struct cache_disk_config config;
    char *dir;
    uint64_t hash_key[2], print_key[2];
    pthread_mutex_t write_lock, index_lock;
    int purge_fd;
    /* by index_lock: */
    struct segment *oldest, *youngest;
    bool sealed; /* the youngest takes no more */
    uint64_t bytes, number, damaged;
    struct table records, lists, marks[2]; /* by key, by tag */
    struct prefix *prefixes;
    size_t n_prefixes, cap_prefixes, n_purges;
    uint64_t purged_all;
};

/* record.c */
size_t record_texts(const struct record_head *h); /* their length; SIZE_MAX: not valid */
uint32_t record_head_crc(const struct record_head *h, const char *texts, size_t len);
void record_point(const struct record_head *h, const char *texts, struct cache_record *ret);

/* disk_index.c; under index_lock */
void index_put(struct cache_disk *d, struct segment *s, uint64_t at, uint64_t number,
    const struct cache_record *r);
void index_drop_segment(struct cache_disk *d); /* the oldest, with its file */
void index_drop(struct cache_disk *d, struct record *r);
struct record *index_find(
    struct cache_disk *d, struct http_text key, const struct http_fields *request);
uint64_t index_print(const struct cache_disk *d, const struct cache_record *r);
void segment_unref(struct segment *s);

/* disk_purge.c; under index_lock but for load */
bool purge_means(struct cache_disk *d, const struct cache_record *r, uint64_t number);
MUST_CHECK int purge_load(struct cache_disk *d, struct err *e);
void purge_free(struct cache_disk *d);

/* disk_scan.c */
MUST_CHECK int disk_scan(struct cache_disk *d, struct err *e);
char *segment_path(const struct cache_disk *d, uint64_t id);
