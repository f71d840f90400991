/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp drill` tells people. */
#pragma once

#include "cmd/cli/cmd.h"

void drill_view_list(const json_t *drills, const struct table_style *style, struct str *out);
/* Whether every check is good. */
bool drill_view_plan(const json_t *plan, const struct table_style *style, struct str *out);
void drill_view_report(const json_t *report, const struct table_style *style, struct str *out);
