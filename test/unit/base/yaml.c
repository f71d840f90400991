/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/yaml/yaml.h"

#define LIMIT (4u << 20)

struct parsed {
    struct arena *arena;
    struct problems p;
    struct yaml_node *root;
};

static struct parsed parse(const char *text, size_t len)
{
    struct parsed r = {.arena = arena_new(0)};
    problems_init(&r.p, "f");
    r.root = yaml_tree_parse(r.arena, text, len, LIMIT, &r.p);
    return r;
}

static void done(struct parsed *r)
{
    problems_done(&r->p);
    arena_free(r->arena);
}

static void assert_at(const struct yaml_node *node, unsigned line, unsigned column)
{
    assert_int_equal(node->line, line);
    assert_int_equal(node->column, column);
}

static void test_places(void **state)
{
    static const char text[] = "# 한국어\n"
                               "name: 값  # behind\n"
                               "map: {k: [1, \"2\"]}\n"
                               "text: |\n"
                               "  two\n"
                               "  lines\n";
    struct parsed r = parse(text, sizeof text - 1);
    assert_non_null(r.root);
    assert_int_equal(r.root->n, 3);
    assert_at(r.root->pairs[0].key, 2, 1);
    assert_at(yaml_map_get(r.root, "name"), 2, 7); /* columns count characters */
    const struct yaml_node *map = yaml_map_get(r.root, "map");
    assert_int_equal(map->kind, YAML_MAP);
    assert_at(map, 3, 6);
    const struct yaml_node *list = yaml_map_get(map, "k");
    assert_int_equal(list->n, 2);
    assert_at(list->items[1], 3, 14);
    assert_false(list->items[0]->quoted);
    assert_true(list->items[1]->quoted);
    assert_string_equal(yaml_map_get(r.root, "text")->text, "two\nlines\n");
    assert_true(yaml_map_get(r.root, "text")->quoted);
    assert_null(yaml_map_get(r.root, "none"));
    assert_null(yaml_map_get(list, "k"));
    done(&r);
}

