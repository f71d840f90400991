/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML text as a tree that remembers where everything stands. JSON is YAML: it takes the same
 * way. Scalars stay text; what they mean is the schema's to say, so `NO` is a country and never
 * false. Refused, each with its place: anchors, aliases and tags (a tree is what it looks like),
 * keys that are not text, a key twice in one map, more than one document, bytes that are not UTF-8,
 * characters no terminal should see. Limits below. The tree lives in the caller's arena and is
 * never changed. */
#pragma once

#include "base/arena/arena.h"
#include "base/problems/problems.h"

#define YAML_DEPTH_MAX 32u
#define YAML_NODES_MAX 500000u

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_pair {
    struct yaml_node *key; /* a scalar */
    struct yaml_node *value;
};

struct yaml_node {
    enum yaml_kind kind;
    bool quoted; /* scalar in quotes or as a block: always text */
    unsigned line, column;
    size_t n; /* bytes of text, items, or pairs */
    union {
        const char *text; /* NUL-terminated, holds no NUL */
        struct yaml_node **items;
        struct yaml_pair *pairs;
    };
};

/* Returns the root, or NULL with at least one problem added. An empty text is a scalar without
 * text. Problems that leave a tree (a key twice) are added and the tree is still returned: compare
 * p->total. */
struct yaml_node *yaml_tree_parse(
    struct arena *a, const char *text, size_t len, size_t max_len, struct problems *p);
/* The tree that the JSON's text would give, without places (all stand at 1:1). NULL: over a limit.
 * */
struct yaml_node *yaml_tree_from_json(struct arena *a, const json_t *json, struct problems *p);
/* The value of a key, NULL when absent. Linear: for maps with a handful of keys. */
const struct yaml_node *yaml_map_get(const struct yaml_node *map, const char *key);
/* A plain scalar that says "nothing": empty, ~ or null. */
bool yaml_is_null(const struct yaml_node *node);
/* "a map", "a list", the text in quotes, "nothing": how an error names what it found. Returns out.
 * */
const char *yaml_describe(const struct yaml_node *node, char out[PROBLEMS_QUOTE_SIZE]);
