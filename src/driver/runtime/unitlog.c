/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/runtime/unitlog.h"

#include "base/clock/clock.h"
#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char *const stream_names[UNITLOG_STREAMS] = {"stdout", "stderr"};

static void open_current(struct unitlog *l)
{
    _cleanup_free_ char *path = xasprintf("%s/current", l->cfg.dir);
    struct stat st;
    struct err ignored;
    if (file_mkdirs(l->cfg.dir, 0755, &ignored) < 0)
        return;
    l->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    l->size = l->fd >= 0 && fstat(l->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void unitlog_init(struct unitlog *l, const struct runtime_log *cfg, uint64_t boot_ms)
{
    l->cfg = *cfg;
    l->fd = -1;
    l->tokens_milli = (uint64_t)cfg->burst * 1000;
    l->filled_ms = boot_ms;
    open_current(l);
}

/* 3 goes, 2 becomes 3, ..., current becomes 1. A missing one leaves a gap that the next rotation closes. */
static void rotate(struct unitlog *l)
{
    close(l->fd);
    l->fd = -1;
    for (unsigned i = l->cfg.files - 1; i > 0; i--) {
        _cleanup_free_ char *to = xasprintf("%s/%u", l->cfg.dir, i);
        _cleanup_free_ char *from =
            i > 1 ? xasprintf("%s/%u", l->cfg.dir, i - 1) : xasprintf("%s/current", l->cfg.dir);
        if (rename(from, to) < 0 && errno != ENOENT)
            break; /* a read-only disk: go on with the same file */
    }
    if (l->cfg.files <= 1) {
        _cleanup_free_ char *path = xasprintf("%s/current", l->cfg.dir);
        unlink(path);
    }
    open_current(l);
}

static uint64_t count_lines(const char *p, size_t len)
{
    uint64_t n = 0;
    for (const char *end = p + len; (p = memchr(p, '\n', (size_t)(end - p))); p++)
        n++;
    return n;
}

static void flush(struct unitlog *l)
{
    size_t done = 0;
    if (l->fd >= 0 && l->size && l->size + l->out_len > l->cfg.file_bytes)
        rotate(l);
    if (l->fd < 0)
        open_current(l);
    while (l->fd >= 0 && done < l->out_len) {
        ssize_t n = write(l->fd, l->out + done, l->out_len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    l->lost += count_lines(l->out + done, l->out_len - done);
    l->size += done;
    l->out_len = 0;
}

static void put(
    struct unitlog *l, const char *stream, char tag, const char *text, size_t len, int64_t wall_ms)
{
    char stamp[CLOCK_STAMP_SIZE], head[CLOCK_STAMP_SIZE + 16];
    clock_format_rfc3339(wall_ms, stamp);
    size_t head_len = (size_t)snprintf(head, sizeof head, "%s %s %c ", stamp, stream, tag);
    if (l->out_len + head_len + len + 1 > sizeof l->out)
        flush(l);
    memcpy(l->out + l->out_len, head, head_len);
    memcpy(l->out + l->out_len + head_len, text, len);
    l->out_len += head_len + len;
    l->out[l->out_len++] = '\n';
}

static void say_dropped(struct unitlog *l, int64_t wall_ms)
{
    char text[128];
    if (l->dropped) {
        int n = snprintf(text, sizeof text, "%llu lines dropped: more than %u a second",
            (unsigned long long)l->dropped, l->cfg.rate);
        l->dropped = 0;
        put(l, "shim", 'F', text, (size_t)n, wall_ms);
    }
    if (l->lost && l->fd >= 0) {
        int n = snprintf(text, sizeof text, "%llu lines lost: the log could not be written",
            (unsigned long long)l->lost);
        l->lost = 0;
        put(l, "shim", 'F', text, (size_t)n, wall_ms);
    }
}

static void refill(struct unitlog *l, uint64_t boot_ms)
{
    uint64_t passed = boot_ms > l->filled_ms ? boot_ms - l->filled_ms : 0;
    uint64_t full = (uint64_t)l->cfg.burst * 1000;
    /* rate lines a second is rate thousandths a millisecond */
    l->tokens_milli = passed > 3600000 ? full : MIN(full, l->tokens_milli + passed * l->cfg.rate);
    l->filled_ms = boot_ms;
}

static void end_line(struct unitlog *l, enum unitlog_stream s, char tag, int64_t wall_ms)
{
    if (l->tokens_milli >= 1000) {
        l->tokens_milli -= 1000;
        say_dropped(l, wall_ms);
        put(l, stream_names[s], tag, l->line[s], l->line_len[s], wall_ms);
    } else {
        l->dropped++;
    }
    l->line_len[s] = 0;
}

void unitlog_feed(struct unitlog *l, enum unitlog_stream s, const char *data, size_t len,
    int64_t wall_ms, uint64_t boot_ms)
{
    refill(l, boot_ms);
    while (len) {
        const char *nl = memchr(data, '\n', len);
        size_t n = nl ? (size_t)(nl - data) : len;
        size_t take = MIN(n, UNITLOG_LINE_MAX - l->line_len[s]);
        memcpy(l->line[s] + l->line_len[s], data, take);
        l->line_len[s] += take;
        data += take;
        len -= take;
        if (take < n) { /* no room: the line goes on */
            end_line(l, s, 'P', wall_ms);
        } else if (nl) {
            end_line(l, s, 'F', wall_ms);
            data++;
            len--;
        }
    }
    flush(l);
}

void unitlog_end(struct unitlog *l, int64_t wall_ms)
{
    for (unsigned s = 0; s < UNITLOG_STREAMS; s++)
        if (l->line_len[s]) {
            put(l, stream_names[s], 'F', l->line[s], l->line_len[s], wall_ms);
            l->line_len[s] = 0;
        }
    say_dropped(l, wall_ms);
    flush(l);
}

void unitlog_done(struct unitlog *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}
