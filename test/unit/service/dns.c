/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"
#include "proto/dns/dns.h"
#include "service/dns/dns.h"

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>

/* --- a server on a loop of its own, a client beside it --- */

struct fixture {
    uv_loop_t loop;
    char dir[64];
    int udp, client;
    struct dns_service *service;
    struct dns_report last; /* of those that came */
    struct err first_warning;
    unsigned n_serving, n_refused, n_warnings;
};

static void on_report(void *ctx, const struct dns_report *r)
{
    struct fixture *f = ctx;
    f->last = *r;
    if (r->kind == DNS_REPORT_WARNING && !f->n_warnings)
        f->first_warning = r->error;
    f->n_serving += r->kind == DNS_REPORT_SERVING;
    f->n_refused += r->kind == DNS_REPORT_REFUSED;
    f->n_warnings += r->kind == DNS_REPORT_WARNING;
}

static int bound(struct sockaddr_in *addr)
{
    socklen_t len = sizeof *addr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof *addr), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    return fd;
}

static void start_service(struct fixture *f, const char *geo)
{
    struct dns_service_socket socket = {.fd = f->udp, .cpu = -1};
    struct dns_service_options o = {.loop = &f->loop,
        .udp = &socket,
        .n_udp = 1,
        .state_dir = f->dir,
        .geo = geo,
        .host = "hk1",
        .report = on_report,
        .ctx = f};
    struct err e = {0};
    if (dns_service_new(&o, &f->service, &e) < 0)
        fail_msg("%s", e.message);
}

static void stop_service(struct fixture *f)
{
    dns_service_free(f->service);
    f->service = NULL;
    uv_run(&f->loop, UV_RUN_DEFAULT);
}

