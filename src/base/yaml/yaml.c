/* SPDX-License-Identifier: Apache-2.0 */
/* libyaml's events, pushed on a stack of open containers. The stack is bounded by YAML_DEPTH_MAX
 * and libyaml looks at most 1024 characters ahead, so neither recursion nor memory depends on what
 * the text nests. */
#include "base/yaml/yaml.h"

#include "base/yaml/priv.h"

#include <yaml.h>

struct frame { /* a container still open */
    struct yaml_node *node;
    struct yaml_node **items; /* maps: key, value, key, value */
    size_t n, cap;
};

struct builder {
    struct arena *arena;
    struct problems *p;
    yaml_parser_t parser;
    struct frame stack[YAML_DEPTH_MAX];
    size_t depth;
    size_t nodes;
    unsigned documents;
    struct yaml_node *root;
};

static struct problem *problem_at(struct builder *b, yaml_mark_t mark, const char *message)
{
    return problems_add(b->p, (unsigned)mark.line + 1, (unsigned)mark.column + 1, "%s", message);
}

static struct yaml_node *new_node(struct builder *b, enum yaml_kind kind, yaml_mark_t mark)
{
    struct yaml_node *node = arena_alloc(b->arena, sizeof *node);
    node->kind = kind;
    node->line = (unsigned)mark.line + 1;
    node->column = (unsigned)mark.column + 1;
    return node;
}

static bool is_key_next(const struct builder *b)
{
    const struct frame *top = b->depth ? &b->stack[b->depth - 1] : NULL;
    return top && top->node->kind == YAML_MAP && top->n % 2 == 0;
}

static bool attach(struct builder *b, struct yaml_node *node, yaml_mark_t mark)
{
    if (++b->nodes > YAML_NODES_MAX) {
        problem_fix(problem_at(b, mark, "the text has more than 500,000 nodes"), "make it smaller");
        return false;
    }
    if (!b->depth) {
        b->root = node;
        return true;
    }
    if (is_key_next(b) && (node->kind != YAML_SCALAR || (!node->n && !node->quoted))) {
        problem_fix(problem_at(b, mark,
                        node->kind == YAML_SCALAR ? "a key is missing before the colon"
                                                  : "a key must be text, found a map or a list"),
            "write `key: value`");
        return false;
    }
    struct frame *top = &b->stack[b->depth - 1];
    *GROW(top->items, top->n, top->cap) = node;
    return true;
}

/* Anchors and tags: refused. */
static bool is_plain_tree(struct builder *b, const yaml_event_t *ev, const unsigned char *anchor,
    const unsigned char *tag)
{
    if (anchor) {
        problem_fix(problem_at(b, ev->start_mark, "anchors and aliases are not supported"),
            "write the value out where it is used");
        return false;
    }
    if (tag && strcmp((const char *)tag, "!") != 0) {
        problem_fix(problem_at(b, ev->start_mark, "tags are not supported"), "remove the tag");
        return false;
    }
    return true;
}

static bool on_scalar(struct builder *b, const yaml_event_t *ev)
{
    if (!is_plain_tree(b, ev, ev->data.scalar.anchor, ev->data.scalar.tag))
        return false;
    const char *text = (const char *)ev->data.scalar.value;
    size_t len = ev->data.scalar.length;
    if (memchr(text, 0, len)) {
        problem_fix(
            problem_at(b, ev->start_mark, "a text cannot hold a NUL character"), "remove \\0");
        return false;
    }
    struct yaml_node *node = new_node(b, YAML_SCALAR, ev->start_mark);
    node->quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = arena_strndup(b->arena, text, len);
    node->n = len;
    return attach(b, node, ev->start_mark);
}

static bool on_open(struct builder *b, const yaml_event_t *ev, enum yaml_kind kind)
{
    const unsigned char *anchor =
        kind == YAML_MAP ? ev->data.mapping_start.anchor : ev->data.sequence_start.anchor;
    const unsigned char *tag =
        kind == YAML_MAP ? ev->data.mapping_start.tag : ev->data.sequence_start.tag;
    if (!is_plain_tree(b, ev, anchor, tag))
        return false;
    if (b->depth == YAML_DEPTH_MAX) {
        problem_fix(problem_at(b, ev->start_mark, "nested deeper than 32 levels"), "nest less");
        return false;
    }
    struct yaml_node *node = new_node(b, kind, ev->start_mark);
    if (!attach(b, node, ev->start_mark))
        return false;
    b->stack[b->depth++] = (struct frame){.node = node};
    return true;
}

static int compare_pairs(const void *x, const void *y)
{
    const struct yaml_pair *a = *(struct yaml_pair *const *)x, *b = *(struct yaml_pair *const *)y;
    int r = strcmp(a->key->text, b->key->text);
    return r ? r : (a > b) - (a < b); /* equal keys: in the order of the text */
}

/* Equal keys become problems; the first one stays what the map says. */
static void drop_repeats(struct builder *b, struct yaml_node *map)
{
    if (map->n < 2)
        return;
    _cleanup_free_ struct yaml_pair **sorted = xcalloc(map->n, sizeof(struct yaml_pair *));
    for (size_t i = 0; i < map->n; i++)
        sorted[i] = &map->pairs[i];
    qsort(sorted, map->n, sizeof(struct yaml_pair *), compare_pairs);
    const struct yaml_node *first = sorted[0]->key;
    for (size_t i = 1; i < map->n; i++) {
        struct yaml_node *key = sorted[i]->key;
        if (strcmp(first->text, key->text) != 0) {
            first = key;
            continue;
        }
        char quoted[PROBLEMS_QUOTE_SIZE];
        problem_fix(problems_add(b->p, key->line, key->column,
                        "the key %s stands here a second time", problems_quote(key->text, quoted)),
            "keep one of them; the first is in line %u", first->line);
        sorted[i]->value = NULL;
    }
    size_t kept = 0;
    for (size_t i = 0; i < map->n; i++)
        if (map->pairs[i].value)
            map->pairs[kept++] = map->pairs[i];
    map->n = kept;
}

