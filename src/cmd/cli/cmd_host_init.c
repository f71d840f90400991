/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/priv.h"

#include "base/ip/ip.h"
#include "domain/model/model.h"
#include "service/enrol/init.h"

#include <errno.h>
#include <limits.h>

static void print(const struct enrol_init *in, const struct enrol_inited *done)
{
    const struct model_host *h = model_find_host(in->model, done->host);
    char address[IP_TEXT_SIZE];
    ip_format(&h->addresses.v[0], address);
    if (done->done_before) {
        printf("this machine is the first host of %s already, as %s\n", in->model->platform,
            done->host);
        return;
    }
    printf("this machine is now %s, the first host of %s\n", done->host, in->model->platform);
    printf("take %s offline: whoever has it can make certificates for the platform\n", in->ca_dir);
    printf("start it: systemctl enable --now mcp\n");
    printf("then: mcp apply -f %s --wait (brings the images)\n", in->file);
    if (done->others)
        printf("on the next machine, within ten minutes: mcp host join %s %s\n", address,
            done->token);
}

static json_t *to_json(const struct enrol_init *in, const struct enrol_inited *done)
{
    return json_pack("{s:s,s:s,s:b,s:s,s:s,s:I}", "platform", in->model->platform, "host",
        done->host, "done_before", done->done_before, "ca", in->ca_dir, "token", done->token,
        "expires_ms", (json_int_t)done->expires_ms);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    char file[PATH_MAX], ca[PATH_MAX];
    struct model *m = NULL;
    _cleanup_json_ json_t *files = NULL;
    struct enrol_inited done;
    const char *out = cmd_opt(ctx, "root-out");
    int r = cmd_load_resolved(ctx, &m, &files, e);
    if (r >= 0 && !realpath(cmd_platform_file(ctx), file))
        r = err_errno(e, errno, "%s", cmd_platform_file(ctx));
    if (r < 0)
        return r;
    snprintf(ca, sizeof ca, "%s%s", out ? out : m->platform, out ? "" : "-ca");
    _cleanup_free_ char *by = cmd_who();
    struct enrol_init in = {.model = m,
        .files = files,
        .file = file,
        .host = cmd_opt(ctx, "as"),
        .ca_dir = ca,
        .by = by,
        .backup = cmd_opt(ctx, "restore")};
    r = enrol_init(&in, &done, e);
    if (r >= 0 && ctx->json) {
        _cleanup_json_ json_t *j = to_json(&in, &done);
        cmd_print_json(j);
    } else if (r >= 0) {
        print(&in, &done);
    }
    model_free(m);
    return r;
}

const struct cmd cmd_host_init = {
    .name = "host init",
    .operands = "",
    .summary = "Make this machine the first host of a new platform",
    .text = "Checks the machine, makes the platform's certificate authority, this host's "
            "certificates, boot record and member of the state store, and keeps the declaration: "
            "when `mcp host` runs, it is revision 1. Prints the first token for the next machine. "
            "The other hosts of the declaration join (`mcp host join`), the state store grows to "
            "the declared members as they do.\n\n"
            "The authority is made in the folder that --root-out names (default: "
            "./PLATFORM-ca). Take it off this machine: it is needed to replace the issuing keys, "
            "not to run. The host keeps those sealed to itself.\n\n"
            "Run again it goes on where it was interrupted; a machine that holds anything of "
            "another platform is refused. --restore puts a backup of the state back (`mcp state "
            "backup`) instead of beginning with an empty one. JSON: platform, host, done_before, "
            "ca, token, expires_ms.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE,
        {"as", 0, "HOST", "which host of the declaration (default: by this machine's address)"},
        {"root-out", 0, "DIR", "where the certificate authority is made"},
        {"restore", 0, "FILE", "begin with this backup of the state"}, CMD_OPT_JSON, {0}},
    .run = run,
};
