/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/health/health.h"

#include <string.h>

static const struct health_params params = {5000, 2000, 2, 3};

/* Each row plays results ('x' failure, 'o' success, 'd' degraded, 'a' app) and gives the state
 * after each. */
static void test_hysteresis(void **state)
{
    static const struct {
        const char *name, *results, *states;
    } rows[] = {
        {"first success is up", "o", "U"},
        {"unknown is not down", "x", "?"},
        {"down after two", "oxx", "UUD"},
        {"one lost probe moves nothing", "oxoxoxo", "UUUUUUU"},
        {"up after three", "xxooo", "?DDDU"},
        {"a failure starts the count again", "xxooxooo", "?DDDDDDU"},
        {"degraded is up", "oddd", "UUUU"},
        {"app failures count", "oaa", "UUD"},
        {"mixed failures count", "oxa", "UUD"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct health_target t = {0};
        for (size_t k = 0; rows[i].results[k]; k++) {
            char r = rows[i].results[k];
            enum health_state before = t.state;
            enum health_class c = r == 'o'   ? HEALTH_OK
                                  : r == 'd' ? HEALTH_DEGRADED
                                  : r == 'a' ? HEALTH_APP
                                             : HEALTH_TIMEOUT;
            bool changed = health_target_step(&t, &params, c, 1000 * k, (int64_t)k);
            if (changed != (t.state != before) || "?UD"[t.state] != rows[i].states[k])
                fail_msg("%s: after result %zu", rows[i].name, k);
        }
    }
}

static void test_every_state_has_an_exit(void **state)
{
    for (enum health_state s = HEALTH_UNKNOWN; s <= HEALTH_DOWN; s++) {
        bool left = false;
        for (int ok = 0; ok < 2; ok++) {
            struct health_target t = {.state = s};
            for (int i = 0; i < 300; i++) /* beyond what a streak can count */
                health_target_step(&t, &params, ok ? HEALTH_OK : HEALTH_TIMEOUT, 1, 1);
            left |= t.state != s;
        }
        assert_true(left);
    }
}

static void test_probes_left(void **state)
{
    struct health_target t = {0};
    assert_int_equal(health_target_left(&t, &params), 0);
    health_target_step(&t, &params, HEALTH_OK, 1, 1);
    assert_int_equal(health_target_left(&t, &params), 0);
    health_target_step(&t, &params, HEALTH_TIMEOUT, 1, 1);
    assert_int_equal(health_target_left(&t, &params), 1);
    health_target_step(&t, &params, HEALTH_TIMEOUT, 1, 1);
    assert_int_equal(health_target_left(&t, &params), 0);
    health_target_step(&t, &params, HEALTH_OK, 1, 1);
    assert_int_equal(health_target_left(&t, &params), 2);
}

static const char *const regions[] = {"a", "b", "c", "d", "e"};
static const char *const names[] = {"x"};

/* A council in one line: hosts separated by blanks, each REGION STATE FLAGS: the region's letter;
 * u, d or ? for what it says of region "b"; r reached another region, f reached a reference, s own
 * address answers, o old view. The first host is the own one. */
static void hold_council(
    const char *text, size_t n_regions, bool references, struct health_verdict *ret)
{
    struct health_space space = {regions, n_regions, names, 1};
    struct health_view views[16] = {0};
    struct health_heard heard[16];
    struct health_vote votes[16][5] = {0};
    size_t n = 0;
    for (const char *p = text; *p; n++) {
        views[n] = (struct health_view){.region = (size_t)(p[0] - 'a'), .targets = votes[n]};
        votes[n][1] = (struct health_vote){.state = p[1] == 'u'   ? HEALTH_UP
                                                    : p[1] == 'd' ? HEALTH_DOWN
                                                                  : HEALTH_UNKNOWN,
            .class = p[1] == 'd' ? HEALTH_TIMEOUT : HEALTH_OK};
        heard[n] = (struct health_heard){&views[n], 100000};
        for (p += 2; *p && *p != ' '; p++) {
            views[n].reached |= *p == 'r' ? 1u << 7 : 0;
            views[n].references |= *p == 'f';
            views[n].self |= *p == 's';
            if (*p == 'o')
                heard[n].received_ms = 100000 - 10001;
        }
        p += *p == ' ';
    }
    struct health_council c = {
        &space, &params, heard, n, views[0].region, references, true, false, 100000};
    c.alone = health_alone(&c);
    health_verdict(&c, 1, 0, ret);
}

static void test_verdict(void **state)
{
    static const struct {
        const char *name;
        size_t regions;
        bool references;
        const char *council;
        char verdict;
    } rows[] = {
        {"everybody sees it", 4, false, "aur cur dur", 'U'},
        {"everybody sees it down", 4, false, "adr cdr ddr", 'D'},
        {"two of three", 4, false, "adr cdr dur", 'D'},
        {"one of three: a cut between two regions", 4, false, "adr cur dur", 'U'},
        {"the region itself has no vote", 4, false, "bur adr cdr ddr", 'D'},
        {"its own word does not help", 4, false, "adr bdr cur dur", 'U'},
        {"half is not more than half", 5, false, "adr cdr dur eur", 'U'},
        {"three of four", 5, false, "adr cdr ddr eur", 'D'},
        {"two of three, the third does not know", 4, false, "adr cdr d?r", 'D'},
        {"one says down, nobody else is heard", 4, false, "adr", '?'},
        {"one says down, the others' views are old", 4, false, "adr cdro ddro", '?'},
        {"who reached nobody is not counted", 4, false, "adr cd du", '?'},
        {"a reference makes eligible", 4, true, "adf cdf du", 'D'},
        {"nobody is eligible", 4, true, "ad cd dd", '?'},
        {"nobody knows", 4, false, "a?r c?r d?r", '?'},
        {"both others of three", 3, false, "adr cdr", 'D'},
        {"one of two others: a cut", 3, false, "adr cur", 'U'},
        {"two regions, the other is heard but its address is dead", 2, false, "adrs bur", 'D'},
        {"two regions, the survivor alone", 2, false, "ads", 'D'},
        {"two regions, alone and its own address does not answer", 2, false, "ad", '?'},
        {"two regions, alone, a reference is reached", 2, true, "adf", 'D'},
        {"two regions, alone, references declared and none reached", 2, true, "ads", '?'},
        {"last of four, alone", 4, false, "ads cdo ddo", 'D'},
        {"not alone: it reaches one", 4, false, "adsr", '?'},
        {"alone, its own region: its own look decides", 4, false, "bus", 'U'},
        {"alone, the other host of the region reaches somebody", 4, false, "ads a?r", '?'},
        {"hosts of one region have one vote", 4, false, "adr adr adr cur dur", 'U'},
        {"hosts of a region that differ say up", 4, false, "adr aur cdr ddr", 'D'},
        {"hosts of a region that differ do not make a second vote", 3, false, "adr aur cdr", 'U'},
        {"a region with one bad host still votes", 3, false, "adr a? cdr", 'D'},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct health_verdict v;
        hold_council(rows[i].council, rows[i].regions, rows[i].references, &v);
        if ("?UD"[v.state] != rows[i].verdict)
            fail_msg("%s: got %c (down %u, up %u, eligible %u, need %u)", rows[i].name,
                "?UD"[v.state], v.down, v.up, v.eligible, v.need);
    }
}

static void test_reason_is_the_majority(void **state)
{
    struct health_verdict v;
    hold_council("adr cdr ddr", 4, false, &v);
    assert_int_equal(v.why, HEALTH_TIMEOUT);
    assert_int_equal(v.down, 3);
    assert_int_equal(v.eligible, 3);
    assert_int_equal(v.need, 2);
    assert_int_equal(v.down_by, 1 | 4 | 8);
}

static const struct health_space space3 = {regions, 3, names, 1};

static void test_view_round_trip(void **state)
{
    struct health_vote votes[3] = {[1] = {.state = HEALTH_DOWN,
                                       .class = HEALTH_APP,
                                       .streak = 4,
                                       .since_wall_ms = 1795411812345},
        [2] = {.state = HEALTH_UP, .class = HEALTH_OK, .streak = 9, .streak_ok = true}};
    struct health_view v = {.host = "hk1",
        .region = 0,
        .incarnation = 1795411812345,
        .seq = 9,
        .age_ms = 77,
        .reached = 4,
        .references = true,
        .targets = votes};
    struct health_view back;
    struct err e = {0};
    _cleanup_json_ json_t *j = health_view_format(&v, &space3);
    assert_int_equal(health_view_parse(j, &space3, &back, &e), 0);
    assert_memory_equal(back.targets, votes, sizeof votes);
    free(back.targets);
    back.targets = votes;
    assert_memory_equal(&back, &v, sizeof v);
}

static void test_bad_views_are_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"{}", "format"},
        {"{\"format\":2}", "format"},
        {"{\"format\":1,\"host\":\"h\",\"region\":\"mars\",\"incarnation\":1,\"seq\":1,\"age_ms\":"
         "0}",
            "mars"},
        {"{\"format\":1,\"host\":\"h\",\"region\":\"a\",\"incarnation\":-1,\"seq\":1,\"age_ms\":0}",
            "incarnation"},
        {"{\"format\":1,\"host\":\"h\",\"region\":\"a\",\"incarnation\":1,\"seq\":1,\"age_ms\":0}",
            "reached"},
        {"{\"format\":1,\"host\":\"h\",\"region\":\"a\",\"incarnation\":1,\"seq\":1,\"age_ms\":0,"
         "\"reached\":[],"
         "\"targets\":{\"b\":{\"x\":[\"sideways\",\"ok\",1,0]}}}",
            "x in b"},
        {"{\"format\":1,\"host\":\"h\",\"region\":\"a\",\"incarnation\":1,\"seq\":1,\"age_ms\":0,"
         "\"reached\":[],"
         "\"targets\":{\"b\":{\"x\":[\"up\",\"ok\",1000,0]}}}",
            "x in b"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = {0};
        struct health_view v;
        _cleanup_json_ json_t *j = NULL;
        assert_int_equal(json_parse(rows[i].text, strlen(rows[i].text), &j, &e), 0);
        assert_true(health_view_parse(j, &space3, &v, &e) < 0);
        if (!strstr(e.message, rows[i].says))
            fail_msg("row %zu: %s", i, e.message);
    }
}

static void test_its_own_region_is_no_proof(void **state)
{
    static const char text[] =
        "{\"format\":1,\"host\":\"h\",\"region\":\"a\",\"incarnation\":1,\"seq\":1,\"age_ms\":0,"
        "\"reached\":[\"a\",\"c\",\"mars\"],\"targets\":{}}";
    struct err e = {0};
    struct health_view v;
    _cleanup_json_ json_t *j = NULL;
    assert_int_equal(json_parse(text, strlen(text), &j, &e), 0);
    assert_int_equal(health_view_parse(j, &space3, &v, &e), 0);
    assert_int_equal(v.reached, 4);
    health_view_done(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hysteresis),
        cmocka_unit_test(test_every_state_has_an_exit),
        cmocka_unit_test(test_probes_left),
        cmocka_unit_test(test_verdict),
        cmocka_unit_test(test_reason_is_the_majority),
        cmocka_unit_test(test_view_round_trip),
        cmocka_unit_test(test_bad_views_are_refused),
        cmocka_unit_test(test_its_own_region_is_no_proof),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
