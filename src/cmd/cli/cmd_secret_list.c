/* SPDX-License-Identifier: Apache-2.0 */
/* The `mcp secret` commands that see no value. */
#include "cmd/cli/cmd_secret.h"

#include "domain/model/model.h"

#define ANSWER_TIMEOUT_MS 30000

static int call(const struct cmd_ctx *ctx, const char *method, json_t *params, json_t **ret,
    struct err *e)
{
    return params ? cmd_call(ctx, method, params, ANSWER_TIMEOUT_MS, ret, e)
                  : err_set(e, ERR_USAGE, "the words are no UTF-8");
}

static void join(const json_t *list, struct str *out)
{
    size_t i;
    json_t *item;
    str_clear(out);
    json_array_foreach (list, i, item)
        str_addf(
            out, "%s%s", i ? ", " : "", json_string_value(item) ? json_string_value(item) : "?");
}

static bool names_it(const json_t *list, const char *name)
{
    size_t i;
    json_t *n;
    json_array_foreach (list, i, n)
        if (str_eq(json_string_value(n), name))
            return true;
    return false;
}

/* ---- list */

/* "hk1 3, kr1 2": hosts that have not the newest in place stand out. */
static void in_place(const json_t *s, struct str *out, bool *ret_behind)
{
    const char *host;
    json_t *v;
    *ret_behind = false;
    str_clear(out);
    json_object_foreach (json_object_get(s, "in_place"), host, v) {
        bool behind = json_integer_value(v) < json_opt_int(s, "version", 0);
        *ret_behind |= behind;
        str_addf(out, "%s%s", out->len ? ", " : "", host);
        if (behind)
            str_addf(out, " (%lld)", (long long)json_integer_value(v));
    }
}

static void add_secret(struct table *t, const json_t *s)
{
    _cleanup_str_ struct str text = STR_INIT;
    bool behind;
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(s, "name", ""));
    const char *phase = json_opt_str(s, "phase", "steady");
    bool steady = str_eq(phase, "steady");
    table_cell(t, TABLE_PLAIN, "%lld%s%s%s", (long long)json_opt_int(s, "version", 0),
        steady ? "" : " (", steady ? "" : phase, steady ? "" : ")");
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(s, "created", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(s, "by", ""));
    join(json_object_get(s, "grants"), &text);
    table_cell(t, TABLE_PLAIN, "%s", str_cstr(&text));
    in_place(s, &text, &behind);
    table_cell(t, behind ? TABLE_BAD : TABLE_PLAIN, "%s", str_cstr(&text));
}

static int run_list(struct cmd_ctx *ctx, struct err *e)
{
    static const char *const heads[] = {
        "SECRET", "VERSION", "CREATED", "BY", "GRANTED TO", "IN PLACE ON", NULL};
    _cleanup_json_ json_t *list = NULL;
    _cleanup_str_ struct str out = STR_INIT;
    struct table_style style = cmd_style(ctx);
    struct table t;
    size_t i;
    json_t *s;
    int r = call(ctx, "secret.list", json_object(), &list, e);
    if (r < 0)
        return r;
    if (ctx->json) {
        cmd_print_json(list);
        return 0;
    }
    table_init(&t, heads);
    json_array_foreach (list, i, s)
        add_secret(&t, s);
    table_format(&t, &style, &out);
    fputs(table_empty(&t) ? "no secret is set: `mcp secret set NAME`\n" : out.buf, stdout);
    table_done(&t);
    return 0;
}

/* ---- history */

static int run_history(struct cmd_ctx *ctx, struct err *e)
{
    static const char *const heads[] = {"AT", "BY", "WHAT", NULL};
    _cleanup_json_ json_t *list = NULL;
    _cleanup_str_ struct str out = STR_INIT;
    struct table_style style = cmd_style(ctx);
    struct table t;
    int r = call(ctx, "secret.history", json_pack("{s:s}", "name", ctx->operands[0]), &list, e);
    if (r < 0)
        return r;
    if (ctx->json) {
        cmd_print_json(list);
        return 0;
    }
    table_init(&t, heads);
    for (size_t i = json_array_size(list); i-- > 0;) {
        const json_t *row = json_array_get(list, i);
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "at", ""));
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "by", ""));
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "what", ""));
    }
    table_format(&t, &style, &out);
    fputs(str_cstr(&out), stdout);
    table_done(&t);
    return 0;
}

/* ---- grant, rm */

