/* SPDX-License-Identifier: Apache-2.0 */
/* What one run of a function may say to the platform: HTTP/1.1 on a Unix socket that stands in that
 * container alone. Who asks is known by the socket, so nothing has to be proved and nothing can be
 * stolen; what may be asked is decided by control, by what the function's declaration allows. One
 * request a connection, a few connections at once, all of it bounded. */
#include "service/agent/priv.h"

#include "proto/http/http.h"

#include <errno.h>
#include <unistd.h>

#define CLIENTS_MAX 4u
#define ASKS_MAX 100u /* of one run */
#define BODY_MAX (16u * 1024)
#define BACKLOG 4

struct client {
    struct identity *of; /* NULL: its run has ended */
    struct client *next;
    uv_pipe_t pipe;
    uv_write_t write;
    size_t scanned;
    bool asked, closing, closed, waits; /* waits: control has its question */
    struct str in, out;
};

struct identity {
    struct agent *agent;
    uv_pipe_t *listen;
    struct client *clients;
    unsigned n_clients, asks;
    char function[UNIT_NAME_MAX + 1], run[80];
};

static void maybe_free(struct client *c)
{
    if (!c->closed || c->waits)
        return;
    str_done(&c->in);
    str_done(&c->out);
    free(c);
}

static void on_closed(uv_handle_t *h)
{
    struct client *c = h->data;
    c->closed = true;
    maybe_free(c);
}

static void close_client(struct client *c)
{
    if (c->closing)
        return;
    c->closing = true;
    if (c->of) {
        struct client **at = &c->of->clients;
        while (*at != c)
            at = &(*at)->next;
        *at = c->next;
        c->of->n_clients--;
        c->of = NULL;
    }
    uv_close((uv_handle_t *)&c->pipe, on_closed);
}

static void on_written(uv_write_t *w, int status)
{
    close_client(w->data);
}

static const char *reason_of(int status)
{
    return status == 200 ? "OK" : status == 403 ? "Forbidden" : status < 500 ? "Refused" : "Failed";
}

static void answer(struct client *c, int status, const json_t *body)
{
    _cleanup_free_ char *text = json_text(body);
    if (c->closing)
        return;
    str_clear(&c->out);
    str_addf(&c->out,
        "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
        "Connection: close\r\n\r\n%s\n",
        status, reason_of(status), strlen(text) + 1, text);
    uv_buf_t buf = uv_buf_init(c->out.buf, (unsigned)c->out.len);
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &buf, 1, on_written) < 0)
        close_client(c);
}

static void refuse(struct client *c, int status, const char *why)
{
    _cleanup_json_ json_t *body = json_pack("{s:s}", "error", why);
    c->asked = true;
    answer(c, status, body);
}

static void on_answer(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct client *c = ctx;
    if (more)
        return;
    c->waits = false;
    _cleanup_json_ json_t *failed = e ? json_pack("{s:s}", "error", e->message) : NULL;
    if (e)
        answer(c, 503, failed);
    else
        answer(c, (int)json_opt_int(result, "status", 500), json_object_get(result, "body"));
    maybe_free(c);
}

static void ask(struct client *c, const struct http_request *r, const json_t *body)
{
    struct agent *a = c->of->agent;
    c->asked = true;
    if (c->of->asks++ >= ASKS_MAX) {
        refuse(c, 429, "one run may ask a hundred times");
        return;
    }
    json_t *params = json_pack("{s:s,s:s,s:s%,s:s%,s:O}", "function", c->of->function, "run",
        c->of->run, "method", r->method.p, r->method.len, "path", r->target.p, r->target.len, "body",
        body);
    if (!params) {
        refuse(c, 400, "the target is no UTF-8");
        return;
    }
    c->waits = true;
    if (!a->cfg.function_ask || !a->cfg.function_ask(a->cfg.ctx, params, on_answer, c)) {
        c->waits = false;
        refuse(c, 503, "this host's control is not there: try again");
    }
}

/* All of it is here, or it is refused, or more is waited for. */
static void look(struct client *c)
{
    struct http_request r;
    int head = http_request_parse(str_cstr(&c->in), c->in.len, &c->scanned, &r);
    if (head < 0) {
        refuse(c, (int)http_reject_status((enum http_reject)-head),
            http_reject_text((enum http_reject)-head));
        return;
    }
    if (!head)
        return;
    size_t want = r.framing == HTTP_BODY_LENGTH ? r.content_length : 0;
    if (r.framing == HTTP_BODY_CHUNKED || want > BODY_MAX) {
        refuse(c, 413, "a body has a Content-Length of at most 16 KiB");
        return;
    }
    if (c->in.len < (size_t)head + want)
        return;
    _cleanup_json_ json_t *body = NULL;
    struct err e = {0};
    if (!want)
        body = json_object();
    else if (json_parse(c->in.buf + head, want, &body, &e) < 0 || !json_is_object(body)) {
        refuse(c, 400, "the body is no JSON object");
        return;
    }
    ask(c, &r, body);
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    static char room[4096]; /* one thread, and read at once */
    *buf = uv_buf_init(room, sizeof room);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = s->data;
    if (n < 0) {
        if (!c->asked)
            close_client(c);
        else
            uv_read_stop(s); /* it waits for its answer with its own side closed */
        return;
    }
    if (n == 0 || c->asked)
        return; /* what comes behind the one request is not looked at */
    str_add_mem(&c->in, buf->base, (size_t)n);
    if (c->in.len > HTTP_HEAD_MAX + BODY_MAX)
        refuse(c, 413, "too long");
    else
        look(c);
}

static void on_connection(uv_stream_t *s, int status)
{
    struct identity *i = s->data;
    if (status < 0)
        return;
    struct client *c = xcalloc(1, sizeof *c);
    uv_pipe_init(s->loop, &c->pipe, 0);
    c->pipe.data = c;
    bool full = i->n_clients >= CLIENTS_MAX;
    if (uv_accept(s, (uv_stream_t *)&c->pipe) < 0 || full) {
        close_client(c);
        return;
    }
    c->of = i;
    c->next = i->clients;
    i->clients = c;
    i->n_clients++;
    uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
}

int identity_open(struct agent *a, const char *dir, const json_t *params, struct identity **ret,
    struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/" RUNTIME_PLATFORM_SOCKET, dir);
    struct identity *i = xcalloc(1, sizeof *i);
    i->agent = a;
    str_copy(i->function, sizeof i->function, json_opt_str(params, "function", ""));
    str_copy(i->run, sizeof i->run, json_opt_str(params, "run", ""));
    i->listen = xmalloc(sizeof *i->listen);
    uv_pipe_init(a->cfg.loop, i->listen, 0);
    i->listen->data = i;
    int r = uv_pipe_bind(i->listen, path);
    if (r >= 0)
        r = uv_listen((uv_stream_t *)i->listen, BACKLOG, on_connection);
    if (r < 0) {
        identity_close(i);
        return err_set(e, ERR_SYSTEM, "listen on %s: %s", path, uv_strerror(r));
    }
    *ret = i;
    return 0;
}

void identity_close(struct identity *i)
{
    if (!i)
        return;
    while (i->clients)
        close_client(i->clients);
    uv_close((uv_handle_t *)i->listen, close_free);
    free(i);
}
