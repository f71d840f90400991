/* SPDX-License-Identifier: Apache-2.0 */
/* Once a second whoever leads holds every rule against what is known and writes what became of it
 * into alarm/<name> (domain/alarm); then what is due is done: a webhook is told, a function is
 * started. One thing of an alarm at a time. */
#include "role/control/alarms.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/alarm/rules.h"
#include "domain/alarm/values.h"
#include "service/notify/notify.h"
#include "service/secrets/secrets.h"

#define LOOK_MS 1000u
#define REASON_MAX 300u /* of a person */

struct watched { /* one alarm, while this control lives */
    struct control *c;
    char name[ALARM_NAME_MAX + 1];
    struct alarm_run run, next_run; /* the second: when the write has succeeded */
    struct alarm_look look;
    char why[ALARM_WHY_MAX + 1];
    enum alarm_change change;
    bool editing;
    bool sending; /* an entry of `due` is under way */
    json_t *done; /* that was done, and could not be written down: not to be done again */
    struct watched *next;
};

struct control_alarms {
    struct control *c;
    uv_timer_t timer;
    struct documents *docs;
    struct alarm_rules rules;
    int64_t number; /* of the revision that the rules are of */
    const struct model *model;
    struct watched *watched;
    struct notify *notify;
    uint64_t told, given_up; /* since the start */
};

static void fail(struct rpc_req *req, int code, const char *message, const char *fix)
{
    struct err e;
    err_set(&e, code, "%s", message);
    err_fix(&e, "%s", fix);
    rpc_reply_error(req, &e);
}

static struct watched *watched_of(struct control_alarms *a, const char *name)
{
    struct watched *w = a->watched;
    while (w && strcmp(w->name, name) != 0)
        w = w->next;
    if (w)
        return w;
    w = xcalloc(1, sizeof *w);
    *w = (struct watched){.c = a->c, .next = a->watched};
    str_copy(w->name, sizeof w->name, name);
    return a->watched = w;
}

/* Rules borrow from the model. */
static void take_rules(struct control_alarms *a)
{
    if (a->model == a->c->model && a->number == a->c->number)
        return;
    alarm_rules_done(&a->rules);
    a->model = a->c->model;
    a->number = a->c->number;
    if (a->model)
        alarm_rules_init(&a->rules, a->model);
}

static void note(struct control *c, const char *alarm, const char *what, const char *why)
{
    log_info("alarm", what, "alarm=%s why=\"%s\"", alarm, why);
    control_note(c, "alarm", alarm, what, why);
}

/* Writes in the name of who leads; `done` may come at once. */
static void edit(struct control *c, const char *name, documents_edit_fn fn, documents_done_fn done,
    void *ctx)
{
    char key[KV_KEY_MAX + 1];
    int64_t mod;
    struct err e;
    if (scheduler_guard(c->scheduler, key, &mod)) {
        documents_edit_under(c->alarms->docs, name, key, mod, fn, done, ctx);
        return;
    }
    err_set(&e, ERR_UNAVAILABLE, "this host does not lead (any more)");
    done(ctx, NULL, &e);
}

static void watched_free(struct watched *w)
{
    json_decref(w->done);
    free(w);
}

/* Closed meanwhile: it was kept for this. */
static bool is_over(struct watched *w)
{
    if (w->c->alarms)
        return false;
    watched_free(w);
    return true;
}

/* ---- what is due is done */

struct deed {
    struct control *c;
    char name[ALARM_NAME_MAX + 1];
    json_t *entry;
    char error[256]; /* "": done */
    bool over;
};

static void deed_free(struct deed *d)
{
    json_decref(d->entry);
    free(d);
}

static int edit_told(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct deed *d = ctx;
    *ret = old ? alarm_told(old, d->entry, *d->error ? d->error : NULL, clock_wall_ms(), &d->over)
               : NULL;
    return 0;
}

