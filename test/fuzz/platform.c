/* SPDX-License-Identifier: Apache-2.0 */
/* platform.yaml from anybody: refused with places, or a model whose canonical form reads back to itself
 * and which differs from itself in nothing. An input that is YAML is also tried with its tree changed:
 * bytes alone rarely reach beyond the syntax. */
#include "base/problems/problems.h"
#include "base/rnd/rnd.h"
#include "base/yaml/yaml.h"
#include "domain/model/model.h"
#include "domain/plan/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_problems(struct problems *p)
{
    ASSERT(p->n > 0 && p->total >= p->n);
    for (size_t i = 0; i < p->n; i++)
        ASSERT(p->v[i].line >= 1 && p->v[i].column >= 1 && *p->v[i].message && p->v[i].fix);
    json_t *j = problems_json(p);
    ASSERT(json_array_size(j) == MIN(p->n, (size_t)PROBLEMS_SHOWN)); /* all of it is UTF-8 */
    json_decref(j);
}

static size_t count_actions(const struct model *from, const struct model *to)
{
    json_t *files = json_object();
    struct plan *p =
        plan_make(&(struct plan_side){from, from ? files : NULL}, &(struct plan_side){to, files});
    size_t n = p->n;
    json_t *j = plan_json(p, to->platform, 0, 1);
    ASSERT(json_array_size(json_object_get(j, "actions")) == n);
    json_decref(j);
    plan_free(p);
    json_decref(files);
    return n;
}

static void check_model(struct model *m)
{
    char *once = json_text(m->tree);
    struct model *again = NULL, *direct = NULL;
    struct err e = {0};
    ASSERT(model_parse(once, strlen(once), "canonical", &again, NULL, &e) == 0);
    char *twice = json_text(again->tree);
    ASSERT(!strcmp(once, twice));
    ASSERT(model_parse_json(m->tree, &direct, &e) == 0);
    char *third = json_text(direct->tree);
    ASSERT(!strcmp(once, third));
    ASSERT(count_actions(m, again) == 0 && count_actions(direct, m) == 0);
    ASSERT(count_actions(NULL, m) > 0);
    free(once);
    free(twice);
    free(third);
    model_free(direct);
    model_free(again);
}

static void check(const char *text, size_t len)
{
    struct problems p;
    struct model *m = NULL;
    problems_init(&p, "platform.yaml");
    if (model_parse_problems(text, len, &m, &p) < 0)
        check_problems(&p);
    else
        check_model(m);
    model_free(m);
    problems_done(&p);
}

/* ---- the tree, changed and written out again */

struct tree {
    struct arena *arena;
    struct rnd rnd;
    struct yaml_node *nodes[2000]; /* in the order of the text */
    size_t n;
};

static void collect(struct tree *t, struct yaml_node *node)
{
    if (t->n == ARRAY_SIZE(t->nodes))
        return;
    t->nodes[t->n++] = node;
    for (size_t i = 0; node->kind == YAML_LIST && i < node->n; i++)
        collect(t, node->items[i]);
    for (size_t i = 0; node->kind == YAML_MAP && i < node->n; i++)
        collect(t, node->pairs[i].value);
}

static struct yaml_node *pick(struct tree *t)
{
    return t->nodes[rnd_below(&t->rnd, t->n)];
}

static const char *strange(struct tree *t)
{
    static const char *const texts[] = {"", "~", "0", "-1", "1", "99999999999999999999", "true",
        "each", "main", "dr", "0s", "1ms", "1000d", "0%", "101%", "0.0.0.0/0", "::/0",
        "10.20.0.0/16", "203.0.113.20", "::1", "KR", "XX", "oci:", "oci:x:y:z", "/", "//", "@",
        "example.com.", "reindeers.com", "a b\n c", "\xed\x95\x9c", "\x7f",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};
    return texts[rnd_below(&t->rnd, ARRAY_SIZE(texts))];
}

