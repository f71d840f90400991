/* SPDX-License-Identifier: Apache-2.0 */
#include "service/timeline/timeline.h"

#include "service/timeline/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

char *timeline_segment_path(const char *dir, uint64_t first)
{
    return xasprintf("%s/%020" PRIu64 ".jsonl", dir, first);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool segment_name(const char *name, uint64_t *ret)
{
    char digits[21];
    if (strlen(name) != 20 + strlen(".jsonl") || strcmp(name + 20, ".jsonl") != 0)
        return false;
    memcpy(digits, name, 20);
    digits[20] = '\0';
    return str_to_u64(digits, INT64_MAX, ret);
}

int timeline_segments(
    const char *dir, uint64_t ret[TIMELINE_SEGMENTS_SEEN], size_t *ret_n, struct err *e)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_errno(e, errno, "cannot open %s", dir);
    uint64_t *v = NULL, first;
    size_t n = 0, cap = 0;
    for (struct dirent *entry; (entry = readdir(d));)
        if (segment_name(entry->d_name, &first)) {
            uint64_t *slot = GROW(v, n, cap);
            *slot = first;
        }
    closedir(d);
    if (n)
        qsort(v, n, sizeof *v, compare_u64);
    *ret_n = MIN(n, (size_t)TIMELINE_SEGMENTS_SEEN);
    for (size_t i = 0; i < *ret_n; i++)
        ret[i] = v[n - *ret_n + i];
    free(v);
    return 0;
}

bool timeline_line_parse(const char *line, size_t len, struct timeline_entry *ret)
{
    _cleanup_json_ json_t *j = NULL;
    return len <= TIMELINE_JSON_MAX && json_parse(line, len, &j, NULL) >= 0
           && timeline_entry_parse(j, ret, NULL) >= 0;
}

/* How much of a segment is whole lines that parse, and the number of the last one. Garbage in the
 * middle (a block that a power loss left as zeros) is kept, for nothing behind it may be lost; only
 * the tail is cut. */
static size_t whole_length(const struct str *text, uint64_t *ret_seq)
{
    size_t end = text->len;
    while (end > 0) {
        size_t stop = end;
        if (text->buf[end - 1] == '\n')
            stop--;
        size_t start = stop;
        while (start > 0 && text->buf[start - 1] != '\n')
            start--;
        struct timeline_entry t;
        if (stop < end && timeline_line_parse(text->buf + start, stop - start, &t)) {
            *ret_seq = t.seq;
            return end;
        }
        end = start;
    }
    return 0;
}

static int open_segment(struct timeline *t, uint64_t first, struct err *e)
{
    _cleanup_free_ char *path = timeline_segment_path(t->dir, first);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_errno(e, errno, "cannot open %s", path);
    t->fd = fd;
    return 0;
}

/* Cuts a torn tail off the newest segment and goes on behind it. */
static int resume_segment(struct timeline *t, uint64_t first, struct err *e)
{
    _cleanup_free_ char *path = timeline_segment_path(t->dir, first);
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, 4 * t->segment_bytes + TIMELINE_SEGMENT_BYTES, &text, e);
    if (r < 0)
        return r;
    t->seq = MAX(t->seq, first - 1);
    uint64_t seq = 0;
    t->written = whole_length(&text, &seq);
    t->seq = MAX(t->seq, seq);
    r = open_segment(t, first, e);
    if (r >= 0 && t->written < text.len && ftruncate(t->fd, (off_t)t->written) < 0)
        return err_errno(e, errno, "cannot cut the torn end off %s", path);
    return r;
}

static void drop_old_segments(struct timeline *t)
{
    uint64_t firsts[TIMELINE_SEGMENTS_SEEN];
    size_t n;
    if (timeline_segments(t->dir, firsts, &n, NULL) < 0)
        return;
    for (size_t i = 0; i + TIMELINE_SEGMENTS < n; i++) {
        _cleanup_free_ char *path = timeline_segment_path(t->dir, firsts[i]);
        if (unlink(path) < 0)
            log_debug("timeline", "cannot remove an old segment", "errno=%d", errno);
    }
}

static void sync_now(struct timeline *t)
{
    if (t->dirty && t->fd >= 0 && fdatasync(t->fd) < 0)
        log_debug("timeline", "cannot sync", "errno=%d", errno);
    t->dirty = false;
}

static int next_segment(struct timeline *t, struct err *e)
{
    if (t->fd >= 0) {
        sync_now(t);
        close(t->fd);
        t->fd = -1;
    }
    t->written = 0;
    int r = open_segment(t, t->seq + 1, e);
    if (r < 0)
        return r;
    drop_old_segments(t);
    return file_fsync_dir(t->dir, e);
}