static void on_told(void *ctx, const json_t *doc, const struct err *e)
{
    struct deed *d = ctx;
    if (d->c->alarms) {
        struct watched *w = watched_of(d->c->alarms, d->name);
        w->sending = false;
        d->c->alarms->told += !e && !*d->error;
        json_decref(w->done);
        w->done = e && !*d->error ? json_incref(d->entry) : NULL;
        if (!e && d->over && *d->error) {
            char text[160];
            snprintf(text, sizeof text, "%s could not be %s: given up",
                json_opt_str(d->entry, "to", "?"),
                str_eq(json_opt_str(d->entry, "kind", ""), "run") ? "started" : "told");
            d->c->alarms->given_up++;
            note(d->c, d->name, text, d->error);
        }
    }
    deed_free(d);
}

static void finish(struct deed *d, const struct err *e)
{
    if (!d->c->alarms) {
        deed_free(d);
        return;
    }
    str_copy(d->error, sizeof d->error, e ? e->message : "");
    if (e)
        log_warn("alarm", "not told", "alarm=%s to=%s why=\"%s\"", d->name,
            json_opt_str(d->entry, "to", "?"), e->message);
    edit(d->c, d->name, edit_told, on_told, d);
}

static void on_sent(void *ctx, const struct err *e)
{
    finish(ctx, e);
}

static int send_it(struct deed *d, const struct alarm_rule *rule, struct err *e)
{
    struct control *c = d->c;
    const struct model_notify *to = model_find_notify(c->model, json_opt_str(d->entry, "to", ""));
    _cleanup_secret_ struct secret *url = NULL;
    if (!to)
        return err_set(e, ERR_NOT_FOUND, "it is no longer declared");
    int r = secrets_open_login(control_secrets_service(c), to->url_secret, &url, e);
    if (r < 0)
        return err_wrap(e, "the secret %s", to->url_secret);
    const struct notify_message m = {.channel = to->channel,
        .username = to->username,
        .platform = c->platform,
        .alarm = d->name,
        .severity = alarm_severity_name(rule->severity),
        .what = json_opt_str(d->entry, "what", "raised"),
        .when = rule->text,
        .why = json_opt_str(d->entry, "why", ""),
        .host = c->host,
        .delivery = json_opt_str(d->entry, "delivery", ""),
        .id = json_opt_int(d->entry, "id", 0),
        .at_ms = json_opt_int(d->entry, "at_ms", 0)};
    return notify_send(c->alarms->notify, url, &m, on_sent, d, e);
}

/* It ran: whether it did what it should is for the timeline, and no reason to start it again. */
static void on_ran(void *ctx, const struct function_result *r, const struct err *e)
{
    struct deed *d = ctx;
    char text[96];
    if (e && r && r->ran && d->c->alarms) {
        snprintf(text, sizeof text, "function %s failed", json_opt_str(d->entry, "to", "?"));
        note(d->c, d->name, text, e->message);
        e = NULL;
    }
    finish(d, e);
}

/* The time of the raising is in the run's id, so that every leader means the same run. */
static int run_it(struct deed *d, const struct alarm_rule *rule, struct err *e)
{
    char run[128], why[ALARM_NAME_MAX + 8];
    const char *function = json_opt_str(d->entry, "to", "");
    if (!model_find_function(d->c->model, function))
        return err_set(e, ERR_NOT_FOUND, "function %s is no longer declared", function);
    snprintf(run, sizeof run, "alarm-%s-%lld", d->name,
        (long long)json_opt_int(d->entry, "at_ms", 0));
    snprintf(why, sizeof why, "alarm %s", d->name);
    control_function_run(d->c, function, run, why,
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "platform", d->c->platform, "alarm", d->name,
            "severity", alarm_severity_name(rule->severity), "when", rule->text, "because",
            json_opt_str(d->entry, "why", ""), "id", (json_int_t)json_opt_int(d->entry, "id", 0),
            "at_ms", (json_int_t)json_opt_int(d->entry, "at_ms", 0)),
        on_ran, d);
    return 0;
}

