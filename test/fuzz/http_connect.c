/* SPDX-License-Identifier: Apache-2.0 */
/* What a unit sends to the proxy: a head that is taken names a host of name bytes and a port, and the
 * same bytes cut anywhere are never taken earlier. */
#include "proto/http/http.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    struct http_text host;
    uint16_t port;
    int n = http_connect_parse(p, size, &host, &port);
    if (n <= 0)
        return 0;
    ASSERT((size_t)n <= size && host.len && host.len <= 253 && port);
    ASSERT(host.p >= p && host.p + host.len < p + n && !memcmp(p + n - 4, "\r\n\r\n", 4));
    ASSERT(!memchr(host.p, ':', host.len) && !memchr(host.p, '\r', host.len));
    for (int i = 0; i < n && i < 512; i++)
        ASSERT(http_connect_parse(p, (size_t)i, &host, &port) <= 0);
    return 0;
}
