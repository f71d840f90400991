/* SPDX-License-Identifier: Apache-2.0 */
/* MariaDB's binary log, as far as GTIDs, times and damage go: a reader that is fed the file in
 * pieces of any size. Format: MariaDB knowledge base, "Replication Protocol", pages on the event
 * header, FORMAT_DESCRIPTION, GTID_LIST and GTID events (version 4 headers, 19 bytes; all numbers
 * little endian). Encrypted logs are refused. No I/O; fixed memory. */
#pragma once

#include "base/err/err.h"
#include "proto/gtid/gtid.h"

#define BINLOG_EVENT_MAX (1024u * 1024 * 1024 + 65536) /* the server's own limit */
#define BINLOG_HEAD_MAX 65536u                         /* bytes of an event that are looked at */

struct binlog_reader {
    struct gtid_set from; /* what was there before the first event; valid once known */
    struct gtid_set to;   /* the last transaction of each domain that is whole in it */
    bool has_from, has_checksums;
    uint32_t first_s, last_s; /* times of the first and the last transaction; 0: none */
    uint64_t offset, whole;   /* bytes taken; end of the last event that is whole */
    uint64_t transactions;
    uint32_t until_s; /* set before the first piece: `to` ends before the first transaction that began
                         at this second or later; 0: no such end */
    const struct gtid_set *until; /* the same: `to` ends as soon as it holds all of this; NULL */
    bool past; /* there was a transaction behind that end, or until is reached */
    /* of the event that is being read */
    uint8_t head[BINLOG_HEAD_MAX];
    size_t have;
    uint32_t length, left, crc;
    uint8_t tail[4]; /* its checksum, if it has one */
    bool began;
    /* of the transaction that is open */
    struct gtid_set open;
    uint32_t open_s;
    bool standalone;
};

void binlog_reader_init(struct binlog_reader *r);
void binlog_reader_done(struct binlog_reader *r);
/* 0, or ERR_INVALID with the offset of what is damaged: everything before `whole` is good. */
MUST_CHECK int binlog_reader_feed(
    struct binlog_reader *r, const void *p, size_t len, struct err *e);
/* Did it end between two events? */
static inline bool binlog_reader_whole(const struct binlog_reader *r)
{
    return r->whole == r->offset && r->began;
}
