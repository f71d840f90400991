/* SPDX-License-Identifier: Apache-2.0 */
/* A command inside a unit, its three streams carried over a call. */
#include "service/agent/priv.h"

#include <openssl/evp.h>
#include <signal.h>

#define CHUNK_BYTES (24u * 1024) /* a multiple of 3: base64 without padding in between */
#define BACKLOG_MAX (1024u * 1024)
#define INPUT_MAX (64u * 1024) /* of one message, decoded */
#define ARGV_MAX 256
#define RETRY_MS 20
#define KILL_AFTER_MS 2000
#define DRAIN_MS 1000 /* something else may hold the command's output open after its end */

struct exec {
    struct rpc_req *req; /* NULL: answered */
    unsigned open;
    uv_process_t process;
    uv_pipe_t pipes[3];
    uv_timer_t timer; /* paused output, or the kill after a cancellation */
    uv_shutdown_t shutdown;
    bool input_ended;
    bool ended[3], exited, paused, canceled;
    int64_t status;
    int signal;
    char buf[CHUNK_BYTES];
};

struct input {
    uv_write_t write;
    unsigned char data[];
};

static void read_on(struct exec *x);

static void on_closed(uv_handle_t *h)
{
    struct exec *x = h->data;
    if (--x->open == 0)
        free(x);
}

static void close_handle(uv_handle_t *h)
{
    if (h->data && !uv_is_closing(h))
        uv_close(h, on_closed);
}

/* When the command has ended and all that it printed is sent. */
static void maybe_answer(struct exec *x)
{
    if (!x->exited || !x->ended[1] || !x->ended[2] || !x->req)
        return;
    rpc_reply(
        x->req, json_pack("{s:I}", "exit", (json_int_t)(x->signal ? 128 + x->signal : x->status)));
    x->req = NULL;
    close_handle((uv_handle_t *)&x->process);
    close_handle((uv_handle_t *)&x->timer);
    for (int i = 0; i < 3; i++)
        close_handle((uv_handle_t *)&x->pipes[i]);
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    struct exec *x = h->data;
    *buf = uv_buf_init(x->buf, sizeof x->buf);
}

static void send_output(struct exec *x, int stream, size_t n)
{
    char *text = xmalloc(CHUNK_BYTES / 3 * 4 + 4);
    EVP_EncodeBlock((unsigned char *)text, (unsigned char *)x->buf, (int)n);
    rpc_reply_more(x->req, json_pack("{s:s}", stream == 1 ? "stdout" : "stderr", text));
    free(text);
}

static void on_drained(uv_timer_t *t)
{
    struct exec *x = t->data;
    for (int i = 1; i < 3; i++) {
        uv_read_stop((uv_stream_t *)&x->pipes[i]);
        x->ended[i] = true;
    }
    maybe_answer(x);
}

static void on_resume(uv_timer_t *t)
{
    struct exec *x = t->data;
    read_on(x);
}

static void pause_output(struct exec *x)
{
    x->paused = true;
    for (int i = 1; i < 3; i++)
        if (!x->ended[i])
            uv_read_stop((uv_stream_t *)&x->pipes[i]);
    uv_timer_start(&x->timer, on_resume, RETRY_MS, 0);
}

static void on_output(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct exec *x = s->data;
    int stream = s == (uv_stream_t *)&x->pipes[1] ? 1 : 2;
    if (n > 0 && x->req)
        send_output(x, stream, (size_t)n);
    if (n < 0) {
        x->ended[stream] = true;
        uv_read_stop(s);
    } else if (x->req && !x->canceled && rpc_conn_backlog(rpc_req_conn(x->req)) > BACKLOG_MAX) {
        pause_output(x);
    }
    if (x->exited && !x->paused)
        uv_timer_start(&x->timer, on_drained, DRAIN_MS, 0);
    maybe_answer(x);
}

static void read_on(struct exec *x)
{
    if (x->req && !x->canceled && rpc_conn_backlog(rpc_req_conn(x->req)) > BACKLOG_MAX) {
        uv_timer_start(&x->timer, on_resume, RETRY_MS, 0);
        return;
    }
    x->paused = false;
    if (x->exited)
        uv_timer_start(&x->timer, on_drained, DRAIN_MS, 0);
    for (int i = 1; i < 3; i++)
        if (!x->ended[i])
            uv_read_start((uv_stream_t *)&x->pipes[i], on_alloc, on_output);
}

static void on_exit_status(uv_process_t *p, int64_t status, int sig)
{
    struct exec *x = p->data;
    x->exited = true;
    x->status = status;
    x->signal = sig;
    if (!x->paused)
        uv_timer_start(&x->timer, on_drained, DRAIN_MS, 0);
    maybe_answer(x);
}

static void on_written(uv_write_t *w, int status)
{
    free(CONTAINER_OF(w, struct input, write));
}

