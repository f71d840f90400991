/* SPDX-License-Identifier: Apache-2.0 */
/* Options and operands of one command. `--name VALUE`, `--name=VALUE`, `-n VALUE`, `-nVALUE`; they
 * may stand between operands; behind `--` everything is an operand. Given twice, the last one
 * counts. */
#include "cmd/cli/priv.h"

#include "base/units/units.h"

static bool opt_matches(const struct cmd_opt *o, const char *name, size_t len, char letter)
{
    return letter ? o->letter == letter : strlen(o->name) == len && !strncmp(o->name, name, len);
}

static const struct cmd_opt *find_opt(
    const struct cmd *cmd, const char *name, size_t len, char letter, size_t *ret_index)
{
    for (size_t i = 0; cmd->opts && cmd->opts[i].name; i++)
        if (opt_matches(&cmd->opts[i], name, len, letter)) {
            *ret_index = i;
            return &cmd->opts[i];
        }
    return NULL;
}

static int unknown_option(const struct cmd *cmd, const char *word, struct err *e)
{
    const char *names[CMD_OPTS_MAX];
    size_t n = 0;
    for (; cmd->opts && cmd->opts[n].name && n < ARRAY_SIZE(names); n++)
        names[n] = cmd->opts[n].name;
    int len = (int)strcspn(word, "=");
    err_set(e, ERR_USAGE, "unknown option %.*s", len, word);
    _cleanup_free_ char *name = xasprintf("%.*s", len, word);
    const char *near = str_starts(word, "--") ? str_nearest(name + 2, names, n) : NULL;
    if (near)
        err_fix(e, "did you mean --%s?", near);
    else
        err_fix(e, "see `mcp %s --help`", cmd->name);
    return ERR_USAGE;
}

/* One option word at argv[*i]; may take the next word as its value. */
static int parse_option(struct cmd_ctx *ctx, int argc, char **argv, int *i, struct err *e)
{
    const char *word = argv[*i], *value = NULL;
    size_t index;
    const struct cmd_opt *o;
    if (str_starts(word, "--")) {
        size_t len = strcspn(word + 2, "=");
        o = find_opt(ctx->cmd, word + 2, len, 0, &index);
        value = word[2 + len] ? word + 2 + len + 1 : NULL;
    } else {
        o = find_opt(ctx->cmd, NULL, 0, word[1], &index);
        value = word[2] ? word + 2 : NULL;
    }
    if (!o)
        return unknown_option(ctx->cmd, word, e);
    if (!o->arg) {
        if (value)
            return err_set(e, ERR_USAGE, "--%s takes no value", o->name);
        ctx->values[index] = "";
        return 0;
    }
    if (!value && *i + 1 >= argc)
        return err_set(e, ERR_USAGE, "--%s needs a value: %s", o->name, o->arg);
    ctx->values[index] = value ? value : argv[++*i];
    return 0;
}

static int check_operands(const struct cmd_ctx *ctx, struct err *e)
{
    const struct cmd *cmd = ctx->cmd;
    bool few = ctx->n_operands < cmd->min_operands;
    bool many = cmd->max_operands >= 0 && ctx->n_operands > cmd->max_operands;
    if (cmd->raw || (!few && !many))
        return 0;
    if (few)
        err_set(e, ERR_USAGE, "`mcp %s` needs %s", cmd->name, cmd->operands);
    else
        err_set(e, ERR_USAGE, "one word too many: '%s'", ctx->operands[cmd->max_operands]);
    err_fix(e, "see `mcp %s --help`", cmd->name);
    return ERR_USAGE;
}

int cmd_parse(struct cmd_ctx *ctx, int argc, char **argv, bool *ret_help, struct err *e)
{
    bool only_operands = ctx->cmd->raw;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!only_operands && (!strcmp(word, "-h") || !strcmp(word, "--help"))) {
            *ret_help = true;
            return 0;
        }
        if (!only_operands && !strcmp(word, "--")) {
            only_operands = true;
        } else if (!only_operands && word[0] == '-' && word[1]) {
            int r = parse_option(ctx, argc, argv, &i, e);
            if (r < 0)
                return r;
        } else {
            ctx->operands[ctx->n_operands++] = argv[i];
        }
    }
    ctx->json = cmd_flag(ctx, "json");
    return check_operands(ctx, e);
}

bool cmd_wants_json(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (!strcmp(argv[i], "--json"))
            return true;
    return false;
}

const char *cmd_opt(const struct cmd_ctx *ctx, const char *name)
{
    for (size_t i = 0; ctx->cmd->opts && ctx->cmd->opts[i].name; i++)
        if (!strcmp(ctx->cmd->opts[i].name, name))
            return ctx->values[i];
    return NULL;
}

bool cmd_flag(const struct cmd_ctx *ctx, const char *name)
{
    return cmd_opt(ctx, name) != NULL;
}

int cmd_opt_duration(const struct cmd_ctx *ctx, const char *name, uint64_t *ret_ms, struct err *e)
{
    const char *text = cmd_opt(ctx, name);
    if (!text || units_parse_duration(text, ret_ms))
        return 0;
    err_set(e, ERR_USAGE, "--%s: '%s' is no duration", name, text);
    err_fix(e, "write it like 500ms, 30s or 2m");
    return ERR_USAGE;
}

int cmd_number(const char *word, const char *what, int64_t *ret, struct err *e)
{
    uint64_t n;
    if (!str_to_u64(word, INT64_MAX, &n))
        return err_set(e, ERR_USAGE, "%s: '%s' is no whole number", what, word);
    *ret = (int64_t)n;
    return 0;
}

int cmd_opt_number(const struct cmd_ctx *ctx, const char *name, int64_t *ret, struct err *e)
{
    const char *text = cmd_opt(ctx, name);
    if (!text)
        return 0;
    _cleanup_free_ char *what = xasprintf("--%s", name);
    return cmd_number(text, what, ret, e);
}
