/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/rpc/priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/un.h>

/* One end of a connection and what happened to it. */
struct end {
    struct rpc_conn *conn;
    struct err why;
    bool is_closed, is_ready;
    unsigned notified, called, drained;
    char method[80];
    int fd;
    struct rpc_req *kept;
    unsigned inputs, cancels;
    size_t streamed;
    uint64_t until;
};

/* The answers of one call of ours. */
struct answer {
    unsigned finals, parts;
    int code;
    char message[800];
    int64_t value;
};

static void on_input(void *ctx, json_t *input)
{
    struct end *x = ctx;
    x->inputs++;
}

static void on_cancelled(void *ctx)
{
    struct end *x = ctx;
    x->cancels++;
    rpc_reply(x->kept, NULL);
    x->kept = NULL;
}

/* As many parts as the back-pressure rule lets pass. */
static void pump(void *ctx)
{
    struct end *x = ctx;
    static char block[65536];
    memset(block, 'x', sizeof block - 1);
    while (x->streamed < x->until && rpc_conn_backlog(x->conn) < RPC_BACKLOG_HIGH + sizeof block) {
        rpc_reply_more(x->kept, json_string(block));
        x->streamed += sizeof block;
    }
    if (x->streamed >= x->until) {
        rpc_reply(x->kept, NULL);
        x->kept = NULL;
    }
}

static void on_stream_drained(void *ctx)
{
    struct end *x = ctx;
    x->drained++;
    pump(x);
}

static void on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct end *x = ctx;
    struct err e;
    x->called++;
    str_copy(x->method, sizeof x->method, method);
    if (!strcmp(method, "double")) {
        rpc_reply(
            req, json_pack("{s:I}", "value", (json_int_t)(2 * json_opt_int(params, "value", 0))));
    } else if (!strcmp(method, "refuse")) {
        err_set(&e, ERR_REFUSED, "rule 7 says no");
        err_fix(&e, "ask rule 7");
        rpc_reply_error(req, &e);
    } else if (!strcmp(method, "parts")) {
        for (int i = 0; i < 3; i++)
            rpc_reply_more(req, json_integer(i));
        rpc_reply(req, NULL);
    } else if (!strcmp(method, "flood")) {
        x->kept = req;
        x->until = 8u * 1024 * 1024;
        rpc_req_watch(req, NULL, on_cancelled, x);
        rpc_req_watch_drained(req, on_stream_drained);
        pump(x);
    } else { /* "keep" */
        x->kept = req;
        rpc_req_watch(req, on_input, on_cancelled, x);
    }
}

static void on_notify(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd)
{
    struct end *x = ctx;
    x->notified++;
    str_copy(x->method, sizeof x->method, method);
    if (fd >= 0)
        x->fd = fd;
}

static void on_ready(void *ctx, struct rpc_conn *c)
{
    struct end *x = ctx;
    x->is_ready = true;
}

static void on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    struct end *x = ctx;
    assert_false(x->is_closed);
    x->is_closed = true;
    x->why = *e;
    x->conn = NULL;
}

static const struct rpc_handler handler = {
    .call = on_call, .notify = on_notify, .ready = on_ready, .closed = on_closed};

static void on_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct answer *a = ctx;
    if (more) {
        a->parts++;
        return;
    }
    a->finals++;
    a->code = error ? error->code : 0;
    str_copy(a->message, sizeof a->message, error ? error->message : "");
    a->value = json_opt_int(result, "value", 0);
}

static struct end end_of(uv_loop_t *loop, int fd, const char *name, struct end *x)
{
    struct err e;
    *x = (struct end){.fd = -1};
    assert_int_equal(rpc_conn_new_fd(loop, fd, name, &handler, x, &x->conn, &e), 0);
    return *x;
}

struct pair {
    uv_loop_t loop;
    struct end a, b;
};

