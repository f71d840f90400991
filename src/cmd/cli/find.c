/* SPDX-License-Identifier: Apache-2.0 */
/* Which command the first words mean. */
#include "cmd/cli/priv.h"

#define NAMES_MAX 256

const struct cmd *cmd_find(const struct cmd *const *table, int argc, char **argv, int *ret_words)
{
    const struct cmd *best = NULL;
    *ret_words = 0;
    _cleanup_str_ struct str words = STR_INIT;
    for (int n = 1; n <= CMD_WORDS_MAX && n <= argc; n++) {
        str_addf(&words, "%s%s", n > 1 ? " " : "", argv[n - 1]);
        for (const struct cmd *const *c = table; *c; c++)
            if (!strcmp((*c)->name, words.buf)) {
                best = *c;
                *ret_words = n;
            }
    }
    return best;
}

static bool in_group(const struct cmd *cmd, const char *group)
{
    size_t n = strlen(group);
    return !strncmp(cmd->name, group, n) && cmd->name[n] == ' ';
}

bool cmd_is_group(const struct cmd *const *table, const char *word)
{
    for (const struct cmd *const *c = table; *c; c++)
        if (!(*c)->hidden && in_group(*c, word))
            return true;
    return false;
}

int cmd_unknown(const struct cmd *const *table, int argc, char **argv, struct err *e)
{
    const char *group = cmd_is_group(table, argv[0]) ? argv[0] : NULL;
    if (group && argc == 1) {
        err_set(e, ERR_USAGE, "'%s' needs another word", group);
        err_fix(e, "`mcp help %s` lists them", group);
        return ERR_USAGE;
    }
    const char *names[NAMES_MAX];
    size_t n = 0;
    for (const struct cmd *const *c = table; *c && n < ARRAY_SIZE(names); c++)
        if (!(*c)->hidden && (!group || in_group(*c, group)))
            names[n++] = (*c)->name;
    _cleanup_free_ char *words = group ? xasprintf("%s %s", group, argv[1]) : xstrdup(argv[0]);
    err_set(e, ERR_USAGE, "unknown command '%s'", words);
    const char *near = str_nearest(words, names, n);
    if (near)
        err_fix(e, "did you mean `mcp %s`?", near);
    else
        err_fix(e, "`mcp help%s%s` lists the commands", group ? " " : "", group ? group : "");
    return ERR_USAGE;
}
