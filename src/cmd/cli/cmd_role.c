/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/str/str.h"
#include "role/control/control.h"
#include "role/frame/stub.h"

static const struct role_def *const roles[] = {
    &role_control,
    &role_stub_agent,
    &role_stub_dns,
    &role_stub_resolver,
    &role_stub_edge,
};

static int run(struct cmd_ctx *ctx, struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
        if (str_eq(roles[i]->name, ctx->operands[0]))
            return role_main(roles[i]);
    return err_set(e, ERR_USAGE, "there is no role %s", ctx->operands[0]);
}

const struct cmd cmd_role = {
    .name = "role",
    .operands = "NAME",
    .summary = "Be one role of a host (started by `mcp host`)",
    .min_operands = 1,
    .max_operands = 1,
    .hidden = true,
    .run = run,
};
