/* SPDX-License-Identifier: Apache-2.0 */
#include "role/edge/edge.h"

#include "base/log/log.h"
#include "base/metrics/metrics.h"
#include "role/frame/frame.h"
#include "service/edge/edge.h"

#define STORE_SOON_MS 200 /* instances change in bursts: one write for all of a burst */
#define QUIET_MS 5        /* between two questions whether those that left are free of requests */
#define REQUESTS_MS 2000 /* how often control learns what was counted, if it is another */
#define WAITING_MAX 256

struct edge_role {
    struct role *role;
    struct edge *edge;
    uv_async_t stopped;
    uv_timer_t store_timer, quiet_timer, requests_timer;
    json_t *told; /* of requests, to the control that is linked; NULL: nothing */
    struct waiting { /* calls of control that are answered when it is quiet */
        struct rpc_req *req;
        int64_t seq;
    } waiting[WAITING_MAX];
    size_t n_waiting;
    unsigned open_handles;
    char warned[256]; /* the last warning that was logged */
};

/* What is wrong with what it serves: to the log and, as an alarm, to the timeline; once, until it
 * changes. */
static void warn(struct edge_role *er)
{
    _cleanup_json_ json_t *status = edge_status(er->edge);
    const json_t *warnings = json_object_get(status, "warnings");
    const char *first = json_string_value(json_array_get(warnings, 0));
    if (first && strcmp(first, er->warned)) {
        log_warn("edge", first, "%s", "");
        if (er->role->control)
            rpc_notify(er->role->control, "timeline",
                json_pack("{s:s,s:s+,s:s,s:s}", "kind", "alarm", "subject", "edge@", er->role->host,
                    "message", first, "cause", ""));
    }
    str_copy(er->warned, sizeof er->warned, first ? first : "");
}

static void on_store(uv_timer_t *t)
{
    struct edge_role *er = t->data;
    struct err e;
    /* it serves all the same; what is lost is a start without control */
    if (edge_store(er->edge, &e) < 0)
        log_error("edge", "the routes cannot be stored", "error=\"%s\"", e.message);
}

static int take(struct edge_role *er, const char *method, json_t *params, struct err *e)
{
    int k = str_eq(method, "routes") ? edge_set_routes(er->edge, params, e)
                                     : edge_set_endpoints(er->edge, params, e);
    if (k < 0) {
        log_error(
            "edge", "not taken, the old ones serve on", "what=%s error=\"%s\"", method, e->message);
        return k;
    }
    warn(er);
    uv_timer_start(&er->store_timer, on_store, STORE_SOON_MS, 0);
    log_info("edge", "taken", "what=%s", method);
    return 0;
}

static void on_notify(
    struct role *r, struct rpc_conn *from, const char *method, json_t *params, int fd)
{
    struct edge_role *er = r->ctx;
    struct err e = {0};
    if (fd >= 0)
        close(fd);
    if (str_eq(method, "routes") && take(er, method, params, &e) < 0)
        return;
}

static void on_quiet_timer(uv_timer_t *t)
{
    struct edge_role *er = t->data;
    if (!edge_quiet(er->edge))
        return;
    for (size_t i = 0; i < er->n_waiting; i++)
        rpc_reply(er->waiting[i].req, json_pack("{s:I}", "seq", (json_int_t)er->waiting[i].seq));
    er->n_waiting = 0;
    uv_timer_stop(t);
}

