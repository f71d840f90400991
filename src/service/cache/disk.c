/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier: opening, writing, reading. */
#include "service/cache/disk_priv.h"

#include "base/file/file.h"
#include "base/rnd/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <zlib.h>

int cache_disk_open(const struct cache_disk_config *config, struct cache_disk **ret, struct err *e)
{
    struct cache_disk *d = xcalloc(1, sizeof *d);
    d->config = *config;
    d->dir = xstrdup(config->dir);
    d->config.dir = d->dir;
    d->purge_fd = -1;
    if (!d->config.segment_bytes)
        d->config.segment_bytes = MAX(config->limit_bytes / 16, 1u);
    if (!d->config.records_max)
        d->config.records_max = 1000000;
    rnd_bytes(d->hash_key, sizeof d->hash_key);
    rnd_bytes(d->print_key, sizeof d->print_key);
    pthread_mutex_init(&d->write_lock, NULL);
    pthread_mutex_init(&d->index_lock, NULL);
    int r = file_mkdirs(d->dir, 0700, e);
    if (r >= 0)
        r = purge_load(d, e);
    if (r >= 0)
        r = disk_scan(d, e);
    if (r < 0) {
        cache_disk_close(d);
        return err_wrap(e, "the cache on disk");
    }
    *ret = d;
    return 0;
}

void cache_disk_close(struct cache_disk *d)
{
    if (!d)
        return;
    for (struct segment *s = d->oldest, *next; s; s = next) {
        next = s->next;
        while (s->records)
            index_drop(d, s->records);
        segment_unref(s);
    }
    purge_free(d);
    free(d->records.v);
    free(d->lists.v);
    if (d->purge_fd >= 0)
        close(d->purge_fd);
    pthread_mutex_destroy(&d->write_lock);
    pthread_mutex_destroy(&d->index_lock);
    free(d->dir);
    free(d);
}

uint64_t cache_disk_now(struct cache_disk *d)
{
    pthread_mutex_lock(&d->index_lock);
    uint64_t number = d->number;
    pthread_mutex_unlock(&d->index_lock);
    return number;
}

/* The segment that takes `len` more bytes, with room made for them. Under the write lock. */
static int segment_for(struct cache_disk *d, uint64_t len, struct segment **ret, struct err *e)
{
    int r = 0;
    pthread_mutex_lock(&d->index_lock);
    bool fits = d->youngest && !d->sealed && d->youngest->size + len <= d->config.segment_bytes;
    if (!fits) {
        uint64_t id = d->youngest ? d->youngest->id + 1 : d->number + 1;
        _cleanup_free_ char *path = segment_path(d, id);
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0) {
            r = err_errno(e, errno, "create %s", path);
            goto out;
        }
        struct segment *s = xcalloc(1, sizeof *s);
        *s = (struct segment){.id = id, .fd = fd, .refs = 1};
        *(d->youngest ? &d->youngest->next : &d->oldest) = s;
        d->youngest = s;
        d->sealed = false;
    }
    while (d->oldest != d->youngest
           && (d->bytes + len > d->config.limit_bytes || d->records.n >= d->config.records_max))
        index_drop_segment(d);
    *ret = d->youngest;
out:
    pthread_mutex_unlock(&d->index_lock);
    return r;
}

