/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/schema/schema.h"

/* One of each type. */
struct box {
    struct schema_head head;
    int64_t width;
    struct schema_text label;
};

struct owner {
    struct schema_text name;
    struct schema_list boxes; /* box */
};

struct doc {
    struct schema_head head;
    struct schema_text text, name;
    bool flag;
    int64_t count, share;
    double part;
    uint64_t time_ms, bytes, rate_bps;
    int colour;
    struct schema_addr address;
    struct schema_prefix prefix;
    struct box box;
    struct schema_list words;  /* schema_text */
    struct schema_list owners; /* owner */
};

static const char *starts_with_x(const char *text)
{
    return text[0] == 'x' ? NULL : "a text that starts with x";
}

static const char *const colours[] = {"red", "green", NULL};
static const struct schema_row box_rows[] = {
    {"width", SCHEMA_INT, offsetof(struct box, width), .min = 1, .max = 9, .def = "3",
        .prose = "How wide."},
    {"label", SCHEMA_STRING, offsetof(struct box, label), .max = 5},
    {0},
};
static const struct schema_row box_item = {
    "BOX", SCHEMA_STRUCT, .rows = box_rows, .shorthand = "width"};
static const struct schema_row word_item = {"WORD", SCHEMA_STRING, .check = starts_with_x};
static const struct schema_row owner_name = {"OWNER", SCHEMA_NAME, .max = 8};
static const struct schema_row owner_item = {"BOXES", SCHEMA_LIST, offsetof(struct owner, boxes),
    .one = true, .item = &box_item, .item_size = sizeof(struct box)};
static const struct schema_row doc_rows[] = {
    {"text", SCHEMA_STRING, offsetof(struct doc, text), .min = 1, .max = 8, .required = true,
        .example = "abc", .prose = "A text. Any text."},
    {"name", SCHEMA_NAME, offsetof(struct doc, name), .max = 6},
    {"flag", SCHEMA_BOOL, offsetof(struct doc, flag), .def = "true"},
    {"count", SCHEMA_INT, offsetof(struct doc, count), .min = 2, .max = 5},
    {"share", SCHEMA_DECIMAL, offsetof(struct doc, share), .max = 2500},
    {"part", SCHEMA_PERCENT, offsetof(struct doc, part), .def = "0%"},
    {"time", SCHEMA_DURATION, offsetof(struct doc, time_ms), .min = 10, .max = 60000, .def = "5s"},
    {"bytes", SCHEMA_SIZE, offsetof(struct doc, bytes)},
    {"rate", SCHEMA_RATE, offsetof(struct doc, rate_bps)},
    {"colour", SCHEMA_ENUM, offsetof(struct doc, colour), .words = colours},
    {"address", SCHEMA_ADDRESS, offsetof(struct doc, address)},
    {"prefix", SCHEMA_PREFIX, offsetof(struct doc, prefix)},
    {"box", SCHEMA_STRUCT, offsetof(struct doc, box), .rows = box_rows, .def = "{}"},
    {"words", SCHEMA_LIST, offsetof(struct doc, words), .one = true, .item = &word_item,
        .item_size = sizeof(struct schema_text), .max = 3, .def = "[x1, x2]"},
    {"owners", SCHEMA_MAP, offsetof(struct doc, owners), .name = &owner_name, .item = &owner_item,
        .item_size = sizeof(struct owner), .max = 2},
    {"later", SCHEMA_LATER},
    {0},
};
static const struct schema_row doc_schema = {"doc", SCHEMA_STRUCT, .rows = doc_rows};

struct parsed {
    struct arena *arena;
    struct problems p;
    struct doc doc;
};

static struct parsed *parse(const char *text)
{
    struct parsed *r = xcalloc(1, sizeof *r);
    r->arena = arena_new(0);
    problems_init(&r->p, "f");
    const struct yaml_node *root = yaml_tree_parse(r->arena, text, strlen(text), 1 << 20, &r->p);
    assert_non_null(root);
    schema_parse(&doc_schema, root, &r->doc, r->arena, &r->p);
    problems_sort(&r->p);
    return r;
}

