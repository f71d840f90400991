/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/problems/problems.h"
#include "base/str/str.h"
#include "domain/alarm/rules.h"
#include "domain/alarm/values.h"
#include "domain/alarm/window.h"

#define WALL 1800000000000

/* ---- expressions */

static json_t *values(void)
{
    return json_pack("{s:b,s:i,s:s,s:f,s:i,s:n}", "data.trade.answering", 0, "data.trade.lag_ms",
        3000, "data.trade.state", "broken", "route.api.error_rate", 0.05, "route.api.requests", 40,
        "data.trade.drill_age");
}

static void test_eval(void **state)
{
    static const struct {
        const char *text;
        enum alarm_truth is;
    } rows[] = {
        {"data.trade.answering == false", ALARM_TRUE},
        {"data.trade.answering != false", ALARM_FALSE},
        {" data.trade.answering==true ", ALARM_FALSE},
        {"data.trade.lag_ms > 3s", ALARM_FALSE},
        {"data.trade.lag_ms >= 3s", ALARM_TRUE},
        {"data.trade.lag_ms < 3.5", ALARM_FALSE},
        {"data.trade.lag_ms > -1", ALARM_TRUE},
        {"route.api.error_rate == 5%", ALARM_TRUE},
        {"route.api.error_rate > 0.049", ALARM_TRUE},
        {"data.trade.state == broken", ALARM_TRUE},
        {"data.trade.state == \"broken\" and not data.trade.lag_ms < 1s", ALARM_TRUE},
        {"data.trade.state == 'fine' or data.trade.lag_ms == 3s", ALARM_TRUE},
        {"data.trade.state == fine and data.trade.lag_ms == 3s or route.api.requests > 1",
            ALARM_TRUE}, /* `and` binds closer */
        {"data.trade.state == fine and (data.trade.lag_ms == 3s or route.api.requests > 1)",
            ALARM_FALSE},
        {"not not data.trade.answering == false", ALARM_TRUE},
        /* what is not known */
        {"data.trade.drill_age > 1d", ALARM_UNKNOWN},
        {"not data.trade.drill_age > 1d", ALARM_UNKNOWN},
        {"data.other.answering == false", ALARM_UNKNOWN},
        {"data.other.answering == false or data.trade.lag_ms > 1s", ALARM_TRUE},
        {"data.other.answering == false and data.trade.lag_ms > 1s", ALARM_UNKNOWN},
        {"data.other.answering == false and data.trade.lag_ms > 9s", ALARM_FALSE},
        {"data.other.answering == false or data.trade.lag_ms > 9s", ALARM_UNKNOWN},
        {"data.trade.lag_ms == false", ALARM_UNKNOWN}, /* of another kind */
    };
    struct alarm_expr x;
    struct err e;
    _cleanup_json_ json_t *v = values();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (alarm_expr_parse(rows[i].text, strlen(rows[i].text), &x, NULL, &e) < 0)
            fail_msg("%s: %s", rows[i].text, e.message);
        if (alarm_expr_eval(&x, v) != rows[i].is)
            fail_msg("%s", rows[i].text);
    }
}

static void test_wrong(void **state)
{
    static const struct {
        const char *text;
        unsigned at;
    } rows[] = {
        {"", 1},
        {"answering == false", 1},
        {"data.trade.answering", 21},
        {"data.trade.answering = false", 22},
        {"data.trade.answering == ", 25},
        {"data.trade.answering == false or", 33},
        {"data.trade.answering == false false", 31},
        {"data..trade == 1", 1},
        {"data.Trade.x == 1", 1},
        {"(data.trade.lag_ms > 1", 23},
        {"data.trade.lag_ms > fast", 21},
        {"data.trade.lag_ms > 3 apples", 23},
        {"data.trade.lag_ms > 3x", 21},
        {"data.trade.state == \"broken", 21},
        {"((((((((( a.b == 1", 9},
        {"data.trade.state == \"죽음\" and x", 30},
    };
    struct alarm_expr x;
    struct err e;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned at = 0;
        if (alarm_expr_parse(rows[i].text, strlen(rows[i].text), &x, &at, &e) != ERR_INVALID)
            fail_msg("taken: %s", rows[i].text);
        if (at != rows[i].at)
            fail_msg("%s: at %u, not %u", rows[i].text, at, rows[i].at);
    }
}

