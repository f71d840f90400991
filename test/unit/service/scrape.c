/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/clock/clock.h"
#include "service/scrape/scrape.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define PATIENCE_MS 5000u

struct world {
    uv_loop_t loop;
    int listen_fd;
    struct sockaddr_in address;
    struct scrape *scrape;
    struct scrape_answer *kept; /* answered later */
    bool keep;
};

static void on_scrape(void *ctx, struct scrape_answer *a)
{
    struct world *w = ctx;
    if (w->keep) {
        w->kept = a;
        return;
    }
    struct str text = STR_INIT;
    str_add(&text, "mcp_up 1\n");
    scrape_reply(a, &text);
    str_done(&text);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    socklen_t len = sizeof w->address;
    uv_loop_init(&w->loop);
    w->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    w->address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(w->listen_fd, (struct sockaddr *)&w->address, len), 0);
    assert_int_equal(listen(w->listen_fd, 8), 0);
    getsockname(w->listen_fd, (struct sockaddr *)&w->address, &len);
    assert_int_equal(scrape_new(&w->loop, &w->listen_fd, 1, NULL, on_scrape, w, &w->scrape, NULL), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    scrape_free(w->scrape);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    close(w->listen_fd);
    free(w);
    return 0;
}

static int dial(struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&w->address, sizeof w->address), 0);
    return fd;
}

/* Sends, then runs the loop until the server has closed. */
static void ask(struct world *w, const char *request, char *answer, size_t size)
{
    int fd = dial(w);
    size_t got = 0;
    ssize_t n = 1;
    assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
    uint64_t end = clock_boot_ms() + PATIENCE_MS;
    while (n != 0 && clock_boot_ms() < end) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        n = recv(fd, answer + got, size - got - 1, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(n, 0);
    answer[got] = '\0';
    close(fd);
}

static void test_answers(void **state)
{
    static const struct {
        const char *request, *status, *body;
    } rows[] = {
        {"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", "\r\n\r\nmcp_up 1\n"},
        {"GET /other HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404", "try GET /metrics"},
        {"GET /metricsx HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404", "try GET /metrics"},
        {"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405", "try GET /metrics"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char answer[1024];
        ask(*state, rows[i].request, answer, sizeof answer);
        assert_non_null(strstr(answer, rows[i].status));
        assert_non_null(strstr(answer, rows[i].body));
    }
}

static void test_an_endless_request_is_dropped(void **state)
{
    struct world *w = *state;
    char answer[64], *request = xmalloc(8001);
    memset(request, 'x', 8000);
    request[8000] = '\0';
    int fd = dial(w);
    send(fd, request, 8000, 0);
    free(request);
    uint64_t end = clock_boot_ms() + PATIENCE_MS;
    ssize_t n = -1;
    while (n < 0 && clock_boot_ms() < end) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        n = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
        if (n < 0 && errno == ECONNRESET)
            n = 0;
    }
    assert_int_equal(n, 0);
    close(fd);
}

static void test_a_client_that_leaves_before_the_text_is_there(void **state)
{
    struct world *w = *state;
    const char *request = "GET /metrics HTTP/1.1\r\n\r\n";
    w->keep = true;
    int fd = dial(w);
    send(fd, request, strlen(request), 0);
    uint64_t end = clock_boot_ms() + PATIENCE_MS;
    while (!w->kept && clock_boot_ms() < end)
        uv_run(&w->loop, UV_RUN_NOWAIT);
    close(fd);
    struct str text = STR_INIT;
    str_add(&text, "late 1\n");
    scrape_reply(w->kept, &text); /* sanitizers see it if this is freed twice or used after */
    str_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_endless_request_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_client_that_leaves_before_the_text_is_there, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
