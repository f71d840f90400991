/* SPDX-License-Identifier: Apache-2.0 */
#include "service/enrol/door.h"

struct enrol_door {
    struct rpc_guests *guests;
    enrol_call_fn fn;
    void *ctx;
};

static void on_call(
    void *ctx, struct rpc_guest *g, struct rpc_req *req, const char *method, json_t *params)
{
    struct enrol_door *d = ctx;
    unsigned *calls = rpc_guest_data(g);
    struct err e;
    if (++*calls > ENROL_DOOR_CALLS_MAX) {
        err_set(&e, ERR_LIMIT, "no more calls on this connection");
        rpc_reply_error(req, &e);
        return;
    }
    d->fn(d->ctx, rpc_guest_from(g), req, method, params);
}

int enrol_door_new(uv_loop_t *loop, const struct enrol_door_config *c, enrol_call_fn fn, void *ctx,
    struct enrol_door **ret, struct err *e)
{
    struct enrol_door *d = xcalloc(1, sizeof *d);
    *d = (struct enrol_door){.fn = fn, .ctx = ctx};
    const struct rpc_guests_config config = {.name = c->name,
        .cert = c->cert,
        .key = c->key,
        .listen_fds = c->listen_fds,
        .n_listen = c->n_listen,
        .limits = {.guests = ENROL_DOOR_CONNS_MAX,
            .strangers = ENROL_DOOR_CONNS_MAX,
            .per_address = ENROL_DOOR_PER_ADDRESS_MAX,
            .rate = ENROL_DOOR_RATE,
            .burst = ENROL_DOOR_BURST,
            .frame = ENROL_DOOR_FRAME_MAX,
            .life_ms = ENROL_DOOR_LIFE_MS},
        .data_size = sizeof(unsigned),
        .call = on_call,
        .ctx = d};
    if (rpc_guests_new(loop, &config, &d->guests, e) < 0) {
        free(d);
        return err_wrap(e, "enrolment");
    }
    *ret = d;
    return 0;
}

void enrol_door_free(struct enrol_door *d)
{
    if (!d)
        return;
    rpc_guests_free(d->guests);
    free(d);
}
