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
/* "off: hk1, hk2 (12 ms)", or the JSON of it. */
void cmd_lab_print_hosts(
    const struct cmd_ctx *ctx, const char *state, const json_t *hosts, uint64_t took_ms);
