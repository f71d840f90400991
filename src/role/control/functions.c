/* SPDX-License-Identifier: Apache-2.0 */
/* Functions: which host runs one, what its agent is given, who is told how it went. Whoever wants a
 * run asks its own control; that asks this host's agent, or another host's control by name alone:
 * what runs is always what the host's own revision declares. */
#include "role/control/priv.h"

#include "base/base64/base64.h"
#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/rnd/rnd.h"
#include "base/str/str.h"
#include "base/units/units.h"
#include "domain/compile/compile.h"
#include "domain/revision/revision.h"
#include "service/secrets/secrets.h"

#define START_MS 15000u /* over the deadline: for the container to be made, and the way there */
#define INPUT_MAX (256u * 1024)
#define RUN_MAX 64u
#define TRIES_MAX 8u /* hosts that are asked, one after the other */

struct control_functions {
    json_t *running; /* of this host: address → {"unit", "module"}, for the mesh */
};

/* ---- on this host */

struct local {
    struct control *c;
    char address[IP_TEXT_SIZE], function[MODEL_NAME_MAX + 1];
    rpc_answer_fn fn;
    void *ctx;
};

static void on_local(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct local *l = ctx;
    struct control *c = l->c;
    if (more && c->functions) {
        str_copy(l->address, sizeof l->address, json_opt_str(result, "address", ""));
        json_object_set_new(c->functions->running, l->address,
            json_pack("{s:s,s:s}", "unit", json_opt_str(result, "unit", ""), "module",
                l->function));
        control_mesh_tell(c);
    }
    if (more)
        return;
    if (*l->address && c->functions) {
        json_object_del(c->functions->running, l->address);
        control_mesh_tell(c);
    }
    l->fn(l->ctx, result, false, e);
    free(l);
}

void control_functions_callers(struct control *c, json_t *callers)
{
    if (c->functions)
        json_object_update(callers, c->functions->running);
}

/* Beside what is declared: who it is, and the way out. */
static json_t *environment_of(const struct model_function *f, const char *run)
{
    static const char *const proxy[] = {"HTTP_PROXY=" COMPILE_PROXY, "HTTPS_PROXY=" COMPILE_PROXY,
        "http_proxy=" COMPILE_PROXY, "https_proxy=" COMPILE_PROXY,
        "NO_PROXY=localhost,127.0.0.1,.mcp.internal"};
    json_t *env = json_array();
    for (size_t i = 0; f->as.env && f->as.env[i]; i++)
        json_array_append_new(env, json_string(f->as.env[i]));
    json_array_append_new(env, json_sprintf("MCP_FUNCTION=%s", f->as.name));
    json_array_append_new(env, json_sprintf("MCP_RUN=%s", run));
    for (size_t i = 0; f->as.n_egress && i < ARRAY_SIZE(proxy); i++)
        json_array_append_new(env, json_string(proxy[i]));
    return env;
}

static int secrets_of(
    struct control *c, const struct model_function *f, json_t *out, struct err *e)
{
    for (size_t i = 0; i < f->as.n_secrets; i++) {
        const struct model_secret *s = &f->as.secrets[i];
        _cleanup_secret_ struct secret *value = NULL;
        _cleanup_secret_str_ struct str text = STR_INIT;
        int64_t v;
        int r = secrets_open(
            control_secrets_service(c), s->name, f->as.name, &value, &v, e);
        if (r < 0)
            return r;
        str_reserve(&text, (secret_len(value) + 2) / 3 * 4 + 1); /* does not move: no copy stays */
        base64_encode(secret_bytes(value), secret_len(value), &text);
        json_object_set_new(out, s->file,
            json_pack("{s:s,s:i}", "value", text.buf, "mode", (int)s->mode));
    }
    return 0;
}

