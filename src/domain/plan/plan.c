/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/plan/priv.h"

#include "base/units/units.h"

void plan_merge(struct differ *d, const void *old, size_t n_old, const void *new, size_t n_new,
    size_t size, plan_compare_fn compare, plan_each_fn each)
{
    const char *o = old, *n = new;
    size_t i = 0, k = 0;
    while (i < n_old || k < n_new) {
        int r = i == n_old ? 1 : k == n_new ? -1 : compare(o + i * size, n + k * size);
        each(d, r <= 0 ? o + i * size : NULL, r >= 0 ? n + k * size : NULL);
        i += r <= 0;
        k += r >= 0;
    }
}

int plan_by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void plan_add(struct differ *d, enum plan_verb verb, const char *group, const char *impact,
    const char *fmt, ...)
{
    struct plan *p = d->plan;
    struct plan_action *a = GROW(p->actions, p->n, p->cap);
    _cleanup_str_ struct str subject = STR_INIT;
    va_list ap;
    va_start(ap, fmt);
    str_addv(&subject, fmt, ap);
    va_end(ap);
    *a = (struct plan_action){verb, group, arena_strndup(p->arena, subject.buf, subject.len),
        arena_strdup(p->arena, str_cstr(&d->reason)), arena_strdup(p->arena, impact)};
    str_clear(&d->reason);
}

void plan_note(struct differ *d, const char *fmt, ...)
{
    if (d->reason.len)
        str_add(&d->reason, ", ");
    va_list ap;
    va_start(ap, fmt);
    str_addv(&d->reason, fmt, ap);
    va_end(ap);
}

bool plan_changed(struct differ *d, const char *what, const char *old, const char *new)
{
    if (str_eq(old, new))
        return false;
    plan_note(d, "%s: %s → %s", what, old ? old : "none", new ? new : "none");
    return true;
}

bool plan_changed_ms(struct differ *d, const char *what, uint64_t old, uint64_t new)
{
    char from[UNITS_TEXT_SIZE], to[UNITS_TEXT_SIZE];
    units_format_duration(old, from);
    units_format_duration(new, to);
    return plan_changed(d, what, from, to);
}

bool plan_changed_count(struct differ *d, const char *what, uint64_t old, uint64_t new)
{
    char from[24], to[24];
    snprintf(from, sizeof from, "%llu", (unsigned long long)old);
    snprintf(to, sizeof to, "%llu", (unsigned long long)new);
    return plan_changed(d, what, from, to);
}

const char *plan_addresses(struct arena *a, const struct model_addrs *list)
{
    const char *text = NULL;
    char one[IP_TEXT_SIZE];
    for (size_t i = 0; i < list->n; i++) {
        ip_format(&list->v[i], one);
        text = text ? arena_printf(a, "%s %s", text, one) : arena_strdup(a, one);
    }
    return text;
}

const char *plan_regions(struct arena *a, const struct model_region_list *list)
{
    const char *text = NULL;
    for (size_t i = 0; i < list->n; i++)
        text = text ? arena_printf(a, "%s, %s", text, list->v[i]->name) : list->v[i]->name;
    return text;
}

struct plan *plan_make(const struct plan_side *from, const struct plan_side *to)
{
    static const struct model nothing;
    struct plan *p = xcalloc(1, sizeof *p);
    p->arena = arena_new(64 * 1024);
    struct differ d = {
        .plan = p,
        .scratch = arena_new(64 * 1024),
        .old = from->model ? from->model : &nothing,
        .new = to->model,
        .old_files = from->files,
        .new_files = to->files,
        .sources = from->sources,
    };
    plan_diff_hosts(&d, false);
    plan_diff_data(&d, false);
    plan_diff_modules(&d, false);
    plan_diff_routes(&d, false);
    plan_diff_calls(&d, false);
    plan_diff_functions(&d, false);
    plan_diff_routing(&d);
    plan_diff_alarms(&d);
    plan_diff_lab(&d);
    plan_diff_functions(&d, true);
    plan_diff_calls(&d, true);
    plan_diff_routes(&d, true);
    plan_diff_modules(&d, true);
    plan_diff_data(&d, true);
    plan_diff_hosts(&d, true);
    arena_free(d.scratch);
    str_done(&d.reason);
    return p;
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    arena_free(p->arena);
    free(p->actions);
    free(p);
}

const char *plan_verb_name(enum plan_verb verb)
{
    static const char *const names[] = {[PLAN_CREATE] = "create",
        [PLAN_UPDATE] = "update",
        [PLAN_REPLACE] = "replace",
        [PLAN_REMOVE] = "remove",
        [PLAN_REFUSE] = "refuse"};
    return names[verb];
}

int plan_refusal(const struct plan *p, struct err *e)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct plan_action *a = &p->actions[i];
        if (a->verb != PLAN_REFUSE)
            continue;
        err_set(e, ERR_REFUSED, "%s: %s", a->subject, a->reason);
        err_fix(e, "%s", a->impact);
        return ERR_REFUSED;
    }
    return 0;
}

json_t *plan_json(const struct plan *p, const char *platform, uint64_t from, uint64_t to)
{
    json_t *actions = json_array();
    for (size_t i = 0; i < p->n; i++) {
        const struct plan_action *a = &p->actions[i];
        json_array_append_new(
            actions, json_pack("{s:s,s:s,s:s,s:s}", "verb", plan_verb_name(a->verb), "subject",
                         a->subject, "reason", a->reason, "impact", a->impact));
    }
    return json_pack("{s:s,s:o,s:I,s:o}", "platform", platform, "from",
        from ? json_integer((json_int_t)from) : json_null(), "to", (json_int_t)to, "actions",
        actions);
}
