/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/priv.h"

#define LEFT_COLUMNS 26 /* wide enough for all but the longest option: those get their own line */
#define TEXT_COLUMNS 78u

static void add_row(struct str *out, const char *left, const char *right)
{
    size_t width = table_text_width(left);
    str_addf(out, "  %s", left);
    if (width > LEFT_COLUMNS) {
        str_add_ch(out, '\n');
        width = 0;
        str_add(out, "  ");
    }
    str_addf(out, "%*s  %s\n", (int)(LEFT_COLUMNS - width), "", right);
}

static void add_option(struct str *out, const struct cmd_opt *o)
{
    _cleanup_str_ struct str left = STR_INIT;
    if (o->letter)
        str_addf(&left, "-%c, ", o->letter);
    else
        str_add(&left, "    ");
    str_addf(&left, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    add_row(out, left.buf, o->help);
}

/* Prose at TEXT_COLUMNS; a line break in it is a blank, two are a paragraph. */
static void add_text(struct str *out, const char *text)
{
    size_t used = 0;
    for (const char *p = text; *p;) {
        size_t blanks = strspn(p, " \n"), len = strcspn(p + blanks, " \n");
        bool paragraph = memmem(p, blanks, "\n\n", 2) != NULL;
        _cleanup_free_ char *word = xasprintf("%.*s", (int)len, p + blanks);
        size_t width = table_text_width(word);
        if (paragraph)
            str_add(out, "\n\n");
        else if (used && len)
            str_add_ch(out, used + 1 + width > TEXT_COLUMNS ? '\n' : ' ');
        used = paragraph || used + 1 + width > TEXT_COLUMNS ? width : used + (used ? 1 : 0) + width;
        str_add(out, word);
        p += blanks + len;
    }
    str_add_ch(out, '\n');
}

void cmd_usage(const struct cmd *cmd, struct str *out)
{
    bool has_opts = cmd->opts && cmd->opts->name;
    str_addf(out, "usage: mcp %s%s%s%s\n\n%s.\n", cmd->name, has_opts ? " [OPTION]..." : "",
        *cmd->operands ? " " : "", cmd->operands, cmd->summary);
    if (cmd->text) {
        str_add_ch(out, '\n');
        add_text(out, cmd->text);
    }
    str_add(out, "\nOptions:\n");
    for (const struct cmd_opt *o = cmd->opts; o && o->name; o++)
        add_option(out, o);
    add_option(out, &(const struct cmd_opt){"help", 'h', NULL, "explain this command"});
}

void cmd_overview(const struct cmd *const *table, const char *group, struct str *out)
{
    _cleanup_free_ char *prefix = xasprintf("%s ", group ? group : "");
    str_add(out, "mcp, the Modular Cloud Platform: one binary, one file.\n\n");
    str_addf(
        out, "usage: mcp %s%s [OPTION]...\n\n", group ? prefix : "", group ? "WORD" : "COMMAND");
    for (const struct cmd *const *c = table; *c; c++)
        if (!(*c)->hidden && (!group || str_starts((*c)->name, prefix)))
            add_row(out, (*c)->name, (*c)->summary);
    str_add(out, "\n`mcp COMMAND --help` explains one; mcp(1) and platform.yaml(5) explain all.\n");
}