static void test_limits(void **state)
{
    struct alarm_expr x;
    struct err e;
    _cleanup_str_ struct str text = STR_INIT;
    for (int i = 0; i < 16; i++)
        str_addf(&text, "%sa.b == 1", i ? " or " : "");
    assert_true(alarm_expr_parse(text.buf, text.len, &x, NULL, &e) >= 0);
    str_add(&text, " or a.b == 1");
    assert_int_equal(alarm_expr_parse(text.buf, text.len, &x, NULL, &e), ERR_INVALID);
    assert_non_null(strstr(e.message, "32 parts"));
    while (text.len <= ALARM_TEXT_MAX)
        str_add(&text, "  ");
    assert_int_equal(alarm_expr_parse(text.buf, text.len, &x, NULL, &e), ERR_INVALID);
    assert_non_null(strstr(e.message, "512"));
}

static void test_why(void **state)
{
    static const char text[] =
        "data.trade.answering == false and not data.trade.drill_age > 1d or "
        "data.trade.lag_ms > 1s";
    char why[ALARM_WHY_MAX + 1];
    struct alarm_expr x;
    struct err e;
    _cleanup_json_ json_t *v = values();
    assert_true(alarm_expr_parse(text, strlen(text), &x, NULL, &e) >= 0);
    alarm_expr_why(&x, v, why);
    assert_string_equal(why, "data.trade.answering is false, data.trade.drill_age is not known, "
                             "data.trade.lag_ms is 3000");
}

/* ---- the step */

struct play {
    struct alarm_rule rule;
    struct alarm_run run;
    json_t *doc;
    uint64_t now_ms;
    int64_t wall_ms;
    unsigned raised, cleared, written;
};

static struct play begin(uint64_t for_ms, uint64_t clear_for_ms)
{
    return (struct play){.rule = {.name = "db",
                             .text = "x",
                             .for_ms = for_ms,
                             .clear_for_ms = clear_for_ms,
                             .severity = ALARM_CRITICAL,
                             .notify = {"ops"},
                             .n_notify = 1,
                             .run = "page"},
        .now_ms = 5000,
        .wall_ms = WALL};
}

static void pass(struct play *p, uint64_t ms)
{
    p->now_ms += ms;
    p->wall_ms += (int64_t)ms;
}

static void look(struct play *p, enum alarm_truth when)
{
    enum alarm_change change;
    const struct alarm_look l = {.when = when, .clear = ALARM_UNKNOWN, .why = "it is so"};
    json_t *next = alarm_step(p->doc, &p->rule, &l, &p->run, p->now_ms, p->wall_ms, &change);
    p->raised += change == ALARM_RAISED;
    p->cleared += change == ALARM_CLEARED;
    p->written += next != p->doc;
    json_decref(p->doc);
    p->doc = next;
}

static size_t n_due(const struct play *p)
{
    return json_array_size(json_object_get(p->doc, "due"));
}

/* Everything that is due now is done. */
static void deliver(struct play *p)
{
    const json_t *entry;
    bool over;
    while ((entry = alarm_due(p->doc, p->wall_ms))) {
        json_t *next = alarm_told(p->doc, entry, NULL, p->wall_ms, &over);
        assert_true(over);
        json_decref(p->doc);
        p->doc = next;
    }
}

