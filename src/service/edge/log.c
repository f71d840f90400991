/* SPDX-License-Identifier: Apache-2.0 */
#include "service/edge/log.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define RING_BYTES (512u * 1024) /* a power of two: some thousand records */
#define TEXT_MAX 1024u           /* of a path */
/* lines wait this long for company: a write per line would cost more than the line */
#define BATCH_MS 100
#define OUT_BYTES (64u * 1024)
#define LINE_MAX_BYTES 8192u /* every text escaped to six bytes a byte stays below */
#define REOPEN_MS 1000u

enum { TEXT_ID, TEXT_NAME, TEXT_METHOD, TEXT_PATH, TEXT_UNIT, TEXT_CLIENT, TEXTS };

struct record {
    uint32_t size; /* of all, with its texts; 0: nothing until the ring's end */
    uint16_t len[TEXTS];
    uint16_t status;
    uint8_t end, reject, attempts, tls; /* tls: 0, 2, 3 */
    int64_t wall_ms;
    uint64_t bytes, duration_us, upstream_us;
};

struct ring {                           /* one writer, one reader; positions only grow */
    _Alignas(64) _Atomic uint64_t head; /* written up to here */
    _Alignas(64) _Atomic uint64_t tail; /* read up to here */
    _Atomic uint64_t dropped;           /* the writer's */
    char *data;
};

struct access_log {
    char *path;
    uint64_t bytes_max;
    struct ring *rings;
    unsigned n_rings;
    pthread_t writer;
    int wake;
    _Atomic bool asleep, stopping;
    _Atomic uint64_t lost, written; /* lines */
    /* The writer's own: */
    int fd;
    uint64_t size, retry_ms;
    struct str out;
    size_t lines; /* in out */
    int64_t stamp_s;
    char stamp[CLOCK_STAMP_SIZE];
};

/* -- serving threads --------------------------------------------------------------------------- */

static uint8_t tls_number(const char *version)
{
    return !*version ? 0 : version[6] == '3' ? 3 : 2; /* "TLSv1.3" */
}

/* Contiguous room of `size` bytes, or NULL. Leaves a mark when the rest of the ring is too short.
 */
static char *ring_room(struct ring *r, uint32_t size, uint64_t *ret_head)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    uint64_t at = head % RING_BYTES, left = RING_BYTES - at;
    uint64_t need = left < size ? left + size : size;
    if (head + need - tail > RING_BYTES)
        return NULL;
    if (left < size) {
        memset(r->data + at, 0, MIN(left, sizeof(uint32_t)));
        at = 0;
    }
    *ret_head = head + need;
    return r->data + at;
}

static void wake_writer(struct access_log *log)
{
    if (!atomic_load_explicit(&log->asleep, memory_order_relaxed)
        || !atomic_exchange(&log->asleep, false))
        return;
    uint64_t one = 1;
    ssize_t n = write(log->wake, &one, sizeof one);
    (void)n; /* full means awake */
}

void access_log_add(struct access_log *log, unsigned thread, const struct http_tx *tx)
{
    struct ring *r = &log->rings[thread];
    const char *unit = tx->target ? tx->target->unit : "";
    const struct http_text texts[TEXTS] = {
        [TEXT_ID] = {tx->id, sizeof tx->id},
        [TEXT_NAME] = tx->name,
        [TEXT_METHOD] = tx->request->method,
        [TEXT_PATH] = {tx->path.p, MIN(tx->path.len, TEXT_MAX)},
        [TEXT_UNIT] = {unit, MIN(strlen(unit), 64u)},
        [TEXT_CLIENT] = tx->client,
    };
    struct record rec = {.status = (uint16_t)tx->status,
        .end = (uint8_t)tx->end,
        .reject = (uint8_t)tx->reject,
        .attempts = (uint8_t)tx->attempts,
        .tls = tls_number(tx->tls_version),
        .wall_ms = tx->wall_ms,
        .bytes = tx->bytes,
        .duration_us = tx->duration_us,
        .upstream_us = tx->upstream_us};
    size_t size = sizeof rec;
    for (size_t i = 0; i < TEXTS; i++) {
        rec.len[i] = (uint16_t)texts[i].len;
        size += texts[i].len;
    }
    rec.size = (uint32_t)((size + 7) & ~(size_t)7);
    uint64_t head;
    char *p = ring_room(r, rec.size, &head);
    if (!p) {
        uint64_t n = atomic_load_explicit(&r->dropped, memory_order_relaxed);
        atomic_store_explicit(&r->dropped, n + 1, memory_order_relaxed);
        return;
    }
    memcpy(p, &rec, sizeof rec);
    p += sizeof rec;
    for (size_t i = 0; i < TEXTS; i++)
        if (texts[i].len) {
            memcpy(p, texts[i].p, texts[i].len);
            p += texts[i].len;
        }
    atomic_store_explicit(&r->head, head, memory_order_release);
    wake_writer(log);
}