static void start_deed(struct watched *w, const struct alarm_rule *rule, const json_t *entry)
{
    struct err e;
    struct deed *d = xcalloc(1, sizeof *d);
    d->c = w->c;
    d->entry = json_deep_copy(entry);
    str_copy(d->name, sizeof d->name, w->name);
    w->sending = true;
    if (w->done && json_equal(w->done, entry)) {
        finish(d, NULL);
        return;
    }
    int r = str_eq(json_opt_str(entry, "kind", ""), "notify")
                ? send_it(d, rule, &e)
                : run_it(d, rule, &e);
    if (r < 0)
        finish(d, &e);
}

/* ---- the leader's look */

static int edit_step(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct watched *w = ctx;
    take_rules(w->c->alarms); /* the revision may be another by now */
    const struct alarm_rule *rule = alarm_rules_find(&w->c->alarms->rules, w->name);
    w->next_run = w->run; /* called again when somebody else wrote first */
    *ret = rule ? alarm_step(old, rule, &w->look, &w->next_run, clock_boot_ms(), clock_wall_ms(),
                      &w->change)
                : json_incref(old);
    return 0;
}

static void tell(struct watched *w, const json_t *doc)
{
    take_rules(w->c->alarms);
    const struct alarm_rule *rule = alarm_rules_find(&w->c->alarms->rules, w->name);
    char text[128];
    if (!rule || w->change == ALARM_SAME)
        return;
    snprintf(text, sizeof text, "%s (%s)%s", w->change == ALARM_RAISED ? "fires" : "is over",
        alarm_severity_name(rule->severity),
        alarm_silenced(doc, clock_wall_ms()) ? ", silenced" : "");
    note(w->c, w->name, text, w->why);
    control_report_soon(w->c);
}

static void on_stepped(void *ctx, const json_t *doc, const struct err *e)
{
    struct watched *w = ctx;
    if (is_over(w))
        return;
    w->editing = false;
    if (e)
        return;
    w->run = w->next_run;
    tell(w, doc);
}

static void look_at(struct watched *w, const struct alarm_rule *rule, const json_t *values)
{
    struct alarm_look *l = &w->look;
    l->when = alarm_expr_eval(rule->when, values);
    l->clear = rule->clear ? alarm_expr_eval(rule->clear, values) : ALARM_UNKNOWN;
    alarm_expr_why(rule->when, values, w->why);
    l->why = w->why;
}

/* Is there anything to be written? By what was last heard of the document. */
static bool moves(struct watched *w, const struct alarm_rule *rule, const json_t *doc)
{
    enum alarm_change ignored;
    struct alarm_run run = w->run;
    _cleanup_json_ json_t *next = alarm_step(
        doc, rule, &w->look, &run, clock_boot_ms(), clock_wall_ms(), &ignored);
    bool same = next == doc;
    if (same)
        w->run = run;
    return !same;
}

static void step(struct control_alarms *a, const struct alarm_rule *rule, const json_t *values)
{
    struct watched *w = watched_of(a, rule->name);
    const json_t *doc = documents_get(a->docs, rule->name);
    if (w->editing)
        return;
    look_at(w, rule, values);
    if (moves(w, rule, doc)) {
        w->editing = true;
        edit(a->c, rule->name, edit_step, on_stepped, w);
        return;
    }
    const json_t *entry = w->sending ? NULL : alarm_due(doc, clock_wall_ms());
    if (entry)
        start_deed(w, rule, entry);
}

static int edit_gone(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    *ret = NULL;
    return 0;
}

static void on_gone(void *ctx, const json_t *doc, const struct err *e)
{
    struct watched *w = ctx;
    if (!is_over(w))
        w->editing = false;
}

/* What is no longer declared is forgotten. */
static void tidy(struct control_alarms *a)
{
    const char *name;
    json_t *doc;
    json_object_foreach (documents_all(a->docs), name, doc) {
        struct watched *w = alarm_rules_find(&a->rules, name) ? NULL : watched_of(a, name);
        if (!w || w->editing || w->sending)
            continue;
        if (alarm_fires(doc))
            note(a->c, name, "is no longer declared", "");
        w->editing = true;
        edit(a->c, name, edit_gone, on_gone, w);
        return; /* one a look: the list changes under us */
    }
}

