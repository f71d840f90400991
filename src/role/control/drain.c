/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp host drain|undrain`: the wish goes into the host's registry document, the leader moves the
 * instances, and who waits is told how far it is. */
#include "role/control/priv.h"

#include "base/str/str.h"

#define WAIT_DEFAULT_MS 300000
#define WAIT_MAX_MS 3600000

struct drain {
    struct drain *next, *prev;
    struct control *c;
    struct rpc_req *req;
    char host[64], by[128];
    bool drained, wait;
    bool written; /* on its way until then */
    bool gone;    /* nobody waits any more */
    size_t first; /* instances when it began */
    char last[256];
    uint64_t timeout_ms;
    uv_timer_t deadline;
};

static void on_deadline_closed(uv_handle_t *h)
{
    free(CONTAINER_OF(h, struct drain, deadline));
}

static void unlink_drain(struct drain *d)
{
    if (d->prev)
        d->prev->next = d->next;
    else
        d->c->drains = d->next;
    if (d->next)
        d->next->prev = d->prev;
    uv_close((uv_handle_t *)&d->deadline, on_deadline_closed);
}

static void finish(struct drain *d, size_t left, const struct err *e)
{
    if (e)
        rpc_reply_error(d->req, e);
    else
        rpc_reply(d->req,
            json_pack("{s:s,s:b,s:I,s:I}", "host", d->host, "drained", d->drained, "instances",
                (json_int_t)left, "moved", (json_int_t)(d->first > left ? d->first - left : 0)));
    unlink_drain(d);
}

/* What the placements still have there, and what its agent still runs. */
static size_t instances_on(struct control *c, const char *host)
{
    size_t n = 0, i;
    const char *name;
    json_t *doc, *in;
    json_object_foreach (c->placements, name, doc)
        json_array_foreach (json_object_get(doc, "instances"), i, in)
            n += str_eq(json_opt_str(in, "host", NULL), host);
    return n;
}

static size_t units_on(struct control *c, const char *host)
{
    const struct host_report *r = control_find_report(c, host);
    const json_t *units = !strcmp(host, c->host) ? c->units
                          : r                    ? json_object_get(r->report, "units")
                                                 : NULL;
    size_t n = 0, i;
    json_t *u;
    json_array_foreach (units, i, u)
        n += str_eq(json_opt_str(u, "kind", NULL), "module");
    return n;
}

/* Nothing takes them: says which, and why. */
static void why_not(struct control *c, char *out, size_t size)
{
    const char *name;
    json_t *doc;
    *out = '\0';
    json_object_foreach (c->placements, name, doc) {
        const json_t *lack = json_array_get(json_object_get(doc, "lacks"), 0);
        if (lack && !*out)
            snprintf(out, size, "; %s finds no place: %s", json_opt_str(lack, "module", "?"),
                json_opt_str(lack, "reason", ""));
    }
}

static void check(struct drain *d)
{
    struct control *c = d->c;
    size_t left =
        MAX(instances_on(c, d->host), control_hears(c, d->host) ? units_on(c, d->host) : 0);
    if (left == 0) {
        finish(d, 0, NULL);
        return;
    }
    char why[128], text[256];
    why_not(c, why, sizeof why);
    snprintf(text, sizeof text, "%s still has %zu instances%s", d->host, left, why);
    if (str_eq(text, d->last))
        return;
    str_copy(d->last, sizeof d->last, text);
    rpc_reply_more(d->req, json_pack("{s:s}", "text", text));
}

void control_drains_check(struct control *c)
{
    for (struct drain *d = c->drains, *next; d; d = next) {
        next = d->next;
        if (d->written && d->wait && d->drained)
            check(d);
    }
}

static void on_deadline(uv_timer_t *t)
{
    struct drain *d = CONTAINER_OF(t, struct drain, deadline);
    struct err e;
    err_set(&e, ERR_TIMEOUT, "%s is not empty yet: %s", d->host, d->last);
    err_fix(&e, "it stays drained and goes on; `mcp status` shows where its instances are");
    finish(d, 0, &e);
}

static void on_cancelled(void *ctx)
{
    struct drain *d = ctx;
    struct err e;
    d->gone = true;
    err_set(&e, ERR_CANCELED, "no longer waited for");
    if (d->written)
        finish(d, 0, &e);
}

static void on_written(void *ctx, const json_t *doc, const struct err *e)
{
    struct drain *d = ctx;
    d->written = true;
    if (!e) {
        control_note(d->c, "host", d->host,
            d->drained ? "is drained: its instances move to other hosts of its region"
                       : "takes instances again",
            d->by);
        scheduler_poke(d->c->scheduler);
    }
    if (e || d->gone || !d->wait || !d->drained)
        finish(d, instances_on(d->c, d->host), e);
    else
        uv_timer_start(&d->deadline, on_deadline, d->timeout_ms, 0);
    if (!e)
        control_drains_check(d->c);
}

static bool knows(struct control *c, const char *host, struct err *e)
{
    if (c->model && model_find_host(c->model, host))
        return true;
    err_set(e, ERR_NOT_FOUND, "the platform has no host %s", host);
    err_fix(e, "`mcp status` lists them");
    return false;
}

void control_host_drain(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    const char *host = json_opt_str(params, "host", "");
    if (!knows(c, host, &e)) {
        rpc_reply_error(req, &e);
        return;
    }
    struct drain *d = xcalloc(1, sizeof *d);
    int64_t timeout = json_opt_int(params, "timeout_ms", WAIT_DEFAULT_MS);
    *d = (struct drain){.next = c->drains,
        .c = c,
        .req = req,
        .drained = json_opt_bool(params, "drained", true),
        .wait = json_opt_bool(params, "wait", true),
        .first = instances_on(c, host),
        .timeout_ms = (uint64_t)MIN(MAX(timeout, (int64_t)1), (int64_t)WAIT_MAX_MS)};
    str_copy(d->host, sizeof d->host, host);
    str_copy(d->by, sizeof d->by, json_opt_str(params, "by", "root"));
    if (d->next)
        d->next->prev = d;
    c->drains = d;
    uv_timer_init(&c->role->loop, &d->deadline);
    rpc_req_watch(req, NULL, on_cancelled, d);
    documents_merge(c->hosts, host, json_pack("{s:b}", "drained", d->drained), on_written, d);
}
