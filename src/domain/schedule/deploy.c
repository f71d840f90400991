/* SPDX-License-Identifier: Apache-2.0 */
/* deploy/<module>: document to struct and back. Members that this version does not know stay. */
#include "domain/schedule/priv.h"

#define FORMAT 1

static const char *const state_names[] = {[DEPLOY_RUNNING] = "running",
    [DEPLOY_DONE] = "done",
    [DEPLOY_ROLLING_BACK] = "rolling-back",
    [DEPLOY_ROLLED_BACK] = "rolled-back",
    [DEPLOY_FAILED] = "failed"};
static const char *const part_names[] = {[PART_WAITING] = "waiting",
    [PART_CANARY] = "canary",
    [PART_RUNNING] = "running",
    [PART_DONE] = "done"};

bool deploy_live(const struct deploy *d)
{
    return d->state == DEPLOY_RUNNING || d->state == DEPLOY_ROLLING_BACK;
}

void deploy_clear_parts(struct deploy *d)
{
    free(d->parts);
    d->parts = NULL;
    d->n_parts = d->cap_parts = 0;
}

void deploy_done(struct deploy *d)
{
    json_decref(d->json);
    json_decref(d->specs);
    json_decref(d->refused);
    deploy_clear_parts(d);
}

struct deploy *deploy_find(struct schedule *s, const char *module)
{
    for (size_t i = 0; i < s->n_deploys; i++)
        if (!strcmp(s->deploys[i].module, module))
            return &s->deploys[i];
    return NULL;
}

struct part *deploy_find_part(struct deploy *d, const char *region)
{
    for (size_t i = 0; i < d->n_parts; i++)
        if (!strcmp(d->parts[i].region, region))
            return &d->parts[i];
    return NULL;
}

struct part *deploy_part(struct deploy *d, const char *region)
{
    struct part *p = deploy_find_part(d, region);
    if (p)
        return p;
    p = GROW(d->parts, d->n_parts, d->cap_parts);
    str_copy(p->region, sizeof p->region, region);
    return p;
}

static unsigned word(const char *text, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(names[i], text))
            return (unsigned)i;
    return (unsigned)n;
}

static int parse_state(struct deploy *d, const json_t *doc, struct err *e)
{
    char text[32];
    int r = doc_text(doc, "state", text, sizeof text, e);
    if (r < 0)
        return r;
    unsigned state = word(text, state_names, ARRAY_SIZE(state_names));
    if (state == ARRAY_SIZE(state_names))
        return err_set(
            e, ERR_INVALID, "\"state\" is \"%s\", which this version does not know", text);
    d->state = (enum deploy_state)state;
    const char *strategy = json_opt_str(doc, "strategy", "rolling");
    for (unsigned i = ROLLOUT_ROLLING; i <= ROLLOUT_REPLACE; i++)
        if (!strcmp(rollout_strategy_name(i), strategy))
            d->strategy = (enum rollout_strategy)i;
    return 0;
}

static void parse_parts(struct deploy *d, const json_t *doc)
{
    const char *region;
    json_t *j;
    json_object_foreach (json_object_get(doc, "regions"), region, j) {
        struct part *p = deploy_part(d, region);
        unsigned state = word(json_opt_str(j, "state", ""), part_names, ARRAY_SIZE(part_names));
        p->state = state < ARRAY_SIZE(part_names) ? (enum part_state)state : PART_WAITING;
        p->ready = (unsigned)json_opt_int(j, "ready", 0);
        p->wanted = (unsigned)json_opt_int(j, "wanted", 0);
    }
}

static uint64_t print_of(const struct deploy *d)
{
    const int64_t numbers[] = {d->id, d->revision, d->strategy, d->state, d->started_ms,
        d->deadline_ms, d->ended_ms, d->progress, d->retry, (int64_t)json_array_size(d->refused)};
    const char *const texts[] = {d->from, d->to, d->by, d->step, d->reason};
    uint64_t h = doc_print(0, numbers, sizeof numbers);
    for (size_t t = 0; t < ARRAY_SIZE(texts); t++)
        h = doc_print_text(h, texts[t]);
    for (size_t i = 0; i < d->n_parts; i++) {
        const int64_t part[] = {d->parts[i].state, d->parts[i].ready, d->parts[i].wanted};
        h = doc_print_text(doc_print(h, part, sizeof part), d->parts[i].region);
    }
    return h;
}

