/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON value as a tree, as if its text had been read: what a peer sends is parsed once, by
 * jansson. */
#include "base/yaml/yaml.h"

struct converter {
    struct arena *arena;
    struct problems *p;
    size_t nodes;
};

static struct yaml_node *convert(struct converter *c, const json_t *json, unsigned depth);

static bool fill_list(
    struct converter *c, struct yaml_node *node, const json_t *json, unsigned depth)
{
    node->kind = YAML_LIST;
    node->n = json_array_size(json);
    node->items = arena_alloc(c->arena, node->n * sizeof(struct yaml_node *));
    for (size_t i = 0; i < node->n; i++) {
        node->items[i] = convert(c, json_array_get(json, i), depth + 1);
        if (!node->items[i])
            return false;
    }
    return true;
}

static struct yaml_node *text_node(struct converter *c, const char *text)
{
    struct yaml_node *node = arena_alloc(c->arena, sizeof *node);
    node->line = node->column = 1;
    node->n = strlen(text);
    node->text = arena_strndup(c->arena, text, node->n);
    return node;
}

static bool fill_map(
    struct converter *c, struct yaml_node *node, const json_t *json, unsigned depth)
{
    node->kind = YAML_MAP;
    node->pairs = arena_alloc(c->arena, json_object_size(json) * sizeof *node->pairs);
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)json, key, value) {
        struct yaml_pair *pair = &node->pairs[node->n++];
        pair->key = text_node(c, key);
        pair->key->quoted = true;
        pair->value = convert(c, value, depth + 1);
        if (!pair->value)
            return false;
    }
    return true;
}

static struct yaml_node *scalar_node(struct converter *c, const json_t *json)
{
    char number[40];
    if (json_is_string(json)) {
        struct yaml_node *node = text_node(c, json_string_value(json));
        node->quoted = true;
        return node;
    }
    if (json_is_integer(json))
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json));
    else if (json_is_real(json))
        snprintf(number, sizeof number, "%.15g", json_real_value(json));
    else
        str_copy(number, sizeof number,
            json_is_true(json)    ? "true"
            : json_is_false(json) ? "false"
                                  : "null");
    return text_node(c, number);
}

static struct yaml_node *convert(struct converter *c, const json_t *json, unsigned depth)
{
    if (++c->nodes > YAML_NODES_MAX || depth > YAML_DEPTH_MAX) {
        problem_fix(problems_add(c->p, 1, 1,
                        depth > YAML_DEPTH_MAX ? "nested deeper than 32 levels"
                                               : "the text has more than 500,000 nodes"),
            "make it smaller");
        return NULL;
    }
    if (!json_is_array(json) && !json_is_object(json))
        return scalar_node(c, json);
    struct yaml_node *node = arena_alloc(c->arena, sizeof *node);
    node->line = node->column = 1;
    bool ok =
        json_is_array(json) ? fill_list(c, node, json, depth) : fill_map(c, node, json, depth);
    return ok ? node : NULL;
}

struct yaml_node *yaml_tree_from_json(struct arena *a, const json_t *json, struct problems *p)
{
    struct converter c = {a, p, 0};
    return convert(&c, json, 0);
}
