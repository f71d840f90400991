/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets between the command line, the state store and this host's agent. The agent says which
 * modules of it ask for what ("secrets.want"); it is told the values over the pair of sockets and
 * nowhere else ("secrets", one message a module), and says what it has put in place
 * ("secrets.have"), which goes into this host's report. */
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/base64/base64.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/spec/spec.h"
#include "service/secrets/secrets.h"

#define VALUE_TEXT_MAX ((SECRET_VALUE_MAX + 2) / 3 * 4)

struct control_secrets {
    struct secrets *service;
    json_t *wanted; /* module -> [names] */
    json_t *have;   /* name -> version */
};

/* ---- to the agent */

/* {"v", "value"} or {"error"}. */
static json_t *answer_of(struct control *c, const char *name, const char *module)
{
    _cleanup_secret_ struct secret *value = NULL;
    _cleanup_secret_str_ struct str text = STR_INIT;
    int64_t v;
    struct err e;
    if (secrets_open(c->secrets->service, name, module, &value, &v, &e) < 0)
        return json_pack(
            "{s:s,s:b}", "error", e.message, "passing", e.code == ERR_UNAVAILABLE);
    str_reserve(&text, VALUE_TEXT_MAX + 1); /* so that it does not move and leave a copy */
    if (model_secret_is_made(name)) {
        _cleanup_secret_str_ struct str file = STR_INIT;
        control_credentials_file(c, name, value, &file);
        base64_encode(file.buf, file.len, &text);
    } else {
        base64_encode(secret_bytes(value), secret_len(value), &text);
    }
    return json_pack("{s:I,s:s}", "v", (json_int_t)v, "value", text.buf);
}

static void deliver(struct control *c, const char *module, json_t *names)
{
    struct rpc_conn *agent = control_link(c, "agent");
    json_t *list = json_object(), *name;
    size_t i;
    json_array_foreach (names, i, name)
        if (json_is_string(name))
            json_object_set_new(
                list, json_string_value(name), answer_of(c, json_string_value(name), module));
    if (agent)
        rpc_notify(agent, "secrets", json_pack("{s:s,s:o}", "module", module, "secrets", list));
    else
        json_decref(list);
}

static bool names_it(json_t *names, const char *name)
{
    size_t i;
    json_t *n;
    json_array_foreach (names, i, n)
        if (str_eq(json_string_value(n), name))
            return true;
    return false;
}

/* NULL: all of it. */
static void deliver_all(struct control *c, const char *name)
{
    const char *module;
    json_t *names;
    json_object_foreach (c->secrets->wanted, module, names)
        if (!name || names_it(names, name))
            deliver(c, module, names);
}

void control_secrets_wanted(struct control *c, const json_t *params)
{
    json_t *modules = json_object_get(params, "modules");
    json_decref(c->secrets->wanted);
    c->secrets->wanted = json_is_object(modules) ? json_incref(modules) : json_object();
    deliver_all(c, NULL);
}

void control_secrets_have(struct control *c, const json_t *params)
{
    json_t *have = json_object_get(params, "secrets");
    if (!json_is_object(have) || json_equal(have, c->secrets->have))
        return;
    json_decref(c->secrets->have);
    c->secrets->have = json_incref(have);
    secrets_look(c->secrets->service);
    control_report_soon(c);
}

void control_secrets_report(const struct control *c, json_t *report)
{
    if (c->secrets && json_object_size(c->secrets->have))
        json_object_set(report, "secrets", c->secrets->have);
}

/* ---- following */

static void on_changed(void *ctx, const char *name)
{
    deliver_all(ctx, name);
    if (model_secret_is_made(name))
        control_credentials_look(ctx);
    else
        control_databases_logins(ctx);
}

static bool is_behind(const json_t *have, const char *name, int64_t v)
{
    const json_t *taken = json_object_get(have, name);
    return json_is_integer(taken) && json_integer_value(taken) < v;
}

/* Who is not heard has nobody to keep the old version for: he gets the newest when he is back. */
static bool on_taken(void *ctx, const char *name, int64_t v)
{
    const struct control *c = ctx;
    if (is_behind(c->secrets->have, name, v))
        return false;
    for (size_t i = 0; i < c->n_reports; i++)
        if (is_behind(json_object_get(c->reports[i].report, "secrets"), name, v))
            return false;
    return true;
}