static int spec_of(struct control *c, const json_t *params, json_t **ret, struct err *e)
{
    const char *name = json_opt_str(params, "function", ""), *run = json_opt_str(params, "run", "");
    const struct model_function *f = c->model ? model_find_function(c->model, name) : NULL;
    const char *key = f ? revision_image_key(f->as.image) : NULL;
    const char *image = key ? revision_file(c->revision->files, key) : NULL;
    if (!f)
        return err_set(e, ERR_NOT_FOUND, "there is no function %.64s", name);
    if (!image)
        return err_set(e, ERR_NOT_FOUND, "the revision holds no image of %s", name);
    json_t *secrets = json_object(), *command = json_array();
    for (size_t i = 0; f->as.command && f->as.command[i]; i++)
        json_array_append_new(command, json_string(f->as.command[i]));
    int r = secrets_of(c, f, secrets, e);
    *ret = json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:s,s:I,s:{s:I,s:i,s:i}}", "function", name, "run",
        run, "image", image, "command", command, "env", environment_of(f, run), "secrets", secrets,
        "input", json_opt_str(params, "input", ""), "deadline_ms", (json_int_t)f->deadline_ms,
        "limits", "memory_bytes", (json_int_t)f->as.limits.memory_bytes, "cpu_milli",
        (int)f->as.limits.cpu_milli, "pids", (int)f->as.limits.pids);
    if (r < 0)
        json_decref(*ret);
    return r < 0 ? r : 0;
}

/* params: {"function", "run", "input"}, borrowed. The answer comes from the loop. */
static void run_here(
    struct control *c, const json_t *params, rpc_answer_fn fn, void *ctx, struct err *e)
{
    struct rpc_conn *agent = control_link(c, "agent");
    json_t *spec = NULL;
    if (!agent) {
        err_set(e, ERR_UNAVAILABLE, "the agent of %s is not there", c->host);
        return;
    }
    if (spec_of(c, params, &spec, e) < 0)
        return;
    struct local *l = xcalloc(1, sizeof *l);
    *l = (struct local){.c = c, .fn = fn, .ctx = ctx};
    str_copy(l->function, sizeof l->function, json_opt_str(params, "function", ""));
    uint64_t deadline_ms = (uint64_t)json_opt_int(spec, "deadline_ms", 0);
    rpc_call(agent, "function.run", spec, deadline_ms + START_MS, on_local, l);
}

static void on_peers_run(void *ctx, json_t *result, bool more, const struct err *e)
{
    if (e)
        rpc_reply_error(ctx, e);
    else
        rpc_reply(ctx, json_incref(result));
}

void control_function_peer(
    struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    struct err e = {0};
    run_here(c, params, on_peers_run, req, &e);
    if (e.code)
        rpc_reply_error(req, &e);
}

/* ---- a run, wherever */

struct run {
    struct control *c;
    json_t *params;
    char name[MODEL_NAME_MAX + 1], why[160], host[64];
    uint64_t deadline_ms;
    size_t next, n;              /* hosts */
    const char *hosts[TRIES_MAX]; /* own texts */
    uv_timer_t timer;
    struct err error; /* of the last host */
    control_function_fn fn;
    void *ctx;
};

static void on_run_closed(uv_handle_t *h)
{
    struct run *r = CONTAINER_OF((uv_timer_t *)h, struct run, timer);
    for (size_t i = 0; i < r->n; i++)
        free((char *)(uintptr_t)r->hosts[i]);
    json_decref(r->params);
    free(r);
}

static void tell(struct run *r, const struct function_result *result, const struct err *e)
{
    char message[256];
    if (result && !e)
        snprintf(message, sizeof message, "ran on %s: done in %lld ms", r->host,
            (long long)result->took_ms);
    else
        snprintf(message, sizeof message, "failed: %.200s", e ? e->message : "");
    if (r->c->done)
        return;
    control_note(r->c, "function", r->name, message, r->why);
    log_info("function", message, "function=%s why=\"%s\"", r->name, r->why);
}

static void finish(struct run *r, const struct function_result *result, const struct err *e)
{
    tell(r, result, e);
    r->fn(r->ctx, result, e);
    uv_close((uv_handle_t *)&r->timer, on_run_closed);
}

static void judge(const struct run *r, const struct function_result *f, struct err *e)
{
    if (f->timed_out)
        err_set(e, ERR_TIMEOUT, "function %s was not done after %llu ms, and was killed", r->name,
            (unsigned long long)r->deadline_ms);
    else if (f->status)
        err_set(e, ERR_FAILED, "function %s ended with %d%s%.120s", r->name, f->status,
            *f->errors ? ": " : "", f->errors);
}

