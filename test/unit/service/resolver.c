/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"
#include "proto/dns/dns.h"
#include "service/resolver/resolver.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

/* Everybody has an address of 127.0.0.0/8: the bridge is 127.1.0.0/16, upstreams are 127.3.0.1 and 127.3.0.2. */
#define OWN "127.1.0.1"
#define CONTAINER "127.1.0.5"
#define STRANGER "127.2.0.1"

static struct sockaddr_in address(const char *ip, uint16_t port)
{
    struct ip_addr a;
    struct sockaddr_storage sa;
    socklen_t len;
    assert_true(ip_parse(ip, &a));
    ip_to_sockaddr(&a, port, &sa, &len);
    return *(struct sockaddr_in *)&sa;
}

static int bound(int type, const char *ip, uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_in sa = address(ip, port);
    socklen_t len = sizeof sa;
    struct timeval limit = {.tv_sec = 20};
    int on = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
        close(fd);
        return -1;
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    if (ret_port)
        *ret_port = ntohs(sa.sin_port);
    return fd;
}

/* --- an upstream: what it does follows from the question's first label --- */

struct upstream {
    pthread_t thread;
    const char *answer; /* address in its answers */
    bool broken;        /* SERVFAIL to everything */
    int udp, tcp;
    atomic_bool stop;
    atomic_uint asked, asked_tcp;
};

/* Text records as large as `bytes`. */
static size_t make_answer(const struct upstream *u, const uint8_t *q, size_t len, uint16_t flags,
    size_t bytes, uint8_t *out, size_t cap)
{
    static const uint8_t filler[256] = {255};
    struct dns_query query;
    struct dns_writer w;
    struct ip_addr a;
    assert_int_equal(dns_query_parse(q, len, &query), DNS_PARSE_OK);
    dns_writer_init(&w, out, cap, query.id, (uint16_t)(DNS_QR | DNS_RA | flags));
    dns_write_question(&w, query.name, query.name_size, query.type, query.class);
    assert_true(ip_parse(u->answer, &a));
    for (size_t n = 0; n < bytes; n += sizeof filler)
        dns_write_rr(
            &w, DNS_ANSWER, query.name, query.name_size, DNS_TXT, 60, filler, sizeof filler);
    if (!bytes && !(flags & (DNS_RCODE | DNS_TC)))
        dns_write_rr(&w, DNS_ANSWER, query.name, query.name_size, DNS_A, 60, a.bytes, 4);
    return dns_writer_finish(&w);
}

static void serve_udp(struct upstream *u)
{
    uint8_t q[4096], out[4096];
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    ssize_t n = recvfrom(u->udp, q, sizeof q, 0, (struct sockaddr *)&from, &from_len);
    if (n < DNS_HEADER_SIZE)
        return;
    u->asked++;
    bool silent = !memcmp(q + 12, "\6silent", 7), cut = !memcmp(q + 12, "\3cut", 4);
    if (silent)
        return;
    uint16_t flags = u->broken ? DNS_SERVFAIL : cut ? DNS_TC : 0;
    size_t len = make_answer(u, q, (size_t)n, flags, 0, out, sizeof out);
    if (!memcmp(q + 12, "\6forged",
            7)) { /* wrong ids, and a right id to another question, come first */
        for (unsigned i = 1; i < 50; i++) {
            uint8_t forged[4096];
            memcpy(forged, out, len);
            dns_put16(forged, dns_get16(out) + i);
            sendto(u->udp, forged, len, 0, (struct sockaddr *)&from, from_len);
            memcpy(forged, out, len);
            forged[13] ^= 1;
            sendto(u->udp, forged, len, 0, (struct sockaddr *)&from, from_len);
        }
    }
    sendto(u->udp, out, len, 0, (struct sockaddr *)&from, from_len);
}

static void serve_tcp(struct upstream *u)
{
    uint8_t q[4096], out[2 + 32768];
    int fd = accept(u->tcp, NULL, NULL);
    if (recv(fd, q, 2, MSG_WAITALL) == 2
        && recv(fd, q + 2, dns_get16(q), MSG_WAITALL) == dns_get16(q)) {
        u->asked_tcp++;
        size_t big = !memcmp(q + 14, "\3cut", 4) ? 3000 : !memcmp(q + 14, "\4huge", 5) ? 20000 : 0;
        size_t len = make_answer(u, q + 2, dns_get16(q), 0, big, out + 2, sizeof out - 2);
        dns_put16(out, (unsigned)len);
        send(fd, out, 2 + len, MSG_NOSIGNAL);
    }
    close(fd);
}

