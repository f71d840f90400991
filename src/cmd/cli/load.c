/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/file/file.h"
#include "base/problems/problems.h"
#include "domain/model/model.h"
#include "service/files/files.h"

static int read_declaration(const char *path, struct str *text, struct err *e)
{
    int r = file_read(path, MODEL_TEXT_MAX, text, e);
    if (r == ERR_NOT_FOUND)
        err_fix(e, "`mcp init` writes a file to start from; -f FILE names one");
    return r;
}

/* Puts what is wrong behind the error; one problem says it all itself. */
static int fail(struct cmd_ctx *ctx, struct problems *p, int code, struct err *e)
{
    problems_err(p, e);
    if (e)
        e->code = code;
    if (p->total > 1) {
        ctx->details = problems_json(p);
        err_set(e, code, "%s has %zu errors", p->file, p->total);
    }
    return code;
}

/* dirname(3), which writes into its argument. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return xstrdup(".");
    return slash == path ? xstrdup("/") : xasprintf("%.*s", (int)(slash - path), path);
}

char *cmd_platform_dir(const struct cmd_ctx *ctx)
{
    return folder_of(cmd_platform_file(ctx));
}

/* ret_files may be NULL: files are not looked at. */
static int load(struct cmd_ctx *ctx, struct model **ret, json_t **ret_files, struct err *e)
{
    const char *path = cmd_platform_file(ctx);
    _cleanup_str_ struct str text = STR_INIT;
    struct problems p;
    struct model *m = NULL;
    int r = read_declaration(path, &text, e);
    if (r < 0)
        return r;
    problems_init(&p, path);
    r = model_parse_problems(str_cstr(&text), text.len, &m, &p);
    if (r >= 0 && ret_files) {
        _cleanup_free_ char *dir = folder_of(path);
        r = files_resolve(m, dir, str_cstr(&text), text.len, ret_files, &p);
    }
    if (r < 0) {
        r = fail(ctx, &p, r, e);
        model_free(m);
    } else {
        *ret = m;
    }
    problems_done(&p);
    return r;
}

int cmd_load_model(struct cmd_ctx *ctx, struct model **ret, struct err *e)
{
    return load(ctx, ret, NULL, e);
}

int cmd_load_resolved(struct cmd_ctx *ctx, struct model **ret, json_t **ret_files, struct err *e)
{
    return load(ctx, ret, ret_files, e);
}
