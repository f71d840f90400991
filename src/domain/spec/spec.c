/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/spec/spec.h"

#define DAY_MS (24ll * 3600 * 1000)

static const char *const kind_names[] = {[UNIT_MODULE] = "module", [UNIT_ENGINE] = "engine"};
static const char *const runtime_names[] = {[UNIT_OCI] = "oci", [UNIT_EXEC] = "exec"};
static const char *const probe_names[] = {
    [PROBE_HTTP] = "http", [PROBE_TCP] = "tcp", [PROBE_EXEC] = "exec", [PROBE_NONE] = "none"};

const char *unit_kind_name(enum unit_kind kind)
{
    return kind_names[kind];
}

const char *unit_runtime_name(enum unit_runtime runtime)
{
    return runtime_names[runtime];
}

const char *probe_kind_name(enum probe_kind kind)
{
    return probe_names[kind];
}

bool unit_name_valid(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > UNIT_NAME_MAX || name[0] == '-' || name[len - 1] == '-')
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static int parse_enum(const json_t *obj, const char *key, const char *const *names, size_t n,
    unsigned *ret, struct err *e)
{
    const char *text;
    int r = json_get_str(obj, key, &text, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        if (str_eq(text, names[i])) {
            *ret = (unsigned)i;
            return 0;
        }
    return err_set(e, ERR_INVALID, "\"%s\" is \"%s\", which is none of its words", key, text);
}

/* An optional array of strings; absent or null gives NULL. */
static int parse_words(
    struct arena *a, const json_t *obj, const char *key, const char *const **ret, struct err *e)
{
    json_t *v = json_object_get(obj, key);
    *ret = NULL;
    if (!v || json_is_null(v))
        return 0;
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n == 0 || n > 256)
        return err_set(e, ERR_INVALID, "\"%s\" must be a list of 1 to 256 strings", key);
    const char **words = arena_alloc(a, (n + 1) * sizeof *words);
    for (size_t i = 0; i < n; i++) {
        json_t *w = json_array_get(v, i);
        if (!json_is_string(w) || strlen(json_string_value(w)) != json_string_length(w))
            return err_set(e, ERR_INVALID, "\"%s\" must hold strings", key);
        words[i] = json_string_value(w);
    }
    *ret = words;
    return 0;
}

static bool env_name_valid(const char *name)
{
    return *name && !strchr(name, '=');
}

static int parse_env(struct arena *a, const json_t *obj, const char *const **ret, struct err *e)
{
    json_t *env = json_object_get(obj, "env");
    if (env && !json_is_object(env) && !json_is_null(env))
        return err_set(e, ERR_INVALID, "\"env\" must be an object");
    size_t n = json_object_size(env), i = 0;
    if (n > 1024)
        return err_set(e, ERR_LIMIT, "\"env\" has %zu members, allowed are 1024", n);
    const char **list = arena_alloc(a, (n + 1) * sizeof *list);
    const char *key;
    json_t *value;
    json_object_foreach (env, key, value) {
        const char *text = json_string_value(value);
        if (!text || !env_name_valid(key) || strlen(text) != json_string_length(value))
            return err_set(e, ERR_INVALID, "\"env\" must hold strings under names without '='");
        list[i++] = arena_printf(a, "%s=%s", key, text);
    }
    *ret = list;
    return 0;
}

static int parse_range(
    const json_t *obj, const char *key, int64_t min, int64_t max, uint64_t *ret, struct err *e)
{
    int64_t n;
    int r = json_get_int(obj, key, min, max, &n, e);
    if (r >= 0)
        *ret = (uint64_t)n;
    return r;
}

static int parse_probe(struct arena *a, const json_t *obj, struct model_probe *ret, struct err *e)
{
    json_t *p;
    unsigned kind = 0;
    uint64_t failures = 0;
    int r = json_get_obj(obj, "probe", &p, e);
    if (r >= 0)
        r = parse_enum(p, "kind", probe_names, ARRAY_SIZE(probe_names), &kind, e);
    if (r < 0)
        return r;
    ret->kind = (enum probe_kind)kind;
    ret->path = json_opt_str(p, "path", "/");
    if ((r = parse_words(a, p, "command", &ret->command, e)) < 0
        || (r = parse_range(p, "interval_ms", 10, DAY_MS, &ret->interval_ms, e)) < 0
        || (r = parse_range(p, "timeout_ms", 10, DAY_MS, &ret->timeout_ms, e)) < 0
        || (r = parse_range(p, "start_timeout_ms", 10, DAY_MS, &ret->start_timeout_ms, e)) < 0
        || (r = parse_range(p, "failures", 1, 1000, &failures, e)) < 0)
        return err_wrap(e, "probe");
    ret->failures = (unsigned)failures;
    if (ret->kind == PROBE_EXEC && !ret->command)
        return err_set(e, ERR_INVALID, "probe: \"command\" is missing (kind exec)");
    if (ret->path[0] != '/' || ret->path[strcspn(ret->path, " \r\n")])
        return err_set(e, ERR_INVALID, "probe: \"path\" must start with / and hold no blanks");
    return 0;
}