static void test_life(void **state)
{
    struct play p = begin(10000, 5000);
    look(&p, ALARM_FALSE);
    assert_null(p.doc); /* nothing is written of what is well */
    look(&p, ALARM_TRUE);
    assert_string_equal(alarm_state(p.doc), "pending");
    pass(&p, 9999);
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 0);
    pass(&p, 1);
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 1);
    assert_string_equal(alarm_state(p.doc), "firing");
    assert_int_equal(n_due(&p), 2); /* who is told, and what is started */
    unsigned written = p.written;
    deliver(&p);
    pass(&p, 60000);
    look(&p, ALARM_TRUE);
    assert_int_equal(p.written, written); /* lasting is no news */
    look(&p, ALARM_FALSE);
    assert_string_equal(alarm_state(p.doc), "clearing");
    pass(&p, 4000);
    look(&p, ALARM_TRUE); /* flaps: the same alarm */
    assert_string_equal(alarm_state(p.doc), "firing");
    look(&p, ALARM_FALSE);
    pass(&p, 5000);
    look(&p, ALARM_FALSE);
    assert_string_equal(alarm_state(p.doc), "ok");
    assert_int_equal(p.raised, 1);
    assert_int_equal(p.cleared, 1);
    assert_int_equal(n_due(&p), 1); /* functions are not started by an end */
    assert_string_equal(json_opt_str(alarm_due(p.doc, p.wall_ms), "what", ""), "cleared");
    json_decref(p.doc);
}

static void test_pending_breaks(void **state)
{
    struct play p = begin(10000, 0);
    look(&p, ALARM_TRUE);
    pass(&p, 9000);
    look(&p, ALARM_FALSE);
    assert_string_equal(alarm_state(p.doc), "ok");
    look(&p, ALARM_TRUE);
    pass(&p, 9000);
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 0);
    pass(&p, 1000);
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 1);
    json_decref(p.doc);
}

static void test_unknown_moves_nothing(void **state)
{
    struct play p = begin(1000, 0);
    look(&p, ALARM_UNKNOWN);
    assert_null(p.doc);
    look(&p, ALARM_TRUE);
    pass(&p, 5000);
    look(&p, ALARM_UNKNOWN);
    assert_string_equal(alarm_state(p.doc), "pending");
    look(&p, ALARM_TRUE);
    assert_string_equal(alarm_state(p.doc), "firing");
    pass(&p, 60000);
    look(&p, ALARM_UNKNOWN);
    assert_string_equal(alarm_state(p.doc), "firing");
    assert_int_equal(p.cleared, 0);
    json_decref(p.doc);
}

/* Another host leads: it has the document, and nothing else. */
static void test_new_leader(void **state)
{
    struct play p = begin(10000, 10000);
    look(&p, ALARM_TRUE);
    pass(&p, 8000);
    p.run = (struct alarm_run){0};
    p.now_ms = 77; /* a host that was booted a moment ago */
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 0); /* of the ten seconds it forgets none, and adds none */
    pass(&p, 2000);
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 1);
    assert_int_equal(n_due(&p), 2);
    p.run = (struct alarm_run){0};
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 1); /* not repeated */
    assert_int_equal(n_due(&p), 2); /* not forgotten */
    deliver(&p);
    p.run = (struct alarm_run){0};
    look(&p, ALARM_TRUE);
    assert_int_equal(n_due(&p), 0);
    json_decref(p.doc);
}

/* Wall time jumps on the leader: what lasts is measured by the other clock. */
static void test_clock_jump(void **state)
{
    struct play p = begin(10000, 0);
    look(&p, ALARM_TRUE);
    p.now_ms += 1000;
    p.wall_ms += 3600000;
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 0);
    p.wall_ms -= 7200000;
    p.now_ms += 9000;
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 1);
    json_decref(p.doc);
}

static void test_hysteresis(void **state)
{
    struct alarm_expr clear = {0};
    struct play p = begin(0, 0);
    enum alarm_change change;
    p.rule.clear = &clear;
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 1);
    look(&p, ALARM_FALSE); /* below the one threshold, above the other */
    assert_string_equal(alarm_state(p.doc), "firing");
    const struct alarm_look below = {.when = ALARM_FALSE, .clear = ALARM_TRUE, .why = ""};
    json_t *next = alarm_step(p.doc, &p.rule, &below, &p.run, p.now_ms, p.wall_ms, &change);
    assert_int_equal(change, ALARM_CLEARED);
    json_decref(next);
    json_decref(p.doc);
}

