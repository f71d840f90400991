/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. What a client says. */
#include "proto/h2/priv.h"

#include <pthread.h>

/* Names, values and what each costs besides, of one head: above it the client is not talking to us. */
#define DECODED_MAX (4u * HTTP_HEAD_MAX)
#define FIELD_COST 32u /* RFC 9113 section 6.5.2 */
#define HPACK_TABLE 4096u
#define ACKS_MAX 100u /* answers to PING and SETTINGS that a client leaves unread */

static struct h2_head *head_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
    struct h2 *h = ctx;
    switch (hd->type) {
    case NGHTTP2_DATA:
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_GOAWAY:
        break;
    case NGHTTP2_RST_STREAM:
        h->calls->count(h->ctx, H2_RESETS);
        h2_meter(h, KIND_RESET);
        break;
    case NGHTTP2_SETTINGS:
        h2_meter(h, KIND_SETTINGS);
        break;
    case NGHTTP2_PING:
        h2_meter(h, KIND_PING);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        h2_meter(h, KIND_WINDOW);
        break;
    default:
        h2_meter(h, KIND_OTHER);
        break;
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2 *h = ctx;
    int32_t id = frame->hd.stream_id;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct h2_head *head = h->calm ? NULL : h->calls->begin(h->ctx, id);
    if (!head) {
        h->calls->count(h->ctx, H2_REFUSED);
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    h->calls->count(h->ctx, H2_STREAMS);
    head->used = head->decoded = 0;
    head->pseudo = (struct http_pseudo){0};
    head->reject = HTTP_REJECT_NONE;
    head->regular = head->told = false;
    nghttp2_session_set_stream_user_data(session, id, head);
    return 0;
}

/* A copy that lives as long as the head. */
static bool keep(struct h2_head *head, nghttp2_rcbuf *buf, struct http_text *ret)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(buf);
    if (v.len > head->cap - head->used)
        return false;
    char *p = head->room + head->used;
    memcpy(p, v.base, v.len);
    head->used += v.len;
    *ret = (struct http_text){p, v.len};
    return true;
}

static enum http_reject put_pseudo(
    struct h2_head *head, struct http_text name, struct http_text value)
{
    static const struct {
        const char *name;
        size_t offset;
    } known[] = {
        {":method", offsetof(struct http_pseudo, method)},
        {":scheme", offsetof(struct http_pseudo, scheme)},
        {":authority", offsetof(struct http_pseudo, authority)},
        {":path", offsetof(struct http_pseudo, path)},
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        struct http_text *t = (struct http_text *)((char *)&head->pseudo + known[i].offset);
        if (!http_text_is(name, known[i].name))
            continue;
        if (t->p || head->regular)
            return HTTP_REJECT_PSEUDO;
        *t = value;
        return HTTP_REJECT_NONE;
    }
    return HTTP_REJECT_PSEUDO;
}

static enum http_reject put_field(struct h2_head *head, nghttp2_rcbuf *name, nghttp2_rcbuf *value)
{
    struct http_text n, v;
    if (head->decoded > HTTP_HEAD_MAX || !keep(head, name, &n) || !keep(head, value, &v))
        return HTTP_REJECT_HEAD_SIZE;
    if (n.len && n.p[0] == ':')
        return put_pseudo(head, n, v);
    head->regular = true;
    return http_field_put(&head->request->fields, n, v);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
    nghttp2_rcbuf *value, uint8_t flags, void *ctx)
{
    struct h2 *h = ctx;
    struct h2_head *head = head_of(session, frame->hd.stream_id);
    if (!head)
        return 0;
    head->decoded +=
        nghttp2_rcbuf_get_buf(name).len + nghttp2_rcbuf_get_buf(value).len + FIELD_COST;
    if (head->decoded > DECODED_MAX) {
        h2_calm(h, H2_FLOOD_HEAD);
        return 0;
    }
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) /* trailers: nobody asked for them */
        return 0;
    if (!head->reject)
        head->reject = put_field(head, name, value);
    return 0;
}