/* Answered when nothing is on its way to what the new ones lack. */
static void on_endpoints(struct edge_role *er, struct rpc_req *req, json_t *params)
{
    struct err e;
    if (take(er, "endpoints", params, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    if (er->n_waiting == WAITING_MAX) { /* the newer call stands for the oldest */
        err_set(&e, ERR_LIMIT, "too many changes of instances wait for an answer");
        rpc_reply_error(er->waiting[0].req, &e);
        memmove(er->waiting, er->waiting + 1, (WAITING_MAX - 1) * sizeof *er->waiting);
        er->n_waiting--;
    }
    er->waiting[er->n_waiting++] = (struct waiting){req, json_opt_int(params, "seq", 0)};
    uv_timer_start(&er->quiet_timer, on_quiet_timer, 0, QUIET_MS);
}

static void on_call(struct role *r, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct edge_role *er = r->ctx;
    struct err e;
    if (fd >= 0)
        close(fd);
    if (str_eq(method, "status")) {
        rpc_reply(req, edge_status(er->edge));
        return;
    }
    if (str_eq(method, "endpoints")) {
        on_endpoints(er, req, params);
        return;
    }
    err_set(&e, ERR_NOT_FOUND, "edge has no method %s", method);
    rpc_reply_error(req, &e);
}

static void on_metrics(struct role *r, struct str *out)
{
    struct edge_role *er = r->ctx;
    edge_metrics_collect(er->edge);
    metrics_format(metrics_process(), out);
}

static void on_requests(uv_timer_t *t)
{
    struct edge_role *er = t->data;
    _cleanup_json_ json_t *now = edge_requests(er->edge);
    if (!er->role->control || json_equal(now, er->told))
        return;
    json_decref(er->told);
    er->told = json_incref(now);
    rpc_notify(er->role->control, "requests", json_deep_copy(now));
}

/* Control begins anew, or its link does. */
static void on_linked(struct role *r)
{
    struct edge_role *er = r->ctx;
    json_decref(er->told);
    er->told = NULL;
    on_requests(&er->requests_timer);
}

static void on_stopped(uv_async_t *a)
{
    struct edge_role *er = a->data;
    role_stopped(er->role);
}

static void threads_stopped(void *ctx)
{
    struct edge_role *er = ctx;
    uv_async_send(&er->stopped);
}

static size_t take_listens(const struct role *r, struct http_listen *listens)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_listens; i++) {
        bool tls = str_eq(r->listens[i].name, "edge-https");
        if (tls || str_eq(r->listens[i].name, "edge-http"))
            listens[n++] = (struct http_listen){r->listens[i].fd, tls};
    }
    return n;
}

static int init(struct role *r, struct err *e)
{
    struct edge_role *er = xcalloc(1, sizeof *er);
    er->role = r;
    r->ctx = er;
    uv_async_init(&r->loop, &er->stopped, on_stopped);
    uv_timer_init(&r->loop, &er->store_timer);
    uv_timer_init(&r->loop, &er->quiet_timer);
    uv_timer_init(&r->loop, &er->requests_timer);
    er->stopped.data = er->store_timer.data = er->quiet_timer.data = er->requests_timer.data = er;
    er->open_handles = 4;
    struct http_listen listens[ROLE_LISTEN_MAX];
    struct edge_config config = {
        .listens = listens,
        .n_listens = take_listens(r, listens),
        .timeouts = {.drain = 8000, .drain_idle = 1500}, /* host waits 10 s */
        .state_dir = r->state_dir,
        .metrics = metrics_process(),
        .stopped = threads_stopped,
        .ctx = er,
    };
    int k = edge_start(&config, &er->edge, e);
    if (k < 0)
        return k;
    uv_timer_start(&er->requests_timer, on_requests, REQUESTS_MS, REQUESTS_MS);
    if (*edge_start_warning(er->edge))
        log_warn(
            "edge", "the stored routes cannot be used", "why=\"%s\"", edge_start_warning(er->edge));
    return 0;
}

static void on_stop(struct role *r)
{
    struct edge_role *er = r->ctx;
    edge_drain(er->edge);
}

static void on_closed(uv_handle_t *h)
{
    struct edge_role *er = h->data;
    if (!--er->open_handles)
        free(er);
}

static void on_done(struct role *r)
{
    struct edge_role *er = r->ctx;
    if (!er)
        return;
    if (er->edge && uv_is_active((uv_handle_t *)&er->store_timer))
        on_store(&er->store_timer);
    edge_free(er->edge);
    json_decref(er->told);
    uv_close((uv_handle_t *)&er->stopped, on_closed);
    uv_close((uv_handle_t *)&er->store_timer, on_closed);
    uv_close((uv_handle_t *)&er->quiet_timer, on_closed);
    uv_close((uv_handle_t *)&er->requests_timer, on_closed);
}

const struct role_def role_edge = {
    .name = "edge",
    .profile = SANDBOX_NETWORK,
    .init = init,
    .linked = on_linked,
    .notify = on_notify,
    .call = on_call,
    .metrics = on_metrics,
    .stop = on_stop,
    .done = on_done,
};
