/* SPDX-License-Identifier: Apache-2.0 */
/* The platform's story: this host's timeline and those of the others it is linked to, as one. First
 * what is there, merged by time; then, when followed, entries as they come from anywhere. Hosts
 * that cannot be reached are left out and named. */
#pragma once

#include "service/timeline/timeline.h"

struct story_peer {
    const char *host;
    struct rpc_conn *conn; /* answers "timeline" as timeline_serve() does; NULL: not reachable */
};

/* The same call as timeline_serve(), for all hosts: parts {"entry": {...}}, answers {"missing":
 * [host]}. Takes req. */
void story_serve(struct timeline *own, const struct story_peer *peers, size_t n,
    struct rpc_req *req, const json_t *params);
