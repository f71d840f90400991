/* SPDX-License-Identifier: Apache-2.0 */
/* What one server has that another lacks, for MariaDB, where each member writes in a domain of its
 * own whose number is its server's. Of such a pair of domain and server it is what the other has not
 * got that far; of any other pair all that the other's log does not have. Pure. */
#pragma once

#include "base/json/json.h"
#include "proto/gtid/gtid.h"

#define MISSING_MAX 64u

struct missing_range { /* sequence numbers over `over`, up to `to` */
    uint32_t domain, server;
    uint64_t over, to;
};

struct missing {
    struct missing_range v[MISSING_MAX];
    size_t n;
};

/* here_state: gtid_binlog_state of the one; of the other `there` is all that it has, written and
 * applied, there_state its gtid_binlog_state. The other's position is to be asked for last, so that
 * what just passed is not taken for missing. */
void missing_find(const struct gtid_set *here_state, const struct gtid_set *there,
    const struct gtid_set *there_state, struct missing *ret);
bool missing_has(const struct missing *m, const struct gtid *g);
/* Do logs that begin behind `start` (the list of GTIDs at a log's head) lack none of them? */
bool missing_begins_after(const struct missing *m, const struct gtid_set *start);
uint64_t missing_count(const struct missing *m); /* transactions, at most */
/* "1-1-45 (of what is over 41), 2-2-7" */
void missing_format(const struct missing *m, struct str *out);
/* The position `all` as it was before them. */
void missing_forget(const struct missing *m, const struct gtid_set *all, struct gtid_set *ret);
/* [{"domain", "server", "over", "to"}] */
json_t *missing_json(const struct missing *m);
