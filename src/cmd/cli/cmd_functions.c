/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp functions`: what is declared, and one run by hand. */
#include "cmd/cli/cmd.h"

#include "base/file/file.h"
#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "base/units/units.h"
#include "cmd/cli/priv.h"

#include <unistd.h>

#define ANSWER_TIMEOUT_MS 120000 /* over the longest deadline, on several hosts */
#define INPUT_MAX (256u * 1024)

static void join(const json_t *list, struct str *out)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        str_addf(out, "%s%s", i ? ", " : "", json_string_value(json_array_get(list, i)));
}

static void add_row(struct table *t, const json_t *f)
{
    _cleanup_str_ struct str may = STR_INIT, bound = STR_INIT;
    char deadline[UNITS_TEXT_SIZE];
    join(json_object_get(f, "may"), &may);
    join(json_object_get(f, "bound"), &bound);
    units_format_duration((uint64_t)json_opt_int(f, "deadline_ms", 0), deadline);
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(f, "name", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(f, "image", ""));
    table_cell(t, TABLE_PLAIN, "%s", deadline);
    table_cell(t, TABLE_PLAIN, "%s", str_cstr(&may));
    table_cell(t, TABLE_PLAIN, "%s", str_cstr(&bound));
}

static int run_list(struct cmd_ctx *ctx, struct err *e)
{
    static const char *const heads[] = {"FUNCTION", "IMAGE", "DEADLINE", "MAY", "RUNS", NULL};
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_str_ struct str out = STR_INIT;
    struct table_style style = cmd_style(ctx);
    struct table t;
    size_t i;
    json_t *f;
    int r = cmd_call(ctx, "functions.list", json_object(), 15000, &answer, e);
    if (r < 0)
        return r;
    if (ctx->json) {
        cmd_print_json(answer);
        return 0;
    }
    table_init(&t, heads);
    json_array_foreach (json_object_get(answer, "functions"), i, f)
        add_row(&t, f);
    table_format(&t, &style, &out);
    fputs(table_empty(&t) ? "no function is declared: `functions:` of platform.yaml\n" : out.buf, stdout);
    table_done(&t);
    return 0;
}

static int read_input(const struct cmd_ctx *ctx, json_t **ret, struct err *e)
{
    const char *text = cmd_opt(ctx, "input");
    _cleanup_str_ struct str from = STR_INIT;
    if (!text) {
        *ret = json_object();
        return 0;
    }
    int r = 0;
    if (!strcmp(text, "-"))
        r = file_read_fd(STDIN_FILENO, "standard input", INPUT_MAX, &from, e);
    else
        str_add(&from, text);
    if (r >= 0)
        r = json_parse(str_cstr(&from), from.len, ret, e);
    if (r >= 0 && !json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        r = err_set(e, ERR_USAGE, "it is no object");
    }
    return r < 0 ? err_wrap(e, "the input") : 0;
}

static int run_run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_free_ char *by = cmd_who();
    _cleanup_json_ json_t *answer = NULL;
    json_t *input = NULL;
    if (read_input(ctx, &input, e) < 0)
        return e->code == ERR_INVALID ? ERR_USAGE : e->code;
    int r = cmd_call(ctx, "functions.run",
        json_pack("{s:s,s:o,s:s}", "function", ctx->operands[0], "input", input, "by", by),
        ANSWER_TIMEOUT_MS, &answer, e);
    if (r < 0)
        return r;
    const char *error = json_opt_str(answer, "error", "");
    if (ctx->json) {
        cmd_print_json(answer);
        return *error ? 1 : 0;
    }
    fputs(json_opt_str(answer, "output", ""), stdout);
    fflush(stdout);
    fputs(json_opt_str(answer, "errors", ""), stderr);
    return *error ? err_set(e, ERR_FAILED, "%s", error) : 0;
}

const struct cmd cmd_functions_list = {
    .name = "functions list",
    .operands = "",
    .summary = "List the functions",
    .text = "Containers that run once: which image, how long at most, what they may ask of the "
            "platform, and what starts them.\n\n"
            "JSON: functions[] {name, image, deadline_ms, may[], bound[]}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .run = run_list,
};

const struct cmd cmd_functions_run = {
    .name = "functions run",
    .operands = "FUNCTION",
    .summary = "Run a function once, and show what it printed",
    .text =
        "It runs as when an alarm or a step starts it: on the host that is asked or, if that cannot, "
        "on another one, with its limits, secrets and rights, its input as one JSON object on "
        "standard input. To the object are added: function, run (the name of this run) and why.\n\n"
        "Standard output (the first 64 KiB) and the end of standard error are shown; a run that "
        "fails or is not done at its deadline ends this command with 1. The timeline says who "
        "asked.\n\n"
        "JSON: status, timed_out, output, errors, host, took_ms, error.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"input", 'i', "JSON", "an object for its standard input; - reads it from ours"},
        CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_run,
};