static void pair_init(struct pair *p)
{
    int fds[2];
    assert_int_equal(uv_loop_init(&p->loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    end_of(&p->loop, fds[0], "control@hk1", &p->a);
    end_of(&p->loop, fds[1], "dns@hk1", &p->b);
}

static void pair_done(struct pair *p)
{
    if (p->a.conn)
        rpc_conn_close(p->a.conn);
    if (p->b.conn)
        rpc_conn_close(p->b.conn);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0);
}

#define RUN_UNTIL(loop, cond)                                                                      \
    do {                                                                                           \
        for (int turns_ = 0; !(cond); turns_++) {                                                  \
            assert_true(turns_ < 100000);                                                          \
            uv_run((loop), UV_RUN_ONCE);                                                           \
        }                                                                                          \
    } while (0)

static void test_call_and_answer(void **state)
{
    struct pair p;
    struct answer ok = {0}, no = {0}, parts = {0};
    pair_init(&p);
    rpc_call(p.a.conn, "double", json_pack("{s:i}", "value", 21), 0, on_answer, &ok);
    rpc_call(p.a.conn, "refuse", NULL, 1000, on_answer, &no);
    rpc_call(p.b.conn, "parts", NULL, 0, on_answer, &parts); /* the other direction */
    RUN_UNTIL(&p.loop, ok.finals && no.finals && parts.finals);
    assert_int_equal(ok.value, 42);
    assert_int_equal(no.code, ERR_REFUSED);
    assert_string_equal(no.message, "rule 7 says no");
    assert_int_equal(parts.parts, 3);
    assert_string_equal(rpc_conn_peer_name(p.a.conn), "dns@hk1");
    assert_int_equal(rpc_conn_protocol(p.a.conn), 1);
    uid_t uid = 12345;
    struct err e;
    assert_int_equal(rpc_conn_peer_uid(p.a.conn, &uid, &e), 0);
    assert_int_equal(uid, getuid());
    pair_done(&p);
    assert_int_equal(ok.finals + no.finals + parts.finals, 3);
    assert_int_equal(p.a.why.code, ERR_CANCELED);
}

static void test_descriptor_goes_with_its_message(void **state)
{
    struct pair p;
    int pipes[2][2];
    pair_init(&p);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
        assert_int_equal(write(pipes[i][1], i ? "2" : "1", 1), 1);
        close(pipes[i][1]);
    }
    /* Without, with, without, with: each message gets its own or none. */
    const char *methods[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++)
        rpc_notify_fd(p.a.conn, methods[i], NULL, i & 1 ? pipes[i / 2][0] : -1);
    for (unsigned want = 1; want <= 2; want++) {
        char ch = 0;
        RUN_UNTIL(&p.loop, p.b.fd >= 0 || p.b.notified == 4);
        assert_true(p.b.fd >= 0);
        if (want == 1 && p.b.notified == 4) {
            close(p.b.fd); /* both came in one turn: the second is what is kept */
            break;
        }
        assert_int_equal(read(p.b.fd, &ch, 1), 1);
        assert_int_equal(ch, want == 1 ? '1' : '2');
        assert_true(fcntl(p.b.fd, F_GETFD) & FD_CLOEXEC);
        close(p.b.fd);
        p.b.fd = -1;
    }
    RUN_UNTIL(&p.loop, p.b.notified == 4);
    pair_done(&p);
}

static void test_peer_killed_while_calls_run(void **state)
{
    struct pair p;
    struct answer one = {0}, two = {0};
    pair_init(&p);
    rpc_call(p.a.conn, "keep", NULL, 0, on_answer, &one);
    RUN_UNTIL(&p.loop, p.b.kept);
    rpc_call(p.a.conn, "double", NULL, 60000, on_answer, &two);
    shutdown(p.b.conn->fd, SHUT_RDWR); /* what the kernel does for a killed process */
    RUN_UNTIL(&p.loop, p.a.is_closed && p.b.is_closed);
    assert_int_equal(one.finals, 1);
    assert_int_equal(one.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(one.message, "keep: connection to dns@hk1 ended"));
    assert_int_equal(two.finals, 1);
    assert_int_equal(two.code, ERR_UNAVAILABLE);
    assert_int_equal(p.b.cancels, 1); /* and the server was told that nobody waits */
    pair_done(&p);
}

