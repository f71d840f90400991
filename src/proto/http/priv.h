/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the request and response side of proto/http. */
#pragma once

#include "proto/http/http.h"

enum {               /* classes of a byte, bits of http_byte_class[] */
    BYTE_TOKEN = 1,  /* tchar, RFC 9110 section 5.6.2 */
    BYTE_VALUE = 2,  /* HT, SP, visible, obs-text */
    BYTE_TARGET = 4, /* what a request target may hold */
    BYTE_UPPER = 8,
};
extern const uint8_t http_byte_class[256];

static inline bool byte_is(char c, unsigned class)
{
    return http_byte_class[(unsigned char)c] & class;
}

/* Length of the head with its empty line, 0 if it is not whole, or minus a reject. Checks every
 * line break and byte on the way. */
int http_head_scan(const char *buf, size_t len, size_t *scanned);

struct http_head { /* what llhttp saw */
    struct http_text target;
    struct http_text reason;
    struct http_fields *fields;
    enum http_reject reject;
    uint8_t method; /* llhttp's number */
    uint8_t major, minor;
    unsigned status;
};
enum http_reject http_head_run(
    bool request, const char *buf, size_t len, struct http_fields *fields, struct http_head *ret);
const char *http_method_name(uint8_t method);
bool http_method_known(struct http_text method);

/* Steps of reading a request, alike in both versions. */
enum http_reject http_method_check(struct http_request *r);
enum http_reject http_target_split(struct http_request *r);
/* The one Host, or NULL in *ret; false: there are several. */
bool http_host_find(const struct http_fields *f, const struct http_field **ret);
enum http_reject http_expect_check(struct http_request *r); /* r->framing is known */

uint8_t http_field_id_of(struct http_text name);
/* "Content_Length": not the field to us, but to an upstream that folds "_" into "-", as CGI does.
 */
bool http_field_is_alias(struct http_text name);

/* Length, coding and connection options: alike on both sides. */
struct http_common {
    const struct http_field *length, *coding;
    bool close, keep_alive;
    uint64_t content_length;
};
enum http_reject http_fields_common(struct http_fields *f, struct http_common *ret);