/* Bytes that a value may not have: nghttp2 would leave the field out, we leave the request out. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
    nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *ctx)
{
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void head_whole(struct h2 *h, struct h2_head *head, const nghttp2_frame *frame)
{
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    enum http_reject r = head->reject;
    if (!r)
        r = http_request_from_pseudo(&head->pseudo, ended, head->request);
    if (r && http_reject_status(r) == 400) {
        h2_reset(h, frame->hd.stream_id, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    head->told = true;
    h->calls->request(h->ctx, head, r, ended);
}

static bool is_empty(const nghttp2_frame *frame)
{
    return frame->hd.length <= frame->data.padlen && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2 *h = ctx;
    struct h2_head *head = head_of(session, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_DATA && is_empty(frame))
        h2_meter(h, KIND_EMPTY);
    if (!head || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        head_whole(h, head, frame);
    else if (head->told && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        h->calls->ended(h->ctx, head);
    return 0;
}

static int on_content(
    nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t len, void *ctx)
{
    struct h2 *h = ctx;
    struct h2_head *head = head_of(session, id);
    if (head && head->told)
        h->calls->content(h->ctx, head, (const char *)p, len);
    else
        nghttp2_session_consume(session, id, len);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *ctx)
{
    struct h2 *h = ctx;
    struct h2_head *head = head_of(session, id);
    if (!head)
        return 0;
    if (error == NGHTTP2_PROTOCOL_ERROR) {
        h->calls->count(h->ctx, H2_MALFORMED);
        h2_meter(h, KIND_RESET);
    }
    nghttp2_session_set_stream_user_data(session, id, NULL);
    h->calls->closed(h->ctx, head, error);
    return 0;
}

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;

/* The same for all sessions. */
static void make_tables(void)
{
    ASSERT(!nghttp2_session_callbacks_new(&callbacks) && !nghttp2_option_new(&options));
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_content);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, h2_on_send_data);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(options, HPACK_TABLE);
    nghttp2_option_set_max_outbound_ack(options, ACKS_MAX);
    nghttp2_option_set_no_closed_streams(options, 1);
}

struct h2 *h2_new(const struct h2_calls *calls, void *ctx, nghttp2_mem *mem, uint64_t now_ms)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEAD_MAX},
        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, HPACK_TABLE},
        /* RFC 9218: the tree of dependencies is a client's to shape and ours to walk */
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    pthread_once(&once, make_tables);
    struct h2 *h = xcalloc(1, sizeof *h);
    *h = (struct h2){.calls = calls, .ctx = ctx, .now_ms = now_ms};
    h2_meters_init(h);
    ASSERT(!nghttp2_session_server_new3(&h->session, callbacks, h, options, mem));
    ASSERT(!nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings)));
    ASSERT(!nghttp2_session_set_local_window_size(
        h->session, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW));
    return h;
}

void h2_free(struct h2 *h)
{
    if (!h)
        return;
    nghttp2_session_del(h->session);
    free(h);
}

bool h2_take(struct h2 *h, const char *p, size_t len, uint64_t now_ms)
{
    h->now_ms = now_ms;
    if (h->calm)
        return false;
    ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)p, len);
    if (n >= 0)
        return !h->calm && nghttp2_session_want_read(h->session);
    if (n == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
        h2_calm(h, H2_FLOOD_HEAD);
        return false;
    }
    h->calls->count(h->ctx, n == NGHTTP2_ERR_FLOODED ? H2_FLOOD_PINGS : H2_ERRORS);
    h->calm = true;
    nghttp2_session_terminate_session(
        h->session, n == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
    return false;
}

bool h2_over(const struct h2 *h)
{
    return !nghttp2_session_want_write(h->session)
           && (h->calm || !nghttp2_session_want_read(h->session));
}
