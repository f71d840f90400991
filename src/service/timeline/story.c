/* SPDX-License-Identifier: Apache-2.0 */
/* Every host is a leg. While legs still tell their history, entries gather; when the last history
 * is complete they are merged and sent, and what arrives afterwards (when followed) goes straight
 * through. A peer's history is complete when its call ends; it is then called again to follow from
 * the number it ended with, so nothing is lost between. */
#include "service/timeline/story.h"

#include "service/timeline/priv.h"

#include "base/str/str.h"

#define PEER_TIMEOUT_MS 3000 /* for a history; a host that takes longer is left out */

struct leg {
    struct story *owner;
    char host[48];
    struct rpc_conn *conn; /* NULL: this host's own timeline */
    struct rpc_call *call;
    struct timeline_tail *tail;
    struct timeline_entry *entries;
    size_t n, cap;
    uint64_t last_seq;
};

struct story {
    struct timeline *own;
    struct rpc_req *req;
    json_t *params;
    struct timeline_filter filter; /* its texts are params' */
    size_t lines;
    bool follow;
    bool live; /* the history is sent */
    bool ended;
    size_t open; /* legs with history to come, later legs that follow */
    json_t *missing;
    size_t n_legs;
    struct leg legs[];
};

static void free_story(struct story *s)
{
    for (size_t i = 0; i < s->n_legs; i++)
        free(s->legs[i].entries);
    json_decref(s->missing);
    json_decref(s->params);
    free(s);
}

static void finish(struct story *s)
{
    rpc_reply(s->req, json_pack("{s:O}", "missing", s->missing));
    free_story(s);
}

static void go_live(struct story *s);

static void leg_done(struct story *s)
{
    if (--s->open > 0)
        return;
    if (s->live || s->ended)
        finish(s);
    else
        go_live(s);
}

static void send_entry(struct story *s, const struct timeline_entry *t)
{
    rpc_reply_more(s->req, json_pack("{s:o}", "entry", timeline_entry_format(t)));
}

static void take(struct leg *leg, const struct timeline_entry *t)
{
    leg->last_seq = t->seq;
    if (leg->owner->live)
        send_entry(leg->owner, t);
    else if (leg->n < TIMELINE_READ_MAX)
        *GROW(leg->entries, leg->n, leg->cap) = *t;
}

/* ---- this host */

static int on_own_entry(void *ctx, const struct timeline_entry *t)
{
    take(ctx, t);
    return 0;
}

static void on_own_done(void *ctx, const struct err *e)
{
    struct leg *leg = ctx;
    leg->tail = NULL;
    leg_done(leg->owner);
}

static const struct timeline_tail_handler own_handler = {
    .entry = on_own_entry, .done = on_own_done};

/* ---- the others */

static void on_peer_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct leg *leg = ctx;
    struct timeline_entry t;
    if (more) {
        json_t *entry = json_object_get(result, "entry");
        if (entry && timeline_entry_parse(entry, &t, NULL) >= 0)
            take(leg, &t);
        return;
    }
    leg->call = NULL;
    if (error && !leg->owner->ended) {
        json_array_append_new(leg->owner->missing, json_string(leg->host));
        leg->conn = NULL;
    }
    leg_done(leg->owner);
}

static void ask_peer(struct leg *leg, bool follow)
{
    struct story *s = leg->owner;
    json_t *params = json_deep_copy(s->params);
    json_object_set_new(params, "follow", json_boolean(follow));
    if (follow && leg->last_seq)
        json_object_set_new(params, "after", json_integer((json_int_t)leg->last_seq));
    json_object_set_new(
        params, "lines", json_integer(follow && !leg->last_seq ? 0 : (json_int_t)s->lines));
    leg->call =
        rpc_call(leg->conn, "timeline", params, follow ? 0 : PEER_TIMEOUT_MS, on_peer_answer, leg);
}

static void start_leg(struct leg *leg, bool follow)
{
    struct story *s = leg->owner;
    struct timeline_filter f = s->filter;
    s->open++;
    if (leg->conn) {
        ask_peer(leg, follow);
        return;
    }
    if (follow)
        f.after_seq = leg->last_seq ? leg->last_seq : timeline_last_seq(s->own);
    leg->tail = timeline_tail_start(
        s->own, &f, follow ? TIMELINE_READ_MAX : s->lines, follow, &own_handler, leg);
}

static void send_history(struct story *s)
{
    const struct timeline_entry **lists = xcalloc(s->n_legs, sizeof *lists);
    size_t *lens = xcalloc(s->n_legs, sizeof *lens);
    const struct timeline_entry **merged;
    size_t n;
    for (size_t i = 0; i < s->n_legs; i++) {
        lists[i] = s->legs[i].entries;
        lens[i] = s->legs[i].n;
    }
    timeline_merge(lists, lens, s->n_legs, &merged, &n);
    for (size_t i = n > s->lines ? n - s->lines : 0; i < n; i++)
        send_entry(s, merged[i]);
    free(merged);
    free(lens);
    free(lists);
}

static void go_live(struct story *s)
{
    send_history(s);
    s->live = true;
    if (!s->follow) {
        finish(s);
        return;
    }
    s->open = 1; /* held until every leg is started */
    for (size_t i = 0; i < s->n_legs; i++)
        if (i == 0 || s->legs[i].conn)
            start_leg(&s->legs[i], true);
    leg_done(s);
}

static void on_cancelled(void *ctx)
{
    struct story *s = ctx;
    s->ended = true;
    s->open++;
    for (size_t i = 0; i < s->n_legs; i++) {
        struct leg *leg = &s->legs[i];
        if (leg->call)
            rpc_call_cancel(leg->call);
        if (leg->tail) {
            timeline_tail_end(leg->tail); /* done() does not come then */
            leg->tail = NULL;
            s->open--;
        }
    }
    leg_done(s);
}

void story_serve(struct timeline *own, const struct story_peer *peers, size_t n,
    struct rpc_req *req, const json_t *params)
{
    struct err e;
    struct story *s = xcalloc(1, sizeof *s + (n + 1) * sizeof *s->legs);
    *s = (struct story){.own = own,
        .req = req,
        .params = json_is_object(params) ? json_deep_copy(params) : json_object(),
        .missing = json_array(),
        .n_legs = n + 1,
        .open = 1};
    if (timeline_params(s->params, &s->filter, &s->lines, &s->follow, &e) < 0) {
        rpc_reply_error(req, &e);
        free_story(s);
        return;
    }
    rpc_req_watch(req, NULL, on_cancelled, s);
    for (size_t i = 0; i <= n; i++)
        s->legs[i].owner = s;
    start_leg(&s->legs[0], false);
    for (size_t i = 0; i < n; i++) {
        struct leg *leg = &s->legs[i + 1];
        str_copy(leg->host, sizeof leg->host, peers[i].host);
        leg->conn = peers[i].conn;
        if (leg->conn)
            start_leg(leg, false);
        else
            json_array_append_new(s->missing, json_string(leg->host));
    }
    leg_done(s);
}
