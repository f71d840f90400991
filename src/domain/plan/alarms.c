/* SPDX-License-Identifier: Apache-2.0 */
/* Alarms, and whom they tell. Nothing restarts for them. */
#include "domain/plan/priv.h"

#include "domain/alarm/alarm.h"

static const char *names_text(struct differ *d, const struct model_alarm *a)
{
    const char *text = NULL;
    for (size_t i = 0; i < a->n_notify; i++)
        text = text ? arena_printf(d->scratch, "%s %s", text, a->notify[i]) : a->notify[i];
    return text;
}

static void each_alarm(struct differ *d, const void *o, const void *n)
{
    const struct model_alarm *old = o, *new = n;
    if (!new) {
        plan_add(d, PLAN_REMOVE, "alarms", "no restart", "alarm %s", old->name);
        return;
    }
    if (!old) {
        plan_note(d, "new: %s", new->when);
        plan_add(d, PLAN_CREATE, "alarms", "no restart", "alarm %s", new->name);
        return;
    }
    bool changed = plan_changed(d, "when", old->when, new->when);
    changed |= plan_changed(d, "clear", old->clear, new->clear);
    changed |= plan_changed_ms(d, "for", old->for_ms, new->for_ms);
    changed |= plan_changed_ms(d, "clear_for", old->clear_for_ms, new->clear_for_ms);
    changed |= plan_changed_ms(d, "repeat", old->repeat_ms, new->repeat_ms);
    changed |= plan_changed(d, "severity", alarm_severity_name((enum alarm_severity)old->severity),
        alarm_severity_name((enum alarm_severity)new->severity));
    changed |= plan_changed(d, "notify", names_text(d, old), names_text(d, new));
    changed |= plan_changed(d, "run", old->run, new->run);
    if (changed)
        plan_add(d, PLAN_UPDATE, "alarms", "no restart", "alarm %s", new->name);
}

static void each_notify(struct differ *d, const void *o, const void *n)
{
    const struct model_notify *old = o, *new = n;
    if (!new) {
        plan_add(d, PLAN_REMOVE, "alarms", "no restart", "notify %s", old->name);
        return;
    }
    if (!old) {
        plan_note(d, "new: slack, by the secret %s", new->url_secret);
        plan_add(d, PLAN_CREATE, "alarms", "no restart", "notify %s", new->name);
        return;
    }
    bool changed = plan_changed(d, "url_secret", old->url_secret, new->url_secret);
    changed |= plan_changed(d, "channel", old->channel, new->channel);
    changed |= plan_changed(d, "username", old->username, new->username);
    changed |= plan_changed(d, "severity", alarm_severity_name((enum alarm_severity)old->severity),
        alarm_severity_name((enum alarm_severity)new->severity));
    changed |= plan_changed_count(d, "builtin", old->builtin, new->builtin);
    if (changed)
        plan_add(d, PLAN_UPDATE, "alarms", "no restart", "notify %s", new->name);
}

void plan_diff_alarms(struct differ *d)
{
    const struct model *o = d->old, *n = d->new;
    plan_merge(d, o->notify, o->n_notify, n->notify, n->n_notify, sizeof *n->notify, plan_by_name,
        each_notify);
    plan_merge(d, o->alarms, o->n_alarms, n->alarms, n->n_alarms, sizeof *n->alarms, plan_by_name,
        each_alarm);
}