static void *serve(void *arg)
{
    struct upstream *u = arg;
    while (!u->stop) {
        struct pollfd p[2] = {{.fd = u->udp, .events = POLLIN}, {.fd = u->tcp, .events = POLLIN}};
        poll(p, 2, 20);
        if (p[0].revents & POLLIN)
            serve_udp(u);
        if (p[1].revents & POLLIN)
            serve_tcp(u);
    }
    return NULL;
}

static void upstream_start(struct upstream *u, const char *ip, uint16_t *port, const char *answer)
{
    *u = (struct upstream){.answer = answer};
    do { /* a port that is free on both transports */
        uint16_t wanted = *port;
        u->udp = bound(SOCK_DGRAM, ip, wanted, port);
        u->tcp = u->udp < 0 ? -1 : bound(SOCK_STREAM, ip, *port, NULL);
        if (u->tcp < 0 && u->udp >= 0)
            close(u->udp);
        if (u->tcp < 0)
            *port = wanted;
    } while (u->tcp < 0);
    assert_int_equal(listen(u->tcp, 16), 0);
    assert_int_equal(pthread_create(&u->thread, NULL, serve, u), 0);
}

static void upstream_stop(struct upstream *u)
{
    u->stop = true;
    pthread_join(u->thread, NULL);
    close(u->udp);
    close(u->tcp);
}

/* --- the resolver --- */

struct fixture {
    uv_loop_t loop;
    char dir[64];
    int udp, tcp, client;
    uint16_t udp_port, tcp_port, upstream_port;
    struct upstream up[2];
    struct resolver *r;
    unsigned warnings;
};

static void on_warn(void *ctx, const struct err *e)
{
    ((struct fixture *)ctx)->warnings++;
}

static void start_resolver(struct fixture *f)
{
    struct resolver_options o = {.loop = &f->loop,
        .udp = &f->udp,
        .n_udp = 1,
        .tcp = &f->tcp,
        .n_tcp = 1,
        .state_dir = f->dir,
        .upstream_port = f->upstream_port,
        .try_ms = 50,
        .warn = on_warn,
        .ctx = f};
    struct err e = {0};
    assert_true(ip_prefix_parse("127.1.0.0/16", &o.clients) && ip_parse(OWN, &o.own));
    if (resolver_new(&o, &f->r, &e) < 0)
        fail_msg("%s", e.message);
}

static void stop_resolver(struct fixture *f)
{
    resolver_free(f->r);
    uv_run(&f->loop, UV_RUN_DEFAULT);
}

static void set_names(struct fixture *f, const char *text, int expected)
{
    struct err e = {0};
    json_t *j;
    assert_int_equal(json_parse(text, strlen(text), &j, &e), 0);
    int r = resolver_set_names(f->r, j, &e);
    if (r != expected)
        fail_msg("%d %s", r, e.message);
    json_decref(j);
}

#define NAMES                                                                                      \
    "\"names\":{\"api.mcp.internal\":[\"127.1.0.7\",\"127.1.0.8\",\"fd00::7\"],"                   \
    "\"empty.mcp.internal\":[],\"a.deep.mcp.internal\":[\"127.1.0.9\"]}"
#define TWO_UPSTREAMS "{" NAMES ",\"forward\":[\"127.3.0.1\",\"127.3.0.2\"]}"
#define ONE_UPSTREAM "{" NAMES ",\"forward\":[\"127.3.0.1\"]}"

static void start(struct fixture *f, const char *names)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    str_copy(f->dir, sizeof f->dir, "/tmp/mcp-resolver.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->udp = bound(SOCK_DGRAM, OWN, 0, &f->udp_port);
    f->tcp = bound(SOCK_STREAM, OWN, 0, &f->tcp_port);
    assert_int_equal(listen(f->tcp, 16), 0);
    f->client = bound(SOCK_DGRAM, CONTAINER, 0, NULL);
    upstream_start(&f->up[0], "127.3.0.1", &f->upstream_port, "198.51.100.1");
    upstream_start(&f->up[1], "127.3.0.2", &f->upstream_port, "198.51.100.2");
    start_resolver(f);
    set_names(f, names, 0);
}

static void stop(struct fixture *f)
{
    struct err e = {0};
    stop_resolver(f);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    upstream_stop(&f->up[0]);
    upstream_stop(&f->up[1]);
    close(f->udp);
    close(f->tcp);
    close(f->client);
    assert_int_equal(file_remove_tree(f->dir, &e), 0);
}

