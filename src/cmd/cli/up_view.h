/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp up` shows: on a terminal one line that moves, in a pipe one line a phase, and at the
 * end what there is and how to try it. */
#pragma once

#include "cmd/cli/cmd.h"
#include "service/lab/up.h"

struct up_view {
    const struct cmd_ctx *ctx;
    uint64_t start_ms;
    uint64_t begun_ms[UP_PHASES], took_ms[UP_PHASES];
    bool on_line; /* an unfinished line stands on the terminal */
};

/* struct up_params.progress with the view as context. */
void up_view_progress(void *view, enum up_phase phase, const char *host, const char *text);
/* Leaves the line clean for whatever is printed next. Again is harmless. */
void up_view_end(struct up_view *v);
/* status NULL: --hosts-only. */
void up_view_result(struct up_view *v, const struct lab *l, const struct model *m, int64_t revision,
    const json_t *status);