static int parse_limits(const json_t *obj, struct model_limits *ret, struct err *e)
{
    json_t *l;
    uint64_t cpu = 0, pids = 0;
    int r = json_get_obj(obj, "limits", &l, e);
    if (r < 0)
        return r;
    if ((r = parse_range(l, "memory_bytes", 0, INT64_MAX, &ret->memory_bytes, e)) < 0
        || (r = parse_range(l, "cpu_milli", 0, 1000000, &cpu, e)) < 0
        || (r = parse_range(l, "pids", 0, 4000000, &pids, e)) < 0)
        return err_wrap(e, "limits");
    ret->cpu_milli = (unsigned)cpu;
    ret->pids = (unsigned)pids;
    return 0;
}

static int parse_secret(const json_t *obj, struct model_secret *ret, struct err *e)
{
    static const char *const changes[] = {"watch", "restart", "signal"};
    unsigned change = 0;
    uint64_t mode = 0, signal = 0;
    int r;
    if ((r = json_get_str(obj, "name", &ret->name, e)) < 0
        || (r = json_get_str(obj, "file", &ret->file, e)) < 0
        || (r = parse_range(obj, "mode", 0, 0777, &mode, e)) < 0
        || (r = parse_enum(obj, "on_change", changes, ARRAY_SIZE(changes), &change, e)) < 0
        || (r = parse_range(obj, "signal", 1, 64, &signal, e)) < 0)
        return r;
    if (!model_secret_name_valid(ret->name) || !model_secret_name_valid(ret->file))
        return err_set(e, ERR_INVALID, "\"name\" and \"file\" are not as secrets may be called");
    ret->mode = (unsigned)mode & 0444;
    ret->on_change = (enum secret_change)change;
    ret->signal = (int)signal;
    return 0;
}

