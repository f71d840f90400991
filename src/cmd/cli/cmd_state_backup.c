/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/priv.h"

#include "base/file/file.h"
#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "domain/backup/backup.h"

#include <errno.h>
#include <fcntl.h>

#define CALL_MS 120000u

static int on_part(void *ctx, json_t *part)
{
    struct str *text = ctx;
    const char *data = json_opt_str(part, "data", "");
    if (text->len + strlen(data) > BACKUP_BYTES_MAX)
        return ERR_LIMIT;
    str_add(text, data);
    return 0;
}

/* What cannot be read back is no backup. */
static int check(const struct str *text, struct err *e)
{
    struct backup *b;
    int r = backup_parse(str_cstr(text), text->len, &b, e);
    if (r >= 0)
        backup_free(b);
    return r;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *c = NULL;
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *by = cmd_who();
    int r = cmd_connect(ctx, NULL, &c, e);
    if (r >= 0)
        r = rpc_client_call(c, "state.backup", json_pack("{s:s}", "by", by), CALL_MS, on_part,
            &text, &answer, e);
    rpc_client_free(c);
    if (r >= 0)
        r = check(&text, e);
    if (r >= 0)
        r = file_write_durable(ctx->operands[0], text.buf, text.len, 0600, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        printf("%s: revision %lld, %lld keys, %zu bytes\n", ctx->operands[0],
            (long long)json_opt_int(answer, "revision", 0),
            (long long)json_opt_int(answer, "keys", 0), text.len);
    return 0;
}

const struct cmd cmd_state_backup = {
    .name = "state backup",
    .operands = "FILE",
    .summary = "Write the whole state store to a file",
    .text = "One picture of one moment: every revision that is kept, placements, rollouts, sealed "
            "secrets, counters. Not in it are images, logs, data of engines, and the keys of the "
            "certificate authority. The file (mode 0600) carries a checksum; secrets in it are "
            "sealed to the hosts' keys (/var/lib/mcp/pki/seal.key), so on new hosts they are set "
            "again. JSON: platform, revision, store_revision, keys, bytes.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};

static int restore(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *c = NULL;
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(ctx->operands[0], BACKUP_BYTES_MAX, &text, e);
    if (r >= 0)
        r = check(&text, e); /* before anybody is asked */
    if (r < 0)
        return err_wrap(e, "%s", ctx->operands[0]);
    _cleanup_close_ int fd = open(ctx->operands[0], O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", ctx->operands[0]);
    r = cmd_connect(ctx, NULL, &c, e);
    if (r >= 0)
        r = rpc_client_call_input(c, "state.restore",
            json_pack("{s:s?}", "confirm", cmd_opt(ctx, "confirm")), fd, NULL, NULL, &answer, e);
    rpc_client_free(c);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        printf("revision %lld is put back, with %lld keys\n",
            (long long)json_opt_int(answer, "revision", 0),
            (long long)json_opt_int(answer, "keys", 0));
    return 0;
}

const struct cmd cmd_state_restore = {
    .name = "state restore",
    .operands = "FILE",
    .summary = "Put a backup back into the state store",
    .text = "Into a state store that holds no revision, or over what it holds when --confirm names "
            "the platform. The platform then is what the backup says: hosts follow as after an "
            "apply. What belongs to hosts and moments stays as it is: who has joined, leases, "
            "tokens, the certificate authority's, the audit log. Counters that fence jump upwards, "
            "so that nobody who acted before counts any more. A restore that was interrupted is "
            "finished by the same command. On new machines: `mcp host init --restore FILE`. JSON: "
            "revision, keys, created_ms.",
    .opts = (const struct cmd_opt[]){
        {"confirm", 0, "PLATFORM", "yes, over what is there"}, CMD_OPT_FILE, CMD_OPT_PLATFORM,
        CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = restore,
};
