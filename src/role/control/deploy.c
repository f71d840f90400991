/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp deploy` and `mcp rollback`: a new revision that differs from the current one in one module.
 * What becomes of it is the rollout's document, which every control has. */
#include "role/control/drill.h"
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/log/log.h"
#include "base/str/str.h"

#define RETRY_KEY_MAX 256

static const json_t *deploy_of(const struct control *c, const char *module)
{
    char name[128];
    snprintf(name, sizeof name, "deploy/%s", module);
    return json_object_get(scheduler_docs(c->scheduler), name);
}

bool control_deploy_failed(const struct control *c, const char *module, int64_t *ret_id)
{
    const json_t *d = deploy_of(c, module);
    const char *state = json_opt_str(d, "state", "");
    *ret_id = json_opt_int(d, "id", 0);
    return !strcmp(state, "rolled-back") || !strcmp(state, "failed");
}

/* ---- trying again what changes nothing in the revision */

struct retry {
    struct control *c;
    char key[RETRY_KEY_MAX];
};

static void on_retry_written(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    if (e || !succeeded)
        log_warn("deploy", "not asked for again", "error=%s", e ? e->message : "it has changed");
}

static void on_retry_read(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct retry *r = ctx;
    struct err ignored;
    json_t *doc = NULL;
    if (!e && n == 1 && json_parse(pairs[0].value, pairs[0].len, &doc, &ignored) >= 0) {
        json_object_set_new(doc, "retry", json_true());
        _cleanup_free_ char *text = json_text(doc);
        struct kv_compare cmp = {r->key, pairs[0].mod_revision};
        struct kv_op op = {.key = r->key, .value = text};
        kv_txn(r->c->kv, &cmp, 1, &op, 1, on_retry_written, NULL);
        json_decref(doc);
    }
    free(r);
}

void control_deploy_retry(struct control *c, const char *module)
{
    struct retry *r = xcalloc(1, sizeof *r);
    r->c = c;
    snprintf(r->key, sizeof r->key, "/mcp/%s/deploy/%s", c->platform, module);
    kv_get(c->kv, r->key, on_retry_read, r);
}

/* ---- deploy */

static int current(const struct control *c, const json_t **ret, struct err *e)
{
    *ret = revisions_current(c->revisions);
    if (*ret)
        return 0;
    err_set(e, ERR_NOT_FOUND, "nothing was applied yet");
    err_fix(e, "`mcp apply` makes the first revision");
    return ERR_NOT_FOUND;
}

static int check_declared(const struct control *c, const char *module, struct err *e)
{
    if (c->model && model_find_module(c->model, module))
        return 0;
    err_set(e, ERR_NOT_FOUND, "the platform declares no module %s", module);
    err_fix(e, "`mcp status` lists what runs; `mcp apply` adds a module");
    return ERR_NOT_FOUND;
}

/* As an apply of the whole content, unless somebody else applies meanwhile. */
static void apply_edit(struct control *c, struct rpc_req *req, const json_t *params,
    struct revision_edit *edit, const char *note, const char *module, int64_t base)
{
    const char *given = json_opt_str(params, "note", "");
    _cleanup_json_ json_t *apply = json_copy((json_t *)params);
    json_object_set(apply, "platform", edit->platform);
    json_object_set(apply, "files", edit->files);
    json_object_set_new(apply, "note", json_string(*given ? given : note));
    json_object_set_new(apply, "module", json_string(module));
    if (!json_object_get(params, "expect"))
        json_object_set_new(apply, "expect", json_integer(base));
    control_apply(c, req, apply);
    revision_edit_done(edit);
}

static int edit_image(const struct control *c, const json_t *params, const char *module,
    struct revision_edit *ret, struct err *e)
{
    const json_t *now;
    int r = current(c, &now, e);
    if (r < 0)
        return r;
    const json_t *files = json_object_get(now, "files");
    const struct model_module *m = c->model ? model_find_module(c->model, module) : NULL;
    const char *key = m ? revision_image_key(m->image) : NULL;
    const char *digest = json_opt_str(params, "digest", NULL);
    if (!digest) /* the same again */
        digest = key ? revision_file(files, key) : NULL;
    return revision_edit_image(json_object_get(now, "platform"), files, module,
        json_opt_str(params, "image", NULL), digest ? digest : "", ret, e);
}

/* ---- from what holds now, not from what this host knew a moment ago */

struct asked {
    struct control *c;
    struct rpc_req *req;
    json_t *params;
    void (*go_on)(struct control *c, struct rpc_req *req, json_t *params);
};

static void on_fresh(void *ctx, const json_t *revision)
{
    struct asked *a = ctx;
    a->go_on(a->c, a->req, a->params);
    json_decref(a->params);
    free(a);
}

static void when_fresh(struct control *c, struct rpc_req *req, json_t *params,
    void (*go_on)(struct control *c, struct rpc_req *req, json_t *params))
{
    struct asked *a = xcalloc(1, sizeof *a);
    *a = (struct asked){c, req, json_incref(params), go_on};
    revisions_fresh(c->revisions, on_fresh, a);
}

static void deploy(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    const char *module;
    struct revision_edit edit;
    if (json_get_str(params, "module", &module, &e) < 0
        || edit_image(c, params, module, &edit, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    const char *image = json_opt_str(params, "image", json_opt_str(params, "digest", ""));
    _cleanup_free_ char *note = xasprintf("deploy %s%s%.72s", module, *image ? " " : "", image);
    apply_edit(c, req, params, &edit, note, module,
        json_opt_int(revisions_current(c->revisions), "revision", 0));
}

static void on_before(void *ctx, const struct err *e)
{
    struct asked *a = ctx;
    struct err why;
    if (e) {
        err_set(&why, e->code, "not deployed: %s", e->message);
        err_fix(&why, "it is a function of `before` of the module: mend what it looks at, or it");
        rpc_reply_error(a->req, &why);
    } else if (!a->c->done)
        when_fresh(a->c, a->req, a->params, deploy);
    json_decref(a->params);
    free(a);
}

void control_deploy(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *name = json_opt_str(params, "module", ""), *image = json_opt_str(params, "image", "");
    const struct model_module *m = c->model ? model_find_module(c->model, name) : NULL;
    struct err e;
    if (control_drill_gate(c, &e) < 0) { /* before its functions have run */
        rpc_reply_error(req, &e);
        return;
    }
    struct asked *a = xcalloc(1, sizeof *a);
    char run[56], why[128];
    *a = (struct asked){.c = c, .req = req, .params = json_incref(params)};
    snprintf(run, sizeof run, "deploy-%.24s-%lld", name, (long long)clock_wall_ms());
    snprintf(why, sizeof why, "before a deployment of %.60s", name);
    control_bound_run(c, m ? m->before : NULL, run, why,
        json_pack("{s:s,s:s,s:s}", "module", name, "image", image, "when", "before"), on_before, a);
}

/* ---- rollback */

struct rollback {
    struct control *c;
    struct rpc_req *req;
    json_t *params, *now;
    int64_t asked; /* revision; 0: the last in which the module was another */
    int64_t at;    /* being read */
    char module[64];
};

static void end_rollback(struct rollback *b, const struct err *e)
{
    if (e)
        rpc_reply_error(b->req, e);
    json_decref(b->params);
    json_decref(b->now);
    free(b);
}

static void take(struct rollback *b, const json_t *older)
{
    struct err e;
    struct revision_edit edit;
    if (revision_edit_back(json_object_get(b->now, "platform"), json_object_get(b->now, "files"),
            b->module, older, &edit, &e)
        < 0) {
        end_rollback(b, &e);
        return;
    }
    char note[160];
    snprintf(note, sizeof note, "rollback %s to revision %lld", b->module, (long long)b->at);
    apply_edit(
        b->c, b->req, b->params, &edit, note, b->module, json_opt_int(b->now, "revision", 0));
    end_rollback(b, NULL);
}

static void read_older(struct rollback *b);

static void on_older(void *ctx, const json_t *older, const struct err *e)
{
    struct rollback *b = ctx;
    struct err why;
    const json_t *modules = json_object_get(json_object_get(older, "platform"), "modules");
    if (e && (b->asked || e->code != ERR_NOT_FOUND)) {
        end_rollback(b, e);
    } else if (e || b->at < 1) {
        err_set(
            &why, ERR_NOT_FOUND, "no revision is kept in which module %s was another", b->module);
        err_fix(&why, "`mcp revisions` lists them; --to REVISION takes one");
        end_rollback(b, &why);
    } else if (!b->asked
               && (!json_object_get(modules, b->module)
                   || revision_module_equal(older, b->now, b->module))) {
        b->at--;
        read_older(b);
    } else {
        take(b, older);
    }
}

static void read_older(struct rollback *b)
{
    if (b->at >= 1) {
        revisions_get(b->c->revisions, b->at, on_older, b);
        return;
    }
    struct err e;
    err_set(&e, ERR_NOT_FOUND, "there is no revision before the first");
    on_older(b, NULL, &e);
}

static void rollback(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    const char *module;
    const json_t *now;
    if (json_get_str(params, "module", &module, &e) < 0 || current(c, &now, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct rollback *b = xcalloc(1, sizeof *b);
    *b = (struct rollback){.c = c,
        .req = req,
        .params = json_incref(params),
        .now = json_deep_copy(now),
        .asked = json_opt_int(params, "to", 0)};
    str_copy(b->module, sizeof b->module, module);
    b->at = b->asked ? b->asked : c->number - 1;
    if (check_declared(c, module, &e) < 0) {
        end_rollback(b, &e);
        return;
    }
    read_older(b);
}

void control_rollback(struct control *c, struct rpc_req *req, json_t *params)
{
    when_fresh(c, req, params, rollback);
}

/* ---- status */

void control_deploy_status(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *module = json_opt_str(params, "module", NULL);
    json_t *status = schedule_status(scheduler_docs(c->scheduler));
    json_t *list = json_object_get(status, "deployments"), *lacks = json_array();
    for (size_t i = json_array_size(list); module && i-- > 0;)
        if (!str_eq(json_opt_str(json_array_get(list, i), "module", NULL), module))
            json_array_remove(list, i);
    const char *region;
    json_t *doc, *lack;
    size_t i;
    json_object_foreach (c->placements, region, doc)
        json_array_foreach (json_object_get(doc, "lacks"), i, lack) {
            json_t *copy = json_copy(lack);
            json_object_set_new(copy, "region", json_string(region));
            if (!module || str_eq(json_opt_str(lack, "module", NULL), module))
                json_array_append(lacks, copy);
            json_decref(copy);
        }
    json_object_set_new(status, "lacks", lacks);
    struct err e;
    if (module && check_declared(c, module, &e) < 0) {
        rpc_reply_error(req, &e);
        json_decref(status);
        return;
    }
    rpc_reply(req, status);
}