static int run_grant(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *by = cmd_who();
    bool revoke = cmd_flag(ctx, "revoke");
    json_t *modules = json_array();
    for (int i = 1; i < ctx->n_operands; i++)
        json_array_append_new(modules, json_string(ctx->operands[i]));
    int r = call(ctx, "secret.grant",
        json_pack("{s:s,s:o,s:b,s:s}", "name", ctx->operands[0], "modules", modules, "granted",
            (int)!revoke, "by", by),
        &answer, e);
    if (r < 0)
        return r;
    if (ctx->json) {
        cmd_print_json(answer);
        return 0;
    }
    _cleanup_str_ struct str text = STR_INIT;
    join(json_object_get(answer, "grants"), &text);
    printf("secret %s is granted to %s\n", ctx->operands[0], text.len ? text.buf : "no module");
    if (revoke)
        puts("who had it knows it: `mcp secret rotate` makes that worthless");
    return 0;
}

static int run_rm(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *by = cmd_who();
    int r = call(ctx, "secret.remove",
        json_pack("{s:s,s:s}", "name", ctx->operands[0], "by", by), &answer, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        printf("secret %s is removed; what runs keeps its file until it is started anew\n",
            ctx->operands[0]);
    return 0;
}

/* ---- warnings of `plan` and `apply` */

static const json_t *find_secret(const json_t *list, const char *name)
{
    size_t i;
    json_t *s;
    json_array_foreach (list, i, s)
        if (str_eq(json_opt_str(s, "name", NULL), name))
            return s;
    return NULL;
}

void cmd_secret_warn(const struct cmd_ctx *ctx, struct rpc_client *c, const struct model *m)
{
    _cleanup_json_ json_t *list = NULL;
    struct err ignored;
    bool any = false;
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_secrets; k++)
            any |= !m->modules[i].secrets[k].made;
    if (!any || ctx->json
        || rpc_client_call(c, "secret.list", NULL, ANSWER_TIMEOUT_MS, NULL, NULL, &list, &ignored)
               < 0)
        return;
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_secrets; k++) {
            const char *name = m->modules[i].secrets[k].name, *module = m->modules[i].name;
            const json_t *s = find_secret(list, name);
            if (m->modules[i].secrets[k].made)
                continue;
            if (!s)
                fprintf(stderr,
                    "mcp: warning: module %s waits for secret %s, which is not set: `mcp secret "
                    "set %s %s`\n",
                    module, name, name, module);
            else if (!names_it(json_object_get(s, "grants"), module))
                fprintf(stderr,
                    "mcp: warning: module %s waits for secret %s, which is not granted to it: `mcp "
                    "secret grant %s %s`\n",
                    module, name, name, module);
        }
}

#define COMMON_OPTS                                                                                \
    CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON,                                                  \
    {                                                                                              \
        0                                                                                          \
    }

const struct cmd cmd_secret_list = {
    .name = "secret list",
    .operands = "",
    .summary = "List the secrets: versions, grants, where they are in place",
    .text = "A host in red has an older version in place, which stands behind it.\n\n"
            "JSON: [{name, version, created, by, versions, keep, grants[], hosts[] (that can open "
            "the newest), asked_by[] (modules that declare it), in_place{host: version}}]. Values "
            "are in no output.",
    .opts = (const struct cmd_opt[]){COMMON_OPTS},
    .run = run_list,
};

const struct cmd cmd_secret_history = {
    .name = "secret history",
    .operands = "NAME",
    .summary = "Show who set, granted and rotated a secret, and when",
    .text = "The newest fifty changes, the newest first.\n\nJSON: [{at, by, what}], the oldest "
            "first.",
    .opts = (const struct cmd_opt[]){COMMON_OPTS},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_history,
};

const struct cmd cmd_secret_grant = {
    .name = "secret grant",
    .operands = "NAME MODULE...",
    .summary = "Let modules have a secret, or take it back",
    .text =
        "A module gets a secret when it asks for it (`secrets:` in its declaration) and is granted "
        "it: who may change the declaration can not thereby read every secret. Instances that wait "
        "for it start at once.\n\n"
        "--revoke takes the grant away: hosts that no longer may have it lose their key, instances "
        "that are started from then on wait. Those that run know the value; rotate it.\n\n"
        "JSON: as of `mcp secret set`.",
    .opts = (const struct cmd_opt[]){{"revoke", 0, NULL, "take the grant away"}, COMMON_OPTS},
    .min_operands = 2,
    .max_operands = -1,
    .run = run_grant,
};

const struct cmd cmd_secret_rm = {
    .name = "secret rm",
    .operands = "NAME",
    .summary = "Remove a secret, all versions of it",
    .text = "Instances that run keep their file; those that are started from then on wait until it "
            "is set again. There is no way back.\n\nJSON: {}.",
    .opts = (const struct cmd_opt[]){COMMON_OPTS},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_rm,
};
