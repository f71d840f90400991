/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a browser sends first: what is found is a clean name, the head lies within the bytes,
 * more bytes never turn a found name into another. */
#include "service/forwarder/sniff.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sniffed s, shorter;
    enum sniff kind = sniff(data, size, &s);
    if (kind != SNIFF_TLS && kind != SNIFF_HTTP)
        return 0;
    ASSERT(strspn(s.name, "abcdefghijklmnopqrstuvwxyz0123456789-._") == strlen(s.name));
    enum sniff before = sniff(data, size - 1, &shorter);
    ASSERT(before == SNIFF_MORE || (before == kind && !strcmp(s.name, shorter.name)));
    if (kind == SNIFF_TLS)
        return 0;
    ASSERT(s.head_size <= size);
    struct str out = STR_INIT;
    sniff_rewrite((const char *)data, s.head_size, "reindeers.com", &out);
    struct sniffed again;
    ASSERT(out.len > SNIFF_MAX || sniff((const uint8_t *)out.buf, out.len, &again) != SNIFF_MORE);
    str_done(&out);
    return 0;
}