/* Absent: none, so that the digest of a unit without is what it was. */
static int parse_secrets(struct arena *a, const json_t *obj, struct unit_spec *s, struct err *e)
{
    json_t *list = json_object_get(obj, "secrets");
    size_t n = json_array_size(list);
    if (!list)
        return 0;
    if (!json_is_array(list) || n > MODEL_SECRET_FILES_MAX)
        return err_set(
            e, ERR_INVALID, "\"secrets\" must be a list of at most %d", MODEL_SECRET_FILES_MAX);
    struct model_secret *v = arena_alloc(a, (n + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++) {
        int r = parse_secret(json_array_get(list, i), &v[i], e);
        if (r < 0)
            return err_wrap(e, "secret %zu", i);
    }
    s->secrets = v;
    s->n_secrets = n;
    return 0;
}

static int parse_engine(struct arena *a, const json_t *obj, struct unit_spec *s, struct err *e)
{
    json_t *j = json_object_get(obj, "engine");
    struct unit_engine *g = arena_alloc(a, sizeof *g);
    const char *kind, *address;
    uint64_t server = 0, domain = 0, port = 0, connections = 0;
    int r;
    if (!j || json_is_null(j))
        return 0;
    if ((r = json_get_str(j, "kind", &kind, e)) < 0
        || (r = json_get_str(j, "database", &g->database, e)) < 0
        || (r = json_get_str(j, "address", &address, e)) < 0
        || (r = parse_range(j, "server_id", 1, INT32_MAX, &server, e)) < 0
        || (r = parse_range(j, "domain_id", 1, INT32_MAX, &domain, e)) < 0
        || (r = parse_range(j, "port", 1, UINT16_MAX, &port, e)) < 0
        || (r = parse_range(j, "memory_bytes", 64 << 20, INT64_MAX, &g->memory_bytes, e)) < 0
        || (r = parse_range(j, "connections", 1, MODEL_CONNECTIONS_MAX, &connections, e)) < 0)
        return err_wrap(e, "engine");
    if (strcmp(kind, "mariadb") != 0 || !ip_parse(address, &g->address)
        || !model_database_name_valid(g->database))
        return err_set(e, ERR_INVALID, "engine: kind, address or database is none");
    g->server_id = (uint32_t)server;
    g->domain_id = (uint32_t)domain;
    g->port = (uint16_t)port;
    g->connections = (unsigned)connections;
    g->semi_sync = json_opt_bool(j, "semi_sync", false);
    g->backups = json_opt_str(j, "backups", NULL);
    if (g->backups && *g->backups != '/')
        return err_set(e, ERR_INVALID, "engine: backups is no absolute path");
    s->engine = g;
    return 0;
}

static int check_runtime(struct unit_spec *s, const json_t *obj, struct err *e)
{
    s->image = json_opt_str(obj, "image", NULL);
    s->user = json_opt_str(obj, "user", NULL);
    s->cwd = json_opt_str(obj, "cwd", NULL);
    if (s->runtime == UNIT_OCI && (!s->image || !digest_valid(s->image)))
        return err_set(e, ERR_INVALID, "\"image\" must be a digest");
    if (s->runtime == UNIT_EXEC && (!s->command || s->command[0][0] != '/'))
        return err_set(
            e, ERR_INVALID, "\"command\" must start with an absolute path (runtime exec)");
    if (s->cwd && s->cwd[0] != '/')
        return err_set(e, ERR_INVALID, "\"cwd\" must be an absolute path");
    return 0;
}

/* What a process is made from: admission of a standby starts one, it does not make another of it,
 * and what the generation is called is no part of what runs. */
static void digest_of(const json_t *obj, char out[DIGEST_SIZE])
{
    _cleanup_json_ json_t *copy = json_copy((json_t *)obj);
    json_object_del(copy, "standby");
    json_object_del(copy, "spec");
    char *text = json_text(copy);
    digest_mem(text, strlen(text), out);
    free(text);
}

static int parse_unit(struct arena *a, json_t *obj, struct unit_spec *s, struct err *e)
{
    unsigned kind = 0, runtime = 0;
    uint64_t port = 0;
    int r;
    if ((r = parse_enum(obj, "kind", kind_names, ARRAY_SIZE(kind_names), &kind, e)) < 0
        || (r = json_get_str(obj, "module", &s->module, e)) < 0
        || (r = parse_enum(obj, "runtime", runtime_names, ARRAY_SIZE(runtime_names), &runtime, e))
               < 0
        || (r = parse_words(a, obj, "command", &s->command, e)) < 0
        || (r = parse_env(a, obj, &s->env, e)) < 0
        || (r = parse_range(obj, "port", 0, 65535, &port, e)) < 0
        || (r = parse_range(obj, "stop_timeout_ms", 0, DAY_MS, &s->stop_timeout_ms, e)) < 0
        || (r = parse_probe(a, obj, &s->probe, e)) < 0
        || (r = parse_limits(obj, &s->limits, e)) < 0
        || (r = parse_secrets(a, obj, s, e)) < 0 || (r = parse_engine(a, obj, s, e)) < 0)
        return r;
    s->kind = (enum unit_kind)kind;
    s->runtime = (enum unit_runtime)runtime;
    s->port = (uint16_t)port;
    s->standby = json_opt_bool(obj, "standby", false);
    s->generation = json_opt_str(obj, "spec", NULL);
    s->json = obj;
    if (s->port == 0 && (s->probe.kind == PROBE_HTTP || s->probe.kind == PROBE_TCP))
        return err_set(
            e, ERR_INVALID, "a %s probe needs a \"port\"", probe_kind_name(s->probe.kind));
    if ((r = check_runtime(s, obj, e)) < 0)
        return r;
    digest_of(obj, s->digest);
    return 0;
}

static int parse_all(struct unit_specs *s, struct err *e)
{
    json_t *list;
    int r = json_get_int(s->json, "revision", 0, INT64_MAX, &s->revision, e);
    if (r >= 0)
        r = json_get_array(s->json, "units", &list, e);
    if (r < 0)
        return r;
    if (json_array_size(list) > UNIT_SPECS_MAX)
        return err_set(
            e, ERR_LIMIT, "%zu units, allowed are %d", json_array_size(list), UNIT_SPECS_MAX);
    s->v = arena_alloc(s->arena, (json_array_size(list) + 1) * sizeof *s->v);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *obj = json_array_get(list, i);
        struct unit_spec *u = &s->v[s->n];
        r = json_get_str(obj, "name", &u->name, e);
        if (r < 0)
            return err_wrap(e, "unit %zu", i);
        if (!unit_name_valid(u->name))
            return err_set(e, ERR_INVALID, "unit %zu: \"%s\" is no unit name", i, u->name);
        if (unit_specs_find(s, u->name))
            return err_set(e, ERR_INVALID, "unit %s is there twice", u->name);
        r = parse_unit(s->arena, obj, u, e);
        if (r < 0)
            return err_wrap(e, "unit %s", u->name);
        s->n++;
    }
    return 0;
}