static void done(struct parsed *r)
{
    problems_done(&r->p);
    arena_free(r->arena);
    free(r);
}

static void test_every_type(void **state)
{
    struct parsed *r = parse("text: 123\nname: a-b\nflag: false\ncount: 4\nshare: 0.25\n"
                             "part: 12.5%\ntime: 1m\nbytes: 2KiB\nrate: 10Mbit\ncolour: green\n"
                             "address: 2001:DB8::1\nprefix: 10.0.0.0/8\nbox: {width: 7}\nwords: x\n"
                             "owners: {ann: [2, {label: l}], bob: 1}\n");
    const struct doc *d = &r->doc;
    if (r->p.total)
        fail_msg("%s", r->p.v[0].message);
    assert_string_equal(d->text.s, "123"); /* what a text is, the schema says */
    assert_string_equal(d->name.s, "a-b");
    assert_false(d->flag);
    assert_int_equal(d->count, 4);
    assert_int_equal(d->share, 250);
    assert_true(d->part == 0.125);
    assert_int_equal(d->time_ms, 60000);
    assert_int_equal(d->bytes, 2048);
    assert_int_equal(d->rate_bps, 10000000);
    assert_int_equal(d->colour, 1);
    assert_int_equal(d->address.addr.family, 6);
    assert_int_equal(d->prefix.prefix.bits, 8);
    assert_int_equal(d->box.width, 7);
    assert_null(d->box.label.s);
    assert_int_equal(d->words.n, 1);
    const struct owner *owners = d->owners.v;
    const struct box *boxes = owners[0].boxes.v;
    assert_int_equal(d->owners.n, 2);
    assert_string_equal(owners[0].name.s, "ann");
    assert_int_equal(boxes[0].width, 2); /* the shorthand */
    assert_int_equal(boxes[1].width, 3); /* the default */
    assert_string_equal(boxes[1].label.s, "l");
    assert_int_equal(schema_at(&boxes[1].head, "label")->line, 15);
    done(r);
}

static void test_defaults_and_canonical_form(void **state)
{
    struct parsed *r = parse("text: a\n");
    json_t *json = schema_json(&doc_schema, &r->doc);
    char *text = json_text(json);
    assert_string_equal(text, "{\"box\":{\"width\":3},\"flag\":true,\"part\":\"0%\",\"text\":\"a\","
                              "\"time\":\"5s\",\"words\":[\"x1\",\"x2\"]}");
    assert_int_equal(r->doc.colour, -1);
    /* It reads back to itself, and an empty list is not the default. */
    struct parsed *again = parse(text);
    json_t *json2 = schema_json(&doc_schema, &again->doc);
    assert_true(json_equal(json, json2));
    struct parsed *empty = parse("text: a\nwords: []\n");
    json_t *json3 = schema_json(&doc_schema, &empty->doc);
    assert_int_equal(json_array_size(json_object_get(json3, "words")), 0);
    assert_non_null(json_object_get(json3, "words"));
    free(text);
    json_decref(json);
    json_decref(json2);
    json_decref(json3);
    done(r);
    done(again);
    done(empty);
}

static void test_quantities_survive(void **state)
{
    static const char *const rows[] = {
        "\"part\":\"0.0001%\"",
        "\"part\":\"33.3333%\"",
        "\"part\":\"100%\"",
        "\"time\":\"59s\"",
        "\"time\":\"11ms\"",
        "\"bytes\":\"1025B\"",
        "\"bytes\":\"3GiB\"",
        "\"rate\":\"1500kbit\"",
        "\"share\":0.001",
        "\"share\":2",
        "\"share\":2.499",
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"text\":\"a\",%s}", rows[i]);
        struct parsed *a = parse(text);
        json_t *once = schema_json(&doc_schema, &a->doc);
        char *canonical = json_text(once);
        struct parsed *b = parse(canonical);
        json_t *twice = schema_json(&doc_schema, &b->doc);
        if (a->p.total || b->p.total || !json_equal(once, twice))
            fail_msg("%s became %s", rows[i], canonical);
        assert_memory_equal(&a->doc.part, &b->doc.part, sizeof a->doc.part);
        assert_int_equal(a->doc.share, b->doc.share);
        free(canonical);
        json_decref(once);
        json_decref(twice);
        done(a);
        done(b);
    }
}

