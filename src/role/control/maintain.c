/* SPDX-License-Identifier: Apache-2.0 */
/* Housekeeping of the state store: history that nobody reads any more is compacted before the store
 * reaches its quota, and a store that did reach it is made to accept writes again. Every member's
 * control looks; doing it twice harms nothing. */
#include "role/control/priv.h"

#include "base/log/log.h"

#define LOOK_MS 60000u
#define KEEP_REVISIONS 1000 /* of the store: a watcher that fell behind finds its place */
#define SIZE_LIMIT (32ll * 1024 * 1024) /* half of the members' quota */

static void on_maintained(void *ctx, const struct kv_status *s, const struct err *e)
{
    struct control *c = ctx;
    if (e) {
        log_warn("state", "the state store could not be compacted", "error=%s", e->message);
        return;
    }
    char message[96];
    snprintf(message, sizeof message, "the state store was compacted to %lld KiB",
        (long long)(s->size_bytes / 1024));
    log_info("state", message, "alarm=%d", s->quota_alarm);
    control_note(c, "state", c->host, message, "");
}

static void on_status(void *ctx, const struct kv_status *s, const struct err *e)
{
    struct control *c = ctx;
    if (e || (!s->quota_alarm && s->size_bytes < SIZE_LIMIT))
        return;
    if (s->quota_alarm)
        control_note(c, "alarm", c->host, "the state store is full and refuses writes",
            "it is compacted now");
    int64_t keep = s->revision > KEEP_REVISIONS ? s->revision - KEEP_REVISIONS : 1;
    kv_maintain(c->kv, s->quota_alarm ? s->revision : keep, on_maintained, c);
}

static void on_look(uv_timer_t *t)
{
    struct control *c = CONTAINER_OF(t, struct control, maintain_timer);
    kv_status(c->kv, on_status, c);
}

void control_maintain_start(struct control *c)
{
    uv_timer_init(&c->role->loop, &c->maintain_timer);
    uv_timer_start(&c->maintain_timer, on_look, LOOK_MS, LOOK_MS);
}

void control_maintain_stop(struct control *c)
{
    uv_close((uv_handle_t *)&c->maintain_timer, NULL);
}
