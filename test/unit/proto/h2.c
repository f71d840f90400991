/* SPDX-License-Identifier: Apache-2.0 */
/* The codec on raw frames: what a client says, byte by byte, and which frames come back. */
#include "test.h"

#include "proto/h2/h2.h"

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
#define END_STREAM 1
#define ACK 1
#define END_HEADERS 4
#define STREAMS 128

struct stream {
    struct h2_head head; /* first */
    struct http_request request;
    char room[2 * HTTP_HEAD_MAX];
    int32_t id;
    bool used, told, ended;
    enum http_reject reject;
    size_t content, left;
    uint32_t closed;
};

static struct fixture {
    struct h2 *h;
    struct stream streams[STREAMS];
    size_t n, told, closed;
    size_t capacity;
    uint64_t events[H2_EVENT_COUNT];
    char in[1u << 20], out[1u << 20];
    size_t in_len, out_len, out_at;
    bool on;
    uint64_t now_ms;
} fx;

/* -- the application -------------------------------------------------------------------------------------- */

static struct h2_head *on_begin(void *ctx, int32_t id)
{
    struct stream *s = fx.n < fx.capacity ? &fx.streams[fx.n++] : NULL;
    if (!s)
        return NULL;
    *s = (struct stream){.used = true, .id = id};
    s->closed = UINT32_MAX;
    s->head = (struct h2_head){.request = &s->request, .room = s->room, .cap = sizeof s->room};
    return &s->head;
}

static void on_request(void *ctx, struct h2_head *head, enum http_reject reject, bool ended)
{
    struct stream *s = (struct stream *)head;
    assert_false(s->told);
    s->told = true;
    s->reject = reject;
    s->ended = ended;
    fx.told++;
}

static void on_content(void *ctx, struct h2_head *head, const char *p, size_t len)
{
    ((struct stream *)head)->content += len;
}

static void on_ended(void *ctx, struct h2_head *head)
{
    ((struct stream *)head)->ended = true;
}

static void on_closed(void *ctx, struct h2_head *head, uint32_t error)
{
    ((struct stream *)head)->closed = error;
    fx.closed++;
}

static struct http_text on_ready(void *ctx, struct h2_head *head, bool *last)
{
    static char content[65536];
    struct stream *s = (struct stream *)head;
    memset(content, 'c', sizeof content);
    size_t n = MIN(s->left, sizeof content);
    *last = n == s->left;
    return (struct http_text){content, n};
}

static void on_sent(void *ctx, struct h2_head *head, size_t len, bool last)
{
    ((struct stream *)head)->left -= len;
}

static void on_count(void *ctx, enum h2_event event)
{
    fx.events[event]++;
}

static const struct h2_calls calls = {
    on_begin, on_request, on_content, on_ended, on_closed, on_ready, on_sent, on_count};

/* -- frames ----------------------------------------------------------------------------------------------- */

static void put(const void *p, size_t len)
{
    assert_true(fx.in_len + len <= sizeof fx.in);
    memcpy(fx.in + fx.in_len, p, len);
    fx.in_len += len;
}

static void frame(uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t len)
{
    unsigned char head[9] = {(unsigned char)(len >> 16), (unsigned char)(len >> 8), (unsigned char)len, type, flags,
        (unsigned char)(id >> 24), (unsigned char)(id >> 16), (unsigned char)(id >> 8), (unsigned char)id};
    put(head, sizeof head);
    put(p, len);
}

/* "name: value" lines, as literals that nothing remembers. */
static size_t block(const char *lines, unsigned char *out)
{
    size_t n = 0;
    while (*lines) {
        const char *end = strchr(lines, '\n'), *colon = strstr(lines + 1, ": ");
        size_t name = (size_t)(colon - lines), value = (size_t)(end - colon) - 2;
        assert_true(name < 127 && value < 127);
        out[n++] = 0;
        out[n++] = (unsigned char)name;
        memcpy(out + n, lines, name);
        n += name;
        out[n++] = (unsigned char)value;
        memcpy(out + n, colon + 2, value);
        n += value;
        lines = end + 1;
    }
    return n;
}

static void heads(uint32_t id, uint8_t flags, const char *lines)
{
    unsigned char b[8192];
    frame(HEADERS, flags, id, b, block(lines, b));
}

