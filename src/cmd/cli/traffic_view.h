/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp traffic` tells people. */
#pragma once

#include "cmd/cli/cmd.h"

/* A line about the second that has passed, without its end. */
void traffic_view_second(const json_t *second, struct str *out);
/* The report; of `mcp traffic compare` too, which knows less. */
void traffic_view_report(const json_t *report, const struct table_style *style, struct str *out);