static void on_ran(void *ctx, json_t *answer, bool more, const struct err *e);

static void try_next(struct run *r)
{
    struct err e = {0};
    while (r->next < r->n) {
        const char *host = r->hosts[r->next++];
        struct rpc_conn *peer = peers_conn(r->c->peers, host);
        memset(&e, 0, sizeof e);
        str_copy(r->host, sizeof r->host, host);
        if (!strcmp(host, r->c->host)) {
            run_here(r->c, r->params, on_ran, r, &e);
            if (!e.code)
                return;
        } else if (peer) {
            rpc_call(peer, "function.run", json_incref(r->params), r->deadline_ms + 2 * START_MS,
                on_ran, r);
            return;
        } else {
            err_set(&e, ERR_UNAVAILABLE, "%s is not reached", host);
        }
        r->error = e;
    }
    finish(r, NULL, &r->error);
}

/* It never began there, so it may begin elsewhere. */
static bool never_began(const struct err *e)
{
    return e->code == ERR_NOT_FOUND || e->code == ERR_LIMIT || e->code == ERR_DENIED;
}

static void on_ran(void *ctx, json_t *answer, bool more, const struct err *e)
{
    struct run *r = ctx;
    struct err bad = {0};
    if (more)
        return;
    if (e) {
        r->error = *e;
        if (never_began(e) && !r->c->done)
            try_next(r);
        else
            finish(r, NULL, &r->error);
        return;
    }
    struct function_result f = {.ran = true,
        .status = (int)json_opt_int(answer, "status", -1),
        .timed_out = json_opt_bool(answer, "timed_out", false),
        .output = json_opt_str(answer, "output", ""),
        .errors = json_opt_str(answer, "errors", ""),
        .took_ms = json_opt_int(answer, "took_ms", 0)};
    str_copy(f.host, sizeof f.host, r->host);
    judge(r, &f, &bad);
    finish(r, &f, bad.code ? &bad : NULL);
}

static void on_begin(uv_timer_t *t)
{
    struct run *r = CONTAINER_OF(t, struct run, timer);
    if (r->error.code || r->c->done)
        finish(r, NULL, &r->error);
    else
        try_next(r);
}

/* This host, those of its region, others that are heard. */
static void choose_hosts(struct run *r)
{
    struct control *c = r->c;
    const struct model_host *own = model_find_host(c->model, c->host);
    r->hosts[r->n++] = xstrdup(c->host);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < c->model->n_hosts && r->n < TRIES_MAX; i++) {
            const struct model_host *h = &c->model->hosts[i];
            bool near = own && h->region == own->region;
            if (strcmp(h->name, c->host) != 0 && near == (pass == 0)
                && peers_conn(c->peers, h->name))
                r->hosts[r->n++] = xstrdup(h->name);
        }
}

static int check(struct run *r, const char *name, const char *run, json_t *input, struct err *e)
{
    const struct model_function *f = r->c->model ? model_find_function(r->c->model, name) : NULL;
    size_t n = strspn(run, "abcdefghijklmnopqrstuvwxyz0123456789.-");
    if (!f) {
        err_set(e, ERR_NOT_FOUND, "there is no function %.64s", name);
        err_fix(e, "`mcp functions list` names them");
        return e->code;
    }
    if (!n || n > RUN_MAX || run[n])
        return err_set(e, ERR_USAGE, "%.80s is no name of a run", run);
    r->deadline_ms = f->deadline_ms;
    json_object_set_new(input, "function", json_string(name));
    json_object_set_new(input, "run", json_string(run));
    json_object_set_new(input, "why", json_string(r->why));
    _cleanup_free_ char *text = json_text(input);
    if (strlen(text) > INPUT_MAX)
        return err_set(e, ERR_LIMIT, "more than %u KiB of input", INPUT_MAX / 1024);
    r->params = json_pack("{s:s,s:s,s:s}", "function", name, "run", run, "input", text);
    choose_hosts(r);
    return 0;
}