static void on_close(struct builder *b)
{
    struct frame *top = &b->stack[--b->depth];
    struct yaml_node *node = top->node;
    if (node->kind == YAML_LIST) {
        node->n = top->n;
        node->items = arena_alloc(b->arena, top->n * sizeof(struct yaml_node *));
        if (top->n)
            memcpy(node->items, top->items, top->n * sizeof(struct yaml_node *));
    } else {
        node->n = top->n / 2;
        node->pairs = arena_alloc(b->arena, node->n * sizeof *node->pairs);
        for (size_t i = 0; i < node->n; i++)
            node->pairs[i] = (struct yaml_pair){top->items[2 * i], top->items[2 * i + 1]};
        drop_repeats(b, node);
    }
    free(top->items);
}

/* Returns false when parsing must end. */
static bool on_event(struct builder *b, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(b, ev);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(b, ev, YAML_LIST);
    case YAML_MAPPING_START_EVENT:
        return on_open(b, ev, YAML_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        on_close(b);
        return true;
    case YAML_ALIAS_EVENT:
        problem_fix(problem_at(b, ev->start_mark, "anchors and aliases are not supported"),
            "write the value out where it is used");
        return false;
    case YAML_DOCUMENT_START_EVENT:
        if (++b->documents > 1) {
            problem_fix(problem_at(b, ev->start_mark, "a second document starts here"),
                "keep one document a file");
            return false;
        }
        return true;
    default:
        return true;
    }
}

/* libyaml's marks count characters. */
static bool is_tab_at(const char *text, size_t len, size_t index)
{
    size_t at = 0;
    for (; at < len && index; index--)
        for (at++; at < len && ((unsigned char)text[at] & 0xc0) == 0x80;)
            at++;
    return at < len && text[at] == '\t';
}

/* libyaml's own words with its context; the slip that people make most is named as such. */
static void on_syntax_error(struct builder *b, const char *text, size_t len)
{
    const yaml_parser_t *y = &b->parser;
    yaml_mark_t mark = y->problem_mark;
    const char *what = y->problem ? y->problem : "cannot be read";
    if (y->error == YAML_SCANNER_ERROR && is_tab_at(text, len, mark.index)) {
        problem_fix(problem_at(b, mark, "a tab cannot indent YAML"), "use blanks");
        return;
    }
    char message[256];
    snprintf(message, sizeof message, "not YAML: %s%s%s", what, y->context ? " " : "",
        y->context ? y->context : "");
    struct problem *q = problem_at(b, mark, message);
    if (y->context && y->context_mark.line != mark.line)
        problem_fix(q,
            "look from line %zu on: a quote, bracket or colon is missing there, or the indent is "
            "off",
            y->context_mark.line + 1);
    else
        problem_fix(q, "look for a missing quote, bracket or colon, or a wrong indent");
}

static bool build(struct builder *b, const char *text, size_t len)
{
    yaml_parser_set_input_string(&b->parser, (const unsigned char *)text, len);
    yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
    for (;;) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&b->parser, &ev)) {
            on_syntax_error(b, text, len);
            return false;
        }
        bool end = ev.type == YAML_STREAM_END_EVENT;
        bool ok = on_event(b, &ev);
        yaml_event_delete(&ev);
        if (!ok || end)
            return ok;
    }
}

struct yaml_node *yaml_tree_parse(
    struct arena *a, const char *text, size_t len, size_t max_len, struct problems *p)
{
    if (len > max_len) {
        problem_fix(problems_add(p, 1, 1, "the text has %zu bytes, allowed are %zu", len, max_len),
            "split it");
        return NULL;
    }
    if (!yaml_text_check(text, len, p))
        return NULL;
    if (len >= 3
        && !memcmp(text, "\xef\xbb\xbf", 3)) { /* a byte order mark is no part of the text */
        text += 3;
        len -= 3;
    }
    struct builder b = {.arena = a, .p = p};
    ASSERT(yaml_parser_initialize(&b.parser) == 1);
    bool ok = build(&b, text, len);
    yaml_parser_delete(&b.parser);
    while (b.depth)
        free(b.stack[--b.depth].items);
    if (!ok)
        return NULL;
    if (!b.root) {
        b.root = new_node(&b, YAML_SCALAR, (yaml_mark_t){0});
        b.root->text = "";
    }
    return b.root;
}

const struct yaml_node *yaml_map_get(const struct yaml_node *map, const char *key)
{
    if (!map || map->kind != YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->n; i++)
        if (!strcmp(map->pairs[i].key->text, key))
            return map->pairs[i].value;
    return NULL;
}

bool yaml_is_null(const struct yaml_node *node)
{
    static const char *const nothing[] = {"", "~", "null", "Null", "NULL"};
    if (node->kind != YAML_SCALAR || node->quoted)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(nothing); i++)
        if (!strcmp(node->text, nothing[i]))
            return true;
    return false;
}

const char *yaml_describe(const struct yaml_node *node, char out[PROBLEMS_QUOTE_SIZE])
{
    if (node->kind == YAML_MAP)
        str_copy(out, PROBLEMS_QUOTE_SIZE, "a map");
    else if (node->kind == YAML_LIST)
        str_copy(out, PROBLEMS_QUOTE_SIZE, "a list");
    else if (yaml_is_null(node))
        str_copy(out, PROBLEMS_QUOTE_SIZE, "nothing");
    else
        problems_quote(node->text, out);
    return out;
}
