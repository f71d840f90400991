/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/image/blob.h"

#include "base/file/file.h"
#include "driver/image/priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define COPY_BYTES (1024u * 1024)
#define RESERVE_BYTES (64ll << 20) /* a host without any room can not even say so in its logs */
#define RESERVE_PART 20            /* of the file system, where that is less */

void blobs_done(struct blobs *b)
{
    free(b->v);
    *b = (struct blobs){0};
}

void blobs_add(struct blobs *b, enum bulk_kind kind, const char *digest, int64_t size)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->v[i].kind == kind && !strcmp(b->v[i].digest, digest))
            return;
    struct blob *one = GROW(b->v, b->n, b->cap);
    *one = (struct blob){.kind = kind, .size = size};
    str_copy(one->digest, sizeof one->digest, digest);
}

static const char *folder(enum bulk_kind kind)
{
    return kind == BULK_FILE ? "files/sha256" : "blobs/sha256";
}

static char *path_of(const char *root, enum bulk_kind kind, const char *digest)
{
    return xasprintf("%s/%s/%s", root, folder(kind), digest + strlen("sha256:"));
}

static char *partial_path(const char *root, const char *digest)
{
    return xasprintf("%s/partial/%s", root, digest + strlen("sha256:"));
}

bool blob_present(const char *root, enum bulk_kind kind, const char *digest, int64_t *ret_size)
{
    struct stat st;
    if (!digest_valid(digest))
        return false;
    _cleanup_free_ char *path = path_of(root, kind, digest);
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    if (ret_size)
        *ret_size = st.st_size;
    return true;
}

int blob_open(const char *root, enum bulk_kind kind, const char *digest, int *ret_fd, struct err *e)
{
    if (!digest_valid(digest))
        return err_set(e, ERR_INVALID, "\"%.80s\" is no sha256 digest", digest);
    _cleanup_free_ char *path = path_of(root, kind, digest);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? err_set(e, ERR_NOT_FOUND, "no %.19s here", digest)
                               : err_errno(e, errno, "open %s", path);
    *ret_fd = fd;
    return 0;
}

int64_t blob_partial_size(const char *root, const char *digest)
{
    struct stat st;
    if (!digest_valid(digest))
        return 0;
    _cleanup_free_ char *path = partial_path(root, digest);
    return stat(path, &st) < 0 ? 0 : st.st_size;
}

