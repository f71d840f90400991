/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes, in pieces of any size: no crash, and the pieces make no difference. */
#include "base/str/str.h"
#include "proto/binlog/binlog.h"

#include <stdlib.h>

static int feed(const uint8_t *p, size_t len, size_t piece, struct binlog_reader *r)
{
    struct err e;
    binlog_reader_init(r);
    for (size_t at = 0; at < len; at += piece)
        if (binlog_reader_feed(r, p + at, MIN(piece, len - at), &e) < 0)
            return -1;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    static struct binlog_reader a, b;
    int x = feed(p, len, len ? len : 1, &a), y = feed(p, len, 1 + len % 7, &b);
    if (x != y || a.whole != b.whole || a.transactions != b.transactions || a.whole > len
        || !gtid_set_equal(&a.to, &b.to))
        abort();
    binlog_reader_done(&a);
    binlog_reader_done(&b);
    return 0;
}
