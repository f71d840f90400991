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
    size_t told; /* steps */
};

static int call(struct moving *m, const char *method, json_t *params, json_t **ret, struct err *e)
{
    return cmd_call(m->ctx, method, params, CALL_MS, ret, e);
}

/* What is done in a step, and at which of the two hosts. */
static const struct {
    const char *step, *text;
    bool at_target;
} steps[] = {
    {"hold", "lets statements wait at its gate", false},
    {"freeze", "becomes read-only", false},
    {"equal", "applies the last transaction", true},
    {"promote", "becomes the source", true},
    {"release", "sends away what waits", false},
    {"reverse", "follows the new source", false},
    {"undo", "goes on as the source", false},
};

static void tell_step(const json_t *change, const json_t *step)
{
    const char *name = json_opt_str(step, "step", "?");
    size_t i = 0;
    while (i < ARRAY_SIZE(steps) && !str_eq(steps[i].step, name))
        i++;
    bool known = i < ARRAY_SIZE(steps), target = known && steps[i].at_target;
    printf("%6lld ms  %-8s %s %s\n", (long long)json_opt_int(step, "at_ms", 0), name,
        json_opt_str(change, target ? "to" : "from", "?"), known ? steps[i].text : "");
}

/* Those that are new since it was asked last. */
static void tell(struct moving *m, const json_t *change)
{
    const json_t *list = json_object_get(change, "steps");
    for (; !m->ctx->json && m->told < json_array_size(list); m->told++)
        tell_step(change, json_array_get(list, m->told));
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
        if (r >= 0 && json_opt_int(ended, "id", 0) == m->id)
            tell(m, ended);
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
    bool done = str_eq(outcome, "done");
    if (m->ctx->json) {
        cmd_print_json(ended);
        return done ? 0 : 1;
    }
    if (done) {
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

static int show_obstacles(struct moving *m, const json_t *answer, struct err *e)
{
    const json_t *list = json_object_get(answer, "obstacles");
    size_t i, n = json_array_size(list);
    json_t *text;
    if (m->ctx->json) {
        cmd_print_json(answer);
        return n ? 3 : 0;
    }
    if (!n)
        printf("nothing stands in the way; nothing was done\n");
    json_array_foreach (list, i, text)
        printf("%s\n", json_string_value(text));
    return n ? err_set(e, ERR_REFUSED, "it would be refused") : 0;
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
    if ((r == ERR_UNAVAILABLE || r == ERR_TIMEOUT)
        && !*e->fix) /* asked, perhaps, of a control that died */
        err_fix(e, "it may have begun all the same: `mcp data status %s --json` says in `change`",
            m.database);
    if (r < 0)
        return r;
    if (dry_run)
        return show_obstacles(&m, answer, e);
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
        "waited), begun_ms, ended_ms, steps[] {step, at_ms}; with --dry-run obstacles[], document.",
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
