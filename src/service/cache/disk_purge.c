/* SPDX-License-Identifier: Apache-2.0 */
/* Purges: numbers that count for every record with a smaller one, in memory and in a file. */
#include "service/cache/disk_priv.h"

#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <zlib.h>

#define FILE_FULL (16u << 20) /* then everything goes, and a new file begins */
#define FILE_MAX (2u * FILE_FULL)

/* By the hash of the text: two texts with one hash are both purged, which harms nobody. */
static struct mark *mark_find(const struct cache_disk *d, enum cache_disk_purge kind, uint64_t hash)
{
    for (struct node *n = table_first(&d->marks[kind], hash); n; n = n->next)
        if (n->hash == hash)
            return CONTAINER_OF(n, struct mark, node);
    return NULL;
}

static uint64_t mark_of(
    const struct cache_disk *d, enum cache_disk_purge kind, struct http_text text)
{
    const struct mark *m = mark_find(d, kind, cache_hash(d->hash_key, text.p, text.len));
    return m ? m->number : 0;
}

static void mark_put(
    struct cache_disk *d, enum cache_disk_purge kind, struct http_text text, uint64_t number)
{
    uint64_t hash = cache_hash(d->hash_key, text.p, text.len);
    struct mark *m = mark_find(d, kind, hash);
    if (!m) {
        m = xcalloc(1, sizeof *m);
        m->node.hash = hash;
        table_put(&d->marks[kind], &m->node);
    }
    m->number = MAX(m->number, number);
}

/* Of all and what was before: nothing older is left. */
static void forget_marks(struct cache_disk *d)
{
    purge_free(d);
    d->prefixes = NULL;
    d->n_prefixes = d->cap_prefixes = d->n_purges = 0;
    memset(d->marks, 0, sizeof d->marks);
}

static void purge_apply(
    struct cache_disk *d, enum cache_disk_purge kind, struct http_text text, uint64_t number)
{
    d->n_purges++;
    d->number = MAX(d->number, number);
    if (kind == CACHE_DISK_PURGE_ALL) {
        forget_marks(d);
        d->n_purges = 1;
        d->purged_all = MAX(d->purged_all, number);
    } else if (kind == CACHE_DISK_PURGE_PREFIX) {
        struct prefix *x = GROW(d->prefixes, d->n_prefixes, d->cap_prefixes);
        *x = (struct prefix){number, xmalloc(text.len + 1), text.len};
        memcpy(x->text, text.p, text.len);
    } else {
        mark_put(d, kind, text, number);
    }
}

static bool prefix_means(const struct cache_disk *d, const struct cache_record *r, uint64_t number)
{
    for (size_t i = d->n_prefixes; i-- > 0 && d->prefixes[i].seq > number;)
        if (r->key.len >= d->prefixes[i].len
            && !memcmp(r->key.p, d->prefixes[i].text, d->prefixes[i].len))
            return true;
    return false;
}

bool purge_means(struct cache_disk *d, const struct cache_record *r, uint64_t number)
{
    if (number < d->purged_all || number < mark_of(d, CACHE_DISK_PURGE_KEY, r->key)
        || prefix_means(d, r, number))
        return true;
    for (size_t i = 0, from = 0; i <= r->tags.len; i++) {
        if (i < r->tags.len && r->tags.p[i] != '\n')
            continue;
        if (i > from
            && number < mark_of(
                   d, CACHE_DISK_PURGE_TAG, (struct http_text){r->tags.p + from, i - from}))
            return true;
        from = i + 1;
    }
    return false;
}

static uint32_t purge_crc(const struct purge_head *h, const char *text)
{
    const size_t from = offsetof(struct purge_head, len);
    uLong crc = crc32(0, (const Bytef *)h + from, (uInt)(sizeof *h - from));
    return (uint32_t)crc32(crc, (const Bytef *)text, h->len);
}