static void test_request_outlives_connection(void **state)
{
    struct pair p;
    struct answer one = {0};
    struct end late = {.fd = -1};
    pair_init(&p);
    rpc_call(p.a.conn, "keep", NULL, 0, on_answer, &one);
    RUN_UNTIL(&p.loop, p.b.kept);
    struct rpc_req *req = p.b.kept;
    rpc_req_watch(req, NULL, NULL, &late);
    rpc_conn_close(p.a.conn);
    RUN_UNTIL(&p.loop, p.a.is_closed && p.b.is_closed);
    assert_null(rpc_req_conn(req));
    rpc_reply_more(req, json_true());
    rpc_reply(req, NULL);
    pair_done(&p);
}

static void test_cancel_and_timeout(void **state)
{
    struct pair p;
    struct answer cancelled = {0}, late = {0};
    pair_init(&p);
    struct rpc_call *call = rpc_call(p.a.conn, "keep", NULL, 0, on_answer, &cancelled);
    rpc_call_input(call, json_pack("{s:s}", "data", "YQ=="));
    RUN_UNTIL(&p.loop, p.b.inputs == 1);
    rpc_call_cancel(call);
    rpc_call_cancel(call);
    assert_int_equal(cancelled.finals, 0); /* not from within */
    RUN_UNTIL(&p.loop, cancelled.finals && p.b.cancels);
    assert_int_equal(cancelled.code, ERR_CANCELED);
    rpc_call(p.a.conn, "keep", NULL, 20, on_answer, &late);
    RUN_UNTIL(&p.loop, late.finals && p.b.cancels == 2);
    assert_int_equal(late.code, ERR_TIMEOUT);
    struct answer after = {0}; /* the late answers to both are ignored, the connection lives */
    rpc_call(p.a.conn, "double", NULL, 0, on_answer, &after);
    RUN_UNTIL(&p.loop, after.finals);
    assert_int_equal(after.code, 0);
    pair_done(&p);
    assert_int_equal(cancelled.finals + late.finals, 2);
}

static void test_stream_waits_for_a_slow_reader(void **state)
{
    struct pair p;
    struct answer flood = {0};
    pair_init(&p);
    rpc_call(p.a.conn, "flood", NULL, 0, on_answer, &flood);
    RUN_UNTIL(&p.loop, p.b.streamed);
    assert_true(rpc_conn_backlog(p.b.conn) < RPC_BACKLOG_HIGH + 3 * 65536);
    RUN_UNTIL(&p.loop, flood.finals);
    assert_int_equal(flood.parts, 8 * 16);
    assert_true(p.b.drained >= 2);
    pair_done(&p);
}