static int write_at(int fd, const char *p, size_t len, uint64_t at, struct err *e)
{
    while (len) {
        ssize_t n = pwrite(fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(e, n < 0 ? errno : EIO, "write to the cache");
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* After a kill the file's length tells what is whole, after a loss of power the checksums do. */
static int write_record(struct segment *s, uint64_t number, const struct cache_record *r,
    uint64_t *ret_len, struct err *e)
{
    const struct http_text texts[TEXTS] = {
        r->key, r->head, r->etag, r->modified, r->vary, r->variant, r->tags};
    _cleanup_str_ struct str buf = STR_INIT;
    struct record_head h;
    memset(&h, 0, sizeof h); /* holes between fields, too */
    h.magic = RECORD_MAGIC;
    h.number = number;
    h.content_len = r->content.len;
    h.content_crc = (uint32_t)crc32(0, (const Bytef *)r->content.p, (uInt)r->content.len);
    h.meta = r->meta;
    str_add_mem(&buf, &h, sizeof h);
    for (size_t i = 0; i < TEXTS; i++) {
        h.lens[i] = (uint32_t)texts[i].len;
        if (texts[i].len)
            str_add_mem(&buf, texts[i].p, texts[i].len);
    }
    h.crc = record_head_crc(&h, buf.buf + sizeof h, buf.len - sizeof h);
    memcpy(buf.buf, &h, sizeof h);
    *ret_len = buf.len + r->content.len;
    int rc = write_at(s->fd, buf.buf, buf.len, s->size, e);
    return rc < 0 ? rc : write_at(s->fd, r->content.p, r->content.len, s->size + buf.len, e);
}

static bool too_large(const struct cache_disk *d, const struct cache_record *r, uint64_t *len)
{
    const struct http_text texts[TEXTS] = {
        r->key, r->head, r->etag, r->modified, r->vary, r->variant, r->tags};
    struct record_head h = {.magic = RECORD_MAGIC, .content_len = r->content.len};
    for (size_t i = 0; i < TEXTS; i++)
        h.lens[i] = (uint32_t)MIN(texts[i].len, (size_t)UINT32_MAX);
    size_t n = record_texts(&h);
    *len = n == SIZE_MAX ? UINT64_MAX : sizeof h + n + r->content.len;
    return n == SIZE_MAX || *len > d->config.segment_bytes || *len > d->config.limit_bytes / 2;
}

int cache_disk_put(
    struct cache_disk *d, const struct cache_record *r, uint64_t began, struct err *e)
{
    uint64_t len;
    struct segment *s = NULL;
    if (too_large(d, r, &len))
        return 0;
    pthread_mutex_lock(&d->write_lock); /* no purge comes in between */
    pthread_mutex_lock(&d->index_lock);
    bool purged = purge_means(d, r, began);
    pthread_mutex_unlock(&d->index_lock);
    int rc = purged ? 0 : segment_for(d, len, &s, e);
    if (rc >= 0 && !purged) {
        rc = write_record(s, began, r, &len, e);
        pthread_mutex_lock(&d->index_lock);
        if (rc < 0) {
            d->sealed = true; /* a piece of it may lie there: nothing is written behind */
        } else {
            index_put(d, s, s->size, began, r);
            s->size += len;
            d->bytes += len;
            rc = 1;
        }
        pthread_mutex_unlock(&d->index_lock);
    }
    pthread_mutex_unlock(&d->write_lock);
    return rc;
}

/* Head, texts and content into *buf; false: it is not what was written. */
static bool read_record(
    int fd, uint64_t at, struct cache_record *ret, struct record_head *h, struct str *buf)
{
    if (pread(fd, h, sizeof *h, (off_t)at) != (ssize_t)sizeof *h)
        return false;
    size_t texts = record_texts(h);
    if (texts == SIZE_MAX)
        return false;
    size_t len = texts + (size_t)h->content_len;
    str_clear(buf);
    str_reserve(buf, len);
    for (size_t got = 0; got < len;) {
        ssize_t n = pread(fd, buf->buf + got, len - got, (off_t)(at + sizeof *h + got));
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    record_point(h, buf->buf, ret);
    return h->crc == record_head_crc(h, buf->buf, texts)
           && h->content_crc == crc32(0, (const Bytef *)ret->content.p, (uInt)ret->content.len);
}

int cache_disk_get(struct cache_disk *d, struct http_text key, const struct http_fields *request,
    struct cache_record *ret, struct str *buf, struct err *e)
{
    struct record_head h;
    pthread_mutex_lock(&d->index_lock);
    struct record *x = index_find(d, key, request);
    if (!x) {
        pthread_mutex_unlock(&d->index_lock);
        return 0;
    }
    struct segment *s = x->segment;
    uint64_t at = x->at, print = x->print;
    s->refs++; /* its file stays readable when the segment goes */
    pthread_mutex_unlock(&d->index_lock);
    bool ok = read_record(s->fd, at, ret, &h, buf);
    pthread_mutex_lock(&d->index_lock);
    bool same = ok && fields_same(ret->key, key) && index_print(d, ret) == print;
    bool dead = !same || purge_means(d, ret, h.number);
    d->damaged += !ok;
    x = dead ? index_find(d, key, request) : NULL;
    if (x && x->segment == s && x->at == at)
        index_drop(d, x);
    segment_unref(s);
    pthread_mutex_unlock(&d->index_lock);
    return !dead;
}

void cache_disk_figures(struct cache_disk *d, struct cache_disk_figures *ret)
{
    pthread_mutex_lock(&d->index_lock);
    *ret = (struct cache_disk_figures){
        .bytes = d->bytes, .records = d->records.n, .purges = d->n_purges, .damaged = d->damaged};
    for (const struct segment *s = d->oldest; s; s = s->next)
        ret->segments++;
    pthread_mutex_unlock(&d->index_lock);
}
