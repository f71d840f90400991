/* SPDX-License-Identifier: Apache-2.0 */
/* Before a revision is written its images and files must lie on this host and on one more, of
 * another failure domain where there is one: a host that dies in the next second takes nothing along
 * that nobody else has. Every other host that will need them is asked at once, and not waited for. */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "base/str/str.h"

#define ENSURE_TIMEOUT_MS 1800000u /* a slow line and a large image */
#define LOOK_MS 50u

struct secure {
    struct control *c;
    struct revision *revision;
    struct rpc_req *req;     /* hears of progress; the caller's */
    control_secured_fn done; /* NULL: called */
    void *ctx;
    bool own;                         /* this host has all of it */
    unsigned far, far_open, far_here; /* hosts of other regions that get all of it */
    unsigned near, near_open, near_here;
    size_t legs;     /* calls that have not been answered */
    char hosts[512]; /* who has it */
    struct err why;  /* of the last that failed */
    uint64_t patience_ms;
    uv_timer_t timer;
    bool closing;
};

struct secure_leg {
    struct secure *s;
    char host[64];
    bool full, far, own;
};

static void on_closed(uv_handle_t *h)
{
    struct secure *s = CONTAINER_OF(h, struct secure, timer);
    revision_free(s->revision);
    free(s);
}

static void maybe_free(struct secure *s)
{
    if (s->done || s->legs || s->closing)
        return;
    s->closing = true;
    uv_close((uv_handle_t *)&s->timer, on_closed);
}

static void finish(struct secure *s, const struct err *e)
{
    control_secured_fn done = s->done;
    if (!done)
        return;
    s->done = NULL;
    uv_timer_stop(&s->timer);
    done(s->ctx, e ? "" : s->hosts, e);
}

static void decide(struct secure *s)
{
    if (!s->own || !s->done)
        return;
    bool far_over = s->far_here || !s->far_open;
    if (s->far_here || (far_over && s->near_here) || !(s->far + s->near)) {
        finish(s, NULL);
    } else if (!s->far_open && !s->near_open) {
        struct err e;
        err_set(&e, s->why.code, "no second host could store the images: %s", s->why.message);
        err_fix(&e, "nothing was applied; `mcp status` shows the hosts");
        finish(s, &e);
    }
}

static void begin_others(struct secure *s);

static void count(struct secure *s, const struct secure_leg *leg, bool here)
{
    if (leg->own) {
        s->own = here;
        return;
    }
    if (!leg->full)
        return;
    (leg->far ? s->far_open-- : s->near_open--);
    if (here) {
        (leg->far ? s->far_here++ : s->near_here++);
        size_t len = strlen(s->hosts);
        snprintf(s->hosts + len, sizeof s->hosts - len, "%s%s", len ? ", " : "", leg->host);
    }
}

static void on_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct secure_leg *leg = ctx;
    struct secure *s = leg->s;
    if (more) {
        if (s->done && s->req && (leg->own || leg->full)) {
            _cleanup_free_ char *text =
                xasprintf("%s: %s", leg->host, json_opt_str(result, "text", ""));
            rpc_reply_more(s->req, json_pack("{s:s}", "text", text));
        }
        return;
    }
    s->legs--;
    count(s, leg, !error);
    if (error) {
        s->why = *error;
        err_wrap(&s->why, "%s", leg->host);
        log_warn("image", "not stored", "host=%s error=%s", leg->host, error->message);
    }
    if (leg->own && error)
        finish(s, &s->why);
    else if (leg->own && s->done)
        begin_others(s);
    free(leg);
    decide(s);
    maybe_free(s);
}

static void ask(struct secure *s, const struct model_host *h, struct rpc_conn *conn, bool full,
    bool own, bool far)
{
    struct secure_leg *leg = xcalloc(1, sizeof *leg);
    *leg = (struct secure_leg){.s = s, .full = full, .far = far, .own = own};
    str_copy(leg->host, sizeof leg->host, h->name);
    if (full && !own) {
        (far ? s->far++ : s->near++);
        (far ? s->far_open++ : s->near_open++);
    }
    s->legs++;
    rpc_call(conn, "blob.ensure", control_blobs_of(s->revision->model, s->revision->files, h, full),
        ENSURE_TIMEOUT_MS, on_answer, leg);
}

/* Members of the state store hold everything; where no other is linked, everybody shall. */
static void ask_others(struct secure *s)
{
    const struct model *m = s->revision->model;
    const struct model_host *own = model_find_host(m, s->c->host);
    bool members = false;
    for (size_t i = 0; i < m->n_members; i++)
        members |= strcmp(m->members[i]->name, s->c->host) != 0
                   && peers_is_up(s->c->peers, m->members[i]->name);
    for (size_t i = 0; i < m->n_hosts; i++) {
        const struct model_host *h = &m->hosts[i];
        struct rpc_conn *conn = h == own ? NULL : peers_conn(s->c->peers, h->name);
        if (conn)
            ask(s, h, conn, !members || control_is_member(m, h->name), false,
                !own || h->region != own->region);
    }
    decide(s);
}

static bool somebody_far(const struct secure *s)
{
    const struct model *m = s->revision->model;
    const struct model_host *own = model_find_host(m, s->c->host);
    for (size_t i = 0; i < m->n_hosts; i++)
        if (&m->hosts[i] != own && (!own || m->n_regions < 2 || m->hosts[i].region != own->region)
            && peers_is_up(s->c->peers, m->hosts[i].name))
            return true;
    return m->n_hosts < 2;
}

static void on_look(uv_timer_t *t)
{
    struct secure *s = CONTAINER_OF(t, struct secure, timer);
    begin_others(s);
}

/* Right after a start the links are not up yet: they are waited for a little. */
static void begin_others(struct secure *s)
{
    if (!s->done)
        return;
    if (somebody_far(s) || s->patience_ms < LOOK_MS) {
        ask_others(s);
        return;
    }
    s->patience_ms -= LOOK_MS;
    uv_timer_start(&s->timer, on_look, LOOK_MS, 0);
}

struct secure *control_secure(struct control *c, struct revision *revision, struct rpc_req *req,
    uint64_t patience_ms, control_secured_fn done, void *ctx)
{
    struct secure *s = xcalloc(1, sizeof *s);
    struct rpc_conn *agent = control_link(c, "agent");
    *s = (struct secure){.c = c,
        .revision = revision,
        .req = req,
        .done = done,
        .ctx = ctx,
        .patience_ms = patience_ms};
    uv_timer_init(&c->role->loop, &s->timer);
    const struct model_host *own = model_find_host(revision->model, c->host);
    if (own && agent) {
        ask(s, own, agent, true, true, false);
    } else if (own) {
        err_set(&s->why, ERR_UNAVAILABLE, "the agent of %s is restarting", c->host);
        finish(s, &s->why);
    } else { /* a host that leaves with this revision */
        s->own = true;
        begin_others(s);
    }
    bool over = !s->done;
    maybe_free(s);
    return over ? NULL : s;
}

void control_secure_cancel(struct secure *s)
{
    s->done = NULL;
    uv_timer_stop(&s->timer);
    maybe_free(s);
}
