/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_data.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"

#include <poll.h>
#include <unistd.h>

#define CALL_MS 15000u
#define POLL_MS 300
#define WAIT_DEFAULT_MS 86400000u

struct seeding {
    struct cmd_ctx *ctx;
    const char *database, *host;
    int64_t id;
    uint64_t until_ms;
    char told[128];
};

/* A connection for each question: the control that answers may be restarted meanwhile. */
static int call(
    struct seeding *s, const char *method, json_t *params, json_t **ret, struct err *e)
{
    return cmd_call(s->ctx, method, params, CALL_MS, ret, e);
}

static int confirm(const struct seeding *s, struct err *e)
{
    char line[128] = "";
    if (cmd_flag(s->ctx, "yes"))
        return 0;
    if (isatty(STDIN_FILENO)) {
        printf("What %s holds of %s is replaced by a copy of the source. Type the database's name: ",
            s->host, s->database);
        fflush(stdout);
        if (fgets(line, sizeof line, stdin))
            line[strcspn(line, "\n")] = '\0';
        if (str_eq(line, s->database))
            return 0;
    }
    err_set(e, ERR_REFUSED, "not confirmed: what %s holds of %s would be replaced", s->host,
        s->database);
    err_fix(e, "--yes says that it may");
    return e->code;
}

static void tell(struct seeding *s, const json_t *seed, const char *state)
{
    char text[sizeof s->told];
    const char *step = json_opt_str(seed, "step", "none"), *why = json_opt_str(seed, "why", "");
    if (str_eq(step, "none"))
        snprintf(text, sizeof text, "%s", state);
    else if (json_opt_int(seed, "total", 0) && (str_eq(step, "make") || str_eq(step, "fetch")))
        snprintf(text, sizeof text, "%s: %lld of %s%lld MiB", step,
            (long long)json_opt_int(seed, "bytes", 0) >> 20, str_eq(step, "make") ? "at most " : "",
            (long long)json_opt_int(seed, "total", 0) >> 20);
    else
        snprintf(text, sizeof text, "%s", step);
    if (*why)
        snprintf(text + strlen(text), sizeof text - strlen(text), ": %.80s", why);
    if (s->ctx->json || str_eq(text, s->told))
        return;
    str_copy(s->told, sizeof s->told, text);
    printf("%s\n", text);
    fflush(stdout);
}

/* Until the copy is in place and replication goes on behind it. */
static int wait_end(struct seeding *s, json_t **ret, struct err *e)
{
    struct err last = {0};
    while (clock_boot_ms() < s->until_ms) {
        _cleanup_json_ json_t *answer = NULL;
        json_t *params = json_pack("{s:s,s:s,s:s,s:{s:s}}", "database", s->database, "host", s->host,
            "method", "data.seed.status", "params", "database", s->database);
        int r = call(s, "data.look", params, &answer, &last);
        const json_t *seed = json_object_get(answer, "seed");
        const char *state = json_opt_str(answer, "state", ""),
                   *outcome = json_opt_str(seed, "outcome", "");
        /* A role that was restarted at the very end has forgotten it. */
        bool forgotten = r >= 0 && !json_is_object(seed) && str_eq(state, "replicating");
        bool over = forgotten || json_opt_int(seed, "id", 0) >= s->id;
        if (r >= 0 && over)
            tell(s, seed, state);
        if (over && (str_eq(outcome, "failed") || str_eq(state, "replicating")) && (forgotten || *outcome)) {
            *ret = json_deep_copy(answer);
            return 0;
        }
        poll(NULL, 0, POLL_MS);
    }
    err_set(e, ERR_TIMEOUT, "the seed goes on, but took longer than this command waits%s%s",
        *last.message ? ": " : "", last.message);
    err_fix(e, "`mcp data status %s` shows how far it is", s->database);
    return ERR_TIMEOUT;
}

static int begin(struct seeding *s, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    json_t *params = json_pack("{s:s,s:s}", "database", s->database, "host", s->host);
    int r = params ? call(s, "data.seed", params, &answer, e)
                   : err_set(e, ERR_USAGE, "names are UTF-8");
    s->id = json_opt_int(answer, "id", 0);
    return r;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    uint64_t wait_ms = WAIT_DEFAULT_MS;
    struct seeding s = {.ctx = ctx, .database = ctx->operands[0], .host = cmd_opt(ctx, "host")};
    _cleanup_json_ json_t *end = NULL;
    if (!s.host)
        return err_set(e, ERR_USAGE, "--host HOST: which member is to be seeded?");
    int r = cmd_opt_duration(ctx, "timeout", &wait_ms, e);
    if (r >= 0)
        r = confirm(&s, e);
    if (r >= 0)
        r = begin(&s, e);
    s.until_ms = clock_boot_ms() + wait_ms;
    if (r >= 0)
        r = wait_end(&s, &end, e);
    if (r < 0)
        return r;
    const json_t *seed = json_object_get(end, "seed");
    if (ctx->json)
        cmd_print_json(end);
    if (!str_eq(json_opt_str(seed, "outcome", ""), "failed"))
        return 0;
    err_set(e, ERR_FAILED, "%s was not seeded: %s", s.host, json_opt_str(seed, "why", "?"));
    err_fix(e, "what it held is as it was; mend that and try again");
    return e->code;
}

const struct cmd cmd_data_seed = {
    .name = "data seed",
    .operands = "DATABASE",
    .summary = "Replace a replica's data by a copy of the source",
    .text =
        "The source makes a copy of all its data while it works (throttled), the replica's host "
        "fetches it from there, and the replica's server is restarted with it and follows from the "
        "copy's position on. Until then the replica keeps what it has; a transfer that was cut goes "
        "on where it stopped, whoever was killed meanwhile. Refused for the source, and where there "
        "is no room: a seed needs up to twice the size of the data on the replica's disk, and once "
        "on the source's.\n\n"
        "What the replica held lies in `before/` beside its data until the next seed. The command "
        "waits until it replicates again; ended earlier, the seed goes on.\n\n"
        "JSON: seed {id, step, from, bytes, total, percent, gtid, outcome (done, failed), why}, "
        "state.",
    .opts = (const struct cmd_opt[]){{"host", 0, "HOST", "the member that is seeded"},
        {"yes", 'y', NULL, "its data may be replaced: do not ask"},
        {"timeout", 't', "D", "wait at most this long for the end (default 24h)"}, CMD_OPT_FILE,
        CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
