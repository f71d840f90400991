/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "service/copies/copies.h"

/* Runs `from | to` (`to` NULL: one program) with these as first input and last output (-1:
 * /dev/null). Any end but success is an error that quotes the last line that either wrote to its
 * standard error. */
MUST_CHECK int copies_pipe(const char *const *from, const char *const *to, int input, int output,
    struct sql_stop *stop, struct err *e);