int blob_partial_open(
    const char *root, const char *digest, int *ret_fd, int64_t *ret_have, struct err *e)
{
    if (!digest_valid(digest))
        return err_set(e, ERR_INVALID, "\"%.80s\" is no sha256 digest", digest);
    _cleanup_free_ char *path = partial_path(root, digest);
    _cleanup_free_ char *dir = xasprintf("%s/partial", root);
    int r = file_mkdirs(root, 0755, e);
    if (r >= 0)
        r = file_mkdirs(dir, 0700, e);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? err_set(e, ERR_CONFLICT, "%.19s is being stored", digest)
                                    : err_errno(e, errno, "lock %s", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(e, errno, "stat %s", path);
    if (!st.st_nlink) /* finished or thrown away between our open and our lock */
        return err_set(e, ERR_CONFLICT, "%.19s was just stored", digest);
    if (lseek(fd, 0, SEEK_END) < 0)
        return err_errno(e, errno, "seek %s", path);
    *ret_have = st.st_size;
    *ret_fd = util_steal_fd(&fd);
    return 0;
}

void blob_partial_remove(const char *root, const char *digest)
{
    _cleanup_free_ char *path = partial_path(root, digest);
    unlink(path);
}

static int digest_fd(int fd, char out[DIGEST_SIZE], struct err *e)
{
    _cleanup_free_ char *buf = xmalloc(COPY_BYTES);
    struct digest_stream *d = digest_stream_new();
    off_t at = 0;
    int r = 0;
    for (;;) {
        ssize_t n = pread(fd, buf, COPY_BYTES, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r = err_errno(e, errno, "read");
        if (n <= 0)
            break;
        digest_stream_add(d, buf, (size_t)n);
        at += n;
    }
    digest_stream_end(d, out);
    return r;
}

static int check(const struct blob *b, int fd, struct err *e)
{
    struct stat st;
    char found[DIGEST_SIZE];
    if (fstat(fd, &st) < 0)
        return err_errno(e, errno, "stat");
    if (b->size >= 0 && st.st_size != b->size)
        return err_set(e, ERR_INVALID, "%lld bytes came, %lld were named", (long long)st.st_size,
            (long long)b->size);
    int r = digest_fd(fd, found, e);
    if (r >= 0 && strcmp(found, b->digest) != 0)
        r = err_set(e, ERR_INVALID, "the bytes have the digest %.19s", found);
    return r;
}

/* A blob counts once its name is durable; a name without its bytes must never be. */
static int move_in(const char *root, const struct blob *b, int fd, struct err *e)
{
    _cleanup_free_ char *from = partial_path(root, b->digest);
    _cleanup_free_ char *to = path_of(root, b->kind, b->digest);
    _cleanup_free_ char *dir = xasprintf("%s/%s", root, folder(b->kind));
    int r = file_mkdirs(dir, 0755, e);
    if (r < 0)
        return r;
    if (fchmod(fd, 0644) < 0)
        return err_errno(e, errno, "chmod %s", from);
    if (fsync(fd) < 0)
        return err_errno(e, errno, "fsync %s", from);
    if (rename(from, to) < 0)
        return err_errno(e, errno, "rename to %s", to);
    return file_fsync_dir(dir, e);
}

int blob_finish(const char *root, const struct blob *b, int fd, struct err *e)
{
    int r = check(b, fd, e);
    if (r == ERR_INVALID)
        blob_partial_remove(root, b->digest);
    if (r < 0)
        return err_wrap(e, "blob %.19s", b->digest);
    _cleanup_close_ int lock = image_lock(root, e);
    return lock < 0 ? lock : move_in(root, b, fd, e);
}

static bool asked_to_stop(const bool *stop)
{
    return stop && __atomic_load_n(stop, __ATOMIC_RELAXED);
}

static int copy_rest(
    int from, int to, int64_t at, int64_t size, const bool *stop, int64_t *done, struct err *e)
{
    _cleanup_free_ char *buf = xmalloc(COPY_BYTES);
    while (at < size) {
        if (asked_to_stop(stop))
            return err_set(e, ERR_CANCELED, "stopped");
        ssize_t n = pread(from, buf, MIN((uint64_t)(size - at), COPY_BYTES), at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, errno, "read");
        if (n == 0)
            return err_set(e, ERR_INVALID, "%lld bytes are there, %lld were named", (long long)at,
                (long long)size);
        int r = file_write_fd(to, buf, (size_t)n, e);
        if (r < 0)
            return r;
        at += n;
        if (done)
            __atomic_store_n(done, at, __ATOMIC_RELAXED);
    }
    return 0;
}

int blob_copy_in(const char *root, const struct blob *b, int from, const bool *stop, int64_t *done,
    struct err *e)
{
    _cleanup_close_ int to = -1;
    int64_t have = 0;
    if (b->size < 0 || b->size > BULK_BLOB_MAX)
        return err_set(e, ERR_LIMIT, "blob %.19s has %lld bytes, the limit is %lld", b->digest,
            (long long)b->size, (long long)BULK_BLOB_MAX);
    int r = blob_partial_open(root, b->digest, &to, &have, e);
    if (r < 0)
        return r;
    if (have > b->size) {
        if (ftruncate(to, 0) < 0 || lseek(to, 0, SEEK_SET) < 0)
            return err_errno(e, errno, "begin again");
        have = 0;
    }
    if (have == 0 && ioctl(to, FICLONE, from) == 0)
        have = b->size;
    r = copy_rest(from, to, have, b->size, stop, done, e);
    return r < 0 ? err_wrap(e, "store %.19s", b->digest) : blob_finish(root, b, to, e);
}

/* ---- what an image needs */

static int read_document(const char *root, const char *digest, struct str *out, struct err *e)
{
    if (!digest_valid(digest))
        return err_set(e, ERR_INVALID, "\"%.80s\" is no sha256 digest", digest);
    _cleanup_free_ char *path = path_of(root, BULK_IMAGE, digest);
    char found[DIGEST_SIZE];
    int r = file_read(path, OCI_DOCUMENT_MAX, out, e);
    if (r < 0)
        return r;
    digest_mem(str_cstr(out), out->len, found);
    return strcmp(found, digest) == 0 ? 0 : err_set(e, ERR_PROTOCOL, "%s is damaged", path);
}

/* Manifest last: who stores in this order never has one whose layers did not come. */
static int list_manifest(const char *root, const char *digest, struct blobs *ret, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct oci_manifest m;
    _cleanup_arena_ struct arena *a = arena_new(0);
    int r = read_document(root, digest, &text, e);
    if (r >= 0)
        r = oci_manifest_parse(a, str_cstr(&text), text.len, &m, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < m.n_layers; i++)
        blobs_add(ret, BULK_IMAGE, m.layers[i].digest, m.layers[i].size);
    blobs_add(ret, BULK_IMAGE, m.config.digest, m.config.size);
    blobs_add(ret, BULK_IMAGE, digest, (int64_t)text.len);
    return 0;
}

int image_missing(const char *root, const char *digest, struct blobs *ret, int64_t *ret_have,
    int64_t *ret_total, struct err *e)
{
    struct blobs all = {0};
    struct err why = {0};
    if (!digest_valid(digest))
        return err_set(e, ERR_INVALID, "\"%.80s\" is no sha256 digest", digest);
    *ret_have = *ret_total = 0;
    int r = list_manifest(root, digest, &all, &why);
    if (r == ERR_NOT_FOUND || r == ERR_PROTOCOL) { /* damaged is as good as missing */
        _cleanup_free_ char *path = path_of(root, BULK_IMAGE, digest);
        unlink(path);
        blobs_add(ret, BULK_IMAGE, digest, -1);
    } else if (r < 0) {
        *e = why;
        return r;
    }
    for (size_t i = 0; i < all.n; i++) {
        int64_t size;
        *ret_total += all.v[i].size;
        if (blob_present(root, BULK_IMAGE, all.v[i].digest, &size) && size == all.v[i].size)
            *ret_have += size;
        else
            blobs_add(ret, BULK_IMAGE, all.v[i].digest, all.v[i].size);
    }
    blobs_done(&all);
    return 0;
}

int image_layout_blobs(const char *layout, const char *digest, struct blobs *ret, struct err *e)
{
    int r = list_manifest(layout, digest, ret, e);
    return r < 0 ? err_wrap(e, "%s", layout) : 0;
}

int blob_space(const char *root, int64_t need, struct err *e)
{
    struct statvfs v;
    int r = file_mkdirs(root, 0755, e);
    if (r < 0)
        return r;
    if (statvfs(root, &v) < 0)
        return err_errno(e, errno, "statvfs %s", root);
    int64_t all = (int64_t)(v.f_blocks * v.f_frsize), left = (int64_t)(v.f_bavail * v.f_frsize);
    int64_t reserve = MIN(RESERVE_BYTES, all / RESERVE_PART);
    if (left - reserve >= need)
        return 0;
    err_set(e, ERR_LIMIT, "the disk is full: %lld MiB more do not fit into %s, %lld MiB are free",
        (long long)(need >> 20) + 1, root, (long long)(MAX(left - reserve, 0) >> 20));
    err_fix(e, "`mcp image gc`, or a larger disk");
    return ERR_LIMIT;
}
