/* SPDX-License-Identifier: Apache-2.0 */
/* Three controls in one process, one loop: real services, views as JSON from one to the other, probes that the test
 * answers. Intervals are short; nothing waits longer than it must. */
#include "test.h"

#include "service/steer/steer.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/metrics/metrics.h"
#include "domain/zone/zone.h"

#include <string.h>

#define N 3
#define DEADLINE_MS 30000u

static const char platform[] =
    "platform: reindeers\n"
    "domain: reindeers.com\n"
    "regions:\n"
    "  ap-hongkong: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}\n"
    "  ap-seoul: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n"
    "  ap-shanghai: {duty: serving, address: 203.0.113.60, network: 10.60.0.0/16}\n"
    "hosts:\n"
    "  hk1: {region: ap-hongkong, address: 10.20.0.11, public: true}\n"
    "  seoul1: {region: ap-seoul, address: 10.40.0.11, public: true}\n"
    "  shanghai1: {region: ap-shanghai, address: 10.60.0.11, public: true}\n"
    "state: {members: [hk1, seoul1, shanghai1]}\n"
    "lab:\n"
    "  clients: {KR: 198.51.100.0/28}\n"
    "routing:\n"
    "  nameservers: {ns1: ap-hongkong}\n"
    "  health: {interval: 5s, timeout: 2s, down: 2, up: 3}\n"
    "  countries: {KR: [ap-seoul]}\n"
    "  default: [ap-hongkong]\n"
    "  on_failure: [dr, main]\n"
    "  geo: {overrides: {198.51.100.8/29: JP}}\n"
    "modules:\n"
    "  web:\n"
    "    image: oci:images/web\n"
    "    port: 8080\n"
    "    route: {names: [reindeers.com], path: /, auth: none}\n"
    "    regions: {each: 1}\n";

static const char *const hosts[N] = {"hk1", "seoul1", "shanghai1"};
static const char *const regions[N] = {"ap-hongkong", "ap-seoul", "ap-shanghai"};

struct world;
struct node {
    struct world *w;
    size_t index;
    struct steer_service *s;
    json_t *health; /* the last one published */
    unsigned entries, published;
    char last_alarm[400];
};

struct pending {
    uv_timer_t timer;
    probe_done_fn done;
    void *ctx;
    struct world *w;
    bool ok;
};

struct world {
    char dir[64];
    uv_loop_t loop;
    struct model *model;
    struct node nodes[N];
    bool dead[N];
    struct ip_addr addresses[N];
    struct pending *probes[256]; /* open timers */
    unsigned in_flight, probed, fresh;
};

static void on_pending_closed(uv_handle_t *h)
{
    free(h->data);
}

static void on_pending(uv_timer_t *t)
{
    struct pending *p = t->data;
    struct probe_result r = {.class = p->ok ? PROBE_OK : PROBE_TIMEOUT, .ms = 1};
    p->w->in_flight--;
    uv_close((uv_handle_t *)t, on_pending_closed);
    p->done(p->ctx, &r);
}

static void start_probe(
    void *ctx, const struct probe_request *req, probe_done_fn done, void *done_ctx)
{
    struct world *w = ctx;
    struct pending *p = xcalloc(1, sizeof *p);
    *p = (struct pending){.done = done, .ctx = done_ctx, .w = w};
    for (size_t i = 0; i < N; i++)
        if (ip_eq(&req->addresses[0], &w->addresses[i]))
            p->ok = !w->dead[i];
    assert_string_equal(req->name, "reindeers.com");
    assert_int_equal(req->port, 443);
    w->in_flight++;
    w->probed++;
    w->fresh += req->fresh;
    uv_timer_init(&w->loop, &p->timer);
    p->timer.data = p;
    uv_timer_start(&p->timer, on_pending, 2, 0);
}

static void start_reach(
    void *ctx, const char *endpoint, unsigned timeout_ms, probe_reach_fn done, void *done_ctx)
{
    fail_msg("no references are declared");
}

static const struct steer_prober prober = {start_probe, start_reach};

struct letter {
    uv_timer_t timer;
    struct world *w;
    size_t from, to;
    json_t *view;
};

static void on_letter_closed(uv_handle_t *h)
{
    free(h->data);
}

static void on_letter(uv_timer_t *t)
{
    struct letter *l = t->data;
    struct node *to = &l->w->nodes[l->to];
    struct err e = {0};
    if (to->s && !l->w->dead[l->to] && !l->w->dead[l->from]
        && steer_service_view(to->s, hosts[l->from], l->view, &e) < 0)
        fail_msg("%s", e.message);
    json_decref(l->view);
    uv_close((uv_handle_t *)t, on_letter_closed);
}

