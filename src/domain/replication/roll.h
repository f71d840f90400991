/* SPDX-License-Identifier: Apache-2.0 */
/* Servers of one database take new settings one after the other: replicas in the order of the
 * document, the source last, each when all before it run well with theirs. Every host decides that
 * for itself by what it hears, with nobody to ask. Pure. */
#pragma once

#include "domain/replication/doc.h"

struct roll_member { /* what is heard of a member's server */
    const char *host;
    const char *generation; /* of the settings that it runs with; NULL: not heard */
    bool well;              /* it is ready, and a replica replicates */
};

/* May the server on `host` be replaced by one with the settings `wanted` now? If not, *ret_waits_for
 * (may be NULL) is the member whose turn it is, or NULL while the source is being moved. One that is
 * not well loses nothing and waits for nobody. */
bool roll_may(const struct replication_doc *d, const char *host, const char *wanted,
    const struct roll_member *heard, size_t n, const char **ret_waits_for);
