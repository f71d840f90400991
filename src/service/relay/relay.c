/* SPDX-License-Identifier: Apache-2.0 */
#include "service/relay/relay.h"

struct relay {
    struct rpc_req *req;
    size_t open; /* legs that have not answered */
    size_t n_legs;
    bool succeeded; /* one of them did */
    struct err error;
    json_t *result;
    struct leg *legs;
};

struct leg {
    struct relay *owner;
    struct rpc_call *call; /* NULL once answered */
    json_t *wrap;
};

static void finish(struct relay *r)
{
    if (r->succeeded)
        rpc_reply(r->req, r->result);
    else
        rpc_reply_error(r->req, &r->error);
    for (size_t i = 0; i < r->n_legs; i++)
        json_decref(r->legs[i].wrap);
    free(r->legs);
    free(r);
}

static void on_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct leg *leg = ctx;
    struct relay *r = leg->owner;
    if (more) {
        json_t *part = json_incref(result);
        if (leg->wrap && json_is_object(part)) {
            json_decref(part);
            part = json_copy(result);
            json_object_update(part, leg->wrap);
        }
        rpc_reply_more(r->req, part);
        return;
    }
    leg->call = NULL;
    if (!error && !r->succeeded) {
        r->succeeded = true;
        r->result = json_incref(result);
    } else if (error && !r->error.code) {
        r->error = *error;
    }
    if (--r->open == 0)
        finish(r);
}

static void on_input(void *ctx, json_t *input)
{
    struct relay *r = ctx;
    for (size_t i = 0; i < r->n_legs; i++)
        if (r->legs[i].call)
            rpc_call_input(r->legs[i].call, json_incref(input));
}

static void on_cancelled(void *ctx)
{
    struct relay *r = ctx;
    for (size_t i = 0; i < r->n_legs; i++)
        if (r->legs[i].call)
            rpc_call_cancel(r->legs[i].call);
}

void relay_fan_out(struct rpc_req *req, const struct relay_target *targets, size_t n)
{
    ASSERT(n > 0);
    struct relay *r = xcalloc(1, sizeof *r);
    *r = (struct relay){.req = req, .open = n, .n_legs = n, .legs = xcalloc(n, sizeof *r->legs)};
    for (size_t i = 0; i < n; i++) {
        struct leg *leg = &r->legs[i];
        *leg = (struct leg){
            .owner = r, .wrap = targets[i].wrap ? json_deep_copy(targets[i].wrap) : NULL};
        leg->call =
            rpc_call(targets[i].to, targets[i].method, targets[i].params, 0, on_answer, leg);
    }
    rpc_req_watch(req, on_input, on_cancelled, r);
}

void relay_call(struct rpc_req *req, struct rpc_conn *to, const char *method, json_t *params,
    const json_t *wrap)
{
    struct relay_target one = {.to = to, .method = method, .params = params, .wrap = wrap};
    relay_fan_out(req, &one, 1);
}

void relay_call_fd(
    struct rpc_req *req, struct rpc_conn *to, const char *method, json_t *params, int fd)
{
    struct relay *r = xcalloc(1, sizeof *r);
    *r = (struct relay){.req = req, .open = 1, .n_legs = 1, .legs = xcalloc(1, sizeof *r->legs)};
    r->legs[0].owner = r;
    r->legs[0].call = rpc_call_fd(to, method, params, fd, 0, on_answer, &r->legs[0]);
    rpc_req_watch(req, on_input, on_cancelled, r);
}