int unit_specs_parse(json_t *doc, struct unit_specs **ret, struct err *e)
{
    struct unit_specs *s = xcalloc(1, sizeof *s);
    s->arena = arena_new(0);
    s->json = json_incref(doc);
    int r = parse_all(s, e);
    if (r < 0) {
        unit_specs_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void unit_specs_free(struct unit_specs *s)
{
    if (!s)
        return;
    arena_free(s->arena);
    json_decref(s->json);
    free(s);
}

const struct unit_spec *unit_specs_find(const struct unit_specs *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->v[i].name, name))
            return &s->v[i];
    return NULL;
}

static json_t *format_words(const char *const *words)
{
    if (!words)
        return json_null();
    json_t *list = json_array();
    for (; *words; words++)
        json_array_append_new(list, json_string(*words));
    return list;
}

static json_t *format_env(const char *const *env)
{
    json_t *obj = json_object();
    for (; env && *env; env++) {
        const char *eq = strchr(*env, '=');
        if (!eq)
            continue;
        _cleanup_free_ char *name = xasprintf("%.*s", (int)(eq - *env), *env);
        json_object_set_new(obj, name, json_string(eq + 1));
    }
    return obj;
}

static json_t *format_secrets(const struct unit_spec *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_secrets; i++)
        json_array_append_new(list,
            json_pack("{s:s,s:s,s:i,s:s,s:i}", "name", s->secrets[i].name, "file",
                s->secrets[i].file, "mode", (int)s->secrets[i].mode, "on_change",
                secret_change_name(s->secrets[i].on_change), "signal", s->secrets[i].signal));
    return list;
}

static json_t *format_engine(const struct unit_engine *g)
{
    char address[IP_TEXT_SIZE];
    ip_format(&g->address, address);
    return json_pack("{s:s,s:s,s:I,s:I,s:s,s:i,s:I,s:i,s:b,s:s*}", "kind", "mariadb", "database",
        g->database, "server_id", (json_int_t)g->server_id, "domain_id", (json_int_t)g->domain_id,
        "address", address, "port", (int)g->port, "memory_bytes", (json_int_t)g->memory_bytes,
        "connections", (int)g->connections, "semi_sync", (int)g->semi_sync,
        "backups", g->backups);
}

json_t *unit_spec_format(const struct unit_spec *s)
{
    const struct model_probe *p = &s->probe;
    json_t *probe = json_pack("{s:s,s:s,s:o,s:I,s:I,s:I,s:i}", "kind", probe_kind_name(p->kind),
        "path", p->path ? p->path : "/", "command", format_words(p->command), "interval_ms",
        (json_int_t)p->interval_ms, "timeout_ms", (json_int_t)p->timeout_ms, "start_timeout_ms",
        (json_int_t)p->start_timeout_ms, "failures", (int)p->failures);
    json_t *limits = json_pack("{s:I,s:i,s:i}", "memory_bytes", (json_int_t)s->limits.memory_bytes,
        "cpu_milli", (int)s->limits.cpu_milli, "pids", (int)s->limits.pids);
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:s*,s:o,s:o,s:s*,s:s*,s:i,s:o,s:o,s:I,s:b}", "name",
        s->name, "kind", unit_kind_name(s->kind), "module", s->module, "runtime",
        unit_runtime_name(s->runtime), "image", s->image, "command", format_words(s->command),
        "env", format_env(s->env), "user", s->user, "cwd", s->cwd, "port", (int)s->port, "probe",
        probe, "limits", limits, "stop_timeout_ms", (json_int_t)s->stop_timeout_ms, "standby",
        (int)s->standby);
    ASSERT(j);
    if (s->n_secrets)
        json_object_set_new(j, "secrets", format_secrets(s));
    if (s->engine)
        json_object_set_new(j, "engine", format_engine(s->engine));
    return j;
}
