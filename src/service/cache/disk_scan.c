/* SPDX-License-Identifier: Apache-2.0 */
/* What is on disk at start: heads and texts of every record, oldest segment first. */
#include "service/cache/disk_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

char *segment_path(const struct cache_disk *d, uint64_t id)
{
    return xasprintf("%s/segment-%016" PRIx64, d->dir, id);
}

/* The length of the record at `at`, with *ret pointing into buf; 0: there is none that is whole. */
static uint64_t read_head(const struct segment *s, uint64_t at, struct str *buf,
    struct record_head *h, struct cache_record *ret)
{
    if (s->size - at < sizeof *h || pread(s->fd, h, sizeof *h, (off_t)at) != (ssize_t)sizeof *h)
        return 0;
    size_t len = record_texts(h);
    if (len == SIZE_MAX || s->size - at - sizeof *h < len + h->content_len)
        return 0;
    str_clear(buf);
    str_reserve(buf, len);
    if (pread(s->fd, buf->buf, len, (off_t)(at + sizeof *h)) != (ssize_t)len)
        return 0;
    if (h->crc != record_head_crc(h, buf->buf, len))
        return 0;
    record_point(h, buf->buf, ret);
    return sizeof *h + len + h->content_len;
}

static void scan_segment(struct cache_disk *d, struct segment *s)
{
    _cleanup_str_ struct str buf = STR_INIT;
    struct record_head h;
    struct cache_record r;
    for (uint64_t at = 0, len; (len = read_head(s, at, &buf, &h, &r)); at += len) {
        d->number = MAX(d->number, h.number);
        if (!purge_means(d, &r, h.number) && d->records.n < d->config.records_max)
            index_put(d, s, at, h.number, &r);
    }
}

static int add_segment(struct cache_disk *d, uint64_t id, struct err *e)
{
    _cleanup_free_ char *path = segment_path(d, id);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(e, errno, "open %s", path);
    struct segment *s = xcalloc(1, sizeof *s);
    *s = (struct segment){
        .id = id, .size = (uint64_t)st.st_size, .fd = util_steal_fd(&fd), .refs = 1};
    *(d->youngest ? &d->youngest->next : &d->oldest) = s;
    d->youngest = s;
    d->bytes += s->size;
    scan_segment(d, s);
    return 0;
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The number in a segment's name. */
static bool id_of(const char *name, uint64_t *ret)
{
    char *end;
    if (strncmp(name, "segment-", 8) != 0 || strlen(name) != 24)
        return false;
    *ret = strtoull(name + 8, &end, 16);
    return !*end;
}

int disk_scan(struct cache_disk *d, struct err *e)
{
    DIR *dir = opendir(d->dir);
    if (!dir)
        return err_errno(e, errno, "open %s", d->dir);
    _cleanup_free_ uint64_t *ids = NULL;
    size_t n = 0, cap = 0;
    uint64_t id;
    for (struct dirent *x; (x = readdir(dir));)
        if (id_of(x->d_name, &id)) {
            uint64_t *slot = GROW(ids, n, cap);
            *slot = id;
        }
    closedir(dir);
    if (n)
        qsort(ids, n, sizeof *ids, compare);
    int r = 0;
    for (size_t i = 0; r >= 0 && i < n; i++)
        r = add_segment(d, ids[i], e);
    d->sealed = true; /* what a killed writer left at the end is not written behind */
    while (r >= 0 && d->oldest && d->bytes > d->config.limit_bytes)
        index_drop_segment(d);
    return r;
}