static void take(struct play *p, json_t *next)
{
    json_decref(p->doc);
    p->doc = next;
}

static void test_silence(void **state)
{
    struct play p = begin(0, 0);
    take(&p, alarm_silence(NULL, "ann", "works on it", 60000, p.wall_ms));
    look(&p, ALARM_TRUE);
    assert_int_equal(p.raised, 1);
    assert_int_equal(n_due(&p), 0); /* nobody is told, nothing is started */
    look(&p, ALARM_FALSE);
    assert_int_equal(n_due(&p), 0); /* nor of an end that nobody knew the beginning of */
    look(&p, ALARM_TRUE);
    pass(&p, 60000);
    look(&p, ALARM_TRUE); /* it still fires when the silence ends */
    assert_int_equal(n_due(&p), 2);
    deliver(&p);
    look(&p, ALARM_TRUE);
    assert_int_equal(n_due(&p), 0);
    take(&p, alarm_silence(p.doc, "ann", "", 60000, p.wall_ms));
    assert_true(alarm_silenced(p.doc, p.wall_ms));
    take(&p, alarm_silence(p.doc, "ann", "", 0, p.wall_ms));
    assert_false(alarm_silenced(p.doc, p.wall_ms));
    json_decref(p.doc);
}

static void test_ack_and_repeat(void **state)
{
    struct err e;
    json_t *acked;
    struct play p = begin(0, 0);
    p.rule.repeat_ms = 60000;
    assert_int_equal(alarm_ack(NULL, "ann", "", p.wall_ms, &acked, &e), ERR_REFUSED);
    look(&p, ALARM_TRUE);
    deliver(&p);
    pass(&p, 60000);
    look(&p, ALARM_TRUE);
    assert_int_equal(n_due(&p), 1); /* people are told again; the function is not started again */
    assert_string_equal(json_opt_str(alarm_due(p.doc, p.wall_ms), "what", ""), "still");
    deliver(&p);
    assert_true(alarm_ack(p.doc, "ann", "on it", p.wall_ms, &acked, &e) >= 0);
    take(&p, acked);
    pass(&p, 600000);
    look(&p, ALARM_TRUE);
    assert_int_equal(n_due(&p), 0);
    look(&p, ALARM_FALSE);
    look(&p, ALARM_TRUE);
    assert_null(json_object_get(p.doc, "acked")); /* of that raising, not of the next */
    json_decref(p.doc);
}

static void test_tries(void **state)
{
    struct play p = begin(0, 0);
    bool over = false;
    unsigned tries = 0;
    p.rule.run = NULL;
    look(&p, ALARM_TRUE);
    for (; !over; tries++) {
        const json_t *entry = alarm_due(p.doc, p.wall_ms);
        assert_non_null(entry);
        take(&p, alarm_told(p.doc, entry, "the receiver said 500", p.wall_ms, &over));
        assert_null(over ? NULL : alarm_due(p.doc, p.wall_ms)); /* not at once */
        pass(&p, 32000);
    }
    assert_int_equal(tries, ALARM_TRIES_MAX);
    assert_int_equal(n_due(&p), 0);
    const json_t *failed = json_object_get(p.doc, "failed");
    assert_string_equal(json_opt_str(failed, "to", ""), "ops");
    assert_string_equal(json_opt_str(failed, "error", ""), "the receiver said 500");
    json_decref(p.doc);
}

/* The leader sends and dies: the next one finds what was not written down as told, and sends it
 * under the same name. What was written down is not sent again; another message has another name. */
