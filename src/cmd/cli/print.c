/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include <sys/ioctl.h>

void cmd_print_json(const json_t *j)
{
    _cleanup_free_ char *text = json_text_pretty(j);
    puts(text);
}

struct table_style cmd_style(const struct cmd_ctx *ctx)
{
    struct table_style style = {0};
    struct winsize size;
    if (!ctx->terminal)
        return style;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        style.width = size.ws_col;
    const char *none = getenv("NO_COLOR"), *term = getenv("TERM"); /* no-color.org */
    style.colour = !(none && *none) && !(term && !strcmp(term, "dumb"));
    return style;
}
