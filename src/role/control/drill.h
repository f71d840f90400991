/* SPDX-License-Identifier: Apache-2.0 */
/* The drill that is under way, as every control knows it (domain/failover/drilled.h). */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

struct control;
struct rpc_req;
struct failover_automation;

void control_drill_open(struct control *c);
void control_drill_close(struct control *c);

/* ERR_CONFLICT while one is under way: nothing is deployed or moved beside it. */
MUST_CHECK int control_drill_gate(const struct control *c, struct err *e);
void control_drill_facts(const struct control *c, const char *database, const char *source_region,
    struct failover_automation *ret);
/* Who acknowledges that failover: "drill dark"; false: no drill has brought it about. */
bool control_drill_caused(
    const struct control *c, const char *database, const json_t *last, char *by, size_t size);

/* {"id", "drill", "mode", "database", "region", "by", "max_ms"}: answers with the document. */
void control_drill_begin(struct control *c, struct rpc_req *req, json_t *params);
/* {"id", "passed"}. One that passed and led to a failover has armed automatic failover anew. */
void control_drill_end(struct control *c, struct rpc_req *req, json_t *params);
void control_drill_status(struct control *c, struct rpc_req *req, json_t *params);
