/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"

#define CALL_MS 10000u

static void print(const json_t *t)
{
    const char *host = json_opt_str(t, "host", NULL);
    char until[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(json_opt_int(t, "expires_ms", 0), until);
    printf("%s\n", json_opt_str(t, "token", ""));
    fprintf(stderr, "for %s, once, until %s. On the new machine, as root:\n",
        host ? host : "any host of the declaration that has not joined", until);
    fprintf(stderr, "  mcp host join %s %s\n", json_opt_str(t, "address", "ADDRESS"),
        json_opt_str(t, "token", ""));
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    uint64_t ttl_ms = 0;
    int r = cmd_opt_duration(ctx, "ttl", &ttl_ms, e);
    if (r < 0)
        return r;
    json_t *params = json_pack("{s:s?}", "host", cmd_opt(ctx, "as"));
    if (ttl_ms)
        json_object_set_new(params, "ttl_ms", json_integer((json_int_t)ttl_ms));
    r = cmd_call(ctx, "host.token", params, CALL_MS, &answer, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        print(answer);
    return 0;
}

const struct cmd cmd_host_token = {
    .name = "host token",
    .operands = "",
    .summary = "Make the one-time token by which a machine joins",
    .text = "The token proves the operator to the platform and the platform to the machine: it "
            "carries a secret, of which the platform keeps the hash, and the fingerprint of the "
            "root certificate. It is good once, for ten minutes unless --ttl says otherwise (at "
            "most a day). With --as it is good for that host only, and a machine that joins with "
            "it takes the place of one that had that name; without, any host of the declaration "
            "that has not joined may use it.\n\n"
            "The token goes to standard output, what to do with it to standard error. JSON: "
            "token, host (null: any), expires_ms, address.",
    .opts = (const struct cmd_opt[]){
        {"as", 0, "HOST", "for this host of the declaration only"},
        {"ttl", 0, "D", "how long it is good (default 10m)"}, CMD_OPT_FILE, CMD_OPT_PLATFORM,
        CMD_OPT_JSON, {0}},
    .run = run,
};
