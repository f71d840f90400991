/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/priv.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>

#define ANSWER_TIMEOUT_MS 10000
#define WATCH_INTERVAL_MS 1000

/* A connection for each look: while hosts die and come back, the next one is asked. */
static int ask(const struct cmd_ctx *ctx, json_t **ret, struct err *e)
{
    struct rpc_client *c;
    int r = cmd_connect(ctx, NULL, &c, e);
    if (r < 0)
        return r;
    r = rpc_client_call(c, "status", NULL, ANSWER_TIMEOUT_MS, NULL, NULL, ret, e);
    rpc_client_free(c);
    return r;
}

static void show(const struct cmd_ctx *ctx, const json_t *status, struct str *out)
{
    struct table_style style = cmd_style(ctx);
    if (!ctx->json) {
        cmd_status_format(status, clock_wall_ms(), &style, out);
        return;
    }
    /* One object a line while watching, so that a reader knows where each ends. */
    _cleanup_free_ char *text =
        cmd_flag(ctx, "watch") ? json_text(status) : json_text_pretty(status);
    str_addf(out, "%s\n", text);
}

static size_t screen_rows(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 2 ? size.ws_row : SIZE_MAX;
}

/* Over what stands there, each line cleared to its end as it is written, in one write: nothing
 * flickers. */
static void redraw(const struct str *frame, struct str *out)
{
    size_t rows = screen_rows(), line = 1;
    str_add(out, "\033[H");
    for (const char *p = frame->buf; *p; line++) {
        size_t n = strcspn(p, "\n");
        if (line == rows) {
            str_add(out, "(the terminal is too low for the rest)\033[K");
            break;
        }
        str_add_mem(out, p, n);
        str_add(out, "\033[K\n");
        p += n + (p[n] == '\n');
    }
    str_add(out, "\033[J");
}

static int watch(const struct cmd_ctx *ctx, struct err *e)
{
    bool in_place = ctx->terminal && !ctx->json;
    for (bool first = true;; first = false) {
        _cleanup_str_ struct str frame = STR_INIT, out = STR_INIT;
        _cleanup_json_ json_t *status = NULL;
        struct err why = {0};
        int r = ask(ctx, &status, &why);
        if (r < 0 && first) {
            *e = why;
            return r;
        }
        if (r >= 0)
            show(ctx, status, &frame);
        else if (!ctx->json)
            str_addf(&frame, "no answer: %s; asking again\n", why.message);
        if (in_place && first)
            str_add(&out, "\033[2J");
        if (in_place)
            redraw(&frame, &out);
        else
            str_addf(&out, "%s%s", first || ctx->json ? "" : "\n", str_cstr(&frame));
        fputs(str_cstr(&out), stdout);
        if (fflush(stdout) != 0)
            return errno == EPIPE ? 0 : err_errno(e, errno, "write to standard output");
        poll(NULL, 0, WATCH_INTERVAL_MS);
    }
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    if (cmd_flag(ctx, "watch"))
        return watch(ctx, e);
    _cleanup_json_ json_t *status = NULL;
    _cleanup_str_ struct str out = STR_INIT;
    int r = ask(ctx, &status, e);
    if (r < 0)
        return r;
    show(ctx, status, &out);
    fputs(out.buf, stdout);
    return 0;
}

const struct cmd cmd_status = {
    .name = "status",
    .operands = "",
    .summary = "Show what the platform is doing",
    .text = "The first line says whether everything declared is up and, if not, why. Then: the "
            "state store, alarms, regions with their duty, the names that some region does not "
            "serve, hosts with their roles, and units. The answer comes from one living host, "
            "which says what it knows of the others.\n\n"
            "A standby unit waits for a promotion and is no reason to be not ready. AGE is the "
            "time since the unit's state changed; RESTARTS counts since the unit was created; "
            "REASON is why it is in that state.\n\n"
            "--watch draws it again each second in place, and goes on while the host that was "
            "asked dies; in a pipe it prints one block, or with --json one line, each second.\n\n"
            "JSON: platform, revision, ready, not_ready (why), regions[] {name, duty, state, "
            "address[]}, hosts[] {name, region, state, revision, age_ms, roles[] {name, pid, "
            "pss_bytes, restarts, since_ms}}, units[] {name, kind, region, host, state, pid, "
            "restarts, reason, since_ms}, names[] {name, regions[] {region, state, since_ms}}, "
            "state_store {kind, connected, reason}, alarms[] {text}, asked_host. Times are "
            "milliseconds since 1970. The exit status is 0 whenever there was an answer, ready or "
            "not.",
    .opts = (const struct cmd_opt[]){{"watch", 'w', NULL, "show it again each second"},
        CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON, {0}},
    .run = run,
};
