/* SPDX-License-Identifier: Apache-2.0 */
/* Who is admitted (domain/admit), for this host's edge and mesh; for who leads, the documents. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "domain/admit/admit.h"

struct control;
struct rpc_req;
struct str;

void control_admit_open(struct control *c);
void control_admit_close(struct control *c);

/* May an instance of the region take calls, and call? ADMIT_TAKES of what is no module. */
enum admit_answer control_admits(
    const struct control *c, const char *region, const char *module, bool standby);
/* {"<module>": document}, new reference, never NULL. */
json_t *control_admissions(const struct control *c);
/* {"<module>": "<region>"} of admitted standbys, for domain/schedule. New reference. */
json_t *control_admitted_standbys(const struct control *c);
bool control_admit_fresh(const struct control *c);
/* They were read since this control began, or cannot be: what was told before stays until then. */
bool control_admit_known(const struct control *c);

/* Once, later or at once, from the loop. */
typedef void (*control_admitted_fn)(void *ctx, const struct err *e);

/* For who leads: the standbys that `region` has of modules whose main region was that of the source
 * before are admitted, because `database` is written there under `epoch` from now on. May be repeated:
 * what is done stays as it is. ERR_UNAVAILABLE: this host does not lead. */
void control_admit_region(struct control *c, const char *region, const char *database,
    int64_t epoch, const char *why, control_admitted_fn done, void *ctx);
/* Undoes what promotions of that database admitted: its source is in the main region again. */
void control_admit_back(
    struct control *c, const char *database, control_admitted_fn done, void *ctx);

/* `mcp failback MODULE`: {"module", "by"} -> {"module", "region", "epoch"} */
void control_failback(struct control *c, struct rpc_req *req, json_t *params);
