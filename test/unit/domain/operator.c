/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/operator/login.h"

static void every_method_has_one_action(void **state)
{
    assert_null(operator_action_of("no.such"));
    assert_null(operator_action_of(""));
    const struct operator_action *a = operator_action_of("apply");
    assert_string_equal(a->action, "mcp:Apply");
    assert_true(a->changes && a->role == OPERATOR_DEPLOYER);
    assert_false(operator_action_of("status")->changes);
}

static void the_subject_comes_from_the_parameters(void **state)
{
    char out[8];
    _cleanup_json_ json_t *p = json_pack("{s:s,s:i}", "module", "한국어모듈", "note", 7);
    operator_subject(operator_action_of("deploy"), p, out, sizeof out);
    assert_string_equal(out, "한국"); /* never half a character */
    operator_subject(operator_action_of("apply"), p, out, sizeof out);
    assert_string_equal(out, "7");
    operator_subject(operator_action_of("status"), p, out, sizeof out);
    assert_string_equal(out, "");
}

static void names_and_roles(void **state)
{
    static const struct {
        const char *name;
        bool valid;
    } rows[] = {{"ann", true}, {"ci-bot.1", true}, {"", false}, {"Ann", false}, {"a/b", false},
        {"-a", false}, {".", false}, {"a23456789012345678901234567890123", false}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(operator_name_valid(rows[i].name), rows[i].valid);
    enum operator_role role;
    assert_true(operator_role_parse("deployer", &role) && role == OPERATOR_DEPLOYER);
    assert_false(operator_role_parse("root", &role));
    assert_string_equal(operator_role_name(OPERATOR_ADMIN), "admin");
}

static void only_the_owner_of_a_token_is_admitted(void **state)
{
    struct token ann = {.id = {1}, .root = {2}, .secret = {3}}, other = ann, unknown = ann;
    other.secret[15] = 9;
    unknown.id[0] = 7;
    const struct {
        const char *name, *says; /* NULL: admitted */
        const struct token *token;
        int64_t now_ms;
    } rows[] = {{"right", NULL, &ann, 1500}, {"wrong secret", "nobody has", &other, 1500},
        {"unknown id", "nobody has", &unknown, 1500}, {"expired", "has expired", &ann, 2000}};
    _cleanup_json_ json_t *docs = json_object();
    json_object_set_new(docs, "ann", operator_doc(&ann, OPERATOR_DEPLOYER, "root", 1000, 1000));
    json_object_set_new(docs, "bad", json_pack("{s:s}", "hash", ""));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = {0};
        const char *name = NULL;
        enum operator_role role = OPERATOR_VIEWER;
        int r = operator_admit(docs, rows[i].token, rows[i].now_ms, &name, &role, &e);
        if (rows[i].says && (r != ERR_DENIED || !strstr(e.message, rows[i].says)))
            fail_msg("%s: %d %s", rows[i].name, r, e.message);
        if (!rows[i].says && (r < 0 || strcmp(name, "ann") != 0 || role != OPERATOR_DEPLOYER))
            fail_msg("%s: %d %s", rows[i].name, r, e.message);
    }
}

static void a_session_ends_with_its_token(void **state)
{
    struct token t = {.id = {1}, .secret = {3}};
    char id[TOKEN_ID_SIZE];
    struct err e;
    enum operator_role role;
    token_id_format(&t, id);
    _cleanup_json_ json_t *doc = operator_doc(&t, OPERATOR_ADMIN, "root", 1000, 0);
    assert_int_equal(operator_still(doc, id, INT64_MAX, &role, &e), 0); /* without end */
    assert_int_equal(role, OPERATOR_ADMIN);
    assert_int_equal(operator_still(doc, "0200000000000000", 1, &role, &e), ERR_DENIED);
    assert_int_equal(operator_still(NULL, id, 1, &role, &e), ERR_DENIED);
    json_object_set_new(doc, "format", json_integer(2)); /* of a newer version: not guessed at */
    assert_int_equal(operator_still(doc, id, 1, &role, &e), ERR_DENIED);
}

static void listings_hold_no_secret(void **state)
{
    struct token t = {.id = {1}, .secret = {3}};
    char hash[TOKEN_HASH_SIZE];
    token_hash(t.secret, hash);
    _cleanup_json_ json_t *docs = json_object();
    json_object_set_new(docs, "ann", operator_doc(&t, OPERATOR_VIEWER, "root", 1000, 500));
    _cleanup_json_ json_t *list = operator_listing(docs, 1500);
    _cleanup_free_ char *text = json_text(list);
    assert_null(strstr(text, hash));
    assert_true(json_opt_bool(json_array_get(list, 0), "expired", false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_method_has_one_action),
        cmocka_unit_test(the_subject_comes_from_the_parameters),
        cmocka_unit_test(names_and_roles),
        cmocka_unit_test(only_the_owner_of_a_token_is_admitted),
        cmocka_unit_test(a_session_ends_with_its_token),
        cmocka_unit_test(listings_hold_no_secret)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
