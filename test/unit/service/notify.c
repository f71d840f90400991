/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/json/json.h"
#include "service/notify/notify.h"

static struct notify_message message(const char *severity, const char *what)
{
    return (struct notify_message){.channel = "#ops",
        .platform = "shop",
        .alarm = "db-silent",
        .severity = severity,
        .what = what,
        .when = "data.trade.lag_ms > 3s & <x>",
        .why = "data.trade.lag_ms is 4000",
        .host = "hk1",
        .delivery = "db-silent-3-raised-1800000000123",
        .id = 3,
        .at_ms = 1800000000123};
}

static void test_body(void **state)
{
    static const struct {
        const char *severity, *what, *colour, *says;
    } rows[] = {
        {"critical", "raised", "danger", "[shop] critical: alarm db-silent fires"},
        {"warning", "still", "warning", "[shop] warning: alarm db-silent still fires"},
        {"info", "raised", "#439fe0", "[shop] info: alarm db-silent fires"},
        {"critical", "cleared", "good", "[shop] critical: alarm db-silent is over"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct notify_message m = message(rows[i].severity, rows[i].what);
        struct err e;
        json_t *parsed;
        _cleanup_free_ char *body = notify_slack_body(&m);
        assert_true(json_parse(body, strlen(body), &parsed, &e) >= 0);
        const json_t *a = json_array_get(json_object_get(parsed, "attachments"), 0);
        assert_string_equal(json_opt_str(parsed, "text", ""), rows[i].says);
        assert_string_equal(json_opt_str(parsed, "channel", ""), "#ops");
        assert_null(json_object_get(parsed, "username"));
        assert_string_equal(json_opt_str(a, "color", ""), rows[i].colour);
        assert_string_equal(
            json_opt_str(a, "title", ""), "data.trade.lag_ms &gt; 3s &amp; &lt;x&gt;");
        assert_string_equal(json_opt_str(a, "text", ""), "data.trade.lag_ms is 4000");
        assert_int_equal(json_opt_int(a, "ts", 0), 1800000000);
        assert_string_equal(
            json_opt_str(a, "callback_id", ""), "shop-db-silent-3-raised-1800000000123");
        json_decref(parsed);
    }
}

struct answer {
    int calls, code;
    char message[200];
};

static void on_done(void *ctx, const struct err *e)
{
    struct answer *a = ctx;
    a->calls++;
    a->code = e ? e->code : 0;
    snprintf(a->message, sizeof a->message, "%s", e ? e->message : "");
}

/* What is told of a failure never has the URL in it, nor a part of it. */
static void test_no_url_in_errors(void **state)
{
    static const char *const urls[] = {
        "ftp://hidden.example/T0/B0/xyzzy", "xyzzy", "", "http://127.0.0.1:1/xyzzy", "http://[xyzzy"};
    uv_loop_t loop;
    struct notify *n;
    struct err e;
    uv_loop_init(&loop);
    assert_true(notify_new(&loop, &n, &e) >= 0);
    for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
        struct notify_message m = message("critical", "raised");
        struct answer a = {0};
        _cleanup_secret_ struct secret *url = secret_new(urls[i], strlen(urls[i]));
        memset(&e, 0, sizeof e);
        int r = notify_send(n, url, &m, on_done, &a, &e);
        while (r >= 0 && !a.calls)
            uv_run(&loop, UV_RUN_ONCE);
        const char *said = r < 0 ? e.message : a.message;
        assert_true(r < 0 || a.code == ERR_UNAVAILABLE);
        assert_null(strstr(said, "xyzzy"));
        assert_true(*said);
    }
    notify_free(n);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body),
        cmocka_unit_test(test_no_url_in_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
