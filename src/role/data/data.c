/* SPDX-License-Identifier: Apache-2.0 */
#include "role/data/data.h"

#include "base/log/log.h"
#include "base/metrics/metrics.h"
#include "base/str/str.h"
#include "service/data/data.h"

static void on_report(void *ctx, json_t *report)
{
    struct role *r = ctx;
    if (r->control)
        rpc_notify(r->control, "data", report);
    else
        json_decref(report);
}

static void on_timeline(
    void *ctx, const char *kind, const char *subject, const char *message, const char *cause)
{
    struct role *r = ctx;
    log_info(kind, message, "subject=%s cause=\"%s\"", subject, cause);
    if (r->control)
        rpc_notify(r->control, "timeline",
            json_pack("{s:s,s:s,s:s,s:s}", "kind", kind, "subject", subject, "message", message,
                "cause", cause));
}

static struct rpc_conn *control_of(void *ctx)
{
    return ((struct role *)ctx)->control;
}

static int init(struct role *r, struct err *e)
{
    struct data_config c = {.loop = &r->loop,
        .host = r->host,
        .state_dir = r->state_dir,
        .control = control_of,
        .report = on_report,
        .timeline = on_timeline,
        .ctx = r};
    return data_new(&c, (struct data **)&r->ctx, e);
}

static void linked(struct role *r)
{
    data_linked(r->ctx);
}

static void on_notify(
    struct role *r, struct rpc_conn *from, const char *method, json_t *params, int fd)
{
    struct err e = {0};
    if (fd >= 0)
        close(fd);
    if (data_told(r->ctx, method, params, &e) < 0)
        log_error("data", "not taken, what was told before holds", "what=%s error=\"%s\"", method,
            e.message);
}

static void on_call(struct role *r, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    if (fd >= 0)
        close(fd);
    data_call(r->ctx, req, method, params);
}

static void on_metrics(struct role *r, struct str *out)
{
    data_metrics_collect(r->ctx);
    metrics_format(metrics_process(), out);
}

static void done(struct role *r)
{
    data_free(r->ctx);
}

const struct role_def role_data = {
    .name = "data",
    .profile = SANDBOX_TOOLS,
    .init = init,
    .linked = linked,
    .notify = on_notify,
    .call = on_call,
    .metrics = on_metrics,
    .done = done,
};
