/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the command in the table, parses its words, runs it, prints its error. */
#include "cmd/cli/priv.h"

#include "base/log/log.h"

#include <signal.h>

json_t *cmd_error_json(const struct err *e, json_t *details)
{
    json_t *error = json_from_err(e);
    if (details)
        json_object_set(error, "details", details);
    return json_pack("{s:o}", "error", error);
}

/* Every line of a list, each with its own place, as compilers print them; then what it comes to. */
static void print_details(const json_t *details)
{
    size_t i;
    json_t *row;
    json_array_foreach (details, i, row) {
        const char *where = json_opt_str(row, "where", ""), *fix = json_opt_str(row, "fix", "");
        fprintf(stderr, "%s%s%s\n", where, *where ? ": " : "", json_opt_str(row, "message", ""));
        if (*fix)
            fprintf(stderr, "  fix: %s\n", fix);
    }
}

static int report(const struct err *e, json_t *details, bool json)
{
    if (json) {
        _cleanup_json_ json_t *j = cmd_error_json(e, details);
        cmd_print_json(j);
        fflush(stdout);
        return err_exit_status(e->code);
    }
    fflush(stdout);
    print_details(details);
    fprintf(stderr, "mcp: %s%s%s\n", e->where, *e->where ? ": " : "", e->message);
    if (*e->fix)
        fprintf(stderr, "  fix: %s\n", e->fix);
    return err_exit_status(e->code);
}

/* `mcp`, `mcp help [COMMAND]`, `mcp --help`, `mcp lab --help`. */
static int help(int argc, char **argv)
{
    _cleanup_str_ struct str text = STR_INIT;
    int words;
    const struct cmd *cmd = cmd_find(cmd_table, argc, argv, &words);
    if (cmd) {
        cmd_usage(cmd, &text);
    } else if (argc == 0 || cmd_is_group(cmd_table, argv[0])) {
        cmd_overview(cmd_table, argc ? argv[0] : NULL, &text);
    } else {
        struct err e;
        cmd_unknown(cmd_table, argc, argv, &e);
        return report(&e, NULL, false);
    }
    fputs(text.buf, stdout);
    return 0;
}

static bool is_help(const char *word)
{
    return !strcmp(word, "-h") || !strcmp(word, "--help");
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
    const char *values[CMD_OPTS_MAX] = {0};
    _cleanup_free_ char **operands = xcalloc((size_t)argc + 1, sizeof *operands);
    struct cmd_ctx ctx = {
        .cmd = cmd, .values = values, .operands = operands, .terminal = isatty(STDOUT_FILENO)};
    struct err e = {0};
    bool wants_help = false;
    int r = cmd_parse(&ctx, argc, argv, &wants_help, &e);
    if (r < 0)
        ctx.json = !cmd->raw && cmd_wants_json(argc, argv);
    if (r >= 0 && wants_help) {
        _cleanup_str_ struct str text = STR_INIT;
        cmd_usage(cmd, &text);
        fputs(text.buf, stdout);
        return 0;
    }
    if (r >= 0)
        r = cmd->run(&ctx, &e);
    if (r >= 0 && fflush(stdout) != 0)
        r = err_set(&e, ERR_SYSTEM, "cannot write to standard output");
    if (r < 0)
        r = report(&e, ctx.details, ctx.json);
    json_decref(ctx.details);
    return r;
}

int cmd_main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    log_init("mcp", LOG_WARN);
    argc--, argv++;
    if (argc == 0) {
        _cleanup_str_ struct str text = STR_INIT;
        cmd_overview(cmd_table, NULL, &text);
        fputs(text.buf, stderr);
        return 2;
    }
    if (is_help(argv[0]) || !strcmp(argv[0], "help"))
        return help(argc - 1, argv + 1);
    static char version[] = "version";
    if (!strcmp(argv[0], "--version"))
        argv[0] = version;
    int words;
    const struct cmd *cmd = cmd_find(cmd_table, argc, argv, &words);
    if (cmd)
        return run(cmd, argc - words, argv + words);
    if (argc > 1 && is_help(argv[1]))
        return help(1, argv);
    struct err e;
    cmd_unknown(cmd_table, argc, argv, &e);
    return report(&e, NULL, cmd_wants_json(argc, argv));
}
