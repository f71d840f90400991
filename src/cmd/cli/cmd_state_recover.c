/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/priv.h"

#include "base/rpc/rpc.h"

#define CALL_MS 180000u /* a member starts twice */

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *c = NULL;
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *by = cmd_who();
    int r = cmd_connect(ctx, cmd_opt(ctx, "on"), &c, e);
    if (r >= 0)
        r = rpc_client_call(c, "state.recover",
            json_pack("{s:s?,s:s}", "confirm", cmd_opt(ctx, "confirm"), "by", by), CALL_MS, NULL,
            NULL, &answer, e);
    rpc_client_free(c);
    if (r < 0)
        return r;
    if (ctx->json) {
        cmd_print_json(answer);
        return 0;
    }
    printf("the state store goes on with the member of %s, revision %lld\n",
        json_opt_str(answer, "member", "?"), (long long)json_opt_int(answer, "revision", 0));
    printf("the others are added again as they are heard; machines that lost their disk join anew\n");
    return 0;
}

const struct cmd cmd_state_recover = {
    .name = "state recover",
    .operands = "",
    .summary = "Go on with one member when the state store's quorum is lost for good",
    .text = "Run on a surviving member: its copy becomes the whole state store, the others are new "
            "members afterwards, added as they are heard. What the lost majority had accepted and "
            "this member had not heard is gone. If that majority lives after all, there are two "
            "state stores of one platform: be sure, and type the platform's name with --confirm. "
            "Refused while the state store answers, here or as another host says. Counters that "
            "fence jump upwards. JSON: member, revision.",
    .opts = (const struct cmd_opt[]){
        {"confirm", 0, "PLATFORM", "yes: no majority of the members lives"},
        {"on", 0, "HOST", "of a lab: the member that survives"}, CMD_OPT_FILE, CMD_OPT_PLATFORM,
        CMD_OPT_JSON, {0}},
    .run = run,
};
