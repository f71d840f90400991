/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/metrics/metrics.h"

#include <pthread.h>

enum { QUERIES, REFUSED, CONNS, LATENCY };

static const struct metric_def defs[] = {
    [QUERIES] = {"mcp_dns_answers_total", "Answers.", METRIC_COUNTER,
        .labels = "rcode=\"noerror\""},
    [REFUSED] = {"mcp_dns_answers_total", "Answers.", METRIC_COUNTER,
        .labels = "rcode=\"refused\""},
    [CONNS] = {"mcp_conns", "Open\nconnections \\ now.", METRIC_GAUGE},
    [LATENCY] = {"mcp_a_seconds", "Time.", METRIC_HISTOGRAM, .lo = 1024, .hi = 4096},
};

static void test_format(void **state)
{
    struct metrics *m = metrics_new();
    struct metric_set *a = metrics_set_new(m, defs, ARRAY_SIZE(defs), NULL, 0);
    struct metric_set *b = metrics_set_new(m, defs, ARRAY_SIZE(defs), NULL, 0);
    metric_add(a, QUERIES, 2);
    metric_add(b, QUERIES, 3);
    metric_set_value(a, CONNS, 1.5);
    metric_set_value(b, CONNS, 2);
    metric_observe(a, LATENCY, 1024); /* le is inclusive */
    metric_observe(b, LATENCY, 1025);
    metric_observe(b, LATENCY, 9000);
    _cleanup_str_ struct str out = STR_INIT;
    metrics_format(m, &out);
    assert_string_equal(out.buf, "# HELP mcp_a_seconds Time.\n"
                                 "# TYPE mcp_a_seconds histogram\n"
                                 "mcp_a_seconds_bucket{le=\"0.001024\"} 1\n"
                                 "mcp_a_seconds_bucket{le=\"0.002048\"} 2\n"
                                 "mcp_a_seconds_bucket{le=\"0.004096\"} 2\n"
                                 "mcp_a_seconds_bucket{le=\"+Inf\"} 3\n"
                                 "mcp_a_seconds_sum 0.011049\n"
                                 "mcp_a_seconds_count 3\n"
                                 "# HELP mcp_conns Open\\nconnections \\\\ now.\n"
                                 "# TYPE mcp_conns gauge\n"
                                 "mcp_conns 3.5\n"
                                 "# HELP mcp_dns_answers_total Answers.\n"
                                 "# TYPE mcp_dns_answers_total counter\n"
                                 "mcp_dns_answers_total{rcode=\"noerror\"} 5\n"
                                 "mcp_dns_answers_total{rcode=\"refused\"} 0\n");
    metrics_set_free(b);
    str_clear(&out);
    metrics_format(m, &out);
    assert_non_null(strstr(out.buf, "mcp_dns_answers_total{rcode=\"noerror\"} 2\n"));
    metrics_free(m);
}

static void test_labels_are_escaped_and_sorted(void **state)
{
    static const struct metric_def one[] = {{"mcp_up", "Up.", METRIC_GAUGE, .labels = "a=\"b\""}};
    struct metrics *m = metrics_new();
    struct metric_set *s[3];
    const char *names[] = {"z", "q\"u\\o\nte", "m"};
    for (size_t i = 0; i < 3; i++) {
        s[i] = metrics_set_new(m, one, 1, &(struct metric_label){"name", names[i]}, 1);
        metric_set_value(s[i], 0, (double)i);
    }
    _cleanup_str_ struct str out = STR_INIT;
    metrics_format(m, &out);
    assert_string_equal(out.buf, "# HELP mcp_up Up.\n"
                                 "# TYPE mcp_up gauge\n"
                                 "mcp_up{a=\"b\",name=\"m\"} 2\n"
                                 "mcp_up{a=\"b\",name=\"q\\\"u\\\\o\\nte\"} 1\n"
                                 "mcp_up{a=\"b\",name=\"z\"} 0\n");
    metrics_free(m);
}

static void test_buckets_are_exact(void **state)
{
    uint64_t last = 0;
    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        uint64_t bound = metric_bucket_bound(i);
        assert_true(bound > last);
        assert_int_equal(metric_bucket_index(bound), i);
        assert_int_equal(metric_bucket_index(last + 1), i);
        assert_true(i < 4 || (double)bound <= 1.26 * (double)(last + 1));
        last = bound;
    }
    assert_int_equal(metric_bucket_index(0), 0);
    assert_int_equal(metric_bucket_index(UINT64_MAX), METRIC_BUCKETS - 1);
}