int deploy_parse(struct deploy *d, const json_t *doc, struct err *e)
{
    json_t *specs;
    int r;
    if ((r = doc_check_format(doc, e)) < 0
        || (r = doc_text(doc, "module", d->module, sizeof d->module, e)) < 0
        || (r = json_get_int(doc, "id", 1, INT64_MAX, &d->id, e)) < 0
        || (r = doc_text(doc, "to", d->to, sizeof d->to, e)) < 0
        || (r = json_get_obj(doc, "specs", &specs, e)) < 0 || (r = parse_state(d, doc, e)) < 0)
        return r;
    str_copy(d->from, sizeof d->from, json_opt_str(doc, "from", ""));
    str_copy(d->by, sizeof d->by, json_opt_str(doc, "by", ""));
    str_copy(d->step, sizeof d->step, json_opt_str(doc, "step", ""));
    str_copy(d->reason, sizeof d->reason, json_opt_str(doc, "reason", ""));
    d->revision = json_opt_int(doc, "revision", 0);
    d->started_ms = json_opt_int(doc, "started_ms", 0);
    d->deadline_ms = json_opt_int(doc, "deadline_ms", 0);
    d->ended_ms = json_opt_int(doc, "ended_ms", 0);
    d->progress = (unsigned)json_opt_int(doc, "progress", 0);
    d->retry = json_opt_bool(doc, "retry", false);
    d->specs = json_copy(specs);
    json_t *refused = json_object_get(doc, "refused");
    d->refused = json_is_array(refused) ? json_copy(refused) : json_array();
    d->json = json_incref((json_t *)doc);
    parse_parts(d, doc);
    d->print = print_of(d);
    return 0;
}

static json_t *format_parts(const struct deploy *d)
{
    json_t *out = json_object();
    for (size_t i = 0; i < d->n_parts; i++) {
        const struct part *p = &d->parts[i];
        json_object_set_new(out, p->region,
            json_pack("{s:s,s:i,s:i}", "state", part_names[p->state], "ready", (int)p->ready,
                "wanted", (int)p->wanted));
    }
    return out;
}

json_t *deploy_write(struct deploy *d)
{
    if (d->json && d->print == print_of(d))
        return NULL;
    json_t *doc = d->json ? json_copy(d->json) : json_object();
    json_t *known = json_pack("{s:i,s:s,s:I,s:o,s:s,s:I,s:s,s:s,s:s,s:I,s:I,s:I,s:i,s:s,s:s}",
        "format", FORMAT, "module", d->module, "id", (json_int_t)d->id, "from",
        *d->from ? json_string(d->from) : json_null(), "to", d->to, "revision",
        (json_int_t)d->revision, "by", d->by, "strategy", rollout_strategy_name(d->strategy),
        "state", state_names[d->state], "started_ms", (json_int_t)d->started_ms, "deadline_ms",
        (json_int_t)d->deadline_ms, "ended_ms", (json_int_t)d->ended_ms, "progress",
        (int)d->progress, "step", d->step, "reason", d->reason);
    ASSERT(known);
    json_object_update(doc, known);
    json_decref(known);
    json_object_set_new(doc, "regions", format_parts(d));
    /* Copies: what was written must not change with what is in memory. */
    json_object_set_new(doc, "specs", json_copy(d->specs));
    json_object_set_new(doc, "refused", json_copy(d->refused));
    if (!d->retry)
        json_object_del(doc, "retry");
    d->print = print_of(d);
    json_decref(d->json);
    d->json = json_incref(doc);
    return doc;
}

/* Running ones first, then the newest. */
static int compare_status(const void *x, const void *y)
{
    const json_t *a = *(json_t *const *)x, *b = *(json_t *const *)y;
    const char *sa = json_opt_str(a, "state", ""), *sb = json_opt_str(b, "state", "");
    bool la = !strcmp(sa, "running") || !strcmp(sa, "rolling-back");
    bool lb = !strcmp(sb, "running") || !strcmp(sb, "rolling-back");
    if (la != lb)
        return la ? -1 : 1;
    int64_t ta = json_opt_int(a, "started_ms", 0), tb = json_opt_int(b, "started_ms", 0);
    if (ta != tb)
        return ta > tb ? -1 : 1;
    return strcmp(json_opt_str(a, "module", ""), json_opt_str(b, "module", ""));
}

json_t *schedule_status(const json_t *docs)
{
    json_t **v = xcalloc(json_object_size(docs) + 1, sizeof *v);
    size_t n = 0;
    const char *key;
    json_t *doc;
    json_object_foreach ((json_t *)docs, key, doc)
        if (str_starts(key, "deploy/") && json_is_object(doc))
            v[n++] = doc;
    if (n > 1)
        qsort(v, n, sizeof(json_t *), compare_status);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *copy = json_copy(v[i]);
        json_object_del(copy, "specs");
        json_array_append_new(list, copy);
    }
    free(v);
    return json_pack("{s:o}", "deployments", list);
}
