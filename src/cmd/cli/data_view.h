/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp data status` and `mcp data lag` tell people. */
#pragma once

#include "cmd/cli/cmd.h"

void data_view_status(const json_t *answer, const struct table_style *style, struct str *out);
void data_view_lag(const json_t *answer, const struct table_style *style, struct str *out);
/* "data.status" of the database that is the first operand, if there is one; for cmd_look(). */
MUST_CHECK int data_view_ask(const struct cmd_ctx *ctx, json_t **ret, struct err *e);
