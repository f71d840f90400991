/* SPDX-License-Identifier: Apache-2.0 */
/* Transfers between two hosts on loopback, each with its thread and its certificate. */
#include "test.h"

#include "base/file/file.h"
#include "base/str/str.h"
#include "certs.h"
#include "service/bulk/bulk.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define BLOB "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SIZE (5u << 20)

static char dir[] = "/tmp/mcp-bulk-XXXXXX";
static char *content;
static uint16_t port;

struct host {
    struct bulk *bulk;
    const char *name;
    struct ip_addr address;
    int listen_fd;
    const char *file; /* what it answers with; NULL: it has nothing */
    unsigned asked;
    bool mute;
};

struct result {
    unsigned done, progress;
    int code;
    char from[64], message[800];
};

static struct host alice, bob, carol;
static uv_loop_t loop;

static void on_open(
    void *ctx, uint64_t ticket, const char *host, enum bulk_kind kind, const char *digest)
{
    struct host *h = ctx;
    struct err e;
    h->asked++;
    assert_string_equal(digest, BLOB);
    if (h->mute)
        return;
    err_set(&e, ERR_NOT_FOUND, "not here");
    bulk_opened(h->bulk, ticket, h->file ? open(h->file, O_RDONLY | O_CLOEXEC) : -1, &e);
}

