/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"

#define ANSWER_TIMEOUT_MS 10000

static void join(const json_t *list, const char *none, struct str *out)
{
    size_t i;
    json_t *item;
    if (json_array_size(list) == 0)
        str_add(out, none);
    json_array_foreach (list, i, item)
        str_addf(
            out, "%s%s", i ? ", " : "", json_string_value(item) ? json_string_value(item) : "?");
}

static void add_region(struct table *t, const json_t *region)
{
    _cleanup_str_ struct str down = STR_INIT;
    const char *state = json_opt_str(region, "state", "");
    bool is_down = str_eq(state, "down");
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(region, "name", ""));
    bool is_away = json_is_object(json_object_get(region, "away"));
    table_cell(t,
        is_down || is_away    ? TABLE_BAD
        : str_eq(state, "up") ? TABLE_GOOD
                              : TABLE_PLAIN,
        "%s%s%s", state, json_opt_bool(region, "held", false) ? " (held)" : "",
        is_away ? " (away)" : "");
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(region, "since", ""));
    table_cell(t, TABLE_PLAIN, "%s", json_opt_str(region, "own", ""));
    join(json_object_get(region, "down_by"), "", &down);
    table_cell(t, TABLE_PLAIN, "%s", str_cstr(&down));
}

static void print_regions(const struct cmd_ctx *ctx, const json_t *regions)
{
    static const char *const heads[] = {
        "REGION", "STATE", "SINCE", "PROBED HERE", "DOWN SAY", NULL};
    _cleanup_str_ struct str out = STR_INIT;
    struct table_style style = cmd_style(ctx);
    struct table t;
    size_t i;
    json_t *region;
    table_init(&t, heads);
    json_array_foreach (regions, i, region)
        add_region(&t, region);
    table_format(&t, &style, &out);
    if (!table_empty(&t))
        printf("\n%s", out.buf);
    table_done(&t);
}

static void print(const struct cmd_ctx *ctx, const json_t *j)
{
    _cleanup_str_ struct str answer = STR_INIT;
    const char *country = json_opt_str(j, "country", "");
    join(json_object_get(j, "answer"), "nothing", &answer);
    printf("%s %s from %s%s%s%s: %s", json_opt_str(j, "name", ""), json_opt_str(j, "type", ""),
        json_opt_str(j, "from", ""), *country ? " (" : "", country, *country ? ")" : "",
        answer.buf);
    if (json_object_get(j, "ttl"))
        printf(", TTL %lld", (long long)json_opt_int(j, "ttl", 0));
    printf("\n%s\n", json_opt_str(j, "because", ""));
    print_regions(ctx, json_object_get(j, "regions"));
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    const char *from = cmd_opt(ctx, "from");
    if (!from) {
        err_set(e, ERR_USAGE, "--from is missing: answers depend on who asks");
        err_fix(e, "give the address of a client: --from 203.0.113.7");
        return ERR_USAGE;
    }
    _cleanup_json_ json_t *answer = NULL;
    json_t *params = json_pack("{s:s,s:s,s:s}", "name", ctx->operands[0], "type",
        ctx->n_operands > 1 ? ctx->operands[1] : "A", "from", from);
    if (!params)
        return err_set(e, ERR_USAGE, "the words are no UTF-8");
    int r = cmd_call(ctx, "explain.dns", params, ANSWER_TIMEOUT_MS, &answer, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        print(ctx, answer);
    return 0;
}

const struct cmd cmd_explain_dns = {
    .name = "explain dns",
    .operands = "NAME [TYPE]",
    .summary = "Say what a client is answered, and why",
    .text = "Answers as the name servers of the host that is asked answer a client with the given "
            "address (or one behind a "
            "resolver that sends it along): which country the address is in and who says so, which "
            "list of regions that "
            "country has, which of them are up, since when, and who found the others down.\n\n"
            "A region is down for a name when enough regions outside it say so: at least two (one, "
            "on a platform of two "
            "regions), and more than half of those whose own network works. HELD means that it is "
            "down and still "
            "answered, because most regions of the name failed at once. AWAY means that "
            "somebody steers users away from it: `mcp steer list`.\n\n"
            "TYPE is A unless given.\n\n"
            "JSON: name, type, from, country, list, order[] (regions), answer[] (addresses), ttl, "
            "because, regions[] {name, state, since, why, held, away {by, why}, own, down_by[], "
            "up_by[], need, eligible, heard}.",
    .opts = (const struct cmd_opt[]){{"from", 0, "IP", "the client's address"}, CMD_OPT_FILE,
        CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 2,
    .run = run,
};
