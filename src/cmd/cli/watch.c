/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that show how something is: once, or again each second. */
#include "cmd/cli/priv.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>

#define WATCH_INTERVAL_MS 1000

/* One object a line while watching, so that a reader knows where each ends. */
static void show_answer(
    const struct cmd_ctx *ctx, cmd_show_fn show, const json_t *answer, struct str *out)
{
    if (!ctx->json) {
        show(ctx, answer, out);
        return;
    }
    _cleanup_free_ char *text =
        cmd_flag(ctx, "watch") ? json_text(answer) : json_text_pretty(answer);
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

static int watch(const struct cmd_ctx *ctx, cmd_ask_fn ask, cmd_show_fn show, struct err *e)
{
    bool in_place = ctx->terminal && !ctx->json;
    for (bool first = true;; first = false) {
        _cleanup_str_ struct str frame = STR_INIT, out = STR_INIT;
        _cleanup_json_ json_t *answer = NULL;
        struct err why = {0};
        int r = ask(ctx, &answer, &why);
        if (r < 0 && first) {
            *e = why;
            return r;
        }
        if (r >= 0)
            show_answer(ctx, show, answer, &frame);
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

int cmd_look(const struct cmd_ctx *ctx, cmd_ask_fn ask, cmd_show_fn show, struct err *e)
{
    if (cmd_flag(ctx, "watch"))
        return watch(ctx, ask, show, e);
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_str_ struct str out = STR_INIT;
    int r = ask(ctx, &answer, e);
    if (r < 0)
        return r;
    show_answer(ctx, show, answer, &out);
    fputs(str_cstr(&out), stdout);
    return 0;
}
