/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

#include "base/clock/clock.h"
#include "base/file/file.h"

/* `mcp down reindeers`, `mcp down example/platform.yaml` and `mcp down -f FILE` are all meant. */
static int find_name(struct cmd_ctx *ctx, char **ret, struct err *e)
{
    const char *word = ctx->n_operands ? ctx->operands[0] : NULL;
    if (!word)
        return cmd_lab_name(ctx, ret, e);
    if (strchr(word, '/') || file_exists(word))
        return cmd_lab_name_of_file(word, ret, e);
    *ret = xstrdup(word);
    return 0;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_free_ char *name = NULL;
    _cleanup_lab_ struct lab *l = NULL;
    uint64_t start = clock_boot_ms();
    int r = find_name(ctx, &name, e);
    if (r < 0)
        return r;
    r = lab_open(name, false, &l, e);
    if (r == ERR_NOT_FOUND) { /* called twice: what was asked for is the case */
        printf("lab %s is not there\n", name);
        return 0;
    }
    if (r >= 0)
        r = lab_down(l, cmd_flag(ctx, "keep-state"), e);
    if (r >= 0)
        printf("lab %s is down (%llu ms)%s\n", name, (unsigned long long)(clock_boot_ms() - start),
            cmd_flag(ctx, "keep-state") ? "; its disks are kept" : "");
    return r;
}

const struct cmd cmd_down = {
    .name = "down",
    .operands = "[PLATFORM]",
    .summary = "Remove a lab with every trace of it",
    .text = "Ends its processes and removes its mounts, loop devices, cgroups and files, whatever "
            "state they are in. With --keep-state the hosts are shut down in order and their "
            "disks stay: `mcp up` goes on from there.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"keep-state", 0, NULL, "keep the hosts' disks and the CA"}, {0}},
    .max_operands = 1,
    .run = run,
};