static void on_view(void *ctx, json_t *view)
{
    struct node *n = ctx;
    for (size_t i = 0; i < N; i++) {
        if (i == n->index)
            continue;
        struct letter *l = xcalloc(1, sizeof *l);
        *l = (struct letter){.w = n->w, .from = n->index, .to = i, .view = json_incref(view)};
        uv_timer_init(&n->w->loop, &l->timer);
        l->timer.data = l;
        uv_timer_start(&l->timer, on_letter, 1, 0);
    }
}

static void on_health(void *ctx, json_t *health)
{
    struct node *n = ctx;
    json_decref(n->health);
    n->health = json_incref(health);
    n->published++;
}

static void on_entry(void *ctx, const struct timeline_draft *d)
{
    struct node *n = ctx;
    n->entries++;
    if (str_eq(d->kind, "alarm"))
        str_copy(n->last_alarm, sizeof n->last_alarm, d->message);
}

static bool on_country(void *ctx, const struct ip_addr *a, char ret[3])
{
    str_copy(ret, 3, "KR");
    return a->bytes[0] == 192;
}

static const struct steer_service_handler handler = {on_view, on_health, on_entry, on_country};

static void start(struct world *w, size_t i)
{
    struct err e = {0};
    _cleanup_free_ char *journal = xasprintf("%s/%s.json", w->dir, hosts[i]);
    const struct steer_service_options o = {.loop = &w->loop,
        .host = hosts[i],
        .region = regions[i],
        .journal = journal,
        .ca_file = "/nonexistent",
        .lab = true,
        .prober = &prober,
        .prober_ctx = w,
        .handler = &handler,
        .ctx = &w->nodes[i]};
    w->nodes[i].w = w;
    w->nodes[i].index = i;
    assert_int_equal(steer_service_new(&o, &w->nodes[i].s, &e), 0);
    assert_int_equal(steer_service_set_model(w->nodes[i].s, w->model, 3, &e), 0);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct str errors = STR_INIT;
    struct err e = {0};
    str_copy(w->dir, sizeof w->dir, "/tmp/mcp-steer-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    uv_loop_init(&w->loop);
    if (model_parse(platform, sizeof platform - 1, "platform.yaml", &w->model, &errors, &e) < 0)
        fail_msg("%s", e.message);
    str_done(&errors);
    w->model->routing.health.interval_ms = 200;
    w->model->routing.health.timeout_ms = 100;
    for (size_t i = 0; i < N; i++)
        w->addresses[i] = w->model->regions[i].addresses.v[0];
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    while (w->in_flight) /* nobody answers after the service is gone */
        uv_run(&w->loop, UV_RUN_ONCE);
    for (size_t i = 0; i < N; i++) {
        steer_service_free(w->nodes[i].s);
        w->nodes[i].s = NULL;
        json_decref(w->nodes[i].health);
    }
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    model_free(w->model);
    int r = file_remove_tree(w->dir, NULL);
    free(w);
    return r;
}

/* The region that a node's dns role was told for list 1 (KR). */
static int64_t told(const struct node *n)
{
    const json_t *name = json_object_get(json_object_get(n->health, "names"), "reindeers.com");
    return json_integer_value(json_array_get(json_object_get(name, "choice"), 1));
}

static void run_until_all_told(struct world *w, int64_t region)
{
    uint64_t start_ms = clock_boot_ms();
    for (bool done = false; !done;) {
        uv_run(&w->loop, UV_RUN_ONCE);
        done = true;
        for (size_t i = 0; i < N; i++)
            done &= w->dead[i] || told(&w->nodes[i]) == region;
        if (clock_boot_ms() - start_ms > DEADLINE_MS)
            fail_msg("not everybody answers region %d", (int)region);
    }
}

static void run_rounds(struct world *w, unsigned n)
{
    unsigned until = w->probed + n * N * N;
    while (w->probed < until)
        uv_run(&w->loop, UV_RUN_ONCE);
}

static void test_a_region_dies_and_returns(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < N; i++)
        start(w, i);
    run_rounds(w, 3);
    run_until_all_told(w, 1);
    w->dead[1] = true;
    run_until_all_told(w, 0);
    assert_string_equal(steer_service_region_state(w->nodes[0].s, "ap-seoul"), "down");
    assert_string_equal(steer_service_region_state(w->nodes[0].s, "ap-shanghai"), "up");
    assert_true(w->fresh > 0); /* after a failure a probe brings its own connection */
    w->dead[1] = false;
    run_until_all_told(w, 1);
    assert_true(w->nodes[0].entries > 0);
}

static void test_the_health_message_fits_the_zone(void **state)
{
    struct world *w = *state;
    struct zone *z;
    struct err e = {0};
    start(w, 0);
    _cleanup_json_ json_t *snapshot = zone_snapshot_from_model(w->model, 3, true);
    _cleanup_json_ json_t *again = steer_service_health(w->nodes[0].s);
    assert_int_equal(zone_new(snapshot, &z, &e), 0);
    assert_int_equal(zone_apply_health(z, w->nodes[0].health, &e), 0);
    assert_true(
        json_equal(again, w->nodes[0].health)); /* what a dns role that comes later is told */
    zone_free(z);
}

