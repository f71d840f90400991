/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML tree into C structs, by the table. Recursion is bounded by the table's depth. */
#include "base/schema/priv.h"

static void parse_value(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst);

/* Extends the path; returns the length to cut it back to. */
static size_t path_push(struct schema_parser *sp, const char *key)
{
    size_t old = sp->path.len;
    if (old)
        str_add_ch(&sp->path, '.');
    str_add_mem(&sp->path, key, str_utf8_cut(key, 64));
    return old;
}

static void path_pop(struct schema_parser *sp, size_t len)
{
    sp->path.len = len;
    if (sp->path.buf)
        sp->path.buf[len] = '\0';
}

static struct problem *problem_at(
    struct schema_parser *sp, const struct yaml_node *at, const char *fmt, ...) PRINTF_LIKE(3, 4);

static struct problem *problem_at(
    struct schema_parser *sp, const struct yaml_node *at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    _cleanup_str_ struct str text = STR_INIT;
    str_addv(&text, fmt, ap);
    va_end(ap);
    return problems_add(sp->p, at->line, at->column, "%s%s%s", str_cstr(&sp->path),
        sp->path.len ? ": " : "", str_cstr(&text));
}

static void add_words(const char *const *words, struct str *out)
{
    for (size_t i = 0; words[i]; i++)
        str_addf(out, "%s%s", i ? ", " : "", words[i]);
}

static void wrong_enum(
    struct schema_parser *sp, const struct schema_row *row, const struct yaml_node *node)
{
    char found[PROBLEMS_QUOTE_SIZE];
    _cleanup_str_ struct str words = STR_INIT;
    add_words(row->words, &words);
    struct problem *q = problem_at(sp, node, "expected %s%s, found %s",
        row->words[1] ? "one of " : "", words.buf, yaml_describe(node, found));
    size_t n = 0;
    while (row->words[n])
        n++;
    const char *near = node->kind == YAML_SCALAR ? str_nearest(node->text, row->words, n) : NULL;
    problem_fix(q, near ? "did you mean %s?" : "write one of %s", near ? near : words.buf);
}

static void wrong_scalar(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, bool out_of_range)
{
    if (row->type == SCHEMA_ENUM) {
        wrong_enum(sp, row, node);
        return;
    }
    const struct schema_scalar *s = schema_scalar(row->type);
    char found[PROBLEMS_QUOTE_SIZE];
    const char *noun = s->noun;
    if (row->check && node->kind == YAML_SCALAR && !yaml_is_null(node) && !out_of_range) {
        const char *expected = row->check(node->text);
        noun = expected ? expected : noun;
    }
    _cleanup_str_ struct str range = STR_INIT;
    if (out_of_range || row->type == SCHEMA_NAME)
        schema_range(row, &range);
    bool length = row->type == SCHEMA_STRING || row->type == SCHEMA_NAME;
    struct problem *q =
        problem_at(sp, node, "expected %s%s%s%s, found %s", noun, range.len ? ", " : "",
            str_cstr(&range), range.len && length ? " characters" : "", yaml_describe(node, found));
    if (s->number && node->kind == YAML_SCALAR && node->quoted)
        problem_fix(q, "write it without quotes");
    else if (row->example)
        problem_fix(q, "write it like %s", row->example);
    else if (row->def)
        problem_fix(q, "remove it to use the default, %s", row->def);
    else
        problem_fix(q, "write such a value");
}

static void parse_scalar(
    struct schema_parser *sp, const struct schema_row *row, const struct yaml_node *node, void *dst)
{
    const struct schema_scalar *s = schema_scalar(row->type);
    bool out_of_range = false;
    if (row->type == SCHEMA_ENUM)
        *(int *)dst = -1;
    if (node->kind != YAML_SCALAR || yaml_is_null(node) || (s->number && node->quoted)
        || !s->parse(sp, row, node, dst, &out_of_range))
        wrong_scalar(sp, row, node, out_of_range);
}

