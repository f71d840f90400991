/* SPDX-License-Identifier: Apache-2.0 */
/* What `mariadb-binlog --verbose --base64-output=decode-rows` prints of binary and relay logs, line
 * by line, as transactions: [{"gtid", "time", "sql": [statements as they were sent], "rows": [what
 * they did, "INSERT INTO `trade`.`orders` SET @1=40 @2='x'"], "failed", "cut", "ddl" (only
 * where it is)}]. The program does not quote quotes, so rows are for eyes; statements can be run again.
 * Bounded in transactions, in lines of each and in their length; memory is the list's. */
#pragma once

#include "base/json/json.h"
#include "proto/gtid/gtid.h"

#define BINLOG_TEXT_LINES 200u  /* of a transaction */
#define BINLOG_TEXT_LINE 4096u  /* bytes: the rest is cut */

struct binlog_text {
    bool (*wants)(void *ctx, const struct gtid *gtid); /* which transactions; NULL: all */
    void *ctx;
    size_t max;      /* of transactions */
    uint64_t failed; /* the event that ends there (end_log_pos) marks its transaction; 0: none */
    json_t *list;
    bool more; /* max was reached: nothing more is looked at */
    /* of the transaction that is being read; NULL: none, or not wanted */
    json_t *now;
    size_t lines;
    char *row, *statement; /* open */
    bool in_query;
};

void binlog_text_init(struct binlog_text *t);
void binlog_text_line(struct binlog_text *t, const char *line, size_t len); /* without its end */
void binlog_text_end(struct binlog_text *t); /* the last one is whole */
void binlog_text_done(struct binlog_text *t);
