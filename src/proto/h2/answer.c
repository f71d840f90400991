/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. What we say. */
#include "proto/h2/priv.h"

#define FRAME_HEAD 9u
/* A client gives back a window at least once a frame; more often, and it wants to be noticed. */
#define WINDOWS_PER_FRAME 4u

ssize_t h2_on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
    nghttp2_data_source *source, void *ctx)
{
    struct h2 *h = ctx;
    bool last = false;
    struct http_text t = h->calls->ready(h->ctx, source->ptr, &last);
    if (!t.len && !last)
        return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (last && t.len <= len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)MIN(t.len, len);
}

int h2_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
    nghttp2_data_source *source, void *ctx)
{
    struct h2 *h = ctx;
    struct http_out *o = h->out;
    bool last = false;
    if (o->cap - o->len < len + FRAME_HEAD)
        return NGHTTP2_ERR_WOULDBLOCK;
    if (!nghttp2_session_get_stream_user_data(session, frame->hd.stream_id))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* it ended in between */
    struct http_text t = h->calls->ready(h->ctx, source->ptr, &last);
    if (t.len < len)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    http_out_mem(o, head, FRAME_HEAD);
    http_out_mem(o, t.p, len);
    h2_meter_earn(h, KIND_WINDOW, WINDOWS_PER_FRAME);
    h->calls->sent(h->ctx, source->ptr, len, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    return 0;
}

size_t h2_give(struct h2 *h, char *room, size_t cap)
{
    struct http_out o = {.p = room, .cap = cap};
    h->out = &o;
    while (o.cap - o.len >= H2_GIVE_MIN) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n <= 0) /* what goes wrong here is memory, or a window over 2^31 that was answered */
            break;
        http_out_mem(&o, p, (size_t)n);
    }
    h->out = NULL;
    ASSERT(!o.full);
    return o.len;
}

#define NV_MAX (HTTP_FIELDS_MAX + 8u)

struct fields {
    nghttp2_nv v[NV_MAX];
    size_t n;
    char status[4], length[20];
};

static void put(struct fields *f, const char *name, size_t name_len, struct http_text value)
{
    ASSERT(f->n < NV_MAX);
    f->v[f->n++] = (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name,
        .namelen = name_len,
        .value = (uint8_t *)(uintptr_t)value.p,
        .valuelen = value.len,
    };
}

#define PUT(f, name, value) put(f, name, sizeof(name) - 1, value)

static struct http_text digits(char *room, size_t size, uint64_t n)
{
    struct http_out o = {.p = room, .cap = size};
    http_out_u64(&o, n);
    return (struct http_text){room, o.len};
}

static void put_fields(struct fields *f, const struct http_response *r)
{
    for (size_t i = 0; i < r->fields.n; i++) {
        const struct http_field *field = &r->fields.v[i];
        if (!field->hop && !http_field_is_own(field))
            put(f, field->name.p, field->name.len, field->value);
    }
}

void h2_answer(struct h2 *h, int32_t id, const struct http_response *r,
    const struct http_forward *forward, bool content)
{
    struct fields f;
    f.n = 0;
    PUT(&f, ":status", digits(f.status, sizeof f.status, r->status));
    put_fields(&f, r);
    if (r->has_length)
        PUT(&f, "content-length", digits(f.length, sizeof f.length, r->content_length));
    if (r->status < 200) {
        nghttp2_submit_headers(h->session, NGHTTP2_FLAG_NONE, id, NULL, f.v, f.n, NULL);
        return;
    }
    if (forward->date.len && !http_fields_find(&r->fields, HTTP_FIELD_DATE))
        PUT(&f, "date", forward->date);
    PUT(&f, "x-request-id", forward->request_id);
    if (forward->via)
        PUT(&f, "via", ((struct http_text){r->minor ? "1.1 mcp" : "1.0 mcp", 7}));
    nghttp2_data_provider provider = {
        .source.ptr = nghttp2_session_get_stream_user_data(h->session, id),
        .read_callback = h2_on_read,
    };
    nghttp2_submit_response(h->session, id, f.v, f.n, content ? &provider : NULL);
}

void h2_resume(struct h2 *h, int32_t id)
{
    nghttp2_session_resume_data(h->session, id);
}

void h2_reset(struct h2 *h, int32_t id, uint32_t error)
{
    nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, id, error);
}

void h2_consume(struct h2 *h, int32_t id, size_t len)
{
    if (id)
        nghttp2_session_consume(h->session, id, len);
    else
        nghttp2_session_consume_connection(h->session, len);
}

void h2_leave(struct h2 *h)
{
    if (h->leaving)
        return;
    h->leaving = true;
    nghttp2_submit_shutdown_notice(h->session);
}

void h2_goodbye(struct h2 *h)
{
    h->leaving = true;
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
        nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR, NULL, 0);
}