static bool readable(struct fixture *f, int fd, int turns)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (turns-- > 0) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        if (poll(&p, 1, 1) > 0)
            return true;
    }
    return false;
}

static size_t query(
    uint8_t *out, const char *name, const char *type, uint16_t id, uint16_t udp_size)
{
    uint8_t wire[DNS_NAME_MAX];
    size_t size;
    uint16_t t;
    struct dns_writer w;
    assert_true(dns_name_parse(name, wire, &size) && dns_type_parse(type, &t));
    dns_writer_init(&w, out, 512, id, DNS_RD);
    dns_write_question(&w, wire, size, t, DNS_IN);
    if (udp_size)
        dns_write_opt(&w, 0, udp_size, false, NULL, 0);
    return dns_writer_finish(&w);
}

static void describe(const uint8_t *msg, size_t len, char *out, size_t cap)
{
    struct dns_walk w;
    struct dns_rr rr;
    enum dns_section section;
    int at = snprintf(out, cap, "%s%s", dns_rcode_name(msg[3] & 15u), msg[2] & 2 ? " tc" : "");
    assert_true(msg[3] & 0x80); /* recursion is available */
    assert_true(dns_walk_init(&w, msg, len));
    while (dns_walk_next(&w, &rr, &section) > 0) {
        char value[512], type[16];
        if (section == DNS_QUESTION || rr.type == DNS_OPT)
            continue;
        dns_rdata_format(rr.type, msg, len, rr.rdata_offset, rr.rdata_size, value, sizeof value);
        at += snprintf(out + at, cap - (size_t)at, " %u %s %.40s", rr.ttl,
            dns_type_name(rr.type, type), value);
    }
}

static void ask(
    struct fixture *f, const char *name, const char *type, uint16_t udp_size, const char *expected)
{
    static uint16_t id = 100;
    uint8_t buf[8192];
    char text[1024];
    struct sockaddr_in to = address(OWN, f->udp_port);
    size_t len = query(buf, name, type, ++id, udp_size);
    assert_int_equal(sendto(f->client, buf, len, 0, (struct sockaddr *)&to, sizeof to), len);
    if (!readable(f, f->client, 20000))
        fail_msg("%s: no answer", name);
    ssize_t n = recv(f->client, buf, sizeof buf, 0);
    assert_true(n >= DNS_HEADER_SIZE && dns_get16(buf) == id);
    describe(buf, (size_t)n, text, sizeof text);
    if (strncmp(text, expected, strlen(expected)) != 0)
        fail_msg("%s %s: '%s', expected '%s'", name, type, text, expected);
}

#define SOA " 5 SOA resolver.mcp.internal"

static void test_names_of_the_platform(void **state)
{
    struct fixture f;
    start(&f, TWO_UPSTREAMS);
    ask(&f, "api.mcp.internal", "A", 0, "NOERROR 5 A 127.1.0.7 5 A 127.1.0.8");
    ask(&f, "API.MCP.Internal", "A", 0, "NOERROR 5 A 127.1.0.8 5 A 127.1.0.7"); /* turned */
    ask(&f, "api.mcp.internal", "AAAA", 1232, "NOERROR 5 AAAA fd00::7");
    ask(&f, "api.mcp.internal", "TXT", 0, "NOERROR" SOA);
    ask(&f, "empty.mcp.internal", "A", 0, "NOERROR" SOA);
    ask(&f, "deep.mcp.internal", "A", 0, "NOERROR" SOA);
    ask(&f, "mcp.internal", "A", 0, "NOERROR" SOA);
    ask(&f, "nope.mcp.internal", "A", 0, "NXDOMAIN" SOA);
    ask(&f, "x.api.mcp.internal", "A", 0, "NXDOMAIN" SOA);
    assert_int_equal(f.up[0].asked + f.up[1].asked, 0); /* never asked elsewhere */
    stop(&f);
}

static void test_table_is_replaced_whole_or_not(void **state)
{
    struct fixture f;
    start(&f, TWO_UPSTREAMS);
    set_names(&f, "{\"names\":{\"api.mcp.internal\":[\"127.1.0.70\"],\"x.mcp.internal\":[\"no\"]}}",
        ERR_INVALID);
    set_names(&f, "{\"names\":{\"api.reindeers.com\":[\"127.1.0.70\"]}}", ERR_INVALID);
    set_names(&f, "{\"names\":{},\"forward\":[\"upstream.example\"]}", ERR_INVALID);
    set_names(&f, "{}", ERR_INVALID);
    ask(&f, "empty.mcp.internal", "A", 0, "NOERROR");
    set_names(&f, "{\"names\":{\"api.mcp.internal\":[\"127.1.0.70\"]}}", 0);
    ask(&f, "api.mcp.internal", "A", 0, "NOERROR 5 A 127.1.0.70");
    ask(&f, "empty.mcp.internal", "A", 0, "NXDOMAIN");
    stop(&f);
}

