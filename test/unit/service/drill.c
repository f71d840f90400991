/* SPDX-License-Identifier: Apache-2.0 */
#include "service/drill/drill.h"
#include "service/drill/lost.h"
#include "service/drill/measure.h"

#include "base/str/str.h"

#include "test.h"

#include <string.h>

static json_t *json(const char *text)
{
    json_t *j = NULL;
    struct err e;
    assert_true(json_parse(text, strlen(text), &j, &e) >= 0);
    return j;
}

static void feed(struct measure *m, const char *fmt, ...)
{
    va_list ap;
    _cleanup_str_ struct str text = STR_INIT;
    va_start(ap, fmt);
    str_addv(&text, fmt, ap);
    va_end(ap);
    _cleanup_json_ json_t *event = json(str_cstr(&text));
    measure_event(m, event);
}

static void ack(struct measure *m, int client, const char *country, int sent_ms, int at_ms, int seq)
{
    feed(m,
        "{\"event\": \"ack\", \"client\": %d, \"country\": \"%s\", \"sent_ms\": %d, \"at_ms\": %d, "
        "\"region\": \"rb\", \"seq\": %d}",
        client, country, sent_ms, at_ms, seq);
}

static void answer(struct measure *m, int client, const char *country, const char *address, int until_ms)
{
    feed(m,
        "{\"event\": \"answer\", \"client\": %d, \"country\": \"%s\", \"at_ms\": 1, "
        "\"until_ms\": %d, \"addresses\": [\"%s\"]}",
        client, country, until_ms, address);
}

static int64_t number(const json_t *o, const char *a, const char *b)
{
    const json_t *v = b ? json_object_get(json_object_get(o, a), b) : json_object_get(o, a);
    return json_is_integer(v) ? json_integer_value(v) : -999;
}

/* KR's answer names the region that lives, TH's the one that is lost. */
static void test_clients(void **state)
{
    _cleanup_json_ json_t *regions = json("{\"ra\": [\"203.0.113.20\"], \"rb\": [\"203.0.113.40\"]}"),
                          *lost = json("[\"ra\"]");
    _cleanup_(measure_free_p) struct measure *m = measure_new(regions, lost);
    answer(m, 0, "KR", "203.0.113.40", 60000);
    answer(m, 1, "TH", "203.0.113.20", 30000);
    answer(m, 2, "TH", "203.0.113.20", 9000); /* over when the fault comes */
    ack(m, 0, "KR", 9000, 9050, 1);
    ack(m, 1, "TH", 9000, 9050, 2);
    ack(m, 2, "TH", 8000, 8050, 3);
    assert_int_equal(measure_clients(m), 3);
    assert_int_equal(measure_clients_since(m, 9000), 2);
    measure_injected(m, 10000, 10100);
    ack(m, 0, "KR", 9990, 10120, 4); /* was on its way: proves nothing */
    ack(m, 1, "TH", 10050, 10130, 5); /* sent while the fault was laid */
    assert_int_equal(measure_back(m), 0);
    assert_int_equal(measure_first_ms(m), 0);
    ack(m, 1, "TH", 12000, 12040, 6); /* whose answer names the lost one: not the first */
    assert_int_equal(measure_back(m), 1);
    assert_int_equal(measure_first_ms(m), 0);
    ack(m, 0, "KR", 27000, 27050, 7);
    ack(m, 0, "KR", 28000, 28050, 8);
    answer(m, 2, "TH", "203.0.113.20", 32000);
    answer(m, 2, "TH", "203.0.113.40", 90000);
    ack(m, 2, "TH", 40000, 40050, 9);
    assert_int_equal(measure_back(m), 3);
    _cleanup_json_ json_t *r = measure_report(m);
    assert_int_equal(number(r, "rto_ms", NULL), 17050);
    assert_int_equal(number(r, "client_rto_ms", "n"), 3);
    assert_int_equal(number(r, "client_rto_ms", "p50"), 17050);
    assert_int_equal(number(r, "client_rto_ms", "p95"), 30050);
    assert_int_equal(number(r, "client_rto_ms", "max"), 30050);
    assert_int_equal(number(r, "cached_client_rto_ms", "clients"), 1);
    assert_int_equal(number(r, "cached_client_rto_ms", "max"), 2040);
    assert_int_equal(number(r, "cached_client_rto_ms", "over_ttl_max"), 0);
    assert_int_equal(number(r, "other_client_rto_ms", "n"), 2);
    assert_int_equal(number(r, "other_client_rto_ms", "max"), 30050);
    const json_t *clients = json_object_get(r, "clients");
    assert_int_equal(json_array_size(clients), 3);
    const json_t *held = json_array_get(clients, 1), *asked = json_array_get(clients, 2);
    assert_true(json_is_true(json_object_get(held, "cached")));
    assert_int_equal(number(held, "ttl_left_ms", NULL), 20000);
    assert_int_equal(number(held, "rto_ms", NULL), 2040);
    assert_int_equal(number(held, "excess_ms", NULL), 2040 - 20000);
    assert_true(json_is_null(json_object_get(held, "told_again_ms")));
    assert_false(json_is_true(json_object_get(asked, "cached")));
    assert_int_equal(number(asked, "told_again_ms", NULL), 1 - 10000); /* answer() says 1 */
    assert_int_equal(number(asked, "told_until_ms", NULL), 22000);
    assert_true(json_is_null(json_object_get(asked, "excess_ms")));
    const json_t *th = json_object_get(json_object_get(r, "by_country"), "TH");
    assert_int_equal(number(th, "clients", NULL), 2);
    assert_int_equal(number(th, "cached", NULL), 1);
    assert_int_equal(number(th, "rto_ms", "max"), 30050);
    assert_false(json_is_true(json_object_get(r, "two_writers")));
}

