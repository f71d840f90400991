/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/runtime/shim.h"

#include "base/file/file.h"

#include <signal.h>

#define DOCUMENT_MAX (1u * 1024 * 1024)
#define LOG_TEXT_MAX (64u * 1024)

static int read_words(
    const json_t *j, const char *key, const char ***ret, size_t *ret_n, struct err *e)
{
    json_t *list;
    int r = json_get_array(j, key, &list, e);
    if (r < 0)
        return r;
    size_t n = json_array_size(list);
    *ret = xcalloc(n + 1, sizeof **ret);
    for (size_t i = 0; i < n; i++)
        if (!((*ret)[i] = json_string_value(json_array_get(list, i))))
            return err_set(e, ERR_INVALID, "\"%s\" must hold strings", key);
    if (ret_n)
        *ret_n = n;
    return 0;
}

static int read_oci(struct shim_spec *s, struct err *e)
{
    const char *address, *gateway;
    int64_t uid_base, slot, bits;
    int r;
    if ((r = json_get_str(s->json, "runtime", &s->runtime, e)) < 0
        || (r = json_get_str(s->json, "state", &s->state, e)) < 0
        || (r = read_words(s->json, "layers", &s->layers, &s->n_layers, e)) < 0
        || (r = json_get_int(s->json, "uid_base", 1, UINT32_MAX - 65536, &uid_base, e)) < 0
        || (r = json_get_int(s->json, "slot", 1, 1000000, &slot, e)) < 0
        || (r = json_get_int(s->json, "bits", 1, 128, &bits, e)) < 0
        || (r = json_get_str(s->json, "address", &address, e)) < 0
        || (r = json_get_str(s->json, "gateway", &gateway, e)) < 0)
        return r;
    if (!ip_parse(address, &s->address) || !ip_parse(gateway, &s->gateway))
        return err_set(e, ERR_INVALID, "\"address\" or \"gateway\" is none");
    s->input = json_opt_str(s->json, "input", NULL);
    s->uid_base = (uint32_t)uid_base;
    s->slot = (unsigned)slot;
    s->bits = (unsigned)bits;
    return 0;
}

static int read_exec(struct shim_spec *s, struct err *e)
{
    int64_t uid = 0, gid = 0;
    int r;
    if ((r = read_words(s->json, "argv", &s->argv, NULL, e)) < 0
        || (r = read_words(s->json, "env", &s->env, NULL, e)) < 0
        || (r = json_get_int(s->json, "uid", 0, UINT32_MAX - 1, &uid, e)) < 0
        || (r = json_get_int(s->json, "gid", 0, UINT32_MAX - 1, &gid, e)) < 0
        || (r = json_get_str(s->json, "cwd", &s->cwd, e)) < 0)
        return r;
    s->uid = (uid_t)uid;
    s->gid = (gid_t)gid;
    return s->argv[0] ? 0 : err_set(e, ERR_INVALID, "\"argv\" is empty");
}

static int read_common(struct shim_spec *s, struct err *e)
{
    const char *kind;
    json_t *log, *limits;
    int64_t incarnation, signal_no;
    int r;
    if ((r = json_get_str(s->json, "kind", &kind, e)) < 0
        || (r = json_get_str(s->json, "unit", &s->unit, e)) < 0
        || (r = json_get_str(s->json, "cgroup", &s->cgroup, e)) < 0
        || (r = json_get_int(s->json, "incarnation", 0, INT64_MAX, &incarnation, e)) < 0
        || (r = json_get_int(s->json, "stop_signal", 1, 64, &signal_no, e)) < 0
        || (r = json_get_obj(s->json, "log", &log, e)) < 0
        || (r = json_get_str(log, "dir", &s->log.dir, e)) < 0
        || (r = json_get_obj(s->json, "limits", &limits, e)) < 0)
        return r;
    s->incarnation = (uint64_t)incarnation;
    s->stop_signal = (int)signal_no;
    s->oci = !strcmp(kind, "oci");
    s->log.file_bytes = (uint64_t)json_opt_int(log, "file_bytes", RUNTIME_LOG_FILE_BYTES);
    s->log.files = (unsigned)json_opt_int(log, "files", RUNTIME_LOG_FILES);
    s->log.rate = (unsigned)json_opt_int(log, "rate", RUNTIME_LOG_RATE);
    s->log.burst = (unsigned)json_opt_int(log, "burst", RUNTIME_LOG_RATE);
    s->limits.memory_bytes = (uint64_t)json_opt_int(limits, "memory_bytes", 0);
    s->limits.cpu_milli = (unsigned)json_opt_int(limits, "cpu_milli", 0);
    s->limits.pids = (unsigned)json_opt_int(limits, "pids", 0);
    return 0;
}

int shim_spec_read(const char *run_dir, struct shim_spec *ret, struct err *e)
{
    struct shim_spec s = {.run_dir = run_dir};
    _cleanup_free_ char *path = xasprintf("%s/shim.json", run_dir);
    int r = json_read_file(path, DOCUMENT_MAX, &s.json, e);
    if (r >= 0)
        r = read_common(&s, e);
    if (r >= 0)
        r = s.oci ? read_oci(&s, e) : read_exec(&s, e);
    if (r >= 0)
        r = cgroup_detect(&s.cgroups, e);
    if (r < 0)
        return err_wrap(e, "%s", path);
    *ret = s;
    return 0;
}

void shim_run_argv(
    const struct shim_spec *s, const char *argv[SHIM_ARGV_MAX], char *buf, size_t size)
{
    char *log = buf, *pid = buf + size / 2;
    snprintf(log, size / 2, "%s/runtime.log", s->run_dir);
    snprintf(pid, size / 2, "%s/pid", s->run_dir);
    const char *const all[] = {s->runtime, "--root", s->state, "--log", log, "--log-format", "json",
        "run", "--detach", "--bundle", s->run_dir, "--pid-file", pid, s->unit, NULL};
    _Static_assert(ARRAY_SIZE(all) <= SHIM_ARGV_MAX, "room");
    memcpy(argv, all, sizeof all);
}

void shim_runtime_error(const struct shim_spec *s, char *out, size_t size)
{
    _cleanup_free_ char *path = xasprintf("%s/runtime.log", s->run_dir);
    _cleanup_str_ struct str text = STR_INIT;
    struct err e = {0};
    snprintf(out, size, "%s failed", s->runtime);
    if (file_read(path, LOG_TEXT_MAX, &text, &e) < 0)
        return;
    char *save = NULL;
    for (char *line = strtok_r(text.buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        _cleanup_json_ json_t *j = NULL;
        if (json_parse(line, strlen(line), &j, &e) >= 0
            && str_eq(json_opt_str(j, "level", ""), "error"))
            snprintf(out, size, "%s", json_opt_str(j, "msg", ""));
    }
}

int shim_clean(const struct shim_spec *s, struct err *e)
{
    struct runtime_host h = {.state = s->state ? s->state : "/run/mcp/runc", .cgroups = s->cgroups};
    return runtime_clean(&h, s->unit, s->cgroup, e);
}
