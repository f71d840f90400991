/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#include <poll.h>
#include <unistd.h>

#define CALL_MS 15000u
#define POLL_MS 200
#define WAIT_DEFAULT_MS 180000u

struct failing { /* over */
    struct cmd_ctx *ctx;
    char database[64];
    int64_t id;
    uint64_t until_ms;
    size_t told; /* steps */
};

/* What is done in a step, at which of the two hosts. */
static const struct {
    const char *step, *text;
    bool at_target;
} steps[] = {
    {"fencing", "is kept from writing: lease revoked, and waited for", false},
    {"fenced", "cannot acknowledge a write any more", false},
    {"promoting", "becomes the source", true},
    {"verifying", "writes and reads back", true},
    {"admitting", "gets its standby instances admitted", true},
    {"switching", "takes the users: names lead to living regions", true},
    {"restoring", "gets its lease back: it is called off", false},
};

static void tell_step(const json_t *change, const json_t *step)
{
    const char *name = json_opt_str(step, "step", "?");
    size_t i = 0;
    while (i < ARRAY_SIZE(steps) && !str_eq(steps[i].step, name))
        i++;
    bool known = i < ARRAY_SIZE(steps), target = known && steps[i].at_target;
    printf("%6lld ms  %-9s %s %s\n", (long long)json_opt_int(step, "at_ms", 0), name,
        json_opt_str(change, target ? "to" : "from", "?"), known ? steps[i].text : "");
}

static void tell(struct failing *f, const json_t *change)
{
    const json_t *list = json_object_get(change, "steps");
    for (; !f->ctx->json && f->told < json_array_size(list); f->told++)
        tell_step(change, json_array_get(list, f->told));
    fflush(stdout);
}

/* The change's own record once it has ended; the control that answers may be another each time. */
static int wait_end(struct failing *f, json_t **ret, struct err *e)
{
    struct err last = {0};
    while (clock_boot_ms() < f->until_ms) {
        _cleanup_json_ json_t *doc = NULL;
        int r = cmd_call(f->ctx, "data.switchover.status",
            json_pack("{s:s}", "database", f->database), CALL_MS, &doc, &last);
        const json_t *change = json_object_get(doc, "change"),
                     *ended = json_object_get(doc, "last");
        if (r >= 0 && json_opt_int(change, "id", 0) == f->id)
            tell(f, change);
        else if (r >= 0 && json_opt_int(ended, "id", 0) >= f->id) {
            if (json_opt_int(ended, "id", 0) == f->id)
                tell(f, ended);
            *ret = json_deep_copy(ended);
            return 0;
        }
        poll(NULL, 0, POLL_MS);
    }
    err_set(e, ERR_TIMEOUT, "the failover goes on, but took longer than this command waits%s%s",
        *last.message ? ": " : "", last.message);
    err_fix(e, "`mcp explain failover %s` shows what it waits for", f->database);
    return ERR_TIMEOUT;
}

static void show_missing(const json_t *ended)
{
    const json_t *m = json_object_get(ended, "missing");
    const char *from = json_opt_str(m, "from_gtid", ""), *to = json_opt_str(m, "to_gtid", "");
    if (!json_is_object(m))
        return;
    if (str_eq(from, to) && *to)
        printf("nothing is known to be missing: both were at %s\n", to);
    else
        printf("missing at most what the old source had after %s (last known there: %s)\n",
            *from ? from : "?", *to ? to : "not known");
}

static int show_end(struct failing *f, const json_t *ended, struct err *e)
{
    const char *outcome = json_opt_str(ended, "outcome", "?");
    bool done = str_eq(outcome, "done");
    if (f->ctx->json) {
        cmd_print_json(ended);
        return done ? 0 : 1;
    }
    if (done) {
        printf("%s is the source of %s now, after %lld ms\n", json_opt_str(ended, "to", "?"),
            f->database,
            (long long)(json_opt_int(ended, "ended_ms", 0) - json_opt_int(ended, "begun_ms", 0)));
        show_missing(ended);
        return 0;
    }
    err_set(e, ERR_FAILED, "the failover was %s: %s", outcome, json_opt_str(ended, "why", "?"));
    err_fix(e,
        str_eq(outcome, "partial") ? "the source has moved; what is left is tried again by itself"
                                   : "%s is the source as before",
        json_opt_str(ended, "from", "?"));
    return ERR_FAILED;
}

