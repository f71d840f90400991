/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/clock/clock.h"
#include "base/digest/digest.h"
#include "base/rnd/rnd.h"
#include "base/rpc/rpc.h"
#include "base/spawn/spawn.h"
#include "base/str/str.h"
#include "cmd/cli/priv.h"
#include "service/files/upload.h"

#include <poll.h>

#define CALL_MS 15000u
#define POLL_MS 300
#define PROBE_MS 5000u
#define AGAIN_MS 30000u /* a control that was killed has a successor by then */
#define TIMEOUT_DEFAULT_MS 1800000u

struct upgrade {
    struct cmd_ctx *ctx;
    json_t *params; /* of upgrade.plan and upgrade.start */
    uint64_t until_ms;
    json_t *told; /* {host: state} */
    bool reached; /* the platform runs */
    char id[17]; /* of the upgrade that this command began */
};

static int call(struct upgrade *u, const char *method, json_t *params, json_t **ret, struct err *e)
{
    struct rpc_client *c = NULL;
    int r = cmd_connect(u->ctx, NULL, &c, e);
    if (r < 0) {
        json_decref(params);
        return r;
    }
    u->reached = true;
    r = rpc_client_call(c, method, params, CALL_MS, NULL, NULL, ret, e);
    rpc_client_free(c);
    return r;
}

/* Begins it, takes `params`. Who is asked may end before the answer: the next one is told by the
 * id that this is the same upgrade. */
static int begin(struct upgrade *u, const char *method, json_t *params, struct err *e)
{
    uint64_t bits, until = clock_boot_ms() + AGAIN_MS;
    rnd_bytes(&bits, sizeof bits);
    snprintf(u->id, sizeof u->id, "%016llx", (unsigned long long)bits);
    json_object_set_new(params, "id", json_string(u->id));
    int r;
    for (;;) {
        _cleanup_json_ json_t *answer = NULL;
        r = call(u, method, json_incref(params), &answer, e);
        if (r != ERR_UNAVAILABLE || !u->reached || clock_boot_ms() >= until)
            break;
        poll(NULL, 0, POLL_MS);
    }
    json_decref(params);
    return r;
}

/* ---- what is new ---- */

static int read_file(struct upgrade *u, const char *path, struct err *e)
{
    char digest[DIGEST_SIZE];
    _cleanup_str_ struct str out = STR_INIT;
    _cleanup_json_ json_t *about = NULL;
    _cleanup_free_ char *real = realpath(path, NULL), *by = cmd_who();
    if (!real)
        return err_set(e, ERR_NOT_FOUND, "there is no %s", path);
    const char *const argv[] = {real, "version", "--json", NULL};
    const struct spawn_opts opts = {.timeout_ms = PROBE_MS};
    int r = digest_file(real, digest, e);
    if (r >= 0 && (r = spawn_check(argv, &opts, &out, e)) < 0)
        err_wrap(e, "%s does not run", path);
    if (r < 0)
        return r;
    if (json_parse(str_cstr(&out), out.len, &about, e) < 0
        || !json_is_array(json_object_get(about, "protocol"))) {
        err_set(e, ERR_REFUSED, "%s is no mcp: `version --json` does not say a protocol", path);
        return ERR_REFUSED;
    }
    const char *host = cmd_opt(u->ctx, "host");
    u->params = json_pack("{s:s,s:s,s:O,s:s,s:s*}", "digest", digest, "version",
        json_opt_str(about, "version", "?"), "protocol", json_object_get(about, "protocol"), "by",
        by, "host", host);
    return u->params ? 0 : err_set(e, ERR_USAGE, "the host's name is not UTF-8");
}

static int upload(struct upgrade *u, const char *path, struct err *e)
{
    struct rpc_client *c = NULL;
    int r = cmd_connect(u->ctx, NULL, &c, e);
    if (r >= 0)
        r = upload_one(c, path, json_opt_str(u->params, "digest", ""), e);
    rpc_client_free(c);
    return r;
}

/* ---- what is shown ---- */

