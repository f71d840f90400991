/* SPDX-License-Identifier: Apache-2.0 */
/* HOT PATH. Buffers come from the thread's free list; the system is asked only while the list is
 * empty. */
#include "net/http/priv.h"

struct buf *http_buf_get(struct thread *t)
{
    struct buf *b = t->free_bufs;
    if (b) {
        t->free_bufs = b->next;
        t->n_free_bufs--;
    } else {
        b = xmalloc(sizeof *b);
        http_stat_add(t, HTTP_STAT_BUFFERS, 1);
    }
    b->next = NULL;
    b->start = b->end = 0;
    return b;
}

void http_buf_put(struct thread *t, struct buf **b)
{
    struct buf *old = *b;
    *b = NULL;
    if (!old)
        return;
    if (t->n_free_bufs == BUFS_KEPT) {
        free(old);
        return;
    }
    old->next = t->free_bufs;
    t->free_bufs = old;
    t->n_free_bufs++;
}

void http_buf_compact(struct buf *b)
{
    if (b->start == b->end) {
        b->start = b->end = 0;
    } else if (b->start > BUF_BYTES / 2 || b->end == BUF_BYTES) {
        memmove(b->data, b->data + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
}
