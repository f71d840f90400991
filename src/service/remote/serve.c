/* SPDX-License-Identifier: Apache-2.0 */
#include "service/remote/remote.h"

#include "base/rpc/guests.h"
#include "base/str/str.h"

struct session {
    bool is_in;
    unsigned tries;
    struct remote_who who;
};

struct remote {
    struct rpc_guests *guests;
    struct remote_config config;
};

static void log_in(
    struct remote *r, struct rpc_guest *g, struct rpc_req *req, const json_t *params)
{
    struct err e;
    json_t *answer = NULL;
    struct session *s = rpc_guest_data(g);
    str_copy(s->who.from, sizeof s->who.from, rpc_guest_from(g));
    if (r->config.login(
            r->config.ctx, json_opt_str(params, "token", ""), &s->who, &answer, &e) >= 0) {
        s->is_in = true;
        rpc_guest_admit(g);
        rpc_reply(req, answer);
        return;
    }
    rpc_reply_error(req, &e);
    if (++s->tries >= REMOTE_LOGIN_TRIES)
        rpc_guest_close(g);
}

static void on_call(
    void *ctx, struct rpc_guest *g, struct rpc_req *req, const char *method, json_t *params)
{
    struct remote *r = ctx;
    struct session *s = rpc_guest_data(g);
    struct err e;
    if (s->is_in) {
        r->config.call(r->config.ctx, &s->who, req, method, params);
    } else if (str_eq(method, "login")) {
        log_in(r, g, req, params);
    } else {
        err_set(&e, ERR_DENIED, "log in first");
        err_fix(&e, "`mcp login ADDRESS`");
        rpc_reply_error(req, &e);
    }
}

int remote_new(uv_loop_t *loop, const struct remote_config *c, struct remote **ret, struct err *e)
{
    struct remote *r = xcalloc(1, sizeof *r);
    r->config = *c;
    const struct rpc_guests_config config = {.name = c->name,
        .cert = c->cert,
        .key = c->key,
        .listen_fds = c->listen_fds,
        .n_listen = c->n_listen,
        .limits = {.guests = REMOTE_SESSIONS_MAX,
            .strangers = REMOTE_STRANGERS_MAX,
            .per_address = REMOTE_STRANGERS_MAX,
            .rate = REMOTE_RATE,
            .burst = REMOTE_BURST,
            .frame = REMOTE_STRANGER_FRAME,
            .life_ms = REMOTE_LOGIN_MS},
        .data_size = sizeof(struct session),
        .call = on_call,
        .ctx = r};
    if (rpc_guests_new(loop, &config, &r->guests, e) < 0) {
        free(r);
        return err_wrap(e, "commands from afar");
    }
    *ret = r;
    return 0;
}

void remote_free(struct remote *r)
{
    if (!r)
        return;
    rpc_guests_free(r->guests);
    free(r);
}
