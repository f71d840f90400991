/* SPDX-License-Identifier: Apache-2.0 */
/* Any lines: no crash, and no more than there may be. */
#include "base/util/util.h"
#include "proto/binlog/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    struct binlog_text t;
    binlog_text_init(&t);
    t.max = 4;
    t.failed = 869;
    for (const char *at = (const char *)p, *end = at + len; at < end;) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        size_t n = nl ? (size_t)(nl - at) : (size_t)(end - at);
        binlog_text_line(&t, at, n);
        at += n + 1;
    }
    binlog_text_end(&t);
    if (json_array_size(t.list) > t.max)
        abort();
    binlog_text_done(&t);
    return 0;
}