#define GET ":method: GET\n:scheme: https\n:path: /a?b\n:authority: a.example\n"
#define POST ":method: POST\n:scheme: https\n:path: /\n:authority: a.example\n"

static void say(void)
{
    size_t n;
    if (fx.on)
        fx.on = h2_take(fx.h, fx.in, fx.in_len, fx.now_ms);
    fx.in_len = 0;
    while ((n = h2_give(fx.h, fx.out + fx.out_len, 32768)))
        fx.out_len += n;
}

/* The next frame of that type to that stream (-1: any) that came back: its content, or NULL. */
static const unsigned char *came(uint8_t type, int64_t id, size_t *len, uint8_t *flags)
{
    while (fx.out_at + 9 <= fx.out_len) {
        const unsigned char *f = (unsigned char *)fx.out + fx.out_at;
        size_t n = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
        uint32_t stream = (uint32_t)f[5] << 24 | (uint32_t)f[6] << 16 | (uint32_t)f[7] << 8 | f[8];
        fx.out_at += 9 + n;
        if (f[3] != type || (id >= 0 && stream != id))
            continue;
        if (len)
            *len = n;
        if (flags)
            *flags = f[4];
        return f + 9;
    }
    return NULL;
}

static uint32_t number(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void expect_reset(uint32_t id, uint32_t error)
{
    const unsigned char *p = came(RST_STREAM, id, NULL, NULL);
    if (!p || number(p) != error)
        fail_msg("stream %u: no RST_STREAM with %u", id, error);
}

static void expect_goaway(uint32_t error)
{
    const unsigned char *p = came(GOAWAY, 0, NULL, NULL);
    if (!p || number(p + 4) != error)
        fail_msg("no GOAWAY with %u", error);
}

static int start(void **state)
{
    h2_free(fx.h);
    memset(&fx, 0, sizeof fx);
    fx.now_ms = 1000;
    fx.capacity = STREAMS;
    fx.on = true;
    fx.h = h2_new(&calls, NULL, NULL, fx.now_ms);
    put(H2_PREFACE, H2_PREFACE_LEN);
    frame(SETTINGS, 0, 0, "", 0);
    say();
    frame(SETTINGS, ACK, 0, "", 0); /* ours are in force from here on */
    say();
    return 0;
}

static int stop(void **state)
{
    h2_free(fx.h);
    fx.h = NULL;
    return 0;
}

/* -- tests ------------------------------------------------------------------------------------------------ */

static void test_request(void **state)
{
    heads(1, END_HEADERS | END_STREAM, GET "cookie: a=1\ncookie: b=2\nte: trailers\nx: y\n");
    say();
    const struct stream *s = &fx.streams[0];
    assert_int_equal(fx.told, 1);
    assert_true(s->ended && !s->reject && s->request.h2);
    assert_true(http_text_is(s->request.path, "/a") && http_text_is(s->request.query, "b"));
    assert_true(http_text_is(s->request.host, "a.example"));
    assert_int_equal(s->request.framing, HTTP_BODY_NONE);
    char buf[4096];
    struct http_out o = {.p = buf, .cap = sizeof buf};
    struct http_forward f = {.path = s->request.path, .client = {"c", 1}, .request_id = {"i", 1}, .tls = true};
    http_request_forward(&s->request, &f, &o);
    buf[o.len] = '\0';
    assert_string_equal(buf, "GET /a?b HTTP/1.1\r\nHost: a.example\r\nx: y\r\nCookie: a=1; b=2\r\nX-Forwarded-For: c\r\n"
                             "X-Forwarded-Proto: https\r\nX-Request-Id: i\r\nVia: 2.0 mcp\r\n\r\n");
}

/* Each on a stream of its own: PROTOCOL_ERROR, the application hears of none. */
static const char *const malformed[] = {
    ":scheme: https\n:path: /\n:authority: a\n",
    ":method: GET\n:path: /\n:authority: a\n",
    ":method: GET\n:scheme: https\n:authority: a\n",
    ":method: GET\n:scheme: https\n:path: \n:authority: a\n",
    ":method: GET\n:scheme: https\n:path: x\n:authority: a\n",
    ":method: GET\n:scheme: https\n:path: *\n:authority: a\n",
    ":method: GET\n:scheme: https\n:path: /a b\n:authority: a\n",
    ":method: GET\n:scheme: https\n:path: /#a\n:authority: a\n",
    ":method: GET\n:scheme: ftp\n:path: /\n:authority: a\n",
    ":method: GET\n:scheme: https\n:path: /\n",
    ":method: GET\n:scheme: https\n:path: /\n:authority: u@a\n",
    ":method: GET\n:scheme: https\n:path: /\n:authority: \n",
    ":method: GET\n:method: GET\n:scheme: https\n:path: /\n:authority: a\n",
    ":method: GET\n:scheme: https\n:path: /\n:path: /\n:authority: a\n",
    ":status: 200\n" GET,
    ":unknown: x\n" GET,
    GET ":authority: a.example\n",
    ":method: GET\n:scheme: https\n:path: /\nx: y\n:authority: a\n",
    GET "connection: close\n",
    GET "keep-alive: 5\n",
    GET "proxy-connection: x\n",
    GET "transfer-encoding: chunked\n",
    GET "upgrade: h2c\n",
    GET "te: gzip\n",
    GET "te: trailers, deflate\n",
    GET "Upper: x\n",
    GET "b ad: x\n",
    GET "x: a\rb\n",
    GET "x:  lead\n",
    GET "x: trail \n",
    GET "host: b.example\n",
    GET "host: a.example\nhost: a.example\n",
    GET "content-length: 1\n",
    GET "content-length: 0\ncontent-length: 0\n",
    GET "content-length: +1\n",
    GET "content-length: 1, 1\n",
};

static void test_malformed(void **state)
{
    uint32_t id = 1;
    for (size_t i = 0; i < ARRAY_SIZE(malformed); i++, id += 2) {
        heads(id, END_HEADERS | END_STREAM, malformed[i]);
        say();
        if (fx.told)
            fail_msg("passed: %s", malformed[i]);
        expect_reset(id, NGHTTP2_PROTOCOL_ERROR);
    }
    assert_int_equal(fx.events[H2_MALFORMED], ARRAY_SIZE(malformed));
    heads(id, END_HEADERS | END_STREAM, GET); /* the connection lives */
    say();
    assert_int_equal(fx.told, 1);
}

static void test_refused_with_a_status(void **state)
{
    static const struct {
        const char *lines;
        enum http_reject reject;
    } rows[] = {
        {":method: BREW\n:scheme: https\n:path: /\n:authority: a\n", HTTP_REJECT_METHOD},
        {":method: PRI\n:scheme: https\n:path: /\n:authority: a\n", HTTP_REJECT_METHOD},
        {":method: TRACE\n:scheme: https\n:path: /\n:authority: a\n", HTTP_REJECT_TRACE_REFUSED},
        {GET "expect: 200-ok\n", HTTP_REJECT_EXPECT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        heads((uint32_t)(1 + 2 * i), END_HEADERS | END_STREAM, rows[i].lines);
        say();
        assert_int_equal(fx.told, i + 1);
        assert_int_equal(fx.streams[i].reject, rows[i].reject);
    }
}

static void test_too_many_fields(void **state)
{
    unsigned char b[16384];
    size_t n = block(GET, b);
    for (int i = 0; i < 120; i++)
        n += block("x: y\n", b + n);
    frame(HEADERS, END_HEADERS | END_STREAM, 1, b, n);
    say();
    assert_int_equal(fx.streams[0].reject, HTTP_REJECT_FIELD_COUNT);
}

/* A block of 64 KiB out of some bytes: each byte names one field of the dynamic table (HPACK bomb). */
static void test_head_that_grows(void **state)
{
    unsigned char b[16384];
    size_t n = block(GET, b);
    b[n++] = 0x40; /* remembered */
    b[n++] = 1;
    b[n++] = 'x';
    b[n++] = 0x7f;
    b[n++] = 0xf1;
    b[n++] = 0x16; /* 3,000 bytes */
    memset(b + n, 'v', 3056);
    n += 3056 - 0;
    size_t value = 127 + 0x71 + (0x16u << 7);
    n += value - 3056;
    memset(b + n - value, 'v', value);
    memset(b + n, 0xbe, 100);
    n += 100;
    frame(HEADERS, END_HEADERS | END_STREAM, 1, b, n);
    say();
    assert_int_equal(fx.told, 0);
    assert_int_equal(fx.events[H2_FLOOD_HEAD], 1);
    expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
}

static void test_head_without_end(void **state)
{
    unsigned char b[1024];
    size_t n = block(GET, b);
    frame(HEADERS, END_STREAM, 1, b, n);
    for (int i = 0; i < 1000 && fx.on; i++) {
        n = block("x: y\n", b);
        frame(CONTINUATION, 0, 1, b, n);
        say();
    }
    assert_false(fx.on);
    assert_int_equal(fx.told, 0);
    assert_int_equal(fx.events[H2_FLOOD_HEAD], 1);
}

static void test_content_and_windows(void **state)
{
    static char data[16384];
    heads(1, END_HEADERS, POST "content-length: 40000\n");
    frame(DATA, 0, 1, data, 16384);
    frame(DATA, 0, 1, data, 16384);
    frame(DATA, END_STREAM, 1, data, 40000 - 2 * 16384);
    say();
    const struct stream *s = &fx.streams[0];
    assert_int_equal(s->request.framing, HTTP_BODY_LENGTH);
    assert_int_equal(s->content, 40000);
    assert_true(s->ended);
    while (came(WINDOW_UPDATE, 1, NULL, NULL))
        fail_msg("a window was given back before the content was taken");
    fx.out_at = 0;
    heads(3, END_HEADERS, POST);
    for (int i = 0; i < 15; i++)
        frame(DATA, 0, 3, data, 16384);
    say();
    assert_int_equal(fx.streams[1].request.framing, HTTP_BODY_CHUNKED);
    h2_consume(fx.h, 3, 15 * 16384);
    say();
    assert_non_null(came(WINDOW_UPDATE, 3, NULL, NULL));
}

static void test_content_that_is_not_as_long_as_said(void **state)
{
    heads(1, END_HEADERS, POST "content-length: 5\n");
    frame(DATA, END_STREAM, 1, "four", 4);
    heads(3, END_HEADERS, POST "content-length: 3\n");
    frame(DATA, 0, 3, "four", 4);
    say();
    assert_false(fx.streams[0].ended || fx.streams[1].ended);
    expect_reset(1, NGHTTP2_PROTOCOL_ERROR);
    expect_reset(3, NGHTTP2_PROTOCOL_ERROR);
}

static void test_trailers(void **state)
{
    heads(1, END_HEADERS, POST);
    frame(DATA, 0, 1, "four", 4);
    heads(1, END_HEADERS | END_STREAM, "x-checksum: y\n");
    heads(3, END_HEADERS, POST);
    heads(3, END_HEADERS | END_STREAM, ":path: /\n");
    say();
    assert_true(fx.streams[0].ended && fx.streams[0].content == 4);
    assert_false(fx.streams[1].ended);
    expect_reset(3, NGHTTP2_PROTOCOL_ERROR);
}

static void answer(uint32_t id, size_t content)
{
    static struct http_response r;
    static const char head[] = "HTTP/1.1 200 OK\r\nX-Up: Value\r\nConnection: x-hop\r\nX-Hop: y\r\n\r\n";
    size_t scanned = 0;
    assert_true(http_response_parse(head, sizeof head - 1, &scanned, false, &r) > 0);
    struct http_forward f = {.request_id = {"id", 2}, .date = {"now", 3}, .via = true};
    fx.streams[0].left = content;
    h2_answer(fx.h, (int32_t)id, &r, &f, content);
    say();
}

static void test_answer(void **state)
{
    size_t len, sum = 0;
    uint8_t flags = 0;
    heads(1, END_HEADERS | END_STREAM, GET);
    say();
    answer(1, 100000);
    const unsigned char *p = came(HEADERS, 1, &len, &flags);
    assert_true(p && !(flags & END_STREAM));
    nghttp2_hd_inflater *inflater;
    nghttp2_nv nv;
    char text[512] = "";
    int more = 0;
    assert_int_equal(nghttp2_hd_inflate_new(&inflater), 0);
    for (ssize_t n; len && (n = nghttp2_hd_inflate_hd2(inflater, &nv, &more, p, len, 1)) >= 0; p += n, len -= (size_t)n)
        if (more & NGHTTP2_HD_INFLATE_EMIT)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s: %.*s\n", (int)nv.namelen, nv.name,
                (int)nv.valuelen, nv.value);
    nghttp2_hd_inflate_del(inflater);
    assert_string_equal(text, ":status: 200\nx-up: Value\ndate: now\nx-request-id: id\nvia: 1.1 mcp\n");
    while (came(DATA, 1, &len, &flags))
        sum += len;
    assert_int_equal(sum, 65535); /* the client's window */
    unsigned char more_window[4] = {0, 1, 0, 0};
    frame(WINDOW_UPDATE, 0, 1, more_window, 4);
    frame(WINDOW_UPDATE, 0, 0, more_window, 4);
    say();
    while (came(DATA, 1, &len, &flags))
        sum += len;
    assert_int_equal(sum, 100000);
    assert_true(flags & END_STREAM);
    assert_int_equal(fx.streams[0].closed, NGHTTP2_NO_ERROR);
}

static void test_resets(void **state)
{
    const unsigned char cancel[4] = {0, 0, 0, NGHTTP2_CANCEL};
    heads(1, END_HEADERS, POST);
    frame(RST_STREAM, 0, 1, cancel, 4);
    say();
    assert_int_equal(fx.streams[0].closed, NGHTTP2_CANCEL);
    heads(3, END_HEADERS, POST);
    say();
    h2_reset(fx.h, 3, NGHTTP2_INTERNAL_ERROR);
    say();
    expect_reset(3, NGHTTP2_INTERNAL_ERROR);
    assert_int_equal(fx.streams[1].closed, NGHTTP2_INTERNAL_ERROR);
}

/* Over and over what costs nothing to send; `n` is far more than a client has reason for. */
static void flood(int kind, uint32_t i)
{
    static const unsigned char cancel[4] = {0, 0, 0, NGHTTP2_CANCEL}, one[4] = {0, 0, 0, 1};
    uint32_t id = 3 + 2 * i;
    switch (kind) {
    case 0:
        heads(id, END_HEADERS | END_STREAM, GET);
        frame(RST_STREAM, 0, id, cancel, 4);
        fx.n = 0;
        break;
    case 1:
        frame(PING, 0, 0, "12345678", 8);
        break;
    case 2:
        frame(SETTINGS, 0, 0, "", 0);
        break;
    case 3:
        frame(DATA, 0, 1, "", 0);
        break;
    case 4:
        frame(WINDOW_UPDATE, 0, 0, one, 4);
        break;
    case 5:
        frame(PRIORITY, 0, 1, "\0\0\0\0\1", 5);
        break;
    default:
        heads(id, END_HEADERS | END_STREAM, ":method: GET\n");
        fx.n = 0;
        break;
    }
}

static void test_floods(void **state)
{
    static const enum h2_event events[] = {H2_FLOOD_RESETS, H2_FLOOD_PINGS, H2_FLOOD_SETTINGS, H2_FLOOD_EMPTY,
        H2_FLOOD_WINDOWS, H2_FLOOD_OTHER, H2_FLOOD_RESETS};
    for (int kind = 0; kind < (int)ARRAY_SIZE(events); kind++) {
        start(NULL);
        heads(1, END_HEADERS, POST);
        say();
        uint32_t i = 0;
        for (; i < 5000 && fx.on; i++) {
            flood(kind, i);
            say();
        }
        if (fx.on || fx.events[events[kind]] != 1)
            fail_msg("flood %d was not stopped", kind);
        expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
        assert_true(h2_over(fx.h));
        stop(NULL);
    }
    start(NULL); /* the same, slowly, is nobody's harm */
    heads(1, END_HEADERS, POST);
    for (uint32_t i = 0; i < 2000; i++) {
        fx.now_ms += 1000;
        flood(1, i);
        fx.out_len = 0;
        say();
    }
    assert_true(fx.on);
}

static void test_connection_errors(void **state)
{
    static const struct {
        uint8_t type, flags;
        uint32_t id;
        const char *p;
        size_t len;
        uint32_t error;
    } rows[] = {
        {DATA, 0, 0, "x", 1, NGHTTP2_PROTOCOL_ERROR},
        {DATA, 0, 5, "x", 1, NGHTTP2_PROTOCOL_ERROR}, /* an idle stream */
        {HEADERS, END_HEADERS, 2, "\x82", 1, NGHTTP2_PROTOCOL_ERROR},
        {HEADERS, END_HEADERS, 0, "\x82", 1, NGHTTP2_PROTOCOL_ERROR},
        {HEADERS, END_HEADERS, 1, "\xff\xff\xff\xff\xff\xff", 6, NGHTTP2_COMPRESSION_ERROR},
        {HEADERS, END_HEADERS, 1, "\xc6", 1, NGHTTP2_COMPRESSION_ERROR}, /* an index that is not there */
        {CONTINUATION, END_HEADERS, 1, "\x82", 1, NGHTTP2_PROTOCOL_ERROR},
        {RST_STREAM, 0, 7, "\0\0\0\1", 4, NGHTTP2_PROTOCOL_ERROR},
        {RST_STREAM, 0, 1, "\0", 1, NGHTTP2_FRAME_SIZE_ERROR},
        {PING, 0, 0, "1", 1, NGHTTP2_FRAME_SIZE_ERROR},
        {PING, 0, 1, "12345678", 8, NGHTTP2_PROTOCOL_ERROR},
        {SETTINGS, 0, 1, "", 0, NGHTTP2_PROTOCOL_ERROR},
        {SETTINGS, 0, 0, "1", 1, NGHTTP2_FRAME_SIZE_ERROR},
        {SETTINGS, ACK, 0, "123456", 6, NGHTTP2_FRAME_SIZE_ERROR},
        {SETTINGS, 0, 0, "\0\4\x80\0\0\0", 6, NGHTTP2_FLOW_CONTROL_ERROR},
        {SETTINGS, 0, 0, "\0\2\0\0\0\2", 6, NGHTTP2_PROTOCOL_ERROR},
        {WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4, NGHTTP2_PROTOCOL_ERROR},
        {WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4, NGHTTP2_FLOW_CONTROL_ERROR},
        {PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2\x82", 5, NGHTTP2_PROTOCOL_ERROR},
        {GOAWAY, 0, 1, "\0\0\0\0\0\0\0\0", 8, NGHTTP2_PROTOCOL_ERROR},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        start(NULL);
        frame(rows[i].type, rows[i].flags, rows[i].id, rows[i].p, rows[i].len);
        say();
        const unsigned char *p = came(GOAWAY, 0, NULL, NULL);
        if (!p || number(p + 4) != rows[i].error)
            fail_msg("row %zu: %u instead of %u", i, p ? number(p + 4) : 0, rows[i].error);
        assert_int_equal(fx.told, 0);
        stop(NULL);
    }
    start(NULL);
}

static void test_room_and_drain(void **state)
{
    fx.capacity = 1;
    heads(1, END_HEADERS, POST);
    heads(3, END_HEADERS | END_STREAM, GET);
    say();
    expect_reset(3, NGHTTP2_REFUSED_STREAM);
    assert_int_equal(fx.events[H2_REFUSED], 1);
    fx.capacity = STREAMS;
    h2_leave(fx.h);
    heads(5, END_HEADERS | END_STREAM, GET); /* was on its way */
    say();
    assert_int_equal(number(came(GOAWAY, 0, NULL, NULL)), 0x7fffffff);
    assert_int_equal(fx.told, 2);
    h2_goodbye(fx.h);
    say();
    assert_int_equal(number(came(GOAWAY, 0, NULL, NULL)), 5);
    heads(7, END_HEADERS | END_STREAM, GET);
    say();
    assert_int_equal(fx.told, 2);
    assert_false(h2_over(fx.h)); /* two streams are open */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
    const struct CMUnitTest tests[] = {
        T(test_request),
        T(test_malformed),
        T(test_refused_with_a_status),
        T(test_too_many_fields),
        T(test_head_that_grows),
        T(test_head_without_end),
        T(test_content_and_windows),
        T(test_content_that_is_not_as_long_as_said),
        T(test_trailers),
        T(test_answer),
        T(test_resets),
        T(test_floods),
        T(test_connection_errors),
        T(test_room_and_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