static void test_restart_knows_the_names(void **state)
{
    struct fixture f;
    start(&f, ONE_UPSTREAM);
    stop_resolver(&f); /* runs the loop until the file is written */
    start_resolver(&f);
    ask(&f, "api.mcp.internal", "A", 0, "NOERROR 5 A 127.1.0.7");
    ask(&f, "ok.example", "A", 0, "NOERROR 60 A 198.51.100.1");
    assert_int_equal(f.warnings, 0);
    stop(&f);
}

static void test_forwarding(void **state)
{
    struct fixture f;
    start(&f, ONE_UPSTREAM); /* a second one would be asked when the machine is busy */
    ask(&f, "ok.example", "A", 0, "NOERROR 60 A 198.51.100.1");
    ask(&f, "forged.example", "A", 1232, "NOERROR 60 A 198.51.100.1");
    /* Cut off over UDP: fetched over TCP, given whole to who takes that much. */
    ask(&f, "cut.example", "TXT", 4096, "NOERROR 60 TXT");
    ask(&f, "cut.example", "TXT", 512, "NOERROR tc");
    assert_int_equal(f.up[0].asked_tcp, 2);
    stop(&f);
}

static void test_the_next_upstream(void **state)
{
    struct fixture f;
    start(&f, TWO_UPSTREAMS);
    f.up[0].broken = true;
    ask(&f, "ok.example", "A", 0, "NOERROR 60 A 198.51.100.2");
    unsigned before = f.up[0].asked;
    ask(&f, "again.example", "A", 0, "NOERROR 60 A 198.51.100.2");
    assert_int_equal(f.up[0].asked, before); /* the one that answered goes first now */
    upstream_stop(&f.up[1]);                 /* nobody listens: said at once, no waiting */
    f.up[0].broken = false;
    ask(&f, "third.example", "A", 0, "NOERROR 60 A 198.51.100.1");
    upstream_start(&f.up[1], "127.3.0.2", &f.upstream_port, "198.51.100.2");
    stop(&f);
}

static void test_no_answer_and_no_upstream(void **state)
{
    struct fixture f;
    start(&f, ONE_UPSTREAM);
    ask(&f, "silent.example", "A", 0, "SERVFAIL");
    assert_int_equal(f.up[0].asked, 4);
    set_names(&f, "{" NAMES "}", 0);
    ask(&f, "ok.example", "A", 0, "SERVFAIL");
    assert_int_equal(f.up[0].asked, 4);
    /* Itself and its own clients are no upstreams: a question would come back. */
    set_names(&f, "{" NAMES ",\"forward\":[\"" OWN "\",\"" CONTAINER "\"]}", 0);
    ask(&f, "ok.example", "A", 0, "SERVFAIL");
    stop(&f);
}

static void test_strangers_get_nothing(void **state)
{
    static const char *const strangers[] = {STRANGER, OWN};
    struct fixture f;
    uint8_t buf[512];
    start(&f, TWO_UPSTREAMS);
    struct sockaddr_in udp = address(OWN, f.udp_port), tcp = address(OWN, f.tcp_port);
    for (size_t i = 0; i < ARRAY_SIZE(strangers); i++) {
        int fd = bound(SOCK_DGRAM, strangers[i], 0, NULL);
        size_t len = query(buf, "api.mcp.internal", "A", 1, 0);
        assert_int_equal(sendto(fd, buf, len, 0, (struct sockaddr *)&udp, sizeof udp), len);
        assert_false(readable(&f, fd, 20));
        close(fd);
        fd = bound(SOCK_STREAM, strangers[i], 0, NULL);
        assert_int_equal(connect(fd, (struct sockaddr *)&tcp, sizeof tcp), 0);
        assert_true(readable(&f, fd, 20000));
        assert_true(recv(fd, buf, sizeof buf, 0) <= 0); /* ended */
        close(fd);
    }
    ask(&f, "api.mcp.internal", "A", 0, "NOERROR");
    assert_int_equal(f.up[0].asked, 0);
    stop(&f);
}