static void test_a_restart_answers_as_before(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < N; i++)
        start(w, i);
    run_rounds(w, 3);
    w->dead[1] = true;
    run_until_all_told(w, 0);
    while (w->in_flight)
        uv_run(&w->loop, UV_RUN_ONCE);
    steer_service_free(w->nodes[0].s);
    w->nodes[0].s = NULL;
    run_rounds(w, 1); /* the journal is written by then: its worker shares the loop */
    json_decref(w->nodes[0].health);
    w->nodes[0].health = NULL;
    start(w, 0);
    assert_int_equal(told(&w->nodes[0]), 0); /* at once */
}

static void test_a_torn_journal_is_set_aside(void **state)
{
    struct world *w = *state;
    _cleanup_free_ char *path = xasprintf("%s/hk1.json", w->dir), *bad = xasprintf("%s.bad", path);
    assert_int_equal(file_write(path, "{\"format\":1,\"na", 15, 0600, NULL), 0);
    start(w, 0);
    assert_non_null(strstr(w->nodes[0].last_alarm, "journal"));
    assert_true(file_exists(bad));
    assert_int_equal(told(&w->nodes[0]), 1);
}

static void test_nobody_speaks_for_another(void **state)
{
    struct world *w = *state;
    struct err e = {0};
    start(w, 0);
    start(w, 1);
    const struct health_space space = {regions, N, (const char *const[]){"reindeers.com"}, 1};
    struct health_vote votes[N] = {0};
    struct health_view v = {
        .host = "seoul1", .region = 1, .incarnation = 1, .seq = 1, .targets = votes};
    _cleanup_json_ json_t *right = health_view_format(&v, &space);
    v.region = 2;
    _cleanup_json_ json_t *wrong_region = health_view_format(&v, &space);
    assert_int_equal(steer_service_view(w->nodes[0].s, "seoul1", right, &e), 0);
    assert_int_equal(steer_service_view(w->nodes[0].s, "shanghai1", right, &e), ERR_DENIED);
    assert_int_equal(steer_service_view(w->nodes[0].s, "seoul1", wrong_region, &e), ERR_DENIED);
    assert_int_equal(steer_service_view(w->nodes[0].s, "mars1", right, &e), ERR_DENIED);
    _cleanup_json_ json_t *garbage = json_string("x");
    assert_true(steer_service_view(w->nodes[0].s, "seoul1", garbage, &e) < 0);
}

static json_t *explain(struct node *n, const char *name, const char *from, int expect)
{
    json_t *ret = NULL;
    struct err e = {0};
    _cleanup_json_ json_t *params = json_pack("{s:s,s:s}", "name", name, "from", from);
    assert_int_equal(steer_service_explain(n->s, params, &ret, &e), expect);
    return ret;
}

static void test_explain_finds_the_country(void **state)
{
    static const struct {
        const char *from, *country, *because;
    } rows[] = {
        {"198.51.100.1", "KR", "KR (lab.clients) → [ap-seoul, ap-hongkong]"},
        {"198.51.100.9", "JP", "JP has no list → default (routing.geo.overrides)"},
        {"192.0.2.1", "KR", "KR (the country database) → "},
        {"203.0.113.1", "", "no country is known for 203.0.113.1"},
        {"2001:db8::1", "", "no country is known for 2001:db8::1"},
    };
    struct world *w = *state;
    start(w, 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_json_ json_t *j = explain(&w->nodes[0], "ReinDeers.com.", rows[i].from, 0);
        assert_string_equal(json_opt_str(j, "name", ""), "reindeers.com");
        assert_string_equal(json_opt_str(j, "country", "x"), rows[i].country);
        if (!str_starts(json_opt_str(j, "because", ""), rows[i].because))
            fail_msg("%s", json_opt_str(j, "because", ""));
    }
    assert_null(explain(&w->nodes[0], "reindeers.com", "not-an-address", ERR_USAGE));
    assert_null(explain(&w->nodes[0], ".", "192.0.2.1", ERR_USAGE));
}

static void test_metrics(void **state)
{
    struct world *w = *state;
    start(w, 0);
    run_rounds(w, 1);
    _cleanup_str_ struct str out = STR_INIT;
    metrics_format(metrics_process(), &out);
    assert_non_null(
        strstr(out.buf, "mcp_probe_ok{region=\"ap-seoul\",name=\"reindeers.com\"} 1\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_region_dies_and_returns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_health_message_fits_the_zone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_restart_answers_as_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_torn_journal_is_set_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_speaks_for_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_explain_finds_the_country, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metrics, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