static void unknown_key(
    struct schema_parser *sp, const struct schema_row *row, const struct yaml_node *key)
{
    char found[PROBLEMS_QUOTE_SIZE];
    struct problem *q = problem_at(sp, key, "unknown key %s", problems_quote(key->text, found));
    if (problems_full(sp->p))
        return;
    const char *names[64];
    size_t n = 0;
    _cleanup_str_ struct str known = STR_INIT;
    for (const struct schema_row *r = row->rows; r->key && n < ARRAY_SIZE(names); r++) {
        if (r->type == SCHEMA_LATER)
            continue;
        str_addf(&known, "%s%s", n ? ", " : "", r->key);
        names[n++] = r->key;
    }
    const char *near = str_nearest(key->text, names, n);
    if (near)
        problem_fix(q, "did you mean \"%s\"?", near);
    else
        problem_fix(q, "known here: %s", str_cstr(&known));
}

static void later_key(struct schema_parser *sp, const struct yaml_node *key)
{
    problem_fix(problem_at(sp, key, "`%s` is not built yet in this version", key->text),
        "remove it (see example/platform.yaml)");
}

/* A default's place is that of the struct that lacks the key. */
static void stand_at(struct yaml_node *node, const struct yaml_node *at)
{
    node->line = at->line;
    node->column = at->column;
    for (size_t i = 0; node->kind == YAML_LIST && i < node->n; i++)
        stand_at(node->items[i], at);
}

/* Keys that the file does not have: the default, or an error if there must be one. */
static void fill_absent(
    struct schema_parser *sp, const struct schema_row *row, const struct yaml_node *at, char *dst)
{
    if (row->type == SCHEMA_ENUM)
        *(int *)(void *)dst = -1;
    if (row->required) {
        struct problem *q = problem_at(sp, at, "the key \"%s\" is missing", row->key);
        if (row->example)
            problem_fix(q, "add `%s: %s`", row->key, row->example);
        else
            problem_fix(q, "add `%s:`", row->key);
        return;
    }
    if (!row->def)
        return;
    struct yaml_node *node = arena_alloc(sp->arena, sizeof *node);
    node->line = at->line;
    node->column = at->column;
    if (schema_scalar(row->type)) {
        node->text = row->def;
        node->n = strlen(row->def);
    } else if (row->def[0] == '{') { /* a struct of defaults */
        node->kind = YAML_MAP;
    } else {
        node = yaml_tree_parse(sp->arena, row->def, strlen(row->def), SIZE_MAX, sp->p);
        ASSERT(node);
        stand_at(node, at);
    }
    parse_value(sp, row, node, dst);
}

/* `ap-seoul: 2` for `ap-seoul: {active: 2}`. */
static const struct yaml_node *write_out(
    struct schema_parser *sp, const char *shorthand, const struct yaml_node *scalar)
{
    struct yaml_node *key = arena_alloc(sp->arena, sizeof *key);
    struct yaml_node *map = arena_alloc(sp->arena, sizeof *map);
    *key = *map = (struct yaml_node){.line = scalar->line, .column = scalar->column};
    key->text = shorthand;
    key->n = strlen(shorthand);
    map->kind = YAML_MAP;
    map->n = 1;
    map->pairs = arena_alloc(sp->arena, sizeof *map->pairs);
    *map->pairs = (struct yaml_pair){key, (struct yaml_node *)scalar};
    return map;
}

static void parse_struct(
    struct schema_parser *sp, const struct schema_row *row, const struct yaml_node *node, char *dst)
{
    if (node->kind == YAML_SCALAR && row->shorthand && !yaml_is_null(node))
        node = write_out(sp, row->shorthand, node);
    if (node->kind != YAML_MAP) {
        char found[PROBLEMS_QUOTE_SIZE];
        struct problem *q =
            problem_at(sp, node, "expected a map of keys, found %s", yaml_describe(node, found));
        problem_fix(q, "write it like %s", row->example ? row->example : "{key: value}");
        for (const struct schema_row *r = row->rows; r->key; r++)
            if (r->type == SCHEMA_ENUM) /* 0 would be its first word */
                *(int *)(void *)(dst + r->offset) = -1;
        return;
    }
    ((struct schema_head *)(void *)dst)->at = node;
    uint64_t seen = 0;
    for (size_t i = 0; i < node->n; i++) {
        const struct yaml_node *key = node->pairs[i].key;
        const struct schema_row *r = schema_find(row->rows, key->text);
        if (!r) {
            unknown_key(sp, row, key);
        } else if (r->type == SCHEMA_LATER) {
            later_key(sp, key);
        } else {
            seen |= 1ull << (r - row->rows);
            size_t cut = path_push(sp, r->key);
            parse_value(sp, r, node->pairs[i].value, dst + r->offset);
            path_pop(sp, cut);
        }
    }
    for (const struct schema_row *r = row->rows; r->key; r++) {
        ASSERT(r - row->rows < 64);
        if (r->type != SCHEMA_LATER && !(seen & 1ull << (r - row->rows)))
            fill_absent(sp, r, node, dst + r->offset);
    }
}

