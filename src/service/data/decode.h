/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of binary and relay logs as people read them, by mariadb-binlog. For a worker's
 * thread. */
#pragma once

#include "domain/replication/missing.h"
#include "driver/sql/sql.h"
#include "proto/binlog/text.h"

/* Reads the logs of `dir` (NAME.000001, ...) in order, from `first` on (NULL: the oldest), the newest
 * 256 at most, until t has enough. */
MUST_CHECK int data_decode(const char *dir, const char *first, struct binlog_text *t,
    struct sql_stop *stop, struct err *e);
/* The newest of the server's binary logs that begins before all of what is missing; "": the oldest. */
MUST_CHECK int data_decode_first(
    struct sql_conn *c, const struct missing *m, char out[128], struct err *e);
/* Absolute paths of the logs of `dir` in order, from `first` on ("" or NULL: the oldest), for a program's
 * arguments. */
MUST_CHECK int data_decode_logs(
    const char *dir, const char *first, char ***ret, size_t *ret_n, struct err *e);
void data_decode_logs_free(char **v, size_t n);
/* "INSERT INTO `a`.`b` SET ...": of which table? */
bool data_decode_table(const char *row, char database[80], char table[80]);
/* "@1=" of rows becomes the column's name, as the table is here. */
void data_decode_names(struct sql_conn *c, json_t *transactions);
/* What this server holds under the keys of the rows of a transaction (before data_decode_names()):
 * [{"table", "key", "rows": [{column: value}]}]. */
json_t *data_decode_around(struct sql_conn *c, const json_t *transaction);