static void test_a_leader_that_dies_while_it_tells(void **state)
{
    struct play p = begin(0, 0);
    bool over;
    p.rule.notify[1] = "boss";
    p.rule.n_notify = 2;
    p.rule.run = NULL;
    p.rule.repeat_ms = 60000;
    look(&p, ALARM_TRUE);
    take(&p, alarm_told(p.doc, alarm_due(p.doc, p.wall_ms), NULL, p.wall_ms, &over));
    _cleanup_json_ json_t *sent = json_deep_copy(alarm_due(p.doc, p.wall_ms)); /* to the boss */
    p.run = (struct alarm_run){0}; /* another leader */
    pass(&p, 3000);
    look(&p, ALARM_TRUE);
    assert_int_equal(n_due(&p), 1);
    take(&p, alarm_told(p.doc, alarm_due(p.doc, p.wall_ms), "no answer", p.wall_ms, &over));
    assert_false(over);
    pass(&p, 3000);
    const json_t *again = alarm_due(p.doc, p.wall_ms);
    assert_string_equal(json_opt_str(again, "to", ""), "boss");
    assert_true(*json_opt_str(sent, "delivery", ""));
    assert_string_equal(json_opt_str(again, "delivery", ""), json_opt_str(sent, "delivery", "?"));
    deliver(&p);
    assert_int_equal(n_due(&p), 0);
    pass(&p, 60000);
    look(&p, ALARM_TRUE);
    assert_string_not_equal(
        json_opt_str(alarm_due(p.doc, p.wall_ms), "delivery", ""), json_opt_str(sent, "delivery", ""));
    json_decref(p.doc);
}

/* Two of a kind wait: what becomes of the one is not taken for the other's. */
static void test_two_of_a_kind(void **state)
{
    struct play p = begin(0, 0);
    bool over;
    p.rule.run = NULL;
    p.rule.repeat_ms = 1000;
    look(&p, ALARM_TRUE);
    deliver(&p);
    for (int i = 0; i < 2; i++) {
        pass(&p, 1000);
        look(&p, ALARM_TRUE);
    }
    assert_int_equal(n_due(&p), 2);
    _cleanup_json_ json_t *second =
        json_deep_copy(json_array_get(json_object_get(p.doc, "due"), 1));
    take(&p, alarm_told(p.doc, second, NULL, p.wall_ms, &over));
    assert_int_equal(n_due(&p), 1);
    assert_true(json_opt_int(alarm_due(p.doc, p.wall_ms), "at_ms", 0)
                < json_opt_int(second, "at_ms", 0));
    json_t *again = alarm_told(p.doc, second, NULL, p.wall_ms, &over);
    assert_ptr_equal(again, p.doc); /* said twice: nothing more */
    json_decref(again);
    json_decref(p.doc);
}

static void test_due_is_bounded(void **state)
{
    struct play p = begin(0, 0);
    for (int i = 0; i < 100; i++) {
        look(&p, ALARM_TRUE);
        look(&p, ALARM_FALSE);
    }
    assert_int_equal(n_due(&p), ALARM_DUE_MAX);
    const json_t *newest = json_array_get(json_object_get(p.doc, "due"), ALARM_DUE_MAX - 1);
    assert_string_equal(json_opt_str(newest, "what", ""), "cleared");
    assert_int_equal(json_opt_int(newest, "id", 0), 100);
    json_decref(p.doc);
}

/* ---- requests of the last half minute */

static void test_window(void **state)
{
    struct alarm_window w = {0};
    struct alarm_counts n = {0};
    uint64_t now = 1000;
    alarm_window_pass(&w, now);
    alarm_window_add(&w, (struct alarm_counts){500, 400}, true); /* of before we were there */
    assert_int_equal(alarm_window_read(&w, now).requests, 0);
    for (unsigned i = 1; i <= 60; i++) { /* ten requests a second, one of them fails */
        now += 1000;
        alarm_window_pass(&w, now);
        alarm_window_add(&w, (struct alarm_counts){500 + 10 * i, 400 + i}, false);
    }
    n = alarm_window_read(&w, now);
    assert_in_range(n.requests, 290, 330);
    assert_in_range(n.errors, 29, 33);
    alarm_window_add(&w, (struct alarm_counts){7, 7}, false); /* the process began anew */
    assert_int_equal(alarm_window_read(&w, now).requests, n.requests + 7);
    for (unsigned i = 0; i < 40; i++)
        alarm_window_pass(&w, now += 1000);
    assert_int_equal(alarm_window_read(&w, now).requests, 0);
    assert_int_equal(alarm_window_read(&w, now).errors, 0);
}

