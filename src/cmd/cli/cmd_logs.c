/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"

struct show {
    bool json, terminal;
};

/* "\033[...m" sets colours and nothing else: what a unit prints may be coloured, but not steer the terminal. */
static size_t colour_len(const char *p)
{
    if (p[0] != '\033' || p[1] != '[')
        return 0;
    size_t n = 2 + strspn(p + 2, "0123456789;");
    return p[n] == 'm' ? n + 1 : 0;
}

static void add_line(struct str *out, const char *text, bool terminal)
{
    for (const char *p = text; *p; p++) {
        size_t n = terminal ? colour_len(p) : 0;
        if (n) {
            str_add_mem(out, p, n);
            p += n - 1;
        } else if (terminal && ((unsigned char)*p < 0x20 || *p == 0x7f) && *p != '\t') {
            str_add_ch(out, '?');
        } else {
            str_add_ch(out, *p);
        }
    }
    if (terminal && strchr(text, '\033'))
        str_add(out, "\033[0m");
}

static int show_part(void *ctx, json_t *part)
{
    const struct show *s = ctx;
    _cleanup_str_ struct str out = STR_INIT;
    if (s->json) {
        _cleanup_free_ char *text = json_text(part);
        str_add(&out, text);
    } else {
        const char *region = json_opt_str(part, "region", NULL);
        str_addf(&out, "%s ", json_opt_str(part, "time", ""));
        if (region)
            str_addf(&out, "%s/", region);
        str_addf(&out, "%s ", json_opt_str(part, "unit", ""));
        if (str_eq(json_opt_str(part, "stream", NULL), "shim"))
            str_add(&out, "-- ");
        add_line(&out, json_opt_str(part, "line", ""), s->terminal);
    }
    str_add_ch(&out, '\n');
    fwrite(out.buf, 1, out.len, stdout);
    return fflush(stdout) == 0 ? 0 : -1; /* a pipe that nobody reads: stop */
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *c = NULL;
    struct show show = {.json = ctx->json, .terminal = ctx->terminal};
    int64_t lines = 100;
    json_t *answer = NULL;
    int r = cmd_opt_number(ctx, "lines", &lines, e);
    if (r >= 0 && (lines < 0 || lines > 10000))
        r = err_set(e, ERR_USAGE, "--lines takes 0 to 10000");
    if (r >= 0)
        r = cmd_connect(ctx, NULL, &c, e);
    if (r < 0)
        return r;
    bool follow = cmd_flag(ctx, "follow");
    json_t *params = json_pack("{s:s,s:s*,s:I,s:b}", "module", ctx->operands[0], "region",
        cmd_opt(ctx, "region"), "lines", (json_int_t)lines, "follow", (int)follow);
    r = rpc_client_call(c, "logs", params, follow ? 0 : 60000, show_part, &show, &answer, e);
    json_decref(answer);
    rpc_client_free(c);
    return r == ERR_CANCELED ? 0 : r;
}

const struct cmd cmd_logs = {
    .name = "logs",
    .operands = "MODULE|UNIT",
    .summary = "Show what a module prints",
    .text =
        "The last lines of all instances of a module, or of one unit, from every region or one, in "
        "the order of their times; with -f, what is added after them until interrupted. Each line "
        "starts with its time (UTC) and its unit.\n\n"
        "A host keeps 5 files of 20 MB for each unit. A unit that prints more than 10,000 lines a "
        "second loses the rest, which a line marked `--` then says.\n\n"
        "JSON: one object a line, {time, region, host, unit, stream, line}.",
    .opts = (const struct cmd_opt[]){{"follow", 'f', NULL, "go on with what is added"},
        {"lines", 'n', "N", "how many lines to begin with (100)"},
        {"region", 0, "REGION", "of this region alone"},
        {"file", 0, "FILE", "the declaration (platform.yaml)"}, CMD_OPT_PLATFORM, CMD_OPT_JSON,
        {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
