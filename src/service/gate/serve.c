/* SPDX-License-Identifier: Apache-2.0 */
/* A gate alone: one listener, one server behind it. */
#include "service/gate/priv.h"

#include "base/clock/clock.h"

#include <errno.h>

#define DIAL_MS 3500u /* as long as a full queue takes to let one in */
#define AGAIN_MS 10u

struct gate_serve {
    struct gate_serve_config config;
    struct gate *gate;
    struct splice_server *splice;
};

struct flow {
    struct gate_session session;
    unsigned dials;
    bool waits; /* for the next */
};

static struct gate_session *session_of(struct splice_flow *f)
{
    return &((struct flow *)splice_app_of(f))->session;
}

static void turn(void *ctx, unsigned thread)
{
    struct gate_serve *s = ctx;
    gate_turn(s->gate, thread, clock_boot_ms());
}

static uint64_t due_ms(void *ctx, unsigned thread)
{
    struct gate_serve *s = ctx;
    return gate_due_ms(s->gate, thread);
}

static enum splice_verdict accepted(
    void *ctx, struct splice_flow *f, struct splice_tag tag, const struct ip_addr *from, SSL **ssl)
{
    struct gate_serve *s = ctx;
    char caller[IP_TEXT_SIZE] = "local";
    if (from->family)
        ip_format(from, caller);
    return gate_enter(s->gate, session_of(f), f, caller);
}

static enum splice_verdict waited(void *ctx, struct splice_flow *f)
{
    return gate_waited(session_of(f));
}

static enum splice_verdict dial(void *ctx, struct splice_flow *f, struct splice_dial *d)
{
    struct gate_serve *s = ctx;
    struct flow *flow = splice_app_of(f);
    const struct gate_place *p = &s->config.upstream;
    d->path = *p->path ? p->path : NULL;
    d->address = p->address;
    d->port = p->port;
    d->timeout_ms = DIAL_MS;
    if (!flow->dials || flow->waits) {
        flow->dials++;
        flow->waits = false;
        return SPLICE_DIAL;
    }
    /* The server's queue is full. Over TCP the kernel would try again by itself. */
    if (splice_failure_of(f)->error != EAGAIN || flow->dials * AGAIN_MS > DIAL_MS)
        return SPLICE_REFUSE;
    flow->waits = true;
    splice_wait_for(f, AGAIN_MS);
    return SPLICE_WAIT;
}

static void joined(void *ctx, struct splice_flow *f)
{
    gate_joined(session_of(f));
}

static void failed(void *ctx, struct splice_flow *f)
{
    gate_unreachable(session_of(f));
}

static void closed(void *ctx, struct splice_flow *f)
{
    gate_leave(session_of(f));
}

static const struct splice_app app = {.turn = turn,
    .due_ms = due_ms,
    .accepted = accepted,
    .waited = waited,
    .dial = dial,
    .joined = joined,
    .failed = failed,
    .closed = closed,
    .flow_size = sizeof(struct flow)};

int gate_serve_new(const struct gate_serve_config *c, struct gate_serve **ret, struct err *e)
{
    struct gate_serve *s = xcalloc(1, sizeof *s);
    s->config = *c;
    /* The number of threads is known when they run, and then they want the gate. */
    s->gate = gate_new(
        "alone", "rw", &c->limits, metrics_process(), c->threads ? c->threads : SPLICE_THREADS_MAX);
    struct splice_config config = {.threads = c->threads, .app = &app, .ctx = s};
    int r = splice_start(&config, &s->splice, e);
    if (r < 0) {
        close(c->listener);
        gate_serve_free(s);
        return r;
    }
    splice_listen(s->splice, c->listener, (struct splice_tag){0});
    *ret = s;
    return 0;
}

struct gate *gate_serve_gate(struct gate_serve *s)
{
    return s->gate;
}

void gate_serve_set_policy(struct gate_serve *s, const struct gate_policy *p)
{
    gate_set_policy(s->gate, p);
    splice_wake(s->splice);
}

void gate_serve_free(struct gate_serve *s)
{
    splice_free(s->splice);
    gate_free(s->gate);
    free(s);
}