static void test_nobody_is_back(void **state)
{
    _cleanup_json_ json_t *regions = json("{\"ra\": [\"203.0.113.20\"]}"), *lost = json("[]");
    _cleanup_(measure_free_p) struct measure *m = measure_new(regions, lost);
    answer(m, 0, "KR", "203.0.113.20", 60000);
    ack(m, 0, "KR", 100, 150, 1);
    measure_injected(m, 1000, 1000);
    _cleanup_json_ json_t *r = measure_report(m);
    assert_true(json_is_null(json_object_get(r, "rto_ms")));
    assert_true(json_is_null(json_object_get(json_object_get(r, "client_rto_ms"), "max")));
    assert_int_equal(number(r, "client_rto_ms", "n"), 0);
    const json_t *client = json_array_get(json_object_get(r, "clients"), 0);
    assert_true(json_is_null(json_object_get(client, "rto_ms")));
}

static void look(struct measure *m, const char *host, int at_ms, int id, bool read_only, const char *gtid)
{
    feed(m,
        "{\"event\": \"server\", \"host\": \"%s\", \"at_ms\": %d, \"server_id\": %d, "
        "\"read_only\": %s, \"gtid\": \"%s\"}",
        host, at_ms, id, read_only ? "true" : "false", gtid);
}

static void silence(struct measure *m, const char *host, int at_ms)
{
    feed(m, "{\"event\": \"server\", \"host\": \"%s\", \"at_ms\": %d}", host, at_ms);
}