void control_function_run(struct control *c, const char *name, const char *run, const char *why,
    json_t *input, control_function_fn fn, void *ctx)
{
    struct run *r = xcalloc(1, sizeof *r);
    *r = (struct run){.c = c, .fn = fn, .ctx = ctx};
    snprintf(r->name, sizeof r->name, "%.*s", (int)str_utf8_cut(name, sizeof r->name - 1), name);
    snprintf(r->why, sizeof r->why, "%.*s", (int)str_utf8_cut(why, sizeof r->why - 1), why);
    json_t *object = json_is_object(input) ? json_incref(input) : json_object();
    if (check(r, name, run, object, &r->error) < 0)
        r->n = 0;
    json_decref(object);
    json_decref(input);
    uv_timer_init(&c->role->loop, &r->timer);
    uv_timer_start(&r->timer, on_begin, 0, 0);
}

/* ---- what functions ask of the platform */

struct asked {
    struct control *c;
    struct rpc_req *req;
    char who[MODEL_NAME_MAX + 16], action[32], subject[96], id[AUDIT_ID_SIZE];
};

static const struct {
    const char *path;
    enum function_right right;
    bool back;
} actions[] = {
    {"/v1/dns/steer-away", FUNCTION_STEER_AWAY, false},
    {"/v1/dns/steer-back", FUNCTION_STEER_BACK, true},
};

static void reply(struct rpc_req *req, int status, json_t *body)
{
    rpc_reply(req, json_pack("{s:i,s:o}", "status", status, "body", body));
}

static int note(struct asked *a, enum audit_outcome outcome, const char *reason, struct err *e)
{
    struct audit_draft d = {.who = a->who,
        .from = a->c->host,
        .action = a->action,
        .subject = a->subject,
        .outcome = outcome,
        .reason = reason,
        .of = outcome == AUDIT_FAILED ? a->id : NULL};
    int r = audit_note(a->c->audit, &d, e);
    if (r >= 0 && outcome == AUDIT_ACCEPTED)
        memcpy(a->id, d.id, sizeof a->id);
    return r;
}

static void refuse(struct asked *a, const char *why)
{
    struct err ignored;
    if (note(a, AUDIT_REFUSED, why, &ignored) < 0)
        log_error("audit", "a refusal is not noted", "error=%s", ignored.message);
    control_note(a->c, "audit", a->who, "was refused", why);
    reply(a->req, 403, json_pack("{s:s}", "error", why));
    free(a);
}

static int status_of(const struct err *e)
{
    return e->code == ERR_REFUSED     ? 409
           : e->code == ERR_NOT_FOUND ? 404
           : e->code == ERR_USAGE     ? 400
                                      : 503;
}

static void on_away(void *ctx, const json_t *list, const struct err *e)
{
    struct asked *a = ctx;
    struct err ignored;
    if (e && !a->c->done && note(a, AUDIT_FAILED, e->message, &ignored) < 0)
        log_error("audit", "a failed change is not noted", "error=%s", ignored.message);
    if (e)
        reply(a->req, status_of(e), json_pack("{s:s,s:s}", "error", e->message, "fix", e->fix));
    else
        reply(a->req, 200, json_pack("{s:O}", "away", list));
    free(a);
}

static void steer(struct asked *a, const json_t *params, bool back)
{
    const json_t *body = json_object_get(params, "body");
    const char *for_text = json_opt_str(body, "for", NULL), *why = json_opt_str(body, "why", "");
    uint64_t for_ms = 0;
    struct err e;
    if (for_text && !units_parse_duration(for_text, &for_ms)) {
        reply(a->req, 400, json_pack("{s:s}", "error", "\"for\" is a duration: 30m, 2h"));
        free(a);
        return;
    }
    if (note(a, AUDIT_ACCEPTED, "", &e) < 0) {
        reply(a->req, 503, json_pack("{s:s}", "error", e.message));
        free(a);
        return;
    }
    const struct control_away_wish w = {.region = json_opt_str(body, "region", ""),
        .names = json_object_get(body, "names"),
        .by = a->who,
        .why = *why ? why : json_opt_str(params, "run", ""),
        .for_ms = for_ms,
        .back = back};
    control_away(a->c, &w, on_away, a);
}

