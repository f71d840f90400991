/* SPDX-License-Identifier: Apache-2.0 */
/* `apply`: validate, write the next revision, and (with "wait") stay until every host runs it and
 * is ready. */
#include "role/control/databases.h"
#include "role/control/drill.h"
#include "role/control/priv.h"

#include "base/str/str.h"
#include "domain/plan/plan.h"

#define WAIT_DEFAULT_MS 300000
#define WAIT_MAX_MS 3600000
#define APPLY_PATIENCE_MS 2000u /* for a link to another failure domain */
#define STAGE_PATIENCE_MS 15000u

struct waiter {
    struct waiter *next, *prev;
    struct control *c;
    struct rpc_req *req;
    int64_t number;
    int64_t before; /* the revision when the wait began */
    bool unchanged;
    char last[512];  /* what was said last */
    char module[64]; /* of a deploy: this rollout is what counts; "" */
    int64_t after;   /* a deploy that tries again: rollouts up to this one are not meant */
    uv_timer_t deadline;
};

struct apply {
    struct control *c;
    struct rpc_req *req;
    bool wait;
    int64_t timeout_ms;
    json_t *params;
    struct secure *secure;
    char module[64];
};

static void on_deadline_closed(uv_handle_t *h)
{
    free(CONTAINER_OF(h, struct waiter, deadline));
}

static void finish(struct waiter *w, bool ready, const struct err *e)
{
    if (e)
        rpc_reply_error(w->req, e);
    else
        rpc_reply(w->req, json_pack("{s:I,s:b,s:b}", "revision", (json_int_t)w->number, "unchanged",
                              w->unchanged, "ready", ready));
    if (w->prev)
        w->prev->next = w->next;
    else
        w->c->waiters = w->next;
    if (w->next)
        w->next->prev = w->prev;
    uv_close((uv_handle_t *)&w->deadline, on_deadline_closed);
}

static void on_deadline(uv_timer_t *t)
{
    struct waiter *w = CONTAINER_OF(t, struct waiter, deadline);
    struct err e;
    err_set(&e, ERR_TIMEOUT, "revision %lld is applied but not ready yet: %s", (long long)w->number,
        w->last);
    err_fix(&e, "the platform goes on towards it; look at `mcp status` and `mcp timeline`");
    finish(w, false, &e);
}

static void on_cancelled(void *ctx)
{
    struct err e;
    err_set(&e, ERR_CANCELED, "no longer waited for");
    finish(ctx, false, &e);
}

static bool meant(const struct waiter *w, const json_t *d)
{
    return json_opt_int(d, "revision", 0) == w->number
           && (!*w->module || str_eq(json_opt_str(d, "module", NULL), w->module))
           && json_opt_int(d, "id", 0) > w->after;
}

/* Of a deploy: its rollout in words; whether it is over. */
static bool rolled(const struct waiter *w, const json_t *status, const char **ret_text)
{
    size_t i;
    json_t *d;
    json_array_foreach (json_object_get(status, "deployments"), i, d) {
        if (!*w->module || !meant(w, d))
            continue;
        const char *state = json_opt_str(d, "state", "");
        const char *step = json_opt_str(d, "step", "");
        *ret_text = !strcmp(state, "rolling-back") ? json_opt_str(d, "reason", state)
                    : *step                        ? step
                                                   : state;
        return !strcmp(state, "done");
    }
    return false;
}

/* A rollout of the revision that was taken back: waiting longer brings nothing. */
static bool gave_up(const struct waiter *w, const json_t *status, struct err *e)
{
    size_t i;
    json_t *d;
    json_array_foreach (json_object_get(status, "deployments"), i, d) {
        const char *state = json_opt_str(d, "state", "");
        if (!meant(w, d) || (strcmp(state, "rolled-back") != 0 && strcmp(state, "failed") != 0))
            continue;
        err_set(e, ERR_FAILED, "revision %lld: the rollout of %s %s: %s", (long long)w->number,
            json_opt_str(d, "module", "?"), !strcmp(state, "failed") ? "failed" : "was rolled back",
            json_opt_str(d, "reason", "no reason is known"));
        err_fix(e, "`mcp logs %s` tells more; mend it and apply again",
            json_opt_str(d, "module", "MODULE"));
        return true;
    }
    return false;
}

static void check(struct waiter *w, const json_t *status)
{
    struct err e;
    const char *why = json_opt_str(status, "not_ready", "");
    int64_t revision = json_opt_int(status, "revision", 0);
    /* Numbers begin anew after a lost state store, and another apply may come in first: ours is
     * what runs, or it is something else than before. */
    bool taken = revision == w->number || revision != w->before;
    bool over = rolled(w, status, &why);
    if (gave_up(w, status, &e)) {
        finish(w, false, &e);
    } else if (over || (taken && !w->after && json_opt_bool(status, "ready", false))) {
        finish(w, true, NULL);
    } else if (!str_eq(why, w->last)) {
        str_copy(w->last, sizeof w->last, why);
        rpc_reply_more(w->req, json_pack("{s:s}", "text", why));
    }
}

void control_waiters_check(struct control *c)
{
    if (!c->waiters)
        return;
    _cleanup_json_ json_t *status = control_status(c);
    for (struct waiter *w = c->waiters, *next; w; w = next) {
        next = w->next;
        check(w, status);
    }
}