static void start(struct fixture *f)
{
    struct sockaddr_in addr, ignored;
    memset(f, 0, sizeof *f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    str_copy(f->dir, sizeof f->dir, "/tmp/mcp-dns.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->udp = bound(&addr);
    f->client = bound(&ignored);
    assert_int_equal(connect(f->client, (struct sockaddr *)&addr, sizeof addr), 0);
    start_service(f, NULL);
}

static void stop(struct fixture *f)
{
    struct err e = {0};
    stop_service(f);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    close(f->udp);
    close(f->client);
    assert_int_equal(file_remove_tree(f->dir, &e), 0);
}

static void wait_reports(struct fixture *f, unsigned serving, unsigned refused)
{
    while (f->n_serving < serving || f->n_refused < refused)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static json_t *zone_json(unsigned revision, const char *address, const char *records)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct err e = {0};
    json_t *j;
    str_addf(&text,
        "{\"format\":1,\"revision\":%u,\"domain\":\"reindeers.com\",\"ttl_s\":60,"
        "\"regions\":[{\"name\":\"hk\",\"addresses\":[\"%s\"]},{\"name\":\"seoul\",\"addresses\":["
        "\"203.0.113.40\"]}],"
        "\"lists\":[[0,1],[1,0]],\"countries\":{\"KR\":1},\"overrides\":[[\"127.0.0.0/8\",\"KR\"]],"
        "\"names\":[{\"name\":\"reindeers.com\",\"regions\":[0,1]}],"
        "\"nameservers\":[{\"name\":\"ns1.reindeers.com\",\"region\":0}],\"records\":[%s]}",
        revision, address, records);
    assert_int_equal(json_parse(str_cstr(&text), text.len, &j, &e), 0);
    return j;
}

static void give_zone(
    struct fixture *f, unsigned revision, const char *address, const char *records)
{
    json_t *j = zone_json(revision, address, records);
    dns_service_zone(f->service, j, -1);
    json_decref(j);
}

static int give_health(struct fixture *f, unsigned revision, unsigned region)
{
    struct err e = {0};
    json_t *j = json_pack("{s:i, s:i, s:{s:{s:i, s:[i, i]}}}", "revision", (int)revision, "seq", 1,
        "names", "reindeers.com", "ttl_s", 5, "choice", (int)region, (int)region);
    int r = dns_service_health(f->service, j, &e);
    json_decref(j);
    return r;
}

static size_t query(uint8_t out[64], uint16_t id)
{
    static const uint8_t name[] = "\11reindeers\3com";
    struct dns_writer w;
    dns_writer_init(&w, out, 64, id, 0);
    dns_write_question(&w, name, sizeof name, DNS_A, DNS_IN);
    return dns_writer_finish(&w);
}

/* "SERVFAIL" or "NOERROR 60 203.0.113.40" */
static void expect_answer(struct fixture *f, const char *expected)
{
    uint8_t buf[512];
    char text[64], value[32] = "";
    struct pollfd p = {.fd = f->client, .events = POLLIN};
    struct dns_walk w;
    struct dns_rr rr = {0};
    enum dns_section section;
    size_t len = query(buf, 7);
    assert_int_equal(send(f->client, buf, len, 0), len);
    assert_int_equal(poll(&p, 1, 10000), 1);
    ssize_t n = recv(f->client, buf, sizeof buf, 0);
    assert_true(n > 0 && dns_walk_init(&w, buf, (size_t)n));
    while (dns_walk_next(&w, &rr, &section) > 0 && section != DNS_ANSWER)
        ;
    if (dns_get16(buf + 6))
        dns_rdata_format(
            rr.type, buf, (size_t)n, rr.rdata_offset, rr.rdata_size, value, sizeof value);
    snprintf(
        text, sizeof text, *value ? "%s %u %s" : "%s", dns_rcode_name(buf[3] & 15u), rr.ttl, value);
    assert_string_equal(text, expected);
}

static void test_serves_what_it_is_given(void **state)
{
    struct fixture f;
    start(&f);
    expect_answer(&f, "SERVFAIL");
    assert_int_equal(dns_service_revision(f.service), 0);
    give_zone(&f, 3, "203.0.113.20", "");
    wait_reports(&f, 1, 0);
    assert_int_equal(dns_service_revision(f.service), 3);
    assert_int_equal(f.n_warnings, 1); /* no country database */
    expect_answer(&f, "NOERROR 60 203.0.113.40");
    assert_int_equal(give_health(&f, 3, 0), 0);
    expect_answer(&f, "NOERROR 5 203.0.113.20");
    assert_int_equal(give_health(&f, 3, 9), ERR_INVALID);
    expect_answer(&f, "NOERROR 5 203.0.113.20");
    stop(&f);
}

static void test_restart_serves_what_was_served(void **state)
{
    struct fixture f;
    start(&f);
    give_zone(&f, 3, "203.0.113.20", "");
    wait_reports(&f, 1, 0);
    assert_int_equal(give_health(&f, 3, 0), 0);
    stop_service(&f); /* the worker finishes what it began; the file may not have been begun: */
    start_service(&f, NULL);
    assert_int_equal(dns_service_revision(f.service), 3);
    assert_int_equal(give_health(&f, 3, 0), 0);
    wait_reports(&f, 2, 0);
    assert_true(f.last.from_disk);
    char *path = xasprintf("%s/health.json", f.dir);
    while (!file_exists(path))
        poll(NULL, 0, 1);
    free(path);
    stop_service(&f);
    start_service(&f, NULL);
    expect_answer(&f, "NOERROR 5 203.0.113.20"); /* without any message */
    stop(&f);
}

/* Torn or foreign files in the state folder: said so, and the role starts. */
static void test_damaged_state(void **state)
{
    struct fixture f;
    struct err e = {0};
    start(&f);
    stop_service(&f);
    char *path = xasprintf("%s/zone.json", f.dir);
    assert_int_equal(file_write(path, "{\"format\":1,", 12, 0600, &e), 0);
    start_service(&f, NULL);
    while (!f.n_warnings)
        uv_run(&f.loop, UV_RUN_ONCE);
    expect_answer(&f, "SERVFAIL");
    stop_service(&f);
    assert_int_equal(file_write(path, "{\"format\":9}", 12, 0600, &e), 0);
    start_service(&f, NULL);
    wait_reports(&f, 0, 1);
    give_zone(&f, 3, "203.0.113.20", "");
    wait_reports(&f, 1, 1);
    expect_answer(&f, "NOERROR 60 203.0.113.40");
    free(path);
    stop(&f);
}

static void test_refused_zone_leaves_the_old_one(void **state)
{
    struct fixture f;
    start(&f);
    give_zone(&f, 3, "203.0.113.20", "");
    wait_reports(&f, 1, 0);
    give_zone(&f, 4, "203.0.113.21",
        "{\"name\":\"reindeers.com\",\"type\":\"CNAME\",\"value\":\"a.\",\"ttl_s\":1}");
    wait_reports(&f, 1, 1);
    assert_int_equal(f.last.revision, 4);
    assert_int_equal(dns_service_revision(f.service), 3);
    /* A zone that serves nothing while something is served: never by accident. */
    json_t *j = zone_json(5, "203.0.113.20", "");
    json_object_set_new(j, "names", json_array());
    dns_service_zone(f.service, j, -1);
    json_decref(j);
    wait_reports(&f, 1, 2);
    assert_int_equal(f.last.error.code, ERR_REFUSED);
    expect_answer(&f, "NOERROR 60 203.0.113.40");
    stop(&f);
}

/* What steering decided for a zone that is still on its way counts from its first answer on. */
static void test_health_before_its_zone(void **state)
{
    struct fixture f;
    start(&f);
    give_zone(&f, 3, "203.0.113.20", "");
    wait_reports(&f, 1, 0);
    assert_int_equal(give_health(&f, 4, 0), 0);
    expect_answer(&f, "NOERROR 60 203.0.113.40");
    give_zone(&f, 4, "203.0.113.21", "");
    wait_reports(&f, 2, 0);
    expect_answer(&f, "NOERROR 5 203.0.113.21");
    stop(&f);
}

static void test_no_database_names_the_fix(void **state)
{
    struct fixture f;
    start(&f);
    stop_service(&f);
    start_service(&f, "/nonexistent/country.mmdb");
    give_zone(&f, 3, "203.0.113.20", "");
    while (!f.n_warnings)
        uv_run(&f.loop, UV_RUN_ONCE);
    assert_non_null(strstr(f.first_warning.message, "/nonexistent/country.mmdb"));
    assert_non_null(strstr(f.first_warning.fix, "routing.geo.database"));
    wait_reports(&f, 1, 0);
    stop(&f);
}

static void test_unwritable_state_still_serves(void **state)
{
    struct fixture f;
    struct err e = {0};
    start(&f);
    assert_int_equal(file_remove_tree(f.dir, &e), 0);
    give_zone(&f, 3, "203.0.113.20", "");
    wait_reports(&f, 1, 0);
    assert_int_equal(f.n_warnings, 2); /* no database, no disk */
    expect_answer(&f, "NOERROR 60 203.0.113.40");
    stop(&f);
}

struct load {
    int fd;
    atomic_bool stop;
    unsigned asked, answered, wrong;
};

static void *ask_without_end(void *arg)
{
    struct load *l = arg;
    while (!l->stop) {
        uint8_t buf[512];
        struct pollfd p = {.fd = l->fd, .events = POLLIN};
        size_t len = query(buf, (uint16_t)l->asked++);
        if (send(l->fd, buf, len, 0) != (ssize_t)len || poll(&p, 1, 10000) != 1)
            continue;
        ssize_t n = recv(l->fd, buf, sizeof buf, 0);
        l->answered++;
        /* one address of either zone, whole */
        static const uint8_t tail[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113};
        if (n != (ssize_t)len + 16 || memcmp(buf + len, tail, sizeof tail) != 0
            || dns_get16(buf + 6) != 1)
            l->wrong++;
    }
    return NULL;
}

static void test_swaps_under_load_lose_nothing(void **state)
{
    struct fixture f;
    pthread_t thread;
    start(&f);
    give_zone(&f, 1, "203.0.113.20", "");
    wait_reports(&f, 1, 0);
    struct load load = {.fd = f.client};
    assert_int_equal(pthread_create(&thread, NULL, ask_without_end, &load), 0);
    for (unsigned revision = 2; revision < 40; revision++) {
        give_zone(&f, revision, revision % 2 ? "203.0.113.20" : "203.0.113.21", "");
        wait_reports(&f, revision, 0);
    }
    load.stop = true;
    pthread_join(thread, NULL);
    assert_true(load.asked > 100);
    assert_int_equal(load.asked, load.answered);
    assert_int_equal(load.wrong, 0);
    _cleanup_str_ struct str text = STR_INIT;
    dns_service_metrics(f.service, &text);
    assert_non_null(strstr(str_cstr(&text), "mcp_dns_zone_revision 39"));
    char *line = xasprintf("mcp_dns_region_answers_total{region=\"seoul\"} %u", load.asked);
    if (!strstr(str_cstr(&text), line))
        fail_msg("no '%s' in\n%s", line, str_cstr(&text));
    free(line);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serves_what_it_is_given),
        cmocka_unit_test(test_restart_serves_what_was_served),
        cmocka_unit_test(test_damaged_state),
        cmocka_unit_test(test_refused_zone_leaves_the_old_one),
        cmocka_unit_test(test_health_before_its_zone),
        cmocka_unit_test(test_no_database_names_the_fix),
        cmocka_unit_test(test_unwritable_state_still_serves),
        cmocka_unit_test(test_swaps_under_load_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
