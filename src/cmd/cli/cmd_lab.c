/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "cmd/cli/priv.h"

int cmd_lab_name_of_file(const char *file, char **ret, struct err *e)
{
    char name[64];
    int r = cmd_scan_platform(file, name, sizeof name, e);
    if (r >= 0 && !*name)
        return err_set(e, ERR_INVALID, "%s names no platform", file);
    if (r >= 0)
        *ret = xstrdup(name);
    return r;
}

static int only_name(char **ret, struct err *e)
{
    _cleanup_names_ char **names = lab_names();
    if (!names[0]) {
        err_set(e, ERR_NOT_FOUND, "no lab runs on this machine");
        err_fix(e, "`mcp up -f FILE` starts one");
        return ERR_NOT_FOUND;
    }
    if (names[1]) {
        err_set(e, ERR_USAGE, "several labs run on this machine");
        err_fix(e, "name one: --platform %s", names[0]);
        return ERR_USAGE;
    }
    *ret = xstrdup(names[0]);
    return 0;
}

int cmd_lab_name(const struct cmd_ctx *ctx, char **ret, struct err *e)
{
    const char *name = cmd_opt(ctx, "platform"), *file = cmd_opt(ctx, "file");
    if (name && (!*name || *name == '.' || strchr(name, '/')))
        return err_set(e, ERR_USAGE, "'%s' is no platform's name", name);
    if (name) {
        *ret = xstrdup(name);
        return 0;
    }
    if (!file)
        file = getenv("MCP_FILE");
    if (!file && file_exists("platform.yaml"))
        file = "platform.yaml";
    return file ? cmd_lab_name_of_file(file, ret, e) : only_name(ret, e);
}

int cmd_lab_open(const struct cmd_ctx *ctx, struct lab **ret, struct err *e)
{
    _cleanup_free_ char *name = NULL;
    int r = cmd_lab_name(ctx, &name, e);
    return r < 0 ? r : lab_open(name, false, ret, e);
}

int cmd_lab_read(const struct cmd_ctx *ctx, struct lab **ret, struct err *e)
{
    _cleanup_free_ char *name = NULL;
    int r = cmd_lab_name(ctx, &name, e);
    return r < 0 ? r : lab_read(name, ret, e);
}

/* "off: hk1, hk2 (12 ms)", or the JSON of it. */
static void print_hosts(
    const struct cmd_ctx *ctx, const char *state, const json_t *hosts, uint64_t took_ms)
{
    _cleanup_json_ json_t *names = json_array();
    size_t i;
    json_t *host;
    if (!ctx->json)
        printf("%s:", state);
    json_array_foreach (hosts, i, host) {
        json_array_append(names, json_object_get(host, "name"));
        if (!ctx->json)
            printf("%s %s", i ? "," : "", json_opt_str(host, "name", "?"));
    }
    if (!ctx->json) {
        printf(" (%llu ms)\n", (unsigned long long)took_ms);
        return;
    }
    _cleanup_json_ json_t *j =
        json_pack("{s:s,s:O,s:I}", "state", state, "hosts", names, "took_ms", (json_int_t)took_ms);
    cmd_print_json(j);
}

int cmd_lab_hosts(struct cmd_ctx *ctx,
    int (*act)(struct lab *l, const json_t *hosts, struct err *e), const char *state, struct err *e)
{
    _cleanup_lab_ struct lab *l = NULL;
    _cleanup_json_ json_t *hosts = NULL;
    int r = cmd_lab_open(ctx, &l, e);
    if (r >= 0)
        r = lab_select(l, ctx->operands[0], &hosts, e);
    uint64_t start = clock_boot_ms();
    if (r >= 0)
        r = act(l, hosts, e);
    if (r < 0)
        return r;
    print_hosts(ctx, state, hosts, clock_boot_ms() - start);
    return 0;
}
