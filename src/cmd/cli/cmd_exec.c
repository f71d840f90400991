/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/file/file.h"
#include "base/rpc/rpc.h"

#include <openssl/evp.h>

static int write_stream(const json_t *part, const char *key, int fd)
{
    const json_t *v = json_object_get(part, key);
    size_t len = json_string_length(v);
    struct err ignored;
    if (!json_is_string(v) || len == 0 || len % 4)
        return 0;
    const char *text = json_string_value(v);
    _cleanup_free_ unsigned char *raw = xmalloc(len / 4 * 3);
    int n = EVP_DecodeBlock(raw, (const unsigned char *)text, (int)len);
    if (n < 0)
        return 0;
    n -= (text[len - 1] == '=') + (text[len - 2] == '=');
    return file_write_fd(fd, raw, (size_t)n, &ignored);
}

static int show_part(void *ctx, json_t *part)
{
    int r = write_stream(part, "stdout", STDOUT_FILENO);
    return r < 0 ? r : write_stream(part, "stderr", STDERR_FILENO);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *c = NULL;
    _cleanup_json_ json_t *answer = NULL;
    json_t *argv = json_array();
    for (int i = 1; i < ctx->n_operands; i++)
        if (json_array_append_new(argv, json_string(ctx->operands[i])) < 0) {
            json_decref(argv);
            return err_set(e, ERR_USAGE, "word %d of the command is not UTF-8", i);
        }
    json_t *params = json_pack("{s:s,s:s*,s:o}", "module", ctx->operands[0], "region",
        cmd_opt(ctx, "region"), "argv", argv);
    int r = cmd_connect(ctx, NULL, &c, e);
    if (r < 0) {
        json_decref(params);
        return r;
    }
    r = rpc_client_call_input(c, "exec", params, STDIN_FILENO, show_part, NULL, &answer, e);
    rpc_client_free(c);
    return r < 0 ? r : (int)(json_opt_int(answer, "exit", 1) & 0xff);
}

const struct cmd cmd_exec = {
    .name = "exec",
    .operands = "MODULE|UNIT -- CMD...",
    .summary = "Run a command inside a module's instance",
    .text =
        "The command runs beside the module's own process: same files, same network, same user, same "
        "limits. Standard input, output and error are carried over; the exit status is the command's "
        "own (128 + N when signal N ended it). A module with several instances runs it in one: say "
        "which by naming the unit, or the region.",
    .opts = (const struct cmd_opt[]){{"region", 0, "REGION", "an instance in this region"},
        CMD_OPT_FILE, CMD_OPT_PLATFORM, {0}},
    .min_operands = 2,
    .max_operands = -1,
    .run = run,
};