/* -- writer ------------------------------------------------------------------------------------ */

static void out_text(struct str *out, const char *p, size_t len)
{
    size_t clean = 0;
    str_add_ch(out, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            continue;
        str_add_mem(out, p + clean, i - clean);
        str_addf(out, "\\u%04x", c);
        clean = i + 1;
    }
    str_add_mem(out, p + clean, len - clean);
    str_add_ch(out, '"');
}

static void out_number(struct str *out, const char *key, uint64_t v)
{
    char text[24];
    struct http_out o = {.p = text, .cap = sizeof text};
    http_out_u64(&o, v);
    str_add(out, key);
    str_add_mem(out, text, o.len);
}

/* Seconds change rarely, so their text is kept. */
static void out_time(struct access_log *log, int64_t wall_ms)
{
    if (wall_ms / 1000 != log->stamp_s) {
        clock_format_rfc3339(wall_ms, log->stamp);
        log->stamp_s = wall_ms / 1000;
    }
    char ms[] = {'.', (char)('0' + wall_ms / 100 % 10), (char)('0' + wall_ms / 10 % 10),
        (char)('0' + wall_ms % 10)};
    str_add(&log->out, "{\"time\":\"");
    str_add_mem(&log->out, log->stamp, sizeof "2026-11-23T05:30:12" - 1);
    str_add_mem(&log->out, ms, sizeof ms);
    str_add(&log->out, "Z\"");
}

static void format(struct access_log *log, const struct record *rec, const char *texts)
{
    static const char *const keys[TEXTS] = {
        ",\"id\":", ",\"name\":", ",\"method\":", ",\"path\":", ",\"unit\":", ",\"client\":"};
    struct str *out = &log->out;
    out_time(log, rec->wall_ms);
    for (size_t i = 0; i < TEXTS; i++) {
        str_add(out, keys[i]);
        out_text(out, texts, rec->len[i]);
        texts += rec->len[i];
    }
    out_number(out, ",\"status\":", rec->status);
    out_number(out, ",\"bytes\":", rec->bytes);
    out_number(out, ",\"duration_us\":", rec->duration_us);
    out_number(out, ",\"upstream_us\":", rec->upstream_us);
    out_number(out, ",\"attempts\":", rec->attempts);
    str_add(out, rec->tls == 3 ? ",\"tls\":\"TLSv1.3\""
                 : rec->tls    ? ",\"tls\":\"TLSv1.2\""
                               : ",\"tls\":\"\"");
    str_add(out, ",\"end\":\"");
    str_add(out, http_end_name((enum http_end)rec->end));
    str_add_ch(out, '"');
    if (rec->reject) {
        str_add(out, ",\"reject\":\"");
        str_add(out, http_reject_name((enum http_reject)rec->reject));
        str_add_ch(out, '"');
    }
    str_add(out, "}\n");
    log->lines++;
}

static void rotate(struct access_log *log)
{
    char from[512], to[512];
    for (int i = ACCESS_LOG_FILES - 2; i >= 0; i--) {
        snprintf(from, sizeof from, i ? "%s.%d" : "%s", log->path, i);
        snprintf(to, sizeof to, "%s.%d", log->path, i + 1);
        rename(from, to);
    }
    close(log->fd);
    log->fd = -1;
}

static bool ready_to_write(struct access_log *log)
{
    if (log->fd >= 0 && log->size + log->out.len > log->bytes_max && log->size)
        rotate(log);
    if (log->fd >= 0)
        return true;
    uint64_t now = clock_boot_ms();
    if (now < log->retry_ms)
        return false;
    struct stat st;
    log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (log->fd < 0 || fstat(log->fd, &st) < 0) {
        log->retry_ms = now + REOPEN_MS;
        return false;
    }
    log->size = (uint64_t)st.st_size;
    return true;
}

