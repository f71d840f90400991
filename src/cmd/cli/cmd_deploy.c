/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_deploy.h"

#include "base/clock/clock.h"
#include "base/digest/digest.h"
#include "base/rpc/rpc.h"
#include "cmd/cli/priv.h"
#include "service/files/files.h"
#include "domain/revision/revision.h"
#include "service/files/upload.h"

#define TIMEOUT_DEFAULT_MS (15u * 60 * 1000)
#define TIMEOUT_MAX_MS 3600000u
#define WRITE_TIMEOUT_MS 540000u /* an etcd without a leader, and a minute for each function of `before` */

struct roll {
    struct cmd_ctx *ctx;
    bool on_line; /* the last progress text stands on the terminal's line */
};

static int show(void *ctx, json_t *part)
{
    struct roll *r = ctx;
    const char *text = json_opt_str(part, "text", "");
    if (r->ctx->json)
        return 0;
    _cleanup_free_ char *line = xstrdup(text);
    struct table_style style = cmd_style(r->ctx);
    if (r->ctx->terminal && style.width) /* a line that wraps could not be written over */
        line[table_text_fit(line, style.width - 1)] = '\0';
    _cleanup_str_ struct str clean = STR_INIT;
    table_mark_text(&clean, &style, TABLE_DIM, line);
    printf(r->ctx->terminal ? "\r\033[K%s" : "%s\n", str_cstr(&clean));
    r->on_line = r->ctx->terminal;
    fflush(stdout);
    return 0;
}

static void report(const struct cmd_ctx *ctx, const json_t *answer, bool wait, uint64_t begun_ms)
{
    long long number = (long long)json_opt_int(answer, "revision", 0);
    double s = (double)(clock_boot_ms() - begun_ms) / 1000;
    if (ctx->json)
        cmd_print_json(answer);
    else if (wait)
        printf("%s is as revision %lld says after %.1f s\n", ctx->operands[0], number, s);
    else if (json_opt_bool(answer, "unchanged", false))
        printf("revision %lld says the same\n", number);
    else
        printf("revision %lld is written; `mcp deploy status %s` shows the rollout\n", number,
            ctx->operands[0]);
}

static int timeout_of(const struct cmd_ctx *ctx, uint64_t *ret, struct err *e)
{
    *ret = TIMEOUT_DEFAULT_MS;
    int r = cmd_opt_duration(ctx, "timeout", ret, e);
    if (r >= 0 && (*ret == 0 || *ret > TIMEOUT_MAX_MS))
        r = err_set(e, ERR_USAGE, "--timeout must be more than 0 and at most 1h");
    return r;
}

int cmd_roll(struct cmd_ctx *ctx, struct rpc_client *client, const char *method, json_t *params,
    struct err *e)
{
    struct roll roll = {.ctx = ctx};
    uint64_t timeout_ms, begun_ms = clock_boot_ms();
    bool wait = (ctx->terminal || cmd_flag(ctx, "wait")) && !cmd_flag(ctx, "no-wait");
    const char *note = cmd_opt(ctx, "note");
    _cleanup_free_ char *by = cmd_who();
    _cleanup_json_ json_t *answer = NULL;
    json_t *more = NULL;
    int r = timeout_of(ctx, &timeout_ms, e);
    if (r >= 0)
        more = json_pack("{s:s,s:b,s:I,s:s}", "by", by, "wait", (int)wait, "timeout_ms",
            (json_int_t)timeout_ms, "note", note ? note : "");
    if (r >= 0 && (!more || !params))
        r = err_set(e, ERR_USAGE, "what was given is not UTF-8");
    if (r >= 0) {
        json_object_update(params, more);
        r = rpc_client_call(client, method, json_incref(params),
            WRITE_TIMEOUT_MS + (wait ? timeout_ms : 0), show, &roll, &answer, e);
    }
    if (roll.on_line)
        printf("\r\033[K");
    if (r >= 0)
        report(ctx, answer, wait, begun_ms);
    json_decref(more);
    json_decref(params);
    rpc_client_free(client);
    return r < 0 ? r : 0;
}

static int resolve(const struct cmd_ctx *ctx, const char *image, json_t *params, struct err *e)
{
    char digest[DIGEST_SIZE];
    _cleanup_free_ char *layout = NULL, *dir = cmd_platform_dir(ctx);
    if (digest_valid(image)) {
        json_object_set_new(params, "digest", json_string(image));
        return 0;
    }
    const char *key = revision_image_key(image);
    if (!key) {
        err_set(e, ERR_USAGE, "--image: '%s' is no image", image);
        err_fix(e,
            "oci:PATH[:TAG], docker://HOST/NAME[:TAG], or sha256:... of one that the platform has");
        return ERR_USAGE;
    }
    int r = files_image_digest(dir, key, digest, &layout, e);
    if (r < 0)
        return err_wrap(e, "--image %s", image);
    json_object_set_new(params, "image", json_string(image));
    json_object_set_new(params, "digest", json_string(digest));
    return 0;
}

static void show_upload(void *ctx, const char *what, int64_t done, int64_t total)
{
    _cleanup_free_ char *text = xasprintf("uploading the image of %s: %lld of %lld MiB", what,
        (long long)(done >> 20), (long long)(total >> 20));
    _cleanup_json_ json_t *part = json_pack("{s:s}", "text", text);
    if (part)
        show(ctx, part);
}

static int upload(
    struct cmd_ctx *ctx, struct rpc_client *client, const json_t *params, struct err *e)
{
    const char *image = json_opt_str(params, "image", NULL);
    struct roll roll = {.ctx = ctx};
    struct upload_progress progress = {show_upload, &roll};
    if (!image)
        return 0;
    _cleanup_free_ char *dir = cmd_platform_dir(ctx);
    int r = upload_image(client, ctx->operands[0], image, dir, &progress, e);
    if (roll.on_line)
        printf("\r\033[K");
    return r;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rpc_client *client;
    const char *image = cmd_opt(ctx, "image");
    _cleanup_json_ json_t *params = json_pack("{s:s}", "module", ctx->operands[0]);
    int r = params ? 0 : err_set(e, ERR_USAGE, "the module's name is not UTF-8");
    if (r >= 0 && image)
        r = resolve(ctx, image, params, e);
    if (r >= 0)
        r = cmd_connect(ctx, NULL, &client, e);
    if (r < 0)
        return r;
    r = upload(ctx, client, params, e);
    if (r >= 0)
        return cmd_roll(ctx, client, "deploy", json_incref(params), e);
    rpc_client_free(client);
    return r;
}

const struct cmd cmd_deploy = {
    .name = "deploy",
    .operands = "MODULE",
    .summary = "Roll out another image of one module",
    .text =
        "Writes a new revision that differs from the current one in the module's image, and rolls "
        "it out as the module's `rollout` says: region after region, dr first and main last, new "
        "instances ready before old ones leave. If the new ones do not get ready, everything goes "
        "back to what ran before by itself, and the exit status is 1 with the reason.\n\n"
        "--image is an OCI image layout, relative to the declaration's folder like in the file, or "
        "the digest of an image that the platform has. Without it what is declared is tried again, "
        "after a rollout that was taken back.\n\n"
        "The declaration's file is not changed: write the image there too, or the next `mcp apply` "
        "brings the old one back.\n\n"
        "JSON: revision, unchanged, ready.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"image", 'i', "IMAGE", "oci:PATH[:TAG], or sha256:... that the platform has"},
        CMD_OPTS_ROLL, CMD_OPT_JSON, {0}},
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