static void on_input(void *ctx, json_t *input)
{
    struct exec *x = ctx;
    const char *text = json_opt_str(input, "data", NULL);
    if (x->input_ended || uv_is_closing((uv_handle_t *)&x->pipes[0]))
        return;
    size_t len = text ? strlen(text) : 0;
    if (len && len % 4 == 0 && len <= INPUT_MAX / 3 * 4) {
        struct input *i = xmalloc(sizeof *i + len / 4 * 3);
        int n = EVP_DecodeBlock(i->data, (const unsigned char *)text, (int)len);
        n -= n > 0 ? (text[len - 1] == '=') + (text[len - 2] == '=') : 0;
        uv_buf_t buf = uv_buf_init((char *)i->data, n > 0 ? (unsigned)n : 0);
        if (n <= 0 || uv_write(&i->write, (uv_stream_t *)&x->pipes[0], &buf, 1, on_written) < 0)
            free(i);
    }
    if (json_opt_bool(input, "eof", false) && !x->input_ended) {
        x->input_ended = true;
        x->shutdown.data = x;
        uv_shutdown(&x->shutdown, (uv_stream_t *)&x->pipes[0], NULL); /* after what is queued */
    }
}

static void on_kill(uv_timer_t *t)
{
    struct exec *x = t->data;
    if (!x->exited)
        uv_process_kill(&x->process, SIGKILL);
}

/* Whoever asked is gone: the command gets TERM (the runtime passes it on), then is killed. */
static void on_canceled(void *ctx)
{
    struct exec *x = ctx;
    x->canceled = true;
    if (x->paused)
        read_on(x);
    if (x->exited)
        return;
    uv_process_kill(&x->process, SIGTERM);
    uv_timer_start(&x->timer, on_kill, KILL_AFTER_MS, 0);
}

static int read_argv(const json_t *params, const char *argv[ARGV_MAX + 1], struct err *e)
{
    json_t *list;
    int r = json_get_array(params, "argv", &list, e);
    if (r < 0)
        return r;
    size_t n = json_array_size(list);
    if (n == 0 || n > ARGV_MAX)
        return err_set(e, ERR_USAGE, "a command has 1 to %d words", ARGV_MAX);
    for (size_t i = 0; i < n; i++)
        if (!(argv[i] = json_string_value(json_array_get(list, i))))
            return err_set(e, ERR_USAGE, "\"argv\" must hold strings");
    argv[n] = NULL;
    return 0;
}

/* The unit named, or the first of the module that runs. */
static struct agent_unit *choose(struct agent *a, const json_t *params, struct err *e)
{
    struct agent_unit *found[UNIT_SPECS_MAX > 64 ? 64 : UNIT_SPECS_MAX];
    size_t n = agent_select(a, params, found, ARRAY_SIZE(found), e);
    if (n == 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (found[i]->life.state == UNIT_READY)
            return found[i];
    for (size_t i = 0; i < n; i++)
        if (found[i]->pid)
            return found[i];
    err_set(e, ERR_UNAVAILABLE, "%s does not run (%s: %s)", found[0]->spec->name,
        unit_state_name(found[0]->life.state), found[0]->life.reason);
    return NULL;
}

static void open_handle(struct exec *x, uv_handle_t *h)
{
    h->data = x;
    x->open++;
}

static int spawn(struct agent *a, struct exec *x, char **argv)
{
    uv_loop_t *loop = a->cfg.loop;
    uv_stdio_container_t io[3];
    for (int i = 0; i < 3; i++) {
        uv_pipe_init(loop, &x->pipes[i], 0);
        open_handle(x, (uv_handle_t *)&x->pipes[i]);
        io[i].flags = UV_CREATE_PIPE | (i == 0 ? UV_READABLE_PIPE : UV_WRITABLE_PIPE);
        io[i].data.stream = (uv_stream_t *)&x->pipes[i];
    }
    uv_timer_init(loop, &x->timer);
    open_handle(x, (uv_handle_t *)&x->timer);
    uv_process_options_t o = {
        .file = argv[0], .args = argv, .exit_cb = on_exit_status, .stdio = io, .stdio_count = 3};
    open_handle(x, (uv_handle_t *)&x->process);
    return uv_spawn(loop, &x->process, &o);
}

static void fail_spawn(struct exec *x, int r, struct err *e)
{
    err_set(e, ERR_SYSTEM, "cannot start the command: %s", uv_strerror(r));
    rpc_reply_error(x->req, e);
    x->req = NULL;
    close_handle((uv_handle_t *)&x->process);
    close_handle((uv_handle_t *)&x->timer);
    for (int i = 0; i < 3; i++)
        close_handle((uv_handle_t *)&x->pipes[i]);
}

void agent_exec(struct agent *a, struct rpc_req *req, const json_t *params)
{
    struct err e = {0};
    const char *words[ARGV_MAX + 1];
    char **argv = NULL;
    struct agent_unit *u = choose(a, params, &e);
    if (!u || read_argv(params, words, &e) < 0
        || a->cfg.runtimes[u->spec->runtime]->exec_argv(
               &a->cfg.host, u->run_dir, u->spec->name, words, &argv, &e)
               < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct exec *x = xcalloc(1, sizeof *x);
    x->req = req;
    int r = spawn(a, x, argv);
    runtime_argv_free(argv);
    if (r < 0) {
        fail_spawn(x, r, &e);
        return;
    }
    rpc_req_watch(req, on_input, on_canceled, x);
    read_on(x);
}
