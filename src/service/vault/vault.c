/* SPDX-License-Identifier: Apache-2.0 */
#include "service/vault/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

#define RETRY_MIN_MS 1000u
#define RETRY_MAX_MS 30000u
#define LOOK_MS 1000u
#define STEADY_MS 60000u /* it has followed so long: the next failure is a first one */

struct job {
    struct vault *v;
    struct order order;
};

static int run(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct job *j = ctx;
    return vault_run(j->v, &j->order, stop, e);
}

static bool is_following(struct vault *v, uint64_t *ret_since)
{
    pthread_mutex_lock(&v->lock);
    bool yes = v->told.following;
    *ret_since = v->told.since_ms;
    pthread_mutex_unlock(&v->lock);
    return yes;
}

static void say(struct vault *v)
{
    if (!v->closing && v->config.changed)
        v->config.changed(v->config.ctx);
}

static void on_done(void *ctx, int result, unsigned number, const struct err *e)
{
    struct job *j = ctx;
    struct vault *v = j->v;
    uint64_t since, now = clock_boot_ms();
    if (is_following(v, &since) && now - since > STEADY_MS)
        v->tries = 0;
    pthread_mutex_lock(&v->lock);
    v->told.following = false;
    pthread_mutex_unlock(&v->lock);
    v->job = NULL;
    v->was_following = false;
    if (e && e->code != ERR_CANCELED)
        snprintf(v->why, sizeof v->why, "%.*s", (int)str_utf8_cut(e->message, 255), e->message);
    v->retry_ms = now + (e && e->code == ERR_CANCELED ? 0 : MIN(RETRY_MAX_MS, RETRY_MIN_MS << MIN(v->tries, 10u)));
    v->tries++;
    free(j);
    say(v);
}

static void begin(struct vault *v)
{
    struct job *j = xcalloc(1, sizeof *j);
    *j = (struct job){.v = v, .order = v->order};
    v->job = sql_worker_run(v->worker, 0, run, on_done, j);
}

static void on_timer(uv_timer_t *t)
{
    struct vault *v = t->data;
    uint64_t since;
    if (v->closing)
        return;
    if (v->job && !v->was_following && is_following(v, &since)) {
        v->was_following = true;
        v->why[0] = '\0';
        say(v);
    }
    if (!v->job && v->order.source && clock_boot_ms() >= v->retry_ms)
        begin(v);
}

void vault_follow(struct vault *v, const struct vault_source *s, const struct vault_limits *l)
{
    struct order o = v->order;
    o.limits = *l;
    o.source = s ? s->id : 0;
    o.port = s ? s->port : 0;
    str_copy(o.address, sizeof o.address, s ? s->address : "");
    if (!memcmp(&o, &v->order, sizeof o))
        return;
    v->order = o;
    v->tries = 0;
    v->retry_ms = 0;
    if (v->job)
        sql_job_cancel(v->job);
}

json_t *vault_json(struct vault *v)
{
    pthread_mutex_lock(&v->lock);
    const struct told t = v->told;
    pthread_mutex_unlock(&v->lock);
    const char *state = t.following    ? "following"
                        : v->job       ? "connecting"
                        : v->order.source ? "waiting"
                                       : "idle";
    return json_pack("{s:I,s:s,s:s,s:I,s:s,s:s,s:I,s:I,s:I,s:I,s:b}", "source",
        (json_int_t)v->order.source, "state", state, "why", t.following ? "" : v->why, "since_ms",
        (json_int_t)t.since_ms, "log", t.log, "gtid", t.gtid, "last_s", (json_int_t)t.last_s,
        "files", (json_int_t)t.files, "bytes", (json_int_t)(t.bytes + t.open_bytes), "stored",
        (json_int_t)(t.stored + t.open_bytes), "short", (int)t.is_short);
}

/* ---- life ---- */

static void unref(struct vault *v)
{
    if (--v->handles)
        return;
    pthread_mutex_destroy(&v->lock);
    if (v->closed)
        v->closed(v->closed_ctx);
    free(v);
}

int vault_new(const struct vault_config *c, struct vault **ret, struct err *e)
{
    struct vault *v = xcalloc(1, sizeof *v);
    v->config = *c;
    v->order.server_id = c->server_id;
    if (!str_copy(v->order.dir, sizeof v->order.dir, c->dir)
        || !str_copy(v->order.tls, sizeof v->order.tls, c->tls ? c->tls : "")
        || !str_copy(v->order.user, sizeof v->order.user, c->user)) {
        free(v);
        return err_set(e, ERR_LIMIT, "%s: too long", c->dir);
    }
    if (sql_worker_new(c->loop, NULL, &v->worker, e) < 0) {
        free(v);
        return e->code;
    }
    pthread_mutex_init(&v->lock, NULL);
    v->handles = 2;
    uv_timer_init(c->loop, &v->timer);
    v->timer.data = v;
    uv_timer_start(&v->timer, on_timer, 0, LOOK_MS);
    *ret = v;
    return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
    unref(h->data);
}

static void on_worker_closed(void *ctx)
{
    unref(ctx);
}

void vault_close(struct vault *v, void (*closed)(void *ctx), void *ctx)
{
    v->closing = true;
    v->closed = closed;
    v->closed_ctx = ctx;
    sql_worker_close(v->worker, on_worker_closed, v);
    uv_close((uv_handle_t *)&v->timer, on_timer_closed);
}
