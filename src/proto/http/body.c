/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Message bodies (RFC 9112 sections 6 and 7): a length, chunks, or all until the peer
 * closes. Chunked input is taken apart strictly: CRLF only, no blank behind a size, extensions
 * bounded and dropped, trailers checked and dropped. */
#include "proto/http/priv.h"

enum chunk_state {
    CHUNK_SIZE,
    CHUNK_EXT,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_START, /* of a line */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    BODY_ENDED,
};

void http_body_init(struct http_body *b, enum http_framing framing, uint64_t content_length)
{
    *b = (struct http_body){.framing = framing, .left = content_length};
    if (framing == HTTP_BODY_NONE || (framing == HTTP_BODY_LENGTH && content_length == 0))
        b->state = BODY_ENDED;
}

bool http_body_ended(const struct http_body *b)
{
    return b->state == BODY_ENDED;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum http_reject size_byte(struct http_body *b, char c)
{
    int v = hex_value(c);
    if (v >= 0) {
        /* 12 digits are 256 TiB; leading zeros count, so nothing can overflow. */
        if (b->digits++ == 12)
            return HTTP_REJECT_CHUNK_SIZE;
        b->left = b->left << 4 | (unsigned)v;
        return HTTP_REJECT_NONE;
    }
    if (!b->digits || (c != '\r' && c != ';'))
        return HTTP_REJECT_CHUNK_SIZE;
    b->state = c == ';' ? CHUNK_EXT : CHUNK_SIZE_LF;
    return HTTP_REJECT_NONE;
}

static enum http_reject extension_byte(struct http_body *b, char c)
{
    if (c == '\r') {
        b->state = CHUNK_SIZE_LF;
        return HTTP_REJECT_NONE;
    }
    if (!byte_is(c, BYTE_VALUE) || ++b->line > HTTP_CHUNK_LINE_MAX
        || ++b->extension > HTTP_EXTENSION_TOTAL_MAX)
        return HTTP_REJECT_CHUNK_EXTENSION;
    return HTTP_REJECT_NONE;
}

static enum http_reject size_end(struct http_body *b, char c)
{
    if (c != '\n')
        return HTTP_REJECT_CHUNK_SIZE;
    b->state = b->left ? CHUNK_DATA : TRAILER_START;
    b->digits = 0;
    b->line = 0;
    return HTTP_REJECT_NONE;
}

static enum http_reject trailer_byte(struct http_body *b, char c)
{
    if (++b->line > HTTP_TRAILER_MAX)
        return HTTP_REJECT_TRAILER;
    switch (b->state) {
    case TRAILER_START:
        b->blank = c == '\r';
        if (!b->blank && (!byte_is(c, BYTE_TOKEN) || ++b->fields > HTTP_TRAILER_FIELDS_MAX))
            return HTTP_REJECT_TRAILER;
        b->state = b->blank ? TRAILER_LF : TRAILER_NAME;
        return HTTP_REJECT_NONE;
    case TRAILER_NAME:
        if (c != ':' && !byte_is(c, BYTE_TOKEN))
            return HTTP_REJECT_TRAILER;
        if (c == ':')
            b->state = TRAILER_VALUE;
        return HTTP_REJECT_NONE;
    case TRAILER_VALUE:
        if (c != '\r' && !byte_is(c, BYTE_VALUE))
            return HTTP_REJECT_TRAILER;
        if (c == '\r')
            b->state = TRAILER_LF;
        return HTTP_REJECT_NONE;
    default: /* TRAILER_LF */
        if (c != '\n')
            return HTTP_REJECT_TRAILER;
        b->state = b->blank ? BODY_ENDED : TRAILER_START;
        return HTTP_REJECT_NONE;
    }
}

/* A byte of framing, between the runs of content. */
static enum http_reject framing_byte(struct http_body *b, char c)
{
    switch (b->state) {
    case CHUNK_SIZE:
        return size_byte(b, c);
    case CHUNK_EXT:
        return extension_byte(b, c);
    case CHUNK_SIZE_LF:
        return size_end(b, c);
    case CHUNK_DATA_CR:
        b->state = CHUNK_DATA_LF;
        return c == '\r' ? HTTP_REJECT_NONE : HTTP_REJECT_CHUNK_END;
    case CHUNK_DATA_LF:
        b->state = CHUNK_SIZE;
        return c == '\n' ? HTTP_REJECT_NONE : HTTP_REJECT_CHUNK_END;
    default:
        return trailer_byte(b, c);
    }
}

static void take_content(struct http_body *b, const char *in, size_t len, size_t max_data,
    size_t *used, struct http_text *data)
{
    size_t n = MIN(len, max_data);
    if (b->framing != HTTP_BODY_UNTIL_CLOSE) {
        n = (size_t)MIN((uint64_t)n, b->left);
        b->left -= n;
        if (b->left == 0)
            b->state = b->framing == HTTP_BODY_CHUNKED ? CHUNK_DATA_CR : BODY_ENDED;
    }
    *data = (struct http_text){in, n};
    *used += n;
}

int http_body_take(struct http_body *b, const char *in, size_t len, size_t max_data, size_t *used,
    struct http_text *data)
{
    *used = 0;
    *data = (struct http_text){in, 0};
    if (b->framing == HTTP_BODY_CHUNKED) {
        while (b->state != CHUNK_DATA && b->state != BODY_ENDED && *used < len) {
            enum http_reject r = framing_byte(b, in[*used]);
            if (r)
                return -(int)r;
            ++*used;
        }
        if (b->state != CHUNK_DATA)
            return 0;
    }
    if (b->state != BODY_ENDED && *used < len)
        take_content(b, in + *used, len - *used, max_data, used, data);
    return 0;
}

bool http_body_close(struct http_body *b)
{
    if (b->framing == HTTP_BODY_UNTIL_CLOSE)
        b->state = BODY_ENDED;
    return b->state == BODY_ENDED;
}