/* ---- declared and built in */

#define PLATFORM                                                                                   \
    "platform: shop\ndomain: shop.example\n"                                                       \
    "regions: {hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16},"                    \
    " kr: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}}\n"                             \
    "hosts: {hk1: {region: hk, address: 10.20.0.11, public: true},"                                \
    " kr1: {region: kr, address: 10.40.0.11, public: true}}\n"                                     \
    "state: {members: [hk1]}\n"                                                                    \
    "data: {trade: {source: hk, replicas: [kr], failover: {auto: false}}}\n"                       \
    "modules:\n"                                                                                   \
    "  api: {image: oci:api, port: 80, regions: {hk: 1}, route: {names: [shop.example], auth: "    \
    "none}}\n"                                                                                     \
    "  job: {image: oci:job, regions: {hk: 1}}\n"

static void test_declared(void **state)
{
    static const char text[] = PLATFORM
        "alarms:\n"
        "  db-silent: {when: \"data.trade.answering == false\", for: 10s, severity: critical}\n"
        "  errs: {when: 'route.api.error_rate > 5%', clear: 'route.api.error_rate < 1%', notify: "
        "ops}\n"
        "notify: {ops: {slack: {url_secret: hook, channel: \"#ops\"}},"
        " night: {slack: {url_secret: hook2}, severity: critical}}\n";
    struct model *m;
    struct err e;
    struct alarm_rules rules;
    if (model_parse(text, strlen(text), "platform.yaml", &m, NULL, &e) < 0)
        fail_msg("%s %s", e.where, e.message);
    alarm_rules_init(&rules, m);
    const struct alarm_rule *r = alarm_rules_find(&rules, "db-silent");
    assert_non_null(r);
    assert_int_equal(r->for_ms, 10000);
    assert_int_equal(r->severity, ALARM_CRITICAL);
    assert_int_equal(r->n_notify, 0);
    assert_non_null(alarm_rules_find(&rules, "errs")->clear);
    assert_string_equal(alarm_rules_find(&rules, "errs")->notify[0], "ops");
    static const struct {
        const char *name;
        size_t told;
    } builtin[] = {{"data.trade.answering", 2}, {"data.trade.lag", 1}, {"data.trade.replication", 2},
        {"data.trade.disk", 1}, {"route.api.errors", 2}, {"host.hk1.silent", 2},
        {"host.kr1.disk", 1}, {"host.kr1.certificates", 2}, {"platform.certificates", 1}};
    for (size_t i = 0; i < ARRAY_SIZE(builtin); i++) {
        r = alarm_rules_find(&rules, builtin[i].name);
        if (!r || r->n_notify != builtin[i].told)
            fail_msg("%s", builtin[i].name);
    }
    assert_non_null(strstr(alarm_rules_find(&rules, "data.trade.lag")->text, "lag_ms > 3s"));
    assert_null(alarm_rules_find(&rules, "route.job.errors")); /* it has no route */
    assert_null(alarm_rules_find(&rules, "data.trade.failover")); /* nobody asked for it */
    alarm_rules_done(&rules);
    model_free(m);
}