static void wait_ready(struct apply *a, int64_t number, bool unchanged, int64_t after)
{
    struct waiter *w = xcalloc(1, sizeof *w);
    *w = (struct waiter){.next = a->c->waiters,
        .c = a->c,
        .req = a->req,
        .number = number,
        .before = a->c->number,
        .unchanged = unchanged,
        .after = after};
    str_copy(w->module, sizeof w->module, a->module);
    if (w->next)
        w->next->prev = w;
    a->c->waiters = w;
    uv_timer_init(&a->c->role->loop, &w->deadline);
    uv_timer_start(&w->deadline, on_deadline, (uint64_t)a->timeout_ms, 0);
    rpc_req_watch(a->req, NULL, on_cancelled, w);
    control_waiters_check(a->c);
}

static void free_apply(struct apply *a)
{
    json_decref(a->params);
    free(a);
}

static void on_applied(void *ctx, int64_t number, bool unchanged, const struct err *e)
{
    struct apply *a = ctx;
    int64_t after = 0;
    /* What is declared already, and was taken back: it is tried again. */
    if (!e && unchanged && *a->module && control_deploy_failed(a->c, a->module, &after))
        control_deploy_retry(a->c, a->module);
    else
        after = 0;
    if (e)
        rpc_reply_error(a->req, e);
    else if (a->wait)
        wait_ready(a, number, unchanged, after);
    else
        rpc_reply(a->req, json_pack("{s:I,s:b,s:b}", "revision", (json_int_t)number, "unchanged",
                              unchanged, "ready", 0));
    free_apply(a);
}

/* As every host will read it. */
static int validate(
    const struct control *c, const json_t *params, struct revision **ret, struct err *e)
{
    struct revision *revision;
    json_t *platform, *files;
    if (json_get_obj(params, "platform", &platform, e) < 0
        || json_get_obj(params, "files", &files, e) < 0)
        return e->code;
    _cleanup_json_ json_t *json =
        revision_build(platform, files, 1, "1970-01-01T00:00:00.000Z", "", "");
    int r = revision_parse(json, &revision, e);
    if (r < 0)
        return r;
    if (strcmp(revision->model->platform, c->platform) != 0)
        r = err_set(e, ERR_REFUSED, "this is the platform %s, the file declares %s", c->platform,
            revision->model->platform);
    if (r < 0)
        revision_free(revision);
    else
        *ret = revision;
    return r;
}

/* What no apply does, whoever asks for it: a command compares with what it has seen, and does not
 * know where sources are. */
static int check_plan(const struct control *c, const struct revision *new, struct err *e)
{
    if (!c->revision)
        return 0;
    _cleanup_json_ json_t *sources = control_data_sources(c);
    struct plan *p = plan_make(&(struct plan_side){c->model, c->revision->files, sources},
        &(struct plan_side){new->model, new->files, NULL});
    int r = plan_refusal(p, e);
    plan_free(p);
    return r;
}

static void on_secured(void *ctx, const char *hosts, const struct err *e)
{
    struct apply *a = ctx;
    const json_t *p = a->params;
    a->secure = NULL;
    if (e) {
        rpc_reply_error(a->req, e);
        free_apply(a);
        return;
    }
    rpc_req_watch(a->req, NULL, NULL, NULL);
    revisions_apply(a->c->revisions, json_object_get(p, "platform"), json_object_get(p, "files"),
        json_opt_str(p, "by", "root"), json_opt_str(p, "note", ""), json_opt_int(p, "expect", -1),
        on_applied, a);
}

static void on_securing_cancelled(void *ctx)
{
    struct apply *a = ctx;
    struct err e;
    if (a->secure)
        control_secure_cancel(a->secure);
    err_set(&e, ERR_CANCELED, "stopped before anything was applied");
    rpc_reply_error(a->req, &e);
    free_apply(a);
}

void control_apply(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e = {0};
    struct revision *revision;
    if (control_ca_gate(c, &e) < 0 || control_drill_gate(c, &e) < 0
        || validate(c, params, &revision, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    if (check_plan(c, revision, &e) < 0) {
        revision_free(revision);
        rpc_reply_error(req, &e);
        return;
    }
    struct apply *a = xcalloc(1, sizeof *a);
    *a = (struct apply){.c = c,
        .req = req,
        .wait = json_opt_bool(params, "wait", false),
        .params = json_incref(params)};
    int64_t timeout = json_opt_int(params, "timeout_ms", WAIT_DEFAULT_MS);
    a->timeout_ms = MIN(MAX(timeout, (int64_t)1), (int64_t)WAIT_MAX_MS);
    str_copy(a->module, sizeof a->module, json_opt_str(params, "module", ""));
    rpc_req_watch(req, NULL, on_securing_cancelled, a);
    struct secure *s = control_secure(c, revision, req, APPLY_PATIENCE_MS, on_secured, a);
    if (s)
        a->secure = s;
}

/* `image.stage`: the first half of an apply, for whoever has time before the second. */
struct stage {
    struct rpc_req *req;
    struct secure *secure;
};

static void on_staged(void *ctx, const char *hosts, const struct err *e)
{
    struct stage *s = ctx;
    if (e)
        rpc_reply_error(s->req, e);
    else
        rpc_reply(s->req, json_pack("{s:s}", "hosts", hosts));
    free(s);
}

static void on_stage_cancelled(void *ctx)
{
    struct stage *s = ctx;
    struct err e;
    control_secure_cancel(s->secure);
    err_set(&e, ERR_CANCELED, "stopped");
    rpc_reply_error(s->req, &e);
    free(s);
}

void control_stage(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e = {0};
    struct revision *revision;
    if (validate(c, params, &revision, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct stage *s = xcalloc(1, sizeof *s);
    s->req = req;
    rpc_req_watch(req, NULL, on_stage_cancelled, s);
    struct secure *secure = control_secure(c, revision, req, STAGE_PATIENCE_MS, on_staged, s);
    if (secure)
        s->secure = secure;
}
