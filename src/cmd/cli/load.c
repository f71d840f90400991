/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/file/file.h"
#include "base/problems/problems.h"
#include "domain/model/model.h"

static int read_declaration(const char *path, struct str *text, struct err *e)
{
    int r = file_read(path, MODEL_TEXT_MAX, text, e);
    if (r == ERR_NOT_FOUND)
        err_fix(e, "`mcp init` writes a file to start from; -f FILE names one");
    return r;
}

int cmd_load_model(struct cmd_ctx *ctx, struct model **ret, struct err *e)
{
    const char *path = cmd_platform_file(ctx);
    _cleanup_str_ struct str text = STR_INIT;
    struct problems p;
    int r = read_declaration(path, &text, e);
    if (r < 0)
        return r;
    problems_init(&p, path);
    r = model_parse_problems(str_cstr(&text), text.len, ret, &p);
    if (r < 0)
        problems_err(&p, e);
    if (r < 0 && p.total > 1) { /* one error says it all itself */
        ctx->details = problems_json(&p);
        err_set(e, r, "%s has %zu errors", path, p.total);
    }
    problems_done(&p);
    return r;
}