/* Every value that a built-in rule looks at is one that there is, and is compared with its like. */
static void test_builtin_values(void **state)
{
    static const char text[] =
        "platform: shop\ndomain: shop.example\n"
        "regions: {hk: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}, kr: {network: "
        "10.40.0.0/16}, th: {network: 10.41.0.0/16}}\n"
        "hosts: {hk1: {region: hk, address: 10.20.0.11, public: true}, kr1: {region: kr, address: "
        "10.40.0.11}, th1: {region: th, address: 10.41.0.11}}\n"
        "state: {members: [hk1, kr1, th1]}\n"
        "data: {trade: {source: hk, replicas: [kr], failover: {auto: true}}}\n"
        "modules: {api: {image: oci:api, port: 80, regions: {hk: 1}, route: {names: "
        "[shop.example], auth: none}}}\n";
    struct model *m;
    struct err e;
    struct alarm_rules rules;
    char name[ALARM_PATH_MAX + 1];
    if (model_parse(text, strlen(text), "platform.yaml", &m, NULL, &e) < 0)
        fail_msg("%s %s", e.where, e.message);
    alarm_rules_init(&rules, m);
    assert_non_null(alarm_rules_find(&rules, "data.trade.failover"));
    assert_non_null(alarm_rules_find(&rules, "data.trade.drill"));
    for (size_t i = 0; i < rules.n; i++)
        for (unsigned k = 0; k < rules.v[i].when->n; k++) {
            const struct alarm_node *node = &rules.v[i].when->nodes[k];
            const struct alarm_value *v =
                alarm_op_compares(node->op) ? alarm_value_find(node->path, name, &e) : NULL;
            if (alarm_op_compares(node->op) && (!v || alarm_value_fits(v, &node->value)))
                fail_msg("%s: %s", rules.v[i].name, node->path);
        }
    alarm_rules_done(&rules);
    model_free(m);
}

static void test_refused(void **state)
{
    static const struct {
        const char *alarms, *where, *says;
    } rows[] = {
        {"  a: {when: \"data.trade.answring == false\"}\n", ":11:14:", "answring"},
        {"  a: {when: data.trade.answering = false}\n", ":11:34:", "expected =="},
        {"  a: {when: \"data.shop.answering == false\"}\n", ":11:14:", "no database shop"},
        {"  a: {when: \"route.job.requests > 1\"}\n", ":11:14:", "no route"},
        {"  a: {when: \"host.hk9.heard == false\"}\n", ":11:14:", "no host hk9"},
        {"  a: {when: \"data.trade.lag_ms > 5%\"}\n", ":11:34:", "duration"},
        {"  a: {when: \"data.trade.answering == 1\"}\n", ":11:38:", "true or false"},
        {"  a: {when: \"weather.hk.rain == true\"}\n", ":11:14:", "values are called"},
        {"  a: {when: \"host.hk1.heard == false\", notify: ops}\n", ":11:48:", "not declared"},
        {"  a: {when: \"host.hk1.heard == false\", run: page}\n", ":11:", "unknown function"},
        {"  a: {for: 10s}\n", ":11:", "when"},
        {"  a.b: {when: \"host.hk1.heard == false\"}\n", ":11:", "a.b"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_free_ char *text = xasprintf("%salarms:\n%s", PLATFORM, rows[i].alarms);
        _cleanup_str_ struct str errors = STR_INIT;
        struct model *m;
        struct err e;
        assert_int_equal(
            model_parse(text, strlen(text), "platform.yaml", &m, &errors, &e), ERR_INVALID);
        if (!strstr(errors.buf, rows[i].where) || !strstr(errors.buf, rows[i].says))
            fail_msg("%s%s", rows[i].alarms, errors.buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_why),
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_pending_breaks),
        cmocka_unit_test(test_unknown_moves_nothing),
        cmocka_unit_test(test_new_leader),
        cmocka_unit_test(test_clock_jump),
        cmocka_unit_test(test_hysteresis),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_ack_and_repeat),
        cmocka_unit_test(test_tries),
        cmocka_unit_test(test_two_of_a_kind),
        cmocka_unit_test(test_a_leader_that_dies_while_it_tells),
        cmocka_unit_test(test_due_is_bounded),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_declared),
        cmocka_unit_test(test_builtin_values),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
