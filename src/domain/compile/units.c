/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/compile/compile.h"

#include "base/arena/arena.h"
#include "base/str/str.h"
#include "domain/revision/revision.h"
#include "domain/spec/spec.h"

const struct model_host *compile_place(const struct model *m, const struct model_module *module,
    const struct model_region *region, unsigned n)
{
    return model_first_host(m, region);
}

/* Where a module with `egress` finds its way out; both spellings are in use among programs. What is
 * inside needs no proxy. */
static const char *const proxy_env[] = {"HTTP_PROXY=" COMPILE_PROXY, "HTTPS_PROXY=" COMPILE_PROXY,
    "http_proxy=" COMPILE_PROXY, "https_proxy=" COMPILE_PROXY,
    "NO_PROXY=localhost,127.0.0.1,.mcp.internal"};

/* The declared environment first, then what the platform tells every module. */
static const char *const *environment(struct arena *a, const struct model_module *module,
    const struct model_host *host, const char *instance)
{
    size_t n = 0;
    while (module->env && module->env[n])
        n++;
    const char **env = arena_alloc(a, (n + 11) * sizeof *env);
    for (size_t i = 0; i < n; i++)
        env[i] = module->env[i];
    env[n++] = arena_printf(a, "MCP_REGION=%s", host->region->name);
    env[n++] = arena_printf(a, "MCP_MODULE=%s", module->name);
    env[n++] = arena_printf(a, "MCP_INSTANCE=%s", instance);
    env[n++] = arena_printf(a, "MCP_HOST=%s", host->name);
    if (module->port)
        env[n++] = arena_printf(a, "PORT=%u", module->port);
    for (size_t i = 0; module->n_egress && i < ARRAY_SIZE(proxy_env); i++)
        env[n++] = proxy_env[i];
    return env;
}

static json_t *unit(struct arena *a, const struct model_module *module, const char *image,
    const struct model_host *host, unsigned n, bool standby)
{
    struct unit_spec spec = {.kind = UNIT_MODULE,
        .module = module->name,
        .runtime = UNIT_OCI,
        .image = image,
        .command = module->command,
        .port = module->port,
        .probe = module->probe,
        .limits = module->limits,
        .secrets = module->secrets,
        .n_secrets = module->n_secrets,
        .stop_timeout_ms = module->stop_timeout_ms,
        .standby = standby};
    spec.name = arena_printf(a, "%s-%u", module->name, n + 1);
    spec.env = environment(a, module, host, spec.name);
    return unit_spec_format(&spec);
}

static int module_units(const struct model *m, const struct model_module *module, const char *image,
    const struct model_host *host, json_t *list)
{
    struct arena *a = arena_new(0);
    for (size_t i = 0; i < module->n_instances; i++) {
        const struct model_instances *in = &module->instances[i];
        for (unsigned n = 0; n < in->active + in->standby; n++)
            if (compile_place(m, module, in->region, n) == host)
                json_array_append_new(list, unit(a, module, image, host, n, n >= in->active));
    }
    arena_free(a);
    return 0;
}

int compile_units(const struct model *m, const json_t *files, const struct model_host *host,
    int64_t revision, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *list = json_array();
    for (size_t i = 0; i < m->n_modules; i++) {
        const struct model_module *module = &m->modules[i];
        const char *key = revision_image_key(module->image);
        const char *image = key ? revision_file(files, key) : NULL;
        if (!image)
            return err_set(e, ERR_NOT_FOUND,
                "module %s: the revision has no digest of its image %s", module->name,
                module->image);
        module_units(m, module, image, host, list);
    }
    *ret = json_pack("{s:I,s:O}", "revision", (json_int_t)revision, "units", list);
    return 0;
}

unsigned compile_wanted(const struct model *m, const struct model_host *host)
{
    unsigned wanted = 0;
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_instances; k++) {
            const struct model_instances *in = &m->modules[i].instances[k];
            for (unsigned n = 0; n < in->active; n++)
                wanted += compile_place(m, &m->modules[i], in->region, n) == host;
        }
    return wanted;
}
