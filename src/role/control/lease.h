/* SPDX-License-Identifier: Apache-2.0 */
/* The leases of databases (domain/failover/lease.h), in the state store as lease/data/<database>.
 * The control of a source's host holds its lease; every control follows all of them, so that whoever
 * leads knows from when on a source can be taken to be silent. */
#pragma once

#include "domain/failover/facts.h"
#include "domain/failover/lease.h"
#include "service/documents/documents.h"

struct control;
struct rpc_req;

void control_lease_open(struct control *c);
void control_lease_close(struct control *c);
void control_lease_linked(struct control *c, const char *role); /* what it was told is gone */
void control_lease_dead(struct control *c, const json_t *params); /* by this host's data role */

/* {"database", "epoch", "for_ms"}, asked by the control of that host: a promise. */
void control_failsafe(
    struct control *c, const char *host, struct rpc_req *req, json_t *params);

/* For the rules of a failover: what is known here, leading or not. */
void control_lease_facts(struct control *c, const char *database, struct failover_lease *ret);
/* Under the leader's guard: at `epoch` nobody renews it any more (or again). Where there is no record
 * of that epoch one is made, which is revoked. ERR_REFUSED: it is of a later one. `done` comes once,
 * from the loop. */
void control_lease_revoke(struct control *c, const char *database, int64_t epoch, bool revoked,
    documents_done_fn done, void *ctx);
/* A failover of it is being begun here, or is over: no promise is given meanwhile. Not needed while
 * the database's document has a change. */
void control_lease_challenge(struct control *c, const char *database, bool begun);
/* By the data role: its server is fenced for a change; answered when the gate is shut. */
void control_lease_shut(struct control *c, struct rpc_req *req, const json_t *params);