void control_function_ask(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *name = json_opt_str(params, "function", ""), *path = json_opt_str(params, "path", "");
    const char *method = json_opt_str(params, "method", "");
    const struct model_function *f = c->model ? model_find_function(c->model, name) : NULL;
    struct asked *a = xcalloc(1, sizeof *a);
    *a = (struct asked){.c = c, .req = req, .action = "mcp:FunctionAsk"};
    snprintf(a->who, sizeof a->who, "function/%.*s", MODEL_NAME_MAX, name);
    snprintf(a->subject, sizeof a->subject, "%.16s %.*s", method, (int)str_utf8_cut(path, 64), path);
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
        if (strcmp(method, "POST") != 0 || strcmp(path, actions[i].path) != 0)
            continue;
        const char *region = json_opt_str(json_object_get(params, "body"), "region", "");
        str_copy(a->action, sizeof a->action, function_right_name(actions[i].right));
        snprintf(a->subject, sizeof a->subject, "%.*s", (int)str_utf8_cut(region, 64), region);
        if (f && f->may >> actions[i].right & 1)
            steer(a, params, actions[i].back);
        else
            refuse(a, "its declaration does not allow that: `may:` names what it may ask");
        return;
    }
    refuse(a, "the platform answers functions nothing of the kind");
}

/* ---- what commands ask */

static void on_command(void *ctx, const struct function_result *f, const struct err *e)
{
    if (!f) {
        rpc_reply_error(ctx, e);
        return;
    }
    rpc_reply(ctx,
        json_pack("{s:i,s:b,s:s,s:s,s:s,s:I,s:s}", "status", f->status, "timed_out",
            (int)f->timed_out, "output", f->output, "errors", f->errors, "host", f->host, "took_ms",
            (json_int_t)f->took_ms, "error", e ? e->message : ""));
}

void control_functions_run(struct control *c, struct rpc_req *req, json_t *params)
{
    char run[RUN_MAX + 1], why[160];
    uint64_t number;
    rnd_bytes(&number, sizeof number);
    snprintf(run, sizeof run, "by-hand-%016llx", (unsigned long long)number);
    snprintf(why, sizeof why, "asked for by %.100s", json_opt_str(params, "by", "?"));
    control_function_run(c, json_opt_str(params, "function", ""), run, why,
        json_deep_copy(json_object_get(params, "input")), on_command, req);
}

static void add_bound(
    json_t *list, const struct model_function *const *v, const struct model_function *f,
    const char *when, const char *what)
{
    for (size_t i = 0; v && v[i]; i++)
        if (v[i] == f)
            json_array_append_new(list, json_sprintf("%s %s", when, what));
}

static json_t *bound_of(const struct model *m, const struct model_function *f)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->n_modules; i++) {
        _cleanup_free_ char *what = xasprintf("deployments of %s", m->modules[i].name);
        add_bound(list, m->modules[i].before, f, "before", what);
        add_bound(list, m->modules[i].after, f, "after", what);
    }
    for (size_t i = 0; i < m->n_databases; i++) {
        _cleanup_free_ char *what = xasprintf("a failover of %s", m->databases[i].name);
        add_bound(list, m->databases[i].failover.before, f, "before", what);
        add_bound(list, m->databases[i].failover.after, f, "after", what);
    }
    return list;
}

void control_functions_list(struct control *c, struct rpc_req *req, json_t *params)
{
    json_t *list = json_array();
    for (size_t i = 0; c->model && i < c->model->n_functions; i++) {
        const struct model_function *f = &c->model->functions[i];
        json_t *may = json_array();
        for (unsigned k = 0; k < FUNCTION_RIGHTS; k++)
            if (f->may >> k & 1)
                json_array_append_new(may, json_string(function_right_name(k)));
        json_array_append_new(list,
            json_pack("{s:s,s:s,s:I,s:o,s:o}", "name", f->as.name, "image", f->as.image,
                "deadline_ms", (json_int_t)f->deadline_ms, "may", may, "bound", bound_of(c->model, f)));
    }
    rpc_reply(req, json_pack("{s:o}", "functions", list));
}

/* ---- life */

void control_functions_start(struct control *c)
{
    c->functions = xcalloc(1, sizeof *c->functions);
    c->functions->running = json_object();
}

void control_functions_stop(struct control *c)
{
    if (!c->functions)
        return;
    json_decref(c->functions->running);
    free(c->functions);
    c->functions = NULL;
}