/* One that was cut was never confirmed: the file ends in front of it. */
int purge_load(struct cache_disk *d, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/purges", d->dir);
    _cleanup_str_ struct str all = STR_INIT;
    d->purge_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->purge_fd < 0)
        return err_errno(e, errno, "open %s", path);
    int r = file_read_fd(d->purge_fd, path, FILE_MAX, &all, e);
    if (r < 0)
        return r;
    size_t at = 0;
    struct purge_head h;
    while (all.len - at >= sizeof h) {
        memcpy(&h, all.buf + at, sizeof h);
        const char *text = all.buf + at + sizeof h;
        if (h.len > PURGE_TEXT_MAX || h.len > all.len - at - sizeof h
            || h.kind > CACHE_DISK_PURGE_ALL || h.crc != purge_crc(&h, text))
            break;
        purge_apply(d, (enum cache_disk_purge)h.kind, (struct http_text){text, h.len}, h.number);
        at += sizeof h + h.len;
    }
    if (ftruncate(d->purge_fd, (off_t)at) < 0 || lseek(d->purge_fd, 0, SEEK_END) < 0)
        return err_errno(e, errno, "cut %s", path);
    return file_fsync_dir(d->dir, e);
}

void purge_free(struct cache_disk *d)
{
    for (size_t i = 0; i < d->n_prefixes; i++)
        free(d->prefixes[i].text);
    free(d->prefixes);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < d->marks[k].cap; i++)
            for (struct node *n = d->marks[k].v[i], *next; n; n = next) {
                next = n->next;
                free(CONTAINER_OF(n, struct mark, node));
            }
        free(d->marks[k].v);
    }
}

/* A purge of everything begins the file anew. */
static int purge_replace(struct cache_disk *d, const char *buf, size_t len, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/purges", d->dir);
    int r = file_write_durable(path, buf, len, 0600, e);
    if (r < 0)
        return r;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || lseek(fd, 0, SEEK_END) < 0) {
        r = err_errno(e, errno, "open %s", path);
        if (fd >= 0)
            close(fd);
        return r;
    }
    close(d->purge_fd);
    d->purge_fd = fd;
    return 0;
}

/* What could not be written whole is taken back: nothing is written behind a piece. */
static int purge_append(struct cache_disk *d, const char *buf, size_t len, struct err *e)
{
    off_t end = lseek(d->purge_fd, 0, SEEK_CUR);
    int r = file_write_fd(d->purge_fd, buf, len, e);
    if (r >= 0 && fdatasync(d->purge_fd) < 0)
        r = err_errno(e, errno, "sync %s/purges", d->dir);
    if (r < 0 && (ftruncate(d->purge_fd, end) < 0 || lseek(d->purge_fd, end, SEEK_SET) < 0))
        return err_wrap(e, "and it could not be undone");
    return r;
}

static int purge_write(
    struct cache_disk *d, struct purge_head *h, struct http_text text, struct err *e)
{
    char buf[sizeof *h + PURGE_TEXT_MAX];
    h->crc = purge_crc(h, text.p);
    memcpy(buf, h, sizeof *h);
    if (text.len)
        memcpy(buf + sizeof *h, text.p, text.len);
    return h->kind == CACHE_DISK_PURGE_ALL ? purge_replace(d, buf, sizeof *h + text.len, e)
                                           : purge_append(d, buf, sizeof *h + text.len, e);
}

/* In memory it counts in any case: a purge that the disk does not take must not serve on. */
int cache_disk_purge(
    struct cache_disk *d, enum cache_disk_purge kind, struct http_text text, struct err *e)
{
    if (text.len > PURGE_TEXT_MAX)
        return err_set(e, ERR_LIMIT, "a purge of more than %u bytes", PURGE_TEXT_MAX);
    if (kind == CACHE_DISK_PURGE_ALL)
        text = (struct http_text){"", 0};
    pthread_mutex_lock(&d->write_lock);
    pthread_mutex_lock(&d->index_lock);
    /* No more are remembered one by one. */
    if (d->n_purges >= PURGES_MAX || lseek(d->purge_fd, 0, SEEK_CUR) > FILE_FULL) {
        kind = CACHE_DISK_PURGE_ALL;
        text = (struct http_text){"", 0};
    }
    struct purge_head h = {
        .len = (uint32_t)text.len, .number = d->number + 1, .kind = (uint32_t)kind};
    purge_apply(d, kind, text, h.number);
    if (kind == CACHE_DISK_PURGE_ALL)
        while (d->oldest)
            index_drop_segment(d);
    pthread_mutex_unlock(&d->index_lock);
    int r = purge_write(d, &h, text, e);
    pthread_mutex_unlock(&d->write_lock);
    return r;
}