int timeline_open(const struct timeline_options *o, struct timeline **ret, struct err *e)
{
    uint64_t firsts[TIMELINE_SEGMENTS_SEEN];
    size_t n = 0;
    int r = file_mkdirs(o->dir, 0750, e);
    if (r >= 0)
        r = timeline_segments(o->dir, firsts, &n, e);
    if (r < 0)
        return err_wrap(e, "timeline");
    struct timeline *t = xcalloc(1, sizeof *t);
    *t = (struct timeline){.loop = o->loop,
        .dir = xstrdup(o->dir),
        .segment_bytes = o->segment_bytes ? o->segment_bytes : TIMELINE_SEGMENT_BYTES,
        .fd = -1};
    str_copy(t->host, sizeof t->host, o->host);
    str_copy(t->region, sizeof t->region, o->region);
    r = n ? resume_segment(t, firsts[n - 1], e) : next_segment(t, e);
    if (r < 0) {
        if (t->fd >= 0)
            close(t->fd);
        free(t->dir);
        free(t);
        return err_wrap(e, "timeline");
    }
    uv_timer_init(t->loop, &t->sync_timer);
    t->sync_timer.data = t;
    *ret = t;
    return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
    free(h->data);
}

void timeline_close(struct timeline *t)
{
    if (!t)
        return;
    timeline_tails_close(t);
    sync_now(t);
    if (t->fd >= 0)
        close(t->fd);
    free(t->dir);
    uv_close((uv_handle_t *)&t->sync_timer, on_timer_closed);
}

struct sync_work {
    uv_work_t work;
    int fd;
};

static void run_sync(uv_work_t *work)
{
    struct sync_work *w = CONTAINER_OF(work, struct sync_work, work);
    if (fdatasync(w->fd) < 0)
        log_debug("timeline", "cannot sync", "errno=%d", errno);
}

static void on_synced(uv_work_t *work, int status)
{
    struct sync_work *w = CONTAINER_OF(work, struct sync_work, work);
    close(w->fd);
    free(w);
}

static void on_sync_timer(uv_timer_t *timer)
{
    struct timeline *t = timer->data;
    t->dirty = false;
    int fd = t->fd < 0 ? -1 : fcntl(t->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return;
    struct sync_work *w = xcalloc(1, sizeof *w);
    w->fd = fd;
    ASSERT(uv_queue_work(t->loop, &w->work, run_sync, on_synced) == 0);
}

static int write_line(struct timeline *t, const struct str *line, struct err *e)
{
    int r = 0;
    if (t->fd < 0 || t->written + line->len > t->segment_bytes)
        r = next_segment(t, e);
    if (r < 0)
        return r;
    r = file_write_fd(t->fd, line->buf, line->len, e);
    if (r < 0) {
        /* Half a line must not stand in front of the next one. */
        if (ftruncate(t->fd, (off_t)t->written) < 0)
            log_debug("timeline", "cannot take back half an entry", "errno=%d", errno);
        return r;
    }
    t->written += line->len;
    if (!t->dirty) {
        t->dirty = true;
        uv_timer_start(&t->sync_timer, on_sync_timer, TIMELINE_SYNC_MS, 0);
    }
    return 0;
}

static int append_one(struct timeline *t, const struct timeline_draft *d, struct err *e)
{
    struct timeline_entry entry = {
        .seq = t->seq + 1, .wall_ms = clock_wall_ms(), .boot_ms = clock_boot_ms(), .draft = *d};
    str_copy(entry.host, sizeof entry.host, t->host);
    str_copy(entry.region, sizeof entry.region, t->region);
    _cleanup_json_ json_t *j = timeline_entry_format(&entry);
    _cleanup_free_ char *text = json_text(j);
    _cleanup_str_ struct str line = STR_INIT;
    str_addf(&line, "%s\n", text);
    int r = write_line(t, &line, e);
    t->seq++; /* also when it was lost: the gap shows */
    timeline_tails_entry(t, &entry);
    return r;
}

int timeline_append(struct timeline *t, const struct timeline_draft *d, struct err *e)
{
    if (t->lost) {
        struct timeline_draft note;
        timeline_draft_setf(&note, "alarm", t->host, "the disk refused them",
            "%" PRIu64 " entries were lost", t->lost);
        if (append_one(t, &note, NULL) >= 0)
            t->lost = 0;
    }
    int r = append_one(t, d, e);
    t->lost += r < 0;
    return r < 0 ? err_wrap(e, "timeline") : 0;
}

uint64_t timeline_last_seq(const struct timeline *t)
{
    return t->seq;
}