static void test_quantile(void **state)
{
    struct metrics *m = metrics_new();
    struct metric_set *s = metrics_set_new(m, defs, ARRAY_SIZE(defs), NULL, 0);
    assert_int_equal(metric_quantile(s, LATENCY, 0.5), 0);
    for (uint64_t i = 1; i <= 1000; i++)
        metric_observe(s, LATENCY, i);
    uint64_t median = metric_quantile(s, LATENCY, 0.5), p99 = metric_quantile(s, LATENCY, 0.99);
    assert_in_range(median, 500, 640);
    assert_in_range(p99, 990, 1100);
    assert_int_equal(metric_quantile(s, LATENCY, 0), 1);
    metrics_free(m);
}

static void *add_many(void *arg)
{
    struct metric_set *s = metrics_set_new(arg, defs, ARRAY_SIZE(defs), NULL, 0);
    for (int i = 0; i < 100000; i++)
        metric_add(s, QUERIES, 1);
    return NULL;
}

static void test_threads_lose_nothing(void **state)
{
    struct metrics *m = metrics_new();
    pthread_t t[4];
    for (size_t i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, add_many, m);
    _cleanup_str_ struct str out = STR_INIT;
    metrics_format(m, &out); /* scraping meanwhile is allowed */
    for (size_t i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    str_clear(&out);
    metrics_format(m, &out);
    assert_non_null(strstr(out.buf, "{rcode=\"noerror\"} 400000\n"));
    metrics_free(m);
}

static void collect(void *ctx)
{
    metric_set_value(ctx, 0, 7);
}

static void test_collect_runs_before_a_scrape(void **state)
{
    static const struct metric_def one[] = {{"mcp_rss_bytes", "Memory.", METRIC_GAUGE}};
    struct metrics *m = metrics_new();
    metrics_on_collect(m, collect, metrics_set_new(m, one, 1, NULL, 0));
    _cleanup_str_ struct str out = STR_INIT;
    metrics_format(m, &out);
    assert_non_null(strstr(out.buf, "mcp_rss_bytes 7\n"));
    metrics_free(m);
}

static void merge_two(const char *a, const char *b, struct str *out)
{
    const struct metrics_text texts[] = {{"dns", a, strlen(a)}, {"edge", b, strlen(b)}};
    metrics_merge(texts, 2, out);
}

static void test_merge_groups_families(void **state)
{
    _cleanup_str_ struct str out = STR_INIT;
    merge_two("# HELP b_total B.\n# TYPE b_total counter\nb_total{x=\"1\"} 1\n"
              "# HELP a_seconds A.\n# TYPE a_seconds histogram\na_seconds_bucket{le=\"+Inf\"} 2\n"
              "a_seconds_sum 1e-3\na_seconds_count 2\n",
        "# HELP b_total Other text.\n# TYPE b_total counter\nb_total 9\n", &out);
    assert_string_equal(out.buf, "# HELP a_seconds A.\n"
                                 "# TYPE a_seconds histogram\n"
                                 "a_seconds_bucket{role=\"dns\",le=\"+Inf\"} 2\n"
                                 "a_seconds_sum{role=\"dns\"} 1e-3\n"
                                 "a_seconds_count{role=\"dns\"} 2\n"
                                 "# HELP b_total B.\n"
                                 "# TYPE b_total counter\n"
                                 "b_total{role=\"dns\",x=\"1\"} 1\n"
                                 "b_total{role=\"edge\"} 9\n");
}

static void test_merge_drops_what_is_not_a_sample(void **state)
{
    static const char *const bad[] = {"x{a=\"1\" 1\n", "x{a=\"1\\q\"} 1\n", "x{role=\"dns\"} 1\n",
        "x 1 2 3\n", "1x 1\n", "x\n", "x{a=1} 1\n", "x one\n", "x{} 1", "# EVIL x y\n",
        "# TYPE x evil\n", "x{=\"1\"} 1\n", "x  1\n"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        _cleanup_str_ struct str out = STR_INIT;
        merge_two(bad[i], "y 1\n", &out);
        assert_string_equal(out.buf, "y{role=\"edge\"} 1\n");
    }
    _cleanup_str_ struct str out = STR_INIT;
    merge_two("x{} 1\n", "x{a=\"{,} \\\"\",} +Inf\n", &out);
    assert_string_equal(out.buf, "x{role=\"dns\"} 1\nx{role=\"edge\",a=\"{,} \\\"\"} +Inf\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_labels_are_escaped_and_sorted),
        cmocka_unit_test(test_buckets_are_exact),
        cmocka_unit_test(test_quantile),
        cmocka_unit_test(test_threads_lose_nothing),
        cmocka_unit_test(test_collect_runs_before_a_scrape),
        cmocka_unit_test(test_merge_groups_families),
        cmocka_unit_test(test_merge_drops_what_is_not_a_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
