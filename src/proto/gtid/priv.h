/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder only. */
#pragma once

#include "proto/gtid/gtid.h"

/* A growing set; gtid_build_end() sorts, merges and hands it over. */
struct gtid_build {
    struct gtid_set set;
    size_t cap;
};
void gtid_build_at(struct gtid_build *b, const struct gtid *g);
void gtid_build_range(struct gtid_build *b, const struct gtid_range *r);
/* Sorted; MySQL's intervals that touch become one. ERR_LIMIT. */
MUST_CHECK int gtid_build_end(struct gtid_build *b, struct gtid_set *ret, struct err *e);

/* Intervals of one domain, or of one server and tag: < 0, 0, > 0. */
int gtid_range_owner_cmp(const struct gtid_range *a, const struct gtid_range *b);
/* a minus b, both sorted and merged, into heap memory. */
void gtid_ranges_minus(const struct gtid_range *a, size_t n_a, const struct gtid_range *b,
    size_t n_b, struct gtid_ranges *ret);
