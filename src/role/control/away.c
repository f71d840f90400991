/* SPDX-License-Identifier: Apache-2.0 */
/* Users steered away from a region by hand or by a function: the document `steer/override` of the
 * state store, which every control hands to its own steering. */
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/steering/away.h"

#define OVERRIDE "override"

static void on_changed(void *ctx, const char *name, const json_t *doc)
{
    struct control *c = ctx;
    if (str_eq(name, OVERRIDE))
        steer_service_away(c->steer, doc);
}

/* A listing without it: what the journal still knew was taken back meanwhile. */
static void on_synced(void *ctx)
{
    struct control *c = ctx;
    steer_service_away(c->steer, documents_get(c->away, OVERRIDE));
}

void control_away_start(struct control *c)
{
    static const struct documents_handler handler = {.changed = on_changed, .synced = on_synced};
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/steer/", c->platform);
    c->away = documents_new(&c->role->loop, c->kv, prefix, &handler, c);
}

void control_away_stop(struct control *c)
{
    documents_free(c->away);
    c->away = NULL;
}

struct wish {
    struct control *c;
    json_t *names;
    char region[MODEL_NAME_MAX + 1], by[96], why[STEER_AWAY_WHY_MAX + 1];
    uint64_t for_ms;
    bool back;
    control_away_fn fn;
    void *ctx;
};

static int edit(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct wish *w = ctx;
    const struct steer_plan *plan = steer_service_plan(w->c->steer);
    if (w->back)
        return steer_away_drop(old, w->region, clock_wall_ms(), ret, e);
    if (!plan)
        return err_set(e, ERR_UNAVAILABLE, "no revision has taken effect here yet");
    const struct steer_away_wish wish = {.region = w->region,
        .names = w->names,
        .by = w->by,
        .why = w->why,
        .for_ms = w->for_ms};
    return steer_away_put(old, plan, &wish, clock_wall_ms(), ret, e);
}

static void on_edited(void *ctx, const json_t *doc, const struct err *e)
{
    struct wish *w = ctx;
    if (!e) {
        char message[160];
        snprintf(message, sizeof message, w->back ? "%s no longer steers away from it" : "%s steers away from it",
            w->by);
        control_note(w->c, "steering", w->region, message, w->why);
    }
    _cleanup_json_ json_t *list = steer_away_list(doc, clock_wall_ms());
    w->fn(w->ctx, list, e);
    json_decref(w->names);
    free(w);
}

void control_away(struct control *c, const struct control_away_wish *wish, control_away_fn fn, void *ctx)
{
    struct wish *w = xcalloc(1, sizeof *w);
    *w = (struct wish){
        .c = c, .for_ms = wish->for_ms, .back = wish->back, .fn = fn, .ctx = ctx};
    w->names = json_is_array(wish->names) ? json_deep_copy(wish->names) : NULL;
    str_copy(w->by, sizeof w->by, wish->by);
    snprintf(w->why, sizeof w->why, "%.*s", (int)str_utf8_cut(wish->why, STEER_AWAY_WHY_MAX), wish->why);
    if (!str_copy(w->region, sizeof w->region, wish->region))
        str_copy(w->region, sizeof w->region, "");
    documents_edit(c->away, OVERRIDE, edit, on_edited, w);
}

static void on_answer(void *ctx, const json_t *list, const struct err *e)
{
    if (e)
        rpc_reply_error(ctx, e);
    else
        rpc_reply(ctx, json_pack("{s:O}", "away", list));
}

static void ask(struct control *c, struct rpc_req *req, const json_t *params, bool back)
{
    int64_t for_ms = json_opt_int(params, "for_ms", 0);
    const struct control_away_wish w = {.region = json_opt_str(params, "region", ""),
        .names = json_object_get(params, "names"),
        .by = json_opt_str(params, "by", "?"),
        .why = json_opt_str(params, "why", ""),
        .for_ms = for_ms > 0 ? (uint64_t)for_ms : 0,
        .back = back};
    control_away(c, &w, on_answer, req);
}

void control_steer_away(struct control *c, struct rpc_req *req, json_t *params)
{
    ask(c, req, params, false);
}

void control_steer_back(struct control *c, struct rpc_req *req, json_t *params)
{
    ask(c, req, params, true);
}

void control_steer_list(struct control *c, struct rpc_req *req, json_t *params)
{
    rpc_reply(req,
        json_pack("{s:o}", "away",
            steer_away_list(documents_get(c->away, OVERRIDE), clock_wall_ms())));
}
