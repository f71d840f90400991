/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

#include <errno.h>
#include <signal.h>

/* By exec: terminal, signals and exit status are the command's own. */
static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_lab_ struct lab *l = NULL;
    int r = cmd_lab_read(ctx, &l, e);
    if (r >= 0)
        r = lab_enter(l, ctx->operands[0], e);
    if (r < 0)
        return r;
    signal(SIGPIPE, SIG_DFL);
    execvp(ctx->operands[1], ctx->operands + 1);
    int missing = errno == ENOENT;
    fprintf(stderr, "mcp: %s: %s\n", ctx->operands[1], strerror(errno));
    return missing ? 127 : 126; /* as the shell says it */
}

const struct cmd cmd_lab_exec = {
    .name = "lab exec",
    .operands = "HOST -- CMD...",
    .summary = "Run a command inside a lab host",
    .text = "The command sees what the host sees: its network, its /var/lib/mcp, its /run. The "
            "host `client` is a buyer's computer that owns the invented addresses of lab.clients. "
            "The command's exit status is passed on.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, {0}},
    .min_operands = 2,
    .max_operands = -1,
    .run = run,
};
