/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "domain/schedule/after.h"

#define WALL 1800000000000

static json_t *deployment(int id, const char *state)
{
    return json_pack("{s:i,s:s}", "id", id, "state", state);
}

struct play {
    json_t *doc;
    int64_t wall_ms;
    unsigned runs;
    bool run;
};

/* One look of a leader: true: it wrote. */
static bool look(struct play *p, int id, const char *state)
{
    _cleanup_json_ json_t *deploy = id ? deployment(id, state) : NULL;
    json_t *next = after_step(p->doc, deploy, p->wall_ms, &p->run);
    bool wrote = next != p->doc;
    json_decref(p->doc);
    p->doc = next;
    p->runs += !wrote && p->run;
    return wrote;
}

static void ran(struct play *p, int id, const struct err *e)
{
    json_t *next = after_ran(p->doc, id, e, p->wall_ms);
    json_decref(p->doc);
    p->doc = next;
}

static void test_once_for_each_that_is_done(void **state)
{
    struct play p = {.wall_ms = WALL};
    assert_false(look(&p, 0, ""));
    assert_true(look(&p, 4, "done")); /* of before: not announced */
    assert_false(look(&p, 4, "done"));
    assert_false(look(&p, 5, "running"));
    assert_false(look(&p, 5, "rolled-back"));
    assert_false(look(&p, 6, "running"));
    assert_int_equal(p.runs, 0);
    assert_true(look(&p, 6, "done")); /* the intent is written first */
    assert_int_equal(p.runs, 0);
    assert_false(look(&p, 6, "done"));
    assert_int_equal(p.runs, 1);
    ran(&p, 6, NULL);
    assert_false(look(&p, 6, "done"));
    assert_false(look(&p, 6, "done"));
    assert_int_equal(p.runs, 1);
    json_decref(p.doc);
}

/* The first that is seen at all is under way. */
static void test_the_first_one(void **state)
{
    struct play p = {.wall_ms = WALL};
    assert_true(look(&p, 1, "running"));
    assert_true(look(&p, 1, "done"));
    assert_false(look(&p, 1, "done"));
    assert_int_equal(p.runs, 1);
    json_decref(p.doc);
}

/* It ends while nobody leads; who leads next has seen nothing of it. */
static void test_leaders_that_change(void **state)
{
    struct play p = {.wall_ms = WALL};
    look(&p, 4, "done");
    look(&p, 5, "running");
    assert_true(look(&p, 5, "done")); /* by the next leader; it dies before it runs anything */
    assert_false(look(&p, 5, "done")); /* the third runs them, and dies before it says so */
    assert_false(look(&p, 6, "running"));
    assert_int_equal(p.runs, 2); /* the fourth again, under the same name, whatever began meanwhile */
    assert_int_equal(json_opt_int(p.doc, "id", 0), 5);
    ran(&p, 5, NULL);
    assert_true(look(&p, 6, "done"));
    ran(&p, 5, NULL); /* a late word of the third */
    assert_string_equal(json_opt_str(p.doc, "state", ""), "due");
    assert_false(look(&p, 6, "done"));
    assert_int_equal(p.runs, 3);
    json_decref(p.doc);
}

static void test_what_fails(void **state)
{
    struct err e;
    struct play p = {.wall_ms = WALL};
    look(&p, 4, "done");
    look(&p, 5, "done");
    err_set(&e, ERR_UNAVAILABLE, "no host can run it");
    unsigned tries = 0;
    while (str_eq(json_opt_str(p.doc, "state", ""), "due")) {
        look(&p, 5, "done");
        assert_true(p.run);
        ran(&p, 5, &e);
        look(&p, 5, "done");
        assert_false(p.run); /* not at once */
        p.wall_ms += 160000;
        tries++;
    }
    assert_int_equal(tries, AFTER_TRIES_MAX);
    assert_string_equal(json_opt_str(p.doc, "state", ""), "failed");
    look(&p, 6, "done");
    err_set(&e, ERR_FAILED, "function tell ended with 3");
    ran(&p, 6, &e); /* it ran: it is not run again */
    assert_string_equal(json_opt_str(p.doc, "state", ""), "failed");
    assert_string_equal(json_opt_str(p.doc, "error", ""), "function tell ended with 3");
    json_decref(p.doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_for_each_that_is_done),
        cmocka_unit_test(test_the_first_one),
        cmocka_unit_test(test_leaders_that_change),
        cmocka_unit_test(test_what_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
