/* SPDX-License-Identifier: Apache-2.0 */
/* What may stand next on a command line, from the command table and from the declaration that the
 * line is about. The shells' scripts ask for it through `mcp __complete`, so they hold no word of
 * their own. */
#include "cmd/cli/priv.h"

#include "base/file/file.h"
#include "base/schema/schema.h"
#include "domain/model/model.h"

struct completion {
    const char *current; /* the word being typed */
    const char *prefix;  /* goes in front of each candidate: "--file=" */
    const char *file;    /* the declaration */
    struct str *out;
};

static void add(struct completion *c, const char *word, const char *text)
{
    if (!str_starts(word, c->current))
        return;
    str_addf(c->out, "%s%s%s%s\n", c->prefix, word, *text ? "\t" : "", text);
}

/* The keys of one map of the declaration. It may be half written: nothing of it is checked. */
static void add_names(struct completion *c, const char *map, const char *what)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct problems ignored;
    if (file_read(c->file, MODEL_TEXT_MAX, &text, NULL) < 0)
        return;
    problems_init(&ignored, "");
    _cleanup_arena_ struct arena *a = arena_new(0);
    const struct yaml_node *root =
        yaml_tree_parse(a, str_cstr(&text), text.len, MODEL_TEXT_MAX, &ignored);
    const struct yaml_node *names = root ? yaml_map_get(root, map) : NULL;
    for (size_t i = 0; names && names->kind == YAML_MAP && i < names->n; i++)
        if (schema_is_label(names->pairs[i].key->text, MODEL_NAME_MAX)) /* safe in any shell */
            add(c, names->pairs[i].key->text, what);
    problems_done(&ignored);
}

static bool is_literal(const char *word)
{
    return *word && strspn(word, "abcdefghijklmnopqrstuvwxyz") == strlen(word);
}

static void add_value(struct completion *c, const char *word)
{
    bool place = !strcmp(word, "A") || !strcmp(word, "B"); /* the ends of a line */
    if (place || !strcmp(word, "REGION"))
        add_names(c, "regions", "region");
    if (place || !strcmp(word, "HOST"))
        add_names(c, "hosts", "host");
    if (!strcmp(word, "MODULE"))
        add_names(c, "modules", "module");
    if (!strcmp(word, "FILE") || !strcmp(word, "DIR"))
        str_add(c->out, ":files\n");
    if (is_literal(word))
        add(c, word, "");
}

/* By the placeholder that the table shows: "REGION|HOST", "[MODULE]", "FILE", "bash|zsh|fish". */
static void add_values(struct completion *c, const char *placeholder, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t n = MIN(strcspn(placeholder + at, "|[]. "), len - at);
        _cleanup_free_ char *word = xasprintf("%.*s", (int)n, placeholder + at);
        add_value(c, word);
        at += n + 1;
    }
}

/* The index-th operand's placeholder; one that ends with "..." stands for all behind it. */
static void add_operand(struct completion *c, const struct cmd *cmd, int index)
{
    const char *word = cmd->operands;
    for (;; index--) {
        size_t n = strcspn(word, " ");
        bool repeats = n > 3 && !strncmp(word + n - 3, "...", 3);
        if (str_starts(word, "--"))
            return;
        if (index == 0 || repeats) {
            add_values(c, word, n);
            return;
        }
        if (!word[n])
            return;
        word += n + 1;
    }
}

static const struct cmd_opt *find_option(const struct cmd *cmd, const char *word)
{
    for (const struct cmd_opt *o = cmd->opts; o && o->name; o++) {
        if (word[0] == '-' && word[1] == '-' && !strcmp(word + 2, o->name))
            return o;
        if (word[0] == '-' && o->letter && word[1] == o->letter && !word[2])
            return o;
    }
    return NULL;
}

static void add_options(struct completion *c, const struct cmd *cmd)
{
    for (const struct cmd_opt *o = cmd->opts; o && o->name; o++) {
        _cleanup_free_ char *word = xasprintf("--%s", o->name);
        add(c, word, o->help);
    }
    add(c, "--help", "explain this command");
}

/* Words behind the command's name; the last one is being typed. */
static void complete_command(struct completion *c, const struct cmd *cmd, int argc, char **argv)
{
    int operands = 0;
    const struct cmd_opt *open = NULL; /* waits for its value */
    for (int i = 0; i < argc - 1; i++) {
        if (!open && !strcmp(argv[i], "--"))
            return; /* another program's words */
        if (open) {
            open = NULL;
        } else if (argv[i][0] == '-' && argv[i][1]) {
            open = find_option(cmd, argv[i]);
            open = open && open->arg ? open : NULL;
        } else {
            operands++;
        }
    }
    const char *eq = c->current[0] == '-' ? strchr(c->current, '=') : NULL;
    if (open) {
        add_values(c, open->arg, strlen(open->arg));
    } else if (eq) {
        _cleanup_free_ char *name = xasprintf("%.*s", (int)(eq - c->current), c->current);
        _cleanup_free_ char *prefix = xasprintf("%s=", name);
        const struct cmd_opt *o = find_option(cmd, name);
        c->current = eq + 1;
        c->prefix = prefix;
        if (o && o->arg)
            add_values(c, o->arg, strlen(o->arg));
        c->prefix = "";
    } else if (c->current[0] == '-') {
        add_options(c, cmd);
    } else {
        add_operand(c, cmd, operands);
    }
}

/* The next word of every command whose first words are typed already; one of several ("lab") once.
 * */
static void complete_name(struct completion *c, const struct cmd *const *table, const char *typed)
{
    const char *last = "";
    size_t n = strlen(typed);
    for (const struct cmd *const *p = table; *p; p++) {
        if ((*p)->hidden || !str_starts((*p)->name, typed))
            continue;
        const char *rest = (*p)->name + n;
        size_t len = strcspn(rest, " ");
        _cleanup_free_ char *word = xasprintf("%.*s", (int)len, rest);
        if (rest[len] && !strncmp(last, word, len) && last[len] == ' ')
            continue;
        last = rest;
        add(c, word, rest[len] ? "" : (*p)->summary);
    }
}

/* -f FILE of the line, else where every command looks. */
static const char *declaration_of(int argc, char **argv)
{
    for (int i = 0; i + 1 < argc; i++) {
        if (str_starts(argv[i], "--file="))
            return argv[i] + strlen("--file=");
        if (i + 2 < argc && (!strcmp(argv[i], "-f") || !strcmp(argv[i], "--file")))
            return argv[i + 1];
    }
    static const struct cmd none;
    return cmd_platform_file(&(const struct cmd_ctx){.cmd = &none});
}

void cmd_complete(const struct cmd *const *table, int argc, char **argv, struct str *out)
{
    struct completion c = {argc ? argv[argc - 1] : "", "", declaration_of(argc, argv), out};
    int words = 0;
    const struct cmd *cmd = argc > 1 ? cmd_find(table, argc - 1, argv, &words) : NULL;
    if (cmd && !cmd->hidden)
        complete_command(&c, cmd, argc - words, argv + words);
    _cleanup_str_ struct str typed = STR_INIT;
    for (int i = 0; i < argc - 1 && i < CMD_WORDS_MAX; i++)
        str_addf(&typed, "%s ", argv[i]);
    if (words == argc - 1 || !cmd)
        complete_name(&c, table, str_cstr(&typed));
}
