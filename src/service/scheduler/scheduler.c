/* SPDX-License-Identifier: Apache-2.0 */
#include "service/scheduler/priv.h"

#include "base/clock/clock.h"

void scheduler_ref(struct scheduler *s)
{
    s->refs++;
}

void scheduler_unref(struct scheduler *s)
{
    if (--s->refs > 0)
        return;
    step_stop(s);
    json_decref(s->docs);
    json_decref(s->mods);
    free(s->root);
    free(s->host);
    free(s->cache_path);
    free(s);
}

void scheduler_trouble(struct scheduler *s, const struct err *e)
{
    const char *text = e ? e->message : "";
    if (s->closing || str_eq(s->trouble, text))
        return;
    str_copy(s->trouble, sizeof s->trouble, text);
    s->handler.trouble(s->ctx, e);
}

static void open_timer(struct scheduler *s, uv_timer_t *t)
{
    int r = uv_timer_init(s->loop, t);
    ASSERT(r == 0);
    t->data = s;
    scheduler_ref(s);
}

int scheduler_new(uv_loop_t *loop, const struct scheduler_config *c,
    const struct scheduler_handler *h, void *ctx, struct scheduler **ret, struct err *e)
{
    struct scheduler *s = xcalloc(1, sizeof *s);
    *s = (struct scheduler){.loop = loop,
        .kv = c->kv,
        .root = xasprintf("/mcp/%s/", c->platform),
        .host = xstrdup(c->host),
        .cache_path = xstrdup(c->cache_path),
        .ttl_ms = c->ttl_ms ? c->ttl_ms : TTL_MS,
        .handler = *h,
        .ctx = ctx,
        .refs = 1,
        .docs = json_object(),
        .mods = json_object(),
        .schedule = schedule_new()};
    open_timer(s, &s->follow_timer);
    open_timer(s, &s->save_timer);
    open_timer(s, &s->lead_timer);
    open_timer(s, &s->step_timer);
    *ret = s;
    follow_load_cache(s);
    if (json_object_size(s->docs))
        h->changed(ctx);
    follow_start(s);
    lead_start(s);
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    scheduler_unref(h->data);
}

void scheduler_free(struct scheduler *s)
{
    if (!s)
        return;
    follow_stop(s);
    s->closing = true;
    lead_stop(s);
    uv_close((uv_handle_t *)&s->follow_timer, on_closed);
    uv_close((uv_handle_t *)&s->save_timer, on_closed);
    uv_close((uv_handle_t *)&s->lead_timer, on_closed);
    uv_close((uv_handle_t *)&s->step_timer, on_closed);
    scheduler_unref(s);
}

void scheduler_poke(struct scheduler *s)
{
    if (s && s->state == LEAD_LEADING)
        step_soon(s, GATHER_MS);
}

bool scheduler_leads(const struct scheduler *s)
{
    return s->state == LEAD_LEADING;
}

bool scheduler_guard(const struct scheduler *s, char *ret_key, int64_t *ret_mod)
{
    if (s->state != LEAD_LEADING || clock_boot_ms() >= s->sure_until_ms)
        return false;
    *ret_mod = s->epoch_mod;
    snprintf(ret_key, KV_KEY_MAX + 1, "%sepoch/scheduler", s->root);
    return true;
}

const json_t *scheduler_docs(const struct scheduler *s)
{
    return s->docs;
}

const json_t *scheduler_placement(const struct scheduler *s, const char *region)
{
    _cleanup_free_ char *key = xasprintf("placement/%s", region);
    return json_object_get(s->docs, key);
}

bool scheduler_read(const struct scheduler *s)
{
    return s->follows[FOLLOW_PLACEMENT].read && s->follows[FOLLOW_DEPLOY].read;
}
