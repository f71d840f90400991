/* SPDX-License-Identifier: Apache-2.0 */
/* Slots of one lazily backed mapping: an idle WAN costs the pages that its busiest moment touched,
 * and gives those back when the queue runs empty after a burst. The free list is last in, first
 * out, so light traffic stays in the same few pages. */
#include "service/wan/priv.h"

#include <string.h>
#include <sys/mman.h>

#define SLOT_SIZE 1536u  /* WAN_MTU, rounded up to a multiple of the cache line */
#define TRIM_AFTER 1024u /* slots: 1.5 MiB are worth a system call */
_Static_assert(SLOT_SIZE >= WAN_MTU, "a packet must fit its slot");

struct item {
    uint64_t due_ns;
    uint64_t seq; /* packets that are due together leave in order of arrival */
    uint16_t slot, len;
    uint16_t endpoint;
};

struct wan_queue {
    struct item *heap;
    size_t n, peak;
    uint64_t next_seq;
    uint16_t *free_slots;
    size_t n_free;
    size_t touched; /* slots in use at most since the last trim */
    uint8_t *slots;
};

static void free_all(struct wan_queue *q)
{
    for (unsigned i = 0; i < WAN_QUEUE_MAX; i++)
        q->free_slots[i] = (uint16_t)(WAN_QUEUE_MAX - 1 - i);
    q->n_free = WAN_QUEUE_MAX;
}

struct wan_queue *wan_queue_new(void)
{
    struct wan_queue *q = xcalloc(1, sizeof *q);
    q->slots = mmap(NULL, (size_t)SLOT_SIZE * WAN_QUEUE_MAX, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT(q->slots != MAP_FAILED);
    q->heap = xcalloc(WAN_QUEUE_MAX, sizeof *q->heap);
    q->free_slots = xcalloc(WAN_QUEUE_MAX, sizeof *q->free_slots);
    free_all(q);
    return q;
}

void wan_queue_free(struct wan_queue *q)
{
    if (!q)
        return;
    munmap(q->slots, (size_t)SLOT_SIZE * WAN_QUEUE_MAX);
    free(q->heap);
    free(q->free_slots);
    free(q);
}

static bool before(const struct item *a, const struct item *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->seq < b->seq;
}

bool wan_queue_push(
    struct wan_queue *q, uint64_t due_ns, unsigned endpoint, const void *packet, size_t len)
{
    if (!q->n_free || len > WAN_MTU)
        return false;
    struct item it = {
        due_ns, q->next_seq++, q->free_slots[--q->n_free], (uint16_t)len, (uint16_t)endpoint};
    memcpy(q->slots + (size_t)it.slot * SLOT_SIZE, packet, len);
    size_t at = q->n++;
    for (; at > 0 && before(&it, &q->heap[(at - 1) / 2]); at = (at - 1) / 2)
        q->heap[at] = q->heap[(at - 1) / 2];
    q->heap[at] = it;
    q->peak = MAX(q->peak, q->n);
    q->touched = MAX(q->touched, q->n);
    return true;
}

uint64_t wan_queue_due(const struct wan_queue *q)
{
    return q->n ? q->heap[0].due_ns : WAN_NEVER;
}

/* Puts `it` where the hole at the root belongs. */
static void sift_down(struct wan_queue *q, struct item it)
{
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= q->n)
            break;
        if (child + 1 < q->n && before(&q->heap[child + 1], &q->heap[child]))
            child++;
        if (!before(&q->heap[child], &it))
            break;
        q->heap[at] = q->heap[child];
        at = child;
    }
    q->heap[at] = it;
}

/* The queue is empty: gives all pages back but those of the slot just popped, which is still being
 * read. */
static void trim(struct wan_queue *q, uint16_t reading)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t low = (size_t)reading * SLOT_SIZE / page * page;
    size_t high = (((size_t)reading + 1) * SLOT_SIZE + page - 1) / page * page;
    madvise(q->slots, low, MADV_DONTNEED);
    if (high < (size_t)SLOT_SIZE * WAN_QUEUE_MAX)
        madvise(q->slots + high, (size_t)SLOT_SIZE * WAN_QUEUE_MAX - high, MADV_DONTNEED);
    free_all(q);
    q->touched = 0;
}

const void *wan_queue_pop(struct wan_queue *q, unsigned *ret_endpoint, size_t *ret_len)
{
    ASSERT(q->n);
    struct item first = q->heap[0];
    struct item last = q->heap[--q->n];
    if (q->n)
        sift_down(q, last);
    q->free_slots[q->n_free++] = first.slot;
    if (q->n == 0 && q->touched > TRIM_AFTER)
        trim(q, first.slot);
    *ret_endpoint = first.endpoint;
    *ret_len = first.len;
    return q->slots + (size_t)first.slot * SLOT_SIZE;
}

size_t wan_queue_len(const struct wan_queue *q)
{
    return q->n;
}

size_t wan_queue_peak(const struct wan_queue *q)
{
    return q->peak;
}
