/* SPDX-License-Identifier: Apache-2.0 */
#include "base/curl/curl.h"

struct curl_loop {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    uv_timer_t reaper; /* completions are delivered from the loop, never from inside libcurl */
    struct curl_request *requests;
    bool freeing;
    int open_handles;
};

struct curl_request {
    struct curl_loop *owner;
    struct curl_request *next, *prev;
    CURL *easy;
    struct curl_slist *headers;
    struct str body;
    size_t max_body;
    curl_chunk_fn chunk;
    curl_done_fn done;
    void *ctx;
    bool in_chunk, canceled;
    char error[CURL_ERROR_SIZE];
};

struct socket_watch {
    uv_poll_t poll;
    struct curl_loop *owner;
    curl_socket_t fd;
};

static void check_done(struct curl_loop *c);

static void free_watch(uv_handle_t *h)
{
    free(CONTAINER_OF(h, struct socket_watch, poll));
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct socket_watch *w = CONTAINER_OF(poll, struct socket_watch, poll);
    struct curl_loop *c = w->owner;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    int running;
    curl_multi_socket_action(c->multi, w->fd, flags, &running);
    check_done(c);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    struct curl_loop *c = ctx;
    struct socket_watch *w = socket_ctx;
    if (what == CURL_POLL_REMOVE) {
        if (w) {
            uv_poll_stop(&w->poll);
            uv_close((uv_handle_t *)&w->poll, free_watch);
            curl_multi_assign(c->multi, fd, NULL);
        }
        return 0;
    }
    if (!w) {
        w = xcalloc(1, sizeof *w);
        w->owner = c;
        w->fd = fd;
        ASSERT(uv_poll_init(c->loop, &w->poll, fd) == 0);
        curl_multi_assign(c->multi, fd, w);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    uv_poll_start(&w->poll, events, on_poll);
    return 0;
}

static void on_timeout(uv_timer_t *t)
{
    struct curl_loop *c = CONTAINER_OF(t, struct curl_loop, timer);
    int running;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    check_done(c);
}

static int on_timer_wanted(CURLM *multi, long timeout_ms, void *ctx)
{
    struct curl_loop *c = ctx;
    if (c->freeing)
        return 0;
    if (timeout_ms < 0)
        uv_timer_stop(&c->timer);
    else
        uv_timer_start(&c->timer, on_timeout, (uint64_t)timeout_ms, 0);
    return 0;
}

static void unlink_request(struct curl_request *r)
{
    struct curl_loop *c = r->owner;
    if (r->prev)
        r->prev->next = r->next;
    else
        c->requests = r->next;
    if (r->next)
        r->next->prev = r->prev;
}

static void release(struct curl_request *r)
{
    unlink_request(r);
    curl_multi_remove_handle(r->owner->multi, r->easy);
    curl_easy_cleanup(r->easy);
    curl_slist_free_all(r->headers);
    str_done(&r->body);
    free(r);
}

static void finish(struct curl_request *r, CURLcode code)
{
    struct curl_done done = {.code = code,
        .body = &r->body,
        .error = code == CURLE_OK ? ""
                 : *r->error      ? r->error
                                  : curl_easy_strerror(code)};
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &done.status);
    r->done(r->ctx, &done);
    if (r->in_chunk)
        r->canceled = true;
    else
        release(r);
}

/* Hands a stream's new bytes over. The callback may cancel this or any other request. */
static void deliver_chunk(struct curl_request *r)
{
    struct str piece = r->body;
    r->body = STR_INIT;
    r->in_chunk = true;
    int result = r->chunk(r->ctx, piece.buf, piece.len);
    r->in_chunk = false;
    str_done(&piece);
    if (r->canceled)
        release(r);
    else if (result < 0)
        finish(r, CURLE_WRITE_ERROR);
}

static void deliver_chunks(struct curl_loop *c)
{
    for (bool again = true; again;) {
        again = false;
        for (struct curl_request *r = c->requests; r && !again; r = r->next)
            if (r->chunk && r->body.len && !r->in_chunk) {
                deliver_chunk(r);
                again = true; /* the list may have changed */
            }
    }
}

static void on_reap(uv_timer_t *t)
{
    struct curl_loop *c = CONTAINER_OF(t, struct curl_loop, reaper);
    deliver_chunks(c);
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left));)
        if (m->msg == CURLMSG_DONE) {
            struct curl_request *r = NULL;
            CURLcode code = m->data.result;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &r);
            finish(r, code);
        }
}

static void check_done(struct curl_loop *c)
{
    uv_timer_start(&c->reaper, on_reap, 0, 0);
}

int curl_loop_new(uv_loop_t *loop, struct curl_loop **ret, struct err *e)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(e, ERR_SYSTEM, "libcurl does not start");
    struct curl_loop *c = xcalloc(1, sizeof *c);
    c->loop = loop;
    c->multi = curl_multi_init();
    ASSERT(c->multi);
    uv_timer_init(loop, &c->timer);
    uv_timer_init(loop, &c->reaper);
    c->open_handles = 2;
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    *ret = c;
    return 0;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct curl_loop *c = h->data;
    if (--c->open_handles == 0)
        free(c);
}

void curl_loop_free(struct curl_loop *c)
{
    if (!c)
        return;
    c->freeing = true;
    while (c->requests)
        finish(c->requests, CURLE_ABORTED_BY_CALLBACK);
    curl_multi_cleanup(c->multi);
    c->timer.data = c->reaper.data = c;
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    uv_close((uv_handle_t *)&c->reaper, on_handle_closed);
}

void curl_loop_set_connections(struct curl_loop *c, long n)
{
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, n);
}

CURL *curl_easy_prepared(const char *url, long timeout_ms)
{
    CURL *easy = curl_easy_init();
    ASSERT(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L); /* a bundle may change under its name */
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    if (timeout_ms)
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    return easy;
}

static size_t on_data(char *data, size_t size, size_t n, void *ctx)
{
    struct curl_request *r = ctx;
    size_t len = size * n;
    if (r->body.len + len > r->max_body) {
        snprintf(r->error, sizeof r->error, "the response is larger than %zu bytes", r->max_body);
        return 0;
    }
    str_add_mem(&r->body, data, len);
    if (r->chunk) /* libcurl may not be called from inside its own callback: deliver from the loop
                   */
        check_done(r->owner);
    return len;
}

struct curl_request *curl_start(struct curl_loop *c, CURL *easy, struct curl_slist *headers,
    size_t max_body, curl_chunk_fn chunk, curl_done_fn done, void *ctx)
{
    struct curl_request *r = xcalloc(1, sizeof *r);
    *r = (struct curl_request){.owner = c,
        .next = c->requests,
        .easy = easy,
        .headers = headers,
        .max_body = max_body,
        .chunk = chunk,
        .done = done,
        .ctx = ctx};
    if (c->requests)
        c->requests->prev = r;
    c->requests = r;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, r);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, r->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
    if (headers)
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    ASSERT(curl_multi_add_handle(c->multi, easy) == CURLM_OK);
    return r;
}

void curl_cancel(struct curl_request *r)
{
    if (r->in_chunk)
        r->canceled = true;
    else
        release(r);
}
