/* SPDX-License-Identifier: Apache-2.0 */
/* The call "timeline" of a control role. */
#include "service/timeline/priv.h"

#define BACKLOG_MAX (8u * 1024 * 1024) /* a reader that does not read is cut off */

struct stream {
    struct rpc_req *req;
    struct timeline_tail *tail;
    bool slow;
};

static int on_entry(void *ctx, const struct timeline_entry *t)
{
    struct stream *s = ctx;
    if (rpc_conn_backlog(rpc_req_conn(s->req)) > BACKLOG_MAX) {
        s->slow = true;
        return ERR_LIMIT;
    }
    rpc_reply_more(s->req, json_pack("{s:o}", "entry", timeline_entry_format(t)));
    return 0;
}

static void on_done(void *ctx, const struct err *e)
{
    struct stream *s = ctx;
    struct err slow;
    if (s->slow) {
        err_set(&slow, ERR_LIMIT, "the reader is too slow");
        e = &slow;
    }
    if (e)
        rpc_reply_error(s->req, e);
    else
        rpc_reply(s->req, json_object());
    free(s);
}

static void on_cancelled(void *ctx)
{
    struct stream *s = ctx;
    struct err e;
    err_set(&e, ERR_CANCELED, "canceled");
    timeline_tail_end(s->tail);
    on_done(s, &e);
}

int timeline_params(const json_t *params, struct timeline_filter *f, size_t *ret_lines,
    bool *ret_follow, struct err *e)
{
    int64_t lines = json_opt_int(params, "lines", TIMELINE_LINES_DEFAULT),
            after = json_opt_int(params, "after", 0);
    const char *since = json_opt_str(params, "since", NULL);
    *f = (struct timeline_filter){.since_wall_ms = INT64_MIN,
        .kind = json_opt_str(params, "kind", NULL),
        .subject = json_opt_str(params, "subject", NULL),
        .after_seq = after > 0 ? (uint64_t)after : 0};
    if (lines < 0 || lines > (int64_t)TIMELINE_READ_MAX)
        return err_set(e, ERR_USAGE, "lines: 0 to %u", TIMELINE_READ_MAX);
    if (since && !timeline_time_parse(since, &f->since_wall_ms))
        return err_set(e, ERR_USAGE, "since: expected RFC 3339, as 2026-11-23T05:30:12.345Z");
    *ret_lines = (size_t)lines;
    *ret_follow = json_opt_bool(params, "follow", false);
    return 0;
}

void timeline_serve(struct timeline *t, struct rpc_req *req, const json_t *params)
{
    static const struct timeline_tail_handler handler = {on_entry, on_done};
    struct timeline_filter f;
    struct err e = {0};
    size_t lines = 0;
    bool follow = false;
    if (timeline_params(params, &f, &lines, &follow, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct stream *s = xcalloc(1, sizeof *s);
    s->req = req;
    rpc_req_watch(req, NULL, on_cancelled, s);
    s->tail = timeline_tail_start(t, &f, lines, follow, &handler, s);
}
