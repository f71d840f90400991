/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

extern const struct cmd cmd_version;

const struct cmd *const cmd_table[] = {
    &cmd_version,
    NULL,
};