static void test_two_writers(void **state)
{
    static const struct {
        const char *name;
        int thaw_ms;      /* when the old one writes again, with two looks 200 ms apart */
        bool read_only;   /* it does so */
        bool own;         /* its own transactions grow; else the other's, replicated */
        bool two;
    } rows[] = {
        {"it writes on beside the new one", 20000, false, true, true},
        {"it is read-only", 20000, true, true, false},
        {"it applies what the other wrote", 20000, false, false, false},
        {"it wrote before", 9000, false, true, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_json_ json_t *none = json("{}"), *lost = json("[]");
        _cleanup_(measure_free_p) struct measure *m = measure_new(none, lost);
        int t = rows[i].thaw_ms;
        if (t < 20000) {
            look(m, "hk2", t, 1, rows[i].read_only, "1-1-10");
            look(m, "hk2", t + 200, 1, rows[i].read_only, "1-1-11");
        } else {
            look(m, "hk2", 9000, 1, false, "1-1-11");
            silence(m, "hk2", 10000);
        }
        look(m, "seoul1", t < 20000 ? 19900 : t - 100, 2, false, "1-2-20");
        look(m, "seoul1", t < 20000 ? 20100 : t + 100, 2, false, "1-2-21");
        if (t >= 20000) {
            look(m, "hk2", t, 1, rows[i].read_only, "1-1-11");
            look(m, "hk2", t + 200, 1, rows[i].read_only, rows[i].own ? "1-1-12" : "1-2-21");
        }
        if (measure_two_writers(m) != rows[i].two)
            fail_msg("%s", rows[i].name);
    }
}

/* Growth over a silence proves no moment: it may all have been before. */
static void test_a_gap_is_no_writer(void **state)
{
    _cleanup_json_ json_t *none = json("{}"), *lost = json("[]");
    _cleanup_(measure_free_p) struct measure *m = measure_new(none, lost);
    look(m, "hk2", 9000, 1, false, "1-1-10");
    look(m, "seoul1", 19900, 2, false, "1-2-20");
    look(m, "seoul1", 20100, 2, false, "1-2-21");
    look(m, "hk2", 20200, 1, false, "1-1-12");
    assert_false(measure_two_writers(m));
}

/* Taken after the service was back, and not there: another source took it. */
static void test_late_loss(void **state)
{
    _cleanup_json_ json_t *regions = json("{\"ra\": [\"203.0.113.20\"]}"), *lost = json("[]");
    _cleanup_(measure_free_p) struct measure *m = measure_new(regions, lost);
    answer(m, 0, "KR", "203.0.113.20", 60000);
    ack(m, 0, "KR", 900, 950, 1);
    measure_injected(m, 1000, 1000);
    ack(m, 0, "KR", 5000, 5050, 2);
    ack(m, 0, "KR", 6000, 6050, 3);
    measure_lost(m, 1); /* before: the price of async */
    assert_false(measure_two_writers(m));
    measure_lost(m, 3);
    assert_true(measure_two_writers(m));
}

static void test_missing(void **state)
{
    assert_int_equal(measure_missing("1-1-100,2-2-10", "1-1-67"), 33);
    assert_int_equal(measure_missing("1-1-67", "1-1-100"), 0);
    assert_int_equal(measure_missing("1-1-10,2-2-9", "2-2-7,1-1-10"), 2);
    assert_int_equal(measure_missing("", "nonsense"), 0);
}

static void test_catalogue(void **state)
{
    const struct drill_fault *f;
    struct err e = {0};
    for (f = drill_catalogue; f->name; f++) {
        assert_true(f->plan && *f->summary && *f->text);
        assert_true(f->hold_ms > 0 && f->max_ms > f->hold_ms);
    }
    assert_int_equal(drill_find("dark", &f, &e), 0);
    assert_string_equal(f->name, "dark");
    assert_int_equal(drill_find("drak", &f, &e), ERR_USAGE);
    assert_non_null(strstr(e.fix, "dark"));
}

/* Nothing of a report is markup, and what is missing is shown as missing. */
static void test_page(void **state)
{
    _cleanup_json_ json_t *r = json(
        "{\"drill\": \"<script>\", \"passed\": false, \"why\": [\"a & b\"], \"mode\": \"live\","
        " \"rto_ms\": 17050, \"client_rto_ms\": {\"n\": 0, \"p50\": null},"
        " \"steps\": [{\"name\": \"fault injected\", \"at_ms\": 0}, {\"name\": \"<b>\", \"at_ms\": -1500}],"
        " \"series\": {\"from_ms\": -3000, \"acked_per_second\": {\"KR\": [5, 5, 0, 4]}},"
        " \"by_country\": {\"KR\": {\"clients\": 4, \"cached\": 0, \"rto_ms\": {\"p50\": 900}}},"
        " \"clients\": [{\"client\": 7, \"country\": \"<TH>\", \"cached\": true, \"ttl_left_ms\": 57000,"
        " \"rto_ms\": 58200, \"excess_ms\": 1200}, {\"client\": 9, \"cached\": false}],"
        " \"servers\": [{\"at_ms\": 20, \"host\": \"hk1\", \"answers\": false}]}");
    _cleanup_str_ struct str page = STR_INIT;
    drill_page(r, &page);
    assert_null(strstr(page.buf, "<script>"));
    assert_non_null(strstr(page.buf, "&lt;script&gt;"));
    assert_non_null(strstr(page.buf, "a &amp; b"));
    assert_non_null(strstr(page.buf, "17.1 s"));
    assert_non_null(strstr(page.buf, "900 ms"));
    assert_non_null(strstr(page.buf, "does not answer"));
    assert_non_null(strstr(page.buf, "<td class=\"n\">7<td>&lt;TH&gt;<td class=\"n\">57.0 s<td class=\"n\">58.2 s"
                                     "<td class=\"n\">1.2 s"));
    assert_null(strstr(page.buf, "<td class=\"n\">9<td>"));
    assert_true(str_ends(page.buf, "</html>\n"));
}

/* By key, whole; the range is what is over the target's position at its promotion. */
static void test_lost_orders(void **state)
{
    static const char lines[] =
        "{\"gtid\": \"1-1-41\", \"row\": \"INSERT INTO `trade`.`orders` SET `key`='r1-00000012'\"}\n"
        "torn {\n"
        "{\"gtid\": \"1-1-40\", \"row\": \"INSERT INTO `trade`.`orders` SET `key`='r1-00000002'\"}\n";
    _cleanup_json_ json_t *rows = json_array(),
                          *missing = json("{\"from_gtid\": \"1-1-40,2-2-7\", \"to_gtid\": \"1-1-39\"}"),
                          *keys = json("[\"r1-00000012\", \"r1-00000002\", \"r1-0000001\", \"r1-00000030\"]");
    lost_add_lines(rows, lines, sizeof lines - 1);
    assert_int_equal(json_array_size(rows), 2);
    _cleanup_json_ json_t *matched = lost_match(keys, rows, missing);
    assert_int_equal(json_array_size(matched), 4);
    assert_int_equal(lost_count(matched, "rescued"), 2);
    assert_int_equal(lost_count(matched, "reported"), 1); /* the target had 40 */
    assert_string_equal(json_opt_str(json_array_get(matched, 0), "gtid", ""), "1-1-41");
    assert_true(json_is_null(json_object_get(json_array_get(matched, 2), "gtid")));
    assert_false(lost_is_reported("1-1-41", NULL));
    assert_true(lost_is_reported("3-3-1", missing)); /* a domain that it knew nothing of */
    assert_false(lost_is_reported("?", missing));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_orders),
        cmocka_unit_test(test_clients),
        cmocka_unit_test(test_nobody_is_back),
        cmocka_unit_test(test_two_writers),
        cmocka_unit_test(test_a_gap_is_no_writer),
        cmocka_unit_test(test_late_loss),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_catalogue),
        cmocka_unit_test(test_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