void control_secrets_look(struct control *c)
{
    if (c->secrets)
        secrets_look(c->secrets->service);
}

void control_secrets_model(struct control *c)
{
    secrets_set_model(c->secrets->service, c->model);
    deliver_all(c, NULL);
    control_credentials_look(c);
    control_databases_logins(c);
}

struct secrets *control_secrets_service(const struct control *c)
{
    return c->secrets->service;
}

void control_secrets_start(struct control *c)
{
    _cleanup_free_ char *cache = xasprintf("%s/secrets", c->role->state_dir);
    struct secrets_config config = {.loop = &c->role->loop,
        .kv = c->kv,
        .platform = c->platform,
        .host = c->host,
        .key = c->seal_key,
        .hosts = c->hosts,
        .cache_dir = cache,
        .changed = on_changed,
        .taken = on_taken,
        .ctx = c};
    c->secrets = xcalloc(1, sizeof *c->secrets);
    c->secrets->wanted = json_object();
    c->secrets->have = json_object();
    c->secrets->service = secrets_new(&config);
}

void control_secrets_stop(struct control *c)
{
    if (!c->secrets)
        return;
    secrets_free(c->secrets->service);
    json_decref(c->secrets->wanted);
    json_decref(c->secrets->have);
}

/* ---- methods */

struct ask {
    struct control *c;
    struct rpc_req *req;
    char name[MODEL_SECRET_NAME_MAX + 1];
    const char *what; /* of the timeline */
    char by[128];
};

static void on_done(void *ctx, const json_t *doc, const struct err *e)
{
    struct ask *a = ctx;
    if (e) {
        rpc_reply_error(a->req, e);
    } else {
        char message[128];
        snprintf(message, sizeof message, "%s, version %lld", a->what,
            (long long)secret_doc_newest(doc));
        control_note(a->c, "secret", a->name, doc ? message : a->what, a->by);
        rpc_reply(a->req, doc ? secret_doc_show(doc, a->c->model) : json_object());
    }
    free(a);
}

static struct ask *ask_new(struct control *c, struct rpc_req *req, const json_t *params)
{
    struct ask *a = xcalloc(1, sizeof *a);
    a->c = c;
    a->req = req;
    str_copy(a->name, sizeof a->name, json_opt_str(params, "name", ""));
    str_copy(a->by, sizeof a->by, json_opt_str(params, "by", "root"));
    return a;
}

/* What the platform makes people do not set, give away or remove. */
static bool is_the_platforms(struct rpc_req *req, const json_t *params)
{
    struct err e;
    const char *name = json_opt_str(params, "name", "");
    if (!model_secret_is_made(name))
        return false;
    err_set(&e, ERR_REFUSED, "%s is a password that the platform makes, as `needs` declare it", name);
    err_fix(&e, "`mcp secret rotate %s` gives it another", name);
    rpc_reply_error(req, &e);
    return true;
}

/* The texts of a list of names; ERR_USAGE when one is no module's. */
static int modules_of(
    const json_t *params, const char *out[SECRET_GRANTS_MAX], size_t *ret_n, struct err *e)
{
    json_t *list = json_object_get(params, "modules"), *m;
    size_t i;
    *ret_n = 0;
    json_array_foreach (list, i, m) {
        const char *name = json_string_value(m);
        if (!name || !unit_name_valid(name) || *ret_n == SECRET_GRANTS_MAX)
            return err_set(e, ERR_USAGE, "\"%s\" is no module's name", name ? name : "");
        out[(*ret_n)++] = name;
    }
    return 0;
}

static int check_name(const json_t *params, struct err *e)
{
    const char *name;
    int r = json_get_str(params, "name", &name, e);
    if (r >= 0 && !model_secret_name_valid(name))
        r = err_set(e, ERR_USAGE, "expected %s", MODEL_SECRET_NAME_EXPECTED);
    return r;
}