static void start(struct host *h, const char *name, const char *address)
{
    struct err e = {0};
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof sa;
    *h = (struct host){.name = name};
    assert_true(ip_parse(address, &h->address));
    inet_pton(AF_INET, address, &sa.sin_addr);
    h->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(h->listen_fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    assert_int_equal(bind(h->listen_fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(h->listen_fd, 16), 0);
    assert_int_equal(getsockname(h->listen_fd, (struct sockaddr *)&sa, &len), 0);
    port = ntohs(sa.sin_port);
    char *ca = xasprintf("%s/ca.pem", dir), *cert = xasprintf("%s/%s.pem", dir, name),
         *key = xasprintf("%s/%s.key", dir, name);
    struct bulk_config c = {.platform = "test",
        .host = name,
        .source = h->address,
        .tls = {ca, cert, key},
        .listen_fds = &h->listen_fd,
        .n_listen = 1,
        .port = port};
    struct bulk_handler handler = {.open = on_open};
    assert_int_equal(bulk_new(&loop, &c, &handler, h, &h->bulk, &e), 0);
    free(ca);
    free(cert);
    free(key);
}

static void stop(struct host *h)
{
    bulk_free(h->bulk);
    close(h->listen_fd);
}

static void on_progress(void *ctx, int64_t have, int64_t size, const char *from)
{
    ((struct result *)ctx)->progress++;
}

static void on_done(void *ctx, const char *from, const struct err *e)
{
    struct result *r = ctx;
    r->done++;
    r->code = e ? e->code : 0;
    str_copy(r->from, sizeof r->from, from);
    str_copy(r->message, sizeof r->message, e ? e->message : "");
}

static struct bulk_pull *pull(struct host *by, int64_t have, struct host *const *from, size_t n,
    struct result *r, char path[128])
{
    struct bulk_request request = {.kind = BULK_IMAGE, .digest = BLOB, .offset = have};
    struct bulk_target targets[4] = {0};
    struct bulk_request_events events = {on_progress, on_done, r};
    *r = (struct result){0};
    for (size_t i = 0; i < n; i++) {
        str_copy(targets[i].host, sizeof targets[i].host, from[i]->name);
        targets[i].addresses = &from[i]->address;
        targets[i].n_addresses = 1;
    }
    snprintf(path, 128, "%s/into", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(pwrite(fd, content, (size_t)have, 0), have);
    return bulk_pull(by->bulk, &request, fd, targets, n, &events);
}

static void wait_done(const struct result *r)
{
    while (!r->done)
        uv_run(&loop, UV_RUN_ONCE);
}

static void assert_whole(const char *path)
{
    struct err e;
    _cleanup_str_ struct str text = STR_INIT;
    assert_true(file_read(path, 2 * SIZE, &text, &e) >= 0);
    assert_int_equal(text.len, SIZE);
    assert_memory_equal(text.buf, content, SIZE);
}

static char *make_file(const char *name, const void *data, size_t len)
{
    struct err e;
    char *path = xasprintf("%s/%s", dir, name);
    assert_true(file_write(path, data, len, 0644, &e) >= 0);
    return path;
}

static void begin(void)
{
    port = 0;
    start(&alice, "alice", "127.0.0.2");
    start(&bob, "bob", "127.0.0.3");
    start(&carol, "carol", "127.0.0.4");
}

static void end(void)
{
    stop(&alice);
    stop(&bob);
    stop(&carol);
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void test_whole(void **state)
{
    struct result r;
    char path[128];
    begin();
    bob.file = make_file("blob", content, SIZE);
    pull(&alice, 0, (struct host *const[]){&bob}, 1, &r, path);
    wait_done(&r);
    assert_string_equal(r.message, "");
    assert_string_equal(r.from, "bob");
    assert_true(r.progress > 0);
    assert_whole(path);
    end();
}

static void test_goes_on(void **state)
{
    struct result r;
    char path[128];
    begin();
    bob.file = make_file("blob", content, SIZE);
    pull(&alice, SIZE / 2 + 1, (struct host *const[]){&bob}, 1, &r, path);
    wait_done(&r);
    assert_int_equal(r.code, 0);
    assert_string_equal(r.from, ""); /* not every byte is bob's */
    assert_whole(path);
    pull(&alice, SIZE, (struct host *const[]){&bob}, 1, &r, path); /* nothing is left to come */
    wait_done(&r);
    assert_int_equal(r.code, 0);
    end();
}

/* One has nothing, one is not reachable, one has it. */
static void test_the_next_host(void **state)
{
    struct result r;
    char path[128];
    struct host nobody = {.name = "nobody"};
    begin();
    assert_true(ip_parse("127.0.0.9", &nobody.address));
    carol.file = make_file("blob", content, SIZE);
    pull(&alice, 0, (struct host *const[]){&nobody, &bob, &carol}, 3, &r, path);
    wait_done(&r);
    assert_int_equal(r.code, 0);
    assert_string_equal(r.from, "carol");
    assert_int_equal(bob.asked, 1);
    assert_whole(path);
    end();
}

static void test_nowhere(void **state)
{
    struct result r;
    char path[128];
    begin();
    pull(&alice, 0, (struct host *const[]){&bob, &carol}, 2, &r, path);
    wait_done(&r);
    assert_int_equal(r.code, ERR_NOT_FOUND);
    assert_non_null(strstr(r.message, "not here"));
    pull(&alice, 0, NULL, 0, &r, path);
    wait_done(&r);
    assert_int_equal(r.code, ERR_NOT_FOUND);
    end();
}

/* Another length than what came before is no blob of that digest. */
static void test_other_size(void **state)
{
    struct result r;
    char path[128];
    begin();
    bob.file = make_file("short", content, 1000);
    pull(&alice, 2000, (struct host *const[]){&bob}, 1, &r, path);
    wait_done(&r);
    assert_true(r.code < 0);
    assert_non_null(strstr(r.message, "bob: "));
    end();
}

/* Whoever answers at bob's address must be bob. */
static void test_the_name_is_proven(void **state)
{
    struct result r;
    char path[128];
    struct host liar;
    begin();
    bob.file = make_file("blob", content, SIZE);
    liar = bob;
    liar.name = "carol";
    pull(&alice, 0, (struct host *const[]){&liar}, 1, &r, path);
    wait_done(&r);
    assert_int_equal(r.code, ERR_DENIED);
    assert_int_equal(bob.asked, 0);
    end();
}

static void test_cancelled(void **state)
{
    struct result r;
    char path[128];
    begin();
    bob.mute = true;
    struct bulk_pull *p = pull(&alice, 0, (struct host *const[]){&bob}, 1, &r, path);
    while (!bob.asked)
        uv_run(&loop, UV_RUN_ONCE);
    bulk_pull_cancel(p);
    end(); /* with a ticket that nobody answered */
    assert_int_equal(r.done, 0);
}

static void test_ends_in_the_middle(void **state)
{
    struct result r;
    char path[128];
    begin();
    bob.file = make_file("blob", content, SIZE);
    pull(&alice, 0, (struct host *const[]){&bob}, 1, &r, path);
    while (!bob.asked)
        uv_run(&loop, UV_RUN_ONCE);
    end();
    assert_int_equal(r.done, 0);
}

static void test_a_disk_that_is_full(void **state)
{
    struct result r;
    struct bulk_request request = {.kind = BULK_IMAGE, .digest = BLOB};
    struct bulk_request_events events = {on_progress, on_done, &r};
    struct bulk_target t = {.host = "bob", .n_addresses = 1};
    begin();
    r = (struct result){0};
    bob.file = make_file("blob", content, SIZE);
    t.addresses = &bob.address;
    bulk_pull(alice.bulk, &request, open("/dev/full", O_WRONLY | O_CLOEXEC), &t, 1, &events);
    wait_done(&r);
    assert_int_equal(r.code, ERR_LIMIT);
    assert_string_equal(r.message, "the disk is full");
    end();
}

static int set_up(void **state)
{
    assert_non_null(mkdtemp(dir));
    signal(SIGPIPE, SIG_IGN);
    struct test_ca ca = certs_ca("root");
    certs_write(dir, "ca", ca.cert, NULL);
    static const char *const names[] = {"alice", "bob", "carol"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char *id = xasprintf("spiffe://test/host/%s", names[i]);
        certs_leaf(dir, names[i], &ca, (struct test_leaf){{id}, -60, 3600});
        free(id);
    }
    certs_ca_free(&ca);
    content = xmalloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (char)(i * 31 + i / 1000);
    return uv_loop_init(&loop);
}

static int tear_down(void **state)
{
    struct err e;
    free(content);
    return uv_loop_close(&loop) || file_remove_tree(dir, &e) < 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_the_next_host),
        cmocka_unit_test(test_nowhere),
        cmocka_unit_test(test_other_size),
        cmocka_unit_test(test_the_name_is_proven),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_ends_in_the_middle),
        cmocka_unit_test(test_a_disk_that_is_full),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
