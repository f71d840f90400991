/* SPDX-License-Identifier: Apache-2.0 */
#include "role/agent/agent.h"

#include "base/file/file.h"
#include "base/log/log.h"
#include "base/rnd/rnd.h"
#include "base/str/str.h"
#include "domain/spec/boot.h"
#include "domain/unit/slots.h"
#include "service/agent/agent.h"

#include <signal.h>
#include <sys/stat.h>

/* Timeline entries of a time without control, so that it can be told why a unit is as it is. */
#define NOTES_MAX 256
#define FUNCTION_ASK_MS 15000 /* of control, which has to write to the state store */

struct agent_role {
    struct agent *agent;
    struct images *images;
    struct boot *boot;
    json_t *status; /* as told last */
    json_t *notes;  /* not told yet */
    int64_t seq;    /* of the placement that was taken over last; 0: none since the start */
    json_t *secrets_want, *secrets_have;
};

static struct agent_role *self(struct role *r)
{
    return r->ctx;
}

static void tell_status(struct role *r)
{
    struct agent_role *s = self(r);
    if (r->control && s->status)
        rpc_notify(r->control, "status",
            json_pack("{s:O,s:I}", "units", s->status, "seq", (json_int_t)s->seq));
}

static void on_status(void *ctx, const json_t *units)
{
    struct role *r = ctx;
    struct agent_role *s = self(r);
    if (json_equal(s->status, (json_t *)units))
        return;
    json_decref(s->status);
    s->status = json_deep_copy(units);
    tell_status(r);
}

static void note(
    struct role *r, const char *kind, const char *subject, const char *message, const char *cause)
{
    struct agent_role *s = self(r);
    json_t *note = json_pack(
        "{s:s,s:s,s:s,s:s}", "kind", kind, "subject", subject, "message", message, "cause", cause);
    log_info(kind, message, "subject=%s cause=\"%s\"", subject, cause);
    if (!note)
        return;
    if (r->control) {
        rpc_notify(r->control, "timeline", note);
        return;
    }
    json_array_append_new(s->notes, note);
    if (json_array_size(s->notes) > NOTES_MAX)
        json_array_remove(s->notes, 0);
}

static void tell_secrets(struct role *r, const char *method, const char *key, const json_t *what)
{
    if (r->control && what)
        rpc_notify(r->control, method, json_pack("{s:O}", key, what));
}

static void on_secrets_want(void *ctx, const json_t *modules)
{
    struct agent_role *s = self(ctx);
    json_decref(s->secrets_want);
    s->secrets_want = json_incref((json_t *)modules);
    tell_secrets(ctx, "secrets.want", "modules", modules);
}

static void on_secrets_have(void *ctx, const json_t *versions)
{
    struct agent_role *s = self(ctx);
    json_decref(s->secrets_have);
    s->secrets_have = json_incref((json_t *)versions);
    tell_secrets(ctx, "secrets.have", "secrets", versions);
}

static void on_timeline(void *ctx, const char *subject, const char *message, const char *cause)
{
    note(ctx, "unit", subject, message, cause);
}

static void on_image_note(void *ctx, const char *subject, const char *message, const char *cause)
{
    note(ctx, "image", subject, message, cause);
}

static struct rpc_conn *control_of(void *ctx)
{
    return ((struct role *)ctx)->control;
}

static json_t *used_images(void *ctx)
{
    struct agent_role *s = self(ctx);
    return s->agent ? agent_used_images(s->agent) : json_array();
}

static void on_image(void *ctx, const char *digest)
{
    struct agent_role *s = self(ctx);
    if (s->agent) /* not while it begins */
        agent_image_changed(s->agent, digest);
}

static void linked(struct role *r)
{
    struct agent_role *s = self(r);
    tell_status(r);
    tell_secrets(r, "secrets.want", "modules", s->secrets_want);
    tell_secrets(r, "secrets.have", "secrets", s->secrets_have);
    for (size_t i = 0; i < json_array_size(s->notes); i++)
        rpc_notify(r->control, "timeline", json_incref(json_array_get(s->notes, i)));
    json_array_clear(s->notes);
    images_linked(s->images);
}

static bool on_function_ask(void *ctx, json_t *params, rpc_answer_fn fn, void *fn_ctx)
{
    struct role *r = ctx;
    if (!r->control) {
        json_decref(params);
        return false;
    }
    rpc_call(r->control, "function.ask", params, FUNCTION_ASK_MS, fn, fn_ctx);
    return true;
}

static int number_from_env(const char *name, unsigned fallback)
{
    uint64_t n;
    const char *text = getenv(name);
    return text && str_to_u64(text, INT32_MAX, &n) ? (int)n : (int)fallback;
}

static void configure(struct role *r, struct agent_config *c)
{
    struct agent_role *s = self(r);
    *c = (struct agent_config){
        .loop = &r->loop,
        .state_dir = r->state_dir,
        .units_dir = RUNTIME_UNITS_DIR,
        .secrets_dir = RUNTIME_SECRETS_DIR,
        .cgroup = s->boot->cgroup,
        .host = {.images = IMAGE_ROOT,
            .state = ROLE_RUN_ROOT "/runc",
            .shim = "/proc/self/exe",
            .bridge = s->boot->bridge,
            .gateway = s->boot->gateway},
        .runtimes = {[UNIT_OCI] = &runtime_oci, [UNIT_EXEC] = &runtime_exec},
        .images = s->images,
        .own_address = s->boot->addresses.v[0],
        .log_file_bytes = (uint64_t)number_from_env("MCP_LOG_FILE_BYTES", RUNTIME_LOG_FILE_BYTES),
        .log_files = RUNTIME_LOG_FILES,
        .log_rate = (unsigned)number_from_env("MCP_LOG_RATE", RUNTIME_LOG_RATE),
        .log_burst = (unsigned)number_from_env("MCP_LOG_BURST", RUNTIME_LOG_RATE),
        .status = on_status,
        .timeline = on_timeline,
        .secrets_want = on_secrets_want,
        .secrets_have = on_secrets_have,
        .functions_dir = RUNTIME_FUNCTIONS_DIR,
        .function_ask = on_function_ask,
        .ctx = r,
    };
    rnd_bytes(&c->seed, sizeof c->seed);
}