static void show_hosts(const json_t *hosts)
{
    size_t i;
    json_t *h;
    json_array_foreach (hosts, i, h) {
        const json_t *binary = json_object_get(h, "binary"),
                     *range = json_object_get(binary, "protocol");
        printf("%-12s %-14s %s  protocol %lld to %lld  %.19s%s\n", json_opt_str(h, "host", "?"),
            json_opt_str(h, "region", ""), json_opt_str(binary, "version", "?"),
            (long long)json_integer_value(json_array_get(range, 0)),
            (long long)json_integer_value(json_array_get(range, 1)),
            json_opt_str(binary, "digest", "not heard"),
            json_opt_bool(binary, "trial", false) ? "  on trial" : "");
    }
}

static void show_upgrade(const json_t *doc)
{
    size_t i;
    json_t *h;
    if (!json_is_object(doc)) /* none yet */
        return;
    printf("\nupgrade to %s: %s%s%s\n", json_opt_str(doc, "version", "?"),
        json_opt_str(doc, "state", "?"), *json_opt_str(doc, "reason", "") ? ", " : "",
        json_opt_str(doc, "reason", ""));
    json_array_foreach (json_object_get(doc, "hosts"), i, h)
        printf("  %-12s %s\n", json_opt_str(h, "name", "?"), json_opt_str(h, "state", "?"));
}

static int show_status(struct upgrade *u, struct err *e)
{
    _cleanup_json_ json_t *status = NULL;
    int r = call(u, "upgrade.status", NULL, &status, e);
    if (r < 0)
        return r;
    if (u->ctx->json) {
        cmd_print_json(status);
        return 0;
    }
    printf("the platform acts at protocol %lld\n", (long long)json_opt_int(status, "protocol", 1));
    show_hosts(json_object_get(status, "hosts"));
    show_upgrade(json_object_get(status, "upgrade"));
    return 0;
}

static int show_plan(struct upgrade *u, struct err *e)
{
    _cleanup_json_ json_t *plan = NULL;
    size_t i;
    json_t *h;
    int r = call(u, "upgrade.plan", json_incref(u->params), &plan, e);
    if (r < 0)
        return r;
    if (u->ctx->json) {
        cmd_print_json(plan);
        return 0;
    }
    json_array_foreach (json_object_get(plan, "hosts"), i, h)
        printf("%zu. %s in %s: %.19s to %.19s\n", i + 1, json_opt_str(h, "host", "?"),
            json_opt_str(h, "region", "?"), json_opt_str(h, "from", ""),
            json_opt_str(u->params, "digest", ""));
    printf("roles are replaced one by one; no module is restarted; nothing was done\n");
    return 0;
}

/* ---- waiting ---- */

static void tell_changes(struct upgrade *u, const json_t *doc)
{
    size_t i;
    json_t *h;
    json_array_foreach (json_object_get(doc, "hosts"), i, h) {
        const char *name = json_opt_str(h, "name", "?"), *state = json_opt_str(h, "state", "?");
        if (str_eq(json_opt_str(u->told, name, "waiting"), state))
            continue;
        json_object_set_new(u->told, name, json_string(state));
        if (!u->ctx->json) {
            printf("%s: %s%s%s\n", name, state, *json_opt_str(h, "reason", "") ? ", " : "",
                json_opt_str(h, "reason", ""));
            fflush(stdout);
        }
    }
}

/* The control that answers is replaced as well: a lost connection is part of it. */
static int wait_end(struct upgrade *u, json_t **ret, struct err *e)
{
    struct err last = {0};
    while (clock_boot_ms() < u->until_ms) {
        _cleanup_json_ json_t *status = NULL;
        int r = call(u, "upgrade.status", NULL, &status, &last);
        json_t *doc = r < 0 ? NULL : json_object_get(status, "upgrade");
        /* That control has just begun, or has not heard of this upgrade yet. */
        if (!json_is_object(doc) || !str_eq(json_opt_str(doc, "id", u->id), u->id))
            doc = NULL;
        if (doc)
            tell_changes(u, doc);
        if (doc && !str_eq(json_opt_str(doc, "state", ""), "running")) {
            *ret = json_incref(doc);
            return 0;
        }
        poll(NULL, 0, POLL_MS);
    }
    err_set(e, ERR_TIMEOUT, "the upgrade goes on, but took longer than this command waits%s%s",
        *last.message ? ": " : "", last.message);
    err_fix(e, "`mcp upgrade` shows how far it is");
    return ERR_TIMEOUT;
}

