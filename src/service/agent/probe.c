/* SPDX-License-Identifier: Apache-2.0 */
/* One probe of one unit: an HTTP/1.1 GET (200 to 399 is well), a TCP connection, or a command inside the unit (exit 0
 * is well). A database's server speaks first, so that it is well only when it does: the kernel accepts connections for
 * one that is frozen too. It holds its own copy of all it needs: the unit may change under it. */
#include "service/agent/priv.h"

#include "base/units/units.h"

#include <signal.h>

#define ANSWER_MAX 512 /* enough for a status line */

struct probe {
    probe_done_fn done;
    void *ctx;
    enum probe_kind kind;
    bool greets; /* its first words are awaited */
    uint64_t timeout_ms;
    unsigned open; /* handles that are not closed yet */
    bool closing;
    uv_timer_t timer;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    uv_process_t process;
    char *request;
    char answer[ANSWER_MAX + 1];
    size_t len;
};

static void on_closed(uv_handle_t *h)
{
    struct probe *p = h->data;
    if (--p->open == 0) {
        free(p->request);
        free(p);
    }
}

static void close_handle(uv_handle_t *h)
{
    if (h->data && !uv_is_closing(h))
        uv_close(h, on_closed);
}

static void close_all(struct probe *p)
{
    p->closing = true;
    close_handle((uv_handle_t *)&p->timer);
    close_handle((uv_handle_t *)&p->tcp);
    close_handle((uv_handle_t *)&p->process);
}

static void opened(struct probe *p, uv_handle_t *h)
{
    h->data = p;
    p->open++;
}

static void finish(struct probe *p, const char *text)
{
    if (p->closing)
        return;
    close_all(p);
    p->done(p->ctx, text);
}

static void on_timeout(uv_timer_t *t)
{
    struct probe *p = t->data;
    char limit[UNITS_TEXT_SIZE], text[UNITS_TEXT_SIZE + 32];
    units_format_duration(p->timeout_ms, limit);
    snprintf(text, sizeof text, "no answer within %s", limit);
    if (p->kind == PROBE_EXEC && p->process.data)
        uv_process_kill(&p->process, SIGKILL);
    finish(p, text);
}

/* RFC 9112 §4: HTTP-version SP status-code SP */
static void judge(struct probe *p)
{
    char text[64];
    unsigned status = 0;
    p->answer[p->len] = '\0';
    if (p->len < 12 || strncmp(p->answer, "HTTP/1.", 7) != 0 || p->answer[8] != ' ')
        snprintf(text, sizeof text, "the answer is not HTTP");
    else
        status = (unsigned)strtoul(p->answer + 9, NULL, 10);
    if (status >= 200 && status < 400) {
        finish(p, NULL);
        return;
    }
    if (status)
        snprintf(text, sizeof text, "HTTP %u", status);
    finish(p, text);
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    struct probe *p = h->data;
    *buf = uv_buf_init(p->answer + p->len, (unsigned)(ANSWER_MAX - p->len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct probe *p = s->data;
    if (p->closing || n == 0)
        return;
    if (n < 0 && n != UV_EOF) {
        finish(p, uv_strerror((int)n));
        return;
    }
    p->len += n > 0 ? (size_t)n : 0;
    if (p->greets)
        finish(p, p->len ? NULL : "it ends the connection without a word");
    else if (n == UV_EOF || p->len == ANSWER_MAX || memchr(p->answer, '\n', p->len))
        judge(p);
}

static void on_written(uv_write_t *w, int status)
{
    struct probe *p = w->data;
    if (status < 0 && status != UV_ECANCELED)
        finish(p, uv_strerror(status));
}

static void on_connected(uv_connect_t *c, int status)
{
    struct probe *p = c->data;
    if (p->closing)
        return;
    if (status < 0 || (p->kind == PROBE_TCP && !p->greets)) {
        finish(p, status < 0 ? uv_strerror(status) : NULL);
        return;
    }
    if (p->greets) {
        uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
        return;
    }
    uv_buf_t buf = uv_buf_init(p->request, (unsigned)strlen(p->request));
    p->write.data = p;
    uv_write(&p->write, (uv_stream_t *)&p->tcp, &buf, 1, on_written);
    uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
}

static void on_exit_status(uv_process_t *h, int64_t status, int sig)
{
    struct probe *p = h->data;
    char text[64];
    if (sig)
        snprintf(text, sizeof text, "the command was killed by signal %d", sig);
    else
        snprintf(text, sizeof text, "the command exits with %lld", (long long)status);
    finish(p, status == 0 && sig == 0 ? NULL : text);
}

static int begin_tcp(struct probe *p, uv_loop_t *loop, const struct agent_unit *u)
{
    struct sockaddr_storage to;
    socklen_t len;
    char address[IP_TEXT_SIZE];
    ip_format(&u->address, address);
    ip_to_sockaddr(&u->address, u->spec->port, &to, &len);
    p->request =
        xasprintf("GET %s HTTP/1.1\r\nHost: %s:%u\r\nUser-Agent: mcp-probe\r\nAccept: */*\r\n"
                  "Connection: close\r\n\r\n",
            u->spec->probe.path, address, u->spec->port);
    int r = uv_tcp_init(loop, &p->tcp);
    if (r < 0)
        return r;
    opened(p, (uv_handle_t *)&p->tcp);
    p->connect.data = p;
    return uv_tcp_connect(&p->connect, &p->tcp, (struct sockaddr *)&to, on_connected);
}

static int begin_exec(struct probe *p, struct agent *a, const struct agent_unit *u)
{
    char **argv;
    struct err e;
    const struct runtime_ops *ops = a->cfg.runtimes[u->spec->runtime];
    if (ops->exec_argv(&a->cfg.host, u->run_dir, u->spec->name, u->spec->probe.command, &argv, &e)
        < 0)
        return UV_EINVAL;
    uv_stdio_container_t none[3] = {
        {.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_IGNORE}};
    uv_process_options_t o = {
        .file = argv[0], .args = argv, .exit_cb = on_exit_status, .stdio = none, .stdio_count = 3};
    opened(p, (uv_handle_t *)&p->process); /* to be closed even when the spawn fails */
    int r = uv_spawn(a->cfg.loop, &p->process, &o);
    runtime_argv_free(argv);
    return r;
}

/* So that the callback never comes from inside probe_start(). */
static void on_failed_begin(uv_timer_t *t)
{
    finish(t->data, "the probe could not be made");
}

struct probe *probe_start(
    struct agent *a, const struct agent_unit *u, probe_done_fn done, void *ctx)
{
    struct probe *p = xcalloc(1, sizeof *p);
    p->done = done;
    p->ctx = ctx;
    p->kind = u->spec->probe.kind;
    p->greets = p->kind == PROBE_TCP && u->spec->engine;
    p->timeout_ms = u->spec->probe.timeout_ms;
    uv_timer_init(a->cfg.loop, &p->timer);
    opened(p, (uv_handle_t *)&p->timer);
    uv_update_time(a->cfg.loop);
    uv_timer_start(&p->timer, on_timeout, p->timeout_ms, 0);
    int r = p->kind == PROBE_EXEC ? begin_exec(p, a, u) : begin_tcp(p, a->cfg.loop, u);
    if (r < 0)
        uv_timer_start(&p->timer, on_failed_begin, 0, 0);
    return p;
}

void probe_drop(struct probe *p)
{
    if (!p || p->closing)
        return;
    if (p->kind == PROBE_EXEC && p->process.data)
        uv_process_kill(&p->process, SIGKILL);
    close_all(p);
}