static void on_timer(uv_timer_t *t)
{
    struct control_alarms *a = CONTAINER_OF(t, struct control_alarms, timer);
    struct control *c = a->c;
    take_rules(a);
    control_requests_pass(c);
    if (!c->model || !scheduler_leads(c->scheduler) || !documents_synced(a->docs)) {
        for (struct watched *w = a->watched; w; w = w->next)
            w->run = (struct alarm_run){0}; /* another leader goes on; we begin by the documents */
        return;
    }
    _cleanup_json_ json_t *values = control_alarm_values(c);
    for (size_t i = 0; i < a->rules.n; i++)
        step(a, &a->rules.v[i], values);
    tidy(a);
}

/* ---- what people ask */

static json_t *shown(struct control_alarms *a, const struct alarm_rule *rule, const json_t *values)
{
    struct watched w = {0};
    look_at(&w, rule, values);
    return alarm_show(rule, documents_get(a->docs, rule->name), &w.look, clock_wall_ms());
}

/* {"name"} may be missing: all of them. {"alarms": [...], "firing": n, "asked_host"} */
void control_alarms_list(struct control *c, struct rpc_req *req, json_t *params)
{
    struct control_alarms *a = c->alarms;
    const char *only = json_opt_str(params, "name", NULL);
    take_rules(a);
    if (only && !alarm_rules_find(&a->rules, only)) {
        fail(req, ERR_NOT_FOUND, "there is no such alarm", "`mcp alarms` lists them");
        return;
    }
    _cleanup_json_ json_t *values = control_alarm_values(c);
    json_t *list = json_array();
    int64_t firing = 0;
    for (size_t i = 0; i < a->rules.n; i++) {
        if (only && !str_eq(only, a->rules.v[i].name))
            continue;
        json_array_append_new(list, shown(a, &a->rules.v[i], values));
        firing += alarm_fires(documents_get(a->docs, a->rules.v[i].name));
    }
    rpc_reply(req, json_pack("{s:o,s:I,s:b,s:s}", "alarms", list, "firing", (json_int_t)firing,
                       "synced", (int)documents_synced(a->docs), "asked_host", c->host));
}

void control_alarms_values(struct control *c, struct rpc_req *req, json_t *params)
{
    rpc_reply(req, json_pack("{s:o,s:s}", "values", control_alarm_values(c), "asked_host", c->host));
}

struct wish {
    struct control *c;
    struct rpc_req *req;
    char name[ALARM_NAME_MAX + 1], by[64], why[REASON_MAX + 1];
    bool acks;
    uint64_t for_ms;
};

static int edit_wish(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct wish *w = ctx;
    if (w->acks)
        return alarm_ack(old, w->by, w->why, clock_wall_ms(), ret, e);
    *ret = alarm_silence(old, w->by, w->why, w->for_ms, clock_wall_ms());
    return 0;
}

static void on_wish(void *ctx, const json_t *doc, const struct err *e)
{
    struct wish *w = ctx;
    char text[200];
    if (e) {
        rpc_reply_error(w->req, e);
    } else {
        snprintf(text, sizeof text, "%s by %s",
            w->acks     ? "acknowledged"
            : w->for_ms ? "silenced"
                        : "silenced no more",
            w->by);
        if (w->c->alarms)
            note(w->c, w->name, text, w->why);
        rpc_reply(w->req, json_pack("{s:s,s:O}", "name", w->name, "document", (json_t *)(uintptr_t)doc));
    }
    free(w);
}