static void flush(struct access_log *log)
{
    if (!log->lines)
        return;
    bool ok = ready_to_write(log) && file_write_fd(log->fd, log->out.buf, log->out.len, NULL) == 0;
    if (ok)
        log->size += log->out.len;
    atomic_fetch_add_explicit(ok ? &log->written : &log->lost, log->lines, memory_order_relaxed);
    log->lines = 0;
    str_clear(&log->out);
}

static bool drain_ring(struct access_log *log, struct ring *r)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    bool any = tail != head;
    while (tail != head) {
        const char *p = r->data + tail % RING_BYTES;
        struct record rec;
        uint32_t size;
        memcpy(&size, p, sizeof size);
        if (!size) {
            tail += RING_BYTES - tail % RING_BYTES;
            continue;
        }
        memcpy(&rec, p, sizeof rec);
        format(log, &rec, p + sizeof rec);
        tail += size;
        if (log->out.len > OUT_BYTES - LINE_MAX_BYTES) {
            atomic_store_explicit(&r->tail, tail, memory_order_release);
            flush(log);
        }
    }
    atomic_store_explicit(&r->tail, tail, memory_order_release);
    return any;
}

static bool drain(struct access_log *log)
{
    bool any = false;
    for (unsigned i = 0; i < log->n_rings; i++)
        any |= drain_ring(log, &log->rings[i]);
    flush(log);
    return any;
}

static void wait_wake(struct access_log *log, int timeout_ms)
{
    struct pollfd p = {.fd = log->wake, .events = POLLIN};
    if (poll(&p, 1, timeout_ms) <= 0)
        return;
    uint64_t count;
    ssize_t n = read(log->wake, &count, sizeof count);
    (void)n;
}

static void *writer_main(void *arg)
{
    struct access_log *log = arg;
    pthread_setname_np(pthread_self(), "access-log");
    while (!atomic_load(&log->stopping)) {
        if (drain(log)) {
            wait_wake(log, BATCH_MS); /* not asleep: nobody wakes it but close */
            continue;
        }
        atomic_store(&log->asleep, true);
        /* A record may have come between the look and the word. */
        if (!drain(log) && !atomic_load(&log->stopping))
            wait_wake(log, -1);
        atomic_store(&log->asleep, false);
    }
    drain(log);
    return NULL;
}

static void free_log(struct access_log *log)
{
    for (unsigned i = 0; i < log->n_rings; i++)
        free(log->rings[i].data);
    free(log->rings);
    free(log->path);
    str_done(&log->out);
    if (log->fd >= 0)
        close(log->fd);
    if (log->wake >= 0)
        close(log->wake);
    free(log);
}

int access_log_open(
    const char *path, unsigned threads, uint64_t bytes_max, struct access_log **ret, struct err *e)
{
    struct access_log *log = xcalloc(1, sizeof *log);
    log->path = xstrdup(path);
    log->bytes_max = bytes_max ? bytes_max : ACCESS_LOG_BYTES;
    log->n_rings = threads;
    log->fd = -1;
    log->stamp_s = -1;
    log->rings = aligned_alloc(64, threads * sizeof *log->rings);
    ASSERT(log->rings);
    memset(log->rings, 0, threads * sizeof *log->rings);
    for (unsigned i = 0; i < threads; i++)
        log->rings[i].data = xmalloc(RING_BYTES);
    str_reserve(&log->out, OUT_BYTES);
    log->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = log->wake < 0 ? err_errno(e, errno, "eventfd") : 0;
    if (r >= 0 && !ready_to_write(log))
        r = err_errno(e, errno, "open %s", path);
    int k = r < 0 ? 0 : pthread_create(&log->writer, NULL, writer_main, log);
    if (k)
        r = err_errno(e, k, "start the access log's writer");
    if (r < 0) {
        free_log(log);
        return r;
    }
    *ret = log;
    return 0;
}

void access_log_close(struct access_log *log)
{
    if (!log)
        return;
    atomic_store(&log->stopping, true);
    uint64_t one = 1;
    ssize_t n = write(log->wake, &one, sizeof one);
    (void)n;
    pthread_join(log->writer, NULL);
    free_log(log);
}

uint64_t access_log_dropped(const struct access_log *log)
{
    uint64_t sum = atomic_load_explicit(&log->lost, memory_order_relaxed);
    for (unsigned i = 0; i < log->n_rings; i++)
        sum += atomic_load_explicit(&log->rings[i].dropped, memory_order_relaxed);
    return sum;
}

uint64_t access_log_written(const struct access_log *log)
{
    return atomic_load_explicit(&log->written, memory_order_relaxed);
}
