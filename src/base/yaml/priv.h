/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/problems/problems.h"

/* Adds a problem and returns false when the text is not UTF-8 or holds a character that YAML does
 * not allow. */
bool yaml_text_check(const char *text, size_t len, struct problems *p);
