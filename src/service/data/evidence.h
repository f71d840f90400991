/* SPDX-License-Identifier: Apache-2.0 */
/* What was there when replication was frozen: <dir>/evidence/<time>-<errno>.json with the error, the
 * positions, the transactions that were not applied (the one that failed is marked), and what the
 * replica holds under the keys of its rows. At most EVIDENCE_FILES files, the oldest goes. */
#pragma once

#include "driver/sql/dialect.h"

struct data_want;

#define EVIDENCE_FILES 20u
#define EVIDENCE_BYTES (1024u * 1024) /* of one */

/* On a worker's thread. */
MUST_CHECK int evidence_keep(
    struct sql_conn *c, const struct data_want *w, struct sql_stop *stop, struct err *e);
/* The newest file's path; false: there is none. */
bool evidence_newest(const char *dir, char out[320]);
