/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp up` shows: on a terminal a table of hosts that lives while it works, in a pipe one line
 * a phase, and at the end what there is and how to try it. */
#pragma once

#include "cmd/cli/cmd.h"
#include "service/lab/up.h"

#define UP_VIEW_TEXT 48

struct up_view {
    const struct cmd_ctx *ctx;
    uint64_t start_ms;
    uint64_t begun_ms[UP_PHASES], took_ms[UP_PHASES];
    const struct model *model;  /* whose hosts are shown; NULL: none yet */
    char (*said)[UP_VIEW_TEXT]; /* what each host is at; up_view_done() frees it */
    char text[256];             /* what the phase is at */
    unsigned lines; /* of the unfinished picture on the terminal, the cursor in its last */
};

/* struct up_params.progress with the view as context. */
void up_view_progress(void *view, enum up_phase phase, const char *host, const char *text);
/* The hosts to be shown from now on (borrowed). */
void up_view_hosts(struct up_view *v, const struct model *m);
void up_view_done(struct up_view *v);
/* Leaves the terminal clean for whatever is printed next. Again is harmless. */
void up_view_end(struct up_view *v);
/* status NULL: --hosts-only. */
void up_view_result(struct up_view *v, const struct lab *l, const struct model *m, int64_t revision,
    const json_t *status);
