/* SPDX-License-Identifier: Apache-2.0 */
/* What `plan`, `apply` and `revisions` have in common: revisions from control, and a plan on the
 * screen. */
#pragma once

#include "cmd/cli/cmd.h"

struct plan;
struct revision;

/* 0: the current one. ERR_NOT_FOUND: there is none (any more). */
MUST_CHECK int cmd_revision_get(struct rpc_client *c, int64_t number, json_t **ret, struct err *e);
/* ERR_REFUSED: what answers is another platform than the declaration's. `from` may be NULL. */
MUST_CHECK int cmd_same_platform(const struct model *m, const struct revision *from, struct err *e);
/* ERR_REFUSED: a root or an intermediate ends so soon that nothing may be changed before. */
MUST_CHECK int cmd_ca_gate(struct rpc_client *c, struct err *e);
/* The actions by group, at most `max` of them, and their counts. */
void cmd_plan_print(const struct cmd_ctx *ctx, const struct plan *p, size_t max);
