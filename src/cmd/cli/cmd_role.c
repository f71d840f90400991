/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/str/str.h"
#include "role/agent/agent.h"
#include "role/control/control.h"
#include "role/data/data.h"
#include "role/dns/dns.h"
#include "role/edge/edge.h"
#include "role/frame/stub.h"
#include "role/mesh/mesh.h"
#include "role/resolver/resolver.h"

static const struct role_def *const roles[] = {
    &role_control,
    &role_agent,
    &role_dns,
    &role_resolver,
    &role_edge,
    &role_mesh,
    &role_data,
};

/* With MCP_STUB_ROLES=1 in the environment of `mcp host`: its own tests. */
static const struct role_def *const stubs[] = {
    &role_stub_control,
    &role_stub_agent,
    &role_stub_dns,
    &role_stub_resolver,
    &role_stub_edge,
    &role_stub_mesh,
    &role_stub_data,
};

static const struct role_def *find(const struct role_def *const *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(v[i]->name, name))
            return v[i];
    return NULL;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    const char *env = getenv("MCP_STUB_ROLES");
    bool stub = env && str_eq(env, "1");
    const struct role_def *def = stub ? find(stubs, ARRAY_SIZE(stubs), ctx->operands[0])
                                      : find(roles, ARRAY_SIZE(roles), ctx->operands[0]);
    if (def)
        return role_main(def);
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
