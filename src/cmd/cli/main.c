/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the command in the table, parses its options, runs it, prints its error. */
#include "cmd/cli/cmd.h"

#include "base/log/log.h"
#include "base/str/str.h"

#include <signal.h>

#define WORDS_MAX 3 /* "lab kill" has two words; room for one more */

/* The entry whose name matches the most leading words; *ret_words is how many. */
static const struct cmd *find(int argc, char **argv, int *ret_words)
{
    const struct cmd *best = NULL;
    *ret_words = 0;
    _cleanup_str_ struct str words = STR_INIT;
    for (int n = 1; n <= WORDS_MAX && n <= argc; n++) {
        str_addf(&words, "%s%s", n > 1 ? " " : "", argv[n - 1]);
        for (const struct cmd *const *c = cmd_table; *c; c++)
            if (!strcmp((*c)->name, words.buf)) {
                best = *c;
                *ret_words = n;
            }
    }
    return best;
}

static void print_usage(FILE *out, const struct cmd *cmd)
{
    fprintf(out, "usage: mcp %s%s%s%s\n\n%s.\n", cmd->name, cmd->opts && cmd->opts->name ? " [OPTION]..." : "",
        *cmd->operands ? " " : "", cmd->operands, cmd->summary);
    if (cmd->opts && cmd->opts->name)
        fputs("\nOptions:\n", out);
    for (const struct cmd_opt *o = cmd->opts; o && o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%c%s --%s%s%s", o->letter ? "-" : " ", o->letter ? o->letter : ' ',
            o->letter ? "," : " ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(out, "  %-28s %s\n", left, o->help);
    }
    if (cmd->text)
        fprintf(out, "\n%s\n", cmd->text);
}

static void print_overview(FILE *out)
{
    fputs("mcp, the Modular Cloud Platform: one binary, one file.\n\nusage: mcp COMMAND [OPTION]...\n\n", out);
    for (const struct cmd *const *c = cmd_table; *c; c++)
        if (!(*c)->hidden)
            fprintf(out, "  %-20s %s\n", (*c)->name, (*c)->summary);
    fputs("\n`mcp COMMAND --help` explains one; mcp(1) and platform.yaml(5) explain all.\n", out);
}

static const struct cmd_opt *find_opt(const struct cmd *cmd, const char *name, size_t len, char letter,
    size_t *ret_index)
{
    for (size_t i = 0; cmd->opts && cmd->opts[i].name; i++) {
        const struct cmd_opt *o = &cmd->opts[i];
        if (letter ? o->letter == letter : strlen(o->name) == len && !strncmp(o->name, name, len)) {
            *ret_index = i;
            return o;
        }
    }
    return NULL;
}

static int unknown_option(const struct cmd *cmd, const char *word, struct err *e)
{
    const char *names[64];
    size_t n = 0;
    for (; cmd->opts && cmd->opts[n].name && n < ARRAY_SIZE(names); n++)
        names[n] = cmd->opts[n].name;
    err_set(e, ERR_USAGE, "unknown option %s", word);
    const char *near = str_nearest(word + strspn(word, "-"), names, n);
    if (near)
        err_fix(e, "did you mean --%s?", near);
    else
        err_fix(e, "see `mcp %s --help`", cmd->name);
    return ERR_USAGE;
}

/* One option word at argv[*i]; may take the next word as its value. */
static int parse_option(struct cmd_ctx *ctx, int argc, char **argv, int *i, struct err *e)
{
    const char *word = argv[*i];
    bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    const char *eq = is_long ? strchr(name, '=') : NULL;
    size_t index;
    if (!is_long && name[1] && name[1] != '=') /* -fFILE */
        eq = name;
    const struct cmd_opt *o =
        find_opt(ctx->cmd, name, eq && is_long ? (size_t)(eq - name) : strlen(name), is_long ? 0 : *name, &index);
    if (!o)
        return unknown_option(ctx->cmd, word, e);
    if (!o->arg) {
        if (eq)
            return err_set(e, ERR_USAGE, "--%s takes no value", o->name);
        ctx->values[index] = "";
        return 0;
    }
    if (!eq && *i + 1 >= argc)
        return err_set(e, ERR_USAGE, "--%s needs a value: %s", o->name, o->arg);
    ctx->values[index] = eq ? eq + 1 : argv[++*i];
    return 0;
}

static int parse(struct cmd_ctx *ctx, int argc, char **argv, bool *ret_help, struct err *e)
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
    if (ctx->n_operands < ctx->cmd->min_operands
        || (ctx->cmd->max_operands >= 0 && ctx->n_operands > ctx->cmd->max_operands && !ctx->cmd->raw)) {
        err_set(e, ERR_USAGE, "usage: mcp %s %s", ctx->cmd->name, ctx->cmd->operands);
        err_fix(e, "see `mcp %s --help`", ctx->cmd->name);
        return ERR_USAGE;
    }
    ctx->json = cmd_flag(ctx, "json");
    return 0;
}

static int report(const struct cmd_ctx *ctx, const struct err *e)
{
    if (ctx && ctx->json) {
        _cleanup_json_ json_t *j = json_pack("{s:o}", "error", json_from_err(e));
        cmd_print_json(j);
    } else {
        /* A list of errors (one a line, each with its own place) is printed as it is. */
        fprintf(stderr, "mcp: %s%s%s\n", e->where, *e->where ? ": " : "", e->message);
        if (*e->fix)
            fprintf(stderr, "  fix: %s\n", e->fix);
    }
    return err_exit_status(e->code);
}

static int unknown_command(int argc, char **argv)
{
    if (argc == 0) {
        print_overview(stderr);
        return 2;
    }
    const char *names[256];
    size_t n = 0;
    for (const struct cmd *const *c = cmd_table; *c && n < ARRAY_SIZE(names); c++)
        if (!(*c)->hidden)
            names[n++] = (*c)->name;
    struct err e;
    err_set(&e, ERR_USAGE, "unknown command '%s'", argv[0]);
    const char *near = str_nearest(argv[0], names, n);
    if (near)
        err_fix(&e, "did you mean `mcp %s`?", near);
    else
        err_fix(&e, "`mcp --help` lists the commands");
    return report(NULL, &e);
}

int cmd_main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    log_init("mcp", LOG_WARN);
    argc--, argv++;
    if (argc && (!strcmp(argv[0], "-h") || !strcmp(argv[0], "--help") || !strcmp(argv[0], "help"))) {
        print_overview(stdout);
        return 0;
    }
    if (argc && !strcmp(argv[0], "--version"))
        argv[0] = (char[]){"version"};
    int words;
    const struct cmd *cmd = find(argc, argv, &words);
    if (!cmd)
        return unknown_command(argc, argv);
    const char *values[64] = {0};
    _cleanup_free_ char **operands = xcalloc((size_t)argc + 1, sizeof *operands);
    struct cmd_ctx ctx = {
        .cmd = cmd, .values = values, .operands = operands, .terminal = isatty(STDOUT_FILENO)};
    struct err e = {0};
    bool help = false;
    int r = parse(&ctx, argc - words, argv + words, &help, &e);
    if (help) {
        print_usage(stdout, cmd);
        return 0;
    }
    if (r >= 0)
        r = cmd->run(&ctx, &e);
    if (r >= 0 && fflush(stdout) != 0)
        r = err_set(&e, ERR_SYSTEM, "cannot write to standard output");
    return r < 0 ? report(&ctx, &e) : r;
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

void cmd_print_json(const json_t *j)
{
    char *text = json_text_pretty(j);
    puts(text);
    free(text);
}

int main(int argc, char **argv)
{
    return cmd_main(argc, argv);
}
