/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_secret.h"
#include "cmd/cli/plan_view.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"
#include "cmd/cli/priv.h"
#include "domain/model/model.h"
#include "domain/plan/plan.h"
#include "domain/revision/revision.h"
#include "service/files/upload.h"

#include <errno.h>
#include <limits.h>

#define ACTIONS_SHOWN 20
#define TIMEOUT_DEFAULT_MS 300000u
#define TIMEOUT_MAX_MS 3600000u
#define WRITE_TIMEOUT_MS 30000u /* what an etcd without a leader may take, and some */

struct apply {
    struct cmd_ctx *ctx;
    struct rpc_client *client;
    struct model *model;     /* what is wanted, or the undone revision's */
    struct revision *undone; /* --revision N */
    struct revision *from;   /* current; NULL: none yet */
    json_t *files;           /* owned without `undone` */
    struct plan *plan;
    char *note;
    int64_t expect;
    uint64_t timeout_ms, begun_ms;
    bool on_line; /* the last progress text stands on the terminal's line */
};

static void done(struct apply *a)
{
    plan_free(a->plan);
    revision_free(a->from);
    if (a->undone)
        revision_free(a->undone); /* the model and the files are its own */
    else
        model_free(a->model);
    json_decref(a->files);
    rpc_client_free(a->client);
    free(a->note);
}

static int get_revision(struct apply *a, int64_t number, struct revision **ret, struct err *e)
{
    _cleanup_json_ json_t *json = NULL;
    int r = cmd_revision_get(a->client, number, &json, e);
    return r < 0 ? r : revision_parse(json, ret, e);
}

/* What shall be: the declaration with its files, or an older revision's content. */
static int load_wanted(struct apply *a, struct err *e)
{
    int64_t number = -1;
    int r = cmd_opt_number(a->ctx, "revision", &number, e);
    if (r < 0)
        return r;
    const char *note = cmd_opt(a->ctx, "note");
    if (number < 0) {
        a->note = xstrdup(note ? note : "");
        return cmd_load_resolved(a->ctx, &a->model, &a->files, e);
    }
    r = get_revision(a, number, &a->undone, e);
    if (r < 0)
        return err_wrap(e, "revision %lld", (long long)number);
    a->model = a->undone->model;
    a->files = json_incref((json_t *)a->undone->files);
    a->note =
        note ? xstrdup(note) : xasprintf("back to revision %lld", (long long)a->undone->number);
    return 0;
}

/* The revision written is the one that was shown: if another came between, nothing is written. */
static int load_current(struct apply *a, struct err *e)
{
    struct err why;
    int r = get_revision(a, 0, &a->from, &why);
    if (r < 0 && why.code != ERR_NOT_FOUND) {
        *e = why;
        return r;
    }
    a->expect = a->from ? (int64_t)a->from->number : 0;
    return cmd_opt_number(a->ctx, "expect", &a->expect, e);
}

static void show_plan(const struct apply *a)
{
    long long number = a->from ? (long long)a->from->number : 0;
    if (!a->plan->n && a->from)
        printf("%s: nothing to change, revision %lld says the same\n", a->model->platform, number);
    else
        printf("%s: revision %lld → %lld\n\n", a->model->platform, number, number + 1);
    cmd_plan_print(a->ctx, a->plan, ACTIONS_SHOWN);
    fflush(stdout);
}

static json_t *plan_as_json(const struct apply *a)
{
    uint64_t number = a->from ? a->from->number : 0;
    return plan_json(a->plan, a->model->platform, number, a->plan->n ? number + 1 : number);
}

/* {"text", "done", "total"}, the figures only where something is counted. */
static int show_progress(void *ctx, json_t *part)
{
    struct apply *a = ctx;
    char count[64] = "";
    if (a->ctx->json)
        return 0;
    int64_t total = json_opt_int(part, "total", 0);
    if (total > 0)
        snprintf(count, sizeof count, " (%lld of %lld)", (long long)json_opt_int(part, "done", 0),
            (long long)total);
    _cleanup_free_ char *line = xasprintf("%s%s", json_opt_str(part, "text", ""), count);
    struct table_style style = cmd_style(a->ctx);
    if (a->ctx->terminal && style.width) /* a line that wraps could not be written over */
        line[table_text_fit(line, style.width - 1)] = '\0';
    _cleanup_str_ struct str clean = STR_INIT;
    table_mark_text(&clean, &style, TABLE_DIM, line);
    if (a->ctx->terminal)
        printf("\r\033[K%s", str_cstr(&clean));
    else
        printf("%s\n", str_cstr(&clean));
    a->on_line = a->ctx->terminal;
    fflush(stdout);
    return 0;
}

char *cmd_who(void)
{
    char host[HOST_NAME_MAX + 1] = "";
    const char *user = getenv("SUDO_USER");
    struct passwd *pw = user && *user ? NULL : getpwuid(geteuid());
    gethostname(host, sizeof host - 1);
    return xasprintf("%s@%s", pw ? pw->pw_name : user && *user ? user : "root", host);
}

static void show_upload(void *ctx, const char *what, int64_t done, int64_t total)
{
    _cleanup_free_ char *text = xasprintf("uploading the image of %s: %lld of %lld MiB", what,
        (long long)(done >> 20), (long long)(total >> 20));
    _cleanup_json_ json_t *part = json_pack("{s:s}", "text", text);
    if (part)
        show_progress(ctx, part);
}

