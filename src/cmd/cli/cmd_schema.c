/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/schema/schema.h"
#include "domain/model/model.h"

/* "The regions. A region is ..." -> "The regions." */
static size_t first_sentence(const char *text)
{
    const char *stop = strstr(text, ". ");
    return stop ? (size_t)(stop - text) + 1 : strlen(text);
}

static void add_row(void *ctx, const char *path, const struct schema_row *row)
{
    struct table *t = ctx;
    _cleanup_str_ struct str type = STR_INIT;
    schema_type_text(row, &type);
    enum table_mark mark = row->type == SCHEMA_LATER ? TABLE_DIM : TABLE_PLAIN;
    table_cell(t, row->required ? TABLE_BOLD : mark, "%s", path);
    table_cell(t, mark, "%s", type.buf);
    table_cell(t, mark, "%s",
        row->required                             ? "required"
        : row->def && strcmp(row->def, "{}") != 0 ? row->def
                                                  : "");
    const char *prose = row->prose ? row->prose : "";
    table_cell(t, mark, "%.*s", (int)first_sentence(prose), prose);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    if (ctx->json) {
        _cleanup_json_ json_t *j = schema_json_schema(model_schema(), "platform.yaml");
        cmd_print_json(j);
        return 0;
    }
    static const char *const heads[] = {"KEY", "TYPE", "DEFAULT", "WHAT IT SAYS", NULL};
    struct table_style style = cmd_style(ctx);
    _cleanup_str_ struct str out = STR_INIT;
    struct table t;
    table_init(&t, heads);
    schema_each(model_schema(), add_row, &t);
    table_format(&t, &style, &out);
    fputs(str_cstr(&out), stdout);
    table_done(&t);
    return 0;
}

const struct cmd cmd_schema = {
    .name = "schema",
    .operands = "",
    .summary = "List every key of platform.yaml",
    .text = "One line a key: its path, type, default, and what it says; platform.yaml(5) has the "
            "whole text. With --json, the JSON Schema (draft 2020-12), which editors use to "
            "complete and check the file while it is written: save it and put `# "
            "yaml-language-server: $schema=FILE` in the first line.",
    .opts = (const struct cmd_opt[]){CMD_OPT_JSON, {0}},
    .run = run,
};
