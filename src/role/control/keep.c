/* SPDX-License-Identifier: Apache-2.0 */
/* Which blobs the platform needs: those of the revision in force and of the one before, and of
 * whatever its placements name. The rest goes, daily and after each apply, but nothing that came
 * within the grace: the next revision may be about to name it. */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "base/str/str.h"
#include "service/relay/relay.h"

#define FIRST_MS 120000u /* after a start or a revision: hosts take it over meanwhile */
#define DAILY_MS 86400000u

typedef void (*keep_fn)(struct control *c, struct rpc_req *req, json_t *params, json_t *previous);

struct keeping {
    struct control *c;
    struct rpc_req *req; /* NULL: our own timer */
    json_t *params;
    keep_fn fn;
    bool must; /* know the previous revision */
};

static void add_digests(json_t *list, json_t *found, const json_t *in)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_object(in)) {
        json_object_foreach ((json_t *)in, key, value)
            add_digests(list, found, value);
    } else if (json_is_array(in)) {
        json_array_foreach (in, i, value)
            add_digests(list, found, value);
    } else if (json_is_string(in) && digest_valid(json_string_value(in))
               && !json_object_get(found, json_string_value(in))) {
        json_object_set_new(found, json_string_value(in), json_true());
        json_array_append(list, (json_t *)in);
    }
}

/* The members of the state store keep everything, the others what their region's placement names
 * (and what they run, which the agent knows). */
static json_t *keep_list(const struct control *c, const json_t *previous)
{
    json_t *list = json_array();
    _cleanup_json_ json_t *found = json_object();
    if (control_is_member(c->model, c->host)) {
        add_digests(list, found, c->revision->files);
        add_digests(list, found, json_object_get(previous, "files"));
        add_digests(list, found, c->placements);
    }
    add_digests(list, found, c->placed);
    return list;
}

static void on_previous(void *ctx, const json_t *revision, const struct err *e)
{
    struct keeping *k = ctx;
    _cleanup_json_ json_t *previous = revision ? json_deep_copy(revision) : json_object();
    bool lost = e && e->code != ERR_NOT_FOUND; /* not found: there is none */
    if (lost && k->must && k->req)
        rpc_reply_error(k->req, e);
    else if (!lost || !k->must)
        k->fn(k->c, k->req, k->params, previous);
    json_decref(k->params);
    free(k);
}

static void with_previous(
    struct control *c, struct rpc_req *req, json_t *params, bool must, keep_fn fn)
{
    struct err e;
    if (!c->model) {
        err_set(&e, ERR_UNAVAILABLE, "%s knows no revision yet", c->host);
        if (req)
            rpc_reply_error(req, &e);
        return;
    }
    struct keeping *k = xcalloc(1, sizeof *k);
    *k = (struct keeping){c, req, json_incref(params), fn, must};
    if (c->number > 1)
        revisions_get(c->revisions, c->number - 1, on_previous, k);
    else
        on_previous(k, NULL, NULL);
}

/* ---- removing */

static json_t *gc_params(const struct control *c, const json_t *params, const json_t *previous)
{
    json_t *j = json_pack("{s:o,s:b}", "keep", keep_list(c, previous), "dry_run",
        json_opt_bool(params, "dry_run", false));
    if (json_object_get(params, "grace_ms"))
        json_object_set(j, "grace_ms", json_object_get(params, "grace_ms"));
    return j;
}

static void fail_agent(struct rpc_req *req)
{
    struct err e;
    err_set(&e, ERR_UNAVAILABLE, "the agent of this host is restarting");
    if (req)
        rpc_reply_error(req, &e);
}

static void on_swept(void *ctx, json_t *result, bool more, const struct err *e)
{
    if (e)
        log_warn("image", "nothing was removed", "error=%s", e->message);
}

/* This host's: for another control, or for ourselves. */
static void gc_here(struct control *c, struct rpc_req *req, json_t *params, json_t *previous)
{
    struct rpc_conn *agent = control_link(c, "agent");
    if (!agent)
        fail_agent(req);
    else if (req)
        relay_call(req, agent, "blob.gc", gc_params(c, params, previous), NULL);
    else
        rpc_call(agent, "blob.gc", gc_params(c, params, previous), 0, on_swept, NULL);
}