static int confirm(const struct cmd_ctx *ctx, const char *to, struct err *e)
{
    char line[128] = "";
    if (cmd_flag(ctx, "yes"))
        return 0;
    if (isatty(STDIN_FILENO) && !ctx->json) {
        printf("What the old source has and %s has not would be missing. Type the region's name: ",
            to);
        fflush(stdout);
        if (fgets(line, sizeof line, stdin))
            line[strcspn(line, "\n")] = '\0';
        if (str_eq(line, to))
            return 0;
    }
    err_set(e, ERR_REFUSED, "not confirmed: a failover is no switchover, the newest writes may be missing");
    err_fix(e, "--yes says that it may; `mcp data switchover` loses nothing");
    return e->code;
}

static json_t *params_of(struct cmd_ctx *ctx, const char *to, struct err *e)
{
    uint64_t loss_ms = 0;
    _cleanup_free_ char *by = cmd_who();
    const char *database = cmd_opt(ctx, "database"), *why = cmd_opt(ctx, "why");
    if (cmd_opt_duration(ctx, "accept-loss", &loss_ms, e) < 0)
        return NULL;
    json_t *params = json_pack("{s:s,s:s,s:s,s:s,s:I,s:b}", "database", database ? database : "",
        "to", to, "by", by, "why", why ? why : "", "accept_loss_ms",
        cmd_opt(ctx, "accept-loss") ? (json_int_t)loss_ms : (json_int_t)-1, "source_off",
        (int)cmd_flag(ctx, "attest-source-off"));
    if (!params)
        err_set(e, ERR_USAGE, "names and reasons are UTF-8");
    return params;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct failing f = {.ctx = ctx};
    uint64_t wait_ms = WAIT_DEFAULT_MS;
    const char *to = cmd_opt(ctx, "to");
    _cleanup_json_ json_t *answer = NULL, *ended = NULL;
    if (!to)
        return err_set(e, ERR_USAGE, "--to REGION: where is the source to go?");
    if (cmd_opt_duration(ctx, "timeout", &wait_ms, e) < 0 || confirm(ctx, to, e) < 0)
        return e->code;
    json_t *params = params_of(ctx, to, e);
    int r = params ? cmd_call(ctx, "failover", params, CALL_MS, &answer, e) : e->code;
    if ((r == ERR_UNAVAILABLE || r == ERR_TIMEOUT) && !*e->fix)
        err_fix(e, "it may have begun all the same: `mcp explain failover` says so");
    if (r < 0)
        return r;
    str_copy(f.database, sizeof f.database, json_opt_str(answer, "database", ""));
    f.until_ms = clock_boot_ms() + wait_ms;
    f.id = json_opt_int(json_object_get(answer, "document"), "changes", 0);
    r = wait_end(&f, &ended, e);
    return r < 0 ? r : show_end(&f, ended, e);
}

const struct cmd cmd_failover = {
    .name = "failover",
    .operands = "",
    .summary = "Make a replica the source, because the source is lost",
    .text =
        "By hand what the platform does by itself with `failover.auto: true`: the old source is "
        "fenced (its lease is revoked and waited for), the replica is promoted at the next epoch, "
        "verified by a write, users are sent to living regions. The newest writes of the old source "
        "may be missing; what lives is moved by `mcp data switchover`, which loses nothing.\n\n"
        "Rules forbid it where it could do harm; `mcp explain failover` lists them. --accept-loss "
        "takes writes of so long as lost (and a replica whose lag is not known: 7d, whatever it is), "
        "--attest-source-off stands in for the proof that the old source does not write any more: "
        "say it only of a machine whose power is off. A majority of the state store's members, one "
        "history and a journal that takes writes are never waived.\n\n"
        "JSON: id, from, to, outcome (done, undone, partial), why, by, auto, proof, missing "
        "{from_gtid, to_gtid, known, since_ms}, begun_ms, ended_ms, steps[] {step, at_ms}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"to", 0, "REGION", "the region, or the host, of the new source"},
        {"database", 0, "DB", "which database, where several have replicas"},
        {"accept-loss", 0, "D", "writes of so long may be lost"},
        {"attest-source-off", 0, NULL, "the old source is powered off, I have seen to it"},
        {"why", 0, "TEXT", "a reason, for the timeline"},
        {"yes", 0, NULL, "do not ask"},
        {"timeout", 't', "D", "wait at most this long for the end (default 3m)"}, CMD_OPT_JSON,
        {0}},
    .run = run,
};
