/* SPDX-License-Identifier: Apache-2.0 */
/* The text format's rules, shared by the writer (metrics.c) and the merger (merge.c). */
#pragma once

#include "base/str/str.h"

bool metrics_name_ok(const char *name, size_t len);
bool metrics_label_name_ok(const char *name, size_t len);
/* Label values escape the quote too, help texts do not. */
void metrics_escape(struct str *out, const char *text, bool quote);
