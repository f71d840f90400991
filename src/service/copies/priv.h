/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "service/copies/copies.h"

/* After a rename there. */
MUST_CHECK int copies_sync_folder_of(const char *path, struct err *e);

/* ---- GTID positions as texts */
bool copies_is_behind(const char *gtid, const char *reached); /* everything of `gtid` is in `reached` */
/* In a domain that both have, `reached` is further than `gtid`. */
bool copies_is_past(const char *reached, const char *gtid);
MUST_CHECK int copies_union(char reached[COPIES_GTID_MAX], const char *to, struct err *e);

/* In the domains of `with`, `position` is what `with` says. */
MUST_CHECK int copies_replace(char position[COPIES_GTID_MAX], const char *with, struct err *e);

/* ---- the way from an archive to a point (route.c) */
struct copies_route {
    size_t logs[COPIES_LOGS_MAX]; /* indexes, in this order */
    size_t n;
    char stop[COPIES_GTID_MAX]; /* apply up to here; "": to the end */
    char end[COPIES_GTID_MAX];  /* where that leads */
};
/* `begin`: what the archive holds. Reads logs in which a time is looked for. */
MUST_CHECK int copies_route_find(const struct copies_log *v, size_t n, const char *begin,
    const struct copies_stop_at *at, const char *scratch, struct sql_stop *stop,
    struct copies_route *ret, struct err *e);

/* Where a log is just before that second (until_s not 0), or as soon as it holds that transaction. */
MUST_CHECK int copies_log_before(const char *path, uint64_t whole, uint32_t until_s,
    const char *until, char to[COPIES_GTID_MAX], bool *ret_past, struct err *e);