static int init(struct role *r, struct err *e)
{
    struct agent_config c;
    struct agent_role *s = xcalloc(1, sizeof *s);
    struct err trouble = {0};
    r->ctx = s;
    s->notes = json_array();
    umask(022); /* folders that a container's root passes through */
    int res = boot_parse(r->boot, &s->boot, e);
    if (res < 0)
        return res;
    struct images_config images = {.loop = &r->loop,
        .root = IMAGE_ROOT,
        .control = control_of,
        .changed = on_image,
        .used = used_images,
        .timeline = on_image_note,
        .ctx = r};
    s->images = images_new(&images);
    configure(r, &c);
    /* Engines run without an OCI runtime and without a bridge; modules say what is missing when they start. */
    if (runtime_host_probe(&c.host, &trouble) < 0)
        log_error("agent", trouble.message, "fix=\"%s\"", trouble.fix);
    struct ip_prefix own = slots_half(&c.host.bridge, true);
    if (runtime_bridge_ensure(&c.host.bridge, &c.host.gateway, &own, &trouble) < 0)
        log_error("agent", "no bridge", "error=\"%s\"", trouble.message);
    return agent_new(&c, &s->agent, e);
}

static void notify(
    struct role *r, struct rpc_conn *from, const char *method, json_t *params, int fd)
{
    struct agent_role *s = self(r);
    struct err e = {0};
    if (fd >= 0)
        close(fd);
    if (!strcmp(method, "secrets"))
        agent_secrets(s->agent, params);
    if (!strcmp(method, "wanted"))
        images_set_wanted(s->images, params);
    if (strcmp(method, "units") != 0)
        return;
    if (agent_apply(s->agent, params, &e) < 0) {
        log_error("agent", "snapshot refused", "error=\"%s\"", e.message);
        return;
    }
    int64_t seq = json_opt_int(params, "seq", 0);
    if (seq != s->seq) { /* also when no unit of this host changes with it */
        s->seq = seq;
        tell_status(r);
    }
}

/* Control learned what this host must know from now on: root's files, so root writes them. The
 * boot record comes last, and host reads it again. */
static int write_records(struct role *r, json_t *params, struct err *e)
{
    struct boot *b = NULL;
    json_t *boot = json_object_get(params, "boot"), *units = json_object_get(params, "units");
    int k = boot ? boot_parse(boot, &b, e) : 0;
    if (k >= 0 && b
        && (!str_eq(b->host, self(r)->boot->host) || !str_eq(b->platform, self(r)->boot->platform)))
        k = err_set(e, ERR_REFUSED, "a boot record of %s, this is %s", b->host, r->host);
    boot_free(b);
    if (k >= 0 && units)
        k = agent_set_boot(self(r)->agent, units, e);
    if (k < 0 || !boot)
        return k;
    _cleanup_free_ char *text = json_text_pretty(boot);
    return file_write_durable(BOOT_PATH, text, strlen(text), 0644, e);
}

static void take_records(struct role *r, struct rpc_req *req, json_t *params)
{
    struct err e;
    if (write_records(r, params, &e) < 0) {
        log_error("agent", "records not written", "error=\"%s\"", e.message);
        rpc_reply_error(req, &e);
        return;
    }
    rpc_reply(req, NULL);
    if (json_object_get(params, "boot"))
        kill(getppid(), SIGHUP); /* `mcp host` */
}

static void call(struct role *r, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct err e;
    struct agent *a = self(r)->agent;
    if (images_call(self(r)->images, req, method, params, fd))
        return;
    if (fd >= 0)
        close(fd);
    if (!strcmp(method, "logs")) {
        agent_logs(a, req, params);
    } else if (!strcmp(method, "function.run")) {
        agent_function(a, req, params);
    } else if (!strcmp(method, "exec")) {
        agent_exec(a, req, params);
    } else if (!strcmp(method, "restart")) {
        if (agent_restart(a, json_opt_str(params, "unit", ""), &e) < 0)
            rpc_reply_error(req, &e);
        else
            rpc_reply(req, NULL);
    } else if (!strcmp(method, "records")) {
        take_records(r, req, params);
    } else if (!strcmp(method, "status")) {
        rpc_reply(req, json_pack("{s:o}", "units", agent_status(a)));
    } else {
        err_set(&e, ERR_NOT_FOUND, "the agent answers no %s", method);
        rpc_reply_error(req, &e);
    }
}

static void metrics(struct role *r, struct str *out)
{
    agent_metrics(self(r)->agent, out);
}

static void done(struct role *r)
{
    struct agent_role *s = self(r);
    if (!s)
        return;
    agent_free(s->agent);
    images_free(s->images);
    boot_free(s->boot);
    json_decref(s->status);
    json_decref(s->notes);
    json_decref(s->secrets_want);
    json_decref(s->secrets_have);
    free(s);
}

const struct role_def role_agent = {
    .name = "agent",
    .profile = SANDBOX_NONE,
    .init = init,
    .linked = linked,
    .notify = notify,
    .call = call,
    .metrics = metrics,
    .done = done,
};