static void test_reader_that_never_reads_is_cut_off(void **state)
{
    int fds[2];
    uv_loop_t loop;
    struct end x;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    end_of(&loop, fds[0], "control@hk1", &x);
    char *block = xcalloc(1, 8u * 1024 * 1024 + 1);
    memset(block, 'x', 8u * 1024 * 1024);
    for (int i = 0; i < 9 && !x.conn->ending; i++)
        rpc_notify(x.conn, "zone", json_pack("{s:s}", "data", block));
    RUN_UNTIL(&loop, x.is_closed);
    assert_int_equal(x.why.code, ERR_LIMIT);
    free(block);
    close(fds[1]);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_message_over_the_frame_limit(void **state)
{
    struct pair p;
    struct answer big = {0}, next = {0};
    pair_init(&p);
    char *block = xcalloc(1, RPC_FRAME_MAX + 1);
    memset(block, 'x', RPC_FRAME_MAX);
    rpc_call(p.a.conn, "double", json_pack("{s:s}", "data", block), 0, on_answer, &big);
    rpc_call(p.a.conn, "double", NULL, 0, on_answer, &next);
    RUN_UNTIL(&p.loop, big.finals && next.finals);
    assert_int_equal(big.code, ERR_LIMIT);
    assert_int_equal(next.code, 0);
    free(block);
    pair_done(&p);
}

static void add_frame(struct str *out, const char *text)
{
    size_t len = strlen(text);
    char head[4] = {(char)(len >> 24), (char)(len >> 16), (char)(len >> 8), (char)len};
    str_add_mem(out, head, sizeof head);
    str_add(out, text);
}

#define HELLO "{\"protocol\":[1,1],\"name\":\"peer\"}"

/* What a raw peer sends, and why the connection ends. */
static void test_broken_peers(void **state)
{
    static const struct {
        const char *name, *frames[3];
        int code;
        const char *why;
    } rows[] = {
        {"other versions", {"{\"protocol\":[7,9],\"name\":\"dns@x\"}"}, ERR_PROTOCOL,
            "no common protocol version: this end speaks 1 to 1, dns@x speaks 7 to 9"},
        {"no range", {"{\"protocol\":[1],\"name\":\"dns@x\"}"}, ERR_PROTOCOL,
            "hello without a protocol range"},
        {"empty range", {"{\"protocol\":[2,1],\"name\":\"dns@x\"}"}, ERR_PROTOCOL,
            "range that is none"},
        {"no hello", {"{\"id\":1,\"method\":\"double\"}"}, ERR_PROTOCOL,
            "the first message is no hello"},
        {"second hello", {HELLO, HELLO}, ERR_PROTOCOL, "a second hello"},
        {"not JSON", {HELLO, "{"}, ERR_PROTOCOL, "not JSON"},
        {"no object", {HELLO, "[]"}, ERR_PROTOCOL, "message is no object"},
        {"says nothing", {HELLO, "{\"id\":1}"}, ERR_PROTOCOL, "message 1 says nothing"},
        {"negative id", {HELLO, "{\"id\":-1,\"method\":\"keep\"}"}, ERR_PROTOCOL,
            "id is no positive number"},
        {"id twice", {HELLO, "{\"id\":5,\"method\":\"keep\"}", "{\"id\":5,\"method\":\"keep\"}"},
            ERR_PROTOCOL, "call 5 is still running"},
        {"answer to nothing", {HELLO, "{\"id\":1,\"result\":{}}"}, ERR_PROTOCOL, "never made"},
        {"params no object", {HELLO, "{\"id\":1,\"method\":\"a\",\"params\":[]}"}, ERR_PROTOCOL,
            "are no object"},
        {"absent descriptor", {HELLO, "{\"method\":\"a\",\"fd\":true}"}, ERR_PROTOCOL,
            "did not come"},
        {"empty frame", {HELLO, ""}, ERR_PROTOCOL, "empty frame"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int fds[2];
        uv_loop_t loop;
        struct end x;
        _cleanup_str_ struct str raw = STR_INIT;
        assert_int_equal(uv_loop_init(&loop), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        end_of(&loop, fds[0], "control@hk1", &x);
        for (size_t k = 0; k < 3 && rows[i].frames[k]; k++)
            add_frame(&raw, rows[i].frames[k]);
        assert_int_equal(write(fds[1], raw.buf, raw.len), (ssize_t)raw.len);
        RUN_UNTIL(&loop, x.is_closed);
        if (x.why.code != rows[i].code || !strstr(x.why.message, rows[i].why))
            fail_msg("%s: code %d, %s", rows[i].name, x.why.code, x.why.message);
        if (x.kept)
            rpc_reply(x.kept, NULL);
        close(fds[1]);
        assert_int_equal(uv_loop_close(&loop), 0);
    }
}

static void test_oversized_frames_are_refused_at_their_header(void **state)
{
    static const struct {
        bool hello;
        uint32_t len;
    } rows[] = {{false, RPC_HELLO_MAX + 1}, {true, RPC_FRAME_MAX + 1}, {true, UINT32_MAX}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rpc_in in = {.max = rows[i].hello ? RPC_FRAME_MAX : RPC_HELLO_MAX};
        uint8_t head[4] = {(uint8_t)(rows[i].len >> 24), (uint8_t)(rows[i].len >> 16),
            (uint8_t)(rows[i].len >> 8), (uint8_t)rows[i].len};
        const char *text;
        size_t len;
        struct err e;
        memcpy(rpc_in_room(&in, 4), head, 4);
        rpc_in_added(&in, 4);
        assert_int_equal(rpc_in_next(&in, &text, &len, &e), ERR_PROTOCOL);
        rpc_in_done(&in);
    }
}

static void test_frames_come_in_any_pieces(void **state)
{
    _cleanup_str_ struct str raw = STR_INIT;
    struct rpc_in in = {.max = 100};
    const char *texts[] = {"a", "bb", "ccc", "dddd"};
    size_t seen = 0;
    for (int round = 0; round < 50; round++)
        for (size_t i = 0; i < 4; i++)
            add_frame(&raw, texts[i]);
    for (size_t i = 0, step = 1; i < raw.len; i += step, step = step % 7 + 1) {
        size_t n = MIN(step, raw.len - i), len;
        const char *text;
        struct err e;
        memcpy(rpc_in_room(&in, n), raw.buf + i, n);
        rpc_in_added(&in, n);
        while (rpc_in_next(&in, &text, &len, &e) == 1) {
            assert_memory_equal(text, texts[seen % 4], len);
            assert_int_equal(len, strlen(texts[seen % 4]));
            seen++;
        }
    }
    assert_int_equal(seen, 200);
    rpc_in_done(&in);
}

static void test_stranger_without_hello_is_dropped(void **state)
{
    int fds[2];
    uv_loop_t loop;
    struct end x;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    end_of(&loop, fds[0], "control@hk1", &x);
    rpc_conn_hello_timeout(x.conn, 20);
    RUN_UNTIL(&loop, x.is_closed);
    assert_int_equal(x.why.code, ERR_TIMEOUT);
    close(fds[1]);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_unclaimed_descriptors_are_bounded(void **state)
{
    struct pair p;
    pair_init(&p);
    RUN_UNTIL(&p.loop, p.a.is_ready && p.b.is_ready);
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    int sent = 0;
    for (; sent < 100 && !p.b.is_closed; sent++) {
        /* One byte of a frame that never ends, with a descriptor on it. */
        struct iovec iov = {.iov_base = &(char){sent ? 1 : 0}, .iov_len = 1};
        struct msghdr msg = {.msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = control,
            .msg_controllen = sizeof control};
        struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
        h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &(int){1}, sizeof(int));
        if (sendmsg(p.a.conn->fd, &msg, MSG_NOSIGNAL) < 0)
            break;
        uv_run(&p.loop, UV_RUN_NOWAIT);
    }
    assert_true(sent <= (int)RPC_FDS_MAX + 2);
    RUN_UNTIL(&p.loop, p.b.is_closed);
    assert_int_equal(p.b.why.code, ERR_PROTOCOL);
    pair_done(&p);
}

/* --- the blocking client against a loop in a thread --- */

struct server {
    pthread_t thread;
    int listen_fd;
    char path[64];
    struct end x;
};

static void *serve(void *arg)
{
    struct server *s = arg;
    uv_loop_t loop;
    ASSERT(uv_loop_init(&loop) == 0);
    end_of(&loop, accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC), "control@hk1", &s->x);
    uv_run(&loop, UV_RUN_DEFAULT); /* until the client has gone */
    uv_loop_close(&loop);
    return NULL;
}

static void server_start(struct server *s)
{
    char dir[] = "/tmp/mcp-rpc-XXXXXX";
    *s = (struct server){0};
    assert_non_null(mkdtemp(dir));
    snprintf(s->path, sizeof s->path, "%s/s", dir);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    str_copy(sa.sun_path, sizeof sa.sun_path, s->path);
    s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listen_fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(s->listen_fd, 8), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_join(struct server *s)
{
    pthread_join(s->thread, NULL);
    close(s->listen_fd);
    unlink(s->path);
    *strrchr(s->path, '/') = '\0';
    rmdir(s->path);
}

static int count_part(void *ctx, json_t *part)
{
    int *n = ctx;
    return ++*n == 100 ? -1 : 0;
}

static void test_client(void **state)
{
    struct server s;
    struct rpc_client *c;
    struct err e = {0};
    json_t *ret = NULL;
    int n = 0, pipe_fds[2];
    server_start(&s);
    assert_int_equal(rpc_client_connect(s.path, &c, &e), 0);
    assert_int_equal(
        rpc_client_call(c, "double", json_pack("{s:i}", "value", 4), 0, NULL, NULL, &ret, &e), 0);
    assert_int_equal(json_opt_int(ret, "value", 0), 8);
    json_decref(ret);
    assert_int_equal(rpc_client_call(c, "parts", NULL, 5000, count_part, &n, &ret, &e), 0);
    assert_int_equal(n, 3);
    json_decref(ret);
    assert_int_equal(rpc_client_call(c, "refuse", NULL, 0, NULL, NULL, &ret, &e), ERR_REFUSED);
    assert_string_equal(e.fix, "ask rule 7");
    assert_int_equal(rpc_client_call(c, "keep", NULL, 20, NULL, NULL, &ret, &e), ERR_TIMEOUT);
    n = 97;
    assert_int_equal(rpc_client_call(c, "parts", NULL, 0, count_part, &n, &ret, &e), ERR_CANCELED);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(write(pipe_fds[1], "hello", 5), 5);
    close(pipe_fds[1]);
    n = 0;
    assert_int_equal(
        rpc_client_call_input(c, "parts", NULL, pipe_fds[0], count_part, &n, &ret, &e), 0);
    json_decref(ret);
    close(pipe_fds[0]);
    rpc_client_free(c);
    server_join(&s);
    assert_int_equal(rpc_client_connect("/nonexistent/mcp.sock", &c, &e), ERR_UNAVAILABLE);
    assert_non_null(strstr(e.fix, "mcp host"));
}

/* A process that is stopped still has connections accepted for it by the kernel, until its backlog
 * is full: then connect(2) itself would wait. */
static void test_client_is_not_held_up_by_a_frozen_peer(void **state)
{
    char dir[] = "/tmp/mcp-rpc.XXXXXX", path[64];
    struct rpc_client *c;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    str_copy(sa.sun_path, sizeof sa.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), waiting[2];
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 1), 0);
    struct err e = {0};
    assert_int_equal(rpc_client_connect_within(path, "hk1", 20, &c, &e), ERR_TIMEOUT);
    assert_string_equal(e.message, "hk1: no answer in time");
    for (size_t i = 0; i < ARRAY_SIZE(waiting); i++) {
        waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r = connect(waiting[i], (struct sockaddr *)&sa, sizeof sa);
        assert_true(r == 0 || errno == EAGAIN);
    }
    assert_int_equal(rpc_client_connect_within(path, "hk1", 20, &c, &e), ERR_TIMEOUT);
    for (size_t i = 0; i < ARRAY_SIZE(waiting); i++)
        close(waiting[i]);
    close(fd);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_and_answer),
        cmocka_unit_test(test_descriptor_goes_with_its_message),
        cmocka_unit_test(test_peer_killed_while_calls_run),
        cmocka_unit_test(test_request_outlives_connection),
        cmocka_unit_test(test_cancel_and_timeout),
        cmocka_unit_test(test_stream_waits_for_a_slow_reader),
        cmocka_unit_test(test_reader_that_never_reads_is_cut_off),
        cmocka_unit_test(test_message_over_the_frame_limit),
        cmocka_unit_test(test_broken_peers),
        cmocka_unit_test(test_oversized_frames_are_refused_at_their_header),
        cmocka_unit_test(test_frames_come_in_any_pieces),
        cmocka_unit_test(test_stranger_without_hello_is_dropped),
        cmocka_unit_test(test_unclaimed_descriptors_are_bounded),
        cmocka_unit_test(test_client),
        cmocka_unit_test(test_client_is_not_held_up_by_a_frozen_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