/* What an older revision names was brought when it was applied. */
static int upload(struct apply *a, struct err *e)
{
    struct upload_progress progress = {show_upload, a};
    if (a->undone)
        return 0;
    _cleanup_free_ char *dir = cmd_platform_dir(a->ctx);
    int r = upload_files(a->client, a->model, dir, a->files, &progress, e);
    if (a->on_line)
        printf("\r\033[K");
    a->on_line = false;
    return r;
}

static int call(struct apply *a, json_t **ret, struct err *e)
{
    bool wait = cmd_flag(a->ctx, "wait");
    _cleanup_free_ char *by = cmd_who();
    json_t *params = json_pack("{s:O,s:O,s:I,s:s,s:s,s:b,s:I}", "platform", a->model->tree, "files",
        a->files, "expect", (json_int_t)a->expect, "note", a->note, "by", by, "wait", wait,
        "timeout_ms", (json_int_t)a->timeout_ms);
    if (!params)
        return err_set(e, ERR_USAGE, "--note is not UTF-8");
    int r = rpc_client_call(a->client, "apply", params,
        WRITE_TIMEOUT_MS + (wait ? a->timeout_ms : 0), show_progress, a, ret, e);
    if (a->on_line)
        printf("\r\033[K");
    if (r == ERR_CONFLICT && !*e->fix)
        err_fix(e, "somebody else applied meanwhile: `mcp plan` shows what is left to do");
    return r;
}

static void report(const struct apply *a, const json_t *answer)
{
    long long number = (long long)json_opt_int(answer, "revision", 0);
    if (a->ctx->json) {
        _cleanup_json_ json_t *j = plan_as_json(a);
        json_object_update(j, (json_t *)answer);
        cmd_print_json(j);
        return;
    }
    double s = (double)(clock_boot_ms() - a->begun_ms) / 1000;
    bool unchanged = json_opt_bool(answer, "unchanged", false);
    if (cmd_flag(a->ctx, "wait"))
        printf("revision %lld is %s and ready after %.1f s\n", number,
            unchanged ? "in force" : "applied", s);
    else if (unchanged)
        printf("revision %lld stays\n", number);
    else
        printf("revision %lld is applied; `mcp status` shows the hosts follow\n", number);
}

static int apply(struct apply *a, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = cmd_opt_duration(a->ctx, "timeout", &a->timeout_ms, e);
    if (r >= 0 && (a->timeout_ms == 0 || a->timeout_ms > TIMEOUT_MAX_MS))
        r = err_set(e, ERR_USAGE, "--timeout must be more than 0 and at most 1h");
    if (r >= 0 && !cmd_flag(a->ctx, "revision"))
        r = load_wanted(a, e); /* a declaration that is wrong is told before anybody is asked */
    if (r >= 0)
        r = cmd_connect(a->ctx, NULL, &a->client, e);
    if (r >= 0 && cmd_flag(a->ctx, "revision"))
        r = load_wanted(a, e);
    if (r >= 0)
        r = load_current(a, e);
    if (r >= 0)
        r = cmd_same_platform(a->model, a->from, e);
    if (r < 0)
        return r;
    struct plan_side old = {a->from ? a->from->model : NULL, a->from ? a->from->files : NULL};
    a->plan = plan_make(&old, &(struct plan_side){a->model, a->files});
    if (!a->ctx->json)
        show_plan(a);
    cmd_secret_warn(a->ctx, a->client, a->model);
    if (cmd_flag(a->ctx, "dry-run")) {
        _cleanup_json_ json_t *j = plan_as_json(a);
        if (a->ctx->json)
            cmd_print_json(j);
        return 0;
    }
    r = plan_refusal(a->plan, e);
    if (r >= 0)
        r = upload(a, e);
    if (r >= 0)
        r = call(a, &answer, e);
    if (r >= 0)
        report(a, answer);
    return r < 0 ? r : 0;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct apply a = {.ctx = ctx, .timeout_ms = TIMEOUT_DEFAULT_MS, .begun_ms = clock_boot_ms()};
    int r = apply(&a, e);
    done(&a);
    return r;
}

const struct cmd cmd_apply = {
    .name = "apply",
    .operands = "",
    .summary = "Make the declaration, or an older revision, the state of the platform",
    .text =
        "Checks the declaration, resolves every file that it names to a digest, shows what "
        "will change, uploads the images and files that the platform does not have yet (what an "
        "interrupted upload left is not sent again), and writes the next revision once they "
        "lie on two hosts. Every host follows it by itself and pulls what it lacks from the "
        "others. If somebody else applied between the showing and the writing, nothing is written. A "
        "declaration that is refused leaves the running revision untouched.\n\n"
        "--wait stays until every host runs the revision and everything in it is ready, for "
        "at most --timeout; when the time is over the exit status is 1 and the platform goes "
        "on towards the revision.\n\n"
        "--revision N undoes: the content of revision N becomes a new revision. Revisions are "
        "never changed or removed by it.\n\n"
        "JSON: platform, from, to, actions[] as `mcp plan` has them, and revision, unchanged, "
        "ready.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"wait", 'w', NULL, "until everything is ready"},
        {"timeout", 't', "D", "with --wait: at most this long (default 5m)"},
        {"revision", 'r', "N", "apply the content of revision N again"},
        {"note", 'n', "TEXT", "why, kept with the revision"},
        {"expect", 0, "N",
            "only if revision N is current (0: none); default: the one that was compared with"},
        {"dry-run", 0, NULL, "show what would change, change nothing"}, CMD_OPT_JSON, {0}},
    .run = run,
};
