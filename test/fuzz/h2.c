/* SPDX-License-Identifier: Apache-2.0 */
/* A client's bytes, behind the preface: whatever comes, a request that is told of is whole and could be forwarded, the
 * calls of a stream come in order, and content never exceeds what the windows allow. Every third stream is answered at
 * once, with content in pieces. */
#include "proto/h2/h2.h"

#define STREAMS_MAX 256

struct stream {
    struct h2_head head; /* first */
    struct http_request request;
    char room[2 * HTTP_HEAD_MAX];
    int32_t id;
    bool used, told, ended, answered;
    size_t left; /* of the answer's content */
    uint64_t parked;
};

static struct stream streams[STREAMS_MAX];
static size_t n_open;

static struct h2_head *on_begin(void *ctx, int32_t id)
{
    for (size_t i = 0; i < STREAMS_MAX; i++) {
        struct stream *s = &streams[i];
        if (s->used)
            continue;
        s->used = true;
        s->told = s->ended = s->answered = false;
        s->id = id;
        s->left = 0;
        s->parked = 0;
        memset(&s->request, 0, sizeof s->request);
        s->head = (struct h2_head){.request = &s->request, .room = s->room, .cap = sizeof s->room};
        n_open++;
        return &s->head;
    }
    return NULL;
}

static void on_request(void *ctx, struct h2_head *head, enum http_reject reject, bool ended)
{
    static char buf[4 * HTTP_HEAD_MAX];
    struct stream *s = (struct stream *)head;
    ASSERT(s->used && !s->told);
    s->told = true;
    s->ended = ended;
    if (reject) {
        ASSERT(http_reject_status(reject) != 400);
        return;
    }
    const struct http_request *r = &s->request;
    ASSERT(r->method.len && r->authority.len && r->host.len && r->path.len);
    struct http_forward f = {.path = r->path, .client = {"192.0.2.1", 9}, .request_id = {"id", 2}};
    struct http_out o = {.p = buf, .cap = sizeof buf};
    http_request_forward(r, &f, &o);
    ASSERT(!o.full);
    if (r->fields.n > 90 || o.len >= HTTP_HEAD_MAX) /* with what is added it may be over the limits */
        return;
    size_t scanned = 0;
    static struct http_request again;
    ASSERT(http_request_parse(buf, o.len, &scanned, &again) == (int)o.len); /* one request, and all of it */
    ASSERT(again.framing == r->framing && again.content_length == r->content_length);
}

static void on_content(void *ctx, struct h2_head *head, const char *p, size_t len)
{
    struct stream *s = (struct stream *)head;
    ASSERT(s->used && s->told && !s->ended);
    s->parked += len;
    ASSERT(s->parked <= H2_STREAM_WINDOW);
}

static void on_ended(void *ctx, struct h2_head *head)
{
    struct stream *s = (struct stream *)head;
    ASSERT(s->used && s->told && !s->ended);
    s->ended = true;
}

static void on_closed(void *ctx, struct h2_head *head, uint32_t error)
{
    struct stream *s = (struct stream *)head;
    ASSERT(s->used);
    s->used = false;
    n_open--;
}

static struct http_text on_ready(void *ctx, struct h2_head *head, bool *last)
{
    static const char content[4096];
    struct stream *s = (struct stream *)head;
    size_t n = MIN(s->left, sizeof content);
    *last = n == s->left;
    return (struct http_text){content, n};
}

static void on_sent(void *ctx, struct h2_head *head, size_t len, bool last)
{
    struct stream *s = (struct stream *)head;
    ASSERT(s->used && len <= s->left);
    s->left -= len;
}

static void on_count(void *ctx, enum h2_event event)
{
}

static const struct h2_calls calls = {
    on_begin, on_request, on_content, on_ended, on_closed, on_ready, on_sent, on_count};

static void answer_some(struct h2 *h)
{
    static struct http_response r;
    r = (struct http_response){.status = 200, .minor = 1};
    struct http_forward f = {.request_id = {"id", 2}, .via = true};
    for (size_t i = 0; i < STREAMS_MAX; i++) {
        struct stream *s = &streams[i];
        if (!s->used || !s->told || s->id % 3 || s->answered)
            continue;
        s->answered = true;
        s->left = 10000;
        h2_answer(h, s->id, &r, &f, true);
    }
}

static void send_all(struct h2 *h)
{
    static char room[32768];
    while (h2_give(h, room, sizeof room))
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    memset(streams, 0, sizeof streams);
    n_open = 0;
    struct h2 *h = h2_new(&calls, NULL, NULL, 1);
    bool on = h2_take(h, H2_PREFACE, H2_PREFACE_LEN, 1);
    for (size_t at = 0; on && at < len;) {
        size_t n = MIN(len - at, (size_t)1 + data[at] * 8u);
        on = h2_take(h, (const char *)data + at, n, 1 + at);
        at += n;
        answer_some(h);
        send_all(h);
        ASSERT(n_open <= STREAMS_MAX);
    }
    h2_goodbye(h);
    send_all(h);
    h2_free(h);
    return 0;
}
