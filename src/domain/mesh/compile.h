/* SPDX-License-Identifier: Apache-2.0 */
/* What the mesh of one host is told of databases (mesh.h, "databases"), compiled from the declaration,
 * the documents data/<database> and what the members say of themselves. Pure.
 *
 * Readers go to replicas that replicate and are within the lag objective; one that has left the list
 * comes back when it is well within it, so that the list does not flutter. A delayed replica answers
 * nobody. While a switchover holds, whoever wants to write waits at his own host. */
#pragma once

#include "base/json/json.h"
#include "domain/model/model.h"

struct mesh_data_facts {
    const struct model *model;
    const struct model_host *self;
    /* NULL: there is none; nothing was heard lately. */
    const json_t *(*doc)(void *ctx, const char *database);
    const json_t *(*report)(void *ctx, const char *host, const char *database);
    const json_t *told; /* "databases" of the view before; NULL: none */
    void *ctx;
};

json_t *mesh_databases_compile(const struct mesh_data_facts *f);
/* How far a host is: 0 is `self`, 1 its region; others by the declared delay, then in declared
 * order. */
int mesh_tier(const struct model *m, const struct model_host *self, const struct model_host *h);
/* {"ADDRESS", ...}, at most as many as a view takes. */
json_t *mesh_addresses(const struct model_addrs *list);
