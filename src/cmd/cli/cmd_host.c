/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "role/host/host.h"

static int run(struct cmd_ctx *ctx, struct err *e)
{
    return host_main(e);
}

const struct cmd cmd_host = {
    .name = "host",
    .operands = "",
    .summary = "Run this machine's roles (started by systemd, or by `mcp up` in a lab)",
    .text = "Reads /var/lib/mcp/boot.json, opens every listening socket and starts each role as a "
            "process of its own user; restarts what dies. SIGHUP reads the boot record again. "
            "SIGTERM stops the roles; containers and engines live on.",
    .hidden = true,
    .run = run,
};