static void test_wrong_values(void **state)
{
    static const struct {
        const char *text, *message, *fix;
    } rows[] = {
        {"{}", "the key \"text\" is missing", "add `text: abc`"},
        {"text: 123456789", "text: expected a text, 1 to 8 characters", "write it like abc"},
        {"text: ''", "text: expected a text, 1 to 8 characters, found \"\"", "abc"},
        {"text: [a]", "text: expected a text, found a list", "abc"},
        {"text: \"a\\x1b\"", "expected a text, found", "abc"},
        {"text: a\nname: A", "expected a name of lower-case letters", "write such a value"},
        {"text: a\nname: abcdefg", "at most 6 characters", "write such a value"},
        {"text: a\nflag: yes", "expected true or false, found \"yes\"", "the default, true"},
        {"text: a\nflag: \"true\"", "expected true or false", "without quotes"},
        {"text: a\ncount: 6", "expected a whole number, 2 to 5, found \"6\"", ""},
        {"text: a\ncount: -3", "expected a whole number, found \"-3\"", ""},
        {"text: a\ncount: 99999999999999999999", "expected a whole number", ""},
        {"text: a\ncount: 0x3", "expected a whole number", ""},
        {"text: a\nshare: 0.0001", "at most three decimals", ""},
        {"text: a\nshare: 2.501", "at most 2.5", ""},
        {"text: a\nshare: nan", "expected a number", ""},
        {"text: a\nshare: 1e0", "expected a number", ""},
        {"text: a\npart: 0.5", "expected a percentage", "default, 0%"},
        {"text: a\npart: 100.1%", "up to 100%", ""},
        {"text: a\ntime: 5", "expected a duration such as", "default, 5s"},
        {"text: a\ntime: 2m", "10ms to 1m", "default, 5s"},
        {"text: a\nbytes: 5XB", "expected a size", ""},
        {"text: a\nrate: 5", "expected a rate", ""},
        {"text: a\ncolour: gren", "expected one of red, green, found \"gren\"",
            "did you mean green?"},
        {"text: a\ncolour: blue", "expected one of red, green", "write one of red, green"},
        {"text: a\naddress: 1.2.3", "expected an IPv4 or IPv6 address", ""},
        {"text: a\nprefix: 10.0.0.1/8", "without host bits", ""},
        {"text: a\nbox: 3", "expected a map of keys, found \"3\"", ""},
        {"text: a\nbox: {with: 3}", "box: unknown key \"with\"", "did you mean \"width\"?"},
        {"text: a\nbox: {zzzzzz: 3}", "box: unknown key", "known here: width, label"},
        {"text: a\nwords: [a]", "words.1: expected a text that starts with x", ""},
        {"text: a\nwords: [x, x, x, x]", "expected at most 3 entries, found 4", ""},
        {"text: a\nwords: {a: b}", "words: expected a text, found a map", ""},
        {"text: a\nowners: [a]", "owners: expected a map of names, found a list", ""},
        {"text: a\nowners: {Ann: 1}", "owners: expected a name", ""},
        {"text: a\nowners: {ann: [{width: 10}]}",
            "owners.ann.1.width: expected a whole number, 1 to 9", ""},
        {"text: a\nlater: 1", "`later` is not built yet", "remove it"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct parsed *r = parse(rows[i].text);
        if (r->p.total != 1 || !strstr(r->p.v[0].message, rows[i].message))
            fail_msg(
                "%s: %zu problems, %s", rows[i].text, r->p.total, r->p.n ? r->p.v[0].message : "");
        if (!r->p.v[0].fix || !*r->p.v[0].fix || !strstr(r->p.v[0].fix, rows[i].fix))
            fail_msg("%s: fix %s", rows[i].text, r->p.v[0].fix ? r->p.v[0].fix : "none");
        done(r);
    }
}

/* A wrong field does not hide the others, and leaves nothing half read behind. */
static void test_partial(void **state)
{
    struct parsed *r = parse("text: a\nwords: [x1, a, x2]\ncolour: blue\n"
                             "owners: {ann: [1, {width: z, label: l}], bob: 5}\n");
    assert_int_equal(r->p.total, 3);
    const struct schema_text *words = r->doc.words.v;
    assert_int_equal(r->doc.words.n, 2);
    assert_string_equal(words[1].s, "x2");
    assert_int_equal(r->doc.colour, -1);
    done(r);
}

static void test_json_schema(void **state)
{
    json_t *j = schema_json_schema(&doc_schema, "doc");
    json_t *properties = json_object_get(j, "properties");
    assert_true(json_is_false(json_object_get(j, "additionalProperties")));
    assert_null(json_object_get(properties, "later"));
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(j, "required"), 0)), "text");
    assert_int_equal(json_array_size(json_object_get(j, "required")), 1);
    json_t *count = json_object_get(properties, "count"),
           *words = json_object_get(properties, "words");
    assert_int_equal(json_integer_value(json_object_get(count, "maximum")), 5);
    assert_int_equal(json_array_size(json_object_get(words, "anyOf")), 2); /* one, or a list */
    assert_int_equal(json_array_size(json_object_get(words, "default")), 2);
    assert_true(json_is_true(json_object_get(json_object_get(properties, "flag"), "default")));
    json_decref(j);
}