/* One change. A node taken into another stays where it was too: written out, the tree is a tree again. */
static void change(struct tree *t)
{
    struct yaml_node *node = pick(t), *other = pick(t);
    uint64_t kind = rnd_below(&t->rnd, 8), at = node->n ? rnd_below(&t->rnd, node->n) : 0;
    struct yaml_node copy = *node;
    if (kind == 0 && node->kind == YAML_SCALAR) {
        node->text = strange(t);
    } else if (kind == 1 && node->kind == YAML_SCALAR) {
        node->quoted = !node->quoted;
    } else if (kind == 2 && node->kind == YAML_LIST && node->n) {
        node->items[at] = node->items[--node->n];
    } else if (kind == 3 && node->kind == YAML_MAP && node->n) {
        node->pairs[at] = node->pairs[--node->n];
    } else if (kind == 4 && node->kind == YAML_MAP && node->n) {
        node->pairs[at].key = node->pairs[rnd_below(&t->rnd, node->n)].key;
    } else if (kind == 5 && node->kind == YAML_MAP && other->kind == YAML_MAP && node->n
               && other->n) {
        node->pairs[at] = other->pairs[rnd_below(&t->rnd, other->n)];
    } else if (kind == 6) {
        *node = *other;
    } else if (kind == 7) {
        struct yaml_node *inner = arena_alloc(t->arena, sizeof *inner);
        *inner = copy;
        *node = (struct yaml_node){.kind = YAML_LIST, .n = 1};
        node->items = arena_alloc(t->arena, sizeof(struct yaml_node *));
        node->items[0] = inner;
    }
}

static void write_text(struct str *out, const struct yaml_node *node)
{
    bool plain =
        !node->quoted && *node->text
        && strspn(node->text, "abcdefghijklmnopqrstuvwxyz0123456789./%-") == strlen(node->text);
    if (plain) {
        str_add(out, node->text);
        return;
    }
    str_add_ch(out, '"');
    for (const char *s = node->text; *s; s++) {
        if (*s == '"' || *s == '\\' || (unsigned char)*s < 0x20 || *s == 0x7f)
            str_addf(out, "\\x%02x", (unsigned char)*s);
        else
            str_add_ch(out, *s);
    }
    str_add_ch(out, '"');
}

#define TEXT_MAX (256u * 1024)

/* Grafts may have made the tree a graph, even one with a circle: depth and length end it. */
static void write_node(struct str *out, const struct yaml_node *node, unsigned depth)
{
    if (depth > YAML_DEPTH_MAX || out->len > TEXT_MAX) {
        str_add(out, "1");
    } else if (node->kind == YAML_SCALAR) {
        write_text(out, node);
    } else if (node->kind == YAML_LIST) {
        for (size_t i = 0; i < node->n; i++) {
            str_add(out, i ? ", " : "[");
            write_node(out, node->items[i], depth + 1);
        }
        str_add(out, node->n ? "]" : "[]");
    } else {
        for (size_t i = 0; i < node->n; i++) {
            str_add(out, i ? ",\n " : "{");
            write_text(out, node->pairs[i].key);
            str_add(out, ": ");
            write_node(out, node->pairs[i].value, depth + 1);
        }
        str_add(out, node->n ? "}" : "{}");
    }
}

static void check_changed(const char *text, size_t len, uint64_t seed)
{
    struct problems p;
    problems_init(&p, "platform.yaml");
    struct tree *t = xcalloc(1, sizeof *t);
    t->arena = arena_new(0);
    struct yaml_node *root = yaml_tree_parse(t->arena, text, len, TEXT_MAX, &p);
    rnd_seed(&t->rnd, seed);
    if (root && root->kind == YAML_MAP) {
        struct str out = STR_INIT;
        collect(t, root);
        for (uint64_t i = 1 + rnd_below(&t->rnd, 4); i; i--)
            change(t);
        write_node(&out, root, 0);
        check(str_cstr(&out), out.len);
        str_done(&out);
    }
    arena_free(t->arena);
    free(t);
    problems_done(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a: the same input takes the same changes */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 0x100000001b3u;
    check((const char *)data, size);
    check_changed((const char *)data, size, hash);
    return 0;
}
