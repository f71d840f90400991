/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "base/str/str.h"

#define CALL_MS 15000u

static void print_members(const struct cmd_ctx *ctx, const json_t *members)
{
    static const char *const heads[] = {"MEMBER", "STATE", "PEER URL", "ID", NULL};
    struct table t;
    struct table_style style = cmd_style(ctx);
    _cleanup_str_ struct str out = STR_INIT;
    size_t i;
    json_t *row;
    table_init(&t, heads);
    json_array_foreach (members, i, row) {
        bool started = json_opt_bool(row, "started", false),
             learner = json_opt_bool(row, "learner", false);
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "host", "?"));
        table_cell(&t, started && !learner ? TABLE_GOOD : TABLE_WARN, "%s",
            !started ? "added" : learner ? "learner" : "votes");
        table_cell(&t, TABLE_PLAIN, "%s", json_opt_str(row, "peer_url", ""));
        table_cell(&t, TABLE_DIM, "%s", json_opt_str(row, "id", ""));
    }
    if (!table_empty(&t))
        table_format(&t, &style, &out);
    table_done(&t);
    fputs(str_cstr(&out), stdout);
}

static void print(const struct cmd_ctx *ctx, const json_t *s)
{
    const char *reason = json_opt_str(s, "reason", ""), *waits = json_opt_str(s, "waits", "");
    bool connected = json_opt_bool(s, "connected", false);
    printf("%s, %s%s%s\n", json_opt_str(s, "kind", "?"), connected ? "answers" : "does not answer",
        connected || !*reason ? "" : ": ", connected ? "" : reason);
    if (connected)
        printf("revision %lld, %lld KiB%s\n", (long long)json_opt_int(s, "revision", 0),
            (long long)json_opt_int(s, "size_bytes", 0) / 1024,
            json_opt_bool(s, "full", false) ? ", FULL: it refuses writes" : "");
    if (*waits)
        printf("%s\n", waits);
    print_members(ctx, json_object_get(s, "members"));
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = cmd_call(ctx, "state.status", NULL, CALL_MS, &answer, e);
    if (r < 0)
        return r;
    if (ctx->json)
        cmd_print_json(answer);
    else
        print(ctx, answer);
    return 0;
}

const struct cmd cmd_state_status = {
    .name = "state status",
    .operands = "",
    .summary = "Show the state store: does it answer, who holds it",
    .text = "Asked is one host's control, which says what it sees. A member `votes`, is a `learner` "
            "that has yet to catch up, or was `added` and has not started. JSON: platform, kind, "
            "connected, reason, revision, size_bytes, store_revision, has_leader, full, waits, "
            "members[] {host, peer_url, id, started, learner}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .run = run,
};
