/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/operator/operator.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_method_has_one_action),
        cmocka_unit_test(the_subject_comes_from_the_parameters),
        cmocka_unit_test(names_and_roles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
