/* SPDX-License-Identifier: Apache-2.0 */
/* client -- front -- back[0..1], each "--" a socket pair on one loop: front relays what client
 * asks. */
#include "test.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "service/relay/relay.h"

#include <sys/socket.h>

#define PATIENCE_MS 5000u

struct world {
    uv_loop_t loop;
    struct rpc_conn *client, *front, *to_back[2], *back[2];
    struct rpc_req *held; /* a call that back keeps open */
    json_t *wrap;
    size_t legs;
    bool back_cancelled;
    int closed;
    /* what the client got */
    struct str parts;
    json_t *result;
    int code;
    bool answered;
};

static void on_back_input(void *ctx, json_t *input)
{
    struct world *w = ctx;
    rpc_reply_more(w->held, json_pack("{s:O}", "echo", input));
    rpc_reply(w->held, json_string("done"));
    w->held = NULL;
}

static void on_back_cancelled(void *ctx)
{
    struct world *w = ctx;
    struct err e;
    w->back_cancelled = true;
    err_set(&e, ERR_CANCELED, "cancelled");
    rpc_reply_error(w->held, &e);
    w->held = NULL;
}

static void on_back_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct world *w = ctx;
    struct err e;
    if (!strcmp(method, "refuse")) {
        err_set(&e, ERR_REFUSED, "by rule");
        rpc_reply_error(req, &e);
    } else if (!strcmp(method, "hold")) {
        w->held = req;
        rpc_req_watch(req, on_back_input, on_back_cancelled, w);
        rpc_reply_more(req, json_pack("{s:s}", "part", "first"));
    } else {
        rpc_reply_more(req, json_pack("{s:O}", "part", json_object_get(params, "say")));
        rpc_reply(req, json_pack("{s:O}", "said", json_object_get(params, "say")));
    }
}

static void on_front_call(
    void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct world *w = ctx;
    if (w->legs == 1) {
        relay_call(req, w->to_back[0], method, json_incref(params), w->wrap);
        return;
    }
    struct relay_target targets[2] = {
        {.to = w->to_back[0], .method = method, .params = json_incref(params)},
        {.to = w->to_back[1], .method = "refuse", .params = NULL},
    };
    relay_fan_out(req, targets, 2);
}

static void on_notify(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd)
{
}

static void on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    ((struct world *)ctx)->closed++;
}

static void on_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct world *w = ctx;
    if (more) {
        char *text = json_text(result);
        str_add(&w->parts, text);
        free(text);
        return;
    }
    w->answered = true;
    w->code = error ? error->code : 0;
    w->result = error ? NULL : json_incref(result);
}

static const struct rpc_handler front = {
    .call = on_front_call, .notify = on_notify, .closed = on_closed};
static const struct rpc_handler back = {
    .call = on_back_call, .notify = on_notify, .closed = on_closed};

static void pair(
    struct world *w, struct rpc_conn **a, struct rpc_conn **b, const struct rpc_handler *serving)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(rpc_conn_new_fd(&w->loop, fds[0], "a", &back, w, a, NULL), 0);
    assert_int_equal(rpc_conn_new_fd(&w->loop, fds[1], "b", serving, w, b, NULL), 0);
}

static void pump(struct world *w, const bool *flag)
{
    uint64_t end = clock_boot_ms() + PATIENCE_MS;
    while (!*flag && clock_boot_ms() < end)
        uv_run(&w->loop, UV_RUN_ONCE);
    assert_true(*flag);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    uv_loop_init(&w->loop);
    w->legs = 1;
    pair(w, &w->client, &w->front, &front);
    for (int i = 0; i < 2; i++)
        pair(w, &w->to_back[i], &w->back[i], &back);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    rpc_conn_close(w->client);
    rpc_conn_close(w->front);
    for (int i = 0; i < 2; i++) {
        rpc_conn_close(w->to_back[i]);
        rpc_conn_close(w->back[i]);
    }
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(w->closed, 6);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    json_decref(w->result);
    json_decref(w->wrap);
    str_done(&w->parts);
    free(w);
    return 0;
}

static void test_parts_and_answer_travel_through(void **state)
{
    struct world *w = *state;
    w->wrap = json_pack("{s:s}", "host", "hk1");
    rpc_call(w->client, "say", json_pack("{s:s}", "say", "hello"), 0, on_answer, w);
    pump(w, &w->answered);
    assert_string_equal(str_cstr(&w->parts), "{\"host\":\"hk1\",\"part\":\"hello\"}");
    assert_string_equal(json_opt_str(w->result, "said", ""), "hello");
}

static void test_errors_keep_their_code(void **state)
{
    struct world *w = *state;
    rpc_call(w->client, "refuse", NULL, 0, on_answer, w);
    pump(w, &w->answered);
    assert_int_equal(w->code, ERR_REFUSED);
}

static void test_input_reaches_the_far_end(void **state)
{
    struct world *w = *state;
    struct rpc_call *call = rpc_call(w->client, "hold", NULL, 0, on_answer, w);
    uint64_t end = clock_boot_ms() + PATIENCE_MS;
    while (!w->parts.len && clock_boot_ms() < end)
        uv_run(&w->loop, UV_RUN_ONCE);
    rpc_call_input(call, json_string("typed"));
    pump(w, &w->answered);
    assert_string_equal(str_cstr(&w->parts), "{\"part\":\"first\"}{\"echo\":\"typed\"}");
    assert_string_equal(json_string_value(w->result), "done");
}

static void test_cancelling_reaches_the_far_end(void **state)
{
    struct world *w = *state;
    struct rpc_call *call = rpc_call(w->client, "hold", NULL, 0, on_answer, w);
    uint64_t end = clock_boot_ms() + PATIENCE_MS;
    while (!w->parts.len && clock_boot_ms() < end)
        uv_run(&w->loop, UV_RUN_ONCE);
    rpc_call_cancel(call);
    pump(w, &w->back_cancelled);
    pump(w, &w->answered);
    assert_int_equal(w->code, ERR_CANCELED);
}

static void test_one_good_answer_of_several_is_enough(void **state)
{
    struct world *w = *state;
    w->legs = 2;
    rpc_call(w->client, "say", json_pack("{s:s}", "say", "x"), 0, on_answer, w);
    pump(w, &w->answered);
    assert_int_equal(w->code, 0);
    w->answered = false;
    rpc_call(w->client, "refuse", NULL, 0, on_answer, w);
    json_decref(w->result);
    w->result = NULL;
    pump(w, &w->answered);
    assert_int_equal(w->code, ERR_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parts_and_answer_travel_through, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_keep_their_code, setup, teardown),
        cmocka_unit_test_setup_teardown(test_input_reaches_the_far_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelling_reaches_the_far_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_good_answer_of_several_is_enough, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
