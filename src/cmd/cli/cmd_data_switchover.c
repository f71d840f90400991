/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#include <poll.h>

#define CALL_MS 15000u
#define POLL_MS 200
#define WAIT_DEFAULT_MS 300000u

struct moving {
    struct cmd_ctx *ctx;
    const char *database;
    int64_t id;
    uint64_t until_ms;
    char told[32];
};

static int call(struct moving *m, const char *method, json_t *params, json_t **ret, struct err *e)
{
    struct rpc_client *c = NULL;
    int r = cmd_connect(m->ctx, NULL, &c, e);
    if (r < 0) {
        json_decref(params);
        return r;
    }
    r = rpc_client_call(c, method, params, CALL_MS, NULL, NULL, ret, e);
    rpc_client_free(c);
    return r;
}

static void tell(struct moving *m, const json_t *change)
{
    const char *step = json_opt_str(change, "step", "");
    if (m->ctx->json || str_eq(step, m->told))
        return;
    str_copy(m->told, sizeof m->told, step);
    const char *why = json_opt_str(change, "why", "");
    printf("%s%s%s\n", step, *why ? ": " : "", why);
    fflush(stdout);
}

/* The change's own record once it has ended; the control that answers may be another each time. */
static int wait_end(struct moving *m, json_t **ret, struct err *e)
{
    struct err last = {0};
    while (clock_boot_ms() < m->until_ms) {
        _cleanup_json_ json_t *doc = NULL;
        int r = call(
            m, "data.switchover.status", json_pack("{s:s}", "database", m->database), &doc, &last);
        const json_t *change = json_object_get(doc, "change"),
                     *ended = json_object_get(doc, "last");
        if (r >= 0 && json_opt_int(change, "id", 0) == m->id)
            tell(m, change);
        if (r >= 0 && json_opt_int(ended, "id", 0) >= m->id) {
            *ret = json_deep_copy(ended);
            return 0;
        }
        poll(NULL, 0, POLL_MS);
    }
    err_set(e, ERR_TIMEOUT, "the switchover goes on, but took longer than this command waits%s%s",
        *last.message ? ": " : "", last.message);
    err_fix(e, "`mcp data status %s` shows how far it is", m->database);
    return ERR_TIMEOUT;
}

static int show_end(struct moving *m, const json_t *ended, struct err *e)
{
    const char *outcome = json_opt_str(ended, "outcome", "?");
    if (m->ctx->json)
        cmd_print_json(ended);
    if (str_eq(outcome, "done")) {
        if (!m->ctx->json)
            printf("%s is the source of %s now; writes waited %lld ms\n",
                json_opt_str(ended, "to", "?"), m->database,
                (long long)json_opt_int(ended, "pause_ms", 0));
        return 0;
    }
    err_set(e, ERR_FAILED, "the switchover was %s: %s", outcome, json_opt_str(ended, "why", "?"));
    err_fix(e,
        str_eq(outcome, "undone") ? "%s is the source as before; mend that and try again"
                                  : "bring %s back: it is the source and does not answer",
        json_opt_str(ended, str_eq(outcome, "undone") ? "from" : "to", "?"));
    return ERR_FAILED;
}

static int show_obstacles(struct moving *m, const json_t *answer)
{
    const json_t *list = json_object_get(answer, "obstacles");
    size_t i;
    json_t *text;
    if (m->ctx->json)
        cmd_print_json(answer);
    else if (!json_array_size(list))
        printf("nothing stands in the way; nothing was done\n");
    json_array_foreach (list, i, text)
        if (!m->ctx->json)
            printf("%s\n", json_string_value(text));
    return json_array_size(list) ? ERR_REFUSED : 0;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    uint64_t hold_ms = 10000, wait_ms = WAIT_DEFAULT_MS;
    bool dry_run = cmd_flag(ctx, "dry-run");
    struct moving m = {.ctx = ctx, .database = ctx->operands[0]};
    const char *to = cmd_opt(ctx, "to");
    _cleanup_free_ char *by = cmd_who();
    _cleanup_json_ json_t *answer = NULL, *ended = NULL;
    if (!to)
        return err_set(e, ERR_USAGE, "--to REGION: where is the source to go?");
    if (cmd_opt_duration(ctx, "hold", &hold_ms, e) < 0
        || cmd_opt_duration(ctx, "timeout", &wait_ms, e) < 0)
        return e->code;
    json_t *params = json_pack("{s:s,s:s,s:s,s:b,s:I}", "database", m.database, "to", to, "by", by,
        "dry_run", (int)dry_run, "hold_ms", (json_int_t)hold_ms);
    int r = params ? call(&m, "data.switchover", params, &answer, e)
                   : err_set(e, ERR_USAGE, "names are UTF-8");
    if (r < 0)
        return r;
    if (dry_run)
        return show_obstacles(&m, answer) < 0 ? err_set(e, ERR_REFUSED, "it would be refused") : 0;
    m.until_ms = clock_boot_ms() + wait_ms;
    m.id = json_opt_int(json_object_get(answer, "document"), "changes", 0);
    r = wait_end(&m, &ended, e);
    return r < 0 ? r : show_end(&m, ended, e);
}

const struct cmd cmd_data_switchover = {
    .name = "data switchover",
    .operands = "DATABASE",
    .summary = "Move a database's source to another region, as planned",
    .text =
        "Statements wait at the source's gate, what is in flight ends, the source becomes read-only, "
        "the target applies the last transaction and is the source from then on; the old one follows "
        "it. Nothing is lost: until the target has everything, whatever fails is undone and the old "
        "source goes on. Sessions are closed and connect again, to the new source.\n\n"
        "Refused while something stands in the way: a source that is not writable, a target that "
        "does not replicate or is behind by more than failover.max_lag, findings.\n\n"
        "JSON: id, from, to, outcome (done, undone, partial), why, gtid, pause_ms (how long writes "
        "waited), begun_ms, ended_ms; with --dry-run obstacles[], document.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"to", 0, "REGION", "the region, or the host, of the new source"},
        {"dry-run", 0, NULL, "say what stands in the way, do nothing"},
        {"hold", 0, "D", "let statements wait at most this long, then undo (default 10s)"},
        {"timeout", 't', "D", "wait at most this long for the end (default 5m)"}, CMD_OPT_JSON,
        {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