static void add_path(void *ctx, const char *path, const struct schema_row *row)
{
    struct str type = STR_INIT;
    schema_type_text(row, &type);
    str_addf(ctx, "%s: %s\n", path, type.buf);
    str_done(&type);
}

static void test_walk(void **state)
{
    struct str out = STR_INIT;
    schema_each(&doc_schema, add_path, &out);
    static const char *const expected[] = {
        "text: text (1 to 8 characters)\n",
        "flag: true or false\n",
        "colour: red | green\n",
        "box.width: number (1 to 9)\n",
        "words: text, or list of text (at most 3)\n",
        "owners: map of OWNER to number, or map of keys, or list of number, or map of keys (at "
        "most 2)\n",
        "owners.OWNER.width: number (1 to 9)\n",
        "later: not built yet\n",
        "time: duration (10ms to 1m)\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        if (!strstr(out.buf, expected[i]))
            fail_msg("no %s in\n%s", expected[i], out.buf);
    str_clear(&out);
    schema_man(&doc_schema, &out);
    assert_non_null(strstr(out.buf, ".SS \"owners\"\n"));
    assert_non_null(strstr(out.buf, ".TP\n\\fBOWNER.width\\fR\n"));
    assert_non_null(strstr(out.buf, "Words of later versions"));
    str_done(&out);
}

static void test_names(void **state)
{
    static const struct {
        const char *text;
        bool dns, host_port;
    } rows[] = {
        {"a.b", true, false},
        {"a.b.", true, false},
        {"A-1._b.c", true, false},
        {"a", false, false},
        {".a.b", false, false},
        {"a..b", false, false},
        {"-a.b", false, false},
        {"a-.b", false, false},
        {"a b.c", false, false},
        {"", false, false},
        {"a:1", false, true},
        {"1.2.3.4:65535", false, true},
        {"[::1]:53", false, true},
        {"::1:53", false, false},
        {"a:0", false, false},
        {"a:65536", false, false},
        {":1", false, false},
        {"a/b:1", false, false},
        {"a:", false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (!schema_check_dns_name(rows[i].text) != rows[i].dns)
            fail_msg("dns name: %s", rows[i].text);
        if (!schema_check_host_port(rows[i].text) != rows[i].host_port)
            fail_msg("host and port: %s", rows[i].text);
    }
    assert_true(schema_is_label("a-1", 3));
    assert_false(schema_is_label("a-1", 2));
    assert_false(schema_is_label("-a", 9));
    assert_false(schema_is_label("a-", 9));
    assert_false(schema_is_label("", 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_defaults_and_canonical_form),
        cmocka_unit_test(test_quantities_survive),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_partial),
        cmocka_unit_test(test_json_schema),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