static void test_over_tcp(void **state)
{
    static const struct {
        const char *name, *type;
        const char *expected;
    } rows[] = {{"api.mcp.internal", "A", "NOERROR 5 A"},
        {"ok.example", "A", "NOERROR 60 A 198.51.100.1"}, {"huge.example", "TXT", "NOERROR 60 TXT"},
        {"nope.mcp.internal", "A", "NXDOMAIN"}};
    struct fixture f;
    static uint8_t buf[65536];
    char text[65536];
    start(&f, ONE_UPSTREAM);
    struct sockaddr_in to = address(OWN, f.tcp_port);
    int fd = bound(SOCK_STREAM, CONTAINER, 0, NULL);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    for (uint16_t i = 0; i < ARRAY_SIZE(rows); i++) { /* all at once */
        size_t len = query(buf + 2, rows[i].name, rows[i].type, i, 0);
        dns_put16(buf, (unsigned)len);
        assert_int_equal(send(fd, buf, 2 + len, MSG_NOSIGNAL), 2 + len);
    }
    unsigned seen = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) { /* in whatever order */
        assert_true(readable(&f, fd, 20000));
        assert_int_equal(recv(fd, buf, 2, MSG_WAITALL), 2);
        size_t len = dns_get16(buf), got = 0;
        while (got < len) {
            assert_true(readable(&f, fd, 20000));
            ssize_t n = recv(fd, buf + got, len - got, 0);
            assert_true(n > 0);
            got += (size_t)n;
        }
        unsigned id = dns_get16(buf);
        assert_true(id < ARRAY_SIZE(rows));
        describe(buf, len, text, sizeof text);
        if (strncmp(text, rows[id].expected, strlen(rows[id].expected)) != 0)
            fail_msg("%s: %s", rows[id].name, text);
        seen |= 1u << id;
    }
    assert_int_equal(seen, 15);
    close(fd);
    stop(&f);
}

/* A client that asks more than its share gets SERVFAIL for the rest, and the others are served. A question that is
 * repeated while it is under way is asked once. */
static void test_limits(void **state)
{
    struct fixture f;
    uint8_t buf[512];
    start(&f, ONE_UPSTREAM);
    struct sockaddr_in to = address(OWN, f.udp_port);
    for (int repeat = 0; repeat < 5; repeat++) {
        size_t len = query(buf, "silent.example", "A", 7, 0);
        assert_int_equal(sendto(f.client, buf, len, 0, (struct sockaddr *)&to, sizeof to), len);
    }
    for (uint16_t i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof name, "silent.n%u.example", i);
        size_t len = query(buf, name, "A", (uint16_t)(1000 + i), 0);
        assert_int_equal(sendto(f.client, buf, len, 0, (struct sockaddr *)&to, sizeof to), len);
        uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    unsigned answers = 0;
    while (answers < 201) {
        assert_true(readable(&f, f.client, 20000));
        ssize_t n = recv(f.client, buf, sizeof buf, MSG_DONTWAIT);
        assert_true(n > 0 && (buf[3] & 15) == DNS_SERVFAIL);
        answers++;
    }
    assert_true(f.up[0].asked <= 128 * 4);
    stop(&f);
}

static void test_malformed(void **state)
{
    struct fixture f;
    uint8_t buf[512];
    start(&f, TWO_UPSTREAMS);
    struct sockaddr_in to = address(OWN, f.udp_port);
    size_t len = query(buf, "ok.example", "A", 9, 0);
    buf[5] = 2;
    assert_int_equal(sendto(f.client, buf, len, 0, (struct sockaddr *)&to, sizeof to), len);
    assert_true(readable(&f, f.client, 20000));
    assert_int_equal(recv(f.client, buf, sizeof buf, 0), 12);
    assert_int_equal(buf[3] & 15, DNS_FORMERR);
    len = query(buf, "ok.example", "A", 9, 0);
    buf[2] |= 0x80; /* a response: never answered */
    assert_int_equal(sendto(f.client, buf, len, 0, (struct sockaddr *)&to, sizeof to), len);
    assert_false(readable(&f, f.client, 20));
    ask(&f, "ok.example", "AXFR", 0, "REFUSED");
    assert_int_equal(f.up[0].asked, 0);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_of_the_platform),
        cmocka_unit_test(test_table_is_replaced_whole_or_not),
        cmocka_unit_test(test_restart_knows_the_names),
        cmocka_unit_test(test_forwarding),
        cmocka_unit_test(test_the_next_upstream),
        cmocka_unit_test(test_no_answer_and_no_upstream),
        cmocka_unit_test(test_strangers_get_nothing),
        cmocka_unit_test(test_over_tcp),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