static void test_refused(void **state)
{
    static const struct {
        const char *name, *text;
        unsigned line, column;
        const char *message;
    } rows[] = {
        {"alias", "a: &x 1\nb: *x\n", 1, 4, "anchors and aliases"},
        {"alias alone", "b: *x\n", 1, 4, "anchors and aliases"},
        {"tag", "a: !!str 1\n", 1, 4, "tags are not supported"},
        {"own tag", "a: !x {b: 1}\n", 1, 4, "tags are not supported"},
        {"two documents", "a: 1\n---\nb: 1\n", 2, 1, "second document"},
        {"key is a list", "? [a]\n: b\n", 1, 3, "a key must be text"},
        {"key is a map", "{{a: b}: c}\n", 1, 2, "a key must be text"},
        {"no key", "?\n: b\n", 1, 2, "a key is missing"},
        {"tab", "a:\n\tb: 1\n", 2, 1, "a tab cannot indent"},
        {"open quote", "a: \"b\nc: d\n", 3, 1, "not YAML"},
        {"open bracket", "a: [b\nc: d\n", 2, 2, "not YAML"},
        {"bad indent", "a: 1\n b: 2\n", 2, 3, "not YAML"},
        {"NUL escape", "a: \"b\\0c\"\n", 1, 4, "NUL"},
        {"bad escape", "a: \"\\q\"\n", 1, 5, "not YAML"},
        {"control character", "a: b\n\x01\n", 2, 1, "U+0001"},
        {"C1 control", "a: \xc2\x9b\n", 1, 4, "U+009B"},
        {"delete", "a: \x7f\n", 1, 4, "U+007F"},
        {"overlong", "a: \xc0\xaf\n", 1, 4, "0xc0 is not UTF-8"},
        {"surrogate", "a: \xed\xa0\x80\n", 1, 4, "not UTF-8"},
        {"cut sequence", "a: \xe2\x82", 1, 4, "not UTF-8"},
        {"mark inside", "a: \xef\xbb\xbf\n", 1, 4, "U+FEFF"},
        {"UTF-16",
            "\xff\xfe"
            "a",
            1, 1, "not UTF-8"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct parsed r = parse(rows[i].text, strlen(rows[i].text));
        if (r.root || r.p.total != 1)
            fail_msg("%s: accepted, or %zu problems", rows[i].name, r.p.total);
        if (r.p.v[0].line != rows[i].line || r.p.v[0].column != rows[i].column
            || !strstr(r.p.v[0].message, rows[i].message))
            fail_msg(
                "%s: %u:%u: %s", rows[i].name, r.p.v[0].line, r.p.v[0].column, r.p.v[0].message);
        done(&r);
    }
}

static void test_repeated_keys(void **state)
{
    static const char text[] = "b: 1\na: 2\nb: 3\nb: 4\na: 5\n";
    struct parsed r = parse(text, sizeof text - 1);
    problems_sort(&r.p);
    assert_int_equal(r.p.n, 3);
    assert_at(&(struct yaml_node){.line = r.p.v[0].line, .column = r.p.v[0].column}, 3, 1);
    assert_int_equal(r.p.v[2].line, 5);
    assert_non_null(strstr(r.p.v[0].fix, "line 1"));
    assert_int_equal(r.root->n, 2); /* the first ones stay, in order */
    assert_string_equal(r.root->pairs[0].value->text, "1");
    assert_string_equal(r.root->pairs[1].value->text, "2");
    done(&r);
}

static void test_depth(void **state)
{
    for (unsigned depth = YAML_DEPTH_MAX; depth <= YAML_DEPTH_MAX + 1; depth++) {
        struct str text = STR_INIT;
        for (unsigned i = 0; i < depth; i++)
            str_add_ch(&text, '[');
        for (unsigned i = 0; i < depth; i++)
            str_add_ch(&text, ']');
        struct parsed r = parse(text.buf, text.len);
        assert_true((r.root != NULL) == (depth == YAML_DEPTH_MAX));
        done(&r);
        str_done(&text);
    }
}

/* A megabyte of open brackets ends at the limit, not after looking at all of it. */
static void test_hostile_nesting(void **state)
{
    static char text[1 << 20];
    memset(text, '[', sizeof text);
    struct parsed r = parse(text, sizeof text);
    assert_null(r.root);
    assert_non_null(strstr(r.p.v[0].message, "32 levels"));
    done(&r);
    memset(text, '{', sizeof text);
    r = parse(text, sizeof text);
    assert_null(r.root);
    done(&r);
}

static void test_too_many_nodes(void **state)
{
    struct str text = STR_INIT;
    str_add_ch(&text, '[');
    for (unsigned i = 0; i < YAML_NODES_MAX; i++)
        str_add(&text, "1,");
    str_add_ch(&text, ']');
    struct parsed r = parse(text.buf, text.len);
    assert_null(r.root);
    assert_non_null(strstr(r.p.v[0].message, "500,000 nodes"));
    done(&r);
    str_done(&text);
}

static void test_too_long(void **state)
{
    struct parsed r = {.arena = arena_new(0)};
    problems_init(&r.p, "f");
    assert_null(yaml_tree_parse(r.arena, "a: 1234", 7, 6, &r.p));
    assert_non_null(strstr(r.p.v[0].message, "7 bytes, allowed are 6"));
    done(&r);
}

static void test_null(void **state)
{
    static const struct {
        const char *text;
        bool null;
    } rows[] = {{"", true}, {"~", true}, {"null", true}, {"NULL", true}, {"\"\"", false},
        {"''", false}, {"'null'", false}, {"nil", false}, {"[]", false},
        {"# only a comment", true}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct parsed r = parse(rows[i].text, strlen(rows[i].text));
        if (yaml_is_null(r.root) != rows[i].null)
            fail_msg("%s", rows[i].text);
        done(&r);
    }
}

static void test_json_is_yaml(void **state)
{
    static const char text[] =
        "\xef\xbb\xbf{\"a\":{\"b\":[1,-2.5,true,null,\"x: \\\"y\\\" \\u00e9\\n\"]},"
        "\"c\":\"\",\r\n\"d\":{},\"e\":[]}";
    struct parsed r = parse(text, sizeof text - 1);
    assert_non_null(r.root);
    const struct yaml_node *list = yaml_map_get(yaml_map_get(r.root, "a"), "b");
    assert_string_equal(list->items[1]->text, "-2.5");
    assert_true(yaml_is_null(list->items[3]));
    assert_string_equal(list->items[4]->text, "x: \"y\" \xc3\xa9\n");
    assert_at(yaml_map_get(r.root, "d"), 2, 5);
    assert_int_equal(yaml_map_get(r.root, "e")->n, 0);
    done(&r);
}

/* The same tree by both ways. */
static void assert_same(const struct yaml_node *a, const struct yaml_node *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->n, b->n);
    if (a->kind == YAML_SCALAR) {
        assert_string_equal(a->text, b->text);
        assert_int_equal(a->quoted, b->quoted);
    }
    for (size_t i = 0; i < a->n && a->kind == YAML_LIST; i++)
        assert_same(a->items[i], b->items[i]);
    for (size_t i = 0; i < a->n && a->kind == YAML_MAP; i++) {
        assert_string_equal(a->pairs[i].key->text, b->pairs[i].key->text);
        assert_same(a->pairs[i].value, b->pairs[i].value);
    }
}

static void test_from_json(void **state)
{
    static const char text[] = "{\"a\":[1,0.5,\"1\",true,false,null],\"b\":{\"c\":\"한\"}}";
    struct parsed r = parse(text, sizeof text - 1);
    json_t *json = NULL;
    struct err e;
    assert_int_equal(json_parse(text, sizeof text - 1, &json, &e), 0);
    assert_same(r.root, yaml_tree_from_json(r.arena, json, &r.p));
    for (unsigned i = 0; i < YAML_DEPTH_MAX; i++)
        json = json_pack("[o]", json);
    assert_null(yaml_tree_from_json(r.arena, json, &r.p));
    assert_int_equal(r.p.total, 1);
    json_decref(json);
    done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_repeated_keys),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_hostile_nesting),
        cmocka_unit_test(test_too_many_nodes),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_json_is_yaml),
        cmocka_unit_test(test_from_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
