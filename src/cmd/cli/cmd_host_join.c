/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/str/str.h"
#include "service/enrol/join.h"

/* "10.20.0.11", "10.20.0.11:7403", "[fd00::1]:7403". */
static int parse_address(const char *text, struct enrol_join *j, struct err *e)
{
    char host[IP_TEXT_SIZE];
    uint64_t port = 0;
    if (ip_parse(text, &j->address))
        return 0;
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    bool brackets = len > 2 && text[0] == '[' && colon[-1] == ']';
    if (colon && len < sizeof host && str_to_u64(colon + 1, 65535, &port) && port) {
        snprintf(host, sizeof host, "%.*s", (int)(brackets ? len - 2 : len), text + brackets);
        j->port = (uint16_t)port;
        if (ip_parse(host, &j->address))
            return 0;
    }
    err_set(e, ERR_USAGE, "'%s' is no address", text);
    err_fix(e, "the private address of a host of the platform: `mcp host token` prints one");
    return ERR_USAGE;
}

static void print(const struct enrol_joined *d)
{
    printf("this machine is now the host %s of %s, region %s\n", d->host, d->platform, d->region);
    if (d->member)
        printf("it is declared to hold the state store: its member is added once it runs\n");
    printf("start it: systemctl enable --now mcp\n");
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct enrol_join j = {
        .token = ctx->operands[1], .host = cmd_opt(ctx, "as"), .root = ""};
    struct enrol_joined done = {0};
    int r = parse_address(ctx->operands[0], &j, e);
    if (r >= 0)
        r = enrol_join(&j, &done, e);
    if (r < 0)
        return r;
    if (!ctx->json) {
        print(&done);
        return 0;
    }
    _cleanup_json_ json_t *out = json_pack("{s:s,s:s,s:s,s:b}", "platform", done.platform, "host",
        done.host, "region", done.region, "member", done.member);
    cmd_print_json(out);
    return 0;
}

const struct cmd cmd_host_join = {
    .name = "host join",
    .operands = "ADDRESS TOKEN",
    .summary = "Make this machine a host of a platform",
    .text = "ADDRESS is the private address of any host of the platform, TOKEN what `mcp host "
            "token` printed there. The other end must first show the root certificate whose "
            "fingerprint the token carries; only then the token is used. Refused when the clocks "
            "differ by more than 5 s, when the address that `hosts:` declares is not one of this "
            "machine, when the token was used or has expired. Keys are made here and never "
            "leave.\n\n"
            "Written are /var/lib/mcp/pki, agent/boot-units.json and, last, boot.json; "
            "`systemctl enable --now mcp` starts the host. JSON: platform, host, region, member.",
    .opts = (const struct cmd_opt[]){
        {"as", 0, "HOST", "which host of the declaration (default: by the token or the address)"},
        CMD_OPT_JSON, {0}},
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};
