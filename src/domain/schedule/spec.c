/* SPDX-License-Identifier: Apache-2.0 */
/* A module's unit spec as all its instances share it, and what one instance's host adds. */
#include "domain/schedule/schedule.h"

#include "base/arena/arena.h"
#include "base/str/str.h"
#include "domain/compile/compile.h"
#include "domain/revision/revision.h"
#include "domain/spec/spec.h"

/* Where a module with `egress` finds its way out; both spellings are in use among programs. What is
 * inside needs no proxy. */
static const char *const proxy_env[] = {"HTTP_PROXY=" COMPILE_PROXY, "HTTPS_PROXY=" COMPILE_PROXY,
    "http_proxy=" COMPILE_PROXY, "https_proxy=" COMPILE_PROXY,
    "NO_PROXY=localhost,127.0.0.1,.mcp.internal"};

/* The declared environment first, then what the platform tells every instance of the module. */
static const char *const *environment(struct arena *a, const struct model_module *module)
{
    size_t n = 0;
    while (module->env && module->env[n])
        n++;
    const char **env = arena_alloc(a, (n + 3 + ARRAY_SIZE(proxy_env)) * sizeof *env);
    for (size_t i = 0; i < n; i++)
        env[i] = module->env[i];
    env[n++] = arena_printf(a, "MCP_MODULE=%s", module->name);
    if (module->port)
        env[n++] = arena_printf(a, "PORT=%u", module->port);
    for (size_t i = 0; module->n_egress && i < ARRAY_SIZE(proxy_env); i++)
        env[n++] = proxy_env[i];
    return env;
}

static json_t *shared_spec(const struct model_module *module, const char *image)
{
    _cleanup_arena_ struct arena *a = arena_new(0);
    struct unit_spec spec = {.name = "",
        .kind = UNIT_MODULE,
        .module = module->name,
        .runtime = UNIT_OCI,
        .image = image,
        .command = module->command,
        .env = environment(a, module),
        .port = module->port,
        .probe = module->probe,
        .limits = module->limits,
        .secrets = module->secrets,
        .n_secrets = module->n_secrets,
        .stop_timeout_ms = module->stop_timeout_ms};
    json_t *j = unit_spec_format(&spec);
    json_object_del(j, "name");
    json_object_del(j, "standby");
    return j;
}

int schedule_generation(const struct model *m, const json_t *files,
    const struct model_module *module, json_t **ret_spec, char ret[DIGEST_SIZE], struct err *e)
{
    const char *key = revision_image_key(module->image);
    const char *image = key ? revision_file(files, key) : NULL;
    if (!image)
        return err_set(e, ERR_NOT_FOUND, "module %s: the revision has no digest of its image %s",
            module->name, module->image);
    json_t *spec = shared_spec(module, image);
    _cleanup_free_ char *text = json_text(spec);
    digest_mem(text, strlen(text), ret);
    *ret_spec = spec;
    return 0;
}

static json_t *unit_of(
    const json_t *placement, const json_t *instance, const json_t *spec, const char *host)
{
    const char *name = json_opt_str(instance, "name", "");
    json_t *unit = json_copy((json_t *)spec);
    json_t *env = json_copy(json_object_get(spec, "env"));
    if (!env)
        env = json_object();
    json_object_set_new(env, "MCP_REGION", json_string(json_opt_str(placement, "region", "")));
    json_object_set_new(env, "MCP_INSTANCE", json_string(name));
    json_object_set_new(env, "MCP_HOST", json_string(host));
    json_object_set_new(unit, "env", env);
    json_object_set_new(unit, "name", json_string(name));
    json_object_set_new(unit, "standby", json_boolean(json_opt_bool(instance, "standby", false)));
    json_object_set_new(unit, "spec", json_string(json_opt_str(instance, "spec", "")));
    return unit;
}

int schedule_units(const json_t *placement, const char *host, json_t **ret, struct err *e)
{
    json_t *instances, *specs;
    int r = json_get_array(placement, "instances", &instances, e);
    if (r >= 0)
        r = json_get_obj(placement, "specs", &specs, e);
    if (r < 0)
        return err_wrap(e, "placement");
    _cleanup_json_ json_t *list = json_array();
    size_t index;
    json_t *i;
    json_array_foreach (instances, index, i) {
        if (!str_eq(json_opt_str(i, "host", NULL), host))
            continue;
        const char *generation = json_opt_str(i, "spec", "");
        const json_t *spec = json_object_get(specs, generation);
        if (!json_is_object(spec))
            return err_set(e, ERR_INVALID, "placement: %s has no spec %s",
                json_opt_str(i, "name", "?"), generation);
        json_array_append_new(list, unit_of(placement, i, spec, host));
    }
    *ret = json_pack("{s:I,s:I,s:O}", "revision", json_opt_int(placement, "revision", 0), "seq",
        json_opt_int(placement, "seq", 0), "units", list);
    return 0;
}
