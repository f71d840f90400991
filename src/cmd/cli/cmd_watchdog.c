/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "service/watchdog/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>

static int run(struct cmd_ctx *ctx, struct err *e)
{
    if (fcntl(WATCHDOG_TELLER_FD, F_GETFD) < 0 || fcntl(WATCHDOG_LISTEN_FD, F_GETFD) < 0)
        return err_set(e, ERR_USAGE, "the watchdog is started by the data role, not by hand");
    prctl(PR_SET_NAME, "mcp-watchdog");
    return watchdog_serve(WATCHDOG_TELLER_FD, WATCHDOG_LISTEN_FD);
}

const struct cmd cmd_watchdog = {
    .name = "watchdog",
    .operands = "",
    .summary = "End database servers whose lease has ended",
    .hidden = true,
    .raw = true,
    .run = run,
};
