/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/priv.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"

#define ANSWER_TIMEOUT_MS 10000

/* A connection for each look: while hosts die and come back, the next one is asked. */
static int ask(const struct cmd_ctx *ctx, json_t **ret, struct err *e)
{
    return cmd_call(ctx, "status", NULL, ANSWER_TIMEOUT_MS, ret, e);
}

static void show(const struct cmd_ctx *ctx, const json_t *status, struct str *out)
{
    struct table_style style = cmd_style(ctx);
    cmd_status_format(status, clock_wall_ms(), &style, out);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    return cmd_look(ctx, ask, show, e);
}

const struct cmd cmd_status = {
    .name = "status",
    .operands = "",
    .summary = "Show what the platform is doing",
    .text = "The first line says whether everything declared is up and, if not, why. Then: the "
            "state store, alarms, regions with their duty, the names that some region does not "
            "serve, hosts with their roles, and units. The answer comes from one living host, "
            "which says what it knows of the others.\n\n"
            "A `standby` unit runs, is ready, and is not admitted: nobody calls it and it calls "
            "nobody, until a promotion, or its module's failure in the main region, admits it. "
            "How it is is no reason to be not ready. One that is `not admitted` was active until "
            "another region took over (`mcp failback`). AGE is the "
            "time since the unit's state changed; RESTARTS counts since the unit was created; "
            "REASON is why it is in that state.\n\n"
            "--watch draws it again each second in place, and goes on while the host that was "
            "asked dies; in a pipe it prints one block, or with --json one line, each second.\n\n"
            "JSON: platform, revision, ready, not_ready (why), regions[] {name, duty, state, "
            "address[]}, hosts[] {name, region, state, revision, age_ms, roles[] {name, pid, "
            "pss_bytes, restarts, since_ms}}, units[] {name, kind, region, host, state, pid, "
            "restarts, reason, since_ms, standby, admitted}, names[] {name, regions[] {region, state, since_ms}}, "
            "state_store {kind, connected, reason}, alarms[] {text}, asked_host. Times are "
            "milliseconds since 1970. The exit status is 0 whenever there was an answer, ready or "
            "not.",
    .opts = (const struct cmd_opt[]){{"watch", 'w', NULL, "show it again each second"},
        CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .run = run,
};