void control_blobs_gc_here(struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    with_previous(c, req, params, true, gc_here);
}

struct fan {
    struct control *c;
    const char *method;
    json_t *own, *others; /* parameters */
    const char *only;     /* one host; NULL: all */
    struct relay_target targets[PEERS_MAX + 1];
    size_t n;
};

static void add_target(
    struct fan *f, const char *host, struct rpc_conn *conn, const json_t *params)
{
    if (f->n > PEERS_MAX || !conn || (f->only && strcmp(f->only, host) != 0))
        return;
    f->targets[f->n++] = (struct relay_target){.to = conn,
        .method = f->method,
        .params = json_deep_copy(params),
        .wrap = json_pack("{s:s}", "host", host)};
}

static void add_peer(void *ctx, const char *host, struct rpc_conn *conn)
{
    struct fan *f = ctx;
    add_target(f, host, conn, f->others);
}

/* To our agent and to every other host's control; each part says which host it is of. */
static void fan_out(struct control *c, struct rpc_req *req, const char *method, json_t *own,
    json_t *others, const char *only)
{
    struct fan *f = xcalloc(1, sizeof *f);
    *f = (struct fan){.c = c, .method = method, .own = own, .others = others, .only = only};
    add_target(f, c->host, control_link(c, "agent"), own);
    peers_each(c->peers, add_peer, f);
    if (f->n) {
        relay_fan_out(req, f->targets, f->n);
    } else {
        struct err e;
        err_set(&e, ERR_UNAVAILABLE, "%s is not reachable from %s", only ? only : "no host", c->host);
        err_fix(&e, "`mcp host list` shows the hosts");
        rpc_reply_error(req, &e);
    }
    for (size_t i = 0; i < f->n; i++)
        json_decref((json_t *)f->targets[i].wrap);
    free(f);
}

static void gc_everywhere(struct control *c, struct rpc_req *req, json_t *params, json_t *previous)
{
    _cleanup_json_ json_t *own = gc_params(c, params, previous);
    fan_out(c, req, "blob.gc", own, params, json_opt_str(params, "host", NULL));
}

void control_image_gc(struct control *c, struct rpc_req *req, json_t *params)
{
    with_previous(c, req, params, true, gc_everywhere);
}

/* ---- showing */

static void list_everywhere(
    struct control *c, struct rpc_req *req, json_t *params, json_t *previous)
{
    json_t *digests = json_array();
    _cleanup_json_ json_t *found = json_object();
    add_digests(digests, found, c->revision->files);
    add_digests(digests, found, json_object_get(previous, "files"));
    add_digests(digests, found, c->placements);
    _cleanup_json_ json_t *ask = json_pack("{s:o}", "images", digests);
    json_t *before = json_object_get(previous, "files");
    rpc_reply_more(req, json_pack("{s:O,s:o,s:I}", "current", c->revision->files, "previous",
                            before ? json_incref(before) : json_object(), "revision",
                            (json_int_t)c->number));
    fan_out(c, req, "blob.list", ask, ask, json_opt_str(params, "host", NULL));
}

void control_image_list(struct control *c, struct rpc_req *req, json_t *params)
{
    with_previous(c, req, params, false, list_everywhere);
}

/* ---- by itself */

static void on_due(uv_timer_t *t)
{
    struct control *c = CONTAINER_OF(t, struct control, keep_timer);
    uv_timer_start(t, on_due, DAILY_MS, 0);
    if (c->model)
        with_previous(c, NULL, json_null(), true, gc_here);
}

void control_keep_soon(struct control *c)
{
    uv_timer_start(&c->keep_timer, on_due, FIRST_MS, 0);
}

void control_keep_start(struct control *c)
{
    uv_timer_init(&c->role->loop, &c->keep_timer);
    control_keep_soon(c);
}

void control_keep_stop(struct control *c)
{
    uv_close((uv_handle_t *)&c->keep_timer, NULL);
}
