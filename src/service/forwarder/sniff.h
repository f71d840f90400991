/* SPDX-License-Identifier: Apache-2.0 */
/* Which name a connection is for, from its first bytes: the server name of a TLS ClientHello (RFC
 * 8446 4.1.2, RFC 6066 3) or the Host of an HTTP/1 request. Pure; reads hostile bytes. */
#pragma once

#include "base/str/str.h"

#define SNIFF_MAX 16384 /* bytes looked at before giving up */
#define SNIFF_NAME_SIZE 256

enum sniff { SNIFF_MORE, SNIFF_TLS, SNIFF_HTTP, SNIFF_BAD };

struct sniffed {
    char name[SNIFF_NAME_SIZE]; /* lower case, no port, no closing dot; "" when none was given */
    size_t head_size;           /* of an HTTP head with its empty line */
};

enum sniff sniff(const uint8_t *data, size_t len, struct sniffed *ret);

/* An HTTP head for `host`, and for this one request only: Host replaced, Connection: close unless
 * it is an upgrade. */
void sniff_rewrite(const char *head, size_t head_size, const char *host, struct str *out);