static bool count_is_fine(
    struct schema_parser *sp, const struct schema_row *row, const struct yaml_node *node, size_t n)
{
    if ((!row->min && !row->max) || (n >= row->min && (!row->max || n <= row->max)))
        return true;
    _cleanup_str_ struct str range = STR_INIT;
    schema_range(row, &range);
    struct problem *q = problem_at(sp, node, "expected %s entries, found %zu", str_cstr(&range), n);
    problem_fix(q, "%s%s", row->example ? "write it like " : "add or remove some",
        row->example ? row->example : "");
    return false;
}

/* Parses one item behind the others. It is kept only when nothing in it was wrong, unless it is a
 * struct, whose good fields are worth further checks. `key` is NULL in a list, `alone` is a list's
 * item without the brackets. */
static void parse_item(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *key, const struct yaml_node *node, bool alone, struct schema_list *list)
{
    struct schema_text name = {0};
    char index[24];
    snprintf(index, sizeof index, "%zu", list->n + 1);
    if (key) {
        parse_scalar(sp, row->name, key, &name);
        if (!name.s)
            return;
    }
    char *item = (char *)list->v + list->n * row->item_size;
    size_t before = sp->p->total;
    size_t cut = alone ? sp->path.len : path_push(sp, key ? key->text : index);
    parse_value(sp, row->item, node, item + row->item->offset);
    path_pop(sp, cut);
    if (sp->p->total != before && row->item->type != SCHEMA_STRUCT) {
        memset(item, 0, row->item_size);
        return;
    }
    if (key)
        *(struct schema_text *)(void *)item = name;
    list->n++;
}

static void parse_list(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, struct schema_list *list)
{
    bool alone = row->one && node->kind != YAML_LIST && !yaml_is_null(node);
    if (!alone && node->kind != YAML_LIST) {
        char found[PROBLEMS_QUOTE_SIZE];
        struct problem *q =
            problem_at(sp, node, "expected a list, found %s", yaml_describe(node, found));
        problem_fix(q, "write it like %s", row->example ? row->example : "[a, b]");
        return;
    }
    size_t n = alone ? 1 : node->n;
    list->at = node;
    if (!count_is_fine(sp, row, node, n))
        return;
    list->v = arena_alloc(sp->arena, n * row->item_size);
    for (size_t i = 0; i < n; i++)
        parse_item(sp, row, NULL, alone ? node : node->items[i], alone, list);
}

static void parse_map(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, struct schema_list *list)
{
    if (node->kind != YAML_MAP) {
        char found[PROBLEMS_QUOTE_SIZE];
        struct problem *q =
            problem_at(sp, node, "expected a map of names, found %s", yaml_describe(node, found));
        problem_fix(q, "write it like %s", row->example ? row->example : "{name: value}");
        return;
    }
    list->at = node;
    if (!count_is_fine(sp, row, node, node->n))
        return;
    list->v = arena_alloc(sp->arena, node->n * row->item_size);
    for (size_t i = 0; i < node->n; i++)
        parse_item(sp, row, node->pairs[i].key, node->pairs[i].value, false, list);
}

static void parse_value(
    struct schema_parser *sp, const struct schema_row *row, const struct yaml_node *node, void *dst)
{
    if (row->type == SCHEMA_STRUCT)
        parse_struct(sp, row, node, dst);
    else if (row->type == SCHEMA_LIST)
        parse_list(sp, row, node, dst);
    else if (row->type == SCHEMA_MAP)
        parse_map(sp, row, node, dst);
    else
        parse_scalar(sp, row, node, dst);
}

void schema_parse(const struct schema_row *root, const struct yaml_node *node, void *dst,
    struct arena *a, struct problems *p)
{
    struct schema_parser sp = {.arena = a, .p = p};
    parse_value(&sp, root, node, dst);
    str_done(&sp.path);
}
