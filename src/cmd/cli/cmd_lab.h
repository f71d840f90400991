/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands about labs share. */
#pragma once

#include "cmd/cli/cmd.h"
#include "service/lab/lab.h"

/* The lab that --platform, -f, $MCP_FILE or ./platform.yaml names, else the only one there is.
 * Heap. */
MUST_CHECK int cmd_lab_name(const struct cmd_ctx *ctx, char **ret, struct err *e);
/* "" never: a file without a platform is an error. */
MUST_CHECK int cmd_lab_name_of_file(const char *file, char **ret, struct err *e);
/* Opens it with its lock, for changing, or for reading. */
MUST_CHECK int cmd_lab_open(const struct cmd_ctx *ctx, struct lab **ret, struct err *e);
MUST_CHECK int cmd_lab_read(const struct cmd_ctx *ctx, struct lab **ret, struct err *e);
/* Does `act` to the hosts that the operand names, and says that they are in `state` now. */
MUST_CHECK int cmd_lab_hosts(struct cmd_ctx *ctx,
    int (*act)(struct lab *l, const json_t *hosts, struct err *e), const char *state,
    struct err *e);