static int finish(struct upgrade *u, struct err *e)
{
    _cleanup_json_ json_t *doc = NULL;
    if (cmd_flag(u->ctx, "no-wait"))
        return 0;
    int r = wait_end(u, &doc, e);
    if (r < 0)
        return r;
    if (u->ctx->json)
        cmd_print_json(doc);
    if (str_eq(json_opt_str(doc, "state", ""), "done")) {
        if (!u->ctx->json)
            printf("upgraded to %s\n", json_opt_str(doc, "version", "?"));
        return 0;
    }
    err_set(e, ERR_FAILED, "the upgrade stopped at %s", json_opt_str(doc, "reason", "?"));
    err_fix(e, "that host runs what it ran before; `mcp upgrade --rollback` takes the others back");
    return ERR_FAILED;
}

static int run_to(struct upgrade *u, const char *path, struct err *e)
{
    int r = read_file(u, path, e);
    if (r < 0 || cmd_flag(u->ctx, "dry-run"))
        return r < 0 ? r : show_plan(u, e);
    r = upload(u, path, e);
    if (r >= 0)
        r = begin(u, "upgrade.start", json_incref(u->params), e);
    return r < 0 ? r : finish(u, e);
}

static int run_rollback(struct upgrade *u, struct err *e)
{
    _cleanup_free_ char *by = cmd_who();
    json_t *params = json_pack("{s:s,s:s*,s:s}", "by", by, "host", cmd_opt(u->ctx, "host"),
        "version", "the binary before");
    int r = params ? begin(u, "upgrade.rollback", params, e)
                   : err_set(e, ERR_USAGE, "the host's name is not UTF-8");
    return r < 0 ? r : finish(u, e);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    uint64_t timeout_ms = TIMEOUT_DEFAULT_MS;
    struct upgrade u = {.ctx = ctx};
    const char *path = cmd_opt(ctx, "to");
    int r = cmd_opt_duration(ctx, "timeout", &timeout_ms, e);
    if (r < 0)
        return r;
    if (path && cmd_flag(ctx, "rollback"))
        return err_set(e, ERR_USAGE, "--to and --rollback are two different things");
    u.told = json_object();
    u.until_ms = clock_boot_ms() + timeout_ms;
    r = path ? run_to(&u, path, e) : cmd_flag(ctx, "rollback") ? run_rollback(&u, e)
                                                               : show_status(&u, e);
    json_decref(u.params);
    json_decref(u.told);
    return r;
}

const struct cmd cmd_upgrade = {
    .name = "upgrade",
    .operands = "",
    .summary = "Bring another mcp to every host, one after the other",
    .text = "Hosts of the DR region first, of the main region last. Each one fetches the binary by "
            "its digest, goes on as it without letting go of a socket, and replaces its roles one "
            "by one; modules and engines are not touched. The next host follows when this one is "
            "heard, all its roles are up and every unit that was ready is ready, in the same "
            "process. A host that is not well in time goes back by itself, and the upgrade stops "
            "there, with the reason.\n\n"
            "Two releases live together while their protocol ranges overlap; the platform acts at "
            "the lowest version present. Without --to and --rollback: what runs where. A newer "
            "Debian package takes precedence over what was upgraded before it.\n\n"
            "JSON: with --to: state (done, failed), reason, version, to, hosts[] {name, state, "
            "from, to, reason}; else platform, protocol, hosts[] {host, region, heard, binary}, "
            "upgrade.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"to", 0, "FILE", "the new mcp"},
        {"host", 0, "HOST", "this host only"},
        {"dry-run", 0, NULL, "check and show the order, do nothing"},
        {"rollback", 0, NULL, "each host that was upgraded goes back to what it ran before"},
        {"no-wait", 0, NULL, "do not wait until it is over"},
        {"timeout", 't', "D", "wait at most this long (default 30m)"}, CMD_OPT_JSON, {0}},
    .run = run,
};