static void wish(struct control *c, struct rpc_req *req, const json_t *params, bool acks)
{
    struct wish *w = xcalloc(1, sizeof *w);
    *w = (struct wish){.c = c,
        .req = req,
        .acks = acks,
        .for_ms = (uint64_t)MAX(json_opt_int(params, "for_ms", 0), 0)};
    const char *why = json_opt_str(params, "why", "");
    take_rules(c->alarms);
    str_copy(w->by, sizeof w->by, json_opt_str(params, "by", "root"));
    snprintf(w->why, sizeof w->why, "%.*s", (int)str_utf8_cut(why, REASON_MAX), why);
    if (!str_copy(w->name, sizeof w->name, json_opt_str(params, "name", ""))
        || !alarm_rules_find(&c->alarms->rules, w->name)) {
        fail(req, ERR_NOT_FOUND, "there is no such alarm", "`mcp alarms` lists them");
        free(w);
        return;
    }
    documents_edit(c->alarms->docs, w->name, edit_wish, on_wish, w);
}

void control_alarms_ack(struct control *c, struct rpc_req *req, json_t *params)
{
    wish(c, req, params, true);
}

void control_alarms_silence(struct control *c, struct rpc_req *req, json_t *params)
{
    wish(c, req, params, false);
}

/* ---- what is told without being asked */

void control_alarms_report(struct control *c, json_t *report)
{
    const char *name;
    json_t *doc, *alarms = json_object_get(report, "alarms");
    if (!c->alarms || !c->scheduler || !scheduler_leads(c->scheduler))
        return;
    json_object_foreach (documents_all(c->alarms->docs), name, doc)
        if (alarm_fires(doc) && !alarm_silenced(doc, clock_wall_ms()))
            json_array_append_new(alarms,
                json_pack("{s:o}", "text",
                    json_sprintf("alarm %s (%s) fires: %s", name,
                        json_opt_str(doc, "severity", "?"), json_opt_str(doc, "why", ""))));
}

void control_alarms_metrics(const struct control *c, struct str *out)
{
    const struct control_alarms *a = c->alarms;
    if (!a || !scheduler_leads(c->scheduler))
        return;
    str_add(out, "# HELP mcp_alarm_firing Whether an alarm fires; told by the host that leads.\n"
                 "# TYPE mcp_alarm_firing gauge\n");
    for (size_t i = 0; i < a->rules.n; i++)
        str_addf(out, "mcp_alarm_firing{alarm=\"%s\",severity=\"%s\"} %d\n", a->rules.v[i].name,
            alarm_severity_name(a->rules.v[i].severity),
            alarm_fires(documents_get(a->docs, a->rules.v[i].name)));
    str_addf(out,
        "# HELP mcp_alarm_told_total Webhooks told and functions started for alarms.\n"
        "# TYPE mcp_alarm_told_total counter\nmcp_alarm_told_total %llu\n"
        "# HELP mcp_alarm_given_up_total Those of them that were given up.\n"
        "# TYPE mcp_alarm_given_up_total counter\nmcp_alarm_given_up_total %llu\n",
        (unsigned long long)a->told, (unsigned long long)a->given_up);
}

/* ---- life */

void control_alarms_start(struct control *c)
{
    static const struct documents_handler handler = {0};
    struct control_alarms *a = xcalloc(1, sizeof *a);
    struct err e;
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/alarm/", c->platform);
    a->c = c;
    a->docs = documents_new(&c->role->loop, c->kv, prefix, &handler, c);
    if (notify_new(&c->role->loop, &a->notify, &e) < 0)
        ASSERT(!"libcurl makes a handle");
    c->alarms = a;
    c->requests = control_requests_new();
    uv_timer_init(&c->role->loop, &a->timer);
    uv_timer_start(&a->timer, on_timer, LOOK_MS, LOOK_MS);
}

static void on_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_timer_t *)h, struct control_alarms, timer));
}

void control_alarms_stop(struct control *c)
{
    struct control_alarms *a = c->alarms;
    if (!a)
        return;
    c->alarms = NULL;
    notify_free(a->notify); /* what is under way ends here */
    for (struct watched *w = a->watched, *next; w; w = next) {
        next = w->next;
        if (!w->editing)
            watched_free(w);
    }
    documents_free(a->docs);
    alarm_rules_done(&a->rules);
    control_requests_free(c->requests);
    c->requests = NULL;
    uv_close((uv_handle_t *)&a->timer, on_closed);
}