static int take_value(json_t *params, struct secret **ret, struct err *e)
{
    const char *text;
    size_t n;
    int r = json_get_str(params, "value", &text, e);
    if (r < 0)
        return r;
    size_t len = strlen(text);
    if (len > VALUE_TEXT_MAX)
        return err_set(e, ERR_LIMIT, "the value has over %u KiB", SECRET_VALUE_MAX / 1024);
    _cleanup_secret_ struct secret *value = secret_new(NULL, base64_decoded_max(len));
    r = base64_decode_into(text, len, secret_bytes(value), base64_decoded_max(len), &n, e);
    json_object_del(params, "value"); /* wiped with it */
    if (r < 0)
        return err_wrap(e, "value");
    secret_shorten(value, n);
    *ret = util_steal_ptr(&value);
    return 0;
}

static void set(struct control *c, struct rpc_req *req, json_t *params, bool rotate)
{
    struct err e;
    const char *modules[SECRET_GRANTS_MAX];
    size_t n;
    _cleanup_secret_ struct secret *value = NULL;
    int r = check_name(params, &e);
    if (r >= 0)
        r = modules_of(params, modules, &n, &e);
    if (r >= 0)
        r = take_value(params, &value, &e);
    if (r < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct ask *a = ask_new(c, req, params);
    a->what = "set";
    struct secrets_set s = {.name = a->name,
        .value = secret_bytes(value),
        .len = secret_len(value),
        .modules = modules,
        .n_modules = n,
        .keep = json_opt_int(params, "keep", 0),
        .must_exist = rotate,
        .by = a->by};
    secrets_set(c->secrets->service, &s, on_done, a);
}

void control_secret_set(struct control *c, struct rpc_req *req, json_t *params)
{
    if (!is_the_platforms(req, params))
        set(c, req, params, false);
}

void control_secret_rotate(struct control *c, struct rpc_req *req, json_t *params)
{
    if (model_secret_is_made(json_opt_str(params, "name", "")))
        control_credentials_rotate(c, req, params);
    else
        set(c, req, params, true);
}

void control_secret_grant(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    const char *modules[SECRET_GRANTS_MAX];
    size_t n = 0;
    bool granted = json_opt_bool(params, "granted", true);
    if (is_the_platforms(req, params))
        return;
    int r = check_name(params, &e);
    if (r >= 0)
        r = modules_of(params, modules, &n, &e);
    if (r >= 0 && !n)
        r = err_set(&e, ERR_USAGE, "no module is named");
    if (r < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct ask *a = ask_new(c, req, params);
    a->what = granted ? "granted" : "grant taken away";
    secrets_grant(c->secrets->service, a->name, modules, n, granted, a->by, on_done, a);
}

void control_secret_remove(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    if (is_the_platforms(req, params))
        return;
    if (check_name(params, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct ask *a = ask_new(c, req, params);
    a->what = "removed";
    secrets_remove(c->secrets->service, a->name, on_done, a);
}

/* Which version each host that is heard has in place. */
static json_t *taken_by(const struct control *c, const char *name)
{
    json_t *j = json_object();
    const json_t *own = json_object_get(c->secrets->have, name);
    if (own)
        json_object_set(j, c->host, (json_t *)own);
    for (size_t i = 0; i < c->n_reports; i++) {
        const json_t *have = json_object_get(c->reports[i].report, "secrets");
        json_t *v = json_object_get(have, name);
        if (json_is_integer(v))
            json_object_set(j, c->reports[i].host, v);
    }
    return j;
}

void control_secret_list(struct control *c, struct rpc_req *req, json_t *params)
{
    json_t *list = secrets_list(c->secrets->service), *s;
    size_t i;
    json_array_foreach (list, i, s)
        json_object_set_new(s, "in_place", taken_by(c, json_opt_str(s, "name", "")));
    rpc_reply(req, list);
}

void control_secret_history(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    const char *name = json_opt_str(params, "name", "");
    const json_t *doc = secrets_get(c->secrets->service, name);
    if (!doc) {
        err_set(&e, ERR_NOT_FOUND, "no secret %s", name);
        err_fix(&e, "`mcp secret list` shows those that are set");
        rpc_reply_error(req, &e);
        return;
    }
    json_t *list = json_object_get(doc, "history");
    rpc_reply(req, json_is_array(list) ? json_deep_copy(list) : json_array());
}
