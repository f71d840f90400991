/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and bodies that two parties could read differently, one row a trick; RFC 9112 section 11 and what has been
 * found in proxies since. A row that is accepted says what must have been understood. */
#include "test.h"

#include "proto/http/http.h"

#define H "Host: a.example\r\n"

static const struct {
    const char *name;
    const char *head;
    enum http_reject reject; /* 0: accepted */
    enum http_framing framing;
    uint64_t length;
} requests[] = {
    {"plain", "GET / HTTP/1.1\r\n" H "\r\n"},
    {"one empty line in front", "\r\nGET / HTTP/1.1\r\n" H "\r\n"},
    {"two empty lines in front", "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_START_LINE},
    {"length", "POST / HTTP/1.1\r\n" H "Content-Length: 12\r\n\r\n", 0, HTTP_BODY_LENGTH, 12},
    {"length zero", "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 0, HTTP_BODY_NONE},
    {"length on GET", "GET / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\n", 0, HTTP_BODY_LENGTH, 3},
    {"chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 0, HTTP_BODY_CHUNKED},
    {"Chunked in capitals", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: CHUNKED\r\n\r\n", 0,
        HTTP_BODY_CHUNKED},
    {"blanks around a value", "POST / HTTP/1.1\r\n" H "Content-Length:\t 12  \r\n\r\n", 0,
        HTTP_BODY_LENGTH, 12},
    {"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n"},

    {"CL.TE", "POST / HTTP/1.1\r\n" H "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        HTTP_REJECT_LENGTH_AND_CODING},
    {"TE.CL", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
        HTTP_REJECT_LENGTH_AND_CODING},
    {"CL 0 and TE",
        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        HTTP_REJECT_LENGTH_AND_CODING},
    {"two lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 4\r\nContent-Length: 5\r\n\r\n",
        HTTP_REJECT_LENGTH_REPEATED},
    {"two equal lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 4\r\nContent-Length: 4\r\n\r\n",
        HTTP_REJECT_LENGTH_REPEATED},
    {"length list", "POST / HTTP/1.1\r\n" H "Content-Length: 4, 4\r\n\r\n",
        HTTP_REJECT_LENGTH_INVALID},
    {"length with sign", "POST / HTTP/1.1\r\n" H "Content-Length: +4\r\n\r\n",
        HTTP_REJECT_LENGTH_INVALID},
    {"negative length", "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n",
        HTTP_REJECT_LENGTH_INVALID},
    {"hex length", "POST / HTTP/1.1\r\n" H "Content-Length: 0x10\r\n\r\n",
        HTTP_REJECT_LENGTH_INVALID},
    {"octal-looking length", "POST / HTTP/1.1\r\n" H "Content-Length: 010\r\n\r\n",
        HTTP_REJECT_LENGTH_INVALID},
    {"empty length", "POST / HTTP/1.1\r\n" H "Content-Length: \r\n\r\n",
        HTTP_REJECT_LENGTH_INVALID},
    {"length with inner blank", "POST / HTTP/1.1\r\n" H "Content-Length: 1 2\r\n\r\n",
        HTTP_REJECT_LENGTH_INVALID},
    {"length of 2^64", "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551616\r\n\r\n",
        HTTP_REJECT_LENGTH_INVALID},
    {"length in quotes", "POST / HTTP/1.1\r\n" H "Content-Length: \"4\"\r\n\r\n",
        HTTP_REJECT_LENGTH_INVALID},
    {"gzip, chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n",
        HTTP_REJECT_CODING},
    {"chunked, identity", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, identity\r\n\r\n",
        HTTP_REJECT_CODING},
    {"identity", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", HTTP_REJECT_CODING},
    {"xchunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", HTTP_REJECT_CODING},
    {"chunked twice",
        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        HTTP_REJECT_CODING},
    {"chunked, chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n",
        HTTP_REJECT_CODING},
    {"chunked with comma", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: ,chunked\r\n\r\n",
        HTTP_REJECT_CODING},
    {"chunked in quotes", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n",
        HTTP_REJECT_CODING},
    {"chunked with parameter", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;q=1\r\n\r\n",
        HTTP_REJECT_CODING},
    {"empty coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n", HTTP_REJECT_CODING},
    {"vertical tab before chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \vchunked\r\n\r\n",
        HTTP_REJECT_CONTROL_BYTE},
    {"form feed before chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \fchunked\r\n\r\n",
        HTTP_REJECT_CONTROL_BYTE},
    {"coding folded", "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n chunked\r\n\r\n",
        HTTP_REJECT_FOLDED},
    {"coding in HTTP/1.0", "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n",
        HTTP_REJECT_CODING_VERSION},
    {"blank before colon", "POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n",
        HTTP_REJECT_FIELD_NAME},
    {"tab before colon", "POST / HTTP/1.1\r\n" H "Content-Length\t: 4\r\n\r\n",
        HTTP_REJECT_FIELD_NAME},
    {"blank before name", "POST / HTTP/1.1\r\n" H " Content-Length: 4\r\n\r\n", HTTP_REJECT_FOLDED},
    {"first field folded", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", HTTP_REJECT_FOLDED},
    {"fold with tab", "GET / HTTP/1.1\r\n" H "X: 1\r\n\t2\r\n\r\n", HTTP_REJECT_FOLDED},
    {"line of a blank", "GET / HTTP/1.1\r\n" H "X: 1\r\n \r\n\r\n", HTTP_REJECT_FOLDED},
    {"field without name", "GET / HTTP/1.1\r\n" H ": 1\r\n\r\n", HTTP_REJECT_FIELD_NAME},
    {"field without colon", "GET / HTTP/1.1\r\n" H "nonsense\r\n\r\n", HTTP_REJECT_FIELD_NAME},
    {"name with parenthesis", "GET / HTTP/1.1\r\n" H "X(y): 1\r\n\r\n", HTTP_REJECT_FIELD_NAME},
    {"name with obs-text", "GET / HTTP/1.1\r\n" H "X\xc3\xa9: 1\r\n\r\n", HTTP_REJECT_FIELD_NAME},
    {"bare LF ends a line", "GET / HTTP/1.1\n" H "\r\n", HTTP_REJECT_BARE_LF},
    {"bare LF in the fields", "GET / HTTP/1.1\r\n" H "X: 1\nTransfer-Encoding: chunked\r\n\r\n",
        HTTP_REJECT_BARE_LF},
    {"LF LF", "GET / HTTP/1.1\r\n" H "\n", HTTP_REJECT_BARE_LF},
    {"bare CR in a value", "GET / HTTP/1.1\r\n" H "X: 1\rTransfer-Encoding: chunked\r\n\r\n",
        HTTP_REJECT_BARE_CR},
    {"CR CR LF", "GET / HTTP/1.1\r\n" H "X: 1\r\r\n\r\n", HTTP_REJECT_BARE_CR},
    {"DEL in a value", "GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n", HTTP_REJECT_CONTROL_BYTE},

    {"no Host", "GET / HTTP/1.1\r\nX: 1\r\n\r\n", HTTP_REJECT_HOST_MISSING},
    {"two Hosts", "GET / HTTP/1.1\r\n" H "Host: b.example\r\n\r\n", HTTP_REJECT_HOST_REPEATED},
    {"two equal Hosts", "GET / HTTP/1.1\r\n" H H "\r\n", HTTP_REJECT_HOST_REPEATED},
    {"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\n" H H "\r\n", HTTP_REJECT_HOST_REPEATED},
    {"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", HTTP_REJECT_HOST_INVALID},
    {"Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HTTP_REJECT_HOST_INVALID},
    {"Host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HTTP_REJECT_HOST_INVALID},
    {"Host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HTTP_REJECT_HOST_INVALID},
    {"Host with bad port", "GET / HTTP/1.1\r\nHost: a:80x\r\n\r\n", HTTP_REJECT_HOST_INVALID},
    {"absolute, same", "GET http://a.example/x?y HTTP/1.1\r\n" H "\r\n"},
    {"absolute, capitals", "GET HTTP://A.example HTTP/1.1\r\n" H "\r\n"},
    {"absolute, other host", "GET http://b.example/x HTTP/1.1\r\n" H "\r\n",
        HTTP_REJECT_HOST_MISMATCH},
    {"absolute, other port", "GET http://a.example:81/x HTTP/1.1\r\n" H "\r\n",
        HTTP_REJECT_HOST_MISMATCH},
    {"absolute, user", "GET http://u@a.example/x HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_HOST_MISMATCH},
    {"absolute without Host", "GET http://a.example/x HTTP/1.1\r\n\r\n", HTTP_REJECT_HOST_MISSING},
    {"absolute of another scheme", "GET ftp://a.example/x HTTP/1.1\r\n" H "\r\n",
        HTTP_REJECT_TARGET},
    {"no slash", "GET x HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_TARGET},
    {"asterisk with GET", "GET * HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_TARGET},
    {"asterisk with OPTIONS", "OPTIONS * HTTP/1.1\r\n" H "\r\n"},
    {"fragment", "GET /x#y HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_TARGET},
    {"obs-text in the target", "GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_TARGET},
    {"quote in the target", "GET /\" HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_TARGET},

    {"two blanks", "GET  / HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_START_LINE},
    {"two blanks behind", "GET /  HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_START_LINE},
    {"blank at the end", "GET / HTTP/1.1 \r\n" H "\r\n", HTTP_REJECT_START_LINE},
    {"blank in front", " GET / HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_METHOD},
    {"tab between", "GET\t/ HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_METHOD},
    {"blank in the target", "GET /a b HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_START_LINE},
    {"two requests in a line", "GET / HTTP/1.1 GET / HTTP/1.1\r\n" H "\r\n",
        HTTP_REJECT_START_LINE},
    {"HTTP/0.9", "GET /\r\n" H "\r\n", HTTP_REJECT_START_LINE},
    {"HTTP/0.9 with version", "GET / HTTP/0.9\r\n" H "\r\n", HTTP_REJECT_VERSION},
    {"HTTP/1.2", "GET / HTTP/1.2\r\n" H "\r\n", HTTP_REJECT_VERSION},
    {"HTTP/2.0", "GET / HTTP/2.0\r\n" H "\r\n", HTTP_REJECT_VERSION},
    {"HTTP/1.10", "GET / HTTP/1.10\r\n" H "\r\n", HTTP_REJECT_START_LINE},
    {"http/1.1", "GET / http/1.1\r\n" H "\r\n", HTTP_REJECT_START_LINE},
    {"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\n", HTTP_REJECT_VERSION},
    {"lower-case method", "get / HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_METHOD},
    {"unknown method", "BREW / HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_METHOD},
    {"CONNECT", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
        HTTP_REJECT_METHOD_REFUSED},
    {"TRACE", "TRACE / HTTP/1.1\r\n" H "\r\n", HTTP_REJECT_TRACE_REFUSED},

    {"upgrade to h2c", "GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        HTTP_REJECT_UPGRADE},
    {"upgrade to websocket",
        "GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        HTTP_REJECT_UPGRADE},
    {"upgrade without Connection", "GET / HTTP/1.1\r\n" H "Upgrade: websocket\r\n\r\n",
        HTTP_REJECT_UPGRADE},
    {"Connection names Host", "GET / HTTP/1.1\r\n" H "Connection: close, Host\r\n\r\n",
        HTTP_REJECT_CONNECTION},
    {"Connection names Content-Length",
        "POST / HTTP/1.1\r\n" H "Content-Length: 4\r\nConnection: content-length\r\n\r\n",
        HTTP_REJECT_CONNECTION},
    {"Connection names Cookie", "GET / HTTP/1.1\r\n" H "Cookie: a\r\nConnection: cookie\r\n\r\n",
        HTTP_REJECT_CONNECTION},
    {"other expectation", "POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n",
        HTTP_REJECT_EXPECT},
    {"expectation twice",
        "POST / HTTP/1.1\r\n" H
        "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        HTTP_REJECT_FIELD_REPEATED},
    {"aliases are not the fields",
        "POST / HTTP/1.1\r\n" H "Content_Length: 4\r\nTransfer_Encoding: chunked\r\n\r\n"},
};

static void test_requests(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        struct http_request r;
        size_t scanned = 0, len = strlen(requests[i].head);
        print_message("%s\n", requests[i].name);
        int n = http_request_parse(requests[i].head, len, &scanned, &r);
        if (requests[i].reject) {
            assert_string_equal(n < 0 ? http_reject_name((enum http_reject) - n) : "ACCEPTED",
                http_reject_name(requests[i].reject));
            continue;
        }
        assert_int_equal(n, (int)len);
        assert_int_equal(r.framing, requests[i].framing);
        assert_int_equal(r.content_length, requests[i].length);
        scanned = 0; /* byte by byte comes to the same */
        for (size_t k = 0; k < len; k++)
            assert_int_equal(http_request_parse(requests[i].head, k, &scanned, &r), 0);
        assert_int_equal(http_request_parse(requests[i].head, len, &scanned, &r), n);
    }
}

static void test_nul_bytes(void **state)
{
    static const char heads[][48] = {
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\0002\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\000Y: 1\r\n\r\n.",
        "GET /\000 HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n....",
    };
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        struct http_request r;
        size_t scanned = 0;
        assert_int_equal(
            http_request_parse(heads[i], sizeof heads[i], &scanned, &r), -HTTP_REJECT_CONTROL_BYTE);
    }
}

static void test_limits(void **state)
{
    static char buf[HTTP_HEAD_MAX + 64];
    struct http_request r;
    size_t scanned = 0;
    memset(buf, 'a', sizeof buf);
    memcpy(buf, "GET /", 5);
    assert_int_equal(http_request_parse(buf, sizeof buf, &scanned, &r), -HTTP_REJECT_HEAD_SIZE);
    assert_int_equal(http_request_parse(buf, HTTP_HEAD_MAX - 1, &scanned, &r), 0);
    memcpy(buf + HTTP_TARGET_MAX + 5, " HTTP/1.1\r\n" H "\r\n", 30);
    scanned = 0;
    assert_int_equal(http_request_parse(buf, sizeof buf, &scanned, &r), -HTTP_REJECT_TARGET_SIZE);

    struct http_out o = {.p = buf, .cap = sizeof buf};
    http_out_str(&o, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (size_t i = 1; i < HTTP_FIELDS_MAX; i++)
        http_out_str(&o, "X: 1\r\n");
    http_out_str(&o, "\r\n");
    scanned = 0;
    assert_int_equal(http_request_parse(buf, o.len, &scanned, &r), (int)o.len);
    assert_int_equal(r.fields.n, HTTP_FIELDS_MAX);
    o.len -= 2;
    http_out_str(&o, "X: 1\r\n\r\n");
    scanned = 0;
    assert_int_equal(http_request_parse(buf, o.len, &scanned, &r), -HTTP_REJECT_FIELD_COUNT);
}

static void test_request_parts(void **state)
{
    const char *head =
        "OPTIONS https://[2001:db8::1]:8443/a/b?c=d?e HTTP/1.1\r\nHost: [2001:DB8::1]:8443\r\n\r\n";
    struct http_request r;
    size_t scanned = 0;
    assert_int_equal(http_request_parse(head, strlen(head), &scanned, &r), (int)strlen(head));
    assert_true(http_text_is(r.method, "OPTIONS"));
    assert_true(http_text_is(r.path, "/a/b"));
    assert_true(http_text_is(r.query, "c=d?e"));
    assert_true(http_text_is(r.scheme, "https"));
    assert_true(http_text_is(r.host, "[2001:DB8::1]"));
    assert_true(http_text_is(r.authority, "[2001:DB8::1]:8443"));
    assert_false(r.close);
    head = "GET http://a?q HTTP/1.1\r\nHost: a\r\nConnection: foo,close\r\n\r\n";
    scanned = 0;
    assert_int_equal(http_request_parse(head, strlen(head), &scanned, &r), (int)strlen(head));
    assert_true(http_text_is(r.path, "/") && http_text_is(r.query, "q") && r.close);
}

static void test_forwarded_request(void **state)
{
    const char *head =
        "POST /x?z HTTP/1.1\r\nhost: a.example:443\r\nContent-Length: 2\r\nConnection: x-secret, close\r\n"
        "X-Secret: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n"
        "Forwarded: for=6.6.6.6\r\nX-Request-Id: forged\r\nTE: trailers\r\nKeep-Alive: 5\r\n"
        "Proxy-Authorization: Basic eA==\r\nProxy-Connection: close\r\nTrailer: x\r\nAccept: */*\r\n"
        "Content_Length: 99\r\nVia: 1.1 other\r\nX-Forwarded-Client-Cert: x\r\n\r\n";
    const char *want =
        "POST /y?z HTTP/1.1\r\nHost: a.example:443\r\nAccept: */*\r\nVia: 1.1 other\r\n"
        "Content-Length: 2\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
        "X-Request-Id: 77\r\nVia: 1.1 mcp\r\n\r\n";
    struct http_request r;
    size_t scanned = 0;
    assert_true(http_request_parse(head, strlen(head), &scanned, &r) > 0);
    char buf[1024];
    struct http_out o = {.p = buf, .cap = sizeof buf};
    struct http_forward f = {
        .path = {"/y", 2}, .client = {"192.0.2.1", 9}, .request_id = {"77", 2}, .tls = true};
    http_request_forward(&r, &f, &o);
    buf[o.len] = '\0';
    assert_string_equal(buf, want);
    o = (struct http_out){.p = buf, .cap = 40};
    http_request_forward(&r, &f, &o);
    assert_true(o.full);
}

static const struct {
    const char *name;
    const char *head;
    bool to_head;
    enum http_reject reject;
    enum http_framing framing;
    uint64_t length;
    bool close;
} responses[] = {
    {"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_BODY_LENGTH, 5},
    {"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, 0,
        HTTP_BODY_CHUNKED},
    {"until close", "HTTP/1.1 200 OK\r\n\r\n", false, 0, HTTP_BODY_UNTIL_CLOSE, 0, true},
    {"no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", false, 0, HTTP_BODY_NONE},
    {"no reason, no blank", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, 0, HTTP_BODY_NONE},
    {"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", false, 0, HTTP_BODY_LENGTH, 5,
        true},
    {"HTTP/1.0 keep-alive",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", false, 0,
        HTTP_BODY_LENGTH, 5},
    {"close", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", false, 0,
        HTTP_BODY_NONE, 0, true},
    {"HEAD, length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, 0, HTTP_BODY_NONE, 5},
    {"HEAD, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, 0,
        HTTP_BODY_NONE},
    {"HEAD, nothing", "HTTP/1.1 200 OK\r\n\r\n", true, 0, HTTP_BODY_NONE},
    {"204", "HTTP/1.1 204 No Content\r\n\r\n", false, 0, HTTP_BODY_NONE},
    {"204 with length 0", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", false, 0,
        HTTP_BODY_NONE},
    {"204 with length", "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n", false,
        HTTP_REJECT_LENGTH_FORBIDDEN},
    {"204 chunked", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false,
        HTTP_REJECT_LENGTH_FORBIDDEN},
    {"304 with length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false, 0,
        HTTP_BODY_NONE, 9},
    {"100", "HTTP/1.1 100 Continue\r\n\r\n", false, 0, HTTP_BODY_NONE},
    {"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", false,
        HTTP_REJECT_SWITCHED},
    {"CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        false, HTTP_REJECT_LENGTH_AND_CODING},
    {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", false,
        HTTP_REJECT_LENGTH_REPEATED},
    {"gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, HTTP_REJECT_CODING},
    {"coding in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false,
        HTTP_REJECT_CODING_VERSION},
    {"folded", "HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n", false, HTTP_REJECT_FOLDED},
    {"bare LF", "HTTP/1.1 200 OK\nX: 1\r\n\r\n", false, HTTP_REJECT_BARE_LF},
    {"status of two digits", "HTTP/1.1 20 OK\r\n\r\n", false, HTTP_REJECT_STATUS},
    {"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", false, HTTP_REJECT_STATUS},
    {"status 600", "HTTP/1.1 600 OK\r\n\r\n", false, HTTP_REJECT_STATUS},
    {"status 099", "HTTP/1.1 099 OK\r\n\r\n", false, HTTP_REJECT_STATUS},
    {"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", false, HTTP_REJECT_VERSION},
    {"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", false, HTTP_REJECT_STATUS},
    {"empty line in front", "\r\nHTTP/1.1 200 OK\r\n\r\n", false, HTTP_REJECT_STATUS},
};

static void test_responses(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(responses); i++) {
        struct http_response r;
        size_t scanned = 0, len = strlen(responses[i].head);
        print_message("%s\n", responses[i].name);
        int n = http_response_parse(responses[i].head, len, &scanned, responses[i].to_head, &r);
        if (responses[i].reject) {
            assert_string_equal(n < 0 ? http_reject_name((enum http_reject) - n) : "ACCEPTED",
                http_reject_name(responses[i].reject));
            continue;
        }
        assert_int_equal(n, (int)len);
        assert_int_equal(r.framing, responses[i].framing);
        assert_int_equal(r.content_length, responses[i].length);
        assert_int_equal(r.close, responses[i].close);
    }
}

static void test_forwarded_response(void **state)
{
    const char *head =
        "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
        "Keep-Alive: timeout=5\r\nServer: m\r\nX-Request-Id: 1\r\n\r\n";
    const char *want =
        "HTTP/1.1 200 Fine\r\nServer: m\r\nTransfer-Encoding: chunked\r\nDate: now\r\nX-Request-Id: 77\r\n"
        "Via: 1.1 mcp\r\nConnection: close\r\n\r\n";
    struct http_response r;
    size_t scanned = 0;
    assert_true(http_response_parse(head, strlen(head), &scanned, false, &r) > 0);
    char buf[512];
    struct http_out o = {.p = buf, .cap = sizeof buf};
    struct http_forward f = {
        .request_id = {"77", 2}, .chunked = true, .close = true, .date = {"now", 3}};
    http_response_forward(&r, &f, &o);
    buf[o.len] = '\0';
    assert_string_equal(buf, want);
}

static const struct {
    const char *name;
    const char *in;
    const char *content; /* NULL: refused */
    enum http_reject reject;
    const char *rest; /* bytes behind the end */
} chunks[] = {
    {"two chunks", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"},
    {"empty", "0\r\n\r\n", ""},
    {"many zeros", "000\r\n\r\n", ""},
    {"capitals", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789"},
    {"next request stays", "1\r\nx\r\n0\r\n\r\nGET /", "x", 0, "GET /"},
    {"extension", "1;a=b\r\nx\r\n0;last\r\n\r\n", "x"},
    {"quoted extension", "1;a=\"b;c\"\r\nx\r\n0\r\n\r\n", "x"},
    {"trailers", "0\r\nX-A: 1\r\nX-B:\r\n\r\n", ""},
    {"no size", "\r\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"hex prefix", "0x1\r\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"sign", "+1\r\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"negative", "-1\r\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"blank behind the size", "1 \r\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"blank before the size", " 1\r\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"blank before an extension", "1 ;a\r\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"size of 2^64 and one", "10000000000000001\r\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"thirteen digits", "0000000000001\r\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"LF behind the size", "1\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"CR alone behind the size", "1\rx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_SIZE},
    {"LF in an extension", "1;a\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_EXTENSION},
    {"control in an extension", "1;\x01\r\nx\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_EXTENSION},
    {"LF behind content", "1\r\nx\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_END},
    {"content longer than its size", "1\r\nxy\r\n0\r\n\r\n", NULL, HTTP_REJECT_CHUNK_END},
    {"CR and something behind content", "1\r\nx\r.\r\n", NULL, HTTP_REJECT_CHUNK_END},
    {"LF ends the trailers", "0\r\n\n", NULL, HTTP_REJECT_TRAILER},
    {"CR CR", "0\r\n\r\r", NULL, HTTP_REJECT_TRAILER},
    {"trailer with blank before colon", "0\r\nX : 1\r\n\r\n", NULL, HTTP_REJECT_TRAILER},
    {"folded trailer", "0\r\nX: 1\r\n 2\r\n\r\n", NULL, HTTP_REJECT_TRAILER},
    {"trailer without name", "0\r\n: 1\r\n\r\n", NULL, HTTP_REJECT_TRAILER},
    {"trailer without colon", "0\r\nGET / HTTP/1.1\r\n\r\n", NULL, HTTP_REJECT_TRAILER},
    {"LF in a trailer", "0\r\nX: 1\n\r\n", NULL, HTTP_REJECT_TRAILER},
};

/* Feeds `step` bytes at a time; returns what http_body_take() said last. */
static int decode(
    const char *in, size_t len, size_t step, char *out, size_t *out_len, size_t *consumed)
{
    struct http_body b;
    http_body_init(&b, HTTP_BODY_CHUNKED, 0);
    *out_len = *consumed = 0;
    for (size_t end = 0; end < len && !http_body_ended(&b);) {
        end = MIN(len, end + step);
        size_t used;
        do {
            struct http_text content;
            int r = http_body_take(&b, in + *consumed, end - *consumed, 3, &used, &content);
            if (r < 0)
                return r;
            memcpy(out + *out_len, content.p, content.len);
            *out_len += content.len;
            *consumed += used;
        } while (used);
    }
    return http_body_ended(&b);
}

static void test_chunks(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
        size_t len = strlen(chunks[i].in);
        print_message("%s\n", chunks[i].name);
        for (size_t step = 1; step <= len; step++) {
            char out[128];
            size_t n, consumed;
            int r = decode(chunks[i].in, len, step, out, &n, &consumed);
            if (!chunks[i].content) {
                assert_string_equal(r < 0 ? http_reject_name((enum http_reject) - r) : "ACCEPTED",
                    http_reject_name(chunks[i].reject));
                continue;
            }
            assert_int_equal(r, 1);
            assert_int_equal(n, strlen(chunks[i].content));
            assert_memory_equal(out, chunks[i].content, n);
            assert_int_equal(len - consumed, chunks[i].rest ? strlen(chunks[i].rest) : 0);
        }
    }
}

/* CVE-2023-39326: one byte of content a chunk, the rest extensions. */
static void test_extension_budget(void **state)
{
    char chunk[256];
    memset(chunk, 'e', sizeof chunk);
    memcpy(chunk, "1;", 2);
    memcpy(chunk + sizeof chunk - 5, "\r\nx\r\n", 5);
    struct http_body b;
    http_body_init(&b, HTTP_BODY_CHUNKED, 0);
    int r = 0;
    size_t rounds = 0;
    for (; rounds < 1000 && r == 0; rounds++) {
        size_t at = 0, used;
        struct http_text content;
        do {
            r = http_body_take(&b, chunk + at, sizeof chunk - at, SIZE_MAX, &used, &content);
            at += used;
        } while (r == 0 && used);
    }
    assert_int_equal(r, -HTTP_REJECT_CHUNK_EXTENSION);
    assert_true(rounds < 20);
}

static void test_lengths(void **state)
{
    struct http_body b;
    size_t used;
    struct http_text content;
    http_body_init(&b, HTTP_BODY_LENGTH, 4);
    assert_int_equal(http_body_take(&b, "abcdef", 6, 3, &used, &content), 0);
    assert_true(
        used == 3 && http_text_is(content, "abc") && !http_body_ended(&b) && !http_body_close(&b));
    assert_int_equal(http_body_take(&b, "def", 3, 3, &used, &content), 0);
    assert_true(used == 1 && http_text_is(content, "d") && http_body_ended(&b));
    http_body_init(&b, HTTP_BODY_UNTIL_CLOSE, 0);
    assert_int_equal(http_body_take(&b, "abc", 3, SIZE_MAX, &used, &content), 0);
    assert_true(used == 3 && !http_body_ended(&b) && http_body_close(&b));
    http_body_init(&b, HTTP_BODY_NONE, 0);
    assert_true(http_body_ended(&b));
}

static void test_connect(void **state)
{
    static const struct {
        const char *head;
        int expected; /* 1: taken whole */
        const char *host;
        uint16_t port;
    } rows[] = {
        {"CONNECT a.example:443 HTTP/1.1\r\n\r\n", 1, "a.example", 443},
        {"CONNECT a.example:65535 HTTP/1.0\r\nHost: x\r\n\r\n", 1, "a.example", 65535},
        {"CONNECT a.example:443 HTTP/1.1\r\nHost: x\r\n", 0, NULL, 0},
        {"CONN", 0, NULL, 0},
        {"GET / HTTP/1.1\r\n\r\n", -HTTP_REJECT_METHOD, NULL, 0},
        {"connect a.example:443 HTTP/1.1\r\n\r\n", -HTTP_REJECT_METHOD, NULL, 0},
        {"CONNECT a.example HTTP/1.1\r\n\r\n", -HTTP_REJECT_TARGET, NULL, 0},
        {"CONNECT a.example:0 HTTP/1.1\r\n\r\n", -HTTP_REJECT_TARGET, NULL, 0},
        {"CONNECT a.example:65536 HTTP/1.1\r\n\r\n", -HTTP_REJECT_TARGET, NULL, 0},
        {"CONNECT a.example:4x HTTP/1.1\r\n\r\n", -HTTP_REJECT_TARGET, NULL, 0},
        {"CONNECT a.example: HTTP/1.1\r\n\r\n", -HTTP_REJECT_TARGET, NULL, 0},
        {"CONNECT :443 HTTP/1.1\r\n\r\n", -HTTP_REJECT_TARGET, NULL, 0},
        {"CONNECT [::1]:443 HTTP/1.1\r\n\r\n", -HTTP_REJECT_TARGET, NULL, 0},
        {"CONNECT u@a.example:443 HTTP/1.1\r\n\r\n", -HTTP_REJECT_TARGET, NULL, 0},
        {"CONNECT  a.example:443 HTTP/1.1\r\n\r\n", -HTTP_REJECT_START_LINE, NULL, 0},
        {"CONNECT a.example:443 HTTP/2\r\n\r\n", -HTTP_REJECT_START_LINE, NULL, 0},
        {"CONNECT a.example:443\r\n\r\n", -HTTP_REJECT_START_LINE, NULL, 0},
        {"CONNECT a.example:443 HTTP/1.1\n\n", -HTTP_REJECT_CONTROL_BYTE, NULL, 0},
        {"CONNECT a.example:443 HTTP/1.1\rx", -HTTP_REJECT_CONTROL_BYTE, NULL, 0},
        {"CONNECT a.example:443 HTTP/1.1\r\nX: \1\r\n\r\n", -HTTP_REJECT_CONTROL_BYTE, NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_text host;
        uint16_t port;
        size_t len = strlen(rows[i].head);
        int n = http_connect_parse(rows[i].head, len, &host, &port);
        if (n != (rows[i].expected == 1 ? (int)len : rows[i].expected))
            fail_msg("%s: %d", rows[i].head, n);
        if (n > 0 && (!http_text_is(host, rows[i].host) || port != rows[i].port))
            fail_msg("%s: %.*s %u", rows[i].head, (int)host.len, host.p, port);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_connect),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_request_parts),
        cmocka_unit_test(test_forwarded_request),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_forwarded_response),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_extension_budget),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
